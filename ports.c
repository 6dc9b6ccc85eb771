/* SPDX-License-Identifier: MIT */
#include "ports.h"

#include "procnet.h"
#include "sockdiag.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define RANGE_FILE "sys/net/ipv4/ip_local_port_range"
#define RESERVED_FILE "sys/net/ipv4/ip_local_reserved_ports"
#define SOCKSTAT_FILE "self/net/sockstat"
#define SOCKSTAT6_FILE "self/net/sockstat6"

enum {
	/* A seq_file hands out one page for each read. */
	TABLE_CHUNK = 16 * 1024,
	/* Of tcp6, the widest: 171 bytes, and 116 more when every number is at its
	 * widest. */
	TABLE_ROW_MAX = 300,
	SMALL_FILE = 4 * 1024,
	/*
	 * The kernel gives the list only to a single read, cut where the buffer ends. The
	 * longest one has every other port, 32768 entries of six bytes ("12345,"): 192
	 * KiB. This is more.
	 */
	RESERVED_LIST = 256 * 1024,
	/* Dumps that the kernel calls inconsistent, before another source is asked. */
	SOCK_DIAG_TRIES = 3,
};

const char *const ports_source_names[PORTS_SOURCES] = {
	[PORTS_SOURCE_AUTO] = "auto",
	[PORTS_SOURCE_SOCK_DIAG] = "sock_diag",
	[PORTS_SOURCE_PROCFS] = "procfs",
};

/* self/net, not net: it is still there where a runtime masks /proc/net. */
static const struct table {
	const char *file;
	enum usage_protocol protocol;
	bool ipv6;
} tables[] = {
	{ "self/net/tcp", USAGE_TCP, false },
	{ "self/net/tcp6", USAGE_TCP, true },
	{ "self/net/udp", USAGE_UDP, false },
	{ "self/net/udp6", USAGE_UDP, true },
};

/* Not tried again on EINTR: what interrupts is the alarm of a deadline. */
static ssize_t
read_some(int fd, char *buf, size_t size)
{
	ssize_t n = read(fd, buf, size);

	return n < 0 ? -errno : n;
}

static int
open_file(int procfd, const char *file)
{
	int fd = openat(procfd, file, O_RDONLY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/*
 * The whole of a small file. Returns its length, -EMSGSIZE when it fills the buffer, or
 * -errno.
 */
static ssize_t
read_small(int procfd, const char *file, char *buf, size_t size)
{
	int fd = open_file(procfd, file);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read_some(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
	close(fd);
	if (n < 0)
		return n;
	return len < size ? (ssize_t)len : -EMSGSIZE;
}

/* The heading, once, then rows. Returns the bytes consumed or -EBADMSG. */
static ssize_t
consume(const struct table *table, struct usage *usage, bool *heading_seen,
	const char *buf, size_t len)
{
	ssize_t heading = 0, rows;

	if (!*heading_seen) {
		heading = procnet_parse_heading(buf, len);
		if (heading <= 0)
			return heading;
		*heading_seen = true;
	}
	rows = procnet_scan(usage, table->protocol, buf + heading, len - (size_t)heading);
	return rows < 0 ? rows : heading + rows;
}

/* A socket table while it is read. */
struct reader {
	bool heading_seen;
	bool ended;
	size_t tail_len;
	char tail[TABLE_ROW_MAX]; /* the endpoints of the last row so far */
};

/*
 * Whether a read that brought `n` bytes was the one that came to the end of the table: it
 * had room for another row, in a page of a seq_file, or in the buffer.
 */
static bool
is_last_piece(size_t n, size_t room)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return n + TABLE_ROW_MAX <= (room < page ? room : page);
}

/*
 * Whether this last piece shows the end of the table again. When it is read on after its
 * last row, the kernel looks for "row number so-and-so" from the start, and finds rows
 * that it has shown when others were added meanwhile (tcp_seek_last_pos).
 */
static bool
is_tail_again(struct reader *reader, const char *buf, size_t len)
{
	struct slice tail = procnet_last_endpoints(buf, len);
	bool again = reader->ended && tail.len > 0 && tail.len == reader->tail_len &&
	             memcmp(tail.data, reader->tail, tail.len) == 0;

	reader->tail_len = tail.len < sizeof(reader->tail) ? tail.len : 0;
	memcpy(reader->tail, tail.data, reader->tail_len);
	return again;
}

/* Returns the bytes consumed or -EBADMSG. */
static ssize_t
consume_piece(struct reader *reader, const struct table *table, struct usage *usage,
	const char *buf, size_t len)
{
	if (is_tail_again(reader, buf, len))
		return (ssize_t)len;
	return consume(table, usage, &reader->heading_seen, buf, len);
}

/* Count the rows of an open table. Returns 0 or -errno. */
static int
scan_open_table(int fd, const struct table *table, struct usage *usage)
{
	static char buf[TABLE_CHUNK];
	struct reader reader = { 0 };
	size_t len = 0, room = sizeof(buf);
	ssize_t n = 0, used;

	while (!reader.ended && (n = read_some(fd, buf + len, room)) > 0) {
		reader.ended = is_last_piece((size_t)n, room);
		len += (size_t)n;
		used = consume_piece(&reader, table, usage, buf, len);
		if (used < 0)
			return (int)used;
		len -= (size_t)used;
		memmove(buf, buf + used, len);
		room = sizeof(buf) - len;
		if (room == 0)
			return -EBADMSG; /* one line fills the buffer */
	}
	if (n < 0)
		return (int)n;
	/* The table ends with its heading read and no torn line left over. */
	return reader.heading_seen && len == 0 ? 0 : -EBADMSG;
}

/* A kernel without IPv6 has neither its tables nor its sockstat6. */
static bool
has_no_ipv6(int procfd)
{
	return faccessat(procfd, SOCKSTAT6_FILE, F_OK, 0) < 0 && errno == ENOENT;
}

static int
scan_table(int procfd, const struct table *table, struct usage *usage)
{
	int fd = open_file(procfd, table->file);
	int r;

	if (fd == -ENOENT && table->ipv6 && has_no_ipv6(procfd))
		return 0;
	if (fd < 0)
		return fd;
	r = scan_open_table(fd, table, usage);
	close(fd);
	return r;
}

/* A count of sockstat, or false where that cannot be had, as under gVisor. */
static bool
read_count(int procfd, const char *file, const char *label, const char *name,
	uint64_t *ret_count)
{
	char buf[SMALL_FILE];
	ssize_t n = read_small(procfd, file, buf, sizeof(buf));

	return n > 0 && procnet_find_count(buf, (size_t)n, label, name, ret_count) == 0;
}

/*
 * Whether sockstat counts no TCPv6 socket in use, and no socket in TIME_WAIT, of either
 * family.
 */
static bool
counts_nothing_for_tcp6(int procfd)
{
	uint64_t in_use, time_wait;

	return read_count(procfd, SOCKSTAT6_FILE, "TCP6:", "inuse", &in_use) &&
	       in_use == 0 &&
	       read_count(procfd, SOCKSTAT_FILE, "TCP:", "tw", &time_wait) &&
	       time_wait == 0;
}

/*
 * The guard of sockstat, 0.05 ms, saves the walk over tcp6, milliseconds on a big host,
 * when there was nothing for it to show before the walk over tcp, nor after. Comparing
 * the count of TIME_WAIT with the rows of tcp would save it more often, but a socket that
 * expires meanwhile could hide one of IPv6.
 */
static int
scan_tables(int procfd, struct usage *usage, const char **ret_object)
{
	bool skip_tcp6 = counts_nothing_for_tcp6(procfd);

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		const struct table *table = &tables[i];
		int r;

		if (table->protocol == USAGE_TCP && table->ipv6 && skip_tcp6 &&
			counts_nothing_for_tcp6(procfd))
			continue;
		r = scan_table(procfd, table, usage);
		if (r < 0) {
			*ret_object = table->file;
			return r;
		}
	}
	return 0;
}

/*
 * Scan the tables, and again when a port was found blocked after it had been counted
 * towards a destination: an IPv6 socket may listen on a port of an IPv4 connection, and
 * tcp6 is read last. What is late in the second scan too has changed meanwhile, and its
 * figure is bounded by the total.
 */
static int
scan_by_procfs(int procfd, struct usage *usage, const char **ret_object)
{
	int r = scan_tables(procfd, usage, ret_object);

	if (r < 0 || !usage->blocked_late)
		return r;
	usage_restart(usage);
	return scan_tables(procfd, usage, ret_object);
}

/* Whether a dump that ended so need not be tried again. */
static bool
is_consistent(int r, const struct usage *usage)
{
	return r != -EAGAIN && r != -ENOBUFS && (r < 0 || !usage->blocked_late);
}

static int
scan_by_sock_diag(struct usage *usage, const char **ret_object)
{
	int r = sockdiag_collect(usage);

	*ret_object = "sock_diag";
	for (int i = 1; i < SOCK_DIAG_TRIES && !is_consistent(r, usage); i++) {
		usage_restart(usage);
		r = sockdiag_collect(usage);
	}
	return r;
}

/* Returns 0 or -errno, and in report->source who answered. */
static int
scan(int procfd, struct ports_report *report, const char **ret_object)
{
	struct usage *usage = &report->usage;
	int r;

	report->sock_diag_error = 0;
	if (report->source == PORTS_SOURCE_PROCFS)
		return scan_by_procfs(procfd, usage, ret_object);
	r = scan_by_sock_diag(usage, ret_object);
	/* A deadline that has passed leaves no time for another source. */
	if (r < 0 && r != -EINTR && report->source == PORTS_SOURCE_AUTO) {
		report->source = PORTS_SOURCE_PROCFS;
		report->sock_diag_error = r;
		usage_restart(usage);
		return scan_by_procfs(procfd, usage, ret_object);
	}
	report->source = PORTS_SOURCE_SOCK_DIAG;
	return r;
}

/* The kernel gives every process random bytes; they serve where getrandom() is denied. */
static void
make_seed(uint64_t ret_seed[static DESTINATIONS_SEED_WORDS])
{
	const size_t size = DESTINATIONS_SEED_WORDS * sizeof(ret_seed[0]);

	if (getrandom(ret_seed, size, GRND_NONBLOCK) != (ssize_t)size)
		memcpy(ret_seed, (const void *)getauxval(AT_RANDOM), size);
}

static int
read_pool(int procfd, struct usage_pool *pool, const char **ret_object)
{
	static char buf[RESERVED_LIST];
	uint16_t first, last;
	ssize_t n;
	int r;

	*ret_object = RANGE_FILE;
	n = read_small(procfd, RANGE_FILE, buf, SMALL_FILE);
	if (n < 0)
		return (int)n;
	r = procnet_parse_range(buf, (size_t)n, &first, &last);
	if (r < 0)
		return r;
	usage_pool_fill(pool, first, last);

	*ret_object = RESERVED_FILE;
	/* The kernel clears as many bytes as are asked for (proc_sys_call_handler). */
	n = read_small(procfd, RESERVED_FILE, buf, SMALL_FILE);
	if (n == -EMSGSIZE)
		n = read_small(procfd, RESERVED_FILE, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	return procnet_parse_reserved(pool, buf, (size_t)n);
}

static int
open_procfs(const char *procfs, const char **ret_object)
{
	int fd = open(procfs, O_PATH | O_DIRECTORY | O_CLOEXEC);

	*ret_object = "procfs";
	return fd < 0 ? -errno : fd;
}

static uint64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* Start usage over with the pool of now. Returns 0 or -errno. */
static int
reset_usage(int procfd, struct usage *usage, const char **ret_object)
{
	uint64_t seed[DESTINATIONS_SEED_WORDS];

	make_seed(seed);
	usage_reset(usage, seed);
	return read_pool(procfd, &usage->pool, ret_object);
}

int
ports_collect(const char *procfs, enum ports_source source,
	struct ports_report *ret_report, const char **ret_object)
{
	uint64_t start = now_us();
	int procfd, r;

	procfd = open_procfs(procfs, ret_object);
	if (procfd < 0)
		return procfd;
	ret_report->source = source;
	r = reset_usage(procfd, &ret_report->usage, ret_object);
	if (r == 0)
		r = scan(procfd, ret_report, ret_object);
	close(procfd);
	if (r < 0)
		return r;
	ret_report->totals = usage_sum(&ret_report->usage);
	ret_report->scan_duration_us = now_us() - start;
	return 0;
}

int
ports_pool_contains(const char *procfs, uint16_t port)
{
	struct usage_pool pool;
	const char *object;
	int procfd = open_procfs(procfs, &object);
	int r;

	if (procfd < 0)
		return procfd;
	r = read_pool(procfd, &pool, &object);
	close(procfd);
	return r < 0 ? r : usage_pool_contains(&pool, port);
}
