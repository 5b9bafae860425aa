/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "config/model.h"

static struct config *parse(const char *text)
{
	struct config *config = NULL;
	const char *reason = NULL;
	int r = config_parse("t.conf", text, strlen(text), false, &config, &reason);

	if (r < 0) {
		fail_msg("%s", reason);
	}
	return config;
}

/* One line below [AIO], whose values may be anything. */
struct line_case {
	const char *text;
	const char *values[4]; /* up to NULL */
};

static const struct line_case lines[] = {
	{ "AIO f n", { "f", "n" } },
	{ "  \taio \t f\tn  \t", { "f", "n" } },
	{ "AIO f n\r", { "f", "n" } },
	{ "AIO f n # where it lies", { "f", "n" } },
	{ "AIO f n\t#no blank behind", { "f", "n" } },
	{ "AIO f#1 n#", { "f#1", "n#" } },
	{ "AIO \"#f\" '# n'", { "#f", "# n" } },
	{ "AIO f \\#n", { "f", "#n" } },
	{ "AIO \"a b\" 'c \"d\" e'", { "a b", "c \"d\" e" } },
	{ "AIO a\" b\"c n", { "a bc", "n" } },
	{ "AIO \"\" n", { "", "n" } },
	{ "AIO a\\ b n", { "a b", "n" } },
	{ "AIO \"a\\\"b\" 'a\\b'", { "a\"b", "a\\b" } },
	{ "AIO \\\\ \\'", { "\\", "'" } },
	{ "AIO f \\\n  n", { "f", "n" } },
	{ "AIO fi\\\nle n", { "file", "n" } },
	{ "AIO f \\\r\n n 4\\\n096", { "f", "n", "4096" } },
	{ "# a comment goes on \\\nAIO not seen\nAIO f n", { "f", "n" } },
	{ "\"AIO\" \xc3\xa9 n", { "\xc3\xa9", "n" } },
};

static void words_of_a_line(void **state)
{
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		char text[256];
		struct config *config;
		const struct config_item *item;
		unsigned int n = 0;

		snprintf(text, sizeof(text), "[aio]\n%s\n", lines[i].text);
		config = parse(text);
		item = config_next_item(config_next_section(config, NULL, SECTION_AIO), NULL,
					"AIO");
		assert_non_null(item);
		for (; lines[i].values[n] != NULL; n++) {
			assert_true(n < item->value_n);
			assert_string_equal(item->values[n], lines[i].values[n]);
		}
		assert_int_equal(item->value_n, n);
		config_free(config);

		/* The same without an end of the last line. */
		text[strlen(text) - 1] = '\0';
		config_free(parse(text));
	}
}

static void sections_merge_and_keys_repeat(void **state)
{
	struct config *config = parse("[ vhostBLK7 ] # a label\n"
				      "Name first\n"
				      "[Null]\n"
				      "Dev Null0 1\n"
				      "[VHOSTblk7]\n"
				      "DEV Null0\n"
				      "Name second\n"
				      "[null]\n"
				      "dev Null1 2 4096\n");
	const struct config_section *blk = config_next_section(config, NULL, SECTION_VHOST_BLK);
	const struct config_section *null = config_next_section(config, NULL, SECTION_NULL);
	const struct config_item *item;

	assert_string_equal(config_get_text(blk, "name"), "first");
	assert_string_equal(config_get_text(blk, "Dev"), "Null0");
	assert_null(config_next_section(config, blk, SECTION_VHOST_BLK));
	item = config_next_item(null, NULL, "Dev");
	assert_string_equal(item->values[0], "Null0");
	assert_int_equal(item->line, 4);
	item = config_next_item(null, item, "Dev");
	assert_string_equal(item->values[0], "Null1");
	assert_int_equal(item->line, 9);
	assert_null(config_next_item(null, item, "Dev"));
	config_free(config);
}

static void lines_are_counted_through_joins_and_comments(void **state)
{
	struct config *config =
		parse("# one \\\n two\n\n[Null] \\\n\n  \\\n Dev \\\n a 1\nDev b 1\n");
	const struct config_section *null = config_next_section(config, NULL, SECTION_NULL);
	const struct config_item *item = config_next_item(null, NULL, "Dev");

	assert_int_equal(null->line, 4);
	assert_string_equal(item->values[0], "a");
	assert_int_equal(item->line, 7);
	item = config_next_item(null, item, "Dev");
	assert_int_equal(item->line, 9);
	config_free(config);
}

/* Passed over with a warning; an error when strict. */
static const char *const odd[] = {
	"Key before\n[Null]\nDev a 1\n",
	"[Null]\nDev a 1\nDev \"b 1\n",
	"[Null]\nDev a 1\nDev 'b 1\n",
	"[Null]\nDev a 1\nDev b 1 \\",
	"[Null]\nDev a 1\nDev b\001 1\n",
	"[Null] and more\nDev a 1\n",
	"[Malloc]\nNumberOfLuns 1\nNumberOfLuns 2\nLunSizeInMB 4\n",
	"[Malloc]\nNumberOfLuns 1 2\nLunSizeInMB 4\n",
	"[Malloc]\nNumberOfLuns 1\nLunSizeInMB 4\nBlockSize\n",
	"[VhostBlk0]\nName n\nReadOnly 1\n",
};

static void odd_lines_are_passed_over_unless_strict(void **state)
{
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct config *config = NULL;
		const char *reason = NULL;

		assert_int_equal(
			config_parse("t.conf", odd[i], strlen(odd[i]), false, &config, &reason), 0);
		config_free(config);
		config = NULL;
		assert_int_equal(config_parse("t.conf", odd[i], strlen(odd[i]), true, &config,
					      &reason),
				 -EINVAL);
		assert_null(config);
		assert_memory_equal(reason, "t.conf:", 7);
	}
}

static void a_line_that_does_not_parse_has_no_effect(void **state)
{
	struct config *config = parse("[Null]\nDev \"a 1\nDev b 1\n");
	const struct config_section *null = config_next_section(config, NULL, SECTION_NULL);
	const struct config_item *item = config_next_item(null, NULL, "Dev");

	assert_string_equal(item->values[0], "b");
	assert_null(config_next_item(null, item, "Dev"));
	config_free(config);
}

static void first_of_two_values_counts(void **state)
{
	unsigned int line = 0;
	struct config *config = parse("[Global]\nReactorMask\nReactorMask 0x3\nReactorMask 0x1\n"
				      "[Rpc]\nListen 127.0.0.1:5260\nEnable no\n");

	assert_string_equal(config_reactor_mask(config, &line), "0x3");
	assert_int_equal(line, 3);
	assert_string_equal(config_name(config), "t.conf");
	assert_false(config_rpc_enabled(config));
	assert_null(config_rpc_path(config, &line));
	config_free(config);
	config = parse("[Rpc]\nListen /run/x.sock\n");
	assert_null(config_reactor_mask(config, &line));
	assert_true(config_rpc_enabled(config));
	assert_string_equal(config_rpc_path(config, &line), "/run/x.sock");
	assert_int_equal(line, 2);
	config_free(config);
}

/* Files that passed through an editor of Windows. */
static void byte_order_mark_is_no_text(void **state)
{
	struct config *config = parse("\xef\xbb\xbf[Rpc]\r\nListen /run/x.sock\r\n");
	unsigned int line = 0;

	assert_string_equal(config_rpc_path(config, &line), "/run/x.sock");
	config_free(config);
}

static void binary_files_are_refused_at_once(void **state)
{
	static const char text[] = "[Rpc]\n\x7f"
				   "ELF\0\0\n";
	struct config *config = NULL;
	const char *reason = NULL;

	assert_int_equal(config_parse("t.conf", text, sizeof(text), false, &config, &reason),
			 -EINVAL);
	assert_string_equal(reason, "t.conf:2: a NUL byte: the file is no text in ASCII or UTF-8");
}

static void numbers_and_booleans(void **state)
{
	static const char *const bad[] = { "",	 " 1", "-1",  "+1", "0x10",
					   "1k", "1 ", "ten", ".5", "1.0" };
	uint64_t value = 77;
	bool yes = false;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(config_parse_number(bad[i], &value), -EINVAL);
	}
	assert_int_equal(config_parse_number("18446744073709551616", &value), -ERANGE);
	assert_int_equal(value, 77);
	assert_int_equal(config_parse_number("18446744073709551615", &value), 0);
	assert_true(value == UINT64_MAX);
	assert_int_equal(config_parse_number("007", &value), 0);
	assert_int_equal(value, 7);
	assert_int_equal(config_parse_bool("yEs", &yes), 0);
	assert_true(yes);
	assert_int_equal(config_parse_bool("n", &yes), 0);
	assert_false(yes);
	assert_int_equal(config_parse_bool("1", &yes), -EINVAL);
}

static void files(void **state)
{
	char path[] = "/tmp/vhost-config-XXXXXX";
	struct config *config = NULL;
	const char *reason = NULL;
	int fd = mkstemp(path);
	char huge[1 << 16];

	assert_true(fd >= 0);
	assert_int_equal(config_load(path, false, &config, &reason), -EINVAL);
	assert_non_null(strstr(reason, "no [section]"));
	assert_int_equal(write(fd, "[Global]\n", 9), 9);
	assert_int_equal(config_load(path, true, &config, &reason), 0);
	config_free(config);

	/* Not a limit of the file system: anything that is no configuration file ends early. */
	memset(huge, '\n', sizeof(huge));
	for (size_t n = 0; n <= (16u << 20) / sizeof(huge); n++) {
		assert_int_equal(write(fd, huge, sizeof(huge)), sizeof(huge));
	}
	assert_int_equal(config_load(path, false, &config, &reason), -EFBIG);
	close(fd);
	unlink(path);
	assert_int_equal(config_load(path, false, &config, &reason), -ENOENT);
	assert_non_null(strstr(reason, path));
	assert_int_equal(config_load("/tmp", false, &config, &reason), -EISDIR);
}

static uint32_t next_random(uint32_t *seed)
{
	*seed = *seed * 1664525u + 1013904223u;
	return *seed >> 8;
}

/* Whatever the bytes are: an answer, and a reason if it is a refusal. */
static void random_text_is_survived(void **state)
{
	static const char *const pieces[] = {
		"[",	"]",	"Null", "VhostBlk", "1",       "\n",	   "\n",
		"\\",	"\"",	"'",	"#",	    " ",       "\t",	   "\r",
		"Dev",	"Name", "\\\n", "0x1",	    "Cpumask", "[Null]\n", "[VhostScsi0]\n",
		"\xff", "\001", "AIO"
	};
	uint32_t seed = 20170731;

	for (unsigned int round = 0; round < 20000; round++) {
		struct config *config = NULL;
		const char *reason = NULL;
		char text[512];
		size_t len = 0;
		unsigned int n = next_random(&seed) % 40;

		while (n-- > 0) {
			const char *piece =
				pieces[next_random(&seed) % (sizeof(pieces) / sizeof(pieces[0]))];

			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		if (len > 0 && next_random(&seed) % 4 == 0) {
			text[next_random(&seed) % len] = (char)next_random(&seed);
		}
		/* An own copy of just this length, so that the sanitizer sees a read beyond it. */
		char *copy = malloc(len + 1);

		memcpy(copy, text, len);
		if (config_parse("r", copy, len, round % 2 == 0, &config, &reason) == 0) {
			assert_non_null(config);
			config_free(config);
		} else {
			assert_null(config);
			assert_true(strlen(reason) > 3);
		}
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words_of_a_line),
		cmocka_unit_test(sections_merge_and_keys_repeat),
		cmocka_unit_test(lines_are_counted_through_joins_and_comments),
		cmocka_unit_test(odd_lines_are_passed_over_unless_strict),
		cmocka_unit_test(a_line_that_does_not_parse_has_no_effect),
		cmocka_unit_test(first_of_two_values_counts),
		cmocka_unit_test(byte_order_mark_is_no_text),
		cmocka_unit_test(binary_files_are_refused_at_once),
		cmocka_unit_test(numbers_and_booleans),
		cmocka_unit_test(files),
		cmocka_unit_test(random_text_is_survived),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("config.parse", tests, NULL, NULL);
}
