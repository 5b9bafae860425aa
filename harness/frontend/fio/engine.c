/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The engine as fio sees it.
 *
 * get_ioengine is the one symbol that fio looks for. It picks the layout of the running fio, checks it and
 * makes the struct of functions; what is not as expected ends in one line and no engine.
 */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "io.h"

#define LINE_LEN 512
#define PAGE	 4096

/* What fio's binary exports. Weak, so that another program can load the engine and be told why not. */
extern const char fio_version_string[] __attribute__((weak));
extern const struct fioabi_option fio_options[] __attribute__((weak));
/* fio's: to its standard error, or where its messages go. */
extern size_t log_err(const char *format, ...) __attribute__((weak));

static const struct fioabi_layout *layout;
static struct fioabi_job_options job_options;
static uint64_t ops[FIOABI_OPS_MAX / sizeof(uint64_t)];

void job_say(const char *name, const char *format, ...)
{
	char line[LINE_LEN];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (log_err != NULL) {
		log_err("vhost_user: %s%s%s\n", name, *name != '\0' ? ": " : "", line);
	} else {
		fprintf(stderr, "vhost_user: %s%s%s\n", name, *name != '\0' ? ": " : "", line);
	}
}

/* ---- a job's options ---- */

static uint32_t option32(const struct fio_td *td, uint32_t offset)
{
	return fioabi_u32(td, layout->td.options + offset);
}

static uint64_t option64(const struct fio_td *td, uint32_t offset)
{
	return fioabi_u64(td, layout->td.options + offset);
}

static const char *job_name(const struct fio_td *td)
{
	const char *name = fioabi_ptr(td, layout->td.options + job_options.name);

	return name != NULL ? name : "";
}

static struct job *job_of(const struct fio_td *td)
{
	return fioabi_ptr(td, layout->td.io_ops_data);
}

static struct fio_disk *file_of(const struct fio_td *td)
{
	struct fio_disk *const *files = fioabi_ptr(td, layout->td.files);

	return files[0];
}

/* ---- setting up ---- */

static uint64_t longest(const struct fio_td *td, unsigned int does)
{
	static const unsigned int bits[] = { FIOABI_DOES_READ, FIOABI_DOES_WRITE,
					     FIOABI_DOES_TRIM };
	uint64_t max = 0;
	unsigned int i;

	for (i = 0; i < 3; i++) {
		/* A job that writes reads as well when it verifies. */
		if ((does & bits[i]) != 0 || bits[i] == FIOABI_DOES_READ) {
			uint64_t len = option64(td, job_options.max_bs[i]);

			max = len > max ? len : max;
		}
	}
	return max;
}

static const char *check_job(const struct fio_td *td, const struct job_plan *plan)
{
	static const unsigned int bits[] = { FIOABI_DOES_READ, FIOABI_DOES_WRITE,
					     FIOABI_DOES_TRIM };
	const struct disk_info *info = &plan->info;
	unsigned int i;

	if ((plan->does & (FIOABI_DOES_WRITE | FIOABI_DOES_TRIM)) != 0 && info->read_only) {
		return "the disk is read-only";
	}
	if ((plan->does & FIOABI_DOES_TRIM) != 0 && info->discard_max == 0) {
		return "the disk cannot trim";
	}
	for (i = 0; i < 3; i++) {
		if ((plan->does & bits[i]) != 0 &&
		    option64(td, job_options.min_bs[i]) % info->block_size != 0) {
			return "the block size is not a multiple of the disk's";
		}
	}
	if (plan->max_len > info->transfer_max ||
	    (plan->max_len + info->segment_max - 1) / info->segment_max > info->segments_max) {
		return "the block size is larger than the disk's longest request";
	}
	return NULL;
}

static int make_job(struct fio_td *td, const struct engine_options *options)
{
	struct fio_disk *file = file_of(td);
	struct job_plan plan = {
		.name = job_name(td),
		.options = options,
		.depth = option32(td, job_options.iodepth),
		.does = option32(td, job_options.directions),
		.thread = option32(td, job_options.thread) != 0,
		.stonewall = option32(td, job_options.stonewall) != 0,
	};
	char why[DISK_WHY_LEN];
	const char *wrong;
	struct job *job;

	plan.socket = options->socket != NULL ? options->socket :
						fioabi_ptr(file, layout->disk.file_name);
	plan.max_len = longest(td, plan.does);
	/* fio aligns the memory that it asks for. */
	plan.buffer_len =
		plan.max_len * plan.depth + 2 * PAGE + 2ull * option32(td, job_options.mem_align);
	if (disk_probe(options, plan.socket, &plan.info, why) < 0) {
		job_say(plan.name, "%s: %s", plan.socket, why);
		return 1;
	}
	wrong = check_job(td, &plan);
	if (wrong != NULL) {
		job_say(plan.name, "%s: %s", plan.socket, wrong);
		return 1;
	}
	if (job_new(&plan, &job) < 0) {
		return 1;
	}
	job->file = file;
	fioabi_set_u64(file, layout->disk.real_file_size, plan.info.capacity);
	fioabi_set_ptr(td, layout->td.io_ops_data, job);
	return 0;
}

static int engine_setup(struct fio_td *td)
{
	const char *wrong = fioabi_check_td(layout, td, ops);
	const struct engine_options *options;

	if (wrong != NULL) {
		job_say("", "made for another build of %s: %s", layout->version, wrong);
		return 1;
	}
	options = fioabi_ptr(td, layout->td.engine_options);
	wrong = engine_options_check(options);
	if (wrong == NULL && fioabi_u32(td, layout->td.files_index) != 1) {
		wrong = "a job has one disk; make one job for each";
	}
	if (wrong != NULL) {
		job_say(job_name(td), "%s", wrong);
		return 1;
	}
	return make_job(td, options);
}

/* ---- running ---- */

static int engine_init(struct fio_td *td)
{
	struct job *job = job_of(td);

	return job == NULL || job_start(job) < 0;
}

static int engine_unit_init(struct fio_td *td, struct fio_unit *unit)
{
	int r = io_new_unit(job_of(td), layout, unit);

	if (r < 0) {
		/* fio ends the job, and takes it for a success unless it has an error. */
		fioabi_set_u32(td, layout->td.error, (uint32_t)-r);
	}
	return r < 0;
}

static int engine_iomem_alloc(struct fio_td *td, size_t size)
{
	struct job *job = job_of(td);

	if (job_buffer(job, size) < 0) {
		return 1;
	}
	fioabi_set_ptr(td, layout->td.orig_buffer, job->buffer);
	return 0;
}

/* The memory goes with the connection. */
static void engine_iomem_free(struct fio_td *td)
{
	fioabi_set_ptr(td, layout->td.orig_buffer, NULL);
}

static int engine_queue(struct fio_td *td, struct fio_unit *unit)
{
	return io_queue(job_of(td), layout, unit);
}

static int engine_commit(struct fio_td *td)
{
	io_commit(job_of(td));
	return 0;
}

static int engine_getevents(struct fio_td *td, unsigned int min, unsigned int max,
			    const struct timespec *timeout)
{
	return io_getevents(job_of(td), layout, min, max, timeout);
}

static struct fio_unit *engine_event(struct fio_td *td, int n)
{
	return job_of(td)->events[n];
}

static void engine_cleanup(struct fio_td *td)
{
	job_stop(job_of(td));
	fioabi_set_ptr(td, layout->td.io_ops_data, NULL);
}

static int engine_open_file(struct fio_td *td, struct fio_disk *disk)
{
	(void)td;
	(void)disk;
	return 0;
}

static int engine_close_file(struct fio_td *td, struct fio_disk *disk)
{
	(void)td;
	(void)disk;
	return 0;
}

static const struct fioabi_engine engine = {
	.name = "vhost_user",
	.flags = FIOABI_DISKLESS | FIOABI_NO_EXTEND | FIOABI_NO_DISK_UTIL | FIOABI_MEM_ALIGN |
		 FIOABI_NO_FILE_HASH | FIOABI_NO_OFFLOAD,
	.setup = engine_setup,
	.init = engine_init,
	.queue = engine_queue,
	.commit = engine_commit,
	.getevents = engine_getevents,
	.event = engine_event,
	.cleanup = engine_cleanup,
	.open_file = engine_open_file,
	.close_file = engine_close_file,
	.iomem_alloc = engine_iomem_alloc,
	.iomem_free = engine_iomem_free,
	.io_u_init = engine_unit_init,
	.option_struct_size = sizeof(struct engine_options),
	.options = engine_option_table,
};

/* ---- loading ---- */

/* The length of the option table, as the symbol table of fio's binary has it. */
static size_t table_bytes(void)
{
	const ElfW(Sym) *symbol = NULL;
	Dl_info info;

	if (dladdr1(fio_options, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || symbol == NULL) {
		return 0;
	}
	return symbol->st_size;
}

static const char *find_layout(void)
{
	const char *wrong;

	layout = fioabi_find(fio_version_string);
	if (layout == NULL) {
		return "there is no layout for it (docs/FIO.md)";
	}
	wrong = fioabi_check_options(fio_options, table_bytes(), &job_options);
	if (wrong != NULL) {
		layout = NULL;
	}
	return wrong;
}

__attribute__((visibility("default"))) void get_ioengine(void **ret_ops);

void get_ioengine(void **ret_ops)
{
	const char *wrong;

	*ret_ops = NULL;
	if (fio_version_string == NULL || fio_options == NULL) {
		job_say("", "cannot be loaded: the program is not fio, or exports no symbols");
		return;
	}
	wrong = find_layout();
	if (wrong != NULL) {
		job_say("", "cannot be used with %s: %s", fio_version_string, wrong);
		return;
	}
	fioabi_make_ops(layout, &engine, ops);
	*ret_ops = ops;
}
