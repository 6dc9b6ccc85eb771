/* SPDX-License-Identifier: MIT */
/*
 * Many clients at once, for the tests that take long: crowds of honest ones, slow ones, a
 * neighbour, and requests that are broken in every way. Everything goes to an address
 * that the test names, inside a network namespace of its own, and ends by itself.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	SAMPLES_MAX = 1 << 23, /* 32 MiB of address space, touched as it is used */
	ANSWER_MAX = 1 << 16,
	EVENTS = 256,
};

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static long
number(const char *text)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0)
		errx(2, "not a number: %s", text);
	return value;
}

/* A number of things that a table here has room for. */
static long
number_up_to(const char *text, long max)
{
	long value = number(text);

	if (value < 1 || value > max)
		errx(2, "not from 1 to %ld: %s", max, text);
	return value;
}

static struct sockaddr_in
address(const char *host, const char *port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)number(port)),
	};

	if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
		errx(2, "not an IPv4 address: %s", host);
	return a;
}

/*
 * Returns the socket, or -1. Not blocking, it may still be on its way: on loopback it
 * stands when connect() returns, unless the backlog is full.
 */
static int
connect_to(const struct sockaddr_in *to, int flags)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	if (fd < 0)
		return -1;
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0 &&
		errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
watch(int epoll_fd, int operation, int fd, uint32_t events, size_t index)
{
	struct epoll_event event = { .events = events, .data.u64 = index };

	if (epoll_ctl(epoll_fd, operation, fd, &event) < 0)
		err(1, "epoll_ctl");
}

/* --- latencies */

static uint32_t samples[SAMPLES_MAX]; /* microseconds */
static size_t sample_count;

static void
add_sample(int64_t us)
{
	if (sample_count < SAMPLES_MAX)
		samples[sample_count++] = (uint32_t)us;
}

static int
compare_samples(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

/* Of sorted samples, in milliseconds; -1 when there is none. */
static double
sample_at(size_t hundredths)
{
	size_t i = sample_count * hundredths / 100;

	if (sample_count == 0)
		return -1;
	return (double)samples[i < sample_count ? i : sample_count - 1] / 1000;
}

static void
sort_samples(void)
{
	qsort(samples, sample_count, sizeof(samples[0]), compare_samples);
}

/* --- answers */

static const char request[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/* Is all there that Content-Length promised? The answer ends with a NUL. */
static bool
is_whole(const char *answer, size_t len)
{
	const char *content = strstr(answer, "\r\n\r\n");
	const char *length = strstr(answer, "\r\nContent-Length: ");

	return content && length && length < content &&
	       len >= (size_t)(content + 4 - answer) + strtoul(length + 18, NULL, 10);
}

static bool
is_ok(const char *answer)
{
	return strncmp(answer, "HTTP/1.1 200 ", 13) == 0;
}

/*
 * --- crowd HOST PORT CLIENTS SECONDSs|COUNT: honest clients in a closed loop, each of
 * which comes again as soon as it has its answer
 */

enum {
	CROWD_MAX = 2048,
	CROWD_TICK_MS = 20, /* those who failed try again after it */
	CROWD_TIMEOUT_US = 10 * 1000 * 1000,
	/* Three quarters of it are used: then those after are no longer told apart. */
	SCAN_SLOTS = 1 << 20,
	SCANS_MAX = SCAN_SLOTS / 4 * 3,
};

struct client {
	int fd; /* -1 for none */
	bool sent;
	int64_t start_us;
	size_t len;
	char answer[ANSWER_MAX];
};

static struct {
	struct sockaddr_in to;
	int epoll_fd;
	size_t size;
	long wanted; /* requests, or LONG_MAX */
	int64_t start_us, end_us;
	long started, answered, failed, ok;
	struct client clients[CROWD_MAX];
	uint64_t scan_hashes[SCAN_SLOTS]; /* 0 for none */
	size_t scans;
} crowd;

/*
 * Scans are told apart by how long they took, as it is printed; so they are counted too
 * low rather than too high.
 */
static void
count_scan(const char *answer)
{
	static const char name[] = "\nport_scan_duration_seconds{";
	const char *sample = strstr(answer, name), *end;
	uint64_t hash = 14695981039346656037u; /* FNV-1a */
	size_t slot;

	if (!sample || crowd.scans >= SCANS_MAX)
		return;
	end = strchr(sample + 1, '\n');
	for (; end && sample < end; sample++)
		hash = (hash ^ (unsigned char)*sample) * 1099511628211u;
	hash |= hash == 0;
	slot = hash % SCAN_SLOTS;
	while (crowd.scan_hashes[slot] != 0 && crowd.scan_hashes[slot] != hash)
		slot = (slot + 1) % SCAN_SLOTS;
	crowd.scans += crowd.scan_hashes[slot] == 0;
	crowd.scan_hashes[slot] = hash;
}

static bool
crowd_is_over(void)
{
	return crowd.answered + crowd.failed >= crowd.wanted || now_us() >= crowd.end_us;
}

static void
leave(struct client *c, bool answered)
{
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	if (!answered) {
		crowd.failed++;
		return;
	}
	add_sample(now_us() - c->start_us);
	crowd.answered++;
	crowd.ok += is_ok(c->answer);
	if (is_ok(c->answer))
		count_scan(c->answer);
}

/* Send when the connection stands; then wait for the answer. */
static void
ask(struct client *c, int operation)
{
	ssize_t n = send(c->fd, request, sizeof(request) - 1, MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN) {
		leave(c, false);
		return;
	}
	c->sent = n > 0;
	watch(crowd.epoll_fd, operation, c->fd, c->sent ? EPOLLIN : EPOLLOUT,
		(size_t)(c - crowd.clients));
}

static void
come(struct client *c)
{
	if (crowd.started >= crowd.wanted)
		return;
	crowd.started++;
	c->len = 0;
	c->sent = false;
	c->start_us = now_us();
	c->fd = connect_to(&crowd.to, SOCK_NONBLOCK);
	if (c->fd < 0)
		leave(c, false);
	else
		ask(c, EPOLL_CTL_ADD);
}

static void
listen_to(struct client *c)
{
	ssize_t n = read(c->fd, c->answer + c->len, sizeof(c->answer) - 1 - c->len);

	if (n < 0 && errno == EAGAIN)
		return;
	if (n > 0) {
		c->len += (size_t)n;
		c->answer[c->len] = '\0';
		if (!is_whole(c->answer, c->len))
			return;
	}
	leave(c, n > 0);
	come(c);
}

/* Those who failed come again, those who wait for too long give up. */
static void
tick(void)
{
	int64_t late_us = now_us() - CROWD_TIMEOUT_US;

	for (size_t i = 0; i < crowd.size; i++) {
		struct client *c = &crowd.clients[i];

		if (c->fd >= 0 && c->start_us < late_us)
			leave(c, false);
		if (c->fd < 0)
			come(c);
	}
}

static void
run_crowd(void)
{
	struct epoll_event events[EVENTS];
	int64_t tick_us = 0;

	while (!crowd_is_over()) {
		int n;

		if (now_us() >= tick_us) {
			tick();
			tick_us = now_us() + CROWD_TICK_MS * 1000;
		}
		n = epoll_wait(crowd.epoll_fd, events, EVENTS, CROWD_TICK_MS);
		for (int i = 0; i < n; i++) {
			struct client *c = &crowd.clients[events[i].data.u64];

			if (c->sent)
				listen_to(c);
			else
				ask(c, EPOLL_CTL_MOD);
		}
	}
}

/* "30s" is a time, "1000000" a number of requests. */
static void
set_crowd_end(const char *text)
{
	size_t digits = strspn(text, "0123456789");
	char copy[16];

	crowd.wanted = INT64_MAX;
	crowd.end_us = INT64_MAX;
	snprintf(copy, sizeof(copy), "%.*s", (int)digits, text);
	if (strcmp(text + digits, "s") == 0)
		crowd.end_us = crowd.start_us + number(copy) * 1000000;
	else
		crowd.wanted = number_up_to(text, SAMPLES_MAX);
}

static int
crowd_verb(char *argv[])
{
	double seconds;

	crowd.to = address(argv[0], argv[1]);
	crowd.size = (size_t)number_up_to(argv[2], CROWD_MAX);
	crowd.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	crowd.start_us = now_us();
	set_crowd_end(argv[3]);
	for (size_t i = 0; i < crowd.size; i++)
		crowd.clients[i].fd = -1;
	run_crowd();
	seconds = (double)(now_us() - crowd.start_us) / 1e6;
	sort_samples();
	printf("answered %ld, failed %ld, 200 %ld, other %ld, %.0f per second, "
	       "p50 %.2f, p99 %.2f, max %.2f, scans %zu\n",
		crowd.answered, crowd.failed, crowd.ok, crowd.answered - crowd.ok,
		(double)crowd.answered / seconds, sample_at(50), sample_at(99),
		sample_at(100), crowd.scans);
	return 0;
}

static void
sleep_until(int64_t us)
{
	int64_t left = us - now_us();
	struct timespec time = { left / 1000000, left % 1000000 * 1000 };

	if (left > 0)
		nanosleep(&time, NULL);
}

/*
 * --- slow HOST PORT COUNT SECONDS: that many connections at a time whose head goes on
 * and on, each opened again when it was closed; says "ready" when all are open for the
 * first time
 */

enum {
	SLOW_MAX = 19900,      /* below the 20,000 descriptors of a process */
	SLOW_BYTE_US = 500000, /* each sends a byte so often */
	SLOW_OPEN_RATE = 5000, /* a second, at most */
	/*
	 * The first ones are opened over so long: those that came together would all be
	 * told together that they are late.
	 */
	SLOW_FIRST_S = 4,
	SLOW_OPEN_BURST = 500,
};

static struct {
	struct sockaddr_in to;
	int epoll_fd;
	int64_t start_us, credit_us;
	size_t count;
	size_t turn; /* bytes sent in all, one connection after the other */
	size_t vacant_count;
	size_t vacant[SLOW_MAX]; /* those to be opened */
	int fds[SLOW_MAX];
	long opened, credit;
	bool ready;
} slow;

static void
open_slow(size_t i)
{
	static const char head[] = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
	int fd = connect_to(&slow.to, SOCK_NONBLOCK);

	if (fd < 0)
		err(1, "connect");
	/* One that is still on its way begins with what comes next. */
	send(fd, head, sizeof(head) - 1, MSG_NOSIGNAL);
	watch(slow.epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLRDHUP, i);
	slow.fds[i] = fd;
	slow.opened++;
}

static void
close_slow(size_t i)
{
	close(slow.fds[i]);
	slow.fds[i] = -1;
	slow.vacant[slow.vacant_count++] = i;
}

static void
open_vacant(void)
{
	int64_t now = now_us(), rate = SLOW_OPEN_RATE;
	long earned;

	if (!slow.ready && rate > (int64_t)slow.count / SLOW_FIRST_S)
		rate = (int64_t)slow.count / SLOW_FIRST_S + 1;
	earned = (long)((now - slow.credit_us) * rate / 1000000);

	if (earned > 0) {
		slow.credit += earned;
		slow.credit_us += earned * 1000000 / rate;
	}
	if (slow.credit > SLOW_OPEN_BURST)
		slow.credit = SLOW_OPEN_BURST;
	for (; slow.vacant_count > 0 && slow.credit > 0; slow.credit--)
		open_slow(slow.vacant[--slow.vacant_count]);
	if (slow.vacant_count == 0 && !slow.ready) {
		puts("ready");
		fflush(stdout);
		slow.ready = true;
	}
}

static void
send_bytes(void)
{
	size_t due =
		(size_t)((now_us() - slow.start_us) * (int64_t)slow.count / SLOW_BYTE_US);

	for (; slow.turn < due; slow.turn++) {
		int fd = slow.fds[slow.turn % slow.count];

		if (fd >= 0)
			send(fd, "x", 1, MSG_NOSIGNAL);
	}
}

static void
close_ended(int timeout_ms)
{
	struct epoll_event events[EVENTS];
	int n = epoll_wait(slow.epoll_fd, events, EVENTS, timeout_ms);

	for (int i = 0; i < n; i++)
		close_slow((size_t)events[i].data.u64);
}

static size_t
count_established(void)
{
	size_t established = 0;

	for (size_t i = 0; i < slow.count; i++) {
		struct tcp_info info = { 0 };
		socklen_t len = sizeof(info);

		getsockopt(slow.fds[i], IPPROTO_TCP, TCP_INFO, &info, &len);
		established += info.tcpi_state == TCP_ESTABLISHED;
	}
	return established;
}

static int
slow_verb(char *argv[])
{
	int64_t end_us;

	slow.to = address(argv[0], argv[1]);
	slow.count = (size_t)number_up_to(argv[2], SLOW_MAX);
	slow.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	slow.start_us = slow.credit_us = now_us();
	end_us = slow.start_us + number(argv[3]) * 1000000;
	for (size_t i = 0; i < slow.count; i++) {
		slow.fds[i] = -1;
		slow.vacant[slow.vacant_count++] = i;
	}
	while (now_us() < end_us) {
		close_ended(2);
		open_vacant();
		send_bytes();
	}
	printf("open %zu of %zu, reopened %ld\n", count_established(), slow.count,
		slow.opened > (long)slow.count ? slow.opened - (long)slow.count : 0);
	return 0;
}

/*
 * --- unread HOST PORT PATH HELD RATE SECONDS MSS MANNER: connections that each send a
 * complete request for PATH and read nothing of its answer, HELD at a time, RATE new ones
 * a second at most; MANNER is what each does after its request: "hold" nothing,
 * "half-close", or "reset" when it has got an answer. Says "ready" when all are there for
 * the first time.
 */

enum {
	UNREAD_MAX = 19900,
	UNREAD_WAIT_MS = 2,
	UNREAD_BUFFER = 1, /* the kernel makes the least of it */
};

static struct {
	struct sockaddr_in to;
	char request[256];
	const char *manner;
	int mss, epoll_fd;
	size_t held, vacant_count;
	size_t vacant[UNREAD_MAX];
	int fds[UNREAD_MAX];
	long opened, ended;
} unread;

static void
open_unread(size_t i)
{
	const int buffer = UNREAD_BUFFER;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		err(1, "socket");
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
	if (setsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &unread.mss, sizeof(unread.mss)) < 0)
		err(1, "set TCP_MAXSEG");
	unread.fds[i] = fd;
	if (connect(fd, (const struct sockaddr *)&unread.to, sizeof(unread.to)) < 0 &&
		errno != EINPROGRESS)
		err(1, "connect");
	/* What does not stand yet, because the backlog is full, is not worth more. */
	send(fd, unread.request, strlen(unread.request), MSG_NOSIGNAL);
	if (strcmp(unread.manner, "half-close") == 0)
		shutdown(fd, SHUT_WR);
	watch(unread.epoll_fd, EPOLL_CTL_ADD, fd,
		strcmp(unread.manner, "reset") == 0 ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP,
		i);
	unread.opened++;
}

/* With bytes that were not read, close() is a reset. */
static void
close_unread(size_t i)
{
	close(unread.fds[i]);
	unread.fds[i] = -1;
	unread.vacant[unread.vacant_count++] = i;
	unread.ended++;
}

static void
run_unread(long rate, int64_t seconds)
{
	struct epoll_event events[EVENTS];
	int64_t start_us = now_us();
	bool ready = false;

	while (now_us() < start_us + seconds * 1000000) {
		long due = (long)((now_us() - start_us) * rate / 1000000);
		int n = epoll_wait(unread.epoll_fd, events, EVENTS, UNREAD_WAIT_MS);

		for (int i = 0; i < n; i++)
			close_unread((size_t)events[i].data.u64);
		for (; unread.vacant_count > 0 && unread.opened < due;)
			open_unread(unread.vacant[--unread.vacant_count]);
		if (!ready && unread.vacant_count == 0) {
			puts("ready");
			fflush(stdout);
			ready = true;
		}
	}
}

static int
unread_verb(char *argv[])
{
	unread.to = address(argv[0], argv[1]);
	snprintf(unread.request, sizeof(unread.request),
		"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", argv[2]);
	unread.held = (size_t)number_up_to(argv[3], UNREAD_MAX);
	unread.mss = (int)number(argv[6]);
	unread.manner = argv[7];
	unread.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (size_t i = 0; i < unread.held; i++)
		unread.vacant[unread.vacant_count++] = i;
	run_unread(number(argv[4]), number(argv[5]));
	printf("opened %ld, ended %ld\n", unread.opened, unread.ended);
	return 0;
}

/* --- pulse HOST PORT INTERVAL_MS COUNT: honest scrapes at an even pace */

static void
set_timeouts(int fd, long seconds)
{
	const struct timeval timeout = { .tv_sec = seconds };

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* Whether a whole 200 came, within two seconds. */
static bool
scrape_once(const struct sockaddr_in *to)
{
	static char answer[ANSWER_MAX];
	size_t len = 0;
	ssize_t n = -1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	set_timeouts(fd, 2);
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0 &&
		send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) > 0) {
		while ((n = read(fd, answer + len, sizeof(answer) - 1 - len)) > 0) {
			len += (size_t)n;
			answer[len] = '\0';
			if (is_whole(answer, len))
				break;
		}
	}
	close(fd);
	return n > 0 && is_ok(answer);
}

static int
pulse_verb(char *argv[])
{
	struct sockaddr_in to = address(argv[0], argv[1]);
	long interval_ms = number(argv[2]), count = number_up_to(argv[3], SAMPLES_MAX);
	int64_t start_us = now_us();

	for (long i = 0; i < count; i++) {
		int64_t begin_us;

		sleep_until(start_us + i * interval_ms * 1000);
		begin_us = now_us();
		if (scrape_once(&to))
			add_sample(now_us() - begin_us);
	}
	sort_samples();
	printf("answered %zu of %ld, p50 %.1f, p99 %.1f, max %.1f\n", sample_count, count,
		sample_at(50), sample_at(99), sample_at(100));
	return 0;
}

/*
 * --- business PORT SECONDS WORK: what the pod is there for: a request of 100 bytes and
 * its answer over a new connection, 250 times a second, with WORK microseconds of
 * computing in between
 */

enum {
	BUSINESS_BYTES = 100,
	BUSINESS_INTERVAL_US = 4000,
	CALIBRATIONS = 200,
};

/* So much to compute that a processor which does nothing else needs the time for. */
static volatile uint64_t computed;

static void
compute(int64_t rounds)
{
	for (int64_t i = 0; i < rounds; i++)
		computed = computed * 6364136223846793005u + 1442695040888963407u;
}

/* Rounds for a microsecond, at the best of several tries. */
static double
calibrate(void)
{
	const int64_t rounds = 100 * 1000;
	int64_t best_us = INT64_MAX;

	for (int i = 0; i < CALIBRATIONS; i++) {
		int64_t begin_us = now_us();

		compute(rounds);
		if (now_us() - begin_us < best_us)
			best_us = now_us() - begin_us;
	}
	return (double)rounds / (double)best_us;
}

static void
serve_business(int listener, int64_t rounds)
{
	char data[BUSINESS_BYTES] = { 0 };

	for (;;) {
		int fd = accept(listener, NULL, NULL);

		if (fd < 0)
			err(1, "accept");
		if (recv(fd, data, sizeof(data), MSG_WAITALL) == sizeof(data)) {
			compute(rounds);
			send(fd, data, sizeof(data), MSG_NOSIGNAL);
		}
		/* The client closes first. */
		recv(fd, data, 1, 0);
		close(fd);
	}
}

/* Returns its process, which ends with ours. */
static pid_t
start_business(const struct sockaddr_in *at, int64_t rounds)
{
	const int on = 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (const struct sockaddr *)at, sizeof(*at)) < 0 ||
		listen(listener, 128) < 0)
		err(1, "listen");
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve_business(listener, rounds);
	}
	close(listener);
	return pid;
}

static void
do_business(const struct sockaddr_in *to)
{
	char data[BUSINESS_BYTES] = { 0 };
	int64_t begin_us = now_us();
	int fd = connect_to(to, 0);

	if (fd < 0)
		err(1, "connect");
	set_timeouts(fd, 2);
	if (send(fd, data, sizeof(data), MSG_NOSIGNAL) != sizeof(data) ||
		recv(fd, data, sizeof(data), MSG_WAITALL) != sizeof(data))
		err(1, "business");
	close(fd);
	add_sample(now_us() - begin_us);
}

static int
business_verb(char *argv[])
{
	struct sockaddr_in at = address("127.0.0.1", argv[0]);
	int64_t count = number(argv[1]) * 1000000 / BUSINESS_INTERVAL_US;
	int64_t rounds = (int64_t)(calibrate() * (double)number(argv[2]));
	pid_t server = start_business(&at, rounds);
	int64_t start_us = now_us();

	for (int64_t i = 0; i < count; i++) {
		sleep_until(start_us + i * BUSINESS_INTERVAL_US);
		do_business(&at);
	}
	kill(server, SIGKILL);
	sort_samples();
	printf("p50 %.0f, p99 %.0f, max %.0f, count %zu\n", sample_at(50) * 1000,
		sample_at(99) * 1000, sample_at(100) * 1000, sample_count);
	return 0;
}

/*
 * --- mutate HOST PORT COUNT SEED [CLIENTS [CORPUS [FIRST]]]: requests that are broken in
 * every way, CLIENTS at a time, made from those below and the files of the directory
 * CORPUS; each must have one well-formed answer, or none. The same seed makes the same
 * ones: `... 1 SEED 1 CORPUS FIRST` repeats one and shows it.
 */

enum {
	INPUTS_MAX = 256,
	MUTANT_MAX = 1 << 16,
	HEAD_MAX = 16384, /* what the server reads of a head */
	MARKER_LEN = 16,
	MARKER_SHOWN = 8, /* so much of the marker in an answer is no accident */
	MUTATE_CLIENTS_MAX = 256,
	PATIENCE_MS = 100,     /* for a first byte; then most clients say that they end */
	ANSWER_END_MS = 20000, /* longer than the server may take for anything */
};

struct text {
	size_t len;
	char data[MUTANT_MAX];
};

struct input {
	size_t len;
	int status; /* that it is answered with, unharmed; 0 for any */
	char data[HEAD_MAX];
};

static struct input inputs[INPUTS_MAX];
static size_t input_count;
static uint64_t random_state;
static char marker[MARKER_LEN + 1];

/* clang-format off */
static const struct {
	int status;
	const char *text;
} requests[] = {
	{ 200, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" },
	{ 200, "HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n" },
	{ 200, "GET / HTTP/1.1\r\nHost: [::1]:9999\r\nUser-Agent: test\r\n\r\n" },
	{ 200, "HEAD / HTTP/1.0\r\n\r\n" },
	{ 200, "GET /metrics HTTP/1.0\n\n" },
	{ 200, "\r\n\r\nGET /metrics HTTP/1.1\r\nhost:\r\n\r\n" },
	{ 200, "GET http://localhost:9999/metrics HTTP/1.1\r\nHost: localhost:9999\r\n\r\n" },
	{ 200, "GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello" },
	{ 200, "GET /metrics HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n"
	       "Accept: text/plain;version=0.0.4;q=0.5,*/*;q=0.1\r\n\r\n" },
	{ 200, "GET /metrics HTTP/1.1\r\nHost: pod:9999\r\nUser-Agent: Prometheus/2.42.0\r\n"
	       "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n"
	       "Accept-Encoding: gzip\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n" },
	{ 200, "HEAD /metrics HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text;"
	       "version=\"1.0.0\"\r\nX-Prometheus-Scrape-Timeout-Seconds: 5.5\r\n\r\n" },
	{ 404, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" },
	{ 404, "HEAD /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n" },
	{ 405, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}" },
	{ 405, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ 505, "GET /metrics HTTP/2.0\r\nHost: a\r\n\r\n" },
};
/* clang-format on */

enum {
	REQUESTS = sizeof(requests) / sizeof(requests[0]),
};

/* What parsers stumble over. */
static const char *const words[] = {
	"\r\n",
	"\n",
	"\r",
	"\r\n\r\n",
	"\t",
	" ",
	":",
	",",
	";q=",
	"\"",
	"\\",
	"?",
	"/",
	"HTTP/1.1",
	"HTTP/1.0",
	"HTTP/2.0",
	"HEAD ",
	"GET ",
	"POST ",
	"OPTIONS * ",
	"Host: b\r\n",
	"Content-Length: 99999999999999999999\r\n",
	"%00",
	"\x7f",
	"\x80",
	"Transfer-Encoding: chunked\r\n",
	"Connection: keep-alive\r\n",
	"Accept: ,;=\"\r\n",
	"Expect: 100-continue\r\n",
	"X-Prometheus-Scrape-Timeout-Seconds: 1e9\r\n",
	"%n%s",
};

/* splitmix64 */
static uint64_t
random_number(void)
{
	uint64_t z = random_state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

static size_t
below(size_t n)
{
	return n > 0 ? (size_t)(random_number() % n) : 0;
}

static bool
one_in(size_t n)
{
	return below(n) == 0;
}

/* Put data in the place of some bytes; what does not fit is not done. */
static void
replace(struct text *t, size_t at, size_t removed, const char *data, size_t len)
{
	if (t->len - removed + len > sizeof(t->data))
		return;
	memmove(t->data + at + len, t->data + at + removed, t->len - at - removed);
	memcpy(t->data + at, data, len);
	t->len = t->len - removed + len;
}

static void
insert_word(struct text *t, size_t at, const char *word)
{
	replace(t, at, 0, word, strlen(word));
}

/* A place, and a short way to go from there. */
static size_t
choose_range(const struct text *t, size_t *ret_len)
{
	size_t at = below(t->len + 1), max = t->len - at;

	if (max > 1 && !one_in(4))
		max = max < 16 ? max : 16;
	*ret_len = below(max + 1);
	return at;
}

static void
flip_bits(struct text *t)
{
	for (size_t n = 1 + below(4); n > 0 && t->len > 0; n--)
		t->data[below(t->len)] ^= (char)(1 << below(8));
}

static void
delete_range(struct text *t)
{
	size_t len, at = choose_range(t, &len);

	replace(t, at, len, "", 0);
}

static void
duplicate_range(struct text *t)
{
	static char copy[MUTANT_MAX];
	size_t len, at = choose_range(t, &len);

	memcpy(copy, t->data + at, len);
	replace(t, below(t->len + 1), 0, copy, len);
}

static void
insert_random_bytes(struct text *t)
{
	char bytes[8];
	size_t len = 1 + below(sizeof(bytes));

	for (size_t i = 0; i < len; i++)
		bytes[i] = (char)below(256);
	replace(t, below(t->len + 1), 0, bytes, len);
}

static void
insert_random_word(struct text *t)
{
	insert_word(t, below(t->len + 1), words[below(sizeof(words) / sizeof(words[0]))]);
}

static void
cut_end(struct text *t)
{
	t->len = below(t->len + 1);
}

/* Beyond what a head may have. */
static void
repeat_range(struct text *t)
{
	static char copy[MUTANT_MAX];
	size_t len, at = choose_range(t, &len), wanted = HEAD_MAX + below(HEAD_MAX);

	memcpy(copy, t->data + at, len);
	/* A byte at a time would take as long as it is dull. */
	while (len > 0 && len < 64) {
		memcpy(copy + len, copy, len);
		len *= 2;
	}
	for (size_t n = 0; len > 0 && n < wanted; n += len)
		replace(t, at, 0, copy, len);
}

/*
 * The marker in the target and in a field: whatever comes of it, no answer may repeat it.
 */
static void
load_input(struct text *t, const struct input *input)
{
	static char field[] = "X-Marker: ................\r\n";
	char *version, *newline;

	memcpy(t->data, input->data, input->len);
	t->len = input->len;
	newline = memchr(t->data, '\n', t->len);
	memcpy(field + 10, marker, MARKER_LEN);
	if (newline && input->status > 0)
		newline = memmem(t->data, t->len, "HTTP/", 5);
	if (newline)
		newline = memchr(newline, '\n', t->len - (size_t)(newline - t->data));
	if (newline)
		insert_word(t, (size_t)(newline - t->data) + 1, field);
	version = memmem(t->data, t->len, " HTTP/", 6);
	if (version) {
		insert_word(t, (size_t)(version - t->data), marker);
		/* In the path where that does no harm. */
		if (input->status != 404)
			insert_word(t, (size_t)(version - t->data), "?");
	}
}

/* The beginning of one, the end of another. */
static void
cross_over(struct text *t)
{
	static struct text other;
	size_t at = below(t->len + 1), from;

	load_input(&other, &inputs[below(input_count)]);
	from = below(other.len + 1);
	replace(t, at, t->len - at, other.data + from, other.len - from);
}

static void (*const mutations[])(struct text *t) = {
	flip_bits,
	delete_range,
	duplicate_range,
	duplicate_range,
	insert_random_bytes,
	insert_random_word,
	insert_random_word,
	insert_random_word,
	cross_over,
	cross_over,
	cut_end,
	repeat_range,
};

/* Returns the status that it must be answered with, or 0 for any. */
static int
make_mutant(struct text *t, uint64_t seed, uint64_t index)
{
	const struct input *input;
	size_t count;

	random_state = seed;
	random_state = random_number() + index;
	for (size_t i = 0; i < MARKER_LEN; i++)
		marker[i] = (char)('A' + below(26));
	input = &inputs[below(one_in(3) ? input_count : REQUESTS)];
	load_input(t, input);
	/* Many that are barely harmed, so that more than the request-line is read. */
	count = one_in(2) ? below(3) : below(8);
	for (size_t i = 0; i < count; i++)
		mutations[below(sizeof(mutations) / sizeof(mutations[0]))](t);
	return count == 0 ? input->status : 0;
}

static void
add_input(const char *data, size_t len, int status)
{
	struct input *input = &inputs[input_count];

	if (input_count == INPUTS_MAX || len > sizeof(input->data))
		errx(2, "too many inputs, or too large ones");
	memcpy(input->data, data, len);
	input->len = len;
	input->status = status;
	input_count++;
}

static void
read_corpus_file(const char *directory, const char *name)
{
	char path[4096], data[HEAD_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	if (!file)
		err(1, "%s", path);
	add_input(data, fread(data, 1, sizeof(data), file), 0);
	fclose(file);
}

static void
read_inputs(const char *corpus)
{
	struct dirent **entries;
	int count;

	for (size_t i = 0; i < REQUESTS; i++)
		add_input(requests[i].text, strlen(requests[i].text), requests[i].status);
	if (!corpus)
		return;
	count = scandir(corpus, &entries, NULL, alphasort);
	if (count < 0)
		err(1, "%s", corpus);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.')
			read_corpus_file(corpus, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
}

/* --- what an answer must be; each check returns NULL or what is wrong */

struct span {
	const char *at, *end;
};

static size_t
span_len(struct span s)
{
	return (size_t)(s.end - s.at);
}

static bool
starts_with(struct span s, const char *prefix)
{
	return span_len(s) >= strlen(prefix) && memcmp(s.at, prefix, strlen(prefix)) == 0;
}

/* What stands before the terminator, which is taken too. */
static bool
take_until(struct span *rest, const char *terminator, struct span *ret_part)
{
	char *found = memmem(rest->at, span_len(*rest), terminator, strlen(terminator));

	if (!found)
		return false;
	*ret_part = (struct span){ rest->at, found };
	rest->at = found + strlen(terminator);
	return true;
}

static bool
is_visible(struct span s)
{
	for (; s.at < s.end; s.at++) {
		if ((*s.at < ' ' && *s.at != '\t') || *s.at > '~')
			return false;
	}
	return true;
}

static bool
is_token(struct span s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	if (s.at == s.end)
		return false;
	for (; s.at < s.end; s.at++) {
		if (!isalnum((unsigned char)*s.at) &&
			!memchr(others, *s.at, sizeof(others) - 1))
			return false;
	}
	return true;
}

struct answer {
	int status;
	struct span type;
	size_t length;
	struct span content;
};

static const char *
check_status_line(struct span line, struct answer *answer)
{
	if (!starts_with(line, "HTTP/1.1 ") || span_len(line) < 14 || line.at[12] != ' ')
		return "no status-line";
	for (int i = 9; i < 12; i++) {
		if (!isdigit((unsigned char)line.at[i]))
			return "no status code";
		answer->status = answer->status * 10 + line.at[i] - '0';
	}
	return is_visible(line) ? NULL : "a status-line with other characters";
}

/* The fields that every answer has, once each. */
enum field {
	FIELD_LENGTH,
	FIELD_TYPE,
	FIELD_CONNECTION,
	FIELDS,
};

static const char *const field_names[FIELDS] = {
	[FIELD_LENGTH] = "Content-Length",
	[FIELD_TYPE] = "Content-Type",
	[FIELD_CONNECTION] = "Connection",
};

static const char *
check_field_line(struct span line, struct span values[FIELDS])
{
	struct span name;

	if (!take_until(&line, ": ", &name) || !is_token(name) || !is_visible(line))
		return "a field line that is none";
	for (int i = 0; i < FIELDS; i++) {
		if (span_len(name) != strlen(field_names[i]) ||
			strncasecmp(name.at, field_names[i], span_len(name)) != 0)
			continue;
		if (values[i].at)
			return "a field twice";
		values[i] = line;
	}
	return NULL;
}

static const char *
check_values(const struct span values[FIELDS], struct answer *answer)
{
	struct span length = values[FIELD_LENGTH];

	for (int i = 0; i < FIELDS; i++) {
		if (!values[i].at)
			return "a field that is missing";
	}
	if (span_len(values[FIELD_CONNECTION]) != 5 ||
		!starts_with(values[FIELD_CONNECTION], "close"))
		return "no Connection: close";
	if (length.at == length.end || span_len(length) > 9)
		return "no Content-Length";
	for (; length.at < length.end; length.at++) {
		if (!isdigit((unsigned char)*length.at))
			return "no Content-Length";
		answer->length = answer->length * 10 + (size_t)(*length.at - '0');
	}
	answer->type = values[FIELD_TYPE];
	return NULL;
}

static const char *
parse_answer(struct span all, struct answer *ret_answer)
{
	struct span line, values[FIELDS] = { 0 };
	const char *wrong;

	if (!take_until(&all, "\r\n", &line))
		return "no whole line";
	wrong = check_status_line(line, ret_answer);
	while (!wrong) {
		if (!take_until(&all, "\r\n", &line))
			return "no whole head";
		if (line.at == line.end)
			break;
		wrong = check_field_line(line, values);
	}
	if (!wrong)
		wrong = check_values(values, ret_answer);
	ret_answer->content = all;
	return wrong;
}

/* name="value",... as the text formats escape it. */
static bool
take_labels(struct span *rest)
{
	struct span name;

	do {
		if (!take_until(rest, "=\"", &name) || !is_token(name))
			return false;
		for (; rest->at < rest->end && *rest->at != '"'; rest->at++) {
			if (*rest->at == '\\' && ++rest->at == rest->end)
				return false;
		}
		if (rest->at++ >= rest->end)
			return false;
	} while (rest->at < rest->end && *rest->at == ',' && rest->at++);
	return rest->at < rest->end && *rest->at++ == '}';
}

static bool
is_sample(struct span line)
{
	char value[64], *end;
	struct span name;

	if (!take_until(&line, "{", &name) || !is_token(name) || !take_labels(&line) ||
		line.at == line.end || *line.at++ != ' ' || line.at == line.end)
		return false;
	snprintf(value, sizeof(value), "%.*s", (int)span_len(line), line.at);
	strtod(value, &end);
	return *end == '\0';
}

static const char *
check_exposition(struct span content)
{
	struct span line;

	while (take_until(&content, "\n", &line)) {
		if (!starts_with(line, "# HELP ") && !starts_with(line, "# TYPE ") &&
			!starts_with(line, "# EOF") && !is_sample(line))
			return "a line of the exposition that is none";
	}
	return content.at == content.end ? NULL : "no newline at the end";
}

/* How the bytes of the request begin, behind empty lines, says what they ask for. */
static bool
is_head_request(struct span sent)
{
	while (starts_with(sent, "\n") || starts_with(sent, "\r\n"))
		sent.at += *sent.at == '\n' ? 1 : 2;
	return starts_with(sent, "HEAD ");
}

static const char *
check_content(struct span sent, const struct answer *answer)
{
	if (is_head_request(sent))
		return span_len(answer->content) == 0 ? NULL : "content for a HEAD";
	if (span_len(answer->content) != answer->length)
		return "content of another length";
	if (answer->status == 200 &&
		(starts_with(answer->type, "text/plain; version=") ||
			starts_with(answer->type, "application/openmetrics-text")))
		return check_exposition(answer->content);
	return NULL;
}

static bool
repeats_marker(struct span all)
{
	for (size_t i = 0; i + MARKER_SHOWN <= MARKER_LEN; i++) {
		if (memmem(all.at, span_len(all), marker + i, MARKER_SHOWN))
			return true;
	}
	return false;
}

static const char *
check_answer(struct span sent, struct span all, int *ret_status)
{
	struct answer answer = { 0 };
	const char *wrong = parse_answer(all, &answer);

	*ret_status = answer.status;
	if (!wrong)
		wrong = check_content(sent, &answer);
	if (!wrong && repeats_marker(all))
		wrong = "something of the request";
	return wrong;
}

/* --- the exchange */

static void
reset(int fd)
{
	const struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* In pieces of any size, some of them a while apart; `len` may be less than all. */
static void
send_pieces(int fd, const struct text *t, size_t len)
{
	size_t largest = one_in(2) ? len : 1 + below(len < 300 ? len / 4 + 1 : len);

	for (size_t at = 0, n; at < len; at += n) {
		n = largest == len ? len : 1 + below(largest);
		n = n < len - at ? n : len - at;
		/* The server may have seen enough already. */
		if (send(fd, t->data + at, n, MSG_NOSIGNAL) < 0)
			return;
		if (one_in(16))
			sleep_until(now_us() + (int64_t)below(10000));
	}
}

/*
 * The answer until the end of file, or a reset. A client says that it ends when it has
 * its answer, or has waited for a while; some never do.
 */
static const char *
receive(int fd, struct span sent, bool stubborn, struct text *answer)
{
	int64_t end_us = now_us() + ANSWER_END_MS * 1000;
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	bool ended = stubborn, head = is_head_request(sent);
	ssize_t n = 1;

	answer->len = 0;
	while (n > 0 && now_us() < end_us) {
		if (poll(&poll_fd, 1, ended ? 1000 : PATIENCE_MS) > 0) {
			n = read(fd, answer->data + answer->len,
				sizeof(answer->data) - 1 - answer->len);
			answer->len += n > 0 ? (size_t)n : 0;
			answer->data[answer->len] = '\0';
			if (!head && !is_whole(answer->data, answer->len))
				continue;
		}
		if (!ended)
			shutdown(fd, SHUT_WR);
		ended = true;
	}
	return n > 0 ? "no end" : NULL;
}

static struct counters {
	_Atomic long connections, answered, nothing, ok, client_errors, server_errors,
		violations;
} * counters; /* shared by all clients */

static void
count_status(int status)
{
	counters->answered++;
	counters->ok += status == 200;
	counters->client_errors += status / 100 == 4;
	counters->server_errors += status / 100 == 5;
}

static const char *
exchange(int fd, const struct text *mutant, int wanted, struct text *answer)
{
	const struct span sent = { mutant->data, mutant->data + mutant->len };
	const char *wrong;
	int status = 0;

	answer->len = 0;
	if (one_in(16)) {
		send_pieces(fd, mutant, below(mutant->len + 1));
		counters->nothing++;
		reset(fd);
		return NULL;
	}
	send_pieces(fd, mutant, mutant->len);
	if (one_in(4))
		shutdown(fd, SHUT_WR);
	wrong = receive(fd, sent, one_in(100), answer);
	close(fd);
	if (!wrong && answer->len > 0)
		wrong = check_answer(sent,
			(struct span){ answer->data, answer->data + answer->len },
			&status);
	if (answer->len > 0)
		count_status(status);
	else
		counters->nothing++;
	if (!wrong && wanted > 0 && status != wanted)
		return "another answer than an unharmed request has";
	return wrong;
}

static void
mutate_once(const struct sockaddr_in *to, uint64_t seed, uint64_t index, bool show)
{
	static struct text mutant, answer;
	int wanted = make_mutant(&mutant, seed, index);
	const char *wrong = "no connection";
	const int on = 1;
	int fd = connect_to(to, 0);

	counters->connections++;
	if (fd >= 0) {
		/* Each piece is to travel alone. */
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		wrong = exchange(fd, &mutant, wanted, &answer);
	}
	if (wrong) {
		counters->violations++;
		printf("violation: seed %" PRIu64 " index %" PRIu64 ": %s\n", seed, index,
			wrong);
	}
	if (show) {
		fwrite(mutant.data, 1, mutant.len, stderr);
		fputs("\n--- answered:\n", stderr);
		fwrite(answer.data, 1, answer.len, stderr);
	}
}

/* Each client has every so many-th connection. */
static void
start_mutating(char *argv[], uint64_t first, long client, long clients)
{
	struct sockaddr_in to = address(argv[0], argv[1]);
	long count = number(argv[2]);
	uint64_t seed = (uint64_t)number(argv[3]);
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid > 0)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (long i = client; i < count; i += clients)
		mutate_once(&to, seed, first + (uint64_t)i, count == 1);
	exit(0);
}

static int
mutate_verb(char *argv[])
{
	long clients = argv[4] ? number_up_to(argv[4], MUTATE_CLIENTS_MAX) : 16;
	const char *corpus = argv[4] ? argv[5] : NULL;
	uint64_t first = corpus && argv[6] ? (uint64_t)number(argv[6]) : 0;
	int status, failed = 0;

	read_inputs(corpus);
	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counters == MAP_FAILED)
		err(1, "mmap");
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (long i = 0; i < clients; i++)
		start_mutating(argv, first, i, clients);
	while (wait(&status) > 0)
		failed += status != 0;
	printf("connections %ld, answered %ld, nothing %ld, 200 %ld, 4xx %ld, 5xx %ld, "
	       "violations %ld\n",
		counters->connections, counters->answered, counters->nothing,
		counters->ok, counters->client_errors, counters->server_errors,
		counters->violations);
	return counters->violations > 0 || failed > 0;
}

static const struct {
	const char *name;
	int arguments;
	int (*run)(char *argv[]);
} verbs[] = {
	{ "crowd", 4, crowd_verb },
	{ "slow", 4, slow_verb },
	{ "unread", 8, unread_verb },
	{ "pulse", 4, pulse_verb },
	{ "business", 3, business_verb },
	{ "mutate", 4, mutate_verb },
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
	errx(2, "usage: load VERB ARGUMENT...");
}
