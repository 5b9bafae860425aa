/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * env on DPDK's environment abstraction layer. The only file that includes rte_*.h.
 *
 * EAL starts one thread per lcore and binds it. Lcore ids are not processor numbers here: id i is
 * the i-th processor of the reactor mask, so that numbers above RTE_MAX_LCORE work. The main lcore
 * is one more id which may run on every processor the process was given: it is the control thread,
 * which sleeps nearly always and must not be tied to a reactor's processor.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_version.h>

#include "base/log.h"
#include "base/why.h"
#include "env/internal.h"

#define MAX_ARGS      16
#define FDS_PER_LCORE 4
/* What the program has open already, and EAL itself. */
#define SPARE_FDS 32
/* With less than this in free huge pages EAL would take them and then run dry. */
#define MIN_HUGE_BYTES (UINT64_C(64) << 20)
/* EAL's own tables only, when there are no huge pages: our memory comes from the C library then. */
#define NO_HUGE_EAL_MIB "32"

struct arguments {
	int n;
	char *value[MAX_ARGS + 1];
	bool failed;
};

static struct {
	bool huge;
	bool starting; /* rte_eal_init() runs: keep its complaints for the caller */
	FILE *log;
	char complaint[192]; /* the last line EAL wrote while starting */
	struct env_cpuset cores;
	uint16_t lcore_of[ENV_MAX_CORES];
	struct arguments args;
	char *argv[MAX_ARGS + 1]; /* what EAL gets: it reorders the pointers and keeps some */
} dpdk;

static void add_argument(struct arguments *args, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void add_argument(struct arguments *args, const char *fmt, ...)
{
	char *text;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (rc < 0 || args->n == MAX_ARGS) {
		args->failed = true;
		return;
	}
	args->value[args->n++] = text;
}

static void free_arguments(struct arguments *args)
{
	for (int i = 0; i < args->n; i++) {
		free(args->value[i]);
	}
	*args = (struct arguments){ 0 };
}

/* One write is one message of EAL, since rte_log() flushes after each. */
static ssize_t eal_log_line(void *cookie, const char *buf, size_t len)
{
	size_t n = len;

	while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' ')) {
		n--;
	}
	if (n > 0) {
		if (dpdk.starting) {
			snprintf(dpdk.complaint, sizeof(dpdk.complaint), "%.*s", (int)n, buf);
		}
		log_debug("%.*s", (int)n, buf);
	}
	return (ssize_t)len;
}

static int open_eal_log(bool quiet)
{
	const cookie_io_functions_t functions = { .write = eal_log_line };

	dpdk.log = fopencookie(NULL, "w", functions);
	if (dpdk.log == NULL) {
		return -errno;
	}
	setvbuf(dpdk.log, NULL, _IOLBF, 512);
	rte_openlog_stream(dpdk.log);
	rte_log_set_global_level(quiet ? RTE_LOG_ERR : RTE_LOG_NOTICE);
	return 0;
}

/* Huge pages are there and the kernel lets this process have one. Nothing is touched. */
static bool huge_pages_usable(void)
{
	const size_t size = (size_t)2 << 20;
	void *ptr;

	if (env_free_hugepages("") < MIN_HUGE_BYTES) {
		return false;
	}
	ptr = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		   -1, 0);
	if (ptr == MAP_FAILED) {
		return false;
	}
	munmap(ptr, size);
	return true;
}

/* "0,2-5" */
static void format_list(const struct env_cpuset *set, char *buf, size_t len)
{
	size_t used = 0;

	buf[0] = '\0';
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		unsigned int last = core;
		int n;

		if (!env_cpuset_has(set, core)) {
			continue;
		}
		while (env_cpuset_has(set, last + 1)) {
			last++;
		}
		n = snprintf(buf + used, len - used, "%s%u-%u", used > 0 ? "," : "", core, last);
		used += (size_t)n;
		if (used >= len) {
			buf[len - 1] = '\0';
			return;
		}
		core = last;
	}
}

/* "--lcores=0@4,1@5,2@(0-7)" and which of them is main. */
static int add_lcores(struct arguments *args, const struct env_cpuset *cores, const char **ret_why)
{
	struct env_cpuset everywhere;
	char list[ENV_MAX_CORES * 5];
	char map[RTE_MAX_LCORE * 10 + 1];
	unsigned int id = 0;
	size_t used = 0;
	int rc;

	map[0] = '\0';
	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		if (!env_cpuset_has(cores, core)) {
			continue;
		}
		/* One id is kept for the main lcore. */
		if (id >= RTE_MAX_LCORE - 1) {
			*ret_why =
				why("the reactor mask names more than %d cores", RTE_MAX_LCORE - 1);
			return -E2BIG;
		}
		used += (size_t)snprintf(map + used, sizeof(map) - used, "%u@%u,", id, core);
		dpdk.lcore_of[core] = (uint16_t)id;
		id++;
	}
	rc = env_affinity(&everywhere);
	if (rc != 0) {
		*ret_why = why("cannot read this process's processor affinity: %s", strerror(-rc));
		return rc;
	}
	format_list(&everywhere, list, sizeof(list));
	add_argument(args, "--lcores=%s%u@(%s)", map, id, list);
	add_argument(args, "--main-lcore=%u", id);
	return 0;
}

static unsigned int numa_nodes(void)
{
	unsigned int n = 0;
	char path[64];

	do {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%u", n);
	} while (access(path, F_OK) == 0 && ++n < RTE_MAX_NUMA_NODES);
	return n > 0 ? n : 1;
}

/* No -m with huge pages: EAL takes pages one by one as memory is asked for, up to the limit. */
static void add_memory(struct arguments *args, const struct env_options *opts)
{
	unsigned int nodes = numa_nodes();
	char limits[RTE_MAX_NUMA_NODES * 11 + 1];
	size_t used = 0;

	if (!dpdk.huge) {
		/* EAL counts this as legacy memory, which --in-memory excludes. */
		add_argument(args, "--no-shconf");
		add_argument(args, "--no-huge");
		add_argument(args, "-m");
		add_argument(args, NO_HUGE_EAL_MIB);
		return;
	}
	add_argument(args, "--in-memory"); /* no files, no second process */
	if (opts->mem_limit_mib == 0) {
		return;
	}
	for (unsigned int i = 0; i < nodes; i++) {
		unsigned int mib = opts->mem_limit_mib / nodes;

		used += (size_t)snprintf(limits + used, sizeof(limits) - used, "%s%u",
					 i > 0 ? "," : "", mib > 0 ? mib : 1);
	}
	add_argument(args, "--socket-limit=%s", limits);
}

static int make_arguments(struct arguments *args, const struct env_options *opts,
			  const char **ret_why)
{
	int rc;

	add_argument(args, "%s", opts->name != NULL ? opts->name : "vhost");
	add_argument(args, "--no-telemetry");
	add_argument(args, "--no-pci"); /* nothing is taken from the kernel unless configured */
	add_argument(args, "--iova-mode=va");
	add_argument(args, "--log-level=%s", opts->quiet ? "error" : "notice");
	rc = add_lcores(args, &opts->cores, ret_why);
	if (rc != 0) {
		return rc;
	}
	add_memory(args, opts);
	if (args->failed) {
		*ret_why = why("out of memory");
		return -ENOMEM;
	}
	return 0;
}

/* EAL writes its fatal messages to stderr as well; the caller gets them as text, once. */
static int start_eal(const struct arguments *args)
{
	FILE *saved = stderr;
	int rc;

	memcpy(dpdk.argv, args->value, sizeof(dpdk.argv));
	dpdk.complaint[0] = '\0';
	dpdk.starting = true;
	stderr = dpdk.log;
	rc = rte_eal_init(args->n, dpdk.argv);
	fflush(dpdk.log);
	stderr = saved;
	dpdk.starting = false;
	return rc;
}

/* EAL opens two pipes for each lcore, and aborts when it cannot. */
static int check_descriptors(const struct env_cpuset *cores, const char **ret_why)
{
	unsigned int needed = SPARE_FDS + FDS_PER_LCORE; /* the main lcore */
	struct rlimit limit;

	for (unsigned int core = 0; core < ENV_MAX_CORES; core++) {
		needed += env_cpuset_has(cores, core) ? FDS_PER_LCORE : 0;
	}
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < needed) {
		*ret_why = why("only %llu files may be open at a time, and %u are needed to start: "
			       "raise the limit ('ulimit -n')",
			       (unsigned long long)limit.rlim_cur, needed);
		return -EMFILE;
	}
	return 0;
}

int env_init(const struct env_options *opts, const char **ret_why)
{
	struct arguments *args = &dpdk.args;
	int rc = env_check_cores(&opts->cores, ret_why);

	if (rc == 0) {
		rc = check_descriptors(&opts->cores, ret_why);
	}
	if (rc != 0) {
		return rc;
	}
	rc = open_eal_log(opts->quiet);
	if (rc != 0) {
		*ret_why = why("out of memory");
		return rc;
	}
	dpdk.huge = !opts->no_huge && huge_pages_usable();
	rc = make_arguments(args, opts, ret_why);
	if (rc != 0) {
		free_arguments(args);
		return rc;
	}
	if (start_eal(args) < 0) {
		rc = rte_errno != 0 ? -rte_errno : -EIO;
		*ret_why = why("DPDK does not start: %s (%s)",
			       dpdk.complaint[0] != '\0' ? dpdk.complaint : "no reason given",
			       rte_strerror(-rc));
		free_arguments(args);
		return rc;
	}
	dpdk.cores = opts->cores;
	return 0;
}

void env_done(void)
{
	dpdk.cores = (struct env_cpuset){ 0 };
	rte_eal_cleanup();
	free_arguments(&dpdk.args);
}

bool env_has_hugepages(void)
{
	return dpdk.huge;
}

const char *env_version(void)
{
	return rte_version();
}

int env_core_start(unsigned int core, int (*fn)(void *arg), void *arg)
{
	if (!env_cpuset_has(&dpdk.cores, core)) {
		return -EINVAL;
	}
	return rte_eal_remote_launch(fn, arg, dpdk.lcore_of[core]);
}

int env_core_join(unsigned int core)
{
	if (!env_cpuset_has(&dpdk.cores, core)) {
		return -EINVAL;
	}
	return rte_eal_wait_lcore(dpdk.lcore_of[core]);
}

/*
 * Huge pages if there are any left. Guests with many queues may use them up, and others shall not have to
 * do without queues for that: no device needs to reach this memory.
 */
void *env_zalloc(size_t size, size_t align, int numa_node)
{
	void *ptr = NULL;

	align = align < ENV_CACHE_LINE ? ENV_CACHE_LINE : align;
	if (dpdk.huge) {
		ptr = rte_zmalloc_socket(NULL, size, (unsigned int)align,
					 numa_node < 0 ? SOCKET_ID_ANY : numa_node);
	}
	return ptr != NULL ? ptr : env_heap_zalloc(size, align);
}

void env_free(void *ptr)
{
	/* Both know of NULL, and only EAL's memory is in its list. */
	if (dpdk.huge && rte_mem_virt2memseg_list(ptr) != NULL) {
		rte_free(ptr);
	} else {
		free(ptr);
	}
}

uint64_t env_ticks(void)
{
	return rte_rdtsc();
}

uint64_t env_ticks_hz(void)
{
	return rte_get_tsc_hz();
}
