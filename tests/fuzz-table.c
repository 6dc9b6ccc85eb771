/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a socket table, in one piece and in two, against a model that reads it
 * with sscanf() and searches all rows for every answer. The kernel writes it, but where a
 * read() ends is nobody's decision.
 */
#include "procnet.h"
#include "usage.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
	/* The model takes the square of it; the shortest row has 60 bytes and more. */
	MODEL_ROWS = 1024,
	MODEL_BYTES = 64 * 1024,
	/* A pool that a table can use up. */
	NARROW_FIRST = 40000,
	NARROW_LAST = 40002,
	REUSE_DELAY_MS = 1000,
	QUEUES = sizeof("00000000:00000000 ") - 1,
	/* A row that is damaged at every byte of it. */
	DAMAGED_MAX = 300,
};

/* What scanning made of some bytes. */
struct scan {
	struct usage usage;
	ssize_t consumed;
};

/* The same rows, read in another way. */
static struct model {
	struct usage_row rows[MODEL_ROWS];
	size_t row_count;
	struct destinations_entry entries[MODEL_ROWS];
	size_t entry_count;
	bool ports[DESTINATIONS_EXACT][USAGE_PORTS]; /* of the first entries */
} model;

static const uint64_t seeds[2][DESTINATIONS_SEED_WORDS] = { { 1, 2 },
	{ UINT64_MAX, 0x5eed } };

static void
reset(struct usage *usage, const uint64_t seed[static DESTINATIONS_SEED_WORDS])
{
	usage_reset(usage, seed);
	usage_pool_fill(&usage->pool, 1024, 65535);
	usage_pool_reserve(&usage->pool, 8080, 8080);
	usage_pool_reserve(&usage->pool, 9148, 9150);
	usage->reuse = (struct usage_reuse){ 2, 1, REUSE_DELAY_MS };
}

static bool
has_port(const struct usage_bitmap *map, uint16_t port)
{
	return map->words[port / 64] >> (port % 64) & 1;
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

/*
 * No port is held that the pool lacks, none is held by TCP in one bitmap only. What TCP
 * holds is blocked, counted towards a destination, or TIME_WAIT that is used again; or it
 * is in SYN_SENT to a peer that is not said.
 */
static void
check_bitmaps(const struct usage *usage)
{
	uint64_t both = 0, neither = 0;

	for (int i = 0; i < USAGE_WORDS; i++) {
		uint64_t tcp = usage->held[USAGE_TCP].words[i];
		uint64_t udp = usage->held[USAGE_UDP].words[i];
		uint64_t blocked = usage->blocked.words[i];
		uint64_t connected = usage->connected.words[i];

		assert(((tcp | udp) & ~usage->pool.ports.words[i]) == 0);
		uint64_t held = usage->held_beyond_reusable.words[i];

		assert((held & ~tcp) == 0);
		assert((usage->held_beyond_time_wait.words[i] & ~held) == 0);
		assert(((blocked | connected) & ~held) == 0);
		assert((connected & usage->known_blocked.words[i]) == 0);
		both |= blocked & connected;
		neither |= held & ~(blocked | connected | usage->known_blocked.words[i]);
	}
	assert(usage->blocked_late == (both != 0));
	assert(neither == 0 || usage->sockets[USAGE_TCP][USAGE_SYN_SENT] > 0);
}

/* TCP sockets that may be on their way to a destination. */
static uint64_t
count_connections(const struct usage *usage)
{
	const uint64_t *tcp = usage->sockets[USAGE_TCP];
	uint64_t count = 0;

	for (int state = 0; state < USAGE_STATES; state++)
		count += tcp[state];
	return count - tcp[USAGE_LISTEN] - tcp[USAGE_BOUND_INACTIVE];
}

/* Each connected port leads somewhere, and no row leads to two destinations. */
static void
check_destinations(const struct usage *usage, const struct usage_totals *totals)
{
	const struct destinations *d = &usage->destinations;
	uint32_t max = totals->left_out, connected = 0;
	uint64_t sum = 0;

	for (uint32_t i = 0; i < d->entry_count; i++) {
		uint32_t count = d->entries[i].count;
		uint32_t lost = count + (d->entries[i].has_end ? 0 : totals->left_out);

		assert(count > 0 && d->entries[i].destination.remote_port != 0);
		assert(has_port(&usage->connected, d->entries[i].last_port));
		sum += count;
		max = lost > max ? lost : max;
	}
	for (int i = 0; i < USAGE_WORDS; i++)
		connected += (uint32_t)__builtin_popcountll(usage->connected.words[i]);
	assert(connected <= sum && sum <= count_connections(usage));
	max += totals->blocked;
	assert(totals->destination_used_max ==
		(max < totals->total ? max : totals->total));
	assert(totals->destination_error_max == 0 && d->rounds == 0);
}

static void
check_totals(const struct usage *usage)
{
	struct usage_totals totals = usage_sum(usage);
	uint64_t sockets = 0;

	assert(totals.total == 65535 - 1024 + 1 - 4 && usage->pool.reserved == 4);
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
	assert(totals.time_wait_reusable <= totals.time_wait);
	assert(totals.time_wait <= usage->sockets[USAGE_TCP][USAGE_TIME_WAIT]);
	assert(totals.blocked <= totals.used_by[USAGE_TCP]);
	assert(totals.destination_used_max >= totals.blocked);
	assert(totals.destination_used_max <= totals.total);
	check_destinations(usage, &totals);
}

/* UDP blocks no connect(), and leads nowhere. */
static void
check_udp(const struct usage *usage)
{
	struct usage_totals totals = usage_sum(usage);

	assert(totals.used_by[USAGE_TCP] == 0 && totals.time_wait == 0);
	assert(totals.blocked == 0 && totals.destination_used_max == 0);
	assert(usage->destinations.entry_count == 0 && !usage->blocked_late);
}

static void
scan_whole(struct scan *scan, enum usage_protocol protocol, const char *buf, size_t len)
{
	reset(&scan->usage, seeds[0]);
	scan->consumed = procnet_scan(&scan->usage, protocol, buf, len);
	if (scan->consumed < 0) {
		assert(scan->consumed == -EBADMSG);
		return;
	}
	check_consumed(scan, buf, len);
	check_bitmaps(&scan->usage);
	check_totals(&scan->usage);
	if (protocol == USAGE_UDP)
		check_udp(&scan->usage);
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

/* A read() that ends anywhere must not show in the sums. Neither must the seed. */
static void
check_in_two(const struct scan *whole, enum usage_protocol protocol, const char *buf,
	size_t len, size_t first_len)
{
	static struct usage usage;
	ssize_t first, second = 0;

	reset(&usage, seeds[1]);
	first = procnet_scan(&usage, protocol, buf, first_len);
	if (first >= 0)
		second = procnet_scan(&usage, protocol, buf + first, len - (size_t)first);
	if (whole->consumed < 0) {
		assert(first == -EBADMSG || second == -EBADMSG);
		return;
	}
	assert(first >= 0 && second >= 0 && first + second == whole->consumed);
	assert(same_usage(&usage, &whole->usage));
}

/* What UDP rows can say, TCP rows can say too; but in CLOSE they hold no port. */
static void
check_protocols(const struct scan *tcp, const struct scan *udp)
{
	if (udp->consumed < 0)
		return;
	assert(tcp->consumed == udp->consumed && tcp->usage.rows == udp->usage.rows);
	for (int i = 0; i < USAGE_WORDS; i++) {
		uint64_t only_udp = udp->usage.held[USAGE_UDP].words[i] &
		                    ~tcp->usage.held[USAGE_TCP].words[i];

		assert((tcp->usage.held[USAGE_TCP].words[i] &
			       ~udp->usage.held[USAGE_UDP].words[i]) == 0);
		assert(only_udp == 0 || udp->usage.sockets[USAGE_UDP][USAGE_CLOSE] > 0);
	}
}

/* Groups of 8 digits are words in the machine's byte order. */
static struct in6_addr
read_address(const char *digits)
{
	struct in6_addr address = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
	size_t at = strlen(digits) == 8 ? 12 : 0;
	unsigned word;

	for (; *digits; digits += 8, at += sizeof(word)) {
		assert(sscanf(digits, "%8x", &word) == 1);
		memcpy(&address.s6_addr[at], &word, sizeof(word));
	}
	return address;
}

static size_t
count_words(const char *text)
{
	size_t count = 0;

	for (text += strspn(text, " "); *text; text += strspn(text, " ")) {
		text += strcspn(text, " ");
		count++;
	}
	return count;
}

/* The line has `len` bytes, which end early for the functions of strings if one is zero.
 */
static void
model_row(const char *line, size_t len)
{
	struct usage_row *row = &model.rows[model.row_count++];
	char local[33], remote[33], timer[12] = "";
	unsigned port, remote_port, state, left;
	int read = 0, end = 0;

	assert(sscanf(line, " %*[0-9]: %32[^:]:%x %32[^:]:%x %x%n", local, &port, remote,
		       &remote_port, &state, &read) == 5);
	/* The queues, and seven fields more in the shortest row of any kernel. */
	assert(strlen(line) < len || count_words(line + read) >= 1 + 7);
	*row = (struct usage_row){
		.protocol = USAGE_TCP,
		.state = state == 0 ? USAGE_CLOSE : (enum usage_state)state,
		.local_port = state == 0 || state == USAGE_CLOSE ? 0 : (uint16_t)port,
		.destination = { .local = read_address(local),
			.remote = read_address(remote),
			.remote_port = (uint16_t)remote_port },
	};
	/* Behind the queues, "03:00001770", of capital digits: what is left of a minute.
	 */
	line += read;
	line += strspn(line, " ") + QUEUES;
	sscanf(line, " %11s%n", timer, &end);
	if (row->state == USAGE_TIME_WAIT && strncmp(timer, "03:", 3) == 0 &&
		strspn(timer + 3, "0123456789ABCDEF") == 8 && line[end] == ' ' &&
		sscanf(timer + 3, "%x", &left) == 1 && left <= 6000)
		row->age_ms = 60000 - left * 10;
}

static bool
is_reusable(const struct usage_row *row)
{
	static const uint8_t loopback[16] = { [15] = 1 };
	static const uint8_t mapped[13] = { [10] = 0xff, [11] = 0xff, [12] = 127 };
	const struct destination *to = &row->destination;

	return row->state == USAGE_TIME_WAIT && row->age_ms > REUSE_DELAY_MS &&
	       (memcmp(&to->local, loopback, 16) == 0 ||
		       memcmp(&to->remote, loopback, 16) == 0 ||
		       memcmp(&to->local, mapped, 13) == 0 ||
		       memcmp(&to->remote, mapped, 13) == 0);
}

/* Whether one of the first `count` rows takes the port away from every connect(). */
static bool
is_blocked(size_t count, uint16_t port)
{
	for (size_t i = 0; i < count; i++) {
		const struct usage_row *row = &model.rows[i];

		if (row->local_port == port && !is_reusable(row) &&
			(row->state == USAGE_LISTEN ||
				(row->destination.remote_port == 0 &&
					row->state != USAGE_SYN_SENT)))
			return true;
	}
	return false;
}

static bool
is_beyond_time_wait(uint16_t port)
{
	for (size_t i = 0; i < model.row_count; i++) {
		if (model.rows[i].local_port == port &&
			model.rows[i].state != USAGE_TIME_WAIT)
			return true;
	}
	return false;
}

static bool
is_beyond_reusable(uint16_t port)
{
	for (size_t i = 0; i < model.row_count; i++) {
		if (model.rows[i].local_port == port && !is_reusable(&model.rows[i]))
			return true;
	}
	return false;
}

/* Whether the port is one more towards entry number i. */
static bool
is_new(size_t i, uint16_t port)
{
	bool known = i < DESTINATIONS_EXACT ? model.ports[i][port]
	                                    : model.entries[i].last_port == port;

	if (i < DESTINATIONS_EXACT)
		model.ports[i][port] = true;
	return !known;
}

static void
count_destination(const struct usage_row *row)
{
	struct destinations_entry wanted = { .destination = row->destination };
	size_t i;

	for (i = 0; i < model.entry_count; i++) {
		wanted.count = model.entries[i].count;
		wanted.last_port = model.entries[i].last_port;
		if (same_entry(&model.entries[i], &wanted))
			break;
	}
	if (i == model.entry_count) {
		wanted.count = 0;
		wanted.last_port = 0;
		model.entries[model.entry_count++] = wanted;
	}
	model.entries[i].count += is_new(i, row->local_port);
	model.entries[i].last_port = row->local_port;
}

/* What is blocked is known from the rows before each, or from all that there are. */
static void
count_destinations(const struct usage *usage, bool all)
{
	for (size_t i = 0; i < model.entry_count && i < DESTINATIONS_EXACT; i++)
		memset(model.ports[i], false, sizeof(model.ports[i]));
	model.entry_count = 0;
	for (size_t i = 0; i < model.row_count; i++) {
		const struct usage_row *row = &model.rows[i];

		if (usage_pool_contains(&usage->pool, row->local_port) &&
			!is_reusable(row) && row->destination.remote_port != 0 &&
			!is_blocked(all ? model.row_count : i + 1, row->local_port))
			count_destination(row);
	}
}

static void
check_against_model(const struct usage *usage, bool all)
{
	const struct destinations *d = &usage->destinations;
	size_t found = 0;

	for (size_t i = 0; i < model.row_count; i++) {
		uint16_t port = model.rows[i].local_port;

		if (!usage_pool_contains(&usage->pool, port))
			continue;
		assert(has_port(&usage->held[USAGE_TCP], port));
		assert(has_port(&usage->blocked, port) ==
			is_blocked(model.row_count, port));
		assert(has_port(&usage->held_beyond_time_wait, port) ==
			is_beyond_time_wait(port));
		assert(has_port(&usage->held_beyond_reusable, port) ==
			is_beyond_reusable(port));
	}
	count_destinations(usage, all);
	for (size_t i = 0; i < model.entry_count; i++) {
		for (uint32_t k = 0; k < d->entry_count; k++)
			found += same_entry(&model.entries[i], &d->entries[k]);
	}
	assert(d->entry_count == model.entry_count && found == model.entry_count);
}

/* Nothing is left of the first scan but what it found blocked. */
static void
check_restarted(const struct usage *usage, const struct usage_bitmap *blocked)
{
	static struct usage fresh;

	reset(&fresh, seeds[1]);
	fresh.known_blocked = *blocked;
	assert(same_usage(usage, &fresh));
	check_totals(usage);
}

/* The second scan knows what the first one found blocked, and is not late again. */
static void
check_again(struct scan *scan, const char *buf, size_t len)
{
	struct usage_totals before = usage_sum(&scan->usage), after;
	const struct usage_bitmap blocked = scan->usage.blocked;
	bool late = scan->usage.blocked_late;

	usage_restart(&scan->usage);
	check_restarted(&scan->usage, &blocked);
	assert(procnet_scan(&scan->usage, USAGE_TCP, buf, len) == scan->consumed);
	check_consumed(scan, buf, len);
	check_bitmaps(&scan->usage);
	check_totals(&scan->usage);
	assert(!scan->usage.blocked_late);
	after = usage_sum(&scan->usage);
	assert(after.used == before.used && after.time_wait == before.time_wait);
	assert(after.time_wait_reusable == before.time_wait_reusable);
	assert(after.blocked == before.blocked);
	assert(after.destination_used_max <= before.destination_used_max);
	assert(late || after.destination_used_max == before.destination_used_max);
}

/* Where ports are few, rows that come twice count more of them than there are. */
static void
check_narrow(const char *buf, size_t len)
{
	static struct usage usage;
	struct usage_totals totals;

	usage_reset(&usage, seeds[0]);
	usage_pool_fill(&usage.pool, NARROW_FIRST, NARROW_LAST);
	usage.reuse = (struct usage_reuse){ 0, 1, 0 };
	assert(procnet_scan(&usage, USAGE_TCP, buf, len) >= 0);
	totals = usage_sum(&usage);
	assert(totals.total == NARROW_LAST - NARROW_FIRST + 1);
	check_bitmaps(&usage);
	check_destinations(&usage, &totals);
}

static void
check_model(struct scan *scan, const char *buf, size_t len)
{
	static char text[MODEL_BYTES + 1];
	size_t rows = count_newlines(buf, len);

	if (scan->consumed < 0 || rows > MODEL_ROWS || len > MODEL_BYTES)
		return;
	memcpy(text, buf, len);
	text[len] = '\0';
	model.row_count = 0;
	for (char *line = text, *end; model.row_count < rows; line = end + 1) {
		end = memchr(line, '\n', len - (size_t)(line - text));
		*end = '\0';
		model_row(line, (size_t)(end - line));
	}
	check_against_model(&scan->usage, false);
	check_again(scan, buf, len);
	check_against_model(&scan->usage, true);
	check_narrow(buf, len);
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

/* Of any bytes: two parts of the last line, one behind the other, or nothing. */
static void
check_identity(const char *buf, size_t len)
{
	struct procnet_identity id = procnet_identify_last(buf, len);
	const char *end = id.inode.data + id.inode.len;

	assert((id.endpoints.len == 0) == (id.inode.len == 0));
	if (id.inode.len == 0)
		return;
	assert(id.endpoints.data > buf && end < buf + len);
	assert(id.endpoints.data + id.endpoints.len < id.inode.data);
	assert(buf[len - 1] == '\n');
	assert(count_newlines(id.endpoints.data, (size_t)(end - id.endpoints.data)) == 0);
	assert(count_newlines(end, (size_t)(buf + len - end)) == 1);
	assert(!memchr(id.inode.data, ' ', id.inode.len));
}

/* A row that still parses is one to the model too, all of it. */
static void
check_damaged_row(struct usage *usage, char *row, size_t len)
{
	ssize_t consumed = procnet_scan(usage, USAGE_TCP, row, len);

	check_identity(row, len);
	if (consumed < 0) {
		assert(consumed == -EBADMSG);
		return;
	}
	assert((size_t)consumed == len);
	row[len - 1] = '\0';
	model.row_count = 0;
	model_row(row, len - 1);
}

/*
 * The first row, cut short at every byte, and with every byte replaced. It lies at the
 * end of its buffer, where the sanitizer sees a read beyond it.
 */
static void
check_damaged(const char *buf, size_t len)
{
	static const char replacements[] = { '!', '~' };
	static struct usage usage;
	const char *newline = len > 0 ? memchr(buf, '\n', len) : NULL;
	size_t row_len = newline ? (size_t)(newline - buf) + 1 : 0;
	char room[DAMAGED_MAX], *end = room + sizeof(room);

	if (row_len > sizeof(room))
		return;
	reset(&usage, seeds[0]);
	for (size_t i = 0; i < row_len; i++) {
		memcpy(end - i - 1, buf, i);
		end[-1] = '\n';
		check_damaged_row(&usage, end - i - 1, i + 1);
		for (size_t k = 0; k < sizeof(replacements); k++) {
			memcpy(end - row_len, buf, row_len);
			if (i + 1 < row_len)
				(end - row_len)[i] = replacements[k];
			check_damaged_row(&usage, end - row_len, row_len);
		}
	}
}

/* No port that was found is left, and no destination. */
static void
check_wiped(struct usage *usage)
{
	static const struct usage nothing;
	const size_t first = offsetof(struct usage, held);
	const struct destinations *d = &usage->destinations;

	usage_wipe(usage);
	assert(memcmp((const char *)usage + first, (const char *)&nothing + first,
		       offsetof(struct usage, blocked_late) - first) == 0);
	assert(memcmp(d->entries, nothing.destinations.entries, sizeof(d->entries)) == 0);
	assert(memcmp(d->ports, nothing.destinations.ports, sizeof(d->ports)) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct scan scans[USAGE_PROTOCOLS];
	const char *buf = (const char *)data;
	size_t heading = skip_heading(buf, size), len = size - heading;

	check_identity(buf, size);
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
	check_model(&scans[USAGE_TCP], buf, len);
	check_damaged(buf, len);
	for (int i = 0; i < USAGE_PROTOCOLS; i++)
		check_wiped(&scans[i].usage);
	return 0;
}
