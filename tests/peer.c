/* SPDX-License-Identifier: MIT */
/*
 * The other side, for the tests: sockets of every kind to be counted, clients of every
 * kind to be served. Everything goes to addresses that the test names, inside a network
 * namespace of its own.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	CLIENTS_MAX = 16384,
	SAMPLES_MAX = 4096,
};

struct address {
	struct sockaddr_storage storage;
	socklen_t len;
	char device[IFNAMSIZ]; /* that sockets are bound to, or empty */
};

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static void
sleep_until(int64_t us)
{
	int64_t left = us - now_us();
	struct timespec time = { left / 1000000, left % 1000000 * 1000 };

	if (left > 0)
		nanosleep(&time, NULL);
}

static long
number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0')
		errx(2, "not a number: %s", text);
	return value;
}

/* An address without the device behind it, "fe80::1%eth0", which is stored in a. */
static const char *
take_device(const char *host, struct address *a)
{
	static char name[108];
	char *device;

	snprintf(name, sizeof(name), "%s", host);
	device = strchr(name, '%');
	if (!device)
		return name;
	*device = '\0';
	snprintf(a->device, sizeof(a->device), "%s", device + 1);
	return name;
}

/*
 * An IPv4 or IPv6 address, with a device or without, or a UNIX socket: its path, or '@'
 * and its abstract name.
 */
static struct address
address(const char *text, const char *port)
{
	struct address a = { .len = sizeof(struct sockaddr_in) };
	const char *host = take_device(text, &a);
	struct sockaddr_in *sin = (struct sockaddr_in *)&a.storage;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&a.storage;
	struct sockaddr_un *sun = (struct sockaddr_un *)&a.storage;

	if (host[0] == '/') {
		sun->sun_family = AF_UNIX;
		snprintf(sun->sun_path, sizeof(sun->sun_path), "%s", host);
		a.len = sizeof(*sun);
	} else if (host[0] == '@') {
		sun->sun_family = AF_UNIX;
		memcpy(sun->sun_path + 1, host + 1, strnlen(host + 1, 100));
		a.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				    strlen(host));
	} else if (inet_pton(AF_INET, host, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons((uint16_t)number(port));
	} else if (inet_pton(AF_INET6, host, &sin6->sin6_addr) == 1) {
		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons((uint16_t)number(port));
		sin6->sin6_scope_id = if_nametoindex(a.device);
		a.len = sizeof(*sin6);
	} else {
		errx(2, "not an address: %s", host);
	}
	return a;
}

static int
open_socket(const struct address *a, int type)
{
	const int on = 1;
	int fd = socket(a->storage.ss_family, type | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (a->device[0] && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, a->device,
				    (socklen_t)strlen(a->device)) < 0)
		err(1, "bind to device %s", a->device);
	return fd;
}

static void
bind_to(int fd, const struct address *a)
{
	if (bind(fd, (const struct sockaddr *)&a->storage, a->len) < 0)
		err(1, "bind");
}

/*
 * Bind to an address that the kernel is to find a port for when it connects, as it does
 * for a socket that is not bound: bind() by itself would hold a port that no other
 * connect() may share.
 */
static void
bind_to_host(int fd, const struct address *a)
{
	const int on = 1;

	if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0)
		err(1, "IP_BIND_ADDRESS_NO_PORT");
	bind_to(fd, a);
}

static void
connect_to(int fd, const struct address *a)
{
	if (connect(fd, (const struct sockaddr *)&a->storage, a->len) < 0)
		err(1, "connect");
}

/* Write the local port range of this network namespace; returns what it was. */
static void
exchange_range(const char *range, char *ret_before, size_t size)
{
	int fd = open("/proc/sys/net/ipv4/ip_local_port_range", O_RDWR | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0 && ret_before)
		n = pread(fd, ret_before, size - 1, 0);
	if (n >= 0)
		ret_before[n] = '\0';
	if (fd < 0 || (ret_before && n < 0) || pwrite(fd, range, strlen(range), 0) < 0)
		err(1, "ip_local_port_range");
	close(fd);
}

/*
 * Connect from FROM-HOST FROM-PORT. With port 0 the kernel finds one; with ~PORT it finds
 * that one, the only one of the range meanwhile; without the tilde the socket is bound to
 * it by number, or to any one before it connects. Returns what connect() does.
 */
static int
connect_from(int fd, char *words[], const struct address *to)
{
	bool found = words[1][0] == '~';
	bool any = strcmp(words[1], "any") == 0;
	struct address from = address(words[0], found || any ? "0" : words[1]);
	char range[32], before[32];
	int r, error;

	if (strcmp(words[1], "0") == 0 || found)
		bind_to_host(fd, &from);
	else
		bind_to(fd, &from);
	if (found) {
		snprintf(range, sizeof(range), "%s %s", words[1] + 1, words[1] + 1);
		exchange_range(range, before, sizeof(before));
	}
	r = connect(fd, (const struct sockaddr *)&to->storage, to->len);
	error = errno;
	if (found)
		exchange_range(before, NULL, 0);
	errno = error;
	return r;
}

/* --- hold: make sockets and keep them
 * ------------------------------------------------------------- */

/* The listening socket that the last `listen` made: connections are accepted there. */
static int listener = -1;
static int last_client = -1, last_server = -1;

static void
make_listener(char *word[])
{
	struct address a = address(word[1], word[2]);

	listener = open_socket(&a, SOCK_STREAM);
	bind_to(listener, &a);
	if (listen(listener, 4096) < 0)
		err(1, "listen");
}

/* listen-shared HOST PORT: one of several that listen on the same port. */
static void
make_shared_listener(char *word[])
{
	const int on = 1;
	struct address a = address(word[1], word[2]);
	int fd = open_socket(&a, SOCK_STREAM);

	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	bind_to(fd, &a);
	if (listen(fd, 4096) < 0)
		err(1, "listen");
}

/*
 * dial HOST PORT [FROM-HOST FROM-PORT]: nobody accepts, the backlog does, so let no
 * `connect` follow: it would accept this one. For FROM-PORT see connect_from().
 */
static void
make_client(char *word[])
{
	struct address to = address(word[1], word[2]);

	last_client = open_socket(&to, SOCK_STREAM);
	if (!word[3])
		connect_to(last_client, &to);
	else if (connect_from(last_client, word + 3, &to) < 0)
		err(1, "connect");
}

/* dial-bound HOST PORT FROM-HOST: bind() to port 0, and then connect. */
static void
make_bound_client(char *word[])
{
	struct address to = address(word[1], word[2]), from = address(word[3], "0");

	last_client = open_socket(&to, SOCK_STREAM);
	bind_to(last_client, &from);
	connect_to(last_client, &to);
}

/* connect HOST PORT [FROM-HOST FROM-PORT] */
static void
make_connection(char *word[])
{
	make_client(word);
	last_server = accept(listener, NULL, NULL);
	if (last_server < 0)
		err(1, "accept");
}

/* Wait until the peer's FIN is there, so that the next close finds the state it is to
 * find. */
static void
wait_for_end(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 0)
		errx(1, "the peer did not close");
}

/* The client closes first: TIME_WAIT stays with it. */
static void
make_time_wait(char *word[])
{
	make_connection(word);
	close(last_client);
	wait_for_end(last_server);
	close(last_server);
}

/*
 * time-wait-each COUNT HOST PORT: towards that many IPv4 addresses, from HOST upwards.
 * The kernel finds the ports.
 */
static void
make_time_waits(char *word[])
{
	char host[INET_ADDRSTRLEN], *line[] = { word[0], host, word[3], NULL };
	struct address first = address(word[2], word[3]);
	struct in_addr at = ((struct sockaddr_in *)&first.storage)->sin_addr;

	for (long i = 0; i < number(word[1]); i++) {
		inet_ntop(AF_INET, &at, host, sizeof(host));
		make_time_wait(line);
		at.s_addr = htonl(ntohl(at.s_addr) + 1);
	}
}

/*
 * The client closes and the server does not: FIN_WAIT2 at the client, which soon keeps it
 * as a small socket, the way it keeps TIME_WAIT. CLOSE_WAIT at the server.
 */
static void
make_fin_wait2(char *word[])
{
	make_connection(word);
	close(last_client);
	wait_for_end(last_server);
}

/*
 * Send to a server that does not read until nothing more fits: what is sent now, a FIN
 * too, stays in the queue. The server's share is the smaller one by far, so part of the
 * client's is never sent.
 */
static void
fill_queue(void)
{
	static const char data[65536];
	const int small = 1, large = 1 << 20;

	setsockopt(last_server, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	setsockopt(last_client, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large));
	while (send(last_client, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	if (errno != EAGAIN)
		err(1, "send");
}

static void
make_fin_wait1(char *word[])
{
	make_connection(word);
	fill_queue();
	shutdown(last_client, SHUT_WR);
}

/* Both have closed, and the server has not seen it of the client. */
static void
make_closing(char *word[])
{
	make_fin_wait1(word);
	shutdown(last_server, SHUT_WR);
	wait_for_end(last_client);
}

/* The same, but the server closed first. */
static void
make_last_ack(char *word[])
{
	make_connection(word);
	fill_queue();
	shutdown(last_server, SHUT_WR);
	wait_for_end(last_client);
	shutdown(last_client, SHUT_WR);
}

/* The server resets: the client's socket has no connection any more, but it is open. */
static void
make_reset(char *word[])
{
	const struct linger linger = { 1, 0 };
	char byte;

	make_connection(word);
	setsockopt(last_server, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(last_server);
	if (read(last_client, &byte, 1) >= 0 || errno != ECONNRESET)
		errx(1, "the peer did not reset");
}

/* The server closes first: CLOSE_WAIT at the client, FIN_WAIT2 at the server. */
static void
make_close_wait(char *word[])
{
	make_connection(word);
	shutdown(last_server, SHUT_WR);
	wait_for_end(last_client);
}

/*
 * syn-sent HOST PORT FROM-HOST FROM-PORT: the accept queue of a listening socket with
 * backlog 0 is full after one connection, made from port 7000, so the next SYN is
 * dropped. IPv4 only.
 */
static void
make_syn_sent(char *word[])
{
	struct address to = address(word[1], word[2]), other = address(word[3], "7000");
	int queue = open_socket(&to, SOCK_STREAM), filler = open_socket(&to, SOCK_STREAM);
	int fd = open_socket(&to, SOCK_STREAM | SOCK_NONBLOCK);

	bind_to(queue, &to);
	if (listen(queue, 0) < 0)
		err(1, "listen");
	bind_to(filler, &other);
	connect_to(filler, &to);
	if (connect_from(fd, word + 3, &to) == 0 || errno != EINPROGRESS)
		errx(1, "connect was answered");
}

/* A packet of TCP without options, as a TUN device carries it. */
struct packet {
	struct iphdr ip;
	struct tcphdr tcp;
};

static uint32_t
add_words(uint32_t sum, const void *data, size_t len)
{
	uint16_t word;

	for (size_t at = 0; at < len; at += sizeof(word)) {
		memcpy(&word, (const char *)data + at, sizeof(word));
		sum += word;
	}
	return sum;
}

static uint16_t
finish_checksum(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t) ~(sum + (sum >> 16));
}

/* A SYN without ACK against a SYN, as from a peer that connects at the same time. */
static struct packet
cross_syn(const struct packet *syn)
{
	struct packet answer = {
		.ip = { .version = 4,
			.ihl = 5,
			.ttl = 64,
			.protocol = IPPROTO_TCP,
			.tot_len = htons(sizeof(answer)),
			.saddr = syn->ip.daddr,
			.daddr = syn->ip.saddr },
		.tcp = { .source = syn->tcp.dest,
			.dest = syn->tcp.source,
			.syn = 1,
			.doff = sizeof(struct tcphdr) / 4,
			.window = htons(1024) },
	};
	uint32_t sum = htons(IPPROTO_TCP) + htons(sizeof(answer.tcp));

	sum = add_words(sum, &answer.ip.saddr, 2 * sizeof(answer.ip.saddr));
	answer.tcp.check =
		finish_checksum(add_words(sum, &answer.tcp, sizeof(answer.tcp)));
	answer.ip.check = finish_checksum(add_words(0, &answer.ip, sizeof(answer.ip)));
	return answer;
}

/*
 * crossed-open DEVICE HOST PORT: connect through a TUN device whose other end connects at
 * the same time and says nothing more: SYN_RECV without a listening socket. IPv4 only.
 */
static void
make_crossed_open(char *word[])
{
	static int device = -1;
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
	struct address to = address(word[2], word[3]);
	int fd = open_socket(&to, SOCK_STREAM | SOCK_NONBLOCK);
	struct packet answer;
	char data[2048];
	struct packet *syn = (struct packet *)data;

	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", word[1]);
	if (device < 0)
		device = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	/* A descriptor that has its device already says EBADFD or EINVAL. */
	ioctl(device, TUNSETIFF, &request);
	if (connect(fd, (const struct sockaddr *)&to.storage, to.len) == 0 ||
		errno != EINPROGRESS)
		err(1, "connect");
	do {
		if (read(device, data, sizeof(data)) < 0)
			err(1, "read %s", word[1]);
	} while (syn->ip.version != 4 || syn->ip.protocol != IPPROTO_TCP ||
		 !syn->tcp.syn || syn->tcp.ack);
	answer = cross_syn(syn);
	if (write(device, &answer, sizeof(answer)) < 0)
		err(1, "write %s", word[1]);
}

/*
 * syn-recv HOST PORT FROM-HOST FROM-PORT: a server that waits for data before it takes a
 * connection for one stays in SYN_RECV; its port is that of its listening socket.
 */
static void
make_syn_recv(char *word[])
{
	struct address to = address(word[1], word[2]), from = address(word[3], word[4]);
	int queue = open_socket(&to, SOCK_STREAM), fd = open_socket(&to, SOCK_STREAM);
	const int seconds = 600;

	if (setsockopt(queue, IPPROTO_TCP, TCP_DEFER_ACCEPT, &seconds, sizeof(seconds)) <
		0)
		err(1, "TCP_DEFER_ACCEPT");
	bind_to(queue, &to);
	if (listen(queue, 4096) < 0)
		err(1, "listen");
	bind_to(fd, &from);
	connect_to(fd, &to);
}

/*
 * accepted-alone HOST PORT FROM-HOST FROM-PORT: a connection whose listening socket is
 * closed.
 */
static void
make_accepted(char *word[])
{
	struct address to = address(word[1], word[2]), from = address(word[3], word[4]);
	int queue = open_socket(&to, SOCK_STREAM), fd = open_socket(&to, SOCK_STREAM);

	bind_to(queue, &to);
	if (listen(queue, 1) < 0)
		err(1, "listen");
	bind_to(fd, &from);
	connect_to(fd, &to);
	if (accept(queue, NULL, NULL) < 0)
		err(1, "accept");
	close(queue);
}

static void
make_bound(char *word[], int type)
{
	struct address a = address(word[1], word[2]);

	bind_to(open_socket(&a, type), &a);
}

static void
make_bound_tcp(char *word[])
{
	make_bound(word, SOCK_STREAM);
}

static void
make_bound_udp(char *word[])
{
	make_bound(word, SOCK_DGRAM);
}

static void
make_connected_udp(char *word[])
{
	struct address to = address(word[1], word[2]);
	int fd = open_socket(&to, SOCK_DGRAM);

	if (word[3]) {
		struct address from = address(word[3], word[4]);

		bind_to(fd, &from);
	}
	connect_to(fd, &to);
}

static const struct {
	const char *name;
	void (*make)(char *word[]);
} makers[] = {
	{ "listen", make_listener },
	{ "listen-shared", make_shared_listener },
	{ "dial", make_client },
	{ "dial-bound", make_bound_client },
	{ "connect", make_connection },
	{ "reset", make_reset },
	{ "time-wait", make_time_wait },
	{ "time-wait-each", make_time_waits },
	{ "close-wait", make_close_wait },
	{ "fin-wait1", make_fin_wait1 },
	{ "fin-wait2", make_fin_wait2 },
	{ "closing", make_closing },
	{ "last-ack", make_last_ack },
	{ "syn-sent", make_syn_sent },
	{ "syn-recv", make_syn_recv },
	{ "crossed-open", make_crossed_open },
	{ "accepted-alone", make_accepted },
	{ "bind-tcp", make_bound_tcp },
	{ "bind-udp", make_bound_udp },
	{ "connect-udp", make_connected_udp },
};

static void
make(const char *line)
{
	char text[256], *save = NULL, *word[8] = { 0 };

	snprintf(text, sizeof(text), "%s", line);
	word[0] = strtok_r(text, " ", &save);
	for (int i = 1; i < 7; i++)
		word[i] = word[i - 1] ? strtok_r(NULL, " ", &save) : NULL;
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		if (word[0] && strcmp(word[0], makers[i].name) == 0) {
			makers[i].make(word);
			return;
		}
	}
	errx(2, "no such socket: %s", line);
}

/* hold "N x LINE"... : say "ready" when all are made, then stay until told to end. */
static int
hold(char *argv[])
{
	for (; *argv; argv++) {
		char *line = *argv, *times;
		long count = strtol(line, &times, 10);

		if (times == line || strncmp(times, " x ", 3) != 0) {
			make(line);
			continue;
		}
		for (long i = 0; i < count; i++)
			make(times + 3);
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}

/*
 * --- try, fill, churn: what the kernel says to connect(); all end with a reset, so that
 * nothing stays
 * -------------------------
 */

/*
 * Returns 0 or an errno; the connection, if any, is *ret_fd. The type is SOCK_STREAM, or
 * has SOCK_NONBLOCK as well where nothing answers.
 */
static int
try_connect(char *argv[], int type, int *ret_fd)
{
	const struct linger linger = { 1, 0 };
	struct address to = address(argv[0], argv[1]);
	int fd = open_socket(&to, type);

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	if (argv[2]) {
		struct address from = address(argv[2], "0");

		bind_to_host(fd, &from);
	}
	if (connect(fd, (const struct sockaddr *)&to.storage, to.len) < 0 &&
		errno != EINPROGRESS) {
		int error = errno;

		close(fd);
		return error;
	}
	*ret_fd = fd;
	return 0;
}

/* try HOST PORT [FROM-HOST]: prints "connected", or the name of the errno. */
static int
try(char *argv[])
{
	int fd, error = try_connect(argv, SOCK_STREAM, &fd);

	puts(error ? strerrorname_np(error) : "connected");
	return 0;
}

/* try-bind HOST: bind() to port 0; prints "bound", or the name of the errno. */
static int
try_bind(char *argv[])
{
	struct address a = address(argv[0], "0");
	int fd = open_socket(&a, SOCK_STREAM);
	int r = bind(fd, (const struct sockaddr *)&a.storage, a.len);

	puts(r < 0 ? strerrorname_np(errno) : "bound");
	return 0;
}

/*
 * try-udp HOST PORT: connect() a UDP socket without a port; prints as `try` does. It is
 * one without SO_REUSEADDR, which shares ports.
 */
static int
try_udp(char *argv[])
{
	struct address to = address(argv[0], argv[1]);
	int fd = socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int r = connect(fd, (const struct sockaddr *)&to.storage, to.len);

	puts(r < 0 ? strerrorname_np(errno) : "connected");
	return 0;
}

/*
 * fill HOST PORT [FROM-HOST]: connect until it fails; prints "N ERRNO". Nobody needs to
 * accept: the backlog does.
 */
static int
fill_by(char *argv[], int type)
{
	int fd, error;
	long count = 0;

	while ((error = try_connect(argv, type, &fd)) == 0)
		count++;
	printf("%ld %s\n", count, strerrorname_np(error));
	return 0;
}

static int
fill(char *argv[])
{
	return fill_by(argv, SOCK_STREAM);
}

/* fill-unanswered HOST PORT [FROM-HOST]: the same without waiting for an answer. */
static int
fill_unanswered(char *argv[])
{
	return fill_by(argv, SOCK_STREAM | SOCK_NONBLOCK);
}

/* churn HOST PORT: listen there, and connect and reset without end; says "ready". */
static int
churn(char *argv[])
{
	const struct linger linger = { 1, 0 };
	char *line[] = { "churn", argv[0], argv[1], NULL, NULL };

	make_listener(line);
	puts("ready");
	fflush(stdout);
	for (;;) {
		make_connection(line);
		setsockopt(last_client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		close(last_client);
		if (close(last_server) < 0)
			return 1;
	}
}

/*
 * --- talk HOST PORT [piece=N] [pause-ms=N] [half-close] [reset] [whole]: standard input
 * to it, its answer to standard output; how it ended ("closed", "ECONNRESET", "whole") to
 * standard error
 * -------------------------
 */

struct manner {
	size_t piece;       /* bytes for each send; 0 for all at once */
	long pause_ms;      /* between them */
	bool half_close;    /* after the last one */
	bool reset;         /* do not wait for the answer */
	bool whole;         /* close when the answer is whole, as most clients do */
	long read_after_ms; /* with a receive buffer of the smallest size */
};

static struct manner
manner(char *argv[])
{
	struct manner m = { 0 };

	for (; *argv; argv++) {
		if (strncmp(*argv, "piece=", 6) == 0)
			m.piece = (size_t)number(*argv + 6);
		else if (strncmp(*argv, "pause-ms=", 9) == 0)
			m.pause_ms = number(*argv + 9);
		else if (strncmp(*argv, "read-after-ms=", 14) == 0)
			m.read_after_ms = number(*argv + 14);
		else if (strcmp(*argv, "half-close") == 0)
			m.half_close = true;
		else if (strcmp(*argv, "reset") == 0)
			m.reset = true;
		else if (strcmp(*argv, "whole") == 0)
			m.whole = true;
		else
			errx(2, "no such manner: %s", *argv);
	}
	return m;
}

static size_t
read_all(int fd, char *buf, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len < size && (n = read(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
	return len;
}

static void
send_in_pieces(int fd, const char *data, size_t len, const struct manner *m)
{
	size_t piece = m->piece ? m->piece : len;

	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		/* The server may have seen enough already. */
		if (send(fd, data + at, n, MSG_NOSIGNAL) < 0)
			return;
		if (at + n < len)
			sleep_until(now_us() + m->pause_ms * 1000);
	}
}

/* Is all there that Content-Length promised? The answer ends with a NUL. */
static bool
is_whole(const char *answer, size_t len)
{
	const char *length = strstr(answer, "Content-Length: ");
	const char *content = strstr(answer, "\r\n\r\n");

	return length && content &&
	       len >= (size_t)(content + 4 - answer) + strtoul(length + 16, NULL, 10);
}

/* The answer to standard output. Returns how it ended. */
static const char *
read_answer(int fd, bool until_whole)
{
	static char answer[1 << 20];
	size_t len = 0;
	ssize_t n;

	while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0) {
		fwrite(answer + len, 1, (size_t)n, stdout);
		len += (size_t)n;
		if (until_whole && is_whole(answer, len))
			return "whole";
	}
	return n == 0 ? "closed" : strerrorname_np(errno);
}

static int
talk(char *argv[])
{
	static char data[1 << 20];
	const struct linger linger = { 1, 0 };
	struct address to = address(argv[0], argv[1]);
	struct manner m = manner(argv + 2);
	size_t len = read_all(STDIN_FILENO, data, sizeof(data));
	int fd = open_socket(&to, SOCK_STREAM);
	const int on = 1;

	/* Each piece is to travel alone. Void, and harmless, on a UNIX socket. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (m.read_after_ms > 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof(on));
	connect_to(fd, &to);
	send_in_pieces(fd, data, len, &m);
	if (m.reset) {
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
		return 0;
	}
	if (m.half_close)
		shutdown(fd, SHUT_WR);
	sleep_until(now_us() + m.read_after_ms * 1000);
	fprintf(stderr, "%s\n", read_answer(fd, m.whole));
	return 0;
}

/* --- feed: a client on a pipe that never ends
 * ------------------------------------------------------ */

/* Wait until the reader took everything. Returns false when there is no reader. */
static bool
wait_for_reader(int fd)
{
	struct pollfd end = { .fd = fd };
	int unread;

	for (;;) {
		poll(&end, 1, 0);
		if (end.revents & POLLERR || ioctl(fd, FIONREAD, &unread) < 0)
			return false;
		if (unread == 0)
			return true;
		sleep_until(now_us() + 50);
	}
}

static void
feed_in_pieces(int fd, const char *data, size_t len, size_t piece)
{
	for (size_t at = 0; at < len && wait_for_reader(fd); at += piece) {
		size_t n = len - at < piece ? len - at : piece;

		if (write(fd, data + at, n) < 0)
			return;
	}
}

/*
 * feed PIECE COMMAND...: standard input to that of the command, PIECE bytes (0: all) at a
 * time, each when those before have been read, and no end of file after the last one.
 */
static int
feed(char *argv[])
{
	static char data[1 << 20];
	size_t piece = (size_t)number(argv[0]);
	size_t len = read_all(STDIN_FILENO, data, sizeof(data));
	int pipes[2], status;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) < 0)
		err(1, "pipe");
	pid = fork();
	if (pid == 0) {
		dup2(pipes[0], STDIN_FILENO);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	close(pipes[0]);
	feed_in_pieces(pipes[1], data, len, piece ? piece : len);
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* --- scrape: honest clients at an even pace, their latencies
 * --------------------------------------- */

/* Returns the microseconds until a whole 200 was read, or -1. */
static int64_t
scrape_once(const struct address *to, int64_t timeout_us)
{
	static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
	struct timeval timeout = { timeout_us / 1000000, timeout_us % 1000000 };
	int64_t start = now_us();
	char data[65536];
	size_t len = 0;
	ssize_t n = -1;
	int fd = open_socket(to, SOCK_STREAM);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)&to->storage, to->len) == 0 &&
		send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0) {
		while ((n = read(fd, data + len, sizeof(data) - 1 - len)) > 0) {
			len += (size_t)n;
			data[len] = '\0';
			if (is_whole(data, len))
				break;
		}
	}
	close(fd);
	data[len] = '\0';
	return n > 0 && strncmp(data, "HTTP/1.1 200 ", 13) == 0 ? now_us() - start : -1;
}

static int
compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* scrape HOST PORT INTERVAL_MS COUNT: prints "answered N of COUNT, p50 MS, p99 MS, max
 * MS". */
static int
scrape(char *argv[])
{
	static int64_t samples[SAMPLES_MAX];
	struct address to = address(argv[0], argv[1]);
	long interval_ms = number(argv[2]), count = number(argv[3]);
	int64_t start = now_us();
	size_t answered = 0;

	for (long i = 0; i < count && i < SAMPLES_MAX; i++) {
		int64_t us;

		sleep_until(start + i * interval_ms * 1000);
		us = scrape_once(&to, 2000000);
		if (us >= 0)
			samples[answered++] = us;
	}
	qsort(samples, answered, sizeof(samples[0]), compare);
	printf("answered %zu of %ld, p50 %.1f, p99 %.1f, max %.1f\n", answered, count,
		answered ? (double)samples[answered / 2] / 1000 : -1.0,
		answered ? (double)samples[answered * 99 / 100] / 1000 : -1.0,
		answered ? (double)samples[answered - 1] / 1000 : -1.0);
	return 0;
}

/* --- flood: connections that never finish their head
 * ----------------------------------------------- */

static int
flood_client(const struct address *to, int epoll_fd, bool half_close)
{
	static const char head[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n";
	struct epoll_event event = { .events = EPOLLIN | EPOLLRDHUP };
	int fd = socket(
		to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	event.data.fd = fd;
	if (connect(fd, (const struct sockaddr *)&to->storage, to->len) < 0 &&
		errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	/* On loopback the connection stands when connect() returns. */
	send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL);
	if (half_close)
		shutdown(fd, SHUT_WR);
	epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
	return fd;
}

/* flood HOST PORT RATE SECONDS [half-close]: prints "opened N, failed M". */
static int
flood(char *argv[])
{
	struct address to = address(argv[0], argv[1]);
	long rate = number(argv[2]), seconds = number(argv[3]);
	struct epoll_event events[256];
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	int64_t start = now_us(), end = start + seconds * 1000000;
	bool half_close = argv[4] && strcmp(argv[4], "half-close") == 0;
	long opened = 0, failed = 0;

	while (now_us() < end) {
		int64_t due = (now_us() - start) * rate / 1000000;
		int n = epoll_wait(epoll_fd, events, 256, 1);

		for (int i = 0; i < n; i++)
			close(events[i].data.fd);
		while (opened + failed < due)
			*(flood_client(&to, epoll_fd, half_close) < 0 ? &failed
								      : &opened) += 1;
	}
	printf("opened %ld, failed %ld\n", opened, failed);
	return 0;
}

/* idle HOST PORT COUNT: connect, say nothing, stay until the server has closed each. */
static int
idle(char *argv[])
{
	static struct pollfd clients[CLIENTS_MAX];
	struct address to = address(argv[0], argv[1]);
	long count = number(argv[2]), reset = 0;
	char data[1024];

	for (long i = 0; i < count && i < CLIENTS_MAX; i++) {
		clients[i].fd = open_socket(&to, SOCK_STREAM);
		connect_to(clients[i].fd, &to);
	}
	for (long i = 0; i < count && i < CLIENTS_MAX; i++) {
		ssize_t n;

		while ((n = read(clients[i].fd, data, sizeof(data))) > 0)
			;
		reset += n < 0 && errno == ECONNRESET;
		close(clients[i].fd);
	}
	printf("reset %ld of %ld\n", reset, count);
	return 0;
}

/* unmount PID PATH: in the mount namespace of that process, which may lack a umount(8).
 */
static int
unmount(char *argv[])
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/ns/mnt", argv[0]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
		err(1, "enter %s", path);
	if (umount2(argv[1], MNT_DETACH) < 0)
		err(1, "unmount %s", argv[1]);
	return 0;
}

/* socketpair COMMAND...: run it with an unnamed socketpair as standard input. */
static int
run_on_socketpair(char *argv[])
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		err(1, "socketpair");
	dup2(pair[0], STDIN_FILENO);
	close(pair[0]);
	execvp(argv[0], argv);
	err(127, "%s", argv[0]);
}

/*
 * inetd PORT COMMAND...: accept one connection and run the command with it as descriptors
 * 0, 1 and 2, as inetd does; wait for it and print its status.
 */
static int
run_as_inetd(char *argv[])
{
	struct address a = address("127.0.0.1", argv[0]);
	int fd = open_socket(&a, SOCK_STREAM), client, status;
	pid_t pid;

	bind_to(fd, &a);
	if (listen(fd, 1) < 0)
		err(1, "listen");
	puts("ready");
	fflush(stdout);
	client = accept(fd, NULL, NULL);
	/* A client that resets at once has done so by now. */
	sleep_until(now_us() + 50000);
	pid = fork();
	if (pid == 0) {
		for (int i = 0; i < 3; i++)
			dup2(client, i);
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	close(client);
	if (waitpid(pid, &status, 0) < 0)
		err(1, "waitpid");
	printf("status %d\n",
		WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
	return 0;
}

/*
 * Make the listening socket wait, for ever, again and again until the parent is gone:
 * both its flag and its time-out.
 */
static _Noreturn void
keep_blocking(int fd, pid_t parent)
{
	const struct timeval for_ever = { 0 };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent) {
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &for_ever, sizeof(for_ever));
		sleep_until(now_us() + 200);
	}
	_exit(0);
}

/*
 * blocking PORT COMMAND...: run it with a listening socket as standard input whose other
 * holder keeps it blocking, and with SO_LINGER, which connections inherit.
 */
static int
run_blocking(char *argv[])
{
	const struct linger linger = { 1, 30 };
	struct address a = address("127.0.0.1", argv[0]);
	int fd = open_socket(&a, SOCK_STREAM);
	const pid_t parent = getpid();

	bind_to(fd, &a);
	if (listen(fd, 64) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)) < 0)
		err(1, "listen");
	if (fork() == 0)
		keep_blocking(fd, parent);
	dup2(fd, STDIN_FILENO);
	execvp(argv[1], argv + 1);
	err(127, "%s", argv[1]);
}

/*
 * receive PATH: bind a datagram socket there, as a service manager or a system log does,
 * and print each message as it comes, on a line of its own.
 */
static int
receive(char *argv[])
{
	struct address a = address(argv[0], "");
	int fd = open_socket(&a, SOCK_DGRAM);
	char message[4096];
	ssize_t n;

	bind_to(fd, &a);
	while ((n = recv(fd, message, sizeof(message), 0)) >= 0) {
		printf("%.*s\n", (int)n, message);
		fflush(stdout);
	}
	err(1, "recv");
}

/* deaf PATH: a UNIX datagram socket that is full and that nobody reads; says "ready". */
static int
be_deaf(char *argv[])
{
	struct address a = address(argv[0], "");
	int fd = open_socket(&a, SOCK_DGRAM),
	    sender = open_socket(&a, SOCK_DGRAM | SOCK_NONBLOCK);

	bind_to(fd, &a);
	connect_to(sender, &a);
	while (send(sender, "x", 1, 0) == 1)
		;
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}

static int
errno_of(const char *name)
{
	for (int error = 1; error < 4096; error++) {
		const char *known = strerrorname_np(error);

		if (known && strcmp(known, name) == 0)
			return error;
	}
	if (atoi(name) > 0)
		return atoi(name);
	errx(2, "not an errno: %s", name);
}

static void
filter_calls(struct sock_filter *code, size_t count)
{
	struct sock_fprog program = { (unsigned short)count, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		err(1, "seccomp");
}

/*
 * fail CALL ERRNO COMMAND...: run it where that call fails so. Not by strace, which puts
 * an invalid call in the place of one that is to fail: a confined process is killed for
 * it. Of two filters the one that does not allow wins.
 */
static int
fail_call(char *argv[])
{
	const bool sends = strcmp(argv[0], "sendto") == 0;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, sends ? SYS_sendto : SYS_recvfrom, 0,
			1),
		BPF_STMT(
			BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)errno_of(argv[1])),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	if (!sends && strcmp(argv[0], "recvfrom") != 0)
		errx(2, "not sendto or recvfrom: %s", argv[0]);
	filter_calls(code, sizeof(code) / sizeof(code[0]));
	execvp(argv[2], argv + 2);
	err(127, "%s", argv[2]);
}

/*
 * refuse ERRNO COMMAND...: run it where socket(AF_NETLINK, ...) fails with that, as in a
 * sandbox. The filter knows the system calls of this machine alone.
 */
static int
refuse_netlink(char *argv[])
{
	const uint32_t error = (uint32_t)errno_of(argv[0]);
	const bool big_endian = htons(1) == 1;
	/* The half of the first argument that holds the family. */
	const uint32_t family =
		offsetof(struct seccomp_data, args) + (big_endian ? 4 : 0);
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, family),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_NETLINK, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	filter_calls(code, sizeof(code) / sizeof(code[0]));
	/* With a filter that refuses nothing a test of refusals would test nothing. */
	if (socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG) >= 0 || errno != (int)error)
		errx(1, "netlink is not refused");
	execvp(argv[1], argv + 1);
	err(127, "%s", argv[1]);
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(char *argv[]);
} verbs[] = {
	{ "hold", 0, hold },
	{ "try", 2, try },
	{ "try-bind", 1, try_bind },
	{ "try-udp", 2, try_udp },
	{ "fill", 2, fill },
	{ "fill-unanswered", 2, fill_unanswered },
	{ "churn", 2, churn },
	{ "talk", 2, talk },
	{ "feed", 2, feed },
	{ "scrape", 4, scrape },
	{ "flood", 4, flood },
	{ "unmount", 2, unmount },
	{ "idle", 3, idle },
	{ "socketpair", 1, run_on_socketpair },
	{ "inetd", 2, run_as_inetd },
	{ "blocking", 2, run_blocking },
	{ "receive", 1, receive },
	{ "deaf", 1, be_deaf },
	{ "fail", 3, fail_call },
	{ "refuse", 2, refuse_netlink },
};

int
main(int argc, char *argv[])
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; argc > 1 && i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i].name) == 0 && argc - 2 >= verbs[i].arguments)
			return verbs[i].run(argv + 2);
	}
	errx(2, "usage: peer VERB ARGUMENT...");
}
