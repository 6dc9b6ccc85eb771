/* SPDX-License-Identifier: MIT */
/*
 * Fail the system calls of the real program, one at a time, and see whether it keeps its
 * promises: it stays, it answers in time, it never says a wrong figure, it logs why, and
 * it serves again when the failure is over.
 *
 * A filter (seccomp_unotify(2)) sends every call of one number to this driver, which
 * lets it through or answers with an error instead. No ptrace: it works on a static
 * program, through fork(), and beside filters that the program installs for itself.
 *
 * First each scenario is run undisturbed, to see which calls there are, and how often.
 * Then each of these fails with each errno, once or from then on until it is released.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#else
#error "name the architecture as <linux/audit.h> does"
#endif

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV /* Linux 5.19 */
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

enum {
	DEADLINE_MS = 2000, /* --timeout=2, of the program */
	HANG_MS = DEADLINE_MS + 1500,
	GIVE_UP_MS = DEADLINE_MS + 2000,
	NOT_OWED_MS = 300,
	SLOW_MS = 1000,
	REFUSED_MS = 100, /* or all scrapes are over before the program tries again */
	PAUSE_MS = 5,     /* of a client in the middle of its request */
	READY_MS = 1000,
	PROMPT_MS = 1000,  /* to serve again, and to end */
	RECOVER_MS = 6000, /* where the log says that it waits */
	STRAY_MS = 200,    /* for processes left behind to be killed by the kernel */
	SPIN_CALLS = 1000, /* failed, by a process that has no deadline */
	SCRAPES = 3,
	CALLS_MAX = 512,     /* system call numbers */
	OCCURRENCES_ALL = 4, /* more are thinned out: so many first ones, */
	OCCURRENCES_LAST = 2,
	OCCURRENCES_MIDDLE = 1,
	INJECTIONS_MAX = 65536,
	ERRORS_MAX = 24, /* for one call */
	JOBS_MAX = 64,
	LOG_MAX = 64 * 1024,
	ANSWER_MAX = 64 * 1024,
};

/* Ports of the driver itself; all outside the measured range. */
enum {
	PORT_FIRST = 40000,
	PORT_LAST = 40999,
	PORT_RESERVED_FIRST = 40010,
	PORT_RESERVED_LAST = 40014,
	PORT_INETD = 7000,
	SERVER_PORT_FIRST = 10000, /* another one for each run, because of TIME_WAIT */
	CLIENT_PORT_FIRST = 20000,
	PORTS_OF_A_KIND = 10000,
};

/* --- What is known --- */

/* clang-format off */
static const struct scenario {
	const char *name;
	const char *arguments[3];
	bool inetd;
	bool pid1;
	const char *source; /* the only one that may answer */
} scenarios[] = {
	{ .name = "supervisor" },
	{ .name = "supervisor-procfs", .arguments = { "--source=procfs" },
	  .source = "procfs" },
	{ .name = "pid1", .pid1 = true },
	{ .name = "inetd", .arguments = { "--inetd" }, .inetd = true },
	{ .name = "inetd-procfs", .arguments = { "--inetd", "--source=procfs" }, .inetd = true,
	  .source = "procfs" },
};

enum {
	SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]),
};

/* What a run is judged by. */
enum promise {
	STAYS = 1 << 0,    /* the supervisor does not end; nothing ends by a signal */
	ANSWERS = 1 << 1,  /* each scrape ends in time */
	LOGS = 1 << 2,     /* why an answer was no 200 */
	RECOVERS = 1 << 3, /* 200 within a second */
	ENDS = 1 << 4,     /* by SIGTERM, within a second, status 0, leaving nobody */
	WAITS = 1 << 5,    /* does not call again at once, without end */
	RIGHT = 1 << 6,    /* a 200 is complete and tells the truth */
};

/* What cannot be promised when a call fails, and why. */
static const struct {
	const char *call;
	int error;    /* 0: any */
	bool only_on; /* only if it does not stop failing */
	unsigned promises;
	const char *reason;
} exceptions[] = {
	{ "accept4", 0, true, ANSWERS, "the client is connected, and nobody can tell it to go" },
	{ "accept4", EAGAIN, false, ANSWERS | LOGS, "says that nobody has come" },
	{ "recvfrom", EAGAIN, false, LOGS, "says that nothing has come: a silent client" },
	{ "recvfrom", EINTR, true, LOGS, "the same" },
	{ "recvfrom", ECONNRESET, false, LOGS, "a client that leaves is not worth a line" },
	{ "read", ECONNRESET, false, LOGS, "a reset before a byte is a probe of the port" },
	{ "read", EAGAIN, true, LOGS, "the same as of recvfrom" },
	{ "read", EINTR, true, LOGS, "the same" },
	{ "poll", EINTR, true, LOGS, "the same" },
	{ "write", 0, true, LOGS, "the log needs it, too" },
	{ "rt_sigaction", 0, false, ENDS, "leaves SIGTERM as it was" },
};

/* Calls that are not failed: no kernel does, or nobody could go on. */
static const struct {
	const char *call;
	const char *reason;
} excluded[] = {
	{ "execve", "is how this driver starts the program" },
	{ "arch_prctl", "before main(): the C library cannot go on without it" },
	{ "set_tid_address", "cannot fail" },
	{ "getpid", "cannot fail" },
	{ "getppid", "cannot fail" },
	{ "gettid", "cannot fail" },
	{ "exit_group", "does not return" },
};

#define CALL(name) { #name, SYS_##name }
static const struct {
	const char *name;
	int number;
} call_names[] = {
	CALL(accept), CALL(accept4), CALL(bind), CALL(brk), CALL(capget), CALL(capset),
	CALL(chdir), CALL(clock_gettime), CALL(clock_nanosleep), CALL(clone),
	CALL(clone3), CALL(close), CALL(close_range), CALL(connect), CALL(dup),
	CALL(dup3), CALL(epoll_create1), CALL(epoll_ctl), CALL(epoll_pwait),
	CALL(eventfd2), CALL(execve), CALL(exit), CALL(exit_group), CALL(faccessat),
	CALL(faccessat2), CALL(fchdir), CALL(fcntl), CALL(flock), CALL(fstat),
	CALL(ftruncate), CALL(futex), CALL(getcwd), CALL(getegid), CALL(geteuid),
	CALL(getgid), CALL(getpeername), CALL(getpid), CALL(getppid), CALL(getrandom),
	CALL(getrlimit), CALL(getsockname), CALL(getsockopt), CALL(gettid), CALL(getuid),
	CALL(ioctl), CALL(kill), CALL(landlock_add_rule), CALL(landlock_create_ruleset),
	CALL(landlock_restrict_self), CALL(listen), CALL(lseek), CALL(madvise),
	CALL(membarrier), CALL(memfd_create), CALL(mmap), CALL(mprotect), CALL(mremap),
	CALL(munmap), CALL(nanosleep), CALL(newfstatat), CALL(openat), CALL(openat2),
	CALL(pidfd_open), CALL(pidfd_send_signal), CALL(pipe2), CALL(ppoll), CALL(prctl),
	CALL(pread64), CALL(prlimit64), CALL(pwrite64), CALL(read), CALL(readlinkat),
	CALL(readv), CALL(recvfrom), CALL(recvmsg), CALL(rt_sigaction),
	CALL(rt_sigpending), CALL(rt_sigprocmask), CALL(rt_sigqueueinfo),
	CALL(rt_sigreturn), CALL(rt_sigsuspend), CALL(rt_sigtimedwait),
	CALL(sched_yield), CALL(seccomp), CALL(sendmsg), CALL(sendto),
	CALL(set_robust_list), CALL(set_tid_address), CALL(setitimer), CALL(setpgid),
	CALL(setrlimit), CALL(setsid), CALL(setsockopt), CALL(shutdown),
	CALL(sigaltstack), CALL(signalfd4), CALL(socket), CALL(socketpair), CALL(statx),
	CALL(tgkill), CALL(timer_create), CALL(timer_settime), CALL(timerfd_create),
	CALL(timerfd_settime), CALL(tkill), CALL(umask), CALL(uname), CALL(unlinkat),
	CALL(unshare), CALL(wait4), CALL(waitid), CALL(write), CALL(writev),
#ifdef SYS_open /* the older half, which newer architectures never had */
	CALL(access), CALL(alarm), CALL(arch_prctl), CALL(dup2), CALL(epoll_create),
	CALL(epoll_wait), CALL(eventfd), CALL(fork), CALL(lstat), CALL(open),
	CALL(pause), CALL(pipe), CALL(poll), CALL(readlink), CALL(rmdir), CALL(select),
	CALL(signalfd), CALL(stat), CALL(time), CALL(unlink), CALL(vfork),
#endif
};

static const int common_errors[] = { EPERM, EINTR, EAGAIN, ENOMEM, EMFILE, EIO };

/* What else these calls say. A name with a star stands for all that begin so. */
static const struct {
	const char *calls;
	int errors[8];
} special_errors[] = {
	{ "accept4", { ECONNABORTED, ENFILE, EPROTO, EINVAL } },
	{ "socket", { EAFNOSUPPORT, ENFILE } },
	{ "open*", { ENOENT, EACCES, ENFILE } },
	{ "bind", { EADDRINUSE, EACCES, EADDRNOTAVAIL } },
	{ "listen", { EADDRINUSE } },
	{ "clone*", { ENOSYS } },
	{ "fork", { ENOSYS } },
	{ "read*", { ECONNRESET, EBADF } },
	{ "pread64", { ECONNRESET, EBADF } },
	{ "recv*", { ECONNRESET, EBADF, ENOBUFS } },
	{ "send*", { EPIPE, ENOSPC, ECONNREFUSED, ENOBUFS } },
	{ "write*", { EPIPE, ENOSPC, ECONNREFUSED, ENOBUFS } },
	{ "mmap", { EACCES } },
	{ "epoll_ctl", { ENOSPC, EEXIST } },
	{ "epoll_create1", { ENFILE } },
	{ "fcntl", { EDEADLK, ENOLCK, EINVAL } },
	{ "memfd_create", { ENOSYS, EINVAL } },
	{ "landlock_*", { ENOSYS, EINVAL, EOPNOTSUPP } },
	{ "seccomp", { ENOSYS, EINVAL } },
	{ "close_range", { ENOSYS, EINVAL } },
	{ "prlimit64", { ENOSYS, EINVAL } },
	{ "prctl", { EINVAL } },
	{ "getrandom", { ENOSYS } },
	{ "getsockopt", { ENOTSOCK, ENOPROTOOPT } },
	{ "setsockopt", { ENOPROTOOPT, EINVAL } },
	{ "wait*", { ECHILD } },
	{ "kill", { ESRCH } },
	{ "faccessat*", { ENOENT, EACCES, ENOSYS } },
	{ "f*stat*", { ENOENT, EACCES } },
};

/* strerror() of the other C library, the one of the static program, where it differs. */
static const struct {
	int error;
	const char *text;
} other_texts[] = {
	{ EINTR, "deadline passed" },
	{ EINTR, "Interrupted system call" },
	{ EAGAIN, "interrupted at every try" },
	/* A client that takes nothing. */
	{ EAGAIN, "write response: Operation timed out" },
	{ EINTR, "write response: Operation timed out" },
	{ ENOMEM, "Out of memory" },
	/* musl's mmap() takes it for that where no file is mapped. */
	{ EPERM, "allocate connection table: Out of memory" },
	{ EMFILE, "No file descriptors available" },
	{ ENFILE, "Too many open files in system" },
	{ EIO, "I/O error" },
	{ ECONNRESET, "Connection reset by peer" },
	{ ECONNABORTED, "Connection aborted" },
	{ EADDRINUSE, "Address in use" },
	{ EADDRNOTAVAIL, "Address not available" },
	{ EAFNOSUPPORT, "Address family not supported by protocol" },
	{ EINVAL, "Invalid argument" },
	{ EDEADLK, "Resource deadlock would occur" },
	{ EBADF, "Bad file descriptor" },
	{ ENOTSOCK, "Not a socket" },
	{ ECHILD, "No child process" },
	{ EOPNOTSUPP, "Not supported" },
};

/* Lines that say that the program waits and tries again. */
static const char *const waiting_lines[] = {
	"listen on ",
	"watch ",
	"accept connection: ",
	"create epoll",
	"wait for events: ",
};

/* What is said of a process that did not end by itself, and should have. */
static const char killed_line[] = "killed by signal ";

/* A 200 has these families; the last ones only of a supervisor. */
static const struct {
	const char *name;
	bool supervised;
} families[] = {
	{ "port_used", false },
	{ "port_total", false },
	{ "port_used_by_protocol", false },
	{ "port_blocked", false },
	{ "port_time_wait", false },
	{ "port_time_wait_reusable", false },
	{ "port_destination_used_max", false },
	{ "port_destination_error_max", false },
	{ "port_sockets", false },
	{ "port_range_first", false },
	{ "port_range_last", false },
	{ "port_reserved", false },
	{ "port_scan_duration_seconds", false },
	{ "port_scan_sockets", false },
	{ "metrics_sidecar_info", false },
	{ "metrics_sidecar_connections_total", true },
	{ "metrics_sidecar_start_time_seconds", true },
};

enum made_kind {
	TCP_LISTENING,
	TCP_CONNECTION,
	UDP_BOUND,
	UDP_CONNECTED,
};

/*
 * The sockets that are there to be counted. A connection follows the listening socket
 * that it goes to, whose address is repeated as `to`.
 */
static const struct made {
	enum made_kind kind;
	const char *host;
	uint16_t port;
	const char *to_host;
	uint16_t to_port;
} made[] = {
	/* Two destinations; 40100 is shared between them. */
	{ TCP_LISTENING, "127.0.0.1", 5000, NULL, 0 },
	{ TCP_CONNECTION, "127.0.0.1", 40100, "127.0.0.1", 5000 },
	{ TCP_CONNECTION, "127.0.0.1", 40101, "127.0.0.1", 5000 },
	{ TCP_CONNECTION, "127.0.0.1", 40102, "127.0.0.1", 5000 },
	{ TCP_CONNECTION, "127.0.0.1", 40103, "127.0.0.1", 5000 },
	{ TCP_LISTENING, "127.0.0.2", 5000, NULL, 0 },
	{ TCP_CONNECTION, "127.0.0.1", 40100, "127.0.0.2", 5000 },
	{ TCP_CONNECTION, "127.0.0.1", 40104, "127.0.0.2", 5000 },
	{ TCP_LISTENING, "::1", 5003, NULL, 0 },
	{ TCP_CONNECTION, "::1", 40120, "::1", 5003 },
	{ TCP_CONNECTION, "::1", 40121, "::1", 5003 },
	/* Of the pool; the second is connected to from outside of it. */
	{ TCP_LISTENING, "::1", 40201, NULL, 0 },
	{ TCP_LISTENING, "127.0.0.1", 40200, NULL, 0 },
	{ TCP_CONNECTION, "127.0.0.1", 6000, "127.0.0.1", 40200 },
	/* Reserved: not of the pool. */
	{ TCP_LISTENING, "127.0.0.1", 40010, NULL, 0 },
	/* 40100 is one of TCP as well. */
	{ UDP_BOUND, "127.0.0.1", 40100, NULL, 0 },
	{ UDP_BOUND, "127.0.0.1", 40400, NULL, 0 },
	{ UDP_BOUND, "::1", 40401, NULL, 0 },
	{ UDP_BOUND, "127.0.0.1", 5353, NULL, 0 },
	{ UDP_CONNECTED, "127.0.0.1", 40410, "127.0.0.1", 5353 },
};
/* clang-format on */

enum {
	MADE = sizeof(made) / sizeof(made[0]),
};

/* --- State --- */

enum mode {
	ONCE, /* exactly the n-th call */
	ON,   /* the n-th and all later ones, until released */
};

static const char *const mode_names[] = { [ONCE] = "once", [ON] = "on" };

/* One failure to be made. */
struct injection {
	unsigned scenario;
	unsigned occurrence;
	int call;
	int error;
	enum mode mode;
};

/* What an undisturbed run of a scenario looks like. */
struct survey {
	unsigned calls[CALLS_MAX];
	unsigned log_lines;
	unsigned processes; /* that stay between scrapes, the first one included */
	bool done;
};

/* Shared by the driver and its workers. */
struct shared {
	atomic_uint next;
	atomic_uint done, not_reached, without_effect, not_200, slow, failed;
	atomic_int handed_fd; /* not shared by two: each worker has a page of its own */
	struct survey surveys[SCENARIOS];
	unsigned injection_count;
	struct injection injections[INJECTIONS_MAX];
};

struct options {
	const char *program;
	const char *only;
	unsigned jobs;
	unsigned sample;
	uint64_t seed;
	bool list;
};

enum outcome {
	UNDER_WAY,
	ANSWERED, /* completely */
	CLOSED,   /* before the answer was complete */
	RESET,
	REFUSED,
	HUNG,
};

static const char *const outcome_names[] = {
	[UNDER_WAY] = "under way",
	[ANSWERED] = "answered",
	[CLOSED] = "closed",
	[RESET] = "reset",
	[REFUSED] = "refused",
	[HUNG] = "hung",
};

/* How a client sends its request: the program waits for it at another place each time. */
enum manner {
	AT_ONCE,
	LATER, /* when it has been accepted */
	IN_PIECES,
};

struct client {
	int fd;
	size_t sent, piece; /* of the request: so far, and by one call */
	int64_t next_ms;    /* when to send on */
	enum outcome outcome;
	int64_t started_ms, took_ms;
	int status; /* 0: none */
	size_t len;
	char answer[ANSWER_MAX];
};

/* One start of the program. */
struct run {
	const struct injection *injection; /* NULL: let all calls through */
	const struct scenario *scenario;
	struct survey *survey; /* NULL, or where calls are counted */
	pid_t pid;
	int pidfd, notify_fd, log_fd;
	uint16_t port;
	bool started; /* the program itself, behind execve() */
	bool exited;
	bool released;
	bool late; /* served again, but not within a second */
	int wait_status;
	unsigned seen, failed, failed_at_first; /* calls; the last of the first process */
	unsigned not_200;
	struct client client;
	size_t log_len, complaint_len;
	char log[LOG_MAX];
	char complaint[1024];
};

/* What a worker has: sockets to be counted, and ports to use. */
struct worker {
	const struct options *options;
	atomic_int *handed_fd;
	int inetd_listener;
	uint16_t client_ports, server_ports; /* used so far */
	char expected[4096];                 /* lines of a right answer */
};

static const char http_request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

enum {
	REQUEST_LEN = sizeof(http_request) - 1,
};

static struct shared *shared;
static struct worker worker;

/* --- Small things --- */

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
sleep_us(long us)
{
	const struct timespec time = { 0, us * 1000 };

	nanosleep(&time, NULL);
}

static const char *
call_name(int number)
{
	static char text[32];

	for (size_t i = 0; i < sizeof(call_names) / sizeof(call_names[0]); i++) {
		if (call_names[i].number == number)
			return call_names[i].name;
	}
	snprintf(text, sizeof(text), "call-%d", number);
	return text;
}

/* Whether the name is the pattern, in which stars stand for anything. */
static bool
matches(const char *pattern, const char *name)
{
	if (*pattern == '*')
		return matches(pattern + 1, name) ||
		       (*name && matches(pattern, name + 1));
	if (*pattern == '\0' || *name == '\0')
		return *pattern == *name;
	return *pattern == *name && matches(pattern + 1, name + 1);
}

static bool
is_excluded(const char *call)
{
	for (size_t i = 0; i < sizeof(excluded) / sizeof(excluded[0]); i++) {
		if (matches(excluded[i].call, call))
			return true;
	}
	return false;
}

static bool
is_excepted(const struct injection *injection, enum promise promise)
{
	if (!injection)
		return false;
	for (size_t i = 0; i < sizeof(exceptions) / sizeof(exceptions[0]); i++) {
		if ((exceptions[i].promises & promise) &&
			(exceptions[i].error == 0 ||
				exceptions[i].error == injection->error) &&
			(!exceptions[i].only_on || injection->mode == ON) &&
			strcmp(exceptions[i].call, call_name(injection->call)) == 0)
			return true;
	}
	return false;
}

__attribute__((format(printf, 3, 4))) static void
complain(struct run *run, enum promise promise, const char *format, ...)
{
	size_t room = sizeof(run->complaint) - run->complaint_len;
	va_list args;
	int n;

	if (is_excepted(run->injection, promise))
		return;
	if (run->complaint_len > 0 && room > 2) {
		memcpy(run->complaint + run->complaint_len, "; ", 3);
		run->complaint_len += 2;
		room -= 2;
	}
	va_start(args, format);
	n = vsnprintf(run->complaint + run->complaint_len, room, format, args);
	va_end(args);
	run->complaint_len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

/* --- The namespace and its sockets --- */

static void
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "write %s", path);
	close(fd);
}

static void
set_loopback_up(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		err(1, "set lo up");
	close(fd);
}

/* A network namespace of our own, in a user namespace of our own where that is needed. */
static void
enter_namespace(void)
{
	unsigned uid = (unsigned)geteuid(), gid = (unsigned)getegid();
	char map[32];

	if (uid == 0) {
		if (unshare(CLONE_NEWNET) < 0)
			err(1, "make network namespace");
	} else {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
			err(1, "make user and network namespace");
		write_file("/proc/self/setgroups", "deny");
		snprintf(map, sizeof(map), "0 %u 1", uid);
		write_file("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %u 1", gid);
		write_file("/proc/self/gid_map", map);
	}
	set_loopback_up();
}

static void
set_port_range(int first, int last)
{
	char text[64];

	snprintf(text, sizeof(text), "%d %d", first, last);
	write_file("/proc/sys/net/ipv4/ip_local_port_range", text);
}

static void
set_pool(void)
{
	char text[64];

	set_port_range(PORT_FIRST, PORT_LAST);
	snprintf(text, sizeof(text), "%d-%d,50000", PORT_RESERVED_FIRST,
		PORT_RESERVED_LAST);
	write_file("/proc/sys/net/ipv4/ip_local_reserved_ports", text);
}

static socklen_t
fill_address(struct sockaddr_storage *address, const char *host, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	*address = (struct sockaddr_storage){ 0 };
	if (inet_pton(AF_INET, host, &sin.sin_addr) == 1) {
		memcpy(address, &sin, sizeof(sin));
		return sizeof(sin);
	}
	if (inet_pton(AF_INET6, host, &sin6.sin6_addr) != 1)
		errx(1, "not an address: %s", host);
	memcpy(address, &sin6, sizeof(sin6));
	return sizeof(sin6);
}

/* Port 0 is the one that connect() finds. */
static int
bound_socket(const char *host, uint16_t port, int type)
{
	const int on = 1;
	struct sockaddr_storage address;
	socklen_t len = fill_address(&address, host, port);
	int fd = socket(address.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "make socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (port == 0)
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address, len) < 0)
		err(1, "bind %s %u", host, port);
	return fd;
}

static int
listening_socket(const char *host, uint16_t port)
{
	int fd = bound_socket(host, port, SOCK_STREAM);

	if (listen(fd, 64) < 0)
		err(1, "listen");
	return fd;
}

static void
connect_socket(int fd, const char *host, uint16_t port)
{
	struct sockaddr_storage address;
	socklen_t len = fill_address(&address, host, port);

	if (connect(fd, (const struct sockaddr *)&address, len) < 0)
		err(1, "connect to %s %u", host, port);
}

/* Make one of the table; all of them stay open as long as the worker lives. */
static void
make_socket(const struct made *m)
{
	static int listener = -1;
	bool tcp = m->kind == TCP_LISTENING || m->kind == TCP_CONNECTION;
	/* Which ports are bound by number not every source shows. */
	int fd = bound_socket(m->host, m->kind == TCP_CONNECTION ? 0 : m->port,
		tcp ? SOCK_STREAM : SOCK_DGRAM);

	if (m->kind == TCP_LISTENING) {
		if (listen(fd, 64) < 0)
			err(1, "listen");
		listener = fd;
	}
	set_port_range(m->port, m->port);
	if (m->to_host)
		connect_socket(fd, m->to_host, m->to_port);
	set_port_range(PORT_FIRST, PORT_LAST);
	if (m->kind == TCP_CONNECTION && accept4(listener, NULL, NULL, SOCK_CLOEXEC) < 0)
		err(1, "accept");
}

/* --- The figures that follow from the table --- */

enum use {
	USED_BY_TCP = 1,
	USED_BY_UDP = 2,
	LISTENED_AT = 4,
};

struct figures {
	unsigned char use[PORT_LAST + 1];
	unsigned tcp_established, tcp_listen, udp_established, udp_close;
};

static bool
is_of_pool(unsigned port)
{
	return port >= PORT_FIRST && port <= PORT_LAST &&
	       (port < PORT_RESERVED_FIRST || port > PORT_RESERVED_LAST);
}

static void
count_made(struct figures *f, const struct made *m)
{
	bool udp = m->kind == UDP_BOUND || m->kind == UDP_CONNECTED;

	if (is_of_pool(m->port)) {
		f->use[m->port] |= udp ? USED_BY_UDP : USED_BY_TCP;
		f->use[m->port] |= m->kind == TCP_LISTENING ? LISTENED_AT : 0;
		f->tcp_listen += m->kind == TCP_LISTENING;
		f->tcp_established += m->kind == TCP_CONNECTION;
		f->udp_close += m->kind == UDP_BOUND;
		f->udp_established += m->kind == UDP_CONNECTED;
	}
	/* The end that was accepted. */
	if (m->kind == TCP_CONNECTION && is_of_pool(m->to_port))
		f->tcp_established++;
}

/* How many ports have one of these uses. */
static unsigned
count_ports(const struct figures *f, int uses)
{
	unsigned count = 0;

	for (unsigned port = PORT_FIRST; port <= PORT_LAST; port++)
		count += (f->use[port] & uses) != 0;
	return count;
}

/* Whether both go to one destination, from a port of the pool that nobody listens at. */
static bool
are_of_one_destination(
	const struct figures *f, const struct made *a, const struct made *b)
{
	return b->kind == TCP_CONNECTION && is_of_pool(b->port) &&
	       !(f->use[b->port] & LISTENED_AT) && a->to_port == b->to_port &&
	       strcmp(a->host, b->host) == 0 && strcmp(a->to_host, b->to_host) == 0;
}

/* Connections of the table to the destination that has the most. */
static unsigned
count_most_of_destination(const struct figures *f)
{
	unsigned most = 0;

	for (const struct made *a = made; a < made + MADE; a++) {
		unsigned count = 0;

		if (a->kind != TCP_CONNECTION)
			continue;
		for (const struct made *b = made; b < made + MADE; b++)
			count += are_of_one_destination(f, a, b);
		most = count > most ? count : most;
	}
	return most;
}

static void
expect(const char *name, const char *labels, unsigned value)
{
	size_t len = strlen(worker.expected);

	snprintf(worker.expected + len, sizeof(worker.expected) - len,
		"%s{pod_name=\"torture\"%s} %u\n", name, labels, value);
}

static void
expect_sockets(const char *protocol, const char *state, unsigned value)
{
	char labels[64];

	snprintf(
		labels, sizeof(labels), ",protocol=\"%s\",state=\"%s\"", protocol, state);
	expect("port_sockets", labels, value);
}

static void
expect_figures(const struct figures *f)
{
	static const char *const empty_states[] = { "syn_sent", "syn_recv", "fin_wait1",
		"fin_wait2", "time_wait", "close", "close_wait", "last_ack", "closing" };
	unsigned blocked = count_ports(f, LISTENED_AT);
	unsigned reserved = PORT_RESERVED_LAST - PORT_RESERVED_FIRST + 1;

	expect("port_used", "", count_ports(f, USED_BY_TCP | USED_BY_UDP));
	expect("port_total", "", PORT_LAST - PORT_FIRST + 1 - reserved);
	expect("port_used_by_protocol", ",protocol=\"tcp\"", count_ports(f, USED_BY_TCP));
	expect("port_used_by_protocol", ",protocol=\"udp\"", count_ports(f, USED_BY_UDP));
	expect("port_blocked", "", blocked);
	expect("port_time_wait", "", 0);
	expect("port_time_wait_reusable", "", 0);
	expect("port_destination_used_max", "", blocked + count_most_of_destination(f));
	expect("port_destination_error_max", "", 0);
	expect("port_range_first", "", PORT_FIRST);
	expect("port_range_last", "", PORT_LAST);
	expect("port_reserved", "", reserved);
	expect_sockets("tcp", "established", f->tcp_established);
	expect_sockets("tcp", "listen", f->tcp_listen);
	expect_sockets("udp", "established", f->udp_established);
	expect_sockets("udp", "close", f->udp_close);
	for (size_t i = 0; i < sizeof(empty_states) / sizeof(empty_states[0]); i++)
		expect_sockets("tcp", empty_states[i], 0);
}

/* Everything that a worker needs before its first run. */
static void
prepare_worker(const struct options *options)
{
	static struct figures figures;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* whoever is left behind comes to us */
	worker.options = options;
	worker.handed_fd = mmap(NULL, sizeof(*worker.handed_fd), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (worker.handed_fd == MAP_FAILED)
		err(1, "mmap");
	enter_namespace();
	set_pool();
	for (const struct made *m = made; m < made + MADE; m++) {
		make_socket(m);
		count_made(&figures, m);
	}
	expect_figures(&figures);
	worker.inetd_listener = listening_socket("127.0.0.1", PORT_INETD);
}

/* --- The program, behind a filter --- */

/*
 * Notify of one call, or of all, and of the execve() that starts the program. Not of
 * rt_sigreturn(): a signal that comes while it waits to be let through would make it
 * return to nowhere.
 */
static int
install_filter(int call)
{
	const uint32_t others = call < 0 ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW;
	const uint32_t number = call < 0 ? (uint32_t)SYS_execve : (uint32_t)call;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OUR_ARCH, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_execve, 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_rt_sigreturn, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 2, 0),
		BPF_STMT(BPF_RET | BPF_K, others),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
	};
	const struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };
	unsigned long flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	long fd;

	/* Without the second flag a signal ends the wait, and the call is made again. */
	fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
	if (fd < 0 && errno == EINVAL)
		fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
	return (int)fd;
}

/*
 * In the child: descriptors, filter, program. The number of the listener's descriptor is
 * left where the worker sees it; execve() waits there until it has been fetched.
 */
static void
become_program(const struct run *run, const char *address, int in, int out, int log)
{
	const char *const *more = run->scenario->arguments;
	const char *argv[] = { worker.options->program, "--timeout=2",
		run->scenario->inetd ? more[0] : address,
		run->scenario->inetd ? more[1] : more[0], NULL };
	char *const env[] = { (char[]){ "POD_NAME=torture" }, NULL };
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_DFL);
	if (dup2(in, STDIN_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0 ||
		dup2(log, STDERR_FILENO) < 0 ||
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		_exit(126);
	fd = install_filter(run->injection ? run->injection->call : -1);
	atomic_store(worker.handed_fd, fd < 0 ? -errno : fd);
	execve(argv[0], (char *const *)argv, env);
	_exit(127);
}

/* fork(), the child as PID 1 of a namespace of its own if need be. */
static pid_t
fork_for(const struct scenario *scenario)
{
	unsigned long flags = SIGCHLD | (scenario->pid1 ? CLONE_NEWPID : 0);

	return (pid_t)syscall(SYS_clone, flags, 0, 0, 0, 0);
}

/* Fetch the listener's descriptor out of the child. */
static int
fetch_listener(const struct run *run)
{
	const int64_t until = now_ms() + 10000;
	int number, fd;

	while ((number = atomic_load(worker.handed_fd)) == 0 && now_ms() < until)
		sleep_us(20);
	if (number < 0)
		errx(1, "seccomp: %s", strerror(-number));
	fd = (int)syscall(SYS_pidfd_getfd, run->pidfd, number, 0);
	if (number == 0 || fd < 0)
		err(1, "fetch the listener of seccomp");
	return fd;
}

/* Start the program on these; `in` is both ends of a connection, or none. */
static void
start_program(struct run *run, int in)
{
	char address[64];
	int pipes[2], null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0 || pipe2(pipes, O_CLOEXEC) < 0)
		err(1, "make descriptors");
	run->port =
		(uint16_t)(SERVER_PORT_FIRST + worker.server_ports++ % PORTS_OF_A_KIND);
	snprintf(
		address, sizeof(address), "--web.listen-address=127.0.0.1:%u", run->port);
	atomic_store(worker.handed_fd, 0);
	run->pid = fork_for(run->scenario);
	if (run->pid == 0)
		become_program(
			run, address, in < 0 ? null : in, in < 0 ? null : in, pipes[1]);
	run->pidfd = run->pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, run->pid, 0);
	if (run->pidfd < 0)
		err(1, "start process");
	run->notify_fd = fetch_listener(run);
	run->log_fd = pipes[0];
	fcntl(run->log_fd, F_SETFL, O_NONBLOCK);
	close(pipes[1]);
	close(null);
}

/* --- Calls --- */

/* Whether this call, the n-th of all processes, is to fail. */
static bool
must_fail(struct run *run, pid_t caller)
{
	const struct injection *i = run->injection;

	run->seen++;
	if (!i || run->released)
		return false;
	if (i->mode == ONCE ? run->seen != i->occurrence : run->seen < i->occurrence)
		return false;
	run->failed++;
	run->failed_at_first += caller == run->pid;
	return true;
}

static void
answer_notification(struct run *run)
{
	/* The kernel's structure may be a later, longer one. */
	union {
		struct seccomp_notif n;
		char room[512];
	} request;
	struct seccomp_notif_resp response = { 0 };

	memset(&request, 0, sizeof(request));
	if (ioctl(run->notify_fd, SECCOMP_IOCTL_NOTIF_RECV, &request.n) < 0)
		return; /* who called is dead by now */
	response.id = request.n.id;
	response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	if (!run->started) {
		run->started = true; /* that was execve() */
	} else if (must_fail(run, (pid_t)request.n.pid)) {
		response.flags = 0;
		response.error = -run->injection->error;
	}
	if (run->survey && !run->released && request.n.data.nr >= 0 &&
		request.n.data.nr < CALLS_MAX)
		run->survey->calls[request.n.data.nr]++;
	/* ENOENT: killed meanwhile. */
	if (ioctl(run->notify_fd, SECCOMP_IOCTL_NOTIF_SEND, &response) < 0 &&
		errno != ENOENT)
		err(1, "answer seccomp");
}

/* --- The client --- */

static void
end_client(struct client *c, enum outcome outcome)
{
	c->outcome = outcome;
	c->took_ms = now_ms() - c->started_ms;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void
start_client(struct run *run, uint16_t port, enum manner manner)
{
	struct client *c = &run->client;
	struct sockaddr_storage address;
	socklen_t len = fill_address(&address, "127.0.0.1", port);
	uint16_t own =
		(uint16_t)(CLIENT_PORT_FIRST + worker.client_ports++ % PORTS_OF_A_KIND);

	c->fd = bound_socket("127.0.0.1", own, SOCK_STREAM | SOCK_NONBLOCK);
	c->outcome = UNDER_WAY;
	c->status = 0;
	c->len = 0;
	c->answer[0] = '\0';
	c->started_ms = now_ms();
	c->sent = 0;
	c->piece = manner == IN_PIECES ? REQUEST_LEN / 2 : REQUEST_LEN;
	c->next_ms = c->started_ms + (manner == LATER ? PAUSE_MS : 0);
	if (connect(c->fd, (const struct sockaddr *)&address, len) < 0 &&
		errno != EINPROGRESS)
		end_client(c, errno == ECONNREFUSED ? REFUSED : RESET);
}

static bool
has_more_to_send(const struct client *c)
{
	return c->sent < REQUEST_LEN;
}

static void
send_piece(struct client *c)
{
	size_t rest = REQUEST_LEN - c->sent;
	ssize_t n = send(c->fd, http_request + c->sent, rest < c->piece ? rest : c->piece,
		MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN)
		end_client(c, errno == ECONNREFUSED ? REFUSED : RESET);
	c->sent += n > 0 ? (size_t)n : 0;
	c->next_ms = now_ms() + PAUSE_MS;
}

/* The content of a complete answer, or NULL. */
static const char *
find_content(const struct client *c)
{
	const char *length = strstr(c->answer, "\r\nContent-Length: ");
	const char *content = strstr(c->answer, "\r\n\r\n");

	if (!length || !content || length > content)
		return NULL;
	content += 4;
	return c->len - (size_t)(content - c->answer) == strtoul(length + 18, NULL, 10)
	               ? content
	               : NULL;
}

static void
read_answer(struct client *c)
{
	ssize_t n = recv(c->fd, c->answer + c->len, ANSWER_MAX - 1 - c->len, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		c->len += (size_t)n;
		c->answer[c->len] = '\0';
	}
	if (strncmp(c->answer, "HTTP/1.1 ", 9) == 0)
		c->status = atoi(c->answer + 9);
	if (find_content(c))
		end_client(c, ANSWERED); /* closes first, as most clients do */
	else if (n <= 0)
		end_client(c, n == 0 ? CLOSED : errno == ECONNREFUSED ? REFUSED : RESET);
}

/* --- Waiting --- */

static void
read_log(struct run *run)
{
	char rest[4096];
	size_t room = LOG_MAX - 1 - run->log_len;
	ssize_t n = room > 0 ? read(run->log_fd, run->log + run->log_len, room)
	                     : read(run->log_fd, rest, sizeof(rest));

	if (n > 0 && room > 0) {
		run->log_len += (size_t)n;
		run->log[run->log_len] = '\0';
	}
	if (n == 0) {
		close(run->log_fd);
		run->log_fd = -1;
	}
}

static void
see_exit(struct run *run)
{
	if (waitpid(run->pid, &run->wait_status, WNOHANG) != run->pid)
		return;
	run->exited = true;
	close(run->pidfd);
	run->pidfd = -1;
}

/* Do what there is to do, waiting for it until then. */
static void
pump(struct run *run, int64_t until_ms)
{
	struct client *c = &run->client;
	bool sending = c->fd >= 0 && has_more_to_send(c);
	bool due = sending && c->next_ms <= now_ms();
	int64_t end_ms = sending && !due && c->next_ms < until_ms ? c->next_ms : until_ms;
	int64_t left = end_ms - now_ms();
	struct pollfd fds[] = {
		{ .fd = run->notify_fd, .events = POLLIN },
		{ .fd = run->log_fd, .events = POLLIN },
		{ .fd = c->fd, .events = due ? POLLIN | POLLOUT : POLLIN },
		{ .fd = run->pidfd, .events = POLLIN },
	};

	if (poll(fds, sizeof(fds) / sizeof(fds[0]), left > 0 ? (int)left : 0) <= 0)
		return;
	if (fds[0].revents & POLLIN) {
		answer_notification(run);
	} else if (fds[0].revents) {
		close(run->notify_fd); /* nobody is left */
		run->notify_fd = -1;
	}
	if (fds[1].revents)
		read_log(run);
	if (fds[2].revents & POLLOUT)
		send_piece(c);
	else if (fds[2].revents)
		read_answer(c);
	if (fds[3].revents)
		see_exit(run);
}

static void
pump_for(struct run *run, int64_t ms)
{
	const int64_t until = now_ms() + ms;

	do
		pump(run, until);
	while (now_ms() < until);
}

/* --- What the log and the kernel say --- */

static unsigned
count_lines(const char *text)
{
	unsigned count = 0;

	for (; (text = strchr(text, '\n')); text++)
		count++;
	return count;
}

static bool
log_explains(const struct run *run)
{
	const int error = run->injection ? run->injection->error : 0;

	if (strstr(run->log, strerror(error)))
		return true;
	for (size_t i = 0; i < sizeof(other_texts) / sizeof(other_texts[0]); i++) {
		if (other_texts[i].error == error &&
			strstr(run->log, other_texts[i].text))
			return true;
	}
	return false;
}

/* Whether a line says that something is tried again later: it begins so, and has a
 * reason. */
static bool
log_announces_wait(const struct run *run)
{
	for (size_t i = 0; i < sizeof(waiting_lines) / sizeof(waiting_lines[0]); i++) {
		const char *at = strstr(run->log, waiting_lines[i]);

		for (; at; at = strstr(at + 1, waiting_lines[i])) {
			size_t line = strcspn(at, "\n");
			const char *reason = strstr(at, ": ");

			if (reason && (size_t)(reason - at) < line)
				return true;
		}
	}
	return false;
}

/* Listening sockets come first in that table, so they are in its first page. */
static bool
is_listening(uint16_t port)
{
	char text[4096], wanted[64];
	int fd = open("/proc/self/net/tcp", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	snprintf(wanted, sizeof(wanted), ": 0100007F:%04X 00000000:0000 0A ", port);
	return strstr(text, wanted) != NULL;
}

/* Processes below this one, and how many of them are zombies. */
static unsigned
count_descendants(pid_t pid, unsigned *zombies)
{
	char path[64], text[4096], *save = NULL;
	unsigned count = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	file = fopen(path, "re");
	if (!file || !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	for (char *word = strtok_r(text, " ", &save); word;
		word = strtok_r(NULL, " ", &save)) {
		char state = '?';

		snprintf(path, sizeof(path), "/proc/%s/stat", word);
		file = fopen(path, "re");
		if (file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1)
			*zombies += state == 'Z';
		if (file)
			fclose(file);
		count += 1 + count_descendants(atoi(word), zombies);
	}
	return count;
}

/* --- Judging an answer --- */

/* A whole line of the content. */
static bool
has_line(const char *content, const char *line, size_t len)
{
	const char *at = content;

	while ((at = memmem(at, strlen(at), line, len))) {
		if (at == content || at[-1] == '\n')
			return true;
		at++;
	}
	return false;
}

static void
check_families(struct run *run, const char *content)
{
	char line[128];

	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (families[i].supervised && run->scenario->inetd)
			continue;
		snprintf(line, sizeof(line), "# TYPE %s ", families[i].name);
		if (!has_line(content, line, strlen(line)))
			complain(run, RIGHT, "a 200 without %s", families[i].name);
	}
}

static void
check_figures(struct run *run, const char *content)
{
	for (const char *line = worker.expected; *line;) {
		size_t len = strcspn(line, "\n") + 1;

		if (!has_line(content, line, len))
			complain(
				run, RIGHT, "a 200 without \"%.*s\"", (int)len - 1, line);
		line += len;
	}
	if (strstr(content, "state=\"bound_inactive\"} ") &&
		!strstr(content, "state=\"bound_inactive\"} 0\n"))
		complain(run, RIGHT, "a 200 with bound sockets that nobody made");
}

static void
check_source(struct run *run, const char *content)
{
	bool procfs = strstr(content, ",source=\"procfs\",") != NULL;
	bool sock_diag = strstr(content, ",source=\"sock_diag\",") != NULL;

	if (procfs == sock_diag || (run->scenario->source && !procfs))
		complain(run, RIGHT, "a 200 of the wrong source");
	if (strstr(content, ",netns=\"other\""))
		complain(run, RIGHT, "a 200 with netns=\"other\"");
}

/* A process that answers may give up, but not crash, nor break its own filter. */
static void
check_crashes(struct run *run, const char *content)
{
	static const char none[] = "metrics_sidecar_connections_total{pod_name="
				   "\"torture\",outcome=\"crashed\"} 0\n";

	if (!run->scenario->inetd && !has_line(content, none, sizeof(none) - 1))
		complain(run, STAYS, "a process crashed");
}

static void
judge_answer(struct run *run)
{
	const struct client *c = &run->client;
	const char *content = find_content(c);

	if (c->outcome == HUNG || c->took_ms > HANG_MS)
		complain(run, ANSWERS, "a scrape %s, after %d ms",
			outcome_names[c->outcome], (int)c->took_ms);
	if (c->status == 200 && !content) {
		complain(run, RIGHT, "a 200 is torn after %zu bytes", c->len);
	} else if (c->status == 200) {
		check_families(run, content);
		check_figures(run, content);
		check_source(run, content);
		check_crashes(run, content);
	}
}

static bool
is_200(const struct client *c)
{
	return c->outcome == ANSWERED && c->status == 200;
}

static void
wait_for_answer(struct run *run)
{
	struct client *c = &run->client;
	/* Where no answer is owed, there is no use in waiting for long. */
	const bool owed = run->released || !is_excepted(run->injection, ANSWERS);
	const int64_t until = c->started_ms + (owed ? GIVE_UP_MS : NOT_OWED_MS);

	while (c->outcome == UNDER_WAY && now_ms() < until)
		pump(run, until);
	if (c->outcome == UNDER_WAY)
		end_client(c, HUNG);
	judge_answer(run);
}

/* --- Scenarios --- */

static void
describe_exit(struct run *run)
{
	if (WIFSIGNALED(run->wait_status))
		complain(run, STAYS, "it was killed by signal %d",
			WTERMSIG(run->wait_status));
	else if (!run->scenario->inetd)
		complain(run, STAYS, "it ended with status %d",
			WEXITSTATUS(run->wait_status));
}

/* It listens, or has said why not, or a second is over. */
static void
wait_until_ready(struct run *run)
{
	const int64_t start = now_ms();
	char line[64];

	snprintf(line, sizeof(line), "listen on 127.0.0.1:%u", run->port);
	while (!run->exited && now_ms() < start + READY_MS && !strstr(run->log, line)) {
		pump(run, now_ms() + 20);
		if (now_ms() > start + 100 && is_listening(run->port))
			return;
	}
}

static void
scrape_disturbed(struct run *run)
{
	static const enum manner manners[SCRAPES] = { AT_ONCE, LATER, IN_PIECES };

	for (int i = 0; i < SCRAPES && !run->exited; i++) {
		start_client(run, run->port, manners[i]);
		wait_for_answer(run);
		run->not_200 += !is_200(&run->client);
		if (run->client.outcome == REFUSED)
			pump_for(run, REFUSED_MS);
		if (run->client.outcome == HUNG || run->client.took_ms > SLOW_MS)
			break; /* the next one would be, too */
	}
}

/* After the release: a clean scrape, soon. */
static void
recover(struct run *run)
{
	const int64_t start = now_ms();
	int64_t took = 0;

	run->released = true;
	do {
		start_client(run, run->port, AT_ONCE);
		wait_for_answer(run);
		took = now_ms() - start;
		if (!is_200(&run->client))
			pump_for(run, 20);
	} while (!run->exited && !is_200(&run->client) && took < RECOVER_MS);
	if (run->exited)
		return;
	run->late = took > PROMPT_MS;
	if (!is_200(&run->client))
		complain(run, RECOVERS, "no 200 in %d ms after the release", (int)took);
	else if (run->late && !log_announces_wait(run))
		complain(
			run, RECOVERS, "%d ms until a 200, and no word of it", (int)took);
}

/* Between scrapes nobody is left but those who were there before the first. */
static void
see_nobody_left(struct run *run)
{
	const int64_t until = now_ms() + HANG_MS;
	const struct survey *survey = &shared->surveys[run->scenario - scenarios];
	unsigned zombies, count;

	do {
		zombies = 0;
		count = count_descendants(run->pid, &zombies);
		if (zombies == 0 && count <= survey->processes)
			return;
		pump_for(run, 5);
	} while (!run->exited && now_ms() < until);
	if (!run->exited)
		complain(run, ENDS, "%u processes left, %u of them zombies", count,
			zombies);
}

static void
stop_program(struct run *run)
{
	const int64_t until = now_ms() + PROMPT_MS;

	kill(run->pid, SIGTERM);
	while (!run->exited && now_ms() < until)
		pump(run, until);
	if (!run->exited)
		complain(run, ENDS, "SIGTERM does not end it");
	else if (run->wait_status != 0)
		complain(run, ENDS, "SIGTERM ends it with wait status %#x",
			run->wait_status);
}

static void
run_supervised(struct run *run)
{
	start_program(run, -1);
	wait_until_ready(run);
	scrape_disturbed(run);
	if (!run->exited)
		recover(run);
	if (!run->exited)
		see_nobody_left(run);
	if (run->exited)
		describe_exit(run);
	else
		stop_program(run);
	if (run->failed_at_first > SPIN_CALLS)
		complain(run, WAITS, "it called %u times in vain", run->failed_at_first);
}

static void
run_inetd(struct run *run)
{
	int64_t until;
	int fd;

	start_client(run, PORT_INETD, AT_ONCE);
	fd = accept4(worker.inetd_listener, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		err(1, "accept");
	start_program(run, fd);
	close(fd);
	until = now_ms() + GIVE_UP_MS;
	wait_for_answer(run);
	run->not_200 += !is_200(&run->client);
	while (!run->exited && now_ms() < until)
		pump(run, until);
	if (run->exited)
		describe_exit(run);
	else
		complain(run, ANSWERS, "it has not ended after %d ms", GIVE_UP_MS);
}

/* --- One run --- */

/* Somebody who is our child, or 0. */
static pid_t
find_child(void)
{
	siginfo_t info = { 0 };
	char path[64];
	int pid = 0;
	FILE *file;

	/* Reap those who have ended. */
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0)
		info.si_pid = 0;
	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	file = fopen(path, "re");
	if (file && fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file)
		fclose(file);
	return pid;
}

/* End everybody who was left behind. Returns how many there were. */
static unsigned
clear_away(struct run *run)
{
	const int64_t until = now_ms() + STRAY_MS;
	unsigned strays = 0;
	pid_t pid;

	if (!run->exited) {
		kill(run->pid, SIGKILL);
		waitpid(run->pid, &run->wait_status, 0);
	}
	/* Those that are killed already need a moment. */
	while (find_child() > 0 && now_ms() < until)
		pump(run, now_ms() + 1);
	while ((pid = find_child()) > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		strays++;
	}
	return strays;
}

static void
close_run(struct run *run)
{
	unsigned strays;

	if (run->client.fd >= 0)
		end_client(&run->client, HUNG);
	strays = clear_away(run);
	if (strays > 0)
		complain(run, ENDS, "%u processes left behind", strays);
	while (run->log_fd >= 0 && run->log_len < LOG_MAX - 1) {
		size_t before = run->log_len;

		read_log(run);
		if (run->log_len == before)
			break;
	}
	for (size_t i = 0; i < 3; i++) {
		int fd = (const int[]){ run->pidfd, run->notify_fd, run->log_fd }[i];

		if (fd >= 0)
			close(fd);
	}
}

static void
perform(struct run *run, const struct scenario *scenario,
	const struct injection *injection, struct survey *survey)
{
	run->scenario = scenario;
	run->injection = injection;
	run->survey = survey;
	run->started = run->exited = run->released = run->late = false;
	run->seen = run->failed = run->failed_at_first = run->not_200 = 0;
	run->log_len = run->complaint_len = 0;
	run->log[0] = run->complaint[0] = '\0';
	run->client.fd = run->pidfd = run->notify_fd = run->log_fd = -1;
	if (scenario->inetd)
		run_inetd(run);
	else
		run_supervised(run);
	close_run(run);
	if (strstr(run->log, killed_line))
		complain(run, STAYS, "its log tells of a process that was killed");
	if (injection && run->not_200 > 0 && !log_explains(run))
		complain(run, LOGS, "%u scrapes without a 200, and no word of why",
			run->not_200);
}

/* --- All runs --- */

static void
format_injection(const struct injection *i, char *text, size_t size)
{
	snprintf(text, size, "%s:%s:%s:%u:%s", scenarios[i->scenario].name,
		call_name(i->call), strerrorname_np(i->error), i->occurrence,
		mode_names[i->mode]);
}

/*
 * What became of a run, with the last lines of its log, indented. In one write: others
 * write there as well.
 */
static void
report(const struct run *run, const char *name, unsigned lines)
{
	static char text[LOG_MAX * 2];
	const char *at = run->log + run->log_len;
	size_t len;

	while (at > run->log && lines > 0) {
		at--;
		while (at > run->log && at[-1] != '\n')
			at--;
		lines--;
	}
	len = (size_t)snprintf(text, sizeof(text),
		"%s: %s (%u failed, %u without a 200)\n", name,
		run->complaint_len > 0 ? run->complaint : "ok", run->failed,
		run->not_200);
	while (*at && len < sizeof(text) / 2) {
		size_t n = strcspn(at, "\n");

		len += (size_t)snprintf(
			text + len, sizeof(text) - len, "    %.*s\n", (int)n, at);
		at += n + (at[n] == '\n');
	}
	fwrite(text, 1, len, stdout);
	fflush(stdout);
}

static void
inject(struct run *run, const struct injection *injection)
{
	const struct scenario *scenario = &scenarios[injection->scenario];
	const struct survey *survey = &shared->surveys[injection->scenario];
	char name[128];

	perform(run, scenario, injection, NULL);
	format_injection(injection, name, sizeof(name));
	shared->done++;
	shared->not_reached += run->failed == 0;
	shared->without_effect +=
		run->not_200 == 0 && count_lines(run->log) == survey->log_lines;
	shared->not_200 += run->not_200 > 0;
	shared->slow += run->late;
	shared->failed += run->complaint_len > 0;
	if (worker.options->only)
		report(run, name, 100);
	else if (run->complaint_len > 0)
		report(run, name, 3);
}

static void
work(const struct options *options)
{
	static struct run run;
	unsigned i;

	prepare_worker(options);
	while ((i = shared->next++) < shared->injection_count)
		inject(&run, &shared->injections[i]);
}

/* Each scenario undisturbed: it must be in order, or there is nothing to be tested. */
static void
survey(const struct options *options)
{
	static struct run run;

	prepare_worker(options);
	for (size_t i = 0; i < SCENARIOS; i++) {
		struct survey *s = &shared->surveys[i];

		s->processes = scenarios[i].pid1; /* at most: who accepts */
		perform(&run, &scenarios[i], NULL, s);
		s->log_lines = count_lines(run.log);
		s->calls[SYS_execve]--; /* ours */
		if (run.complaint_len > 0 || run.not_200 > 0) {
			report(&run, scenarios[i].name, 20);
			exit(1);
		}
		s->done = true;
	}
}

/* Run it in a process of its own. */
static pid_t
start_worker(void (*body)(const struct options *options), const struct options *options)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		body(options);
		fflush(stdout);
		_exit(0);
	}
	return pid;
}

static bool
ended_well(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && status == 0;
}

/* --- The list of injections --- */

static void
add_error(int errors[static ERRORS_MAX], size_t *count, int error)
{
	for (size_t i = 0; i < *count; i++) {
		if (errors[i] == error)
			return;
	}
	if (*count < ERRORS_MAX)
		errors[(*count)++] = error;
}

static size_t
find_errors(const char *call, int ret_errors[static ERRORS_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < sizeof(common_errors) / sizeof(common_errors[0]); i++)
		add_error(ret_errors, &count, common_errors[i]);
	for (size_t i = 0; i < sizeof(special_errors) / sizeof(special_errors[0]); i++) {
		if (!matches(special_errors[i].calls, call))
			continue;
		for (const int *error = special_errors[i].errors; *error; error++)
			add_error(ret_errors, &count, *error);
	}
	return count;
}

/* Whether the n-th of so many is among those that are tried. */
static bool
is_tried(unsigned n, unsigned count)
{
	const unsigned last = count - OCCURRENCES_LAST,
		       step = (last - OCCURRENCES_ALL) / (OCCURRENCES_MIDDLE + 1);

	if (count <= OCCURRENCES_ALL + OCCURRENCES_LAST + OCCURRENCES_MIDDLE)
		return true;
	return n <= OCCURRENCES_ALL || n > last ||
	       ((n - OCCURRENCES_ALL) % step == 0 &&
		       (n - OCCURRENCES_ALL) / step <= OCCURRENCES_MIDDLE);
}

/* Whether the name begins with these fields, or there are none. */
static bool
is_wanted(const struct options *options, const struct injection *injection)
{
	char name[128];
	size_t len;

	if (!options->only)
		return true;
	format_injection(injection, name, sizeof(name));
	len = strlen(options->only);
	return strncmp(name, options->only, len) == 0 &&
	       (name[len] == ':' || name[len] == '\0');
}

static void
add_injection(const struct options *options, struct injection injection)
{
	if (!is_wanted(options, &injection))
		return;
	if (shared->injection_count == INJECTIONS_MAX)
		errx(1, "more than %d injections", INJECTIONS_MAX);
	shared->injections[shared->injection_count++] = injection;
}

static void
list_call(const struct options *options, unsigned scenario, int call)
{
	const unsigned count = shared->surveys[scenario].calls[call];
	int errors[ERRORS_MAX];
	size_t error_count = find_errors(call_name(call), errors);

	for (unsigned n = 1; n <= count; n++) {
		if (!is_tried(n, count))
			continue;
		for (size_t i = 0; i < error_count; i++) {
			add_injection(options,
				(struct injection){ scenario, n, call, errors[i], ONCE });
			add_injection(options,
				(struct injection){ scenario, n, call, errors[i], ON });
		}
	}
}

static void
list_all(const struct options *options)
{
	for (unsigned scenario = 0; scenario < SCENARIOS; scenario++) {
		for (int call = 0; call < CALLS_MAX; call++) {
			if (!is_excluded(call_name(call)))
				list_call(options, scenario, call);
		}
	}
}

/* xorshift64* */
static uint64_t
next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545F4914F6CDD1DULL >> 32;
}

/* Keep so many, one of each part of the list, so that nothing is left out for long. */
static void
thin_out(const struct options *options)
{
	const uint64_t count = shared->injection_count, wanted = options->sample;
	uint64_t state = options->seed * 2 + 1;

	if (wanted == 0 || wanted >= count)
		return;
	for (uint64_t i = 0; i < wanted; i++) {
		uint64_t from = i * count / wanted, to = (i + 1) * count / wanted;

		shared->injections[i] =
			shared->injections[from + next_random(&state) % (to - from)];
	}
	shared->injection_count = (unsigned)wanted;
}

static int
print_list(void)
{
	char name[128];

	for (unsigned i = 0; i < shared->injection_count; i++) {
		format_injection(&shared->injections[i], name, sizeof(name));
		puts(name);
	}
	return 0;
}

static int
run_all(const struct options *options)
{
	pid_t pids[JOBS_MAX];
	bool well = true;

	for (unsigned i = 0; i < options->jobs; i++)
		pids[i] = start_worker(work, options);
	for (unsigned i = 0; i < options->jobs; i++)
		well = ended_well(pids[i]) && well;
	if (shared->not_reached > 0)
		printf("%u calls did not come\n", shared->not_reached);
	printf("%u injections, %u without effect, %u answered otherwise than 200, "
	       "%u needed more than 1 s, %u failed\n",
		shared->done, shared->without_effect, shared->not_200, shared->slow,
		shared->failed);
	return well && shared->failed == 0 && shared->done > 0 ? 0 : 1;
}

/* --- Command line --- */

static _Noreturn void
usage(void)
{
	fputs("usage: torture PROGRAM [--jobs N] [--sample N] [--seed S] [--list]\n"
	      "    [--only SCENARIO[:CALL[:ERRNO[:OCCURRENCE[:once|on]]]]]\n",
		stderr);
	exit(2);
}

static unsigned long
number(const char *text)
{
	char *end;
	unsigned long value = text ? strtoul(text, &end, 10) : 0;

	if (!text || *text == '\0' || *end != '\0')
		usage();
	return value;
}

static struct options
parse_options(char *argv[])
{
	struct options o = { .jobs = (unsigned)sysconf(_SC_NPROCESSORS_ONLN) };

	for (char **arg = argv + 1; *arg; arg++) {
		if (strcmp(*arg, "--list") == 0)
			o.list = true;
		else if (strcmp(*arg, "--jobs") == 0)
			o.jobs = (unsigned)number(*++arg);
		else if (strcmp(*arg, "--sample") == 0)
			o.sample = (unsigned)number(*++arg);
		else if (strcmp(*arg, "--seed") == 0)
			o.seed = number(*++arg);
		else if (strcmp(*arg, "--only") == 0 && arg[1])
			o.only = *++arg;
		else if (**arg != '-' && !o.program)
			o.program = *arg;
		else
			usage();
	}
	if (!o.program)
		usage();
	o.jobs = o.jobs < 1 ? 1 : o.jobs > JOBS_MAX ? JOBS_MAX : o.jobs;
	return o;
}

int
main(int argc, char *argv[])
{
	struct options options = parse_options(argv);

	(void)argc;
	signal(SIGPIPE, SIG_IGN);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		err(1, "mmap");
	if (!ended_well(start_worker(survey, &options)))
		errx(1, "undisturbed, it is not in order either");
	list_all(&options);
	thin_out(&options);
	return options.list ? print_list() : run_all(&options);
}
