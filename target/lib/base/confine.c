/* SPDX-License-Identifier: BSD-3-Clause */
#include "base/confine.h"

#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/confine_calls.h"
#include "base/why.h"

/* ---- capabilities ---- */

/* Files, devices and sockets of other users that a later method names, and left-over sockets of theirs; locked
 * and huge memory; the place of threads and memory. */
static const unsigned int kept[] = { CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_IPC_LOCK, CAP_SYS_NICE };

static bool is_kept(unsigned int capability)
{
	for (unsigned int i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		if (kept[i] == capability) {
			return true;
		}
	}
	return false;
}

int confine_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, sets) < 0) {
		return -errno;
	}
	/* The kernel's last one is the first that it does not know. */
	for (unsigned int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++) {
		if (is_kept(c)) {
			continue;
		}
		/* Needs a capability of its own, which an ordinary user does not have, nor miss. */
		(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
		sets[c / 32].effective &= ~(1u << c % 32);
		sets[c / 32].permitted &= ~(1u << c % 32);
		sets[c / 32].inheritable &= ~(1u << c % 32);
	}
	if (syscall(SYS_capset, &header, sets) < 0) {
		return -errno;
	}
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* ---- what happens to a call that is not allowed ---- */

#define NUMBERS_MAX    1024
#define NAME_MAX_BYTES 32
#define LINE_BYTES     128

/* Known before there is a filter: looking names up takes more than a signal handler may do. */
static char names[NUMBERS_MAX][NAME_MAX_BYTES];
static atomic_bool told[NUMBERS_MAX];

static void learn_names(void)
{
	for (int number = 0; number < NUMBERS_MAX; number++) {
		char *name = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, number);

		if (name != NULL) {
			strncpy(names[number], name, NAME_MAX_BYTES - 1);
			free(name);
		}
	}
}

static size_t append(char *line, size_t used, const char *text)
{
	size_t len = strlen(text);

	memcpy(line + used, text, len);
	return used + len;
}

static size_t append_number(char *line, size_t used, unsigned int number)
{
	char digits[12];
	unsigned int n = sizeof(digits) - 1;

	digits[n] = '\0';
	do {
		digits[--n] = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	return append(line, used, digits + n);
}

/* Async-signal-safe. The line looks as those of base/log.h. */
static void tell(int number)
{
	bool known = number >= 0 && number < NUMBERS_MAX;
	char line[160];
	size_t n;

	if (known && atomic_exchange_explicit(&told[number], true, memory_order_relaxed)) {
		return;
	}
	n = append(line, 0, "vhost: error: system call ");
	if (known && names[number][0] != '\0') {
		n = append(line, n, names[number]);
		n = append(line, n, " ");
	}
	n = append(line, n, "(number ");
	n = append_number(line, n, (unsigned int)number);
	n = append(line, n, ") is not permitted to this process and has failed\n");
	if (write(STDERR_FILENO, line, n) < 0) {
		return; /* nobody listens */
	}
}

/* The system call was not made; what it returns stands in a register. */
static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	ucontext_t *user = context;
	int saved_errno = errno;

	tell(info->si_syscall);
#if defined(__x86_64__)
	user->uc_mcontext.gregs[REG_RAX] = -EPERM;
#elif defined(__aarch64__)
	user->uc_mcontext.regs[0] = (uint64_t)-EPERM;
#else
	(void)user; /* what was in the register: some error, most likely -ENOSYS */
#endif
	errno = saved_errno;
}

void confine_block_signals(sigset_t *ret_before)
{
	sigset_t most;

	sigfillset(&most);
	sigdelset(&most, SIGSYS);
	pthread_sigmask(SIG_SETMASK, &most, ret_before);
}

/* ---- the filter ---- */

static int number_of(const char *name)
{
	return seccomp_syscall_resolve_name(name);
}

/* The names of one line. */
static int allow_all(scmp_filter_ctx filter, const char *line)
{
	char words[LINE_BYTES];
	char *state;
	int r = 0;

	strncpy(words, line, sizeof(words) - 1);
	words[sizeof(words) - 1] = '\0';
	for (char *name = strtok_r(words, " ", &state); r == 0 && name != NULL;
	     name = strtok_r(NULL, " ", &state)) {
		int number = number_of(name);

		/* Another architecture, or a libseccomp of before, does not have it. */
		if (number != __NR_SCMP_ERROR) {
			r = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
		}
	}
	return r;
}

static int allow_if(scmp_filter_ctx filter, const struct confine_argument *rule)
{
	int number = number_of(rule->name);
	struct scmp_arg_cmp compare = {
		.arg = rule->argument,
		.op = rule->mask != 0 ? SCMP_CMP_MASKED_EQ : SCMP_CMP_EQ,
		.datum_a = rule->mask != 0 ? rule->mask : rule->value,
		.datum_b = rule->mask != 0 ? rule->value : 0,
	};
	int r;

	if (rule->value == CONFINE_OWN_PID) {
		compare.datum_a = (uint64_t)getpid();
	}
	r = number == __NR_SCMP_ERROR ?
		    0 :
		    seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, number, 1, &compare);
	return r == -EEXIST ? 0 : r; /* it is allowed with any arguments */
}

static int fill(scmp_filter_ctx filter)
{
	int r = 0;

	for (const char *const *line = confine_calls; r == 0 && *line != NULL; line++) {
		r = allow_all(filter, *line);
	}
	for (const struct confine_argument *rule = confine_arguments; r == 0 && rule->name != NULL;
	     rule++) {
		r = allow_if(filter, rule);
	}
	/* Its flags lie in memory, where no filter sees them; the C library then takes clone(). */
	if (r == 0 && number_of("clone3") != __NR_SCMP_ERROR) {
		r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), number_of("clone3"), 0);
	}
	return r;
}

static int set_attributes(scmp_filter_ctx filter)
{
	int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);

	if (r == 0) {
		/* No code of others runs in here: the filter is not to slow the data path down by
		 * what guards against that. */
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	}
	if (r == 0) {
		r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	}
	return r;
}

int confine_system_calls(const char **ret_why)
{
	struct sigaction action = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_TRAP);
	int r = filter != NULL ? set_attributes(filter) : -ENOMEM;

	learn_names();
	if (r == 0) {
		r = fill(filter);
	}
	if (r == 0 && sigaction(SIGSYS, &action, NULL) < 0) {
		r = -errno;
	}
	if (r == 0) {
		r = seccomp_load(filter);
	}
	if (r < 0) {
		*ret_why = why("system calls cannot be restricted: %s", strerror(-r));
	}
	seccomp_release(filter);
	return r;
}
