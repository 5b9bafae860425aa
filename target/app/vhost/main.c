/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon: options, signals, process number file; everything else is the library's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <vhost_target/target.h>

#include "base/coverage.h"
#include "base/log.h"
#include "options.h"

#define BLK_FILE_BDEV "disk"

/* For the signal handler only; set before it is installed. */
static struct vht_target *signalled_target;

/*
 * Signals often come in pairs: from a terminal that closes and from its shell, or from a service
 * manager. So only one that comes when an orderly end should be over (it takes less than a second)
 * means that somebody has lost patience.
 */
static void end_signal(int number)
{
	static volatile sig_atomic_t seen;
	static struct timespec patience_ends;
	int saved_errno = errno;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!seen) {
		patience_ends = now;
		patience_ends.tv_sec++;
		seen = 1;
	} else if (now.tv_sec > patience_ends.tv_sec ||
		   (now.tv_sec == patience_ends.tv_sec && now.tv_nsec >= patience_ends.tv_nsec)) {
		_exit(128 + number);
	}
	vht_target_stop(signalled_target);
	errno = saved_errno;
}

static void handover_signal(int number)
{
	int saved_errno = errno;

	vht_target_hand_over(signalled_target);
	errno = saved_errno;
}

static void catch_signals(struct vht_target *target)
{
	struct sigaction handover = { .sa_handler = handover_signal, .sa_flags = SA_RESTART };
	struct sigaction end = { .sa_handler = end_signal, .sa_flags = SA_RESTART };
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	struct sigaction hangup;

	signalled_target = target;
	sigaddset(&end.sa_mask, SIGINT);
	sigaddset(&end.sa_mask, SIGTERM);
	sigaddset(&end.sa_mask, SIGHUP);
	sigaction(SIGINT, &end, NULL);
	sigaction(SIGTERM, &end, NULL);
	sigaction(SIGUSR2, &handover, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	/* nohup(1) wants a closed terminal to be no end. */
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) {
		sigaction(SIGHUP, &end, NULL);
	}
}

/* From here on a signal ends the process as if nobody had asked. */
static void release_signals(void)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	struct sigaction hangup;

	sigaction(SIGINT, &usual, NULL);
	sigaction(SIGTERM, &usual, NULL);
	sigaction(SIGUSR2, &usual, NULL);
	if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) {
		sigaction(SIGHUP, &usual, NULL);
	}
}

/*
 * A standard descriptor that the parent process closed would be the next one to be handed out: log
 * lines would then be written to a disk or into somebody's eventfd.
 */
static int fill_standard_descriptors(void)
{
	int fd;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* The lowest that is free is this one, since those below it are open. */
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) {
			return -errno;
		}
	}
	return 0;
}

/* Each queue of each front-end takes three descriptors, and the usual limit is made for select(2). */
static void allow_many_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void allow_core_dumps(void)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY };

	if (setrlimit(RLIMIT_CORE, &limit) < 0 && getrlimit(RLIMIT_CORE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_CORE, &limit);
	}
}

/* A person at the machine's own console would see log lines between everything else. */
static void warn_about_console(void)
{
	const char *terminal = isatty(STDERR_FILENO) ? ttyname(STDERR_FILENO) : NULL;

	if (terminal != NULL && strncmp(terminal, "/dev/tty", strlen("/dev/tty")) == 0) {
		log_warning("logging to the console %s; -q logs less, 2>FILE elsewhere", terminal);
	}
}

static int write_pid_file(const char *path)
{
	FILE *file = fopen(path, "we");
	bool written;

	if (file == NULL) {
		log_error("cannot create the process number file %s: %s", path, strerror(errno));
		return -errno;
	}
	written = fprintf(file, "%ld\n", (long)getpid()) > 0;
	if (fclose(file) != 0 || !written) {
		log_error("cannot write the process number file %s: %s", path, strerror(errno));
		unlink(path);
		return -EIO;
	}
	return 0;
}

/* --blk-file: one aio bdev, one controller. */
static int add_blk_file(struct vht_target *target, const struct options *o, const char **ret_why)
{
	const struct vht_bdev_options bdev = {
		.name = BLK_FILE_BDEV,
		.filename = o->blk_file,
		.read_only = o->read_only,
	};
	const struct vht_controller_options controller = {
		.name = o->socket_path != NULL ? o->socket_path : "vhost-blk",
		.listen_fd = o->socket_path != NULL ? -1 : o->fds[0].fd,
		.bdev = BLK_FILE_BDEV,
		.read_only = o->read_only,
	};
	int r = vht_target_add_aio(target, &bdev, ret_why);

	return r < 0 ? r : vht_target_add_blk(target, &controller, ret_why);
}

static int load(struct vht_target *target, const struct options *o, const char **ret_why)
{
	const char *path = o->config_path != NULL ? o->config_path : VHOST_CONF_DEFAULT;
	unsigned int i;
	int r;

	r = vht_target_load_config(target, path, ret_why);
	if (r == -ENOENT && o->config_path == NULL) {
		*ret_why = "no configuration: there is no " VHOST_CONF_DEFAULT
			   "; name a file with -c FILE";
	}
	for (i = 0; r == 0 && i < o->fd_n; i++) {
		r = vht_target_pass_fd(target, o->fds[i].controller, o->fds[i].fd, ret_why);
	}
	return r;
}

/* All that the command line and its file describe. */
static int make(struct vht_target *target, const struct options *o, const char **ret_why)
{
	int r = 0;

	if (o->blk_file == NULL) {
		r = load(target, o, ret_why);
	}
	if (r == 0) {
		r = vht_target_start(target, ret_why);
	}
	if (r == 0 && o->blk_file != NULL) {
		r = add_blk_file(target, o, ret_why);
	}
	return r;
}

/* handover_fd >= 0: goes on with what another process of ours has made of the same command line. */
static int serve(struct vht_target *target, const struct options *o, int handover_fd)
{
	const char *reason = NULL;
	int r;

	r = handover_fd >= 0 ? vht_target_take_over(target, handover_fd, &reason) :
			       make(target, o, &reason);
	if (r < 0) {
		log_error("%s", reason);
		if (handover_fd >= 0) {
			coverage_dump();
			_exit(EXIT_FAILURE);
		}
		return r;
	}
	if (o->pid_file != NULL) {
		r = write_pid_file(o->pid_file);
		if (r < 0 && handover_fd < 0) {
			return r;
		}
	}
	r = vht_target_run(target, &reason);
	if (r == VHT_HANDED_OVER) {
		coverage_dump();
		_exit(EXIT_SUCCESS);
	}
	if (r < 0) {
		log_error("%s", reason);
	} else {
		log_notice("Exiting");
	}
	if (o->pid_file != NULL) {
		unlink(o->pid_file);
	}
	return r;
}

/* As it was given: options_parse() takes it apart. NULL: out of memory. */
static char **copy_arguments(int argc, char **argv)
{
	char **copy = calloc((size_t)argc + 1, sizeof(*copy));
	int i;

	for (i = 0; copy != NULL && i < argc; i++) {
		copy[i] = strdup(argv[i]);
		if (copy[i] == NULL) {
			return NULL;
		}
	}
	return copy;
}

/* The descriptor that a predecessor tells us everything on; -1: there is none. Not for our own children. */
static int take_handover_fd(void)
{
	const char *text = getenv(VHT_HANDOVER_VARIABLE);
	int fd = text != NULL ? atoi(text) : -1;

	unsetenv(VHT_HANDOVER_VARIABLE);
	if (fd <= STDERR_FILENO || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		return -1;
	}
	return fd;
}

int main(int argc, char **argv)
{
	static char **arguments; /* a hand-over needs it at any time */
	struct vht_target *target;
	struct options options;
	const char *reason;
	int handover_fd;
	int r;

	if (fill_standard_descriptors() < 0) {
		return EXIT_FAILURE; /* and nowhere to say why */
	}
	arguments = copy_arguments(argc, argv);
	handover_fd = take_handover_fd();
	switch (options_parse(argc, argv, &options)) {
	case OPTIONS_DONE:
		return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
	case OPTIONS_BAD:
		return EXIT_FAILURE;
	case OPTIONS_RUN:
		break;
	}
	if (!options.quiet) {
		warn_about_console();
	}
	if (!options.no_core_dumps) {
		allow_core_dumps();
	}
	allow_many_descriptors();
	options.target.no_rpc = options.blk_file != NULL;
	options.target.argv = options.no_handover ? NULL : arguments;
	options.target.confine = !options.no_seccomp;
	if (vht_target_new(&options.target, &target, &reason) < 0) {
		log_error("%s", reason);
		return EXIT_FAILURE;
	}
	catch_signals(target);
	r = serve(target, &options, handover_fd);
	if (r == -ETIMEDOUT) {
		coverage_dump();
		_exit(EXIT_FAILURE); /* its threads cannot be joined */
	}
	release_signals();
	vht_target_free(target);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
