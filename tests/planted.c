/* SPDX-License-Identifier: MIT */
/*
 * Planted code: the program with an attacker inside. A responder runs the attack that its
 * request names when it comes to parse it, the supervisor when it looks whether the head
 * is there: where a fault in the reading of requests would be.
 *
 *   GET /responder/N, GET /supervisor/N   try attack number N there
 *
 * PLANTED names a file that all processes of a test map. Its first bytes are the results,
 * one for each role and attack. With PLANTED_DO=list the program prints the names of the
 * attacks, with PLANTED_DO=neighbour it is the process that is attacked, in the directory
 * PLANTED_IN.
 */
#include "http.h"
#include "supervisor.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	RESPONDER,
	SUPERVISOR,
	ROLES,
	ATTACKS_MAX = 32,
	DESCRIPTORS = 64, /* of the process taken over, that are tried */
	TARGET_PORT = 5000,
	FREE_PORT = 5001,
};

static struct shared {
	char results[ROLES][ATTACKS_MAX];
	int neighbour; /* its process id */
	char directory[80];
} * shared;

static struct sockaddr_un
unix_address(const char *name)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s", shared->directory, name);
	return sun;
}

/* Open a file of the neighbour's directory. */
static bool
can_open(const char *name, int flags)
{
	struct sockaddr_un sun = unix_address(name);
	int fd = open(sun.sun_path, flags, 0600);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static bool
can_read_proc(const char *name)
{
	char path[64], byte;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", shared->neighbour, name);
	fd = open(path, O_RDONLY);
	return fd >= 0 && (read(fd, &byte, 1) == 1 || errno == EIO); /* of mem */
}

static bool
read_file(void)
{
	return can_open("secret", O_RDONLY);
}

static bool
write_file(void)
{
	return can_open("secret", O_WRONLY) || can_open("new", O_WRONLY | O_CREAT);
}

static bool
remove_file(void)
{
	struct sockaddr_un sun = unix_address("victim");

	return unlink(sun.sun_path) == 0;
}

static bool
read_command_line(void)
{
	return can_read_proc("cmdline");
}

static bool
read_environment(void)
{
	return can_read_proc("environ");
}

static bool
read_memory(void)
{
	return can_read_proc("mem");
}

static bool
send_signal(void)
{
	return kill(shared->neighbour, 0) == 0;
}

static bool
trace_process(void)
{
	return ptrace(PTRACE_SEIZE, shared->neighbour, NULL, NULL) == 0;
}

static bool
can_connect(int family, const void *address, socklen_t len)
{
	int fd = socket(family, SOCK_STREAM, 0);

	return fd >= 0 && connect(fd, address, len) == 0;
}

static struct sockaddr_in
loopback(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static bool
connect_tcp(void)
{
	const struct sockaddr_in sin = loopback(TARGET_PORT);

	return can_connect(AF_INET, &sin, sizeof(sin));
}

static bool
bind_tcp(void)
{
	const struct sockaddr_in sin = loopback(FREE_PORT);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd >= 0 && bind(fd, (const struct sockaddr *)&sin, sizeof(sin)) == 0;
}

static bool
connect_unix(void)
{
	const struct sockaddr_un sun = unix_address("stream");

	return can_connect(AF_UNIX, &sun, sizeof(sun));
}

static const struct sockaddr_un abstract = { AF_UNIX, "\0planted" };

static bool
connect_abstract(void)
{
	return can_connect(AF_UNIX, &abstract, sizeof(abstract));
}

/* Where the address counts for nothing, as with TCP, one that is nobody's does too. */
static bool
sends_to_address(int fd)
{
	const struct sockaddr_un sun = unix_address("datagram");
	const struct sockaddr_un nobody = unix_address("nobody");
	const int flags = MSG_DONTWAIT | MSG_NOSIGNAL;

	return sendto(fd, "x", 1, flags, (const struct sockaddr *)&sun, sizeof(sun)) >=
	               0 &&
	       sendto(fd, "x", 1, flags, (const struct sockaddr *)&nobody,
		       sizeof(nobody)) < 0;
}

static bool
send_datagram(void)
{
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		if (sends_to_address(fd))
			return true;
	}
	return false;
}

static bool
send_own_datagram(void)
{
	return sends_to_address(socket(AF_UNIX, SOCK_DGRAM, 0));
}

/* Whether this descriptor is sock_diag's and lists UNIX sockets. */
static bool
lists_unix(int fd)
{
	const struct {
		struct nlmsghdr header;
		struct unix_diag_req body;
	} request = {
		.header = { .nlmsg_len = sizeof(request),
			.nlmsg_type = SOCK_DIAG_BY_FAMILY,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.body = { .sdiag_family = AF_UNIX, .udiag_states = UINT32_MAX },
	};
	struct {
		struct nlmsghdr header;
		unsigned char family;
		char rest[8192];
	} answer = { 0 };

	return send(fd, &request, sizeof(request), MSG_DONTWAIT | MSG_NOSIGNAL) > 0 &&
	       recv(fd, &answer, sizeof(answer), MSG_DONTWAIT) > 0 &&
	       answer.header.nlmsg_type == SOCK_DIAG_BY_FAMILY &&
	       (answer.header.nlmsg_flags & NLM_F_MULTI) && /* not the request again */
	       answer.family == AF_UNIX;
}

static bool
list_unix(void)
{
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		if (lists_unix(fd))
			return true;
	}
	return false;
}

static bool
list_unix_anew(void)
{
	return lists_unix(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
}

static bool
open_udp(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0) >= 0;
}

/* The program is opened before its arguments are looked at. */
static bool
run_program(void)
{
	return syscall(SYS_execve, "/bin/true", 1, NULL) < 0 && errno == EFAULT;
}

static bool
start_process(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	return pid > 0;
}

static bool
map_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0) != MAP_FAILED;
}

static bool
make_namespace(void)
{
	return unshare(CLONE_NEWUSER) == 0;
}

static const struct {
	const char *name;
	bool (*try)(void);
} attacks[] = {
	{ "read a file of the same user", read_file },
	{ "write one", write_file },
	{ "remove one", remove_file },
	{ "read the command line of its process", read_command_line },
	{ "read its environment", read_environment },
	{ "read its memory", read_memory },
	{ "send a signal to it", send_signal },
	{ "trace it", trace_process },
	{ "connect to a TCP port", connect_tcp },
	{ "bind another TCP port", bind_tcp },
	{ "connect to a UNIX path", connect_unix },
	{ "connect to an abstract UNIX socket", connect_abstract },
	{ "send to a UNIX path by a descriptor that is open", send_datagram },
	{ "send there by a new socket", send_own_datagram },
	{ "list UNIX sockets by a descriptor that is open", list_unix },
	{ "list them by a new socket", list_unix_anew },
	{ "open a UDP socket", open_udp },
	{ "run a program", run_program },
	{ "start a process", start_process },
	{ "map memory to execute", map_code },
	{ "make a user namespace", make_namespace },
};

enum {
	ATTACKS = sizeof(attacks) / sizeof(attacks[0]),
};

_Static_assert((int)ATTACKS <= (int)ATTACKS_MAX, "each has a result");

/* Try what the request names, once: the supervisor looks at a head more than once. */
static void
run_attack(int role, const char *prefix, const char *buf, size_t len)
{
	const size_t prefix_len = strlen(prefix);
	int number;
	char *result;

	if (len < prefix_len + 2 || memcmp(buf, prefix, prefix_len) != 0)
		return;
	number = (buf[prefix_len] - '0') * 10 + buf[prefix_len + 1] - '0';
	if (number < 0 || number >= ATTACKS)
		return;
	result = &shared->results[role][number];
	if (*result != '.')
		return;
	*result = 'k'; /* killed, unless it comes back */
	*result = attacks[number].try() ? 'y' : 'n';
}

/* The linker's --wrap puts these in the place of the program's own. */
bool __real_http_head_is_ready(const char *buf, size_t len);
bool __wrap_http_head_is_ready(const char *buf, size_t len);
enum http_status
__real_http_parse_request(const char *buf, size_t len, struct http_request *ret_request);
enum http_status
__wrap_http_parse_request(const char *buf, size_t len, struct http_request *ret_request);
void __wrap_backoff_grow(struct backoff *backoff, int64_t max_ms);

bool
__wrap_http_head_is_ready(const char *buf, size_t len)
{
	run_attack(SUPERVISOR, "GET /supervisor/", buf, len);
	return __real_http_head_is_ready(buf, len);
}

enum http_status
__wrap_http_parse_request(const char *buf, size_t len, struct http_request *ret_request)
{
	run_attack(RESPONDER, "GET /responder/", buf, len);
	return __real_http_parse_request(buf, len, ret_request);
}

/* Nothing is waited for: each attack may end its process. */
void
__wrap_backoff_grow(struct backoff *backoff, int64_t max_ms)
{
	(void)backoff;
	(void)max_ms;
}

static int
listen_on(int type, const struct sockaddr *address, socklen_t len)
{
	int fd = socket(address->sa_family, type, 0);

	if (fd < 0 || bind(fd, address, len) < 0 ||
		(type == SOCK_STREAM && listen(fd, 1024) < 0))
		err(1, "listen");
	return fd;
}

/* Be attacked: have what can be read, connected to and sent to. */
static void
be_neighbour(void)
{
	const struct sockaddr_in sin = loopback(TARGET_PORT);
	const struct sockaddr_un stream = unix_address("stream");
	const struct sockaddr_un datagram = unix_address("datagram");
	char byte;
	int fd;

	listen_on(SOCK_STREAM, (const struct sockaddr *)&sin, sizeof(sin));
	listen_on(SOCK_STREAM, (const struct sockaddr *)&stream, sizeof(stream));
	listen_on(SOCK_STREAM, (const struct sockaddr *)&abstract, sizeof(abstract));
	fd = listen_on(SOCK_DGRAM, (const struct sockaddr *)&datagram, sizeof(datagram));
	shared->neighbour = getpid();
	puts("ready");
	fflush(stdout);
	while (recv(fd, &byte, 1, 0) > 0)
		;
	_exit(1);
}

static void __attribute__((constructor)) plant(void)
{
	const char *path = getenv("PLANTED"), *in = getenv("PLANTED_IN");
	const char *task = getenv("PLANTED_DO");
	int fd;

	if (task && strcmp(task, "list") == 0) {
		for (int i = 0; i < ATTACKS; i++)
			puts(attacks[i].name);
		exit(0);
	}
	fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || shared == MAP_FAILED)
		err(1, "map what PLANTED names");
	close(fd);
	if (in)
		snprintf(shared->directory, sizeof(shared->directory), "%s", in);
	if (task && strcmp(task, "neighbour") == 0)
		be_neighbour();
}
