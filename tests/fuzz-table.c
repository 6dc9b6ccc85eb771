/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a socket table, in one piece and in two. The kernel writes it, but where a
 * read() ends is nobody's decision.
 */
#include "procnet.h"
#include "usage.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

/* What scanning made of some bytes. */
struct scan {
	struct usage usage;
	ssize_t consumed;
};

/* Filling the pool takes longer than copying it. */
static const struct usage *
fresh_usage(void)
{
	static struct usage fresh;

	if (fresh.range_first == 0) {
		usage_reset(&fresh, 1024, 65535);
		usage_reserve(&fresh, 8080, 8080);
		usage_reserve(&fresh, 9148, 9150);
	}
	return &fresh;
}

static size_t
count_newlines(const char *buf, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += buf[i] == '\n';
	return count;
}

/* Every row is counted, and no row is left that could be. */
static void
check_consumed(const struct scan *scan, const char *buf, size_t len)
{
	size_t consumed = (size_t)scan->consumed;

	assert(scan->consumed >= 0 && consumed <= len);
	assert(consumed == 0 || buf[consumed - 1] == '\n');
	assert(count_newlines(buf + consumed, len - consumed) == 0);
	assert(scan->usage.rows == count_newlines(buf, consumed));
}

/* No port is held that the pool lacks, none is held by TCP in one bitmap only. */
static void
check_bitmaps(const struct usage *usage)
{
	for (int i = 0; i < USAGE_WORDS; i++) {
		uint64_t tcp = usage->held[USAGE_TCP].words[i];
		uint64_t udp = usage->held[USAGE_UDP].words[i];

		assert(((tcp | udp) & ~usage->pool.words[i]) == 0);
		assert((usage->held_beyond_time_wait.words[i] & ~tcp) == 0);
	}
}

static void
check_totals(const struct usage *usage)
{
	struct usage_totals totals = usage_sum(usage);
	uint64_t sockets = 0;

	assert(totals.total == 65535 - 1024 + 1 - 4 && usage->reserved == 4);
	assert(totals.used <= totals.total);
	for (int protocol = 0; protocol < USAGE_PROTOCOLS; protocol++) {
		assert(totals.used_by[protocol] <= totals.used);
		for (int state = 0; state < USAGE_STATES; state++)
			sockets += usage->sockets[protocol][state];
		assert(usage->sockets[protocol][0] == 0);
	}
	assert(totals.used <= totals.used_by[USAGE_TCP] + totals.used_by[USAGE_UDP]);
	assert(totals.used <= sockets && sockets <= usage->rows);
	assert(totals.time_wait <= totals.used_by[USAGE_TCP]);
}

static void
scan_whole(struct scan *scan, enum usage_protocol protocol, const char *buf, size_t len)
{
	memcpy(&scan->usage, fresh_usage(), sizeof(scan->usage));
	scan->consumed = procnet_scan(&scan->usage, protocol, buf, len);
	if (scan->consumed < 0) {
		assert(scan->consumed == -EBADMSG);
		return;
	}
	check_consumed(scan, buf, len);
	check_bitmaps(&scan->usage);
	check_totals(&scan->usage);
}

/* A read() that ends anywhere must not show in the sums. */
static void
check_in_two(const struct scan *whole, enum usage_protocol protocol, const char *buf,
	size_t len, size_t first_len)
{
	static struct usage usage;
	ssize_t first, second = 0;

	memcpy(&usage, fresh_usage(), sizeof(usage));
	first = procnet_scan(&usage, protocol, buf, first_len);
	if (first >= 0)
		second = procnet_scan(&usage, protocol, buf + first, len - (size_t)first);
	if (whole->consumed < 0) {
		assert(first == -EBADMSG || second == -EBADMSG);
		return;
	}
	assert(first >= 0 && second >= 0 && first + second == whole->consumed);
	/* The struct has no padding that could differ. */
	assert(memcmp(&usage, &whole->usage, sizeof(usage)) == 0);
}

/* What UDP rows can say, TCP rows can say too. */
static void
check_protocols(const struct scan *tcp, const struct scan *udp)
{
	if (udp->consumed < 0)
		return;
	assert(tcp->consumed == udp->consumed && tcp->usage.rows == udp->usage.rows);
	assert(memcmp(&tcp->usage.held[USAGE_TCP], &udp->usage.held[USAGE_UDP],
		       sizeof(struct usage_bitmap)) == 0);
}

/* The bytes of the heading, 0 where there is none: the rows can be scanned without. */
static size_t
skip_heading(const char *buf, size_t len)
{
	ssize_t heading = procnet_parse_heading(buf, len);

	assert(heading >= 0 || heading == -EBADMSG);
	assert(heading <= (ssize_t)len);
	assert((heading == 0) == (count_newlines(buf, len) == 0));
	if (heading <= 0)
		return 0;
	assert(buf[heading - 1] == '\n' && count_newlines(buf, (size_t)heading) == 1);
	assert(procnet_parse_heading(buf, (size_t)heading) == heading);
	assert(procnet_parse_heading(buf, (size_t)heading - 1) == 0);
	return (size_t)heading;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct scan scans[USAGE_PROTOCOLS];
	const char *buf = (const char *)data;
	size_t heading = skip_heading(buf, size), len = size - heading;

	buf += heading;
	for (int i = 0; i < USAGE_PROTOCOLS; i++) {
		enum usage_protocol protocol = (enum usage_protocol)i;

		scan_whole(&scans[i], protocol, buf, len);
		check_in_two(&scans[i], protocol, buf, len, len / 2);
		check_in_two(&scans[i], protocol, buf, len, len - (len > 0));
		/* Somewhere else for every input, the same for the same input. */
		check_in_two(&scans[i], protocol, buf, len,
			len > 0 ? (unsigned char)buf[len / 2] * 31 % len : 0);
	}
	check_protocols(&scans[USAGE_TCP], &scans[USAGE_UDP]);
	return 0;
}
