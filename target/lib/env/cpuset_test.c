/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "env/env.h"

static void parses_to(const char *text, const char *expected)
{
	char buf[ENV_CPUSET_TEXT];
	struct env_cpuset set;

	assert_int_equal(env_cpuset_parse(text, &set), 0);
	env_cpuset_format(&set, buf, sizeof(buf));
	assert_string_equal(buf, expected);
}

static void masks(void **state)
{
	parses_to("0x1", "0x1");
	parses_to("3", "0x3");
	parses_to("0X0000000000000000000000000000f0", "0xf0");
	parses_to("aBcDeF", "0xabcdef");
	parses_to("10000000000000000", "0x10000000000000000");
}

static void lists(void **state)
{
	struct env_cpuset set;

	parses_to("[0]", "0x1");
	parses_to("[0-3,8]", "0x10f");
	parses_to("[8,0-3]", "0x10f");
	parses_to("[64]", "0x10000000000000000");
	assert_int_equal(env_cpuset_parse("[1023]", &set), 0);
	assert_true(env_cpuset_has(&set, 1023));
	assert_false(env_cpuset_has(&set, 1022));
	assert_false(env_cpuset_has(&set, 5000));
}

static void malformed_text_is_refused_and_touches_nothing(void **state)
{
	static const char *const bad[] = {
		"",	 "0x",	 "0",	  "0x0",   "g",	     "1g",   " 1",	"1 ",	"-1",
		"0x 1",	 "[",	 "[]",	  "[1",	   "1]",     "[1,]", "[,1]",	"[1-]", "[-1]",
		"[3-1]", "[1]x", "[1 2]", "[0x1]", "[1--2]", "[a]",  "[1-2-3]",
	};
	struct env_cpuset set, before;

	memset(&set, 0x5a, sizeof(set));
	before = set;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (env_cpuset_parse(bad[i], &set) != -EINVAL) {
			fail_msg("\"%s\" was not refused", bad[i]);
		}
	}
	assert_memory_equal(&set, &before, sizeof(set));
}

static void numbers_beyond_the_limit(void **state)
{
	char text[ENV_MAX_CORES / 4 + 8];
	struct env_cpuset set;

	assert_int_equal(env_cpuset_parse("[1024]", &set), -ERANGE);
	assert_int_equal(env_cpuset_parse("[0-1024]", &set), -ERANGE);
	assert_int_equal(env_cpuset_parse("[99999999999999999999]", &set), -ERANGE);
	memset(text, '0', sizeof(text));
	text[0] = '1';
	text[ENV_MAX_CORES / 4 + 1] = '\0';
	assert_int_equal(env_cpuset_parse(text, &set), -ERANGE);
	text[ENV_MAX_CORES / 4] = 'x'; /* nonsense stays nonsense, however long */
	assert_int_equal(env_cpuset_parse(text, &set), -EINVAL);
}

static void format_fits_every_set(void **state)
{
	char full[ENV_CPUSET_TEXT], small[6];
	struct env_cpuset set;

	memset(&set, 0xff, sizeof(set));
	env_cpuset_format(&set, full, sizeof(full));
	assert_int_equal(strlen(full), ENV_MAX_CORES / 4 + 2);
	env_cpuset_format(&set, small, sizeof(small));
	assert_string_equal(small, "0xfff");
	memset(&set, 0, sizeof(set));
	env_cpuset_format(&set, full, sizeof(full));
	assert_string_equal(full, "0x0");
}

static void subsets(void **state)
{
	struct env_cpuset few, many, none = { 0 };

	assert_int_equal(env_cpuset_parse("[1,900]", &few), 0);
	assert_int_equal(env_cpuset_parse("[0-3,890-910]", &many), 0);
	assert_true(env_cpuset_is_subset(&few, &many));
	assert_false(env_cpuset_is_subset(&many, &few));
	assert_true(env_cpuset_is_subset(&none, &few));
	assert_true(env_cpuset_is_empty(&none));
	assert_false(env_cpuset_is_empty(&few));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(masks),
		cmocka_unit_test(lists),
		cmocka_unit_test(malformed_text_is_refused_and_touches_nothing),
		cmocka_unit_test(numbers_beyond_the_limit),
		cmocka_unit_test(format_fits_every_set),
		cmocka_unit_test(subsets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
