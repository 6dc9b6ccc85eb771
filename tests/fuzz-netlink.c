/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a part of a dump of sockets. The input is taken three times: as the bytes
 * that recv(2) brought, as short records that are made into messages with headers that
 * fit, and as the release of a kernel.
 *
 * Source: netlink(7); struct inet_diag_msg in linux/inet_diag.h.
 */
#include "sockdiag.h"
#include "usage.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
	/* Said in numbers here, because the program takes them from the same headers. */
	HEADER_BYTES = 16,
	ROW_BYTES = 72,
	ROW_TYPE_TCP = 18,
	ROW_TYPE_UDP = 20,
	TYPE_ERROR = 2,
	TYPE_DONE = 3,
	FLAG_INCONSISTENT = 16,
	FAMILY_IPV4 = 2,
	FAMILY_IPV6 = 10,
	STATE_BOUND = 13,
	REUSE_DELAY_MS = 1000,

	SEQUENCE = 3,
	RECORD_BYTES = 8,
	RECORDS_MAX = 48, /* of one input; the others say nothing new */
	/* A record makes one message of at most 16 + 72 + 8 bytes. */
	BUILT_MAX = RECORDS_MAX * 96,
	ROWS_MAX = 1024,
};

/* What a record is made into. */
enum shape {
	SHAPE_ROW, /* and whatever is not below */
	SHAPE_DONE = 10,
	SHAPE_ERROR,
	SHAPE_INCONSISTENT,
	SHAPE_OTHER_TYPE,
	SHAPE_SHORT,
	SHAPE_OTHER_SEQUENCE,
};

/* What the harness itself has found in a buffer, before it came to its end or an error.
 */
static struct walked {
	struct usage_row rows[ROWS_MAX];
	size_t ends[ROWS_MAX]; /* where the message of each row ends */
	size_t row_count;
	int result;
} walked;

/* Of the sysctls that decide about TIME_WAIT; the first is that of a usage by itself. */
static const struct usage_reuse reuses[] = {
	{ 1, 1, REUSE_DELAY_MS },
	{ 2, 1, REUSE_DELAY_MS },
	{ 1, 0, REUSE_DELAY_MS },
	{ 0, 1, REUSE_DELAY_MS },
};

static const uint64_t seeds[2][DESTINATIONS_SEED_WORDS] = { { 1, 2 },
	{ UINT64_MAX, 0x5eed } };

static uint32_t
read_32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

static uint16_t
read_16(const uint8_t *at)
{
	uint16_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* A block of its own, at an odd address: the sanitizers see what is read beyond its end,
 * and what is read as if it were aligned. */
static char *
copy_exactly(const uint8_t *bytes, size_t len)
{
	char *block = malloc(len + 1);

	assert(block);
	if (len > 0)
		memcpy(block + 1, bytes, len);
	return block;
}

static int
scan(struct usage *usage, enum sockdiag_rows rows, uint32_t sequence,
	const uint8_t *bytes, size_t len)
{
	char *block = copy_exactly(bytes, len);
	int r = sockdiag_scan(usage, rows, sequence, block + 1, len);

	free(block);
	return r;
}

static void
reset(struct usage *usage, const uint64_t seed[static DESTINATIONS_SEED_WORDS])
{
	usage_reset(usage, seed);
	usage_pool_fill(&usage->pool, 1024, 65535);
	usage_pool_reserve(&usage->pool, 9148, 9150);
	usage->reuse = reuses[0];
}

static bool
walk_state(enum sockdiag_rows rows, unsigned state, enum usage_state *ret_state)
{
	static const enum usage_state tcp[] = {
		[1] = USAGE_ESTABLISHED,
		[2] = USAGE_SYN_SENT,
		[3] = USAGE_SYN_RECV,
		[4] = USAGE_FIN_WAIT1,
		[5] = USAGE_FIN_WAIT2,
		[6] = USAGE_TIME_WAIT,
		[7] = USAGE_BOUND_INACTIVE,
		[8] = USAGE_CLOSE_WAIT,
		[9] = USAGE_LAST_ACK,
		[10] = USAGE_LISTEN,
		[11] = USAGE_CLOSING,
		[STATE_BOUND] = USAGE_BOUND_INACTIVE,
	};

	if (rows == SOCKDIAG_UDP) {
		*ret_state = state == 1 ? USAGE_ESTABLISHED : USAGE_CLOSE;
		return state == 1 || state == 7;
	}
	*ret_state = state < sizeof(tcp) / sizeof(tcp[0]) ? tcp[state] : 0;
	return *ret_state != 0;
}

static struct in6_addr
walk_address(uint8_t family, const uint8_t *at)
{
	struct in6_addr address = { .s6_addr = { [10] = 0xff, [11] = 0xff } };

	if (family == FAMILY_IPV4)
		memcpy(&address.s6_addr[12], at, 4);
	else
		memcpy(&address, at, 16);
	return address;
}

static int
walk_row(enum sockdiag_rows rows, const uint8_t *at, size_t len)
{
	struct usage_row *row = &walked.rows[walked.row_count];

	if (len < ROW_BYTES || (at[0] != FAMILY_IPV4 && at[0] != FAMILY_IPV6) ||
		!walk_state(rows, at[1], &row->state))
		return -EBADMSG;
	row->protocol = rows == SOCKDIAG_UDP ? USAGE_UDP : USAGE_TCP;
	row->is_bound = rows == SOCKDIAG_TCP_BOUND;
	row->destination.device = read_32(at + 40);
	row->age_ms =
		at[2] == 3 && read_32(at + 52) <= 60000 ? 60000 - read_32(at + 52) : 0;
	row->local_port = (uint16_t)(at[4] << 8 | at[5]);
	row->destination.remote_port = (uint16_t)(at[6] << 8 | at[7]);
	row->destination.local = walk_address(at[0], at + 8);
	row->destination.remote = walk_address(at[0], at + 24);
	walked.row_count++;
	return 0;
}

static int
walk_message(enum sockdiag_rows rows, unsigned type, const uint8_t *at, size_t len)
{
	int error;

	if (type != TYPE_DONE && type != TYPE_ERROR)
		return type == (rows == SOCKDIAG_UDP ? ROW_TYPE_UDP : ROW_TYPE_TCP)
		               ? walk_row(rows, at, len)
		               : -EBADMSG;
	if (len < 4)
		return -EBADMSG;
	error = (int)read_32(at);
	if (error < -4095) /* the kernel has no such error */
		return -EBADMSG;
	if (error < 0)
		return error;
	return type == TYPE_DONE ? 1 : -EBADMSG;
}

/* Fill in `walked`. */
static void
walk(enum sockdiag_rows rows, uint32_t sequence, const uint8_t *buf, size_t len)
{
	size_t at = 0, message_len;
	int r = 0;

	walked.row_count = 0;
	while (r == 0 && at < len && walked.row_count < ROWS_MAX) {
		r = -EBADMSG;
		if (len - at < HEADER_BYTES)
			break;
		message_len = read_32(buf + at);
		if (message_len < HEADER_BYTES || message_len > len - at ||
			read_32(buf + at + 8) != sequence)
			break;
		r = -EAGAIN;
		if (read_16(buf + at + 6) & FLAG_INCONSISTENT)
			break;
		r = walk_message(rows, read_16(buf + at + 4), buf + at + HEADER_BYTES,
			message_len - HEADER_BYTES);
		at += (message_len + 3) / 4 * 4;
		at = at < len ? at : len;
		if (r == 0)
			walked.ends[walked.row_count - 1] = at;
	}
	walked.result = r == 1 && at < len ? -EBADMSG : r;
}

/* Structs have padding, so theirs are compared field by field. */
static bool
same_entry(const struct destinations_entry *a, const struct destinations_entry *b)
{
	const struct destination *x = &a->destination, *y = &b->destination;

	return memcmp(&x->local, &y->local, sizeof(x->local)) == 0 &&
	       memcmp(&x->remote, &y->remote, sizeof(x->remote)) == 0 &&
	       x->remote_port == y->remote_port && x->device == y->device &&
	       a->count == b->count && a->last_port == b->last_port &&
	       a->has_end == b->has_end;
}

static bool
same_destinations(const struct destinations *a, const struct destinations *b)
{
	static struct destinations_entry top_a[DESTINATIONS_TOP_MAX];
	static struct destinations_entry top_b[DESTINATIONS_TOP_MAX];
	size_t count = destinations_top(a, DESTINATIONS_TOP_MAX, top_a);

	if (a->entry_count != b->entry_count || a->rounds != b->rounds ||
		destinations_top(b, DESTINATIONS_TOP_MAX, top_b) != count)
		return false;
	while (count > 0 && same_entry(&top_a[count - 1], &top_b[count - 1]))
		count--;
	return count == 0;
}

/* The bitmaps, which stand first, have no padding that could differ. */
static bool
same_usage(const struct usage *a, const struct usage *b)
{
	return memcmp(a, b, offsetof(struct usage, blocked_late)) == 0 &&
	       a->blocked_late == b->blocked_late &&
	       a->shows_bound_inactive == b->shows_bound_inactive &&
	       memcmp(a->sockets, b->sockets, sizeof(a->sockets)) == 0 &&
	       a->rows == b->rows &&
	       same_destinations(&a->destinations, &b->destinations);
}

static bool
has_port(const struct usage_bitmap *map, uint16_t port)
{
	return map->words[port / 64] >> (port % 64) & 1;
}

static bool
is_loopback(const struct in6_addr *address)
{
	char text[INET6_ADDRSTRLEN];

	assert(inet_ntop(AF_INET6, address, text, sizeof(text)));
	return strcmp(text, "::1") == 0 || strncmp(text, "::ffff:127.", 11) == 0;
}

/* Whether connect() may take over the socket. */
static bool
is_reusable(const struct usage_reuse *reuse, const struct usage_row *row)
{
	const struct destination *to = &row->destination;
	const bool modes[] = { false, true,
		to->device == 1 || is_loopback(&to->local) || is_loopback(&to->remote) };

	return row->state == USAGE_TIME_WAIT && row->age_ms > reuse->delay_ms &&
	       reuse->timestamps == 1 && modes[reuse->mode];
}

/*
 * A listening socket, one that is bound, and one without a peer block their port, and no
 * other does. TIME_WAIT that is used again does not, whatever else it says.
 */
static void
check_blocked(const struct usage *usage)
{
	static bool blocked[USAGE_PORTS];
	uint32_t count = 0;

	memset(blocked, false, sizeof(blocked));
	for (size_t i = 0; i < walked.row_count; i++) {
		const struct usage_row *row = &walked.rows[i];
		uint16_t port = row->local_port;

		if (row->protocol != USAGE_TCP ||
			!usage_pool_contains(&usage->pool, port) ||
			is_reusable(&usage->reuse, row) ||
			(row->state != USAGE_LISTEN &&
				row->state != USAGE_BOUND_INACTIVE && !row->is_bound &&
				(row->destination.remote_port != 0 ||
					row->state == USAGE_SYN_SENT)))
			continue;
		assert(has_port(&usage->blocked, port));
		count += !blocked[port];
		blocked[port] = true;
	}
	assert(usage_sum(usage).blocked == count);
}

/* Ports that TCP holds, and all that hold them could be taken over. */
static uint32_t
count_reusable(const struct usage *usage)
{
	static bool held[USAGE_PORTS], held_beyond[USAGE_PORTS];
	uint32_t count = 0;

	memset(held, false, sizeof(held));
	memset(held_beyond, false, sizeof(held_beyond));
	for (size_t i = 0; i < walked.row_count; i++) {
		const struct usage_row *row = &walked.rows[i];

		if (row->protocol != USAGE_TCP)
			continue;
		held[row->local_port] = true;
		held_beyond[row->local_port] |= !is_reusable(&usage->reuse, row);
	}
	for (unsigned port = 0; port < USAGE_PORTS; port++)
		count += usage_pool_contains(&usage->pool, (uint16_t)port) &&
		         held[port] && !held_beyond[port];
	return count;
}

/* The rows that were walked, where other sysctls hold. */
static void
check_reuses(void)
{
	static struct usage usage;

	for (size_t i = 0; i < sizeof(reuses) / sizeof(reuses[0]); i++) {
		reset(&usage, seeds[0]);
		usage.reuse = reuses[i];
		for (size_t k = 0; k < walked.row_count; k++)
			usage_add(&usage, &walked.rows[k]);
		assert(usage_sum(&usage).time_wait_reusable == count_reusable(&usage));
		check_blocked(&usage);
	}
}

/* The usage is what the rows come to that were walked. */
static void
check_rows(const struct usage *usage)
{
	static struct usage expected;

	reset(&expected, seeds[1]);
	for (size_t i = 0; i < walked.row_count; i++)
		usage_add(&expected, &walked.rows[i]);
	assert(usage->rows == walked.row_count);
	assert(same_usage(usage, &expected));
	check_blocked(usage);
}

/* An error is one of two that the scan has of its own, or stands in the bytes. */
static void
check_result(int r, const uint8_t *buf, size_t len)
{
	assert(r == walked.result && r <= 1);
	if (r < 0 && r != -EAGAIN && r != -EBADMSG)
		assert(memmem(buf, len, &r, sizeof(r)));
}

/* Where one recv(2) ends and the next begins does not show in the sums. */
static void
check_in_two(const struct usage *whole, enum sockdiag_rows rows, uint32_t sequence,
	const uint8_t *buf, size_t len)
{
	static struct usage usage;
	size_t i = len > 0 ? buf[len / 2] : 0;
	size_t first_len = walked.row_count > 0 ? walked.ends[i % walked.row_count] : 0;
	int r;

	reset(&usage, seeds[1]);
	r = scan(&usage, rows, sequence, buf, first_len);
	assert(r == 0);
	r = scan(&usage, rows, sequence, buf + first_len, len - first_len);
	assert(r == walked.result && same_usage(&usage, whole));
}

/* A torn buffer ends at the boundary of a message, or does not parse. */
static void
check_torn(enum sockdiag_rows rows, uint32_t sequence, const uint8_t *buf, size_t len)
{
	static struct usage usage;
	size_t torn_len = len > 0 ? len - 1 - buf[len - 1] % len : 0;
	int r;

	reset(&usage, seeds[0]);
	r = scan(&usage, rows, sequence, buf, torn_len);
	walk(rows, sequence, buf, torn_len);
	if (walked.row_count == ROWS_MAX)
		return;
	check_result(r, buf, torn_len);
	if (r >= 0)
		check_rows(&usage);
}

static void
check_buffer(enum sockdiag_rows rows, const uint8_t *buf, size_t len)
{
	static struct usage usage;
	uint32_t sequence = len >= HEADER_BYTES ? read_32(buf + 8) : SEQUENCE;
	int r;

	if (len > 0)
		assert(scan(&usage, rows, sequence + 1, buf, len) == -EBADMSG);
	reset(&usage, seeds[0]);
	r = scan(&usage, rows, sequence, buf, len);
	walk(rows, sequence, buf, len);
	if (walked.row_count == ROWS_MAX)
		return;
	check_result(r, buf, len);
	if (r >= 0) {
		check_rows(&usage);
		check_in_two(&usage, rows, sequence, buf, len);
		check_reuses();
	}
	check_torn(rows, sequence, buf, len);
}

/* The addresses of a record have one byte each, first, last and in between. */
static void
write_addresses(uint8_t *row, const uint8_t *record, bool mapped)
{
	bool ipv4 = record[1] & 1;

	row[0] = ipv4 && !mapped ? FAMILY_IPV4 : FAMILY_IPV6;
	for (int i = 0; i < 2; i++) {
		uint8_t *address = row + 8 + 16 * i, byte = record[6 + i];
		uint8_t *word = ipv4 && mapped ? address + 12 : address;

		if (ipv4 && mapped)
			memset(address + 10, 0xff, 2);
		word[0] = byte & 0xc0;
		word[3] = byte & 0x0f;
		address[ipv4 ? (mapped ? 13 : 1) : 15] |= byte & 0x30;
	}
}

/* Write the content of a message; returns its length. */
static size_t
write_content(uint8_t *content, const uint8_t *record, enum shape shape, bool mapped)
{
	/* The kernel puts attributes behind a row, each with its padding. */
	static const uint8_t lens[] = { ROW_BYTES, ROW_BYTES + 8, ROW_BYTES + 1,
		ROW_BYTES + 6 };
	const int32_t error = -(int32_t)(record[0] % 16);
	/* Of TIME_WAIT: what is left, in milliseconds. */
	const uint32_t old = 60000 - REUSE_DELAY_MS - 1, young = old + 1;

	memset(content, 0, ROW_BYTES + 8);
	if (shape == SHAPE_DONE || shape == SHAPE_ERROR) {
		memcpy(content, &error, sizeof(error));
		return sizeof(error) - (record[2] == 1);
	}
	content[1] = record[0] % 16;
	content[2] = record[0] & 0x40 ? 3 : 1;
	content[40] = record[0] >> 4 & 3;
	memcpy(content + 52, record[0] & 0x80 ? &young : &old, sizeof(old));
	memcpy(content + 4, record + 2, 4);
	write_addresses(content, record, mapped);
	return shape == SHAPE_SHORT ? ROW_BYTES - 1 : lens[record[1] >> 1 & 3];
}

static size_t
write_message(enum sockdiag_rows rows, uint8_t *at, const uint8_t *record, bool mapped)
{
	enum shape shape = (enum shape)(record[1] >> 4);
	size_t len =
		HEADER_BYTES + write_content(at + HEADER_BYTES, record, shape, mapped);
	uint16_t type = rows == SOCKDIAG_UDP ? ROW_TYPE_UDP : ROW_TYPE_TCP;
	const uint16_t flags = shape == SHAPE_INCONSISTENT ? FLAG_INCONSISTENT | 2 : 2;
	const uint32_t len_32 = (uint32_t)len;
	const uint32_t sequence = SEQUENCE + (shape == SHAPE_OTHER_SEQUENCE);

	if (shape == SHAPE_DONE)
		type = TYPE_DONE;
	if (shape == SHAPE_ERROR)
		type = TYPE_ERROR;
	if (shape == SHAPE_OTHER_TYPE)
		type = record[0];
	memset(at, 0, HEADER_BYTES);
	memcpy(at, &len_32, sizeof(len_32));
	memcpy(at + 4, &type, sizeof(type));
	memcpy(at + 6, &flags, sizeof(flags));
	memcpy(at + 8, &sequence, sizeof(sequence));
	return len;
}

/* The last message has no padding behind it. */
static size_t
build(enum sockdiag_rows rows, const uint8_t *records, size_t count, bool mapped,
	uint8_t *ret_buf)
{
	size_t len = 0;

	for (size_t i = 0; i < count; i++) {
		while (len % 4 != 0)
			ret_buf[len++] = 0xee;
		len += write_message(
			rows, ret_buf + len, records + i * RECORD_BYTES, mapped);
	}
	return len;
}

/* The same endpoints are the same destinations, whichever family their sockets have. */
static void
check_records(enum sockdiag_rows rows, const uint8_t *records, size_t count)
{
	static uint8_t buf[BUILT_MAX], mapped_buf[BUILT_MAX];
	static struct usage usage, mapped_usage;
	size_t len = build(rows, records, count, false, buf);
	size_t mapped_len = build(rows, records, count, true, mapped_buf);
	int r;

	check_buffer(rows, buf, len);
	reset(&usage, seeds[0]);
	reset(&mapped_usage, seeds[1]);
	r = scan(&usage, rows, SEQUENCE, buf, len);
	assert(scan(&mapped_usage, rows, SEQUENCE, mapped_buf, mapped_len) == r);
	if (r >= 0)
		assert(same_usage(&usage, &mapped_usage));
}

/* Digits without the zeros before them, as far as they go. */
static size_t
walk_digits(const char **text, const char **ret_digits)
{
	const char *end = *text + strspn(*text, "0123456789");

	*ret_digits = *text + strspn(*text, "0");
	*text = end;
	return *ret_digits < end ? (size_t)(end - *ret_digits) : 0;
}

/* "6.8" and everything above it, of releases that begin with two numbers. */
static void
check_release(const uint8_t *data, size_t size)
{
	char *release = strndup((const char *)data, size);
	const char *at = release, *major, *minor;
	size_t major_len, minor_len;
	bool shows, expected;

	assert(release);
	shows = sockdiag_shows_bound_inactive(release);
	major_len = walk_digits(&at, &major);
	if (at > release && *at == '.' && at[1] >= '0' && at[1] <= '9') {
		at++;
		minor_len = walk_digits(&at, &minor);
		expected = major_len > 1 || (major_len == 1 && *major > '6') ||
		           (major_len == 1 && *major == '6' &&
				   (minor_len > 1 || (minor_len == 1 && *minor > '7')));
		assert(shows == expected);
	}
	free(release);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t count = size / RECORD_BYTES;

	check_release(data, size);
	for (int i = 0; i < SOCKDIAG_ROWS; i++) {
		enum sockdiag_rows rows = (enum sockdiag_rows)i;

		check_buffer(rows, data, size);
		check_records(rows, data, count < RECORDS_MAX ? count : RECORDS_MAX);
	}
	return 0;
}
