/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a whole exposition. The input is that of scrape.h; the text is read as
 * Prometheus would, line by line, and must have every family in its order with the
 * figures that were found.
 */
#include "exposition.h"
#include "tests/scrape.h"
#include "usage.h"
#include "util.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

enum {
	/* 45 samples and 100 destinations, each byte of the name three; see CONTENT_MAX.
	 */
	TEXT_MAX = 192 * 1024,
	FAMILIES = 18,
	LABELS_MAX = 4,
	ROOMS = 4, /* too small ones that an input is tried with */
};

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

static enum exposition_format
format(void)
{
	return has_flag(FLAG_OPENMETRICS) ? EXPOSITION_OPENMETRICS : EXPOSITION_TEXT;
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
	return has_flag(FLAG_SUPERVISED) ? OUTCOMES : SIZE_MAX;
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
value_time_wait_reusable(size_t i)
{
	(void)i;
	return found.totals.time_wait_reusable;
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
	{ "port_time_wait_reusable", NULL, "gauge", "gauge", { NULL },
	  count_one, value_time_wait_reusable, 0 },
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
	char port[sizeof("]:65535\"")], device[sizeof("%4294967295\"")] = "\"";

	check_address(source, "%\"", &expected->local);
	if (expected->device != 0)
		snprintf(device, sizeof(device), "%%%u\"", expected->device);
	source += strcspn(source, "%\"");
	assert(strncmp(source, device, strlen(device)) == 0);
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

/* Of lower bounds no 0 is said, and nothing of what gVisor does not list. */
static bool
is_left_out(const struct family *family, size_t i)
{
	uint64_t value = family->value(i);

	if (!found.is_lower_bound)
		return false;
	if (family->value == value_sockets)
		return i != USAGE_LISTEN - 1 &&
		       (value == 0 ||
			       (i != USAGE_ESTABLISHED - 1 && i != USAGE_SYN_SENT - 1 &&
				       i != USAGE_CLOSE_WAIT - 1));
	if (family->value == value_error_max ||
		strncmp(family->name, "port_time_wait", strlen("port_time_wait")) == 0)
		return true;
	return value == 0 &&
	       (family->value == value_used || family->value == value_used_by ||
		       family->value == value_blocked ||
		       family->value == value_destination_max);
}

static void
check_family(const char **at, const struct family *family)
{
	size_t count = family->count(), left_out = 0;

	if (count == SIZE_MAX)
		return;
	for (size_t i = 0; i < count; i++)
		left_out += is_left_out(family, i);
	if (left_out == count && count > 0)
		return;
	check_heading(at, family);
	for (size_t i = 0; i < count; i++) {
		if (is_left_out(family, i))
			continue;
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

/* Of a destination: its address, its port and the quote behind them. */
static bool
is_between_parts(const char *value, const char *end)
{
	return end == value || *end == '"' ||
	       (*end == ':' && (*value != '[' || end[-1] == ']'));
}

/* Whether text may be left off there: a heading, a label with its quote, a character of a
 * value and a number are written whole or not at all. */
static bool
may_end(const char *text, const char *end)
{
	static const char destination[] = ",destination=\"";
	const size_t len = sizeof(destination) - 1;
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
		memcmp(place.value - len, destination, len) == 0)
		return is_between_parts(place.value, end);
	return ((unsigned char)*end & 0xc0) != 0x80;
}

/*
 * With too little room the text ends early, between two of its parts. The room is a heap
 * block of exactly that size: the sanitizer sees every write past it.
 */
static void
check_room(const char *text, size_t len, size_t size)
{
	struct buf b = buf_over(malloc(size), size);

	assert(b.data);
	exposition_write(&b, format(), &found.scrape);
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
	static char text[TEXT_MAX];
	struct buf b = buf_over(text, sizeof(text) - 1);

	take_input(data, size);
	exposition_write(&b, format(), &found.scrape);
	assert(!b.overflow);
	text[b.len] = '\0';
	check_text(text);

	check_room(text, b.len, b.len + 1);
	check_room(text, b.len, b.len);
	check_room(text, b.len, b.len / 2);
	/* Somewhere else for every input, the same for the same input. */
	for (size_t i = 0; i < size && i < ROOMS; i++)
		check_room(text, b.len, (data[i] + 256U * data[size - 1 - i]) % b.len);
	check_unformatted();
	return 0;
}
