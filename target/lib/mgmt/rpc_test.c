/* SPDX-License-Identifier: BSD-3-Clause */
#include "mgmt/testing.h"

#include <errno.h>
#include <fcntl.h>

#include "base/log.h"
#include "mgmt/rpc.h"

static struct test_target target;
static struct rpc_server server;

static int set_up(void **state)
{
	int r = test_target_open(&target);

	server = (struct rpc_server){ .target = target.target };
	return r;
}

static int tear_down(void **state)
{
	return test_target_close(&target);
}

/* The answer, parsed; NULL: none. */
static json_t *ask(const char *text)
{
	char *answer = rpc_answer(&server, text, strlen(text));
	json_t *json;

	if (answer == NULL) {
		return NULL;
	}
	assert_true(strlen(answer) > 0 && answer[strlen(answer) - 1] == '\n');
	assert_ptr_equal(strchr(answer, '\n'), answer + strlen(answer) - 1);
	json = json_loads(answer, 0, NULL);
	assert_non_null(json);
	free(answer);
	return json;
}

/* Calls the method with id 7 and returns the result. */
static json_t *call(const char *method, const char *params)
{
	char text[1024];
	json_t *answer;
	json_t *result;

	snprintf(text, sizeof(text),
		 "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"%s\",\"params\":%s}", method, params);
	answer = ask(text);
	assert_int_equal(json_integer_value(json_object_get(answer, "id")), 7);
	assert_string_equal(json_string_value(json_object_get(answer, "jsonrpc")), "2.0");
	result = json_incref(json_object_get(answer, "result"));
	if (result == NULL) {
		const json_t *error = json_object_get(answer, "error");

		fail_msg("%s: %s", method, json_string_value(json_object_get(error, "message")));
	}
	json_decref(answer);
	return result;
}

/* The call answers with this JSON, keys in any order. */
static void expect(const char *method, const char *params, const char *expected)
{
	json_t *result = call(method, params);
	json_t *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);

	assert_non_null(wanted);
	if (!json_equal(result, wanted)) {
		fail_msg("%s: %s", method, json_dumps(result, JSON_ENCODE_ANY));
	}
	json_decref(result);
	json_decref(wanted);
}

static void expect_error(const char *text, int code, const char *message)
{
	json_t *answer = ask(text);
	const json_t *error = json_object_get(answer, "error");

	assert_non_null(error);
	assert_null(json_object_get(answer, "result"));
	if (json_integer_value(json_object_get(error, "code")) != code ||
	    strstr(json_string_value(json_object_get(error, "message")), message) == NULL) {
		fail_msg("%s: %s", text, json_dumps(error, 0));
	}
	json_decref(answer);
}

static void expect_refusal(const char *method, const char *params, int code, const char *message)
{
	char text[1024];

	snprintf(text, sizeof(text),
		 "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"%s\",\"params\":%s}", method,
		 params);
	expect_error(text, code, message);
}

static void requests_that_are_none(void **state)
{
	expect_error("{\"jsonrpc\":\"2.0\" \"id\":1}", RPC_PARSE_ERROR, "not valid JSON");
	expect_error("{\"a\":\"\xff\"}", RPC_PARSE_ERROR, "");
	expect_error("{\"id\":1,\"id\":2}", RPC_PARSE_ERROR, "duplicate");
	expect_error("{}", RPC_INVALID_REQUEST, "2.0");
	expect_error("{\"id\":1,\"method\":\"rpc_get_methods\"}", RPC_INVALID_REQUEST, "2.0");
	expect_error("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"x\"}", RPC_INVALID_REQUEST, "2.0");
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"x\"}", RPC_INVALID_REQUEST,
		     "2.0");
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":2}", RPC_INVALID_REQUEST, "2.0");
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":1}",
		     RPC_INVALID_REQUEST, "params");
	expect_error("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\"}", RPC_UNKNOWN_METHOD,
		     "unknown method 'x'");
	expect_error("[]", RPC_INVALID_REQUEST, "empty");
}

static void notifications_and_batches(void **state)
{
	json_t *answer;

	assert_null(ask("{\"jsonrpc\":\"2.0\",\"method\":\"nonsense\"}"));
	assert_null(ask("[{\"jsonrpc\":\"2.0\",\"method\":\"log_get_level\"}]"));
	answer = ask("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log_get_level\"}, 5,"
		     " {\"jsonrpc\":\"2.0\",\"method\":\"log_get_level\"},"
		     " {\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"log_get_level\"}]");
	assert_int_equal(json_array_size(answer), 3);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(answer, 0), "id")), 1);
	assert_non_null(json_object_get(json_array_get(answer, 1), "error"));
	assert_true(json_is_null(json_object_get(json_array_get(answer, 1), "id")));
	json_decref(answer);
}

/* Messages quote a part of what was sent, which may end within a character. */
static void messages_are_utf8(void **state)
{
	/* 62 letters, then a character of two bytes: 63 bytes are quoted. */
	static const char name[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
				   "\xc3\xa9";
	char params[128];

	snprintf(params, sizeof(params), "{\"name\":\"%s\"}", name);
	expect_refusal("bdev_delete", params, -ENODEV, "there is no bdev named 'xxxx");
	snprintf(params, sizeof(params), "{\"ctrlr\":\"a\\nb\"}");
	expect_refusal("vhost_create_scsi_controller", params, RPC_INVALID_PARAMS, "not printable");
}

static void parameters_are_checked(void **state)
{
	const char *malloc_create = "bdev_malloc_create";

	expect_refusal(malloc_create, "{}", RPC_INVALID_PARAMS,
		       "parameter 'num_blocks' is missing: it takes num_blocks, block_size, name "
		       "(optional)");
	expect_refusal(malloc_create, "{\"num_blocks\":\"8\",\"block_size\":512}",
		       RPC_INVALID_PARAMS, "'num_blocks' has to be a whole number");
	expect_refusal(malloc_create, "{\"num_blocks\":8.5,\"block_size\":512}", RPC_INVALID_PARAMS,
		       "whole number");
	expect_refusal(malloc_create, "{\"num_blocks\":8,\"block_size\":512,\"nam\":\"x\"}",
		       RPC_INVALID_PARAMS, "unknown parameter 'nam'");
	expect_refusal(malloc_create, "{\"num_blocks\":0,\"block_size\":512}", RPC_INVALID_PARAMS,
		       "at least 1");
	expect_refusal(malloc_create, "{\"num_blocks\":8,\"block_size\":513}", RPC_INVALID_PARAMS,
		       "block size 513");
	expect_refusal(malloc_create, "{\"num_blocks\":9223372036854775807,\"block_size\":512}",
		       RPC_INVALID_PARAMS, "64 bits");
	expect_refusal(malloc_create, "[8,512,\"x\",1]", RPC_INVALID_PARAMS, "too many");
	expect_refusal("bdev_aio_create",
		       "{\"name\":\"a\",\"filename\":\"f\",\"readonly\":true,\"read_only\":true}",
		       RPC_INVALID_PARAMS, "given twice");
	expect_refusal("rpc_get_methods", "{\"current\":1}", RPC_INVALID_PARAMS, "true or false");
	expect_refusal("get_version", "{\"x\":1}", RPC_INVALID_PARAMS, "it takes none");
}

static void bdevs_come_and_go(void **state)
{
	json_t *list;
	const json_t *bdev;

	expect("bdev_get_bdevs", "{}", "[]");
	expect("bdev_malloc_create", "{\"name\":\"A\",\"num_blocks\":2048.0,\"block_size\":512}",
	       "\"A\"");
	expect("construct_malloc_bdev", "{\"num_blocks\":2048,\"block_size\":512}",
	       "[\"Malloc0\"]");
	expect("bdev_null_create", "[\"N\",1000,4096]", "\"N\"");
	expect_refusal("construct_null_bdev",
		       "{\"name\":\"N\",\"num_blocks\":1,\"block_size\":512}", -17, "'N' already");
	list = call("get_bdevs", "{\"name\":\"N\"}");
	assert_int_equal(json_array_size(list), 1);
	bdev = json_array_get(list, 0);
	assert_int_equal(json_integer_value(json_object_get(bdev, "num_blocks")), 1000);
	assert_int_equal(json_integer_value(json_object_get(bdev, "block_size")), 4096);
	assert_string_equal(json_string_value(json_object_get(bdev, "product_name")), "Null disk");
	assert_true(json_is_false(json_object_get(bdev, "claimed")));
	json_decref(list);
	expect_refusal("bdev_get_bdevs", "{\"name\":\"X\"}", -19, "no bdev named 'X'");
	expect_refusal("bdev_malloc_delete", "{\"name\":\"N\"}", RPC_INVALID_PARAMS,
		       "is a null bdev");
	expect_refusal("bdev_null_delete", "{\"name\":\"X\"}", -19, "no bdev named 'X'");
	expect("bdev_null_delete", "{\"name\":\"N\"}", "true");
	expect("delete_bdev", "{\"name\":\"Malloc0\"}", "true");
	expect("bdev_malloc_delete", "{\"name\":\"A\"}", "true");
	expect("bdev_get_bdevs", "{}", "[]");
	expect_refusal("construct_aio_bdev", "{\"name\":\"A\",\"fname\":\"/nonexistent/a\"}", -2,
		       "/nonexistent/a");
}

static json_int_t blocks_of(const char *name)
{
	char params[64];
	json_int_t blocks;
	json_t *list;

	snprintf(params, sizeof(params), "{\"name\":\"%s\"}", name);
	list = call("bdev_get_bdevs", params);
	blocks = json_integer_value(json_object_get(json_array_get(list, 0), "num_blocks"));
	json_decref(list);
	return blocks;
}

static void bdevs_change_their_size(void **state)
{
	char params[256];

	expect("bdev_malloc_create", "[2048, 512, \"M\"]", "\"M\"");
	expect("bdev_null_create", "[\"N\", 1000, 4096]", "\"N\"");
	expect("bdev_malloc_resize", "{\"name\":\"M\",\"new_size\":3}", "true");
	assert_int_equal(blocks_of("M"), 3 * 2048);
	expect("bdev_malloc_resize", "{\"name\":\"M\",\"num_blocks\":100}", "true");
	assert_int_equal(blocks_of("M"), 100);
	expect("bdev_null_resize", "[\"N\", 1]", "true");
	assert_int_equal(blocks_of("N"), 256);

	expect_refusal("bdev_null_resize", "[\"M\", 1]", RPC_INVALID_PARAMS, "is a malloc bdev");
	expect_refusal("bdev_null_resize", "[\"X\", 1]", -19, "no bdev named 'X'");
	expect_refusal("bdev_null_resize", "[\"N\"]", RPC_INVALID_PARAMS, "new_size");
	expect_refusal("bdev_null_resize", "[\"N\", 1, 1]", RPC_INVALID_PARAMS, "either");
	expect_refusal("bdev_null_resize", "[\"N\", 0]", RPC_INVALID_PARAMS, "at least 1");
	expect_refusal("bdev_null_resize", "[\"N\", -1]", RPC_INVALID_PARAMS, "at least 1");
	expect_refusal("bdev_null_resize", "[\"N\", 9000000000000000000]", RPC_INVALID_PARAMS,
		       "64 bits");
	expect_refusal("bdev_null_resize", "{\"name\":\"N\",\"num_blocks\":9000000000000000}",
		       RPC_INVALID_PARAMS, "64 bits");
	expect_refusal("bdev_null_resize", "{\"name\":\"N\",\"num_blocks\":4000000000000000}",
		       RPC_INVALID_PARAMS, "not a positive multiple");
	expect_refusal("bdev_malloc_resize", "[\"M\", 1000000000]", -28, "can grow to");
	assert_int_equal(blocks_of("M"), 100);
	assert_int_equal(blocks_of("N"), 256);

	snprintf(params, sizeof(params), "%s/file", target.dir);
	assert_int_equal(close(open(params, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)), 0);
	assert_int_equal(truncate(params, 4096), 0);
	snprintf(params, sizeof(params), "[\"A\", \"%s/file\"]", target.dir);
	expect("bdev_aio_create", params, "\"A\"");
	snprintf(params, sizeof(params), "%s/file", target.dir);
	assert_int_equal(truncate(params, 1 << 20), 0);
	expect("bdev_aio_rescan", "[\"A\"]", "true");
	assert_int_equal(blocks_of("A"), 2048);
	assert_int_equal(truncate(params, 0), 0);
	expect_refusal("bdev_aio_rescan", "[\"A\"]", RPC_INVALID_PARAMS, "A: it is empty");
	expect_refusal("bdev_aio_rescan", "[\"N\"]", RPC_INVALID_PARAMS, "is a null bdev");
	assert_int_equal(unlink(params), 0);
	expect("bdev_delete", "[\"A\"]", "true");
	expect("bdev_delete", "[\"M\"]", "true");
	expect("bdev_delete", "[\"N\"]", "true");
}

static void bdevs_are_taken_away(void **state)
{
	const json_t *devices;
	json_t *list;

	expect("bdev_null_create", "[\"N\", 1000, 4096]", "\"N\"");
	expect("bdev_null_create", "[\"O\", 100, 512]", "\"O\"");
	expect("vhost_create_blk_controller", "[\"b\", \"N\"]", "true");
	expect("vhost_create_scsi_controller", "[\"s\"]", "true");
	expect("vhost_scsi_controller_add_target", "[\"s\", 3, \"N\"]", "3");
	expect("vhost_scsi_controller_add_target", "[\"s\", 5, \"O\"]", "5");
	expect_refusal("bdev_delete", "[\"N\"]", -16, "in use by 2 devices; 'force' takes it away");
	expect("bdev_null_delete", "[\"N\", true]", "true");
	expect_refusal("bdev_get_bdevs", "[\"N\"]", -19, "no bdev");
	list = call("vhost_get_controllers", "[\"b\"]");
	assert_true(json_is_null(json_object_get(
		json_object_get(json_object_get(json_array_get(list, 0), "backend_specific"),
				"block"),
		"bdev")));
	json_decref(list);
	list = call("get_vhost_blk_controllers", "[\"b\"]");
	assert_true(json_is_null(json_object_get(json_array_get(list, 0), "bdev")));
	json_decref(list);
	list = call("vhost_get_scsi_controllers", "[\"s\"]");
	devices = json_object_get(json_array_get(list, 0), "scsi_devs");
	assert_int_equal(json_array_size(devices), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(devices, 0), "id")), 5);
	json_decref(list);

	expect_refusal("vhost_blk_controller_set_bdev", "[\"s\", \"O\"]", RPC_INVALID_PARAMS,
		       "not a blk controller");
	expect_refusal("vhost_blk_controller_set_bdev", "[\"b\", \"X\"]", -19, "no bdev named 'X'");
	expect_refusal("vhost_blk_controller_set_bdev", "[\"c\", \"O\"]", -2, "no controller");
	/* Nobody is connected who knew the other. */
	expect("vhost_blk_controller_set_bdev", "[\"b\", \"O\"]", "true");
	list = call("vhost_get_blk_controllers", "[\"b\"]");
	assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "bdev")),
			    "O");
	json_decref(list);
	expect_refusal("bdev_delete", "[\"O\"]", -16, "in use by 2");
	expect("vhost_scsi_controller_remove_target", "[\"s\", 5]", "true");
	expect_refusal("bdev_delete", "[\"O\"]", -16, "in use by 1 device; 'force'");
	expect("vhost_delete_controller", "[\"b\"]", "true");
	expect("bdev_delete", "[\"O\"]", "true");
	expect("vhost_delete_controller", "[\"s\"]", "true");
}

static void blk_controllers_come_and_go(void **state)
{
	json_t *list;
	const json_t *controller;

	expect("bdev_null_create", "[\"N\",1000,512]", "\"N\"");
	expect_refusal("construct_vhost_blk_controller", "{\"ctrlr\":\"v\",\"dev_name\":\"X\"}",
		       -19, "no bdev named 'X'");
	expect_refusal("vhost_create_blk_controller",
		       "{\"ctrlr\":\"v\",\"dev_name\":\"N\",\"queues\":257}", RPC_INVALID_PARAMS,
		       "1 to 256");
	expect_refusal("vhost_create_blk_controller",
		       "{\"ctrlr\":\"v\",\"dev_name\":\"N\",\"cpumask\":\"[1000]\"}",
		       RPC_INVALID_PARAMS, "not a subset");
	expect("vhost_create_blk_controller",
	       "{\"ctrlr\":\"v\",\"bdev_name\":\"N\",\"readonly\":true,\"queues\":2}", "true");
	expect_refusal("vhost_create_blk_controller", "{\"ctrlr\":\"v\",\"dev_name\":\"N\"}", -17,
		       "exists already");
	expect_refusal("delete_bdev", "{\"name\":\"N\"}", -16, "in use");
	list = call("vhost_get_controllers", "{\"name\":\"v\"}");
	controller = json_array_get(list, 0);
	assert_string_equal(json_string_value(json_object_get(controller, "type")), "blk");
	assert_true(json_is_false(json_object_get(controller, "connected")));
	assert_int_equal(json_integer_value(json_object_get(controller, "max_queues")), 2);
	assert_string_equal(
		json_string_value(json_object_get(
			json_object_get(json_object_get(controller, "backend_specific"), "block"),
			"bdev")),
		"N");
	json_decref(list);
	list = call("get_vhost_blk_controllers", "{}");
	assert_int_equal(json_array_size(list), 1);
	assert_true(json_is_true(json_object_get(json_array_get(list, 0), "readonly")));
	json_decref(list);
	expect("get_vhost_scsi_controllers", "{}", "[]");
	list = call("vhost_get_stats", "{}");
	controller = json_array_get(json_object_get(list, "controllers"), 0);
	assert_string_equal(json_string_value(json_object_get(controller, "ctrlr")), "v");
	assert_int_equal(json_array_size(json_object_get(controller, "queues")), 0);
	json_decref(list);
	expect_refusal("remove_vhost_scsi_controller", "{\"ctrlr\":\"v\"}", RPC_INVALID_PARAMS,
		       "is a blk controller");
	expect("remove_vhost_blk_controller", "{\"ctrlr\":\"v\"}", "true");
	expect_refusal("vhost_delete_controller", "{\"ctrlr\":\"v\"}", -2,
		       "no controller named 'v'");
	expect("delete_bdev", "{\"name\":\"N\"}", "true");
}

static void expect_qos(int delay, int threshold, int ios, int mbytes)
{
	json_t *list = call("vhost_get_controllers", "[\"v\"]");
	const json_t *shown = json_array_get(list, 0);
	const json_t *limits = json_object_get(shown, "assigned_rate_limits");

	assert_int_equal(json_integer_value(json_object_get(shown, "delay_base_us")), delay);
	assert_int_equal(json_integer_value(json_object_get(shown, "iops_threshold")), threshold);
	assert_int_equal(json_integer_value(json_object_get(limits, "rw_ios_per_sec")), ios);
	assert_int_equal(json_integer_value(json_object_get(limits, "rw_mbytes_per_sec")), mbytes);
	json_decref(list);
}

static void quality_of_service(void **state)
{
	expect("bdev_null_create", "[\"N\",1000,512]", "\"N\"");
	expect("vhost_create_blk_controller", "[\"v\",\"N\"]", "true");
	expect_qos(0, 0, 0, 0);
	expect("set_vhost_controller_coalescing",
	       "{\"ctrlr\":\"v\",\"delay_base_us\":50,\"iops_threshold\":60000}", "true");
	expect("vhost_controller_set_qos_limit", "{\"ctrlr\":\"v\",\"rw_ios_per_sec\":5000}",
	       "true");
	expect_qos(50, 60000, 5000, 0);
	/* What is not named stays. */
	expect("vhost_controller_set_qos_limit", "{\"name\":\"v\",\"rw_mbytes_per_sec\":100}",
	       "true");
	expect_qos(50, 60000, 5000, 100);
	expect_refusal("vhost_controller_set_coalescing", "[\"v\", 1000001, 1]", RPC_INVALID_PARAMS,
		       "1000000 us at most");
	expect_refusal("vhost_controller_set_coalescing", "[\"v\", 1, 4294967296]",
		       RPC_INVALID_PARAMS, "too high");
	expect_refusal("vhost_controller_set_coalescing", "[\"v\", -1, 1]", RPC_INVALID_PARAMS,
		       "negative");
	expect_refusal("vhost_controller_set_coalescing", "[\"w\", 1, 1]", -2,
		       "no controller named 'w'");
	expect_refusal("vhost_controller_set_qos_limit", "[\"v\"]", RPC_INVALID_PARAMS,
		       "which limit?");
	expect_refusal("vhost_controller_set_qos_limit", "[\"v\", -1]", RPC_INVALID_PARAMS,
		       "negative");
	expect_refusal("vhost_controller_set_qos_limit", "[\"v\", 0, 4294967296]",
		       RPC_INVALID_PARAMS, "too high");
	expect_refusal("vhost_controller_set_qos_limit", "[\"w\", 1]", -19,
		       "no controller named 'w'");
	expect_qos(50, 60000, 5000, 100);
	expect("vhost_controller_set_coalescing", "[\"v\", 0, 0]", "true");
	expect("vhost_controller_set_qos_limit", "[\"v\", 0, 0]", "true");
	expect_qos(0, 0, 0, 0);
	expect("vhost_delete_controller", "[\"v\"]", "true");
	expect("bdev_delete", "[\"N\"]", "true");
}

static void scsi_controllers_and_their_targets(void **state)
{
	const char *add = "vhost_scsi_controller_add_target";
	char list[1024];

	expect("bdev_null_create", "[\"N\",1000,512]", "\"N\"");
	expect("bdev_null_create", "[\"M\",1000,512]", "\"M\"");
	expect("construct_vhost_scsi_controller", "{\"ctrlr\":\"s\"}", "true");
	expect("add_vhost_scsi_lun", "{\"ctrlr\":\"s\",\"scsi_dev_num\":0,\"lun_name\":\"N\"}",
	       "true");
	expect(add, "{\"ctrlr\":\"s\",\"scsi_target_num\":-1,\"bdev_name\":\"M\"}", "1");
	expect_refusal(add, "{\"ctrlr\":\"s\",\"scsi_target_num\":1,\"bdev_name\":\"N\"}", -17,
		       "occupied");
	expect_refusal(add, "{\"ctrlr\":\"s\",\"scsi_target_num\":8,\"bdev_name\":\"N\"}",
		       RPC_INVALID_PARAMS, "0..7");
	expect_refusal(add, "{\"ctrlr\":\"t\",\"scsi_target_num\":8,\"bdev_name\":\"N\"}", -19,
		       "no controller named 't'");
	expect_refusal(add, "{\"ctrlr\":\"s\",\"scsi_target_num\":2,\"bdev_name\":\"X\"}", -19,
		       "no bdev named 'X'");
	snprintf(list, sizeof(list),
		 "[{\"ctrlr\":\"s\",\"cpu_mask\":\"%s\",\"scsi_devs\":["
		 "{\"scsi_dev_num\":0,\"id\":0,\"target_name\":\"Target 0\","
		 "\"luns\":[{\"id\":0,\"name\":\"N\"}]},"
		 "{\"scsi_dev_num\":1,\"id\":1,\"target_name\":\"Target 1\","
		 "\"luns\":[{\"id\":0,\"name\":\"M\"}]}]}]",
		 target.cpumask);
	expect("get_vhost_scsi_controllers", "{}", list);
	expect_refusal("vhost_delete_controller", "{\"ctrlr\":\"s\"}", -16, "targets");
	expect("remove_vhost_scsi_dev", "{\"ctrlr\":\"s\",\"scsi_dev_num\":0}", "true");
	expect_refusal("remove_vhost_scsi_dev", "{\"ctrlr\":\"s\",\"scsi_dev_num\":0}", -2,
		       "target 0");
	expect_refusal("remove_vhost_scsi_dev", "{\"ctrlr\":\"s\",\"scsi_dev_num\":-1}",
		       RPC_INVALID_PARAMS, "0..7");
	expect("vhost_delete_controller", "{\"ctrlr\":\"s\",\"force\":true}", "true");
	expect("delete_bdev", "{\"name\":\"N\"}", "true");
	expect("delete_bdev", "{\"name\":\"M\"}", "true");
}

static void the_program_itself(void **state)
{
	json_t *result = call("rpc_get_methods", "{}");
	json_t *current = call("rpc_get_methods", "{\"current\":true}");

	assert_true(json_array_size(result) > json_array_size(current));
	assert_true(json_array_size(current) >= 20);
	json_decref(current);
	json_decref(result);
	result = call("framework_get_reactors", "{}");
	assert_int_equal(json_array_size(json_object_get(result, "reactors")), 1);
	json_decref(result);
	result = call("get_version", "{}");
	assert_memory_equal(json_string_value(json_object_get(result, "version")), "vhost ", 6);
	json_decref(result);
	expect("log_set_level", "{\"level\":\"warning\"}", "true");
	expect("log_get_level", "{}", "\"WARNING\"");
	expect("set_trace_flag", "{\"flag\":\"vhost\"}", "true");
	expect("get_trace_flags", "{}", "{\"all\":true}");
	expect("log_set_level", "{\"level\":\"ERROR\"}", "true");
	expect_refusal("log_set_level", "{\"level\":\"LOUD\"}", RPC_INVALID_PARAMS, "LOUD");
	assert_false(server.shutdown_requested);
	expect_refusal("kill_instance", "{\"sig_name\":\"SIGSEGV\"}", RPC_INVALID_PARAMS,
		       "SIGSEGV");
	assert_false(server.shutdown_requested);
	expect("kill_instance", "{\"sig_name\":\"SIGTERM\"}", "true");
	assert_true(server.shutdown_requested);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_that_are_none),
		cmocka_unit_test(notifications_and_batches),
		cmocka_unit_test(messages_are_utf8),
		cmocka_unit_test(parameters_are_checked),
		cmocka_unit_test(bdevs_come_and_go),
		cmocka_unit_test(bdevs_change_their_size),
		cmocka_unit_test(bdevs_are_taken_away),
		cmocka_unit_test(blk_controllers_come_and_go),
		cmocka_unit_test(quality_of_service),
		cmocka_unit_test(scsi_controllers_and_their_targets),
		cmocka_unit_test(the_program_itself),
	};

	log_set_level(LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("mgmt.rpc", tests, set_up, tear_down);
}
