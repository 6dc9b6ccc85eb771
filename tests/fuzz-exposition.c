/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a whole exposition. The input is what a scrape found, in records, and the
 * name of the pod behind them; the text is read as Prometheus would, line by line, and
 * must have every family in its order with the figures that were found.
 */
#include "exposition.h"
#include "ports.h"
#include "usage.h"
#include "util.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum {
	HEADER_BYTES = 8,
	RECORD_BYTES = 8,
	RECORDS_MAX = 255,
	NAME_MAX_BYTES = 253,
	/* 45 samples and 100 destinations, each byte of the name three; see CONTENT_MAX.
	 */
	TEXT_MAX = 192 * 1024,
	FAMILIES = 17,
	LABELS_MAX = 4,
	ROOMS = 4, /* too small ones that an input is tried with */
};

/* Bits of the first byte. */
enum flag {
	FLAG_OPENMETRICS = 1,
	FLAG_SUPERVISED = 2,
	FLAG_BOUND_INACTIVE = 4,
	FLAG_PROCFS = 8,
};

/* In the first byte of a record: what the others are. */
enum record {
	RECORD_TCP_IPV4,
	RECORD_TCP_IPV6,
	RECORD_UDP,
	RECORD_SOCKETS, /* a number of sockets no machine has */
	RECORDS,
};

/* What the text was made of. */
static struct found {
	struct usage usage;
	struct usage_totals totals;
	struct destinations_entry top[DESTINATIONS_TOP_MAX];
	size_t top_count;
	uint8_t flags;
	size_t top_destinations;
	uint64_t duration_us;
	int64_t start_time_ms;
	char pod_name[NAME_MAX_BYTES + 1];
	struct exposition_outcome outcomes[3];
} found;

static const uint64_t seed[DESTINATIONS_SEED_WORDS] = { 1, 2 };

/* A family as the README has it. */
struct family {
	const char *name;
	const char *openmetrics_name; /* where it is another one */
	const char *type, *openmetrics_type;
	const char *labels[LABELS_MAX]; /* of its samples, behind pod_name */
	size_t (*count)(void);          /* how many samples there are, */
	uint64_t (*value)(size_t i);    /* and what one says, without its point */
	size_t decimals;
};

static bool
has_flag(enum flag flag)
{
	return found.flags & flag;
}

static uint32_t
read_32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return value;
}

/* The only place that knows what a report looks like. */
static void
fill_report(struct ports_report *report)
{
	const struct usage *usage = &found.usage;

	report->totals = found.totals;
	memcpy(report->sockets, usage->sockets, sizeof(report->sockets));
	report->rows = usage->rows;
	report->reserved = usage->pool.reserved;
	report->range_first = usage->pool.range_first;
	report->range_last = usage->pool.range_last;
	report->shows_bound_inactive = usage->shows_bound_inactive;
	report->top_count = found.top_count;
	memcpy(report->top, found.top, sizeof(report->top));
	report->source =
		has_flag(FLAG_PROCFS) ? PORTS_SOURCE_PROCFS : PORTS_SOURCE_SOCK_DIAG;
	report->scan_duration_us = found.duration_us;
}

static void
take_row(enum record kind, const uint8_t *record)
{
	struct usage_row row = {
		.protocol = kind == RECORD_UDP ? USAGE_UDP : USAGE_TCP,
		.state = (enum usage_state)(1 + record[1] % (USAGE_STATES - 1)),
		.local_port = (uint16_t)(record[2] << 8 | record[3]),
		.destination.remote_port = (uint16_t)(record[4] << 8 | record[5]),
	};
	struct destination *to = &row.destination;

	if (kind == RECORD_UDP)
		row.state = record[1] & 1 ? USAGE_ESTABLISHED : USAGE_CLOSE;
	if (kind != RECORD_TCP_IPV6)
		memset(&to->local.s6_addr[10], 0xff, 2);
	memcpy(&to->remote, &to->local, sizeof(to->remote));
	to->local.s6_addr[12] = record[6];
	/* Of IPv6 in any word, so that some look mapped in part. */
	to->remote.s6_addr[kind == RECORD_TCP_IPV6 ? record[0] / RECORDS % 16 : 15] =
		record[7];
	usage_add(&found.usage, &row);
}

static void
take_record(const uint8_t *record)
{
	enum record kind = (enum record)(record[0] % RECORDS);
	unsigned state = record[1] % USAGE_STATES;

	if (kind == RECORD_SOCKETS)
		found.usage.sockets[record[2] % USAGE_PROTOCOLS][state] =
			(uint64_t)read_32(record + 4) << record[3] % 33;
	else
		take_row(kind, record);
}

static void
make_pool(const uint8_t *ends)
{
	uint16_t first = (uint16_t)(ends[0] << 8 | ends[1]);
	uint16_t last = (uint16_t)(ends[2] << 8 | ends[3]);

	if (first == 0)
		first = 1;
	if (last < first)
		last = UINT16_MAX;
	usage_reset(&found.usage, seed);
	usage_pool_fill(&found.usage.pool, first, last);
	usage_pool_reserve(&found.usage.pool, (uint16_t)(last & 0xfff0), last);
}

/* What is missing of the header is zero. Returns the bytes taken. */
static size_t
take_header(const uint8_t *data, size_t size, size_t *ret_records)
{
	uint8_t header[HEADER_BYTES] = { 0 };
	size_t taken = size < sizeof(header) ? size : sizeof(header);

	if (taken > 0)
		memcpy(header, data, taken);
	found.flags = header[0];
	found.top_destinations = header[1] % (DESTINATIONS_TOP_MAX + 1U);
	*ret_records = header[2];
	found.duration_us = (uint64_t)header[3] * header[3] * 997;
	found.start_time_ms = (int64_t)header[3] * 7919;
	make_pool(header + 4);
	return taken;
}

static void
take_name(const uint8_t *data, size_t size)
{
	size_t len = size < NAME_MAX_BYTES ? size : NAME_MAX_BYTES;

	if (len > 0)
		memcpy(found.pod_name, data, len);
	found.pod_name[len] = '\0';
}

static void
take_input(const uint8_t *data, size_t size)
{
	size_t records, at = take_header(data, size, &records);

	for (; records > 0 && size - at >= RECORD_BYTES; records--, at += RECORD_BYTES)
		take_record(data + at);
	take_name(data + at, size - at);
	found.usage.shows_bound_inactive = has_flag(FLAG_BOUND_INACTIVE);
	found.totals = usage_sum(&found.usage);
	found.top_count = destinations_top(
		&found.usage.destinations, found.top_destinations, found.top);
	found.outcomes[0] = (struct exposition_outcome){ "served", found.usage.rows };
	found.outcomes[1] = (struct exposition_outcome){ "failed", 0 };
	found.outcomes[2] = (struct exposition_outcome){ "refused", UINT64_MAX };
}

static enum exposition_format
format(void)
{
	return has_flag(FLAG_OPENMETRICS) ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
}

static void
write_text(struct buf *b, const struct ports_report *report)
{
	const struct exposition_scrape scrape = {
		.report = report,
		.pod_name = found.pod_name,
		.version = "1.2.3",
		.launcher = "print",
		.netns = "same",
		.names_destinations = found.top_destinations > 0,
		.outcomes = found.outcomes,
		.outcome_count = has_flag(FLAG_SUPERVISED) ? 3 : 0,
		.start_time_ms = found.start_time_ms,
	};

	exposition_write(b, format(), &scrape);
}

static size_t
count_one(void)
{
	return 1;
}

static size_t
count_protocols(void)
{
	return USAGE_PROTOCOLS;
}

/* A family that does not apply is left out, its heading too: SIZE_MAX. */
static size_t
count_destinations(void)
{
	return found.top_destinations > 0 ? found.top_count : SIZE_MAX;
}

static size_t
count_sockets(void)
{
	return USAGE_STATES - 2U + has_flag(FLAG_BOUND_INACTIVE) + 2U;
}

static size_t
count_outcomes(void)
{
	return has_flag(FLAG_SUPERVISED) ? 3 : SIZE_MAX;
}

static size_t
count_start_time(void)
{
	return has_flag(FLAG_SUPERVISED) ? 1 : SIZE_MAX;
}

static uint64_t
value_used(size_t i)
{
	(void)i;
	return found.totals.used;
}

static uint64_t
value_total(size_t i)
{
	(void)i;
	return found.totals.total;
}

static uint64_t
value_used_by(size_t i)
{
	return found.totals.used_by[i];
}

static uint64_t
value_blocked(size_t i)
{
	(void)i;
	return found.totals.blocked;
}

static uint64_t
value_time_wait(size_t i)
{
	(void)i;
	return found.totals.time_wait;
}

static uint64_t
value_destination_max(size_t i)
{
	(void)i;
	return found.totals.destination_used_max;
}

/* In the order of destinations_top(), which has a target of its own. */
static uint64_t
value_destination(size_t i)
{
	return usage_destination_used(&found.totals, &found.top[i]);
}

static uint64_t
value_error_max(size_t i)
{
	(void)i;
	return found.totals.destination_error_max;
}

/* TCP has every state, UDP two. */
static uint64_t
value_sockets(size_t i)
{
	size_t tcp = count_sockets() - 2;

	if (i < tcp)
		return found.usage.sockets[USAGE_TCP][USAGE_ESTABLISHED + i];
	return found.usage.sockets[USAGE_UDP][i == tcp ? USAGE_ESTABLISHED : USAGE_CLOSE];
}

static uint64_t
value_first(size_t i)
{
	(void)i;
	return found.usage.pool.range_first;
}

static uint64_t
value_last(size_t i)
{
	(void)i;
	return found.usage.pool.range_last;
}

static uint64_t
value_reserved(size_t i)
{
	(void)i;
	return found.usage.pool.reserved;
}

/* In microseconds. */
static uint64_t
value_duration(size_t i)
{
	(void)i;
	return found.duration_us;
}

static uint64_t
value_rows(size_t i)
{
	(void)i;
	return found.usage.rows;
}

static uint64_t
value_info(size_t i)
{
	(void)i;
	return 1;
}

static uint64_t
value_outcome(size_t i)
{
	return found.outcomes[i].count;
}

/* In milliseconds. */
static uint64_t
value_start_time(size_t i)
{
	(void)i;
	return (uint64_t)found.start_time_ms;
}

/* clang-format off */
static const struct family families[FAMILIES] = {
	{ "port_used", NULL, "gauge", "gauge", { NULL }, count_one, value_used, 0 },
	{ "port_total", NULL, "gauge", "gauge", { NULL }, count_one, value_total, 0 },
	{ "port_used_by_protocol", NULL, "gauge", "gauge", { "protocol" },
	  count_protocols, value_used_by, 0 },
	{ "port_blocked", NULL, "gauge", "gauge", { NULL }, count_one, value_blocked, 0 },
	{ "port_time_wait", NULL, "gauge", "gauge", { NULL }, count_one, value_time_wait, 0 },
	{ "port_destination_used_max", NULL, "gauge", "gauge", { NULL },
	  count_one, value_destination_max, 0 },
	{ "port_destination_used", NULL, "gauge", "gauge", { "source", "destination" },
	  count_destinations, value_destination, 0 },
	{ "port_destination_error_max", NULL, "gauge", "gauge", { NULL },
	  count_one, value_error_max, 0 },
	{ "port_sockets", NULL, "gauge", "gauge", { "protocol", "state" },
	  count_sockets, value_sockets, 0 },
	{ "port_range_first", NULL, "gauge", "gauge", { NULL }, count_one, value_first, 0 },
	{ "port_range_last", NULL, "gauge", "gauge", { NULL }, count_one, value_last, 0 },
	{ "port_reserved", NULL, "gauge", "gauge", { NULL }, count_one, value_reserved, 0 },
	{ "port_scan_duration_seconds", NULL, "gauge", "gauge", { NULL },
	  count_one, value_duration, 6 },
	{ "port_scan_sockets", NULL, "gauge", "gauge", { NULL }, count_one, value_rows, 0 },
	{ "metrics_sidecar_info", "metrics_sidecar", "gauge", "info",
	  { "version", "source", "launcher", "netns" }, count_one, value_info, 0 },
	{ "metrics_sidecar_connections_total", "metrics_sidecar_connections", "counter",
	  "counter", { "outcome" }, count_outcomes, value_outcome, 0 },
	{ "metrics_sidecar_start_time_seconds", NULL, "gauge", "gauge", { NULL },
	  count_start_time, value_start_time, 3 },
};
/* clang-format on */

/* Take these bytes, which must stand there. */
static void
expect(const char **at, const char *text)
{
	size_t len = strlen(text);

	assert(strncmp(*at, text, len) == 0);
	*at += len;
}

/* A value in quotes: no quote and no newline in it but escaped ones. */
static void
expect_quoted(const char **at, const char *name)
{
	expect(at, name);
	expect(at, "=\"");
	for (; **at != '"'; ++*at) {
		assert(**at != '\n' && **at != '\0');
		if (**at == '\\')
			assert(strchr("\\\"n", *++*at));
	}
	expect(at, "\"");
}

/* The text up to the quote, or to the bracket or the colon behind an address. */
static void
check_address(const char *text, const char *end, const struct in6_addr *expected)
{
	struct in6_addr parsed = { .s6_addr = { [10] = 0xff, [11] = 0xff } };
	bool ipv4 = IN6_IS_ADDR_V4MAPPED(expected);
	char address[INET6_ADDRSTRLEN] = "";

	memcpy(address, text, strcspn(text, end));
	assert(inet_pton(ipv4 ? AF_INET : AF_INET6, address,
		       &parsed.s6_addr[ipv4 ? 12 : 0]) == 1);
	assert(memcmp(&parsed, expected, sizeof(parsed)) == 0);
}

/* "10.0.0.9:443" or "[2001:db8::1]:443", of this destination. */
static void
check_endpoints(
	const char *source, const char *remote, const struct destination *expected)
{
	bool ipv4 = IN6_IS_ADDR_V4MAPPED(&expected->remote);
	char port[sizeof("]:65535\"")];

	check_address(source, "\"", &expected->local);
	assert((remote[0] == '[') == !ipv4);
	remote += !ipv4;
	check_address(remote, ipv4 ? ":" : "]", &expected->remote);
	snprintf(port, sizeof(port), "%s:%u\"", ipv4 ? "" : "]", expected->remote_port);
	remote += strcspn(remote, ipv4 ? ":" : "]");
	assert(strncmp(remote, port, strlen(port)) == 0);
}

/* The name and the labels of a sample; the name of the pod is written as it was alone. */
static void
check_labels(const char **at, const struct family *family, size_t i)
{
	static char name[3 * NAME_MAX_BYTES + 1];
	struct buf b = buf_over(name, sizeof(name) - 1);
	const char *labels[LABELS_MAX] = { NULL };

	exposition_write_label_value(
		&b, (struct slice){ found.pod_name, strlen(found.pod_name) });
	name[b.len] = '\0';
	expect(at, family->name);
	expect(at, "{pod_name=\"");
	expect(at, name);
	expect(at, "\"");
	for (int k = 0; k < LABELS_MAX && family->labels[k]; k++) {
		expect(at, ",");
		labels[k] = *at + strlen(family->labels[k]) + strlen("=\"");
		expect_quoted(at, family->labels[k]);
	}
	expect(at, "} ");
	if (strcmp(family->name, "port_destination_used") == 0)
		check_endpoints(labels[0], labels[1], &found.top[i].destination);
}

/* A number with so many digits behind its point, which is passed over. */
static uint64_t
read_value(const char **at, size_t decimals)
{
	size_t digits = strspn(*at, "0123456789");
	uint64_t value = 0;

	assert(digits > 0);
	assert((*at)[digits] == (decimals > 0 ? '.' : '\n'));
	for (size_t i = 0; i < digits + (decimals > 0) + decimals; i++, ++*at) {
		if (i == digits)
			continue;
		assert(**at >= '0' && **at <= '9');
		value = value * 10 + (uint64_t)(**at - '0');
	}
	expect(at, "\n");
	return value;
}

static void
check_heading(const char **at, const struct family *family)
{
	bool openmetrics = format() == EXPOSITION_OPENMETRICS;
	const char *name = openmetrics && family->openmetrics_name
	                           ? family->openmetrics_name
	                           : family->name;

	expect(at, "# HELP ");
	expect(at, name);
	expect(at, " ");
	*at += strcspn(*at, "\n");
	expect(at, "\n# TYPE ");
	expect(at, name);
	expect(at, " ");
	expect(at, openmetrics ? family->openmetrics_type : family->type);
	expect(at, "\n");
}

static void
check_family(const char **at, const struct family *family)
{
	size_t count = family->count();

	if (count == SIZE_MAX)
		return;
	check_heading(at, family);
	for (size_t i = 0; i < count; i++) {
		check_labels(at, family, i);
		assert(read_value(at, family->decimals) == family->value(i));
	}
}

/* Every family that applies, in its order, and nothing else. */
static void
check_text(const char *text)
{
	assert(found.totals.used <= found.totals.total);
	assert(found.totals.destination_used_max <= found.totals.total);
	for (int i = 0; i < FAMILIES; i++)
		check_family(&text, &families[i]);
	if (format() == EXPOSITION_OPENMETRICS)
		expect(&text, "# EOF\n");
	assert(*text == '\0');
}

/* Where a reader of one line stands. */
struct place {
	bool quoted, escaped;
	const char *value; /* where the last label value begins */
};

static void
step_over(struct place *place, const char *at)
{
	if (place->escaped)
		place->escaped = false;
	else if (*at == '\\')
		place->escaped = true;
	else if (*at == '"') {
		place->quoted = !place->quoted;
		place->value = at + 1;
	}
}

/* Whether text may be left off there: a heading, a label with its quote, a character of a
 * value and a number are written whole or not at all. */
static bool
may_end(const char *text, const char *end)
{
	static const char whole[] = ",destination=\"";
	const size_t len = sizeof(whole) - 1;
	struct place place = { .value = text };
	const char *line = end;

	while (line > text && line[-1] != '\n')
		line--;
	if (line == end)
		return true;
	for (const char *at = line; *line != '#' && at < end; at++)
		step_over(&place, at);
	if (*line == '#' || place.escaped)
		return false;
	if (!place.quoted)
		return *end == ',' || *end == '}';
	if ((size_t)(place.value - line) >= len &&
		memcmp(place.value - len, whole, len) == 0)
		return false;
	return ((unsigned char)*end & 0xc0) != 0x80;
}

/*
 * With too little room the text ends early, between two of its parts. The room is a heap
 * block of exactly that size: the sanitizer sees every write past it.
 */
static void
check_room(const struct ports_report *report, const char *text, size_t len, size_t size)
{
	struct buf b = buf_over(malloc(size), size);

	assert(b.data);
	write_text(&b, report);
	assert(b.size == size && b.len <= size);
	/* The last part is a formatted one, whose NUL needs a byte. */
	assert(b.overflow == (size < len + 1));
	assert(memcmp(b.data, text, b.len) == 0);
	assert(b.overflow ? may_end(text, text + b.len) : b.len == len);
	free(b.data);
}

/* What cannot be formatted, as no character of this number can, is what did not fit. */
static void
check_unformatted(void)
{
	char data[16];
	struct buf b = buf_over(data, sizeof(data));

	buf_printf(&b, "a%lc", (wint_t)0x7fffffff);
	assert(b.overflow && b.len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct ports_report report;
	static char text[TEXT_MAX];
	struct buf b = buf_over(text, sizeof(text) - 1);

	take_input(data, size);
	fill_report(&report);
	write_text(&b, &report);
	assert(!b.overflow);
	text[b.len] = '\0';
	check_text(text);

	check_room(&report, text, b.len, b.len + 1);
	check_room(&report, text, b.len, b.len);
	check_room(&report, text, b.len, b.len / 2);
	/* Somewhere else for every input, the same for the same input. */
	for (size_t i = 0; i < size && i < ROOMS; i++)
		check_room(&report, text, b.len,
			(data[i] + 256U * data[size - 1 - i]) % b.len);
	check_unformatted();
	return 0;
}
