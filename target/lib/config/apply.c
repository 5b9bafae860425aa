/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"
#include "bdev/bdev.h"
#include "config/schema.h"
#include "env/env.h"

#define MIB (UINT64_C(1) << 20)

/* One run of config_apply(). */
struct apply {
	const struct config *config;
	struct target *target;
	struct config_listen_fd *fds;
	unsigned int fd_n;
	struct scsi_limits limits;
	char origin[PATH_MAX + 16]; /* "file:line" of the controller at hand */
	const char **ret_why;
};

#define fail(a, line, error, ...) config_fail((a)->config, line, error, (a)->ret_why, __VA_ARGS__)

/* A reason that a lower layer gave, with the place in the file in front. */
static int fail_with(const struct apply *a, unsigned int line, int error, const char *reason)
{
	return fail(a, line, error, "%s", reason);
}

static int word_to_number(const struct apply *a, const struct config_item *item, unsigned int word,
			  const char *what, uint64_t max, uint64_t *ret_value)
{
	uint64_t value;

	if (config_parse_number(item->values[word], &value) < 0 || value > max) {
		return fail(a, item->line, -EINVAL,
			    "%s: the %s '%.40s' is not a decimal number up to %llu", item->key,
			    what, item->values[word], (unsigned long long)max);
	}
	*ret_value = value;
	return 0;
}

static uint32_t scsi_number(const struct config_section *section, const char *key,
			    uint32_t otherwise)
{
	return (uint32_t)config_get_number(section, key, otherwise);
}

static void read_scsi_limits(struct apply *a)
{
	const struct config_section *s = config_next_section(a->config, NULL, SECTION_SCSI);
	const struct scsi_limits *d = &scsi_default_limits;

	a->limits = (struct scsi_limits){
		.max_unmap_lba_count = scsi_number(s, "MaxUnmapLbaCount", d->max_unmap_lba_count),
		.max_unmap_block_descriptor_count = scsi_number(
			s, "MaxUnmapBlockDescriptorCount", d->max_unmap_block_descriptor_count),
		.optimal_unmap_granularity =
			scsi_number(s, "OptimalUnmapGranularity", d->optimal_unmap_granularity),
		.unmap_granularity_alignment =
			scsi_number(s, "UnmapGranularityAlignment", d->unmap_granularity_alignment),
		.ugavalid = config_get_bool(s, "Ugavalid", d->ugavalid),
		.max_write_same_length =
			scsi_number(s, "MaxWriteSameLength", d->max_write_same_length),
	};
}

static unsigned int blame_malloc(const struct config_section *section, int error)
{
	const struct config_item *item =
		config_next_item(section, NULL, error == -ENOMEM ? "LunSizeInMB" : "BlockSize");

	return item != NULL ? item->line : section->line;
}

static int apply_malloc(struct apply *a)
{
	const struct config_section *section = config_next_section(a->config, NULL, SECTION_MALLOC);
	uint64_t luns = config_get_number(section, "NumberOfLuns", 0);
	uint64_t mib = config_get_number(section, "LunSizeInMB", 0);
	uint64_t block_size = config_get_number(section, "BlockSize", 0);
	uint64_t i;

	if (section == NULL) {
		return 0;
	}
	if (luns == 0 || mib == 0) {
		return fail(a, section->line, -EINVAL, "section [Malloc] needs %s (at least 1)",
			    luns == 0 ? "NumberOfLuns" : "LunSizeInMB");
	}
	for (i = 0; i < luns; i++) {
		char name[BDEV_NAME_MAX + 1];
		struct bdev_malloc_options opts = {
			.name = name,
			.size = mib * MIB,
			.block_size = block_size == 0 ? 512 : (uint32_t)block_size,
			.numa_node = ENV_ANY_NODE,
		};
		struct bdev *bdev;
		const char *reason;
		int r;

		snprintf(name, sizeof(name), "Malloc%llu", (unsigned long long)i);
		r = bdev_malloc_create(&opts, &bdev, &reason);
		if (r < 0) {
			return fail_with(a, blame_malloc(section, r), r, reason);
		}
	}
	return 0;
}

static int apply_null(struct apply *a, const struct config_item *item)
{
	struct bdev_null_options opts = { .name = item->values[0] };
	uint64_t mib;
	uint64_t block_size = 0;
	struct bdev *bdev;
	const char *reason;
	int r;

	r = word_to_number(a, item, 1, "size in MiB", INT64_MAX / MIB, &mib);
	if (r == 0 && item->value_n > 2) {
		r = word_to_number(a, item, 2, "block size", UINT32_MAX, &block_size);
	}
	if (r < 0) {
		return r;
	}
	opts.size = mib * MIB;
	opts.block_size = (uint32_t)block_size;
	r = bdev_null_create(&opts, &bdev, &reason);
	return r < 0 ? fail_with(a, item->line, r, reason) : 0;
}

static int apply_aio(struct apply *a, const struct config_item *item)
{
	struct bdev_aio_options opts = { .filename = item->values[0], .name = item->values[1] };
	uint64_t block_size = 0;
	struct bdev *bdev;
	const char *reason;
	int r;

	if (item->value_n > 2) {
		r = word_to_number(a, item, 2, "block size", UINT32_MAX, &block_size);
		if (r < 0) {
			return r;
		}
	}
	opts.block_size = (uint32_t)block_size;
	r = bdev_aio_create(&opts, &bdev, &reason);
	return r < 0 ? fail_with(a, item->line, r, reason) : 0;
}

/* Every line of a section that makes one bdev per line. */
static int apply_lines(struct apply *a, enum section_id id, const char *key,
		       int (*make)(struct apply *a, const struct config_item *item))
{
	const struct config_section *section = config_next_section(a->config, NULL, id);
	const struct config_item *item = NULL;

	while ((item = config_next_item(section, item, key)) != NULL) {
		int r = make(a, item);

		if (r < 0) {
			return r;
		}
	}
	return 0;
}

/* Names are what --fd selects by; the first socket that matches is the controller's. */
static struct config_listen_fd *find_fd(struct apply *a, const char *name)
{
	unsigned int i;

	for (i = 0; i < a->fd_n; i++) {
		const char *wanted = a->fds[i].controller;

		if (a->fds[i].fd >= 0 && (wanted == NULL || strcmp(wanted, name) == 0)) {
			return &a->fds[i];
		}
	}
	return NULL;
}

static int begin_controller(struct apply *a, const struct config_section *section,
			    struct controller_options *ret_opts)
{
	const struct config_item *item = config_next_item(section, NULL, "Name");
	const char *name = config_get_text(section, "Name");
	const struct config_listen_fd *fd;

	if (item == NULL || name[0] == '\0') {
		return fail(a, item != NULL ? item->line : section->line, -EINVAL,
			    "[%.40s]: missing Name: the file name of the controller's socket",
			    section->name);
	}
	if (!utf8_is_printable(name)) {
		/* The name itself would spoil the line. */
		return fail(a, item->line, -EINVAL,
			    "[%.40s]: Name is not printable text in ASCII or UTF-8", section->name);
	}
	fd = find_fd(a, name);
	snprintf(a->origin, sizeof(a->origin), "%s:%u", a->config->name, item->line);
	*ret_opts = (struct controller_options){
		.name = name,
		.cpumask = config_get_text(section, "Cpumask"),
		.listen_fd = fd != NULL ? fd->fd : -1,
		.origin = a->origin,
	};
	return 0;
}

/* The socket has been taken over, whether or not there is a controller now. */
static void end_controller(struct apply *a, const struct controller_options *opts)
{
	struct config_listen_fd *fd = find_fd(a, opts->name);

	if (fd != NULL) {
		fd->fd = -1;
	}
}

/* A reason about one key of the section is reported on the line of that key. */
static unsigned int blame(const struct config_section *section, int error)
{
	const struct config_item *item = NULL;

	switch (error) {
	case -EEXIST:
	case -ENAMETOOLONG:
		item = config_next_item(section, NULL, "Name");
		break;
	case -ENODEV:
		item = config_next_item(section, NULL, "Dev");
		break;
	case -EINVAL:
		item = config_next_item(section, NULL, "Cpumask");
		break;
	default:
		break;
	}
	return item != NULL ? item->line : section->line;
}

/* The values are within bounds: the schema has seen to it. */
static void set_qos(struct apply *a, const struct config_section *section, const char *name)
{
	const char *reason;

	(void)controller_set_coalescing(a->target, name,
					config_get_number(section, "CoalescingDelayUs", 0),
					config_get_number(section, "CoalescingIopsThreshold", 0),
					&reason);
	(void)controller_set_limits(a->target, name,
				    config_get_number(section, "LimitIosPerSec", 0),
				    config_get_number(section, "LimitMbytesPerSec", 0), &reason);
}

/* "Dev" and its younger name "Target" mean the same: in file order. */
static const struct config_item *next_target(const struct config_section *section,
					     const struct config_item *item)
{
	item = item == NULL ? STAILQ_FIRST(&section->items) : STAILQ_NEXT(item, link);
	while (item != NULL && strcmp(item->schema->name, "Dev") != 0 &&
	       strcmp(item->schema->name, "Target") != 0) {
		item = STAILQ_NEXT(item, link);
	}
	return item;
}

static int apply_scsi(struct apply *a, const struct config_section *section)
{
	struct scsi_options scsi = {
		.limits = &a->limits,
		.request_queues = (unsigned int)config_get_number(section, "Queues", 0),
	};
	const struct config_item *item = NULL;
	struct controller_options opts;
	const char *reason;
	int r;

	r = begin_controller(a, section, &opts);
	if (r < 0) {
		return r;
	}
	r = controller_create_scsi(a->target, &opts, &scsi, &reason);
	end_controller(a, &opts);
	if (r < 0) {
		return fail_with(a, blame(section, r), r, reason);
	}
	set_qos(a, section, opts.name);
	while ((item = next_target(section, item)) != NULL) {
		uint64_t number;

		r = word_to_number(a, item, 0, "target number", SCSI_MAX_TARGETS - 1, &number);
		if (r < 0) {
			return r;
		}
		r = controller_add_scsi_target(a->target, opts.name, (unsigned int)number,
					       item->values[1], &reason);
		if (r < 0) {
			return fail_with(a, item->line, r, reason);
		}
	}
	return 0;
}

static int apply_blk(struct apply *a, const struct config_section *section)
{
	struct controller_blk_options blk = {
		.bdev = config_get_text(section, "Dev"),
		.read_only = config_get_bool(section, "ReadOnly", false),
		.serial = config_get_text(section, "Serial"),
		.queues = (unsigned int)config_get_number(section, "Queues", 0),
	};
	struct controller_options opts;
	const char *reason;
	int r;

	r = begin_controller(a, section, &opts);
	if (r < 0) {
		return r;
	}
	if (blk.bdev == NULL) {
		log_warning("%s:%u: [%.40s] has no Dev: the controller is not made",
			    a->config->name, section->line, section->name);
		return 0;
	}
	r = controller_create_blk(a->target, &opts, &blk, &reason);
	end_controller(a, &opts);
	if (r < 0) {
		return fail_with(a, blame(section, r), r, reason);
	}
	set_qos(a, section, opts.name);
	return 0;
}

static int apply_sections(struct apply *a, enum section_id id,
			  int (*make)(struct apply *a, const struct config_section *section))
{
	const struct config_section *section = NULL;

	while ((section = config_next_section(a->config, section, id)) != NULL) {
		int r = make(a, section);

		if (r < 0) {
			return r;
		}
	}
	return 0;
}

static unsigned int count_controllers(const struct config *config)
{
	const struct config_section *section = NULL;
	unsigned int n = 0;

	while ((section = config_next_section(config, section, SECTION_VHOST_SCSI)) != NULL) {
		n++;
	}
	while ((section = config_next_section(config, section, SECTION_VHOST_BLK)) != NULL) {
		n += config_get_text(section, "Dev") != NULL ? 1 : 0;
	}
	return n;
}

static int check_fds(const struct apply *a)
{
	unsigned int n = count_controllers(a->config);
	unsigned int i;

	for (i = 0; i < a->fd_n; i++) {
		if (a->fds[i].controller == NULL && (n != 1 || a->fd_n != 1)) {
			*a->ret_why = why(
				"%s: it has %u controllers, so a passed socket must say whose it "
				"is: --fd NAME=%d",
				a->config->name, n, a->fds[i].fd);
			return -EINVAL;
		}
	}
	return 0;
}

static int check_fds_used(const struct apply *a)
{
	unsigned int i;

	for (i = 0; i < a->fd_n; i++) {
		if (a->fds[i].fd >= 0) {
			*a->ret_why = why("%s: no controller has the Name '%s' (of --fd %s=%d)",
					  a->config->name, a->fds[i].controller,
					  a->fds[i].controller, a->fds[i].fd);
			return -ENOENT;
		}
	}
	return 0;
}

static void say_what_is_different(const struct apply *a)
{
	const struct config_section *ioat = config_next_section(a->config, NULL, SECTION_IOAT);
	const struct config_section *gpt = config_next_section(a->config, NULL, SECTION_GPT);
	const struct config_section *rpc = config_next_section(a->config, NULL, SECTION_RPC);
	const struct config_item *listen = config_next_item(rpc, NULL, "Listen");

	if (ioat != NULL && !config_get_bool(ioat, "Disable", false)) {
		log_notice("%s:%u: section [Ioat] has no effect: copy offload is not used",
			   a->config->name, ioat->line);
	}
	if (gpt != NULL && !config_get_bool(gpt, "Disable", false)) {
		log_warning("%s:%u: GPT partitions are not exposed as bdevs in this version",
			    a->config->name, gpt->line);
	}
	if (config_rpc_enabled(a->config) && listen != NULL && listen->values[0][0] != '/') {
		log_notice("%s:%u: management listens on a UNIX socket only, not on %.60s",
			   a->config->name, listen->line, listen->values[0]);
	}
}

int config_apply(const struct config *config, struct target *target, struct config_listen_fd *fds,
		 unsigned int fd_n, const char **ret_why)
{
	struct apply a = {
		.config = config,
		.target = target,
		.fds = fds,
		.fd_n = fd_n,
		.ret_why = ret_why,
	};
	int r;

	say_what_is_different(&a);
	read_scsi_limits(&a);
	r = check_fds(&a);
	r = r < 0 ? r : apply_malloc(&a);
	r = r < 0 ? r : apply_lines(&a, SECTION_NULL, "Dev", apply_null);
	r = r < 0 ? r : apply_lines(&a, SECTION_AIO, "AIO", apply_aio);
	r = r < 0 ? r : apply_sections(&a, SECTION_VHOST_SCSI, apply_scsi);
	r = r < 0 ? r : apply_sections(&a, SECTION_VHOST_BLK, apply_blk);
	return r < 0 ? r : check_fds_used(&a);
}
