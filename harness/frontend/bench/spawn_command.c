/* SPDX-License-Identifier: BSD-3-Clause */
/* The command line of a target, and the configuration of ours. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spawn_private.h"

static void arg(struct spawned *s, const char *value)
{
	if (s->arg_n < ARGS_MAX - 1) {
		s->args[s->arg_n++] = (char *)(uintptr_t)value;
	}
}

__attribute__((format(printf, 2, 3))) static void arg_text(struct spawned *s, const char *format,
							   ...)
{
	char *room = s->text[s->text_n++];
	va_list args;

	va_start(args, format);
	vsnprintf(room, sizeof(s->text[0]), format, args);
	va_end(args);
	arg(s, room);
}

/* ---- our daemon ---- */

static const char *find_program(const struct spawn_config *config)
{
	static char path[4096];
	static const char *const beside[] = { "../../../target/app/vhost/vhost",
					      "../../target/app/vhost/vhost" };
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 64);
	char *slash;
	unsigned int i;

	if (config->program != NULL) {
		return config->program;
	}
	if (getenv("VHOST_BINARY") != NULL) {
		return getenv("VHOST_BINARY");
	}
	if (n > 0) {
		path[n] = '\0';
		slash = strrchr(path, '/');
		for (i = 0; i < sizeof(beside) / sizeof(beside[0]); i++) {
			strcpy(slash + 1, beside[i]);
			if (access(path, X_OK) == 0) {
				return path;
			}
		}
	}
	return "vhost";
}

static int write_conf(const struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	FILE *f = fopen(s->conf, "we");
	const char *name = "Null0";

	if (f == NULL) {
		return -errno;
	}
	fprintf(f, "[Global]\n  ReactorMask [%d]\n[Rpc]\n  Enable No\n",
		config->cpu < 0 ? 0 : config->cpu);
	if (strcmp(bdev, "null") == 0) {
		fprintf(f, "[Null]\n  Dev Null0 %llu\n", (unsigned long long)config->size_mb);
	} else if (strcmp(bdev, "malloc") == 0) {
		name = "Malloc0";
		fprintf(f, "[Malloc]\n  NumberOfLuns 1\n  LunSizeInMB %llu\n",
			(unsigned long long)config->size_mb);
	} else {
		name = "AIO0";
		fprintf(f, "[AIO]\n  AIO \"%s\" AIO0\n", config->file);
	}
	fprintf(f, "[%s0]\n  Name sock\n  Dev %s%s\n  Queues %u\n",
		config->scsi ? "VhostScsi" : "VhostBlk", config->scsi ? "0 " : "", name,
		config->queues);
	return fclose(f) == 0 ? 0 : -errno;
}

static int prepare_vhost(struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	arg(s, find_program(config));
	arg(s, "-c");
	arg(s, s->conf);
	arg(s, "-S");
	arg(s, s->dir);
	arg(s, "--mode");
	arg(s, config->mode);
	if (config->wrapper != NULL) {
		/* What watches a process would watch its starter too, and write to the same file. */
		arg(s, "--no-handover");
	}
	return write_conf(s, config, bdev);
}

/* ---- qemu-storage-daemon ---- */

static int prepare_qsd(struct spawned *s, const struct spawn_config *config, const char *bdev)
{
	const char *named = getenv("QSD_BINARY");

	named = named != NULL ? named : "qemu-storage-daemon";
	arg(s, config->program != NULL ? config->program : named);
	arg(s, "--object");
	/*
	 * It polls what it can poll, however long a run pauses. The rings are not among that: its export has no
	 * other way to learn of a request than the kick's eventfd.
	 */
	arg(s, "iothread,id=io,poll-max-ns=3600000000000");
	arg(s, "--blockdev");
	if (strcmp(bdev, "null") == 0) {
		arg_text(s, "null-co,node-name=disk,size=%llu",
			 (unsigned long long)config->size_mb << 20);
	} else {
		arg_text(s,
			 "file,node-name=disk,filename=%s,aio=native,cache.direct=on,discard=unmap",
			 config->file);
	}
	arg(s, "--export");
	arg_text(s,
		 "vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path=%s,writable=on,"
		 "num-queues=%u,iothread=io",
		 s->socket, config->queues);
	return 0;
}

/* ---- both ---- */

int spawn_prepare(struct spawned *s, const struct spawn_config *config, const char *what,
		  char *ret_why, size_t why_len)
{
	static const char *const known[] = { "vhost-null", "vhost-malloc", "vhost-aio", "qsd-null",
					     "qsd-file" };
	const char *bdev;
	unsigned int i;

	what = strcmp(what, "qsd") == 0 ? "qsd-null" : what;
	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		if (strcmp(what, known[i]) == 0) {
			break;
		}
	}
	if (i == sizeof(known) / sizeof(known[0])) {
		snprintf(
			ret_why, why_len,
			"cannot spawn '%s' (but vhost-null, vhost-malloc, vhost-aio, qsd-null, qsd-file)",
			what);
		return -EINVAL;
	}
	bdev = strchr(what, '-') + 1;
	if ((strcmp(bdev, "aio") == 0 || strcmp(bdev, "file") == 0) && config->file == NULL) {
		snprintf(ret_why, why_len, "%s needs --target-file", what);
		return -EINVAL;
	}
	if (config->scsi && what[0] == 'q') {
		snprintf(ret_why, why_len, "qemu-storage-daemon has no vhost-user-scsi");
		return -EINVAL;
	}
	for (i = 0; config->wrapper != NULL && config->wrapper[i] != NULL; i++) {
		arg(s, config->wrapper[i]);
	}
	return what[0] == 'v' ? prepare_vhost(s, config, bdev) : prepare_qsd(s, config, bdev);
}
