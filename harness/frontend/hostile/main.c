/* SPDX-License-Identifier: BSD-3-Clause */
/* vhost-hostile: what no honest driver does. Reports in TAP (version 13). */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "runner.h"

static bool fits(const struct options *options, const struct hostile_case *c)
{
	unsigned int device = options->device == VFE_SCSI ? ON_SCSI : ON_BLK;
	unsigned int ring = options->packed ? ON_PACKED : ON_SPLIT;
	unsigned int i;

	if ((c->where & device) == 0 || (c->where & ring) == 0) {
		return false;
	}
	for (i = 0; i < options->case_n; i++) {
		if (strcasecmp(options->cases[i], c->id) == 0) {
			return true;
		}
	}
	return options->case_n == 0;
}

static unsigned int count(const struct options *options)
{
	unsigned int n = 0;
	unsigned int i;

	for (i = 0; case_at(i) != NULL; i++) {
		n += fits(options, case_at(i));
	}
	return n;
}

static void list(const struct options *options)
{
	unsigned int i;

	for (i = 0; case_at(i) != NULL; i++) {
		if (fits(options, case_at(i))) {
			printf("%-4s %s\n", case_at(i)->id, case_at(i)->name);
		}
	}
}

static void report(unsigned int number, const struct hostile_case *c, enum verdict verdict,
		   const struct verdict_text *text)
{
	printf("%s %u - %s %s%s%s\n", verdict == VERDICT_FAILED ? "not ok" : "ok", number, c->id,
	       c->name, verdict == VERDICT_SKIPPED ? " # SKIP " : "",
	       verdict == VERDICT_SKIPPED ? text->why : "");
	if (verdict == VERDICT_FAILED) {
		printf("# %s\n", text->why);
	}
	if (text->note[0] != '\0') {
		printf("# %s\n", text->note);
	}
}

/* After a case that ended the target: another one, if it is ours to start. */
static bool start_again(struct runner *runner)
{
	char why[600] = "the target is gone, and is not ours to start again";

	runner_down(runner, why, sizeof(why));
	if (runner->options->command != NULL && runner_up(runner, why, sizeof(why)) == 0) {
		printf("# the target was started again\n");
		return true;
	}
	printf("Bail out! %s\n", why);
	return false;
}

static int run(const struct options *options)
{
	bool ours = options->command != NULL;
	struct runner runner = { .options = options };
	struct verdict_text text;
	char why[600] = "";
	unsigned int number = 0;
	unsigned int failed = 0;
	unsigned int i;

	printf("TAP version 13\n1..%u\n", count(options) + ours);
	if (runner_up(&runner, why, sizeof(why)) < 0) {
		printf("Bail out! %s\n", why);
		runner_down(&runner, why, sizeof(why));
		return 1;
	}
	if (!runner.watch.readable) {
		printf("# descriptors of process %d cannot be counted, and are not checked\n",
		       (int)runner.watch.pid);
	}
	for (i = 0; case_at(i) != NULL; i++) {
		enum verdict verdict;

		if (!fits(options, case_at(i))) {
			continue;
		}
		verdict = runner_case(&runner, case_at(i), &text);
		report(++number, case_at(i), verdict, &text);
		fflush(stdout);
		failed += verdict == VERDICT_FAILED;
		if (!runner_target_alive(&runner) && !start_again(&runner)) {
			return 1;
		}
	}
	if (!runner_down(&runner, why, sizeof(why))) {
		failed++;
		printf("not ok %u - end of the target\n# %s\n", ++number, why);
	} else if (ours) {
		printf("ok %u - end of the target\n", ++number);
	}
	return failed > 0;
}

int main(int argc, char **argv)
{
	struct options options;

	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_DONE:
		return 0;
	case OPTIONS_BAD:
		return 2;
	case OPTIONS_RUN:
		break;
	}
	signal(SIGPIPE, SIG_IGN);
	if (options.list) {
		list(&options);
		return 0;
	}
	if (count(&options) == 0) {
		fprintf(stderr, "vhost-hostile: no such case for this device and ring\n");
		return 2;
	}
	return run(&options);
}
