/* SPDX-License-Identifier: BSD-3-Clause */
/* Each test confines a process of its own, which cannot be undone. */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/confine.h"

/* In the child: cmocka's own checks would be lost. The line is the exit status. */
#define MUST(condition)                            \
	do {                                       \
		if (!(condition)) {                \
			_exit(__LINE__ % 255 + 1); \
		}                                  \
	} while (0)

/* Runs fn in a process; returns what that wrote to standard error. */
static void run_confined(void (*fn)(void), char *ret_said, size_t room)
{
	int ends[2];
	ssize_t n;
	size_t used = 0;
	int status;
	pid_t pid;

	assert_int_equal(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		close(ends[1]);
		fn();
		_exit(0);
	}
	close(ends[1]);
	while ((n = read(ends[0], ret_said + used, room - 1 - used)) > 0) {
		used += (size_t)n;
	}
	ret_said[used] = '\0';
	close(ends[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fail_msg("status 0x%x (exit: line - 1 modulo 255): %s", status, ret_said);
	}
}

static bool confine(void)
{
	const char *reason;

	return confine_system_calls(&reason) == 0;
}

static bool fails(long result)
{
	return result < 0 && errno == EPERM;
}

/* ---- what is not allowed ---- */

static void try_forbidden(void)
{
	MUST(confine());
	for (unsigned int i = 0; i < 2; i++) {
		MUST(fails(mount("none", "/", "none", 0, NULL)));
		MUST(fails(chroot("/")));
	}
	MUST(fails(socket(AF_INET, SOCK_STREAM, 0)));
	MUST(fails(syscall(SYS_init_module, NULL, 0, "")));
}

static void what_is_not_needed_fails_and_is_told(void **state)
{
	char said[4096];
	const char *line;

	run_confined(try_forbidden, said, sizeof(said));
	line = strstr(said, "vhost: error: system call mount (number ");
	assert_non_null(line);
	assert_non_null(strstr(line, ") is not permitted to this process and has failed\n"));
	assert_null(strstr(strchr(line, '\n'), "call mount ")); /* once */
	assert_non_null(strstr(said, "call chroot "));
	assert_non_null(strstr(said, "call socket "));
	assert_non_null(strstr(said, "call init_module "));
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void try_to_run_others(void)
{
	char *const arguments[] = { "true", NULL };

	MUST(confine());
	MUST(fails(execv("/bin/true", arguments)));
	MUST(fails(fork()));
	MUST(fails(kill(getppid(), 0)));
	MUST(fails(prctl(PR_SET_DUMPABLE, 1)));
	MUST(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	     MAP_FAILED);
}

static void no_other_program_runs(void **state)
{
	char said[4096];

	run_confined(try_to_run_others, said, sizeof(said));
	assert_non_null(strstr(said, "call execve "));
	assert_non_null(strstr(said, "call clone "));
	assert_non_null(strstr(said, "call kill "));
	assert_non_null(strstr(said, "call prctl "));
	assert_non_null(strstr(said, "call mmap "));
}
#endif

/* ---- all threads ---- */

static sem_t go;
static atomic_int refused;

static void *try_from_thread(void *arg)
{
	while (sem_wait(&go) < 0) {
	}
	refused += fails(chroot("/"));
	return NULL;
}

static unsigned int count_confined_threads(void)
{
	char path[64];
	char line[128];
	unsigned int n = 0;

	for (pid_t id = getpid(); id < getpid() + 1000; id++) {
		bool filtered = false;
		bool no_new_privileges = false;
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%d/status", id);
		file = fopen(path, "re");
		if (file == NULL) {
			continue;
		}
		while (fgets(line, sizeof(line), file) != NULL) {
			filtered |= strcmp(line, "Seccomp:\t2\n") == 0;
			no_new_privileges |= strcmp(line, "NoNewPrivs:\t1\n") == 0;
		}
		fclose(file);
		MUST(filtered && no_new_privileges);
		n++;
	}
	return n;
}

static void confine_threads(void)
{
	pthread_t before;
	pthread_t after;
	sigset_t mask;

	sem_init(&go, 0, 0);
	MUST(pthread_create(&before, NULL, try_from_thread, NULL) == 0);
	MUST(confine());
	/* Threads are started later, too, with most signals blocked. */
	confine_block_signals(&mask);
	MUST(pthread_create(&after, NULL, try_from_thread, NULL) == 0);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	MUST(count_confined_threads() >= 3);
	sem_post(&go);
	sem_post(&go);
	pthread_join(before, NULL);
	pthread_join(after, NULL);
	MUST(refused == 2);
}

static void threads_of_before_and_after(void **state)
{
	char said[4096];

	run_confined(confine_threads, said, sizeof(said));
	assert_non_null(strstr(said, "call chroot "));
}

/* ---- capabilities ---- */

static uint64_t capabilities(const char *set)
{
	char line[128];
	uint64_t value = 0;
	FILE *file = fopen("/proc/self/status", "re");

	while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
		if (strncmp(line, set, strlen(set)) == 0) {
			value = strtoull(line + strlen(set), NULL, 16);
		}
	}
	fclose(file);
	return value;
}

static void drop_capabilities(void)
{
	uint64_t kept = UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_FOWNER |
			UINT64_C(1) << CAP_IPC_LOCK | UINT64_C(1) << CAP_SYS_NICE;
	uint64_t before = capabilities("CapPrm:\t");

	MUST(confine_capabilities() == 0);
	MUST(capabilities("CapPrm:\t") == (before & kept));
	MUST(capabilities("CapEff:\t") == (before & kept));
	if ((before >> CAP_SETPCAP & 1) != 0) {
		MUST((capabilities("CapBnd:\t") & ~kept) == 0);
	}
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	if (geteuid() == 0) {
		MUST(setuid(65534) < 0);
	}
	/* Twice is not once too often. */
	MUST(confine_capabilities() == 0);
}

static void few_capabilities_are_kept(void **state)
{
	char said[4096];

	run_confined(drop_capabilities, said, sizeof(said));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_not_needed_fails_and_is_told),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		cmocka_unit_test(no_other_program_runs),
#endif
		cmocka_unit_test(threads_of_before_and_after),
		cmocka_unit_test(few_capabilities_are_kept),
	};

	return cmocka_run_group_tests_name("base.confine", tests, NULL, NULL);
}
