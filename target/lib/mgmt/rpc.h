/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Concepts
 *   method   a name (with older names), the parameters it takes, and the function that carries it out.
 *   call     one request whose parameters have been checked against the method's table.
 * rpc_answer() turns the text of a request, or of a batch of them, into the text of its answer.
 * Owner: control thread.
 */
#ifndef VHT_MGMT_RPC_H
#define VHT_MGMT_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "controller/target.h"
#include "mgmt/handover_status.h"

#define RPC_MAX_PARAMS 8

/* JSON-RPC 2.0, 5.1 */
#define RPC_PARSE_ERROR	    (-32700)
#define RPC_INVALID_REQUEST (-32600)
#define RPC_UNKNOWN_METHOD  (-32601)
#define RPC_INVALID_PARAMS  (-32602)
#define RPC_INTERNAL_ERROR  (-32603)
/* Everything else that can go wrong has the code of its negative errno: -16 busy, -17 exists... */

struct rpc_server {
	struct target *target;
	bool shutdown_requested; /* set by a method; the owner acts when the answer is out */
	/* As in mgmt.h; NULL: this program cannot. */
	int (*hand_over)(void *arg, const char *binary, const char **ret_why);
	void (*handover_status)(void *arg, struct handover_status *ret_status);
	void *arg;
};

enum rpc_type {
	RPC_STRING,
	RPC_NUMBER,
	RPC_BOOL
};

struct rpc_param {
	const char *name;
	const char *alias; /* another name of it, NULL: none */
	enum rpc_type type;
	bool required;
};

struct rpc_value {
	bool given;
	const char *text;
	int64_t number;
	bool yes;
};

struct rpc_call {
	struct rpc_server *server;
	const char *method;			 /* the name it was called by */
	bool old_name;				 /* that of 17.07: its results had other shapes */
	struct rpc_value values[RPC_MAX_PARAMS]; /* in the order of the method's table */
	const char *why;			 /* set when the method fails */
};

struct rpc_method {
	const char *name;
	const char *old_name; /* of 17.07 */
	const char *alias;
	/* 0 and a new reference in *ret_result, or a negative errno and call->why. */
	int (*run)(struct rpc_call *call, json_t **ret_result);
	struct rpc_param params[RPC_MAX_PARAMS]; /* up to a NULL name */
};

/* NULL-terminated tables, one per file of methods. */
extern const struct rpc_method rpc_app_methods[];
extern const struct rpc_method rpc_bdev_methods[];
extern const struct rpc_method rpc_cores_methods[];
extern const struct rpc_method rpc_handover_methods[];
extern const struct rpc_method rpc_show_methods[];
extern const struct rpc_method rpc_vhost_methods[];

/* Calls fn for every method until it returns true; returns that method or NULL. */
const struct rpc_method *rpc_each_method(bool (*fn)(const struct rpc_method *method, void *arg),
					 void *arg);

/* The answer with a newline, malloc'ed and the caller's; NULL: there is none (a notification). */
char *rpc_answer(struct rpc_server *server, const char *text, size_t len);
/* Text that may come from the host (paths) or be cut off: what is no UTF-8 becomes '?'. */
json_t *rpc_text(const char *text);
/* An answer to something that was not even a request. */
char *rpc_error_answer(int code, const char *message);

#endif
