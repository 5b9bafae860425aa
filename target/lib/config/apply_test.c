/* SPDX-License-Identifier: BSD-3-Clause */
/* On a real target with real reactors, on the posix environment. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "bdev/bdev.h"
#include "config/model.h"
#include "reactor/reactor.h"

struct fixture {
	char dir[64];
	struct loop *loop;
	struct target *target;
	bool down;
};

/* A core that this process may use, as a mask of one. */
static struct env_cpuset one_core(void)
{
	struct env_cpuset cores = { 0 };
	cpu_set_t usable;
	unsigned int core = 0;

	sched_getaffinity(0, sizeof(usable), &usable);
	while (!CPU_ISSET(core, &usable)) {
		core++;
	}
	env_cpuset_add(&cores, core);
	return cores;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct env_options env = { .name = "apply_test", .cores = one_core(), .quiet = true };
	struct reactor_options reactor = { .mode = REACTOR_EVENT };
	struct target_options opts = { .cores = env.cores };
	const char *reason;

	strcpy(f->dir, "/tmp/vhost-apply-XXXXXX");
	opts.socket_dir = f->dir;
	if (mkdtemp(f->dir) == NULL || env_init(&env, &reason) < 0 ||
	    reactors_start(&env.cores, &reactor) < 0 || loop_new(&f->loop) < 0) {
		return -1;
	}
	opts.loop = f->loop;
	*state = f;
	return target_new(&opts, &f->target);
}

static void is_down(void *arg)
{
	((struct fixture *)arg)->down = true;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	int r;

	target_shutdown(f->target, is_down, f);
	while (!f->down) {
		loop_run_once(f->loop, 100);
	}
	reactors_stop();
	target_free(f->target);
	bdev_delete_all();
	loop_free(f->loop);
	env_done();
	/* Nothing of ours may be left in the directory. */
	r = rmdir(f->dir);
	free(f);
	return r;
}

static int apply_with_fds(struct fixture *f, const char *text, struct config_listen_fd *fds,
			  unsigned int fd_n, const char **ret_why)
{
	struct config *config = NULL;
	int r = config_parse("t.conf", text, strlen(text), false, &config, ret_why);

	if (r == 0) {
		r = config_apply(config, f->target, fds, fd_n, ret_why);
		config_free(config);
	}
	return r;
}

static int apply(struct fixture *f, const char *text, const char **ret_why)
{
	return apply_with_fds(f, text, NULL, 0, ret_why);
}

static struct controller_info info(struct fixture *f, const char *name)
{
	struct controller *controller = controller_find(f->target, name);
	struct controller_info found;

	assert_non_null(controller);
	controller_get_info(controller, &found);
	return found;
}

static void everything_that_the_file_describes_is_made(void **state)
{
	struct fixture *f = *state;
	struct controller_info found;
	const char *reason = "";
	int r = apply(f,
		      "[Malloc]\nNumberOfLuns 2\nLunSizeInMB 1\n"
		      "[VhostBlk3]\nName vhost.1\nDev Null0 # as in the guide\nReadOnly Yes\n"
		      "Serial ABC\nQueues 3\nLimitIosPerSec 5000\nLimitMbytesPerSec 100\n"
		      "[VhostScsi9]\nName vhost.0\nDev 0 Malloc0\nTarget 5 Malloc1\nQueues 2\n"
		      "CoalescingDelayUs 50\nCoalescingIopsThreshold 60000\n"
		      "[VhostBlk4]\nName not.made\n"
		      "[Null]\nDev Null0 4096 4096\n",
		      &reason);

	assert_string_equal(reason, "");
	assert_int_equal(r, 0);
	assert_int_equal(bdev_find("Malloc0")->info.block_size, 512);
	assert_int_equal(bdev_find("Malloc1")->info.size, 1 << 20);
	assert_true(bdev_find("Null0")->info.size == UINT64_C(4096) << 20);
	assert_int_equal(bdev_find("Null0")->info.block_size, 4096);
	found = info(f, "vhost.0");
	assert_string_equal(found.type, "scsi");
	assert_string_equal(found.targets[0].bdev, "Malloc0");
	assert_string_equal(found.targets[5].bdev, "Malloc1");
	assert_null(found.targets[1].bdev);
	assert_int_equal(found.qos.delay_us, 50);
	assert_int_equal(found.qos.iops_threshold, 60000);
	assert_int_equal(found.qos.ios_per_sec, 0);
	assert_int_equal(controller_max_queues(controller_find(f->target, "vhost.0")), 2 + 2);
	found = info(f, "vhost.1");
	assert_string_equal(found.type, "blk");
	assert_string_equal(found.bdev, "Null0");
	assert_true(found.read_only);
	assert_int_equal(found.qos.delay_us, 0);
	assert_int_equal(found.qos.ios_per_sec, 5000);
	assert_int_equal(found.qos.mbytes_per_sec, 100);
	assert_int_equal(controller_max_queues(controller_find(f->target, "vhost.1")), 3);
	assert_null(controller_find(f->target, "not.made"));
	/* Scsi comes first, whatever the order of the file. */
	assert_ptr_equal(controller_next(f->target, NULL), controller_find(f->target, "vhost.0"));
}

/* The text before "|" is the file, what is behind it must be in the reason. */
static const char *const refusals[] = {
	"[Malloc]\nLunSizeInMB 1\n|t.conf:1: section [Malloc] needs NumberOfLuns",
	"[Malloc]\nNumberOfLuns 1\n|t.conf:1: section [Malloc] needs LunSizeInMB",
	"[Malloc]\nNumberOfLuns 1\nLunSizeInMB 1\nBlockSize 520\n|t.conf:4: Malloc0: block size 520",
	"[Malloc]\nNumberOfLuns 1\nLunSizeInMB 900000000\n|t.conf:3: Malloc0: 900000000 MiB do not fit",
	"[Null]\nDev N 1\nDev N 1\n|t.conf:3: there is a bdev 'N' already",
	"[Null]\nDev N big\n|t.conf:2: Dev: the size in MiB 'big' is not a decimal number",
	"[Null]\nDev N 1 5000000000\n|t.conf:2: Dev: the block size '5000000000' is not",
	"[AIO]\nAIO /nonexistent/x A\n|t.conf:2: ",
	"[VhostBlk0]\nDev N\nName \"\"\n|t.conf:3: [VhostBlk0]: missing Name",
	"[VhostBlk0]\nDev N\nName b\xf6se\n|t.conf:3: [VhostBlk0]: Name is not printable text",
	"[VhostBlk0]\nDev N\n|t.conf:1: [VhostBlk0]: missing Name",
	"[Null]\nDev N 1\n[VhostBlk0]\nName a\nDev M\n|t.conf:5: a: there is no bdev named 'M'",
	"[VhostScsi0]\nName a\nDev 0 M\n|t.conf:3: a: there is no bdev named 'M'",
	"[Null]\nDev N 1\n[VhostScsi0]\nName a\nDev 8 N\n|t.conf:5: Dev: the target number '8' is not",
	"[Null]\nDev N 1\n[VhostScsi0]\nName a\nDev 1 N\nDev 1 N\n|t.conf:6: a: target 1 is occupied",
	"[VhostScsi0]\nName a\n[VhostScsi1]\nName a\n|t.conf:4: controller a exists already",
	"[Null]\nDev N 1\n[VhostScsi0]\nName a\n[VhostBlk0]\nDev N\nName a\n"
	"|t.conf:7: controller a exists already",
	"[VhostScsi0]\nName a\nCpumask [999]\n|t.conf:3: a: Cpumask [999] is not a subset",
	"[VhostScsi0]\nName aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n|t.conf:2: socket path ",
};

static void refusals_name_the_line(void **state)
{
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		const char *expected = strchr(refusals[i], '|') + 1;
		const char *reason = "";
		char text[512];
		void *inner;

		snprintf(text, sizeof(text), "%.*s", (int)(expected - 1 - refusals[i]),
			 refusals[i]);
		assert_int_equal(set_up(&inner), 0);
		assert_true(apply(inner, text, &reason) < 0);
		if (strncmp(reason, expected, strlen(expected)) != 0) {
			fail_msg("'%s' instead of '%s'", reason, expected);
		}
		assert_int_equal(tear_down(&inner), 0);
	}
}

static void a_socket_that_cannot_be_opened_is_reported_with_its_line(void **state)
{
	struct fixture *f = *state;
	const char *reason = "";
	char expected[256];
	char path[128];
	struct stat st;
	FILE *file;

	snprintf(path, sizeof(path), "%s/b", f->dir);
	snprintf(expected, sizeof(expected), "t.conf:4: Cannot remove %s: not a socket", path);
	file = fopen(path, "w");
	assert_non_null(file);
	fclose(file);
	assert_int_equal(apply(f, "[VhostScsi0]\nName a\n[VhostScsi1]\nName b\n", &reason), 0);
	assert_int_equal(target_listen(f->target, &reason), -EEXIST);
	assert_memory_equal(reason, expected, strlen(expected));
	unlink(path);
	snprintf(path, sizeof(path), "%s/a", f->dir);
	assert_int_equal(lstat(path, &st), -1);
}

static int listening_socket(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(addr.sun_path, path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(fd, 1), 0);
	return fd;
}

static const char two[] = "[VhostScsi0]\nName a\n[VhostScsi1]\nName b\n";

static void passed_sockets_find_their_controllers(void **state)
{
	struct fixture *f = *state;
	const char *reason = "";
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/passed", f->dir);
	struct config_listen_fd fds[] = { { .controller = "b", .fd = listening_socket(path) } };

	assert_int_equal(apply_with_fds(f, two, fds, 1, &reason), 0);
	assert_int_equal(fds[0].fd, -1);
	assert_int_equal(target_listen(f->target, &reason), 0);
	unlink(path);
	/* a got a socket of its own, b did not. */
	snprintf(path, sizeof(path), "%s/a", f->dir);
	assert_int_equal(lstat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	snprintf(path, sizeof(path), "%s/b", f->dir);
	assert_int_equal(lstat(path, &st), -1);
}

static void a_socket_for_a_refused_controller_is_closed(void **state)
{
	struct fixture *f = *state;
	const char *reason = "";
	char path[128];

	snprintf(path, sizeof(path), "%s/passed", f->dir);
	int fd = listening_socket(path);
	struct config_listen_fd fds[] = { { .controller = "b", .fd = fd } };

	assert_int_equal(apply_with_fds(f, "[VhostScsi0]\nName b\nCpumask [1023]\n", fds, 1,
					&reason),
			 -EINVAL);
	assert_int_equal(fds[0].fd, -1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	unlink(path);
}

static void an_unnamed_socket_needs_a_single_controller(void **state)
{
	struct fixture *f = *state;
	struct config_listen_fd fds[] = { { .controller = NULL, .fd = 3 } };
	const char *reason = "";

	assert_int_equal(apply_with_fds(f, two, fds, 1, &reason), -EINVAL);
	assert_string_equal(reason,
			    "t.conf: it has 2 controllers, so a passed socket must say whose it "
			    "is: --fd NAME=3");
}

static void a_socket_for_nobody_is_an_error(void **state)
{
	struct fixture *f = *state;
	struct config_listen_fd fds[] = { { .controller = "c", .fd = 3 } };
	const char *reason = "";

	assert_int_equal(apply_with_fds(f, two, fds, 1, &reason), -ENOENT);
	assert_string_equal(reason, "t.conf: no controller has the Name 'c' (of --fd c=3)");
}

#define with_target(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_target(everything_that_the_file_describes_is_made),
		cmocka_unit_test(refusals_name_the_line),
		with_target(a_socket_that_cannot_be_opened_is_reported_with_its_line),
		with_target(passed_sockets_find_their_controllers),
		with_target(a_socket_for_a_refused_controller_is_closed),
		with_target(an_unnamed_socket_needs_a_single_controller),
		with_target(a_socket_for_nobody_is_an_error),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("config.apply", tests, NULL, NULL);
}
