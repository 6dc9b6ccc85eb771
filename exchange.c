/* SPDX-License-Identifier: MIT */
#include "exchange.h"

#include "util.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	/*
	 * The alarm repeats: one that strikes right before a call would otherwise not
	 * interrupt it.
	 */
	TICK_MS = 100,
	GRACE_TICKS = 10,
	PEER_CLOSES_MS =
		500, /* a client that knows Content-Length needs one round trip */
	DRAIN_MS = 2000,
	DRAIN_MAX = 1024 * 1024, /* bytes */
	LAST_MS = 1000,          /* for the last bytes, at the least */
	ACKNOWLEDGED_MS = 10,    /* between two looks */
	/*
	 * The send buffer takes an answer whole. Where the kernel gives less, a client
	 * has a second, and one more for each so many bytes that it takes.
	 */
	STALL_MS = 1000,
	BYTES_PER_MS = 16,
};

static volatile sig_atomic_t ticks;

static void
on_alarm(int signal_number)
{
	(void)signal_number;
	if (++ticks > GRACE_TICKS)
		_exit(EXIT_FAILURE);
}

void
exchange_move_deadline(int64_t deadline_ms)
{
	int64_t left = deadline_ms - util_now_ms();
	struct itimerval timer = { .it_interval.tv_usec = TICK_MS * 1000L };

	if (left < 1)
		left = 1; /* 0 would switch it off */
	if (left > INT32_MAX)
		left = INT32_MAX; /* 24 days; time_t may have 32 bits */
	timer.it_value.tv_sec = (time_t)(left / 1000);
	timer.it_value.tv_usec = (suseconds_t)(left % 1000 * 1000);
	setitimer(ITIMER_REAL, &timer, NULL);
	ticks = 0; /* of the deadline before; one of this one that is lost comes again */
}

void
exchange_set_deadline(int64_t deadline_ms)
{
	/* No SA_RESTART: the alarm is there to interrupt. */
	struct sigaction action = { .sa_handler = on_alarm };
	sigset_t alarm_only;

	sigemptyset(&action.sa_mask);
	sigaction(SIGALRM, &action, NULL);
	/* It may have been blocked by whoever started us. */
	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &alarm_only, NULL);
	exchange_move_deadline(deadline_ms);
}

/* Returns 0 when there is something to read, even past the time, -ETIMEDOUT, or -errno.
 */
static int
wait_readable(int fd, int64_t until_ms)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	for (;;) {
		int64_t left = ticks > 0 ? 0 : until_ms - util_now_ms();
		int n = poll(&pollfd, 1, left > 0 ? (int)left : 0);

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		if (n == 0 && left <= 0)
			return -ETIMEDOUT;
	}
}

/* Returns the bytes read, 0 at the end, -ETIMEDOUT, or -errno. */
static ssize_t
read_until(int fd, char *buf, size_t size, int64_t until_ms)
{
	for (;;) {
		int r = wait_readable(fd, until_ms);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(fd, buf, size);
		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
		if (ticks > 0)
			return -ETIMEDOUT;
	}
}

ssize_t
exchange_read(int fd, char *buf, size_t size, int64_t until_ms,
	bool (*is_ready)(const char *buf, size_t len))
{
	size_t len = 0;
	ssize_t n;

	do {
		n = read_until(fd, buf + len, size - len, until_ms);
		if (n == -ECONNRESET && len == 0)
			n = 0;
		if (n < 0)
			return n;
		len += (size_t)n;
	} while (n > 0 && len < size && !is_ready(buf, len));
	return (ssize_t)len;
}

/* `has_pace`: the peer is a client, whose pace has a lower bound. */
static int
write_all(int fd, const char *data, size_t len, int64_t until_ms, bool has_pace)
{
	const int64_t began_ms = util_now_ms();
	size_t done = 0;
	int ready = 0;

	while (done < len) {
		/* Said to be ready and yet not: asked for nothing, poll(2) just waits. */
		struct pollfd pollfd = { .fd = fd, .events = ready > 0 ? 0 : POLLOUT };
		int64_t pace_ms = began_ms + STALL_MS + (int64_t)done / BYTES_PER_MS;
		ssize_t n = has_pace ? send(fd, data + done, len - done,
					       MSG_DONTWAIT | MSG_NOSIGNAL)
		                     : write(fd, data + done, len - done);

		if (n >= 0) {
			done += (size_t)n;
			ready = 0;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -errno;
		} else if (ticks == 0 && util_now_ms() < until_ms &&
			   (!has_pace || util_now_ms() < pace_ms)) {
			ready = poll(&pollfd, 1, TICK_MS);
		} else {
			return -ETIMEDOUT;
		}
		if (done < len && ticks > 0)
			return -ETIMEDOUT;
	}
	return 0;
}

int
exchange_write(int fd, const char *data, size_t len, int64_t until_ms)
{
	return write_all(fd, data, len, until_ms, false);
}

int
exchange_send(int socket, const char *data, size_t len, int64_t until_ms)
{
	return write_all(socket, data, len, until_ms, true);
}

/*
 * Read and forget until the peer closes. Returns 0 when it has, a positive number after
 * too many bytes, -ETIMEDOUT when it may yet close, or -errno.
 */
static ssize_t
drain(int fd, int64_t until_ms, size_t *drained)
{
	static char buf[4096];
	ssize_t n;

	do {
		n = read_until(fd, buf, sizeof(buf), until_ms);
		if (n > 0)
			*drained += (size_t)n;
	} while (n > 0 && *drained < DRAIN_MAX);
	return n;
}

/*
 * Wait until the peer has acknowledged all, our end among it, or the connection is lost,
 * which poll(2) tells, or the deadline has passed. Not by waiting for an event: there is
 * none for this, or it is there already.
 */
static void
wait_until_acknowledged(int socket)
{
	struct pollfd lost = { .fd = socket }, nothing = { .fd = -1 };
	int bytes;

	while (ticks == 0 && ioctl(socket, TIOCOUTQ, &bytes) == 0 && bytes > 0 &&
		(poll(&lost, 1, 0) <= 0 || !(lost.revents & POLLERR)))
		poll(&nothing, 1, ACKNOWLEDGED_MS);
}

bool
exchange_is_one_socket(int in, int out)
{
	struct stat a, b;

	return fstat(in, &a) == 0 && fstat(out, &b) == 0 && S_ISSOCK(a.st_mode) &&
	       a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

void
exchange_finish(int socket, int64_t until_ms)
{
	int64_t now = util_now_ms();
	size_t drained = 0;
	ssize_t n;

	/* The deadline may have passed: what was answered then has to arrive as well. */
	exchange_move_deadline(until_ms > now + LAST_MS ? until_ms : now + LAST_MS);
	n = drain(socket, now + PEER_CLOSES_MS, &drained);

	/* Closing first costs a TIME_WAIT, but this client may be reading to the end. */
	shutdown(socket, SHUT_WR);
	if (n == -ETIMEDOUT)
		n = drain(socket, now + PEER_CLOSES_MS + DRAIN_MS, &drained);
	if (n == 0 || n == -ETIMEDOUT)
		wait_until_acknowledged(socket);
}
