/* SPDX-License-Identifier: MIT */
#include "log.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

enum {
	/*
	 * Descriptors from 3 on may be somebody's: a closed one must not turn into the
	 * log.
	 */
	ABOVE_PASSED = 16,
};

/* When a message was said last, and how often it was not said since. */
struct memory {
	uint32_t hash;
	uint32_t left_out;
	int64_t said_ms;
};

/*
 * Shared with the processes that the supervisor forks, or each child would say the same
 * again. Nobody locks it: the worst that a race does is a line too many.
 */
struct shared {
	struct memory memories[LOG_MESSAGES_REMEMBERED];
	int64_t second; /* that `lines` counts */
	uint32_t lines; /* written in it */
	uint32_t lost;  /* lines that nobody took, or that were too many for a second */
};

enum sink {
	SINK_NONBLOCKING, /* written as it is: a file, or a pipe opened anew */
	SINK_POLLED,      /* a pipe of somebody else: asked first */
	SINK_SOCKET,
	SINK_SYSLOG, /* a datagram for each message */
};

static struct shared not_shared;
static struct shared *shared = &not_shared;
static enum sink sink = SINK_POLLED;
static int sink_fd = STDERR_FILENO;
static int pid; /* of the process that started; asked for once, it names them all */
static bool is_file;

/*
 * A directory, because a minimal container need not have /dev/null. Writing to it fails:
 * as it should.
 */
static void
fill_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		/* open() takes the lowest number, and all below are open by now. */
		if (fcntl(fd, F_GETFD) < 0 && open("/", O_PATH) < 0)
			return;
	}
}

static bool
is_same_socket(const struct stat *st, int fd)
{
	struct stat other;

	return S_ISSOCK(st->st_mode) && fstat(fd, &other) == 0 &&
	       other.st_dev == st->st_dev && other.st_ino == st->st_ino;
}

/*
 * Standard error is the client: nothing may be written there, by nobody, not even by the
 * C library when it gives up. syslog(3) is not used, because it waits for a daemon that
 * does not read.
 */
static void
use_syslog(void)
{
	static const struct sockaddr_un daemon = { .sun_family = AF_UNIX,
		.sun_path = "/dev/log" };
	int nowhere = open("/", O_PATH | O_CLOEXEC);

	sink = SINK_SYSLOG;
	sink_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* Now, because a confined process may neither connect nor send by name. */
	if (sink_fd >= 0)
		(void)connect(sink_fd, (const struct sockaddr *)&daemon, sizeof(daemon));
	if (nowhere >= 0) {
		dup2(nowhere, STDERR_FILENO);
		close(nowhere);
	}
}

/*
 * A pipe or a terminal is opened anew: O_NONBLOCK belongs to the open file, which others
 * share with us.
 */
static void
use_stderr(const struct stat *st)
{
	int fd, high;

	if (S_ISREG(st->st_mode)) {
		sink = SINK_NONBLOCKING;
		is_file = true;
		return;
	}
	fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return;
	sink = SINK_NONBLOCKING;
	sink_fd = fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, ABOVE_PASSED);
	if (high >= 0) {
		close(fd);
		sink_fd = high;
	}
}

void
log_init(void)
{
	struct stat st;
	void *map;

	pid = getpid();
	fill_standard_descriptors();
	map = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map != MAP_FAILED)
		shared = map;
	if (fstat(STDERR_FILENO, &st) < 0)
		return;
	if (is_same_socket(&st, STDIN_FILENO) || is_same_socket(&st, STDOUT_FILENO))
		use_syslog();
	else if (S_ISSOCK(st.st_mode))
		sink = SINK_SOCKET;
	else
		use_stderr(&st);
}

void
log_share_memory(void *memory)
{
	struct shared *others = memory;

	if (others->second == 0)
		*others = *shared;
	if (shared != &not_shared)
		munmap(shared, sizeof(*shared));
	shared = others;
}

int
log_descriptor(void)
{
	return sink_fd;
}

bool
log_is_file(void)
{
	return is_file;
}

void
log_close(void)
{
	if (shared != &not_shared)
		munmap(shared, sizeof(*shared));
	shared = &not_shared;
	close(sink_fd);
	sink_fd = -1;
}

/* FNV-1a, to tell messages apart, not to protect anything. */
static uint32_t
hash_bytes(const char *data, size_t len)
{
	uint32_t hash = 2166136261U;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (unsigned char)data[i]) * 16777619U;
	return hash;
}

/* The memory of this message, or the oldest one. */
static struct memory *
find_memory(uint32_t hash)
{
	struct memory *oldest = &shared->memories[0];

	for (size_t i = 0; i < LOG_MESSAGES_REMEMBERED; i++) {
		struct memory *memory = &shared->memories[i];

		if (memory->hash == hash && memory->said_ms != 0)
			return memory;
		if (memory->said_ms < oldest->said_ms)
			oldest = memory;
	}
	return oldest;
}

/*
 * Whether the message may be said now; how often it was left out before. One that is said
 * once counts as said in the far future: never again, and never the oldest.
 */
static bool
may_say(const char *message, size_t len, bool once, uint32_t *ret_left_out)
{
	uint32_t hash = hash_bytes(message, len);
	struct memory *memory = find_memory(hash);
	int64_t now = util_now_ms();
	bool known = memory->hash == hash && memory->said_ms != 0;

	if (known && now - memory->said_ms < LOG_REPEAT_MS) {
		memory->left_out++;
		return false;
	}
	*ret_left_out = known ? memory->left_out : 0;
	*memory = (struct memory){ .hash = hash, .said_ms = once ? INT64_MAX : now };
	return true;
}

static ssize_t
write_line(const char *line, size_t len)
{
	struct pollfd pollfd = { .fd = sink_fd, .events = POLLOUT };

	if (sink == SINK_SYSLOG || sink == SINK_SOCKET)
		return send(sink_fd, line, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sink == SINK_POLLED &&
		(poll(&pollfd, 1, 0) <= 0 || !(pollfd.revents & POLLOUT)))
		return -1;
	return write(sink_fd, line, len);
}

/* The length of what vsnprintf wrote into size bytes, cut where it was longer. */
static size_t
written(int n, size_t size)
{
	if (n < 0)
		return 0;
	return (size_t)n < size ? (size_t)n : size - 1;
}

/* syslog wants facility and severity first (RFC 3164 section 4.1.1), and a process id. */
static size_t
begin_line(char *line, size_t size)
{
	int n = sink == SINK_SYSLOG ? snprintf(line, size, "<%d>metrics-sidecar[%d]: ",
					      LOG_DAEMON | LOG_NOTICE, pid)
	                            : snprintf(line, size, "metrics-sidecar: ");

	return written(n, size);
}

/* Whether this second has had all the lines that it may have. */
static bool
is_one_too_many(void)
{
	int64_t second = util_now_ms() / 1000;

	if (shared->second != second) {
		shared->second = second;
		shared->lines = 0;
	}
	return ++shared->lines > LOG_LINES_PER_S;
}

/* Returns whether somebody took it. */
static bool
say(const char *message, uint32_t left_out)
{
	char line[LOG_LINE_MAX];
	const size_t room = sizeof(line) - 1; /* for the newline */
	size_t len = begin_line(line, room);

	len += written(snprintf(line + len, room - len, "%s", message), room - len);
	if (left_out > 0)
		len += written(snprintf(line + len, room - len, " (%u more times since)",
				       left_out),
			room - len);
	if (shared->lost > 0)
		len += written(snprintf(line + len, room - len, " (%u messages lost)",
				       shared->lost),
			room - len);
	line[len++] = '\n';
	if (is_one_too_many() || write_line(line, len) < 0) {
		shared->lost++;
		return false;
	}
	shared->lost = 0;
	return true;
}

static void
log_arguments(bool once, const char *format, va_list args)
{
	char message[LOG_LINE_MAX / 4 * 3]; /* leaves room for the counts */
	size_t len = written(
		vsnprintf(message, sizeof(message), format, args), sizeof(message));
	struct memory *memory;
	uint32_t left_out;

	for (size_t i = 0; i < len; i++) {
		if (message[i] < ' ' || message[i] > '~')
			message[i] = '?';
	}
	if (!may_say(message, len, once, &left_out) || say(message, left_out))
		return;
	/* Nobody took it. What is to be said once must not be lost once for all. */
	memory = find_memory(hash_bytes(message, len));
	memory->left_out = left_out + 1;
	if (once)
		memory->said_ms = 0;
}

void
log_message(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_arguments(false, format, args);
	va_end(args);
}

void
log_message_once(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_arguments(true, format, args);
	va_end(args);
}
