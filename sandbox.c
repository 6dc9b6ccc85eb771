/* SPDX-License-Identifier: MIT */
#include "sandbox.h"

#include "landlock.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* 0 where the numbers of this architecture's calls have not been looked at. */
#if defined(__x86_64__) && !defined(__ILP32__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__i386__)
#define ARCHITECTURE AUDIT_ARCH_I386
#elif defined(__aarch64__) && defined(__AARCH64EL__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__arm__) && defined(__ARMEL__)
#define ARCHITECTURE AUDIT_ARCH_ARM
#elif defined(__powerpc64__) && defined(__LITTLE_ENDIAN__)
#define ARCHITECTURE AUDIT_ARCH_PPC64LE
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#elif defined(__s390x__)
#define ARCHITECTURE AUDIT_ARCH_S390X
#else
#define ARCHITECTURE 0
#endif

const char *const sandbox_layer_names[SANDBOX_LAYERS] = {
	[SANDBOX_NO_NEW_PRIVS] = "no_new_privs",
	[SANDBOX_RLIMITS] = "rlimits",
	[SANDBOX_CAPABILITIES] = "capabilities",
	[SANDBOX_LANDLOCK] = "landlock",
	[SANDBOX_SECCOMP] = "seccomp",
};

/* Of the address space of this process, in bytes; 0 while it is not known. */
static uint64_t mapped;

enum {
	CONDITIONS = 2,
	RULE_CODE_MAX = 2 + CONDITIONS * 3 + 2,
};

/* The lower half of an argument, of which the kernel takes an int, has these bits. */
struct condition {
	uint32_t mask; /* 0: no condition */
	uint32_t value;
	unsigned argument;
};

struct rule {
	long number;
	struct condition conditions[CONDITIONS];
};

/* clang-format off */
#define ALLOW(name) { SYS_##name, { { 0 } } }
#define ALLOW_IF(name, arg, bits, is) { SYS_##name, { { bits, is, arg } } }
#define ALL ((uint32_t)-1)

/*
 * The GNU C library still multiplexes its socket calls here, for kernels before 4.3. Only
 * the number of the call is an argument; the rest is in memory, which no filter sees.
 */
#if defined(__i386__) || defined(__s390x__)
#define USES_SOCKETCALL 1
#else
#define USES_SOCKETCALL 0
#endif
#define SOCKETCALL(name) ALLOW_IF(socketcall, 0, ALL, SYS_##name)

/*
 * What is left when everything is open: read and write, wait, keep the deadline, end. The
 * names differ between architectures and C libraries; where there are several for one
 * thing, all are here. Names behind one #ifdef exist on the same architectures.
 */
static const struct rule responder_rules[] = {
	ALLOW(read),
	ALLOW(write),
	ALLOW(recvfrom),
	ALLOW_IF(sendto, 5, ALL, 0), /* no address: to the connected peer only */
	ALLOW(shutdown),
	ALLOW(close),
	ALLOW_IF(setitimer, 0, ALL, ITIMER_REAL),
	ALLOW_IF(ioctl, 1, ALL, TIOCOUTQ),
	ALLOW(rt_sigreturn),
	ALLOW(restart_syscall),
	ALLOW(exit),
	ALLOW(exit_group),
	ALLOW_IF(ppoll, 1, ALL, 1),
#ifdef SYS_poll
	ALLOW_IF(poll, 1, ALL, 1),
#endif
#ifdef SYS_ppoll_time64
	ALLOW_IF(ppoll_time64, 1, ALL, 1),
#endif
#ifdef SYS_clock_gettime
	ALLOW(clock_gettime),
#endif
#ifdef SYS_clock_gettime32 /* musl's name of the same on 32 bits */
	ALLOW(clock_gettime32),
#endif
#ifdef SYS_clock_gettime64
	ALLOW(clock_gettime64),
#endif
#ifdef SYS_lseek
	ALLOW_IF(lseek, 2, ALL, SEEK_SET),
#endif
#ifdef SYS__llseek
	ALLOW_IF(_llseek, 4, ALL, SEEK_SET),
#endif
#ifdef SYS_recv
	ALLOW(recv),
	ALLOW(send),
#endif
#ifdef SYS_sigreturn
	ALLOW(sigreturn),
#endif
#if USES_SOCKETCALL
	SOCKETCALL(RECV),
	SOCKETCALL(RECVFROM),
	SOCKETCALL(SEND),
	SOCKETCALL(SHUTDOWN),
#endif
};

/* Not O_ACCMODE: musl counts O_PATH to it. */
#define WRITING (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)
#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | \
		    CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
/* On s390 the stack comes first (CONFIG_CLONE_BACKWARDS2). */
#ifdef __s390__
#define CLONE_FLAGS 1
#else
#define CLONE_FLAGS 0
#endif
#define SOCKET_TYPE 0xf
#define SOCKET(family, bits, is) \
	{ SYS_socket, { { ALL, family, 0 }, { bits, is, 1 } } }

/*
 * What the server calls, what its children call before they confine themselves, and what
 * the C library and libsystemd call in between.
 */
static const struct rule server_rules[] = {
	ALLOW(accept4), ALLOW(bind), ALLOW(brk), ALLOW(capget), ALLOW(capset), ALLOW(close),
	ALLOW(epoll_create1), ALLOW(epoll_ctl), ALLOW(epoll_pwait),
	ALLOW(exit), ALLOW(exit_group), ALLOW(faccessat), ALLOW(futex),
	ALLOW(getegid), ALLOW(geteuid), ALLOW(getgid), ALLOW(getpid), ALLOW(getppid),
	ALLOW(getpeername), ALLOW(getrandom), ALLOW(getsockname),
	ALLOW(getsockopt), ALLOW(gettid),
	ALLOW(getuid), ALLOW(kill), ALLOW(landlock_create_ruleset),
	ALLOW(landlock_restrict_self), ALLOW(listen), ALLOW(madvise),
	ALLOW(munmap), ALLOW(nanosleep), ALLOW(ppoll), ALLOW(read),
	ALLOW(readlinkat), ALLOW(recvfrom), ALLOW(restart_syscall),
	ALLOW(rt_sigaction), ALLOW(rt_sigprocmask), ALLOW(rt_sigreturn), ALLOW(seccomp),
	ALLOW(set_robust_list), ALLOW(set_tid_address), ALLOW(setitimer),
	ALLOW(setsockopt), ALLOW(shutdown), ALLOW(statx), ALLOW(tgkill), ALLOW(tkill), ALLOW(uname),
	ALLOW(wait4), ALLOW(write), ALLOW(writev),
	ALLOW_IF(clone, CLONE_FLAGS, NAMESPACES, 0),
	ALLOW_IF(ioctl, 1, ALL, TIOCOUTQ),
	ALLOW_IF(ioctl, 1, ALL, SIOCGIFINDEX),
	ALLOW_IF(mprotect, 2, PROT_EXEC, 0),
	ALLOW_IF(openat, 2, WRITING, O_RDONLY),
	ALLOW_IF(prctl, 0, ALL, PR_SET_PDEATHSIG),
	ALLOW_IF(prctl, 0, ALL, PR_SET_NO_NEW_PRIVS),
	ALLOW_IF(prctl, 0, ALL, PR_SET_DUMPABLE),
	ALLOW_IF(prctl, 0, ALL, PR_SET_SECCOMP),
	ALLOW_IF(prlimit64, 0, ALL, 0), /* of the caller itself */
	ALLOW_IF(sendto, 5, ALL, 0),
	SOCKET(AF_INET, SOCKET_TYPE, SOCK_STREAM),
	SOCKET(AF_INET6, SOCKET_TYPE, SOCK_STREAM),
	SOCKET(AF_UNIX, SOCKET_TYPE, SOCK_STREAM),
	{ SYS_socket, { { ALL, AF_NETLINK, 0 }, { ALL, NETLINK_SOCK_DIAG, 2 } } },
#ifdef SYS_fcntl
	ALLOW(fcntl),
#endif
#ifdef SYS_lseek
	ALLOW(lseek),
#endif
#ifdef SYS_fstat
	ALLOW(fstat),
#endif
#ifdef SYS_newfstatat
	ALLOW(newfstatat),
#endif
#ifdef SYS_close_range
	ALLOW(close_range),
#endif
#ifdef SYS_rseq
	ALLOW(rseq),
#endif
#ifdef SYS_clock_gettime
	ALLOW(clock_gettime), ALLOW(clock_nanosleep),
#endif
	/* Where the C library uses the older names of the same. */
#ifdef SYS_open
	ALLOW_IF(open, 1, WRITING, O_RDONLY), ALLOW(access), ALLOW(epoll_wait),
	ALLOW(fork), ALLOW(lstat), ALLOW(poll), ALLOW(readlink), ALLOW(setrlimit),
	ALLOW(stat),
#endif
#ifdef SYS_getrlimit
	ALLOW(getrlimit),
#endif
#ifdef SYS_ugetrlimit
	ALLOW(ugetrlimit),
#endif
#ifdef SYS_accept
	ALLOW(accept),
#endif
#ifdef SYS_recv
	ALLOW(recv), ALLOW(send),
#endif
#ifdef SYS_sigreturn
	ALLOW(sigreturn),
#endif
	/*
	 * Where there is mmap2, mmap is the older form, which takes its arguments from
	 * memory, and no C library uses it. It does so on s390x too: there a server maps
	 * nothing, and the C library gets its memory by brk.
	 */
#ifdef SYS_mmap2
	ALLOW_IF(mmap2, 2, PROT_EXEC, 0),
#elif defined(SYS_mmap) && !defined(__s390x__)
	ALLOW_IF(mmap, 2, PROT_EXEC, 0),
#endif
	/* On 32 bits: wider numbers, and calls of their own for time. */
#ifdef SYS__llseek
	ALLOW(_llseek),
#endif
#ifdef SYS_fcntl64
	ALLOW(fcntl64),
#endif
#ifdef SYS_fstat64
	ALLOW(fstat64), ALLOW(fstatat64),
#endif
#ifdef SYS_stat64
	ALLOW(lstat64), ALLOW(stat64),
#endif
#ifdef SYS_fstatfs
	ALLOW(fstatfs),
#endif
#ifdef SYS_fstatfs64
	ALLOW(fstatfs64),
#endif
#ifdef SYS_getuid32
	ALLOW(getegid32), ALLOW(geteuid32), ALLOW(getgid32), ALLOW(getuid32),
#endif
#ifdef SYS_clock_gettime32
	ALLOW(clock_gettime32), ALLOW(clock_nanosleep_time32),
#endif
#ifdef SYS_ppoll_time64
	ALLOW(ppoll_time64), ALLOW(clock_gettime64), ALLOW(clock_nanosleep_time64),
	ALLOW(futex_time64),
#endif
#if USES_SOCKETCALL
	SOCKETCALL(ACCEPT), SOCKETCALL(ACCEPT4), SOCKETCALL(BIND),
	SOCKETCALL(GETPEERNAME), SOCKETCALL(GETSOCKNAME), SOCKETCALL(GETSOCKOPT), SOCKETCALL(LISTEN),
	SOCKETCALL(RECV), SOCKETCALL(RECVFROM), SOCKETCALL(SEND),
	SOCKETCALL(SETSOCKOPT), SOCKETCALL(SHUTDOWN),
#ifdef __GLIBC__ /* Its family and type cannot be told. musl makes the direct call. */
	SOCKETCALL(SOCKET),
#endif
#endif
};

/*
 * Besides these, what a server calls that listens on a UNIX path: it finds out whether
 * the socket in its way still answers, and removes it where it does not.
 */
static const struct rule path_rules[] = {
	ALLOW(connect), ALLOW(unlinkat),
#ifdef SYS_unlink
	ALLOW(unlink),
#endif
#if USES_SOCKETCALL
	SOCKETCALL(CONNECT),
#endif
};

/*
 * And what hands its connections over to a successor: descriptors go by these. No filter
 * sees the address of sendmsg(2); a UNIX socket that takes one is there only where syslog
 * or a service manager is used, and no new one can be made. The flags keep it from
 * connecting a TCP socket (MSG_FASTOPEN).
 */
static const struct rule handover_rules[] = {
	ALLOW(recvmsg), ALLOW_IF(sendmsg, 2, ALL, MSG_DONTWAIT | MSG_NOSIGNAL),
#if USES_SOCKETCALL
	SOCKETCALL(RECVMSG), SOCKETCALL(SENDMSG),
#endif
};
/* clang-format on */

enum {
	RESPONDER_RULES = sizeof(responder_rules) / sizeof(responder_rules[0]),
	SERVER_RULES = sizeof(server_rules) / sizeof(server_rules[0]),
	PATH_RULES = sizeof(path_rules) / sizeof(path_rules[0]),
	HANDOVER_RULES = sizeof(handover_rules) / sizeof(handover_rules[0]),
	RULES_MAX = SERVER_RULES + PATH_RULES + HANDOVER_RULES, /* the longest list */
};

_Static_assert(RESPONDER_RULES <= RULES_MAX, "the buffer of a filter holds them");

struct code {
	struct sock_filter instructions[4 + RULES_MAX * RULE_CODE_MAX];
	unsigned short count;
};

/* Made once, by sandbox_init(): a child that made its own would copy the pages. */
static struct code server_code, responder_code;

static void
emit(struct code *code, uint16_t operation, uint32_t operand, uint8_t jump_true,
	uint8_t jump_false)
{
	code->instructions[code->count++] =
		(struct sock_filter){ operation, jump_true, jump_false, operand };
}

static void
emit_load(struct code *code, size_t offset)
{
	emit(code, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void
emit_return(struct code *code, uint32_t action)
{
	emit(code, BPF_RET | BPF_K, action, 0, 0);
}

/* The 32 bits of an argument that are an int. */
static size_t
argument_offset(unsigned argument)
{
	const size_t high_first = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0;

	return offsetof(struct seccomp_data, args) + argument * sizeof(uint64_t) +
	       high_first;
}

/*
 * Allow the call when all conditions hold. The number of the call is loaded before a
 * rule, and again behind one that has loaded something else.
 */
static void
emit_rule(struct code *code, const struct rule *rule)
{
	uint8_t conditions = 0;

	while (conditions < CONDITIONS && rule->conditions[conditions].mask != 0)
		conditions++;
	emit(code, BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->number, 0,
		(uint8_t)(conditions > 0 ? conditions * 3 + 2 : 1));
	for (uint8_t i = 0; i < conditions; i++) {
		const struct condition *c = &rule->conditions[i];

		emit_load(code, argument_offset(c->argument));
		emit(code, BPF_ALU | BPF_AND | BPF_K, c->mask, 0, 0);
		emit(code, BPF_JMP | BPF_JEQ | BPF_K, c->value, 0,
			(uint8_t)((conditions - i - 1) * 3 + 1));
	}
	emit_return(code, SECCOMP_RET_ALLOW);
	if (conditions > 0)
		emit_load(code, offsetof(struct seccomp_data, nr));
}

static void
begin_filter(struct code *code)
{
	code->count = 0;
	emit_load(code, offsetof(struct seccomp_data, arch));
	emit(code, BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
	emit_return(code, SECCOMP_RET_KILL_PROCESS);
	emit_load(code, offsetof(struct seccomp_data, nr));
}

static void
emit_rules(struct code *code, const struct rule *rules, size_t count)
{
	for (size_t i = 0; i < count; i++)
		emit_rule(code, &rules[i]);
}

/* Returns 0 or -errno. */
static int
confine_calls(struct code *code)
{
	const struct sock_fprog program = { code->count, code->instructions };

	int error;

	if (ARCHITECTURE == 0)
		return -ENOSYS;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0)
		return 0;
	error = errno;
	/* Older than seccomp(2), and allowed by runtimes that do not know that one. */
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -error : 0;
}

static int
forbid_new_privs(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

/* Of every set but the bounding one, which matters to execve(2) alone. */
static int
drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version =
							   _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3];
	const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };

	/* Most have none to drop, and may not be allowed to try. */
	if (syscall(SYS_capget, &header, held) == 0 &&
		memcmp(held, none, sizeof(none)) == 0)
		return 0;
	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* Where it is, and where it is a link to. */
static int
allow_file(const struct landlock *landlock, const char *file)
{
	char target[PATH_MAX];
	int r = landlock_allow_beside(landlock, file, LANDLOCK_READ);

	if (r == 0 && realpath(file, target))
		r = landlock_allow_beside(landlock, target, LANDLOCK_READ);
	return r;
}

/* Returns 0 or -errno of the first rule that could not be added. */
static int
allow_needs(const struct landlock *landlock, const struct sandbox_needs *needs)
{
	int r = 0;

	if (needs->directory)
		r = landlock_allow_below(landlock, needs->directory, LANDLOCK_READ);
	if (r == 0 && needs->file)
		r = allow_file(landlock, needs->file);
	for (size_t i = 0; r == 0 && i < needs->path_count; i++)
		r = landlock_allow_beside(
			landlock, needs->paths[i], LANDLOCK_MAKE_SOCKETS);
	for (size_t i = 0; r == 0 && i < needs->port_count; i++)
		r = landlock_allow_bind(landlock, needs->ports[i]);
	return r;
}

/* Returns 0 or -errno; nothing is confined then. */
static int
confine_objects(const struct sandbox_needs *needs)
{
	struct landlock landlock;
	int r = landlock_create(&landlock);

	if (r < 0)
		return r;
	r = allow_needs(&landlock, needs);
	if (r == 0)
		r = landlock_restrict(&landlock);
	landlock_close(&landlock);
	return r;
}

/* As prlimit(2) has them in the kernel; C libraries disagree about the types. */
struct limit {
	uint64_t soft, hard;
};

/* Neither the soft nor the hard limit is ever raised. Returns 0 or -errno. */
static int
limit(int resource, uint64_t value)
{
	struct limit now, wanted;

	if (syscall(SYS_prlimit64, 0, resource, NULL, &now) < 0)
		return -errno;
	wanted.soft = value < now.soft ? value : now.soft;
	wanted.hard = value < now.hard ? value : now.hard;
	return syscall(SYS_prlimit64, 0, resource, &wanted, NULL) < 0 ? -errno : 0;
}

/*
 * The limit counts what this process has spent on a scan, from the fork on. To the
 * nearest second, because the kernel counts whole ones.
 */
static uint64_t
find_cpu_limit(unsigned more_s)
{
	enum {
		HALF_SECOND_NS = 500000000,
	};
	struct timespec spent = { 0 };

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
	return (uint64_t)spent.tv_sec + (spent.tv_nsec >= HALF_SECOND_NS) + more_s;
}

/* Returns 0, or -errno of the first limit that could not be set. */
static int
limit_resources(unsigned cpu_more_s, bool writes_file)
{
	const struct {
		int resource;
		bool applies;
		uint64_t value;
	} limits[] = {
		{ RLIMIT_AS, mapped > 0, mapped + SANDBOX_ADDRESS_SPACE_MORE },
		{ RLIMIT_CPU, true, find_cpu_limit(cpu_more_s) },
		{ RLIMIT_FSIZE, !writes_file, 0 },
		{ RLIMIT_NPROC, true, 0 },
		/* poll(2) takes no more entries than this: one is what is polled. */
		{ RLIMIT_NOFILE, true, 1 },
	};
	/* Without what is mapped, the first one cannot be set. */
	int first_error = mapped > 0 ? 0 : -ENODATA;

	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		int r = limits[i].applies ? limit(limits[i].resource, limits[i].value)
		                          : 0;

		if (first_error == 0)
			first_error = r;
	}
	return first_error;
}

static void
look_up_mapped(void)
{
	char text[128];
	int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	const char *space = n > 0 ? memchr(text, ' ', (size_t)n) : NULL;
	uint64_t pages;

	if (fd >= 0)
		close(fd);
	if (space && util_parse_number((struct slice){ text, (size_t)(space - text) }, 1,
			     UINT32_MAX, &pages) == 0)
		mapped = pages * getauxval(AT_PAGESZ);
}

int
sandbox_forbid_dumps(void)
{
	int r = limit(RLIMIT_CORE, 0);

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 && r == 0)
		r = -errno;
	return r;
}

void
sandbox_init(void)
{
	look_up_mapped();
	begin_filter(&responder_code);
	emit_rules(&responder_code, responder_rules, RESPONDER_RULES);
	emit_return(&responder_code, SECCOMP_RET_KILL_PROCESS);
}

void
sandbox_confine_server(
	const struct sandbox_needs *needs, int ret_errors[static SANDBOX_LAYERS])
{
	memset(ret_errors, 0, SANDBOX_LAYERS * sizeof(ret_errors[0]));
	begin_filter(&server_code);
	emit_rules(&server_code, server_rules, SERVER_RULES);
	if (needs->path_count > 0)
		emit_rules(&server_code, path_rules, PATH_RULES);
	if (needs->hands_over)
		emit_rules(&server_code, handover_rules, HANDOVER_RULES);
	emit_return(&server_code, SECCOMP_RET_ERRNO | EPERM);
	ret_errors[SANDBOX_NO_NEW_PRIVS] = forbid_new_privs();
	ret_errors[SANDBOX_RLIMITS] = sandbox_forbid_dumps();
	ret_errors[SANDBOX_LANDLOCK] = confine_objects(needs);
	ret_errors[SANDBOX_SECCOMP] = confine_calls(&server_code);
}

void
sandbox_limit_responder(
	unsigned cpu_more_s, bool writes_file, int ret_errors[static SANDBOX_LAYERS])
{
	static const struct sandbox_needs nothing;
	int r = sandbox_forbid_dumps();

	ret_errors[SANDBOX_SECCOMP] = 0;
	ret_errors[SANDBOX_NO_NEW_PRIVS] = forbid_new_privs();
	ret_errors[SANDBOX_LANDLOCK] = confine_objects(&nothing);
	ret_errors[SANDBOX_RLIMITS] = limit_resources(cpu_more_s, writes_file);
	if (ret_errors[SANDBOX_RLIMITS] == 0)
		ret_errors[SANDBOX_RLIMITS] = r;
	ret_errors[SANDBOX_CAPABILITIES] = drop_capabilities();
}

/* The last, because it forbids all of the above. */
int
sandbox_filter_responder(void)
{
	return confine_calls(&responder_code);
}

void
sandbox_confine_responder(
	unsigned cpu_more_s, bool writes_file, int ret_errors[static SANDBOX_LAYERS])
{
	sandbox_limit_responder(cpu_more_s, writes_file, ret_errors);
	ret_errors[SANDBOX_SECCOMP] = sandbox_filter_responder();
}
