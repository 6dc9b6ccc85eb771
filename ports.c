/* SPDX-License-Identifier: MIT */
#include "ports.h"

#include "procnet.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define RANGE_FILE "sys/net/ipv4/ip_local_port_range"
#define RESERVED_FILE "sys/net/ipv4/ip_local_reserved_ports"
#define SOCKSTAT_FILE "self/net/sockstat"
#define SOCKSTAT6_FILE "self/net/sockstat6"

enum {
	/* A seq_file hands out one page for each read; rows are 300 bytes at most. */
	TABLE_CHUNK = 16 * 1024,
	SMALL_FILE = 4 * 1024,
	/*
	 * The kernel gives the list only to a single read, cut where the buffer ends. The
	 * longest one has every other port, 32768 entries of six bytes ("12345,"): 192
	 * KiB. This is more.
	 */
	RESERVED_LIST = 256 * 1024,
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

/* Count the rows of an open table. Returns 0 or -errno. */
static int
scan_open_table(int fd, const struct table *table, struct usage *usage)
{
	static char buf[TABLE_CHUNK];
	bool heading_seen = false;
	size_t len = 0;
	ssize_t n, used;

	while ((n = read_some(fd, buf + len, sizeof(buf) - len)) > 0) {
		len += (size_t)n;
		used = consume(table, usage, &heading_seen, buf, len);
		if (used < 0)
			return (int)used;
		len -= (size_t)used;
		memmove(buf, buf + used, len);
		if (len == sizeof(buf))
			return -EBADMSG; /* one line fills the buffer */
	}
	if (n < 0)
		return (int)n;
	/* The table ends with its heading read and no torn line left over. */
	return heading_seen && len == 0 ? 0 : -EBADMSG;
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

/* Start usage over with the pool that the kernel hands out. */
static int
read_pool(int procfd, struct usage *usage, const char **ret_object)
{
	static char buf[RESERVED_LIST];
	uint16_t first, last;
	ssize_t n;
	int r;

	*ret_object = RANGE_FILE;
	n = read_small(procfd, RANGE_FILE, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	r = procnet_parse_range(buf, (size_t)n, &first, &last);
	if (r < 0)
		return r;
	usage_reset(usage, first, last);

	*ret_object = RESERVED_FILE;
	n = read_small(procfd, RESERVED_FILE, buf, sizeof(buf));
	if (n < 0)
		return (int)n;
	return procnet_parse_reserved(usage, buf, (size_t)n);
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

int
ports_collect(const char *procfs, enum ports_source source,
	struct ports_report *ret_report, const char **ret_object)
{
	uint64_t start = now_us();
	int procfd, r;

	if (source == PORTS_SOURCE_SOCK_DIAG) {
		*ret_object = "sock_diag";
		return -EOPNOTSUPP;
	}
	procfd = open_procfs(procfs, ret_object);
	if (procfd < 0)
		return procfd;
	r = read_pool(procfd, &ret_report->usage, ret_object);
	if (r == 0)
		r = scan_tables(procfd, &ret_report->usage, ret_object);
	close(procfd);
	if (r < 0)
		return r;
	ret_report->totals = usage_sum(&ret_report->usage);
	ret_report->source = PORTS_SOURCE_PROCFS;
	ret_report->scan_duration_us = now_us() - start;
	return 0;
}

int
ports_pool_contains(const char *procfs, uint16_t port)
{
	static struct usage usage;
	const char *object;
	int procfd = open_procfs(procfs, &object);
	int r;

	if (procfd < 0)
		return procfd;
	r = read_pool(procfd, &usage, &object);
	close(procfd);
	return r < 0 ? r : usage_in_pool(&usage, port);
}
