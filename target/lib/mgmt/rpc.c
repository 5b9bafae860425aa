/* SPDX-License-Identifier: BSD-3-Clause */
#include "mgmt/rpc.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/why.h"

/* Beyond it a double does not hold every whole number. */
#define MAX_EXACT 9007199254740992.0

static const struct rpc_method *const tables[] = {
	rpc_app_methods,      rpc_bdev_methods, rpc_cores_methods,
	rpc_handover_methods, rpc_show_methods, rpc_vhost_methods,
};

const struct rpc_method *rpc_each_method(bool (*fn)(const struct rpc_method *method, void *arg),
					 void *arg)
{
	const struct rpc_method *method;
	size_t i;

	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		for (method = tables[i]; method->name != NULL; method++) {
			if (fn(method, arg)) {
				return method;
			}
		}
	}
	return NULL;
}

static bool is_named(const char *have, const char *wanted)
{
	return have != NULL && strcmp(have, wanted) == 0;
}

static bool method_is_named(const struct rpc_method *method, void *arg)
{
	const char *name = arg;

	return is_named(method->name, name) || is_named(method->old_name, name) ||
	       is_named(method->alias, name);
}

/* ---- answers ---- */

static json_t *answer(json_t *id, const char *key, json_t *value)
{
	return json_pack("{s:s, s:O?, s:o}", "jsonrpc", "2.0", "id", id, key, value);
}

json_t *rpc_text(const char *text)
{
	json_t *json = json_string(text);
	CLEANUP(freep) char *ascii = NULL;
	char *p;

	if (json != NULL) {
		return json;
	}
	ascii = strdup(text);
	for (p = ascii; p != NULL && *p != '\0'; p++) {
		*p = (unsigned char)*p < 0x80 ? *p : '?';
	}
	return ascii != NULL ? json_string(ascii) : NULL;
}

static json_t *error_answer(json_t *id, int code, const char *message)
{
	json_t *error = json_pack("{s:i, s:o}", "code", code, "message", rpc_text(message));

	return answer(id, "error", error);
}

static char *to_text(json_t *json)
{
	char *text = NULL;
	size_t len;

	if (json == NULL) {
		return NULL;
	}
	len = json_dumpb(json, NULL, 0, JSON_COMPACT);
	text = len > 0 ? malloc(len + 2) : NULL;
	if (text != NULL) {
		json_dumpb(json, text, len, JSON_COMPACT);
		text[len] = '\n';
		text[len + 1] = '\0';
	}
	json_decref(json);
	return text;
}

char *rpc_error_answer(int code, const char *message)
{
	return to_text(error_answer(NULL, code, message));
}

/* ---- parameters ---- */

static unsigned int param_count(const struct rpc_method *method)
{
	unsigned int n = 0;

	while (n < RPC_MAX_PARAMS && method->params[n].name != NULL) {
		n++;
	}
	return n;
}

static bool read_number(const json_t *json, int64_t *ret_number)
{
	double real;

	if (json_is_integer(json)) {
		*ret_number = json_integer_value(json);
		return true;
	}
	/* Clients that divide get 131072.0 for 131072. */
	real = json_real_value(json);
	if (json_is_real(json) && real > -MAX_EXACT && real < MAX_EXACT &&
	    real == (double)(int64_t)real) {
		*ret_number = (int64_t)real;
		return true;
	}
	return false;
}

static int read_value(struct rpc_call *call, const struct rpc_param *param, const json_t *json,
		      struct rpc_value *value)
{
	static const char *const wanted[] = {
		[RPC_STRING] = "a string",
		[RPC_NUMBER] = "a whole number",
		[RPC_BOOL] = "true or false",
	};
	bool fits = false;

	if (value->given) {
		call->why = why("parameter '%s' is given twice", param->name);
		return -EINVAL;
	}
	value->given = true;
	switch (param->type) {
	case RPC_STRING:
		fits = json_is_string(json);
		value->text = json_string_value(json);
		break;
	case RPC_NUMBER:
		fits = read_number(json, &value->number);
		break;
	case RPC_BOOL:
		fits = json_is_boolean(json);
		value->yes = json_is_true(json);
		break;
	}
	if (!fits) {
		call->why = why("parameter '%s' has to be %s", param->name, wanted[param->type]);
		return -EINVAL;
	}
	return 0;
}

static const char *list_params(const struct rpc_method *method)
{
	const char *text = "it takes none";
	unsigned int i;

	for (i = 0; i < param_count(method); i++) {
		text = why("%s%s %s%s", i == 0 ? "it takes" : text, i == 0 ? "" : ",",
			   method->params[i].name, method->params[i].required ? "" : " (optional)");
	}
	return text;
}

static int read_named(struct rpc_call *call, const struct rpc_method *method, json_t *params)
{
	const char *key;
	json_t *json;

	json_object_foreach (params, key, json) {
		unsigned int n = param_count(method);
		unsigned int i;
		int r;

		for (i = 0; i < n; i++) {
			if (is_named(method->params[i].name, key) ||
			    is_named(method->params[i].alias, key)) {
				break;
			}
		}
		if (i == n) {
			call->why = why("unknown parameter '%.60s': %s", key, list_params(method));
			return -EINVAL;
		}
		r = read_value(call, &method->params[i], json, &call->values[i]);
		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static int read_positional(struct rpc_call *call, const struct rpc_method *method, json_t *params)
{
	json_t *json;
	size_t i;

	if (json_array_size(params) > param_count(method)) {
		call->why = why("too many parameters: %s", list_params(method));
		return -EINVAL;
	}
	json_array_foreach (params, i, json) {
		int r = read_value(call, &method->params[i], json, &call->values[i]);

		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static int read_params(struct rpc_call *call, const struct rpc_method *method, json_t *params)
{
	unsigned int i;
	int r = 0;

	if (json_is_object(params)) {
		r = read_named(call, method, params);
	} else if (json_is_array(params)) {
		r = read_positional(call, method, params);
	}
	for (i = 0; r == 0 && i < param_count(method); i++) {
		if (method->params[i].required && !call->values[i].given) {
			call->why = why("parameter '%s' is missing: %s", method->params[i].name,
					list_params(method));
			return -EINVAL;
		}
	}
	return r;
}

/* ---- requests ---- */

static json_t *run_method(struct rpc_server *server, const struct rpc_method *method,
			  const char *name, json_t *params, json_t *id)
{
	struct rpc_call call = {
		.server = server,
		.method = name,
		.old_name = is_named(method->old_name, name),
	};
	json_t *result = NULL;
	int r;

	if (read_params(&call, method, params) < 0) {
		return error_answer(id, RPC_INVALID_PARAMS, call.why);
	}
	r = method->run(&call, &result);
	if (r == 0 && result == NULL) {
		return error_answer(id, RPC_INTERNAL_ERROR, "out of memory");
	}
	if (r < 0) {
		return error_answer(id, r == -EINVAL ? RPC_INVALID_PARAMS : r,
				    call.why != NULL ? call.why : strerror(-r));
	}
	return answer(id, "result", result);
}

static bool is_valid_id(const json_t *id)
{
	return id == NULL || json_is_string(id) || json_is_number(id) || json_is_null(id);
}

/* NULL: no answer is wanted. */
static json_t *answer_request(struct rpc_server *server, json_t *request)
{
	json_t *id = json_object_get(request, "id");
	json_t *params = json_object_get(request, "params");
	const char *name = json_string_value(json_object_get(request, "method"));
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const struct rpc_method *method;
	json_t *result;

	if (name == NULL || version == NULL || strcmp(version, "2.0") != 0 || !is_valid_id(id)) {
		return error_answer(is_valid_id(id) ? id : NULL, RPC_INVALID_REQUEST,
				    "not a JSON-RPC 2.0 request: it needs \"jsonrpc\": \"2.0\", "
				    "\"method\" and, to be answered, \"id\"");
	}
	if (params != NULL && !json_is_object(params) && !json_is_array(params)) {
		result = error_answer(id, RPC_INVALID_REQUEST,
				      "\"params\" has to be an object or an array");
	} else {
		method = rpc_each_method(method_is_named, (void *)name);
		result = method == NULL ?
				 error_answer(id, RPC_UNKNOWN_METHOD,
					      why("unknown method '%.60s': rpc_get_methods "
						  "lists them",
						  name)) :
				 run_method(server, method, name, params, id);
	}
	if (id == NULL) {
		json_decref(result);
		return NULL;
	}
	return result;
}

/* JSON-RPC 2.0, 6: answers to what wants one, nothing at all if none does. */
static json_t *answer_batch(struct rpc_server *server, json_t *batch)
{
	json_t *answers;
	json_t *request;
	size_t i;

	if (json_array_size(batch) == 0) {
		return error_answer(NULL, RPC_INVALID_REQUEST, "the batch is empty");
	}
	answers = json_array();
	json_array_foreach (batch, i, request) {
		json_t *one = answer_request(server, request);

		if (one != NULL) {
			json_array_append_new(answers, one);
		}
	}
	if (json_array_size(answers) == 0) {
		json_decref(answers);
		return NULL;
	}
	return answers;
}

char *rpc_answer(struct rpc_server *server, const char *text, size_t len)
{
	json_error_t error;
	json_t *request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	json_t *result;

	if (request == NULL) {
		return rpc_error_answer(RPC_PARSE_ERROR, why("not valid JSON at byte %d: %s",
							     error.position, error.text));
	}
	result = json_is_array(request) ? answer_batch(server, request) :
					  answer_request(server, request);
	json_decref(request);
	return to_text(result);
}
