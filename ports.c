/* SPDX-License-Identifier: MIT */
#include "ports.h"

#include "procnet.h"
#include "sockdiag.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <linux/magic.h>

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
	/*
	 * Rows of a slice of a dump: of the widest, of some 140 bytes, a message of the
	 * kernel has 230. With four for each chain, hardly one has the sixteen at which
	 * the kernel lets go of it.
	 */
	SLICE_ROWS = 192,
	SLICE_CHAIN_ROWS = 4,
	/*
	 * Each slice is a walk over all sockets: of so many rows they take ten times as
	 * long as one dump.
	 */
	SLICED_ROWS_MAX = 8 * 1024,
};

/* Of one file at a time. */
static char read_data[RESERVED_LIST];

const char *const ports_source_names[PORTS_SOURCE_NAMES] = {
	[PORTS_SOURCE_AUTO] = "auto",
	[PORTS_SOURCE_SOCK_DIAG] = "sock_diag",
	[PORTS_SOURCE_PROCFS] = "procfs",
	[PORTS_SOURCE_GVISOR] = "gvisor",
};

/* self/net, not net: it is still there where a runtime masks /proc/net. */
static const char *const file_names[PORTS_FILES] = {
	[PORTS_FILE_RANGE] = "sys/net/ipv4/ip_local_port_range",
	[PORTS_FILE_RESERVED] = "sys/net/ipv4/ip_local_reserved_ports",
	[PORTS_FILE_TW_REUSE] = "sys/net/ipv4/tcp_tw_reuse",
	[PORTS_FILE_TW_REUSE_DELAY] = "sys/net/ipv4/tcp_tw_reuse_delay",
	[PORTS_FILE_TIMESTAMPS] = "sys/net/ipv4/tcp_timestamps",
	[PORTS_FILE_TCP_CHAINS] = "sys/net/ipv4/tcp_ehash_entries",
	[PORTS_FILE_UDP_CHAINS] = "sys/net/ipv4/udp_hash_entries",
	[PORTS_FILE_VERSION] = "version",
	[PORTS_FILE_SOCKSTAT6] = "self/net/sockstat6",
	[PORTS_FILE_TCP] = "self/net/tcp",
	[PORTS_FILE_TCP6] = "self/net/tcp6",
	[PORTS_FILE_UDP] = "self/net/udp",
	[PORTS_FILE_UDP6] = "self/net/udp6",
};

static const struct table {
	enum ports_file file;
	enum usage_protocol protocol;
	bool ipv6;
} tables[] = {
	{ PORTS_FILE_TCP, USAGE_TCP, false },
	{ PORTS_FILE_TCP6, USAGE_TCP, true },
	{ PORTS_FILE_UDP, USAGE_UDP, false },
	{ PORTS_FILE_UDP6, USAGE_UDP, true },
};

/* Not tried again on EINTR: what interrupts is the alarm of a deadline. */
static ssize_t
read_some(int fd, char *buf, size_t size)
{
	ssize_t n = read(fd, buf, size);

	return n < 0 ? -errno : n;
}

/*
 * Begin at the start, also of a file that was read before; the kernel then makes it anew.
 * Returns the descriptor or -errno. A pipe in the place of a file has no other start.
 */
static int
rewind_file(const struct ports *ports, enum ports_file file)
{
	int fd = ports->files[file];

	if (fd >= 0 && lseek(fd, 0, SEEK_SET) < 0 && errno != ESPIPE)
		return -errno;
	return fd;
}

/*
 * The whole of a small file. Returns its length, -EMSGSIZE when it fills the buffer, or
 * -errno.
 */
static ssize_t
read_small(const struct ports *ports, enum ports_file file, char *buf, size_t size)
{
	int fd = rewind_file(ports, file);
	size_t len = 0;
	ssize_t n;

	if (fd < 0)
		return fd;
	while ((n = read_some(fd, buf + len, size - len)) > 0)
		len += (size_t)n;
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
	char tail[TABLE_ROW_MAX]; /* the identity of the last row so far */
};

/*
 * Whether a read of procfs that brought `n` bytes was the one that came to the end of the
 * table: it had room for another row, in a page of a seq_file, or in the buffer. Nothing
 * else that may be read in its place promises that.
 */
static bool
is_last_piece(size_t n, size_t room)
{
	const size_t page = getauxval(AT_PAGESZ);

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
	struct procnet_identity id = procnet_identify_last(buf, len);
	char data[TABLE_ROW_MAX];
	struct buf tail = buf_over(data, sizeof(data));
	bool again;

	buf_append(&tail, id.endpoints.data, id.endpoints.len);
	buf_append(&tail, id.inode.data, id.inode.len);
	again = reader->ended && tail.len > 0 && tail.len == reader->tail_len &&
	        memcmp(data, reader->tail, tail.len) == 0;
	reader->tail_len = tail.overflow ? 0 : tail.len;
	memcpy(reader->tail, data, reader->tail_len);
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
scan_open_table(const struct ports *ports, const struct table *table, struct usage *usage)
{
	char *const buf = read_data;
	struct reader reader = { 0 };
	size_t len = 0, room = TABLE_CHUNK;
	ssize_t n = 0, used;
	int fd = ports->files[table->file];

	while (!reader.ended && (n = read_some(fd, buf + len, room)) > 0) {
		reader.ended =
			ports->is_procfs[table->file] && is_last_piece((size_t)n, room);
		len += (size_t)n;
		used = consume_piece(&reader, table, usage, buf, len);
		if (used < 0)
			return (int)used;
		if (util_now_ms() >= ports->deadline_ms)
			return -ETIMEDOUT;
		len -= (size_t)used;
		memmove(buf, buf + used, len);
		room = TABLE_CHUNK - len;
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
has_no_ipv6(const struct ports *ports)
{
	return ports->files[PORTS_FILE_SOCKSTAT6] == -ENOENT;
}

static int
scan_table(const struct ports *ports, const struct table *table, struct usage *usage)
{
	int fd = rewind_file(ports, table->file);

	if (fd == -ENOENT && table->ipv6 && has_no_ipv6(ports))
		return 0;
	return fd < 0 ? fd : scan_open_table(ports, table, usage);
}

static int
scan_tables(const struct ports *ports, struct usage *usage, const char **ret_object)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		int r = scan_table(ports, &tables[i], usage);

		if (r < 0) {
			*ret_object = file_names[tables[i].file];
			return r;
		}
	}
	return 0;
}

/*
 * Whether these are the tables of gVisor. Its kernel has said so since its first release,
 * by the date of a build that never was, and by its name in later ones. Other signs, as
 * that sockstat is missing, would be shared by copies of some files of Linux's procfs.
 */
static bool
is_gvisor(const struct ports *ports)
{
	static const char date[] = "#1 SMP Sun Jan 10 15:06:54 PST 2016";
	static const char name[] = "gvisor";
	char buf[SMALL_FILE];
	ssize_t n = read_small(ports, PORTS_FILE_VERSION, buf, sizeof(buf) - 1);

	buf[n > 0 ? n : 0] = '\0';
	return strcasestr(buf, date) || strcasestr(buf, name);
}

/*
 * Scan the tables, and again when a port was found blocked after it had been counted
 * towards a destination: an IPv6 socket may listen on a port of an IPv4 connection, and
 * tcp6 is read last. What is late in the second scan too has changed meanwhile, and its
 * figure is bounded by the total.
 */
static int
scan_by_procfs(const struct ports *ports, struct usage *usage,
	struct ports_report *report, const char **ret_object)
{
	int r;

	report->source = PORTS_SOURCE_PROCFS;
	if (is_gvisor(ports)) {
		report->source = PORTS_SOURCE_GVISOR;
		usage->pool.odd_end = 0; /* a habit of Linux */
	}
	r = scan_tables(ports, usage, ret_object);
	if (r < 0 || !usage->blocked_late)
		return r;
	usage_restart(usage);
	return scan_tables(ports, usage, ret_object);
}

/* Whether a dump that ended so need not be tried again. */
static bool
is_consistent(int r, const struct usage *usage)
{
	return r != -EAGAIN && r != -ENOBUFS && (r < 0 || !usage->blocked_late);
}

/*
 * How many chains the kernel's table of such sockets has, which is a number below 0 where
 * the table is not the namespace's own; 0 where the kernel does not say.
 */
static uint64_t
read_chains(const struct ports *ports, enum usage_protocol protocol)
{
	char buf[SMALL_FILE];
	ssize_t n = read_small(ports,
		protocol == USAGE_TCP ? PORTS_FILE_TCP_CHAINS : PORTS_FILE_UDP_CHAINS,
		buf, sizeof(buf));
	size_t sign = n > 0 && buf[0] == '-';
	uint64_t chains;

	if (n < 2 || util_parse_number((struct slice){ buf + sign, (size_t)n - sign - 1 },
			     1, UINT32_MAX, &chains) < 0)
		return 0;
	return chains;
}

static uint64_t
count_rows(const struct usage *usage, enum usage_protocol protocol)
{
	uint64_t rows = 0;

	for (int state = 0; state < USAGE_STATES; state++)
		rows += usage->sockets[protocol][state];
	return rows;
}

/*
 * Whether a dump that has this many rows may have missed some, since chains have more
 * than one socket each, and how many of its ports go into a slice that does not.
 */
static bool
plan_slices(const struct ports *ports, const struct usage *usage,
	enum usage_protocol protocol, uint32_t *ret_ports)
{
	uint64_t rows = count_rows(usage, protocol), chains, slice_rows;

	*ret_ports = 0;
	if (rows <= SLICE_ROWS || rows > SLICED_ROWS_MAX)
		return false;
	chains = read_chains(ports, protocol);
	if (chains == 0 || rows <= chains)
		return false;
	slice_rows = chains * SLICE_CHAIN_ROWS < SLICE_ROWS ? chains * SLICE_CHAIN_ROWS
	                                                    : SLICE_ROWS;
	*ret_ports = (uint32_t)(slice_rows * usage_sum(usage).used_by[protocol] / rows);
	*ret_ports += *ret_ports == 0;
	return true;
}

/*
 * Collect until it is consistent, by the door number *door or a later one: a door whose
 * dump was not read to its end may still be handed the rest.
 */
static int
collect(const struct ports *ports, struct usage *usage,
	const struct sockdiag_slices *slices, int *door)
{
	for (;;) {
		int r = sockdiag_collect(
			&ports->sock_diag[*door], usage, slices, ports->deadline_ms);

		if (is_consistent(r, usage) || *door + 1 == PORTS_SOCK_DIAG_TRIES)
			return r;
		(*door)++;
		usage_restart(usage);
	}
}

/* Collect, and again in slices where that is needed to miss nothing. */
static int
scan_by_sock_diag(const struct ports *ports, struct usage *usage, const char **ret_object)
{
	static struct sockdiag_slices slices;
	bool wanted = false;
	int door = 0, r = collect(ports, usage, NULL, &door);

	*ret_object = "sock_diag";
	if (r < 0)
		return r;
	for (int i = 0; i < USAGE_PROTOCOLS; i++)
		wanted |= plan_slices(
			ports, usage, (enum usage_protocol)i, &slices.ports[i]);
	if (!wanted)
		return 0;
	memcpy(slices.held, usage->held, sizeof(slices.held));
	usage_restart(usage);
	r = collect(ports, usage, &slices, &door);
	explicit_bzero(&slices, sizeof(slices));
	return r;
}

/* Returns 0 or -errno, and in report->source who answered. */
static int
scan(const struct ports *ports, struct usage *usage, struct ports_report *report,
	const char **ret_object)
{
	int r;

	report->sock_diag_error = 0;
	report->source = PORTS_SOURCE_SOCK_DIAG;
	if (ports->source == PORTS_SOURCE_PROCFS)
		return scan_by_procfs(ports, usage, report, ret_object);
	r = scan_by_sock_diag(ports, usage, ret_object);
	/* A deadline that has passed leaves no time for another source. */
	if (r < 0 && r != -EINTR && r != -ETIMEDOUT &&
		ports->source == PORTS_SOURCE_AUTO) {
		report->sock_diag_error = r;
		usage_restart(usage);
		return scan_by_procfs(ports, usage, report, ret_object);
	}
	return r;
}

static int
read_pool(const struct ports *ports, struct usage_pool *pool, const char **ret_object)
{
	char *const buf = read_data;
	uint16_t first, last;
	ssize_t n;
	int r;

	*ret_object = file_names[PORTS_FILE_RANGE];
	n = read_small(ports, PORTS_FILE_RANGE, buf, SMALL_FILE);
	if (n < 0)
		return (int)n;
	r = procnet_parse_range(buf, (size_t)n, &first, &last);
	if (r < 0)
		return r;
	usage_pool_fill(pool, first, last);

	*ret_object = file_names[PORTS_FILE_RESERVED];
	/* The kernel clears as many bytes as are asked for (proc_sys_call_handler). */
	n = read_small(ports, PORTS_FILE_RESERVED, buf, SMALL_FILE);
	if (n == -EMSGSIZE)
		n = read_small(ports, PORTS_FILE_RESERVED, buf, RESERVED_LIST);
	if (n < 0)
		return (int)n;
	return procnet_parse_reserved(pool, buf, (size_t)n);
}

/*
 * A sysctl that is one number. A kernel that lacks the file does what it did before there
 * was one.
 */
static int
read_setting(const struct ports *ports, enum ports_file file, uint32_t absent,
	uint32_t *ret_value, const char **ret_object)
{
	char buf[SMALL_FILE];
	ssize_t n = read_small(ports, file, buf, sizeof(buf));

	*ret_object = file_names[file];
	if (n == -ENOENT) {
		*ret_value = absent;
		return 0;
	}
	return n < 0 ? (int)n : procnet_parse_setting(buf, (size_t)n, ret_value);
}

static int
read_reuse(const struct ports *ports, struct usage_reuse *reuse, const char **ret_object)
{
	enum {
		DELAY_MS = 1000, /* before Linux 6.14 */
	};
	int r = read_setting(ports, PORTS_FILE_TW_REUSE, 0, &reuse->mode, ret_object);

	if (r == 0)
		r = read_setting(ports, PORTS_FILE_TW_REUSE_DELAY, DELAY_MS,
			&reuse->delay_ms, ret_object);
	if (r == 0)
		r = read_setting(
			ports, PORTS_FILE_TIMESTAMPS, 0, &reuse->timestamps, ret_object);
	return r;
}

/*
 * Leave nothing of the sockets in memory but the report: the process that has it reads a
 * request next. Beyond a chunk of a table the buffer holds settings at most.
 */
static void
wipe(struct usage *usage, enum ports_source source)
{
	usage_wipe(usage);
	if (source != PORTS_SOURCE_SOCK_DIAG)
		explicit_bzero(read_data, TABLE_CHUNK);
}

static void
fill_report(const struct usage *usage, size_t top, struct ports_report *report)
{
	report->totals = usage_sum(usage);
	usage_draw(usage, &report->map);
	memcpy(report->sockets, usage->sockets, sizeof(report->sockets));
	report->rows = usage->rows;
	report->reserved = usage->pool.reserved;
	report->range_first = usage->pool.range_first;
	report->range_last = usage->pool.range_last;
	report->shows_bound_inactive = usage->shows_bound_inactive;
	report->is_lower_bound = report->source == PORTS_SOURCE_GVISOR;
	report->top_count = destinations_top(&usage->destinations, top, report->top);
}

int
ports_collect(const struct ports *ports, size_t top, struct ports_report *ret_report,
	const char **ret_object)
{
	static struct usage usage;
	int64_t start_us = util_now_us();
	int r = ports->procfs_error;

	*ret_object = "procfs";
	if (r < 0)
		return r;
	usage_reset(&usage, ports->seed);
	r = read_pool(ports, &usage.pool, ret_object);
	if (r == 0)
		r = read_reuse(ports, &usage.reuse, ret_object);
	if (r == 0)
		r = scan(ports, &usage, ret_report, ret_object);
	if (r == 0)
		fill_report(&usage, top, ret_report);
	wipe(&usage, ret_report->source);
	if (r < 0)
		return r;
	ret_report->scan_duration_us = (uint64_t)(util_now_us() - start_us);
	return 0;
}

/* False where the kernel does not say. */
static bool
is_on_procfs(int fd)
{
	struct statfs system;

	return fstatfs(fd, &system) == 0 && system.f_type == PROC_SUPER_MAGIC;
}

/*
 * Open the files first..last, both included, or remember why not. After a deadline has
 * ended the wait for one, the others, which are read after it, are not tried.
 */
static void
open_files(struct ports *ports, const char *procfs, enum ports_file first,
	enum ports_file last)
{
	int procfd = open(procfs, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = -1;

	ports->procfs_error = procfd < 0 ? -errno : 0;
	for (int i = (int)first; procfd >= 0 && i <= (int)last; i++) {
		if (fd != -EINTR)
			fd = openat(procfd, file_names[i], O_RDONLY | O_CLOEXEC);
		if (fd == -1)
			fd = -errno;
		ports->files[i] = fd;
		ports->is_procfs[i] = is_on_procfs(fd);
	}
	if (procfd >= 0)
		close(procfd);
}

static void
open_nothing(struct ports *ports)
{
	ports->deadline_ms = INT64_MAX;
	for (int i = 0; i < PORTS_FILES; i++)
		ports->files[i] = -EBADF;
	for (int i = 0; i < PORTS_SOCK_DIAG_TRIES; i++)
		ports->sock_diag[i].fd = -EBADF;
}

void
ports_open(struct ports *ret_ports, const char *procfs, enum ports_source source)
{
	ret_ports->source = source;
	open_nothing(ret_ports);
	util_fill_random(ret_ports->seed, sizeof(ret_ports->seed));
	open_files(ret_ports, procfs, PORTS_FILE_RANGE,
		source == PORTS_SOURCE_SOCK_DIAG ? PORTS_FILE_UDP_CHAINS
						 : PORTS_FILE_UDP6);
	if (source == PORTS_SOURCE_PROCFS)
		return;
	for (int i = 0; i < PORTS_SOCK_DIAG_TRIES; i++)
		ret_ports->sock_diag[i] = sockdiag_open();
}

void
ports_close(const struct ports *ports)
{
	for (int i = 0; i < PORTS_FILES; i++) {
		if (ports->files[i] >= 0)
			close(ports->files[i]);
	}
	for (int i = 0; i < PORTS_SOCK_DIAG_TRIES; i++)
		sockdiag_close(&ports->sock_diag[i]);
}

int
ports_pool_contains(const char *procfs, uint16_t port)
{
	struct usage_pool pool;
	struct ports ports;
	const char *object;
	int r;

	open_nothing(&ports);
	open_files(&ports, procfs, PORTS_FILE_RANGE, PORTS_FILE_RESERVED);
	r = ports.procfs_error;
	if (r == 0)
		r = read_pool(&ports, &pool, &object);
	ports_close(&ports);
	return r < 0 ? r : usage_pool_contains(&pool, port);
}
