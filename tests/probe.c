/* SPDX-License-Identifier: MIT */
/*
 * Try every door of the sandbox that the program itself leaves alone.
 *
 *   probe responder   every call by its number, in a process confined as a responder is;
 *                     prints the names of those that did not kill it, or their numbers
 *   probe server      calls that a server has no use for, in a process confined as a
 *                     server is; prints the names of those that were not refused
 *   probe errors      what each error number means, in a process confined as a responder
 *   probe layers      what could not be confined of a responder, by layer
 *   probe without LAYER COMMAND...
 *                     run it as an ordinary user where the calls of that layer are
 *                     refused, as by an old kernel or a runtime; "nothing" refuses none
 *   probe refuse LAYER COMMAND...
 *                     the same, as the user that it is
 */
#include "landlock.h"
#include "sandbox.h"
#include "util.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/net.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	NUMBERS = 600, /* more than there are */
	ERRORS = 4096, /* what the kernel can return is below */
	X32_BIT = 0x40000000,
};

/* clang-format off */
#define NAME(name) { #name, SYS_##name }
static const struct {
	const char *name;
	long number;
} names[] = {
	NAME(read), NAME(write), NAME(recvfrom), NAME(sendto), NAME(shutdown), NAME(close),
	NAME(lseek), NAME(setitimer), NAME(rt_sigreturn), NAME(restart_syscall),
	NAME(exit), NAME(exit_group), NAME(ppoll),
	NAME(ioctl),
#ifdef SYS_clock_gettime
	NAME(clock_gettime),
#endif
#ifdef SYS_poll
	NAME(poll),
#endif
#ifdef SYS_recv
	NAME(recv), NAME(send),
#endif
#ifdef SYS_sigreturn
	NAME(sigreturn),
#endif
#ifdef SYS__llseek
	NAME(_llseek),
#endif
#ifdef SYS_ppoll_time64
	NAME(ppoll_time64), NAME(clock_gettime64),
#endif
};
/* clang-format on */

static void
print_name(long number)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (names[i].number == number) {
			puts(names[i].name);
			return;
		}
	}
	printf("%ld\n", number);
}

/* Standard input must not be waited for, whatever reads it. */
static void
confine_responder(void)
{
	int errors[SANDBOX_LAYERS];

	sandbox_confine_responder(5, true, errors);
	if (errors[SANDBOX_SECCOMP] < 0)
		_exit(1);
}

/* Whether a call with this argument, the others being alike, kills a responder. */
static bool
kills_with(long number, int which, long value, long argument)
{
	long a[6];
	pid_t pid = fork();
	int status;

	for (int i = 0; i < 6; i++)
		a[i] = i == which ? value : argument;
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		confine_responder();
		syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS;
}

static bool
kills(long number, long argument)
{
	return kills_with(number, 0, argument, argument);
}

/* Calls that are allowed with one value of an argument only. */
static const struct {
	long number;
	int argument;
	long others[2];
} conditions[] = {
	{ SYS_lseek, 2, { SEEK_CUR, SEEK_END } },
	{ SYS_sendto, 5, { 2, 110 } },  /* the length of an address */
	{ SYS_setitimer, 0, { 1, 2 } }, /* the two of processor time */
	{ SYS_ppoll, 1, { 0, 2 } },
	{ SYS_ioctl, 1, { TIOCSTI, FIONREAD } }, /* TIOCOUTQ alone */
#ifdef SYS_poll
	{ SYS_poll, 1, { 0, 2 } },
#endif
#ifdef SYS_ppoll_time64
	{ SYS_ppoll_time64, 1, { 0, 2 } },
#endif
#ifdef SYS__llseek
	{ SYS__llseek, 4, { SEEK_CUR, SEEK_END } },
#endif
};

static void
try_conditions(void)
{
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		for (int k = 0; k < 2; k++) {
			if (!kills_with(conditions[i].number, conditions[i].argument,
				    conditions[i].others[k], 0))
				printf("%ld with %ld\n", conditions[i].number,
					conditions[i].others[k]);
		}
	}
}

/* The socket calls that go through socketcall(2), by their numbers in linux/net.h. */
static void
try_socketcall(void)
{
#ifdef SYS_socketcall
	for (long call = 0; call <= SYS_SENDMMSG + 1; call++) {
		if (!kills_with(SYS_socketcall, 0, call, 0))
			printf("socketcall %ld\n", call);
	}
#endif
}

/*
 * Linux lets the two calls of its own uprobe trampolines pass every filter
 * (seccomp_uprobe_exception); called by anybody else they end in SIGILL.
 */
static bool
is_exempted(long number)
{
#if defined(__x86_64__)
	return number == 335 || number == 336;
#else
	return number < 0;
#endif
}

static int
probe_responder(void)
{
	if (open("/dev/null", O_RDWR) < 0 || dup2(open("/dev/null", O_RDWR), 0) < 0)
		err(1, "open /dev/null");
	for (long number = 0; number < NUMBERS; number++) {
		/* What arguments are checked for is among these. */
		if (!is_exempted(number) &&
			(!kills(number, -1) || !kills(number, 0) || !kills(number, 1) ||
				!kills(number, TIOCOUTQ)))
			print_name(number);
	}
	try_conditions();
	try_socketcall();
#if defined(__x86_64__)
	for (long number = 0; number < NUMBERS; number++) {
		if (!kills(number | X32_BIT, 0))
			print_name(number | X32_BIT);
	}
#endif
	return 0;
}

static long
map_memory(int protection)
{
#ifdef SYS_mmap2
	return syscall(
		SYS_mmap2, NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#else
	return syscall(
		SYS_mmap, NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
#endif
}

static char self[] = "/proc/self/exe";
static char *const no_words[] = { self, NULL };

/* clang-format off */
#define TRY(name, ...) { #name, syscall(__VA_ARGS__) < 0 && errno == EPERM }
/* clang-format on */

/* Each is refused with EPERM; few of them would do harm if they were not. */
static int
probe_server(void)
{
	int errors[SANDBOX_LAYERS], status = 0;

	sandbox_confine_server(&(const struct sandbox_needs){ 0 }, errors);
	const struct {
		const char *name;
		bool refused;
	} tries[] = {
		TRY(execve, SYS_execve, self, no_words, NULL),
		TRY(execveat, SYS_execveat, AT_FDCWD, self, no_words, NULL, 0),
		TRY(ptrace, SYS_ptrace, 0, 0, 0, 0),
		TRY(process_vm_writev, SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0),
		TRY(openat to write, SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY),
		TRY(openat to read and write, SYS_openat, AT_FDCWD, "/dev/null", O_RDWR),
		TRY(openat to create, SYS_openat, AT_FDCWD, "/tmp/probe", O_CREAT, 0600),
		TRY(openat to truncate, SYS_openat, AT_FDCWD, "/dev/null", O_TRUNC),
		TRY(packet socket, SYS_socket, AF_PACKET, SOCK_RAW, 0),
		TRY(connect, SYS_connect, -1, NULL, 0),
		TRY(send to an address, SYS_sendto, -1, "x", 1, 0, "x", 2),
		TRY(sendmsg, SYS_sendmsg, -1, NULL, 0),
		TRY(unlinkat, SYS_unlinkat, AT_FDCWD, "/nowhere", 0),
		TRY(UDP socket, SYS_socket, AF_INET, SOCK_DGRAM, 0),
		TRY(raw socket, SYS_socket, AF_INET6, SOCK_RAW, 58),
		TRY(other netlink, SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE),
		TRY(vsock, SYS_socket, AF_VSOCK, SOCK_STREAM, 0),
		TRY(unshare, SYS_unshare, CLONE_NEWUSER),
#ifdef __s390__ /* the stack comes first */
		TRY(clone into a namespace, SYS_clone, 0, CLONE_NEWUSER, 0, 0, 0),
#else
		TRY(clone into a namespace, SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0),
#endif
		TRY(setns, SYS_setns, -1, 0),
		TRY(mount, SYS_mount, NULL, "/nowhere", "tmpfs", 0, NULL),
		TRY(chroot, SYS_chroot, "/nowhere"),
		TRY(setuid, SYS_setuid, 0),
		TRY(bpf, SYS_bpf, 0, NULL, 0),
		TRY(perf_event_open, SYS_perf_event_open, NULL, 0, 0, -1, 0),
		TRY(keyctl, SYS_keyctl, 0, 0),
		TRY(io_uring_setup, SYS_io_uring_setup, 1, NULL),
		TRY(userfaultfd, SYS_userfaultfd, 0),
		TRY(memfd_create, SYS_memfd_create, "probe", 0),
		TRY(renameat, SYS_renameat, AT_FDCWD, "/nowhere", AT_FDCWD, "/nowhere"),
		TRY(mkdirat, SYS_mkdirat, AT_FDCWD, "/nowhere/x", 0700),
		TRY(fchmodat, SYS_fchmodat, AT_FDCWD, "/nowhere", 0),
		TRY(ioctl, SYS_ioctl, 0, 0x5412, "x"), /* TIOCSTI: type for the user */
		TRY(limits of others, SYS_prlimit64, getppid(), RLIMIT_CORE, NULL, NULL),
		{ "mmap to execute", map_memory(PROT_READ | PROT_EXEC) < 0 },
		{ "mprotect to execute",
			syscall(SYS_mprotect, NULL, 4096, PROT_EXEC) < 0 &&
				errno == EPERM },
	};

	for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
		if (!tries[i].refused) {
			puts(tries[i].name);
			status = 1;
		}
	}
	printf("%zu tried\n", sizeof(tries) / sizeof(tries[0]));
	return errors[SANDBOX_SECCOMP] < 0 ? 2 : status;
}

static int
probe_errors(void)
{
	int errors[SANDBOX_LAYERS];

	sandbox_confine_responder(5, true, errors);
	for (int error = 1; error < ERRORS; error++) {
		char line[80];
		int n = snprintf(
			line, sizeof(line), "%d %s\n", error, util_error_text(error));

		if (write(STDOUT_FILENO, line, (size_t)n) != n)
			return 1;
	}
	return errors[SANDBOX_SECCOMP] < 0 ? 2 : 0;
}

static int
probe_layers(void)
{
	int errors[SANDBOX_LAYERS];

	sandbox_confine_responder(5, true, errors);
	for (int i = 0; i < SANDBOX_LAYERS; i++) {
		char line[80];
		int n = snprintf(
			line, sizeof(line), "%s %d\n", sandbox_layer_names[i], errors[i]);

		if (write(STDOUT_FILENO, line, (size_t)n) != n)
			return 1;
	}
	return 0;
}

/* A call that is refused, with this argument where there is one. */
static const struct refusal {
	const char *layer;
	uint32_t number, value;
	unsigned argument;
	bool has_argument;
} refusals[] = {
	{ "no_new_privs", SYS_prctl, PR_SET_NO_NEW_PRIVS, 0, true },
	{ "rlimits", SYS_prlimit64, 0, 0, false },
	{ "rlimits", SYS_prctl, PR_SET_DUMPABLE, 0, true },
	{ "capabilities", SYS_capget, 0, 0, false },
	{ "capabilities", SYS_capset, 0, 0, false },
	{ "landlock", SYS_landlock_create_ruleset, 0, 0, false },
	{ "seccomp", SYS_seccomp, 0, 0, false },
	{ "seccomp", SYS_prctl, PR_SET_SECCOMP, 0, true },
	{ "seccomp(2)", SYS_seccomp, 0, 0, false },
};

/* The lower half of an argument, of which the kernel takes an int. */
static uint32_t
argument_offset(unsigned argument)
{
	return (uint32_t)offsetof(struct seccomp_data, args) + argument * 8 +
	       (htons(1) == 1 ? 4 : 0);
}

static void
refuse(const struct refusal *refusal)
{
	const uint8_t allow = refusal->has_argument ? 3 : 1;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->number, 0, allow),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument_offset(refusal->argument)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal->value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	if (!refusal->has_argument) {
		code[2] = code[4];
		code[3] = code[5];
	}
	/* By root, who needs no PR_SET_NO_NEW_PRIVS, which may be the one to be refused.
	 */
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		err(1, "refuse %s", refusal->layer);
}

static void
become_ordinary_user(void)
{
	enum {
		USER = 65532,
	};

	if (setgroups(0, NULL) < 0 || setresgid(USER, USER, USER) < 0 ||
		setresuid(USER, USER, USER) < 0)
		err(1, "become an ordinary user");
}

/* Execute the command that follows the layer. */
static int
run_without(char *argv[], bool as_ordinary_user)
{
	/* The last one may refuse the call that the others are made by. */
	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (strcmp(refusals[i].layer, argv[0]) == 0)
			refuse(&refusals[i]);
	}
	if (as_ordinary_user)
		become_ordinary_user();
	execvp(argv[1], argv + 1);
	err(127, "%s", argv[1]);
}

int
main(int argc, char *argv[])
{
	if (argc > 3 && strcmp(argv[1], "without") == 0)
		return run_without(argv + 2, true);
	if (argc > 3 && strcmp(argv[1], "refuse") == 0)
		return run_without(argv + 2, false);
	setvbuf(stdout, NULL, _IONBF, 0);
	sandbox_init();
	if (argc == 2 && strcmp(argv[1], "responder") == 0)
		return probe_responder();
	if (argc == 2 && strcmp(argv[1], "server") == 0)
		return probe_server();
	if (argc == 2 && strcmp(argv[1], "errors") == 0)
		return probe_errors();
	if (argc == 2 && strcmp(argv[1], "layers") == 0)
		return probe_layers();
	errx(2, "usage: probe responder|server|errors|layers|without|refuse [...]");
}
