/* SPDX-License-Identifier: BSD-3-Clause */
/* The library as a program uses it, through nothing but its public header. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <vhost_target/target.h>

#define DEADLINE_SECONDS 20

static char dir[64];
static char mask[16];

static int set_up(void **state)
{
	cpu_set_t usable;
	unsigned int core = 0;

	sched_getaffinity(0, sizeof(usable), &usable);
	while (!CPU_ISSET(core, &usable)) {
		core++;
	}
	snprintf(mask, sizeof(mask), "[%u]", core);
	strcpy(dir, "/tmp/vhost-api-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

/* Fails when a socket or anything else was left. */
static int tear_down(void **state)
{
	return rmdir(dir);
}

static struct vht_target *new_target(void)
{
	const struct vht_options opts = {
		.size = sizeof(opts),
		.name = "target_test",
		.reactor_mask = mask,
		.socket_dir = dir,
		.no_huge = true,
		.quiet = true,
	};
	struct vht_target *target = NULL;
	const char *reason = "";

	assert_int_equal(vht_target_new(&opts, &target, &reason), 0);
	return target;
}

static bool connects(const char *name)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	bool yes;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/%s", dir, name);
	yes = connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) == 0;
	close(fd);
	return yes;
}

/* Stops the target when its sockets are there: all else is forbidden to another thread. */
static void *stop_when_it_serves(void *arg)
{
	const struct timespec interval = { .tv_nsec = 5000000 };
	time_t start = time(NULL);

	while (!connects("disk") || !connects("vhost-rpc.sock")) {
		if (time(NULL) > start + DEADLINE_SECONDS) {
			abort();
		}
		nanosleep(&interval, NULL);
	}
	vht_target_stop(arg);
	return NULL;
}

static void a_whole_life(void **state)
{
	struct vht_target *target = new_target();
	const struct vht_bdev_options ram = { .name = "Ram", .size = 1 << 20 };
	const struct vht_bdev_options null = { .name = "Null",
					       .size = 1 << 20,
					       .block_size = 4096 };
	const struct vht_controller_options disk = { .name = "disk",
						     .bdev = "Ram",
						     .listen_fd = -1 };
	const struct vht_controller_options scsi = { .name = "scsi", .listen_fd = -1, .queues = 2 };
	const char *reason = "";
	pthread_t thread;

	assert_int_equal(vht_target_start(target, &reason), 0);
	assert_int_equal(vht_target_add_malloc(target, &ram, &reason), 0);
	assert_int_equal(vht_target_add_null(target, &null, &reason), 0);
	assert_int_equal(vht_target_add_blk(target, &disk, &reason), 0);
	assert_int_equal(vht_target_add_scsi(target, &scsi, &reason), 0);
	assert_int_equal(vht_target_add_scsi_disk(target, "scsi", 7, "Null", &reason), 0);
	/* Nobody gets in before everything is there. */
	assert_false(connects("disk"));
	assert_int_equal(pthread_create(&thread, NULL, stop_when_it_serves, target), 0);
	assert_int_equal(vht_target_run(target, &reason), 0);
	pthread_join(thread, NULL);
	vht_target_free(target);
}

static void stop_may_come_first(void **state)
{
	struct vht_target *target = new_target();
	const char *reason = "";

	vht_target_stop(target);
	assert_int_equal(vht_target_start(target, &reason), 0);
	assert_int_equal(vht_target_run(target, &reason), 0);
	vht_target_free(target);
}

static void a_configuration_file(void **state)
{
	struct vht_target *target = new_target();
	const char *reason = "";
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/conf", dir);
	file = fopen(path, "w");
	fputs("[Null]\nDev N 1\n[VhostBlk0]\nName a\nDev N\n[VhostBlk1]\nName a\nDev N\n", file);
	fclose(file);
	assert_int_equal(vht_target_load_config(target, path, &reason), 0);
	assert_int_equal(vht_target_load_config(target, path, &reason), -EALREADY);
	unlink(path);
	assert_int_equal(vht_target_pass_fd(target, NULL, -1, &reason), -EINVAL);
	assert_int_equal(vht_target_start(target, &reason), -EEXIST);
	assert_non_null(strstr(reason, "conf:7: controller a exists already"));
	/* What was made before the mistake goes with the target. */
	vht_target_free(target);
}

static void wrong_use_is_refused(void **state)
{
	struct vht_options opts = { .size = sizeof(opts) - 1, .name = "target_test" };
	struct vht_target *target = NULL;
	const char *reason = "";

	assert_int_equal(vht_target_new(&opts, &target, &reason), -EINVAL);
	opts.size++;
	opts.reactor_mask = "[1000]";
	assert_int_equal(vht_target_new(&opts, &target, &reason), 0);
	assert_int_equal(vht_target_run(target, &reason), -EINVAL);
	assert_string_equal(reason, "the target was not started");
	assert_int_equal(vht_target_start(target, &reason), -ENODEV);
	assert_non_null(strstr(reason, "core 1000"));
	vht_target_free(target);
	vht_target_free(NULL);
}

static void versions(void **state)
{
	assert_string_equal(vht_version(), VHT_VERSION);
	assert_string_equal(vht_environment(), "posix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_whole_life, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stop_may_come_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_configuration_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(wrong_use_is_refused, set_up, tear_down),
		cmocka_unit_test(versions),
	};

	return cmocka_run_group_tests_name("api.target", tests, NULL, NULL);
}
