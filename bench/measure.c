/* SPDX-License-Identifier: MIT */
/*
 * Measure several contestants side by side: one of each in every round, so that whatever
 * else this machine does meets all of them alike. Run it in the network namespace that is
 * to be measured.
 *
 *   measure [-t COUNT -c COMMAND] ROUNDS NAME KIND WORD... [-- NAME KIND WORD...]...
 *
 * With == instead of -- a new group begins. Who is to be compared closely is in one
 * group, because a group stays together; a name may be in several, to be
 * measured more often. Prints "NAME ROUND.GROUP VALUE" for each. The value is in
 * nanoseconds but for the kind "memory", KiB. Round 0 warms up and is not printed.
 *
 * -t says that there are to be COUNT sockets in TIME_WAIT. They last for 60 seconds, so
 * the command, which makes them all anew, is run before they end; "tw ROUND COUNT" says
 * how many there were before and after each round.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
	CONTESTANTS_MAX = 32,
	/* What the kernel makes of a dump at a time, when it is given the room. */
	RECEIVE_MAX = 32 * 1024,
	/* What cat(1) reads at a time; of /proc/net it gets a page. */
	READ_MAX = 128 * 1024,
	/* Of the connecting end; the local port range is above, and may be full. */
	CLIENT_PORT_FIRST = 5000,
	CLIENT_PORT_LAST = 8999,
	/* A server may answer with a scan that it made shortly before: see below. */
	SHARED_SCANS = 10,
	TIME_WAIT_S = 50, /* of 60 */
};

struct contestant {
	const char *name;
	int64_t (*measure)(struct contestant *self);
	char **words; /* of its command line, or what else it is about; ends with NULL */
	int64_t ready_ns; /* not to be measured again before */
	int group;
	int group_key, key; /* where in the round: drawn by lot */
};

/* Answers and tables; what is read last stays there. */
static char data[READ_MAX + 1];

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void
sleep_until(int64_t ns)
{
	const struct timespec time = { ns / 1000000000, ns % 1000000000 };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

/* More, behind what is in `data`, as far as it has room. Returns false at the end. */
static bool
read_more(int fd, size_t *len)
{
	ssize_t n = read(fd, data + *len, READ_MAX - *len);

	if (n > 0)
		*len += (size_t)n;
	data[*len] = '\0';
	return n > 0;
}

static void
read_all(int fd)
{
	size_t len = 0;

	while (read_more(fd, &len))
		;
}

/* Has all come that Content-Length promises? */
static bool
is_whole(size_t len)
{
	const char *length = strstr(data, "Content-Length: ");
	const char *content = strstr(data, "\r\n\r\n");

	return length && content && length < content &&
	       len >= (size_t)(content + 4 - data) + strtoul(length + 16, NULL, 10);
}

/*
 * An answer into `data`. Like most clients, do not wait for the server to close when the
 * answer is whole without. Returns when the last byte came.
 */
static int64_t
read_answer(int fd)
{
	int64_t last_ns = now_ns();
	size_t len = 0;

	while (read_more(fd, &len)) {
		last_ns = now_ns();
		if (is_whole(len))
			break;
	}
	return last_ns;
}

static void
read_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", path);
	read_all(fd);
	close(fd);
}

/* The sample of that name in `data`, in nanoseconds; -1 when there is none. */
static int64_t
find_seconds(const char *name)
{
	char start[64];
	const char *line, *value;

	snprintf(start, sizeof(start), "\n%s{", name);
	line = strstr(data, start);
	value = line ? strstr(line, "} ") : NULL;
	return value ? (int64_t)(strtod(value + 2, NULL) * 1e9) : -1;
}

static pid_t
start(struct contestant *self, int output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, output, STDOUT_FILENO);
	errno = posix_spawnp(&pid, self->words[0], &actions, NULL, self->words, environ);
	if (errno != 0)
		err(1, "%s", self->words[0]);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static void
finish(struct contestant *self, pid_t pid, struct rusage *ret_usage)
{
	int status;

	if (wait4(pid, &status, 0, ret_usage) < 0)
		err(1, "wait4");
	if (status != 0)
		errx(1, "%s: ended with status %d", self->name, status);
}

/* The program's own figure: the time of the scan behind what it prints. */
static int64_t
measure_scan(struct contestant *self)
{
	struct rusage usage;
	int pipes[2];
	int64_t ns;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		err(1, "pipe");
	pid = start(self, pipes[1]);
	close(pipes[1]);
	read_all(pipes[0]);
	close(pipes[0]);
	finish(self, pid, &usage);
	ns = find_seconds("port_scan_duration_seconds");
	if (ns < 0)
		errx(1, "%s: said no scan duration", self->name);
	return ns;
}

/* A whole process, from its start to its end, its output thrown away. */
static int64_t
measure_process(struct contestant *self)
{
	static int null = -1;
	struct rusage usage;
	int64_t start_ns;

	if (null < 0)
		null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	start_ns = now_ns();
	finish(self, start(self, null), &usage);
	return now_ns() - start_ns;
}

static void
ask(int fd)
{
	static const char request[] =
		"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

	if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) < 0)
		err(1, "send");
}

/* A client's end on a port of its own, so that connect() need not search for one. */
static int
open_client(void)
{
	static uint16_t port = CLIENT_PORT_FIRST;
	struct sockaddr_in from = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	from.sin_port = htons(port++);
	if (port > CLIENT_PORT_LAST)
		port = CLIENT_PORT_FIRST;
	if (fd < 0 || bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0)
		err(1, "client socket");
	return fd;
}

/*
 * A whole scrape of the server on a port, from connect() to the last byte. Scrapes that
 * follow each other closely may share one scan, and then the second would cost nothing: a
 * server is asked again when ten times that scan's duration have passed.
 */
static int64_t
measure_http(struct contestant *self)
{
	const struct sockaddr_in to = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(self->words[0])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = open_client();
	int64_t start_ns, end_ns, scan_ns;

	sleep_until(self->ready_ns);
	start_ns = now_ns();
	if (connect(fd, (const struct sockaddr *)&to, sizeof(to)) < 0)
		err(1, "%s: connect", self->name);
	ask(fd);
	end_ns = read_answer(fd);
	close(fd);
	if (strncmp(data, "HTTP/1.", 7) != 0 || strncmp(data + 8, " 200 ", 5) != 0)
		errx(1, "%s: answered: %.40s", self->name, data);
	scan_ns = find_seconds("port_scan_duration_seconds");
	if (scan_ns > 0)
		self->ready_ns = now_ns() + SHARED_SCANS * scan_ns;
	return end_ns - start_ns;
}

/* Read files to their ends, and nothing more. */
static int64_t
measure_read(struct contestant *self)
{
	int64_t start_ns = now_ns();
	ssize_t n;

	for (char **path = self->words; *path; path++) {
		int fd = open(*path, O_RDONLY | O_CLOEXEC);

		if (fd < 0)
			err(1, "%s", *path);
		while ((n = read(fd, data, READ_MAX)) > 0)
			;
		if (n < 0)
			err(1, "%s", *path);
		close(fd);
	}
	return now_ns() - start_ns;
}

/*
 * --- drain: what the kernel takes for the dumps that the program asks it for, with the
 * same states and the same filter, and nobody who looks at a row.
 */

struct filter {
	struct inet_diag_bc_op at_least, first, at_most, last, by_kernel, refuse;
};

/* Which sockets a dump shows: those bound to their port by number, or all. */
enum bound {
	BOUND_BY_NUMBER,
	BOUND_ANYHOW,
};

/* A request of either kind; every part of it is a multiple of four bytes long. */
struct request {
	struct nlmsghdr header;
	char rest[128];
};

static struct filter
make_filter(enum bound bound)
{
	const uint8_t op = sizeof(struct inet_diag_bc_op);
	const uint8_t yes = bound == BOUND_BY_NUMBER ? op : 2 * op;
	unsigned short first, last;

	read_file("/proc/sys/net/ipv4/ip_local_port_range");
	if (sscanf(data, "%hu %hu", &first, &last) != 2)
		errx(1, "ip_local_port_range: %s", data);
	return (struct filter){
		.at_least = { INET_DIAG_BC_S_GE, 2 * op, 6 * op + 4 },
		.first = { .no = first },
		.at_most = { INET_DIAG_BC_S_LE, 2 * op, 4 * op + 4 },
		.last = { .no = last },
		.by_kernel = { INET_DIAG_BC_AUTO, yes, 2 * op },
		.refuse = { INET_DIAG_BC_JMP, op, op + 4 },
	};
}

/*
 * TCP states 1 to 12, and since Linux 6.8 state 13, bound and not connected. Which were
 * bound by number is asked of connections only: not in TIME_WAIT, LISTEN or state 13.
 */
static uint32_t
make_states(enum bound bound)
{
	struct utsname name;
	int major = 0, minor = 0;

	if (bound == BOUND_BY_NUMBER)
		return 0x1ffe & ~(1U << TCP_TIME_WAIT | 1U << TCP_LISTEN);
	uname(&name);
	sscanf(name.release, "%d.%d", &major, &minor);
	return major > 6 || (major == 6 && minor >= 8) ? 0x3ffe : 0x1ffe;
}

static void
append(struct request *request, const void *part, size_t len)
{
	size_t at = request->header.nlmsg_len - sizeof(request->header);

	memcpy(request->rest + at, part, len);
	request->header.nlmsg_len += (uint32_t)len;
}

static struct request
make_request(uint16_t type, uint8_t family, enum bound bound, uint32_t sequence)
{
	const struct inet_diag_req tcp = {
		.idiag_family = family,
		.idiag_states = make_states(bound),
	};
	const struct inet_diag_req_v2 udp = {
		.sdiag_family = family,
		.sdiag_protocol = IPPROTO_UDP,
		.idiag_states = make_states(bound),
	};
	const struct filter filter = make_filter(bound);
	const struct nlattr attribute = {
		.nla_len = sizeof(attribute) + sizeof(filter),
		.nla_type = INET_DIAG_REQ_BYTECODE,
	};
	struct request request = { .header = {
					   .nlmsg_len = sizeof(request.header),
					   .nlmsg_type = type,
					   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
					   .nlmsg_seq = sequence,
				   } };

	if (type == TCPDIAG_GETSOCK)
		append(&request, &tcp, sizeof(tcp));
	else
		append(&request, &udp, sizeof(udp));
	append(&request, &attribute, sizeof(attribute));
	append(&request, &filter, sizeof(filter));
	return request;
}

/* The end of a dump is the last message of a part, a header and an error number. */
static bool
ends_dump(const char *part, size_t len, uint32_t sequence)
{
	struct nlmsghdr header;
	const size_t size = NLMSG_ALIGN(sizeof(header) + sizeof(int));

	if (len < size)
		return false;
	memcpy(&header, part + len - size, sizeof(header));
	return header.nlmsg_type == NLMSG_DONE && header.nlmsg_seq == sequence &&
	       header.nlmsg_len == sizeof(header) + sizeof(int);
}

static void
drain(int fd, const struct request *request)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	ssize_t n;

	if (sendto(fd, request, request->header.nlmsg_len, 0,
		    (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		err(1, "sock_diag: send");
	do {
		n = recv(fd, data, RECEIVE_MAX, MSG_DONTWAIT);
		if (n < 0)
			err(1, "sock_diag: receive");
	} while (!ends_dump(data, (size_t)n, request->header.nlmsg_seq));
}

static int64_t
drain_all(const struct request *requests, size_t count)
{
	int64_t start_ns = now_ns();
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);

	if (fd < 0)
		err(1, "sock_diag");
	for (size_t i = 0; i < count; i++)
		drain(fd, &requests[i]);
	close(fd);
	return now_ns() - start_ns;
}

static int64_t
measure_drain(struct contestant *self)
{
	const struct request requests[] = {
		make_request(TCPDIAG_GETSOCK, AF_UNSPEC, BOUND_ANYHOW, 1),
		make_request(TCPDIAG_GETSOCK, AF_UNSPEC, BOUND_BY_NUMBER, 2),
		make_request(SOCK_DIAG_BY_FAMILY, AF_INET, BOUND_ANYHOW, 3),
		make_request(SOCK_DIAG_BY_FAMILY, AF_INET6, BOUND_ANYHOW, 4),
	};

	(void)self;
	return drain_all(requests, sizeof(requests) / sizeof(requests[0]));
}

/* The dumps of a scan that finds no connection, and need not ask which are bound. */
static int64_t
measure_single_drain(struct contestant *self)
{
	const struct request requests[] = {
		make_request(TCPDIAG_GETSOCK, AF_UNSPEC, BOUND_ANYHOW, 1),
		make_request(SOCK_DIAG_BY_FAMILY, AF_INET, BOUND_ANYHOW, 2),
		make_request(SOCK_DIAG_BY_FAMILY, AF_INET6, BOUND_ANYHOW, 3),
	};

	(void)self;
	return drain_all(requests, sizeof(requests) / sizeof(requests[0]));
}

/* KiB that a process has resident now, counted page by page; -1 when that is not told. */
static int64_t
read_resident(pid_t pid)
{
	char path[64];
	const char *line;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	if (access(path, R_OK) < 0)
		return -1;
	read_file(path);
	line = strstr(data, "\nRss:");
	return line ? strtoll(line + 5, NULL, 10) : -1;
}

static pid_t
start_on_socket(struct contestant *self, int socket)
{
	pid_t pid = fork();

	if (pid == 0) {
		dup2(socket, STDIN_FILENO);
		dup2(socket, STDOUT_FILENO);
		execvp(self->words[0], self->words);
		_exit(127);
	}
	return pid;
}

/*
 * The peak memory of a process that answers one request on a socket, as under inetd. It
 * gives nothing back before its end and stays until its client has closed, so what is
 * resident when it has answered is the peak. ru_maxrss comes from counters that each
 * processor keeps to itself for up to 32 pages, and is not below what the child had
 * before it executed the program; so it is printed too, as "NAME.maxrss", and is not the
 * value. The child is forked and not spawned: else it had all of its parent's memory.
 */
static int64_t
measure_memory(struct contestant *self)
{
	struct rusage usage;
	int pair[2];
	int64_t resident;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		err(1, "socketpair");
	pid = start_on_socket(self, pair[1]);
	close(pair[1]);
	ask(pair[0]);
	read_answer(pair[0]);
	if (strncmp(data, "HTTP/1.1 200 ", 13) != 0)
		errx(1, "%s: answered: %.40s", self->name, data);
	resident = read_resident(pid);
	close(pair[0]);
	finish(self, pid, &usage);
	printf("%s.maxrss 0 %ld\n", self->name, usage.ru_maxrss);
	return resident >= 0 ? resident : usage.ru_maxrss;
}

static const struct {
	const char *name;
	int64_t (*measure)(struct contestant *self);
} kinds[] = {
	{ "scan", measure_scan },
	{ "process", measure_process },
	{ "http", measure_http },
	{ "read", measure_read },
	{ "drain", measure_drain },
	{ "single-drain", measure_single_drain },
	{ "memory", measure_memory },
};

static size_t
find_kind(const char *name)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return i;
	}
	errx(2, "%s: no such kind", name);
}

static bool
is_end(const char *word)
{
	return strcmp(word, "--") == 0 || strcmp(word, "==") == 0;
}

/* Takes the list apart, in place, and returns how many there are. */
static size_t
take_contestants(char *words[], struct contestant contestants[static CONTESTANTS_MAX])
{
	size_t count = 0;
	int group = 0;

	while (words[0] && words[1] && count < CONTESTANTS_MAX) {
		contestants[count++] = (struct contestant){
			.name = words[0],
			.measure = kinds[find_kind(words[1])].measure,
			.words = words + 2,
			.group = group,
		};
		for (words += 2; *words && !is_end(*words); words++)
			;
		if (!*words)
			return count;
		group += **words == '=';
		*words++ = NULL;
	}
	errx(2, "too many contestants, or one of no kind");
}

static long
count_time_wait(void)
{
	const char *tw;

	read_file("/proc/self/net/sockstat");
	tw = strstr(data, " tw ");
	return tw ? strtol(tw + 4, NULL, 10) : -1;
}

struct time_wait {
	long wanted;
	char *command;
	int64_t made_ns;
};

/* Make them anew when they would not last for a round that takes so long. */
static void
keep_time_wait(struct time_wait *tw, int64_t round_ns)
{
	int64_t end_ns = tw->made_ns + TIME_WAIT_S * INT64_C(1000000000);

	if (!tw->command || (tw->made_ns > 0 && now_ns() + round_ns * 3 / 2 < end_ns &&
				    count_time_wait() >= tw->wanted * 99 / 100))
		return;
	tw->made_ns = now_ns();
	if (system(tw->command) != 0)
		errx(1, "%s: failed", tw->command);
}

static int
compare(const void *a, const void *b)
{
	const struct contestant *x = a, *y = b;

	if (x->group_key != y->group_key)
		return x->group_key < y->group_key ? -1 : 1;
	return (x->key > y->key) - (x->key < y->key);
}

/* Another order for each round, the same ones in each run: nobody always follows one. */
static void
shuffle(struct contestant contestants[], size_t count)
{
	int group_keys[CONTESTANTS_MAX];

	for (size_t i = 0; i < CONTESTANTS_MAX; i++)
		group_keys[i] = rand();
	for (size_t i = 0; i < count; i++) {
		contestants[i].group_key = group_keys[contestants[i].group];
		contestants[i].key = rand();
	}
	qsort(contestants, count, sizeof(contestants[0]), compare);
}

static void
run_round(int round, struct contestant contestants[], size_t count)
{
	shuffle(contestants, count);
	for (size_t i = 0; i < count; i++) {
		int64_t value = contestants[i].measure(&contestants[i]);

		if (round > 0)
			printf("%s %d.%d %" PRId64 "\n", contestants[i].name, round,
				contestants[i].group, value);
	}
	fflush(stdout);
}

int
main(int argc, char *argv[])
{
	static struct contestant contestants[CONTESTANTS_MAX];
	struct time_wait tw = { 0 };
	int64_t start_ns, round_ns = 0;
	int option, rounds;
	size_t count;

	while ((option = getopt(argc, argv, "+t:c:")) != -1) {
		if (option == 't')
			tw.wanted = atol(optarg);
		else
			tw.command = optarg;
	}
	if (argc - optind < 3)
		errx(2, "usage: measure [-t COUNT -c COMMAND] ROUNDS CONTESTANTS...");
	rounds = atoi(argv[optind]);
	count = take_contestants(argv + optind + 1, contestants);
	for (int round = 0; round <= rounds; round++) {
		keep_time_wait(&tw, round_ns);
		printf("tw %d %ld\n", round, count_time_wait());
		start_ns = now_ns();
		run_round(round, contestants, count);
		round_ns = now_ns() - start_ns;
		printf("tw %d %ld\n", round, count_time_wait());
	}
	return 0;
}
