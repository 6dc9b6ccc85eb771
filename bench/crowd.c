/* SPDX-License-Identifier: MIT */
/*
 * A crowd of TCP sockets on loopback, for measuring. Run it only in a network namespace
 * of its own.
 *
 *   crowd established COUNT FIRST LAST   says "ready", keeps them until it is ended
 *   crowd time-wait COUNT FIRST LAST     ends when they are there; made again within
 *                                        their 60 seconds, they start anew
 *
 * COUNT is the number of connections, which is the number of sockets with a local port in
 * FIRST..LAST. The other ends have ports below that range.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	/* Each worker listens on a port of its own: so many destinations at least. */
	WORKERS_MIN = 4,
	WORKERS_MAX = 1000,
	LISTEN_FIRST = 2000,
	/* Standard input and output, the listening socket, and some to spare. */
	DESCRIPTORS_SPARE = 32,
	/* More would need more than 20,000 descriptors: a connection has two ends. */
	CONNECTIONS_MAX = 9000,
};

struct crowd {
	bool time_wait;
	unsigned long count;
	unsigned long first; /* local ports of the connecting ends */
	unsigned long last;
};

static struct sockaddr_in
loopback(unsigned long port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/*
 * SO_REUSEADDR on every one: they share local ports, as connections to different
 * destinations do.
 */
static int
open_bound(unsigned long port)
{
	const struct sockaddr_in address = loopback(port);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		err(1, "bind port %lu", port);
	return fd;
}

/*
 * A client's end, which connect() is to give this port: it looks for one in a range that
 * has no other, so the socket is like those of most programs. Before Linux 6.3, which has
 * no such option, it is bound by number.
 */
static int
open_client(unsigned long port)
{
	enum {
		LOCAL_PORT_RANGE = 51, /* IP_LOCAL_PORT_RANGE, of new headers */
	};
	const uint32_t range = (uint32_t)(port << 16 | port);
	const struct sockaddr_in host = loopback(0);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		err(1, "socket");
	if (setsockopt(fd, IPPROTO_IP, LOCAL_PORT_RANGE, &range, sizeof(range)) < 0 ||
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) <
			0 ||
		bind(fd, (const struct sockaddr *)&host, sizeof(host)) < 0) {
		close(fd);
		return open_bound(port);
	}
	return fd;
}

/*
 * The client closes first, so TIME_WAIT stays with it; and the server must have seen that
 * before it closes.
 */
static void
close_both(int client, int server)
{
	char byte;

	close(client);
	if (read(server, &byte, 1) != 0)
		errx(1, "the client did not close");
	close(server);
}

static void
make_connection(const struct crowd *crowd, int listener, unsigned long from)
{
	struct sockaddr_in to;
	socklen_t len = sizeof(to);
	int client = open_client(from), server;

	getsockname(listener, (struct sockaddr *)&to, &len);
	if (connect(client, (const struct sockaddr *)&to, len) < 0) {
		/* A TIME_WAIT of this very second, which cannot be made anew yet. */
		if (crowd->time_wait && errno == EADDRNOTAVAIL) {
			close(client);
			return;
		}
		err(1, "connect");
	}
	server = accept(listener, NULL, NULL);
	if (server < 0)
		err(1, "accept");
	if (crowd->time_wait)
		close_both(client, server);
}

/* Connections begin..end of the crowd, all to one destination. */
static void
make_part(const struct crowd *crowd, int worker, unsigned long begin, unsigned long end)
{
	int listener = open_bound(LISTEN_FIRST + (unsigned long)worker);

	if (listen(listener, 16) < 0)
		err(1, "listen");
	for (unsigned long i = begin; i < end; i++)
		make_connection(crowd, listener,
			crowd->first + i % (crowd->last - crowd->first + 1));
}

/* What a worker can hold: the hard limit of descriptors may be out of our hands. */
static unsigned long
connections_per_worker(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		err(1, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur / 2 > CONNECTIONS_MAX + DESCRIPTORS_SPARE)
		return CONNECTIONS_MAX;
	return (limit.rlim_cur - DESCRIPTORS_SPARE) / 2;
}

/* Each worker writes a byte when its part is there, and stays as long as the parent. */
static void
start_worker(const struct crowd *crowd, int worker, int workers, int done)
{
	unsigned long w = (unsigned long)worker, n = (unsigned long)workers;
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	make_part(crowd, worker, crowd->count * w / n, crowd->count * (w + 1) / n);
	if (write(done, "x", 1) != 1)
		err(1, "write");
	if (!crowd->time_wait)
		pause();
	_exit(0);
}

/* Connections are kept by everyone or by no one. */
static void
end_at_once(int signal_number)
{
	(void)signal_number;
	_exit(1);
}

/* Returns when every part is there, or a worker has failed. */
static bool
make_crowd(const struct crowd *crowd)
{
	unsigned long each = connections_per_worker();
	unsigned long workers = (crowd->count + each - 1) / each;
	unsigned long ready = 0;
	int done[2];
	char byte;

	if (workers < WORKERS_MIN)
		workers = WORKERS_MIN;
	if (workers > WORKERS_MAX)
		errx(1, "too few descriptors for %lu connections", crowd->count);
	if (pipe(done) < 0)
		err(1, "pipe");
	if (!crowd->time_wait)
		signal(SIGCHLD, end_at_once);
	for (unsigned long i = 0; i < workers; i++)
		start_worker(crowd, (int)i, (int)workers, done[1]);
	close(done[1]);
	while (ready < workers && read(done[0], &byte, 1) == 1)
		ready++;
	return ready == workers;
}

static unsigned long
number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text == '\0' || *end != '\0')
		errx(2, "not a number: %s", text);
	return value;
}

int
main(int argc, char *argv[])
{
	struct crowd crowd;

	if (argc != 5)
		errx(2, "usage: crowd established|time-wait COUNT FIRST LAST");
	crowd = (struct crowd){
		.time_wait = strcmp(argv[1], "time-wait") == 0,
		.count = number(argv[2]),
		.first = number(argv[3]),
		.last = number(argv[4]),
	};
	if (!make_crowd(&crowd))
		return 1;
	if (crowd.time_wait) {
		while (wait(NULL) > 0)
			;
		return 0;
	}
	puts("ready");
	fflush(stdout);
	pause();
	return 0;
}
