/* SPDX-License-Identifier: BSD-3-Clause */
#include "runner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "child.h"

#define CONNECT_MS  5000
#define START_MS    60000
#define BASELINE_MS 5000
#define DYING_MS    2000
#define INTERVAL_MS 10

/* A good session: connects, reads a block, leaves. */
static bool probe(const struct runner *runner, char *ret_why, size_t why_len)
{
	const struct rig_options how = { 0 };
	struct rig *rig = calloc(1, sizeof(*rig));
	bool ok = false;

	if (rig != NULL) {
		rig_init(rig, runner->options);
		if (rig_start(rig, &how)) {
			rig_expect_usable(rig);
		}
		/* A target without the ring format is as good as one that works: its cases are skipped. */
		ok = !rig->failed;
		snprintf(ret_why, why_len, "a good session after it: %s", rig->why);
		rig_close(rig);
		free(rig);
	}
	return ok;
}

int runner_up(struct runner *runner, char *ret_why, size_t why_len)
{
	const struct options *options = runner->options;
	int r;

	if (options->command != NULL) {
		r = child_start(options->command);
		if (r < 0) {
			snprintf(ret_why, why_len, "cannot start the target: %s", strerror(-r));
			return r;
		}
		runner->child = r;
	}
	r = watch_find(&runner->watch, options->socket,
		       options->command != NULL ? START_MS : CONNECT_MS);
	if (r < 0) {
		snprintf(ret_why, why_len, "%s: %s", options->socket, strerror(-r));
		return r;
	}
	if (options->bystander != NULL) {
		r = bystander_start(options, &runner->bystander, ret_why, why_len);
		if (r < 0) {
			return r;
		}
	}
	/* What the target makes once, at the first ring, shall not look like a leak. */
	if (!probe(runner, ret_why, why_len)) {
		return -EIO;
	}
	watch_take_baseline(&runner->watch);
	return 0;
}

bool runner_target_alive(struct runner *runner)
{
	if (runner->child > 0 && child_ended(runner->child, runner->gone, sizeof(runner->gone))) {
		runner->child = 0;
		return false;
	}
	return runner->gone[0] == '\0' && watch_alive(&runner->watch);
}

__attribute__((format(printf, 2, 3))) static void add(struct verdict_text *text, const char *format,
						      ...)
{
	size_t at = strlen(text->note);
	va_list args;

	va_start(args, format);
	if (at > 0 && at + 2 < sizeof(text->note)) {
		memcpy(text->note + at, "; ", 3);
		at += 2;
	}
	vsnprintf(text->note + at, sizeof(text->note) - at, format, args);
	va_end(args);
}

static bool check_bystander(struct runner *runner, struct verdict_text *text)
{
	struct bystander_report report;
	bool ok;

	if (runner->options->bystander == NULL) {
		return true;
	}
	if (runner->bystander == NULL) {
		snprintf(text->why, sizeof(text->why), "there is no other session any more");
		return false;
	}
	ok = bystander_end(runner->bystander, runner->options->limit_ms, &report, text->why,
			   sizeof(text->why));
	if (report.requests > 0) {
		add(text, "other session: %llu requests, mean %.1f ms, worst %.1f ms",
		    (unsigned long long)report.requests,
		    (double)report.sum_ns / (double)report.requests / 1e6,
		    (double)report.worst_ns / 1e6);
	}
	return ok;
}

static bool goes_within(struct runner *runner, unsigned int ms)
{
	const struct timespec interval = { .tv_nsec = INTERVAL_MS * 1000000 };
	unsigned int waited;

	for (waited = 0; waited < ms; waited += INTERVAL_MS) {
		if (!runner_target_alive(runner)) {
			return true;
		}
		nanosleep(&interval, NULL);
	}
	return false;
}

/* What the case must have left behind. */
static bool check_traces(struct runner *runner, struct verdict_text *text)
{
	bool ok = runner_target_alive(runner) && check_bystander(runner, text) &&
		  probe(runner, text->why, sizeof(text->why)) &&
		  watch_expect_baseline(&runner->watch, BASELINE_MS, text->why, sizeof(text->why));

	/* To die takes a moment (a sanitizer writes its report), and what was seen first is not what matters. */
	if (!ok && goes_within(runner, DYING_MS)) {
		snprintf(text->why, sizeof(text->why), "the target is gone: %s",
			 runner->gone[0] != '\0' ? runner->gone : "its process has ended");
	}
	return ok;
}

/* What one case has done shall not be held against the next. */
static void forget(struct runner *runner)
{
	char why[600];

	if (!runner_target_alive(runner)) {
		return;
	}
	if (runner->bystander != NULL) {
		bystander_stop(runner->bystander);
		runner->bystander = NULL;
		/* Without one if it must be: the cases that follow say so. */
		(void)bystander_start(runner->options, &runner->bystander, why, sizeof(why));
	}
	watch_take_baseline(&runner->watch);
}

enum verdict runner_case(struct runner *runner, const struct hostile_case *running,
			 struct verdict_text *ret_text)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	enum verdict verdict = VERDICT_OK;

	*ret_text = (struct verdict_text){ 0 };
	if (rig == NULL) {
		snprintf(ret_text->why, sizeof(ret_text->why), "no memory");
		return VERDICT_FAILED;
	}
	rig_init(rig, runner->options);
	rig->bystander = runner->bystander;
	if (runner->bystander != NULL) {
		bystander_begin(runner->bystander);
	}
	running->run(rig, running->arg);
	rig_close(rig);
	if (rig->note[0] != '\0') {
		add(ret_text, "%s", rig->note);
	}
	if (!check_traces(runner, ret_text)) {
		verdict = VERDICT_FAILED;
	} else if (rig->failed) {
		snprintf(ret_text->why, sizeof(ret_text->why), "%s", rig->why);
		verdict = VERDICT_FAILED;
	} else if (rig->skipped) {
		snprintf(ret_text->why, sizeof(ret_text->why), "%s", rig->why);
		verdict = VERDICT_SKIPPED;
	}
	free(rig);
	if (verdict == VERDICT_FAILED) {
		forget(runner);
	}
	return verdict;
}

bool runner_down(struct runner *runner, char *ret_why, size_t why_len)
{
	bool ok = true;

	bystander_stop(runner->bystander);
	runner->bystander = NULL;
	if (runner->child > 0) {
		ok = child_stop(runner->child, ret_why, why_len);
	}
	runner->child = 0;
	runner->gone[0] = '\0';
	return ok;
}
