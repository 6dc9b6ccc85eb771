/* SPDX-License-Identifier: MIT */
#include "exposition.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <string.h>

const struct exposition_media_type exposition_media_types[EXPOSITION_FORMATS] = {
	[EXPOSITION_TEXT] = {
		.type = "text",
		.subtype = "plain",
		.version = "0.0.4",
		.content_type = "text/plain; version=0.0.4; charset=utf-8",
	},
	[EXPOSITION_OPENMETRICS] = {
		.type = "application",
		.subtype = "openmetrics-text",
		.version = "1.0.0",
		.content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8",
	},
};

static const char *const protocol_names[USAGE_PROTOCOLS] = {
	[USAGE_TCP] = "tcp",
	[USAGE_UDP] = "udp",
};

const char *const exposition_state_names[USAGE_STATES] = {
	[USAGE_ESTABLISHED] = "established",
	[USAGE_SYN_SENT] = "syn_sent",
	[USAGE_SYN_RECV] = "syn_recv",
	[USAGE_FIN_WAIT1] = "fin_wait1",
	[USAGE_FIN_WAIT2] = "fin_wait2",
	[USAGE_TIME_WAIT] = "time_wait",
	[USAGE_CLOSE] = "close",
	[USAGE_CLOSE_WAIT] = "close_wait",
	[USAGE_LAST_ACK] = "last_ack",
	[USAGE_LISTEN] = "listen",
	[USAGE_CLOSING] = "closing",
	[USAGE_BOUND_INACTIVE] = "bound_inactive",
};

void
exposition_write_label_value(struct buf *b, struct slice value)
{
	static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

	while (value.len > 0) {
		size_t len = util_utf8_length(value);

		if (len == 0)
			buf_append(b, replacement, sizeof(replacement) - 1);
		else if (value.data[0] == '\n')
			buf_append(b, "\\n", 2);
		else if (value.data[0] == '"' || value.data[0] == '\\')
			buf_append(b, (const char[]){ '\\', value.data[0] }, 2);
		else
			buf_append(b, value.data, len);
		len += len == 0;
		value.data += len;
		value.len -= len;
	}
}

static void
write_label(struct buf *b, const char *name, const char *value)
{
	buf_printf(b, ",%s=\"", name);
	exposition_write_label_value(b, (struct slice){ value, strlen(value) });
	buf_append(b, "\"", 1);
}

/* The name and the label that every sample has; other labels and the value follow. */
static void
begin_sample(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	buf_printf(b, "%s{pod_name=\"", name);
	exposition_write_label_value(
		b, (struct slice){ scrape->pod_name, strlen(scrape->pod_name) });
	buf_append(b, "\"", 1);
}

static void
end_sample(struct buf *b, uint64_t value)
{
	buf_printf(b, "} %" PRIu64 "\n", value);
}

static void
write_plain(struct buf *b, const char *name, const struct exposition_scrape *scrape,
	uint64_t value)
{
	begin_sample(b, name, scrape);
	end_sample(b, value);
}

/*
 * Where a figure is a lower bound, "at least 0" says nothing, and would be read as
 * "none".
 */
static bool
is_told(const struct exposition_scrape *scrape, uint64_t value)
{
	return value > 0 || !scrape->report->is_lower_bound;
}

static void
emit_used(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.used);
}

static void
emit_total(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.total);
}

static void
emit_used_by_protocol(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	for (int protocol = 0; protocol < USAGE_PROTOCOLS; protocol++) {
		if (!is_told(scrape, scrape->report->totals.used_by[protocol]))
			continue;
		begin_sample(b, name, scrape);
		write_label(b, "protocol", protocol_names[protocol]);
		end_sample(b, scrape->report->totals.used_by[protocol]);
	}
}

static void
emit_time_wait(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.time_wait);
}

static void
emit_time_wait_reusable(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.time_wait_reusable);
}

static void
emit_blocked(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.blocked);
}

static void
emit_destination_used_max(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.destination_used_max);
}

static void
emit_destination_error_max(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->totals.destination_error_max);
}

static void
write_address(
	struct buf *b, const struct in6_addr *address, const char *v4, const char *v6)
{
	const bool is_v4 = IN6_IS_ADDR_V4MAPPED(address);
	const size_t skip = is_v4 ? sizeof(struct in6_addr) - sizeof(struct in_addr) : 0;
	char text[INET6_ADDRSTRLEN];

	/* It does not fail: the family is known and the room suffices. */
	inet_ntop(
		is_v4 ? AF_INET : AF_INET6, &address->s6_addr[skip], text, sizeof(text));
	buf_printf(b, is_v4 ? v4 : v6, text);
}

void
exposition_write_source(struct buf *b, const struct destination *to)
{
	write_address(b, &to->local, "%s", "%s");
	/* A number, as RFC 4007 allows: a confined process cannot ask for the name. */
	if (to->device != 0)
		buf_printf(b, "%%%" PRIu32, to->device);
}

void
exposition_write_destination(struct buf *b, const struct destination *to)
{
	write_address(b, &to->remote, "%s", "[%s]");
	buf_printf(b, ":%u", to->remote_port);
}

static void
emit_destination_used(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;

	for (size_t i = 0; i < report->top_count; i++) {
		begin_sample(b, name, scrape);
		buf_printf(b, ",source=\"");
		exposition_write_source(b, &report->top[i].destination);
		buf_printf(b, "\",destination=\"");
		exposition_write_destination(b, &report->top[i].destination);
		buf_printf(b, "\"");
		end_sample(b, usage_destination_used(&report->totals, &report->top[i]));
	}
}

static void
emit_socket_count(struct buf *b, const char *name, const struct exposition_scrape *scrape,
	enum usage_protocol protocol, enum usage_state state)
{
	begin_sample(b, name, scrape);
	write_label(b, "protocol", protocol_names[protocol]);
	write_label(b, "state", exposition_state_names[state]);
	end_sample(b, scrape->report->sockets[protocol][state]);
}

/*
 * gVisor lists what a process has open: every listening socket, and others in these
 * states but for connections that are not accepted yet. Sockets in the other states
 * have no process any more, some or all of them; those of UDP and IPv6 have no table.
 */
static bool
is_state_listed(const struct exposition_scrape *scrape, int state)
{
	return state == USAGE_LISTEN ||
	       ((state == USAGE_ESTABLISHED || state == USAGE_SYN_SENT ||
			state == USAGE_CLOSE_WAIT) &&
		       scrape->report->sockets[USAGE_TCP][state] > 0);
}

static bool
is_state_seen(const struct exposition_scrape *scrape, int state)
{
	if (scrape->report->is_lower_bound)
		return is_state_listed(scrape, state);
	return state != USAGE_BOUND_INACTIVE || scrape->report->shows_bound_inactive;
}

/*
 * Every state on every scrape: a series that comes and goes cannot be alerted on. But
 * what the source cannot see is absent, not 0.
 */
static void
emit_sockets(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	for (int state = USAGE_ESTABLISHED; state < USAGE_STATES; state++) {
		if (is_state_seen(scrape, state))
			emit_socket_count(
				b, name, scrape, USAGE_TCP, (enum usage_state)state);
	}
	if (scrape->report->is_lower_bound)
		return;
	emit_socket_count(b, name, scrape, USAGE_UDP, USAGE_ESTABLISHED);
	emit_socket_count(b, name, scrape, USAGE_UDP, USAGE_CLOSE);
}

static void
emit_range_first(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->range_first);
}

static void
emit_range_last(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->range_last);
}

static void
emit_reserved(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->reserved);
}

static void
emit_scan_duration(
	struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	uint64_t us = scrape->report->scan_duration_us;

	begin_sample(b, name, scrape);
	buf_printf(b, "} %" PRIu64 ".%06" PRIu64 "\n", us / 1000000, us % 1000000);
}

static void
emit_scan_sockets(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	write_plain(b, name, scrape, scrape->report->rows);
}

static void
emit_info(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	begin_sample(b, name, scrape);
	write_label(b, "version", scrape->version);
	write_label(b, "source", ports_source_names[scrape->report->source]);
	write_label(b, "launcher", scrape->launcher);
	write_label(b, "netns", scrape->netns);
	end_sample(b, 1);
}

static void
emit_connections(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	for (size_t i = 0; i < scrape->outcome_count; i++) {
		begin_sample(b, name, scrape);
		write_label(b, "outcome", scrape->outcomes[i].name);
		end_sample(b, scrape->outcomes[i].count);
	}
}

static void
emit_start_time(struct buf *b, const char *name, const struct exposition_scrape *scrape)
{
	int64_t ms = scrape->start_time_ms;

	begin_sample(b, name, scrape);
	buf_printf(b, "} %" PRId64 ".%03" PRId64 "\n", ms / 1000, ms % 1000);
}

static bool
tells_used(const struct exposition_scrape *scrape)
{
	return is_told(scrape, scrape->report->totals.used);
}

static bool
tells_blocked(const struct exposition_scrape *scrape)
{
	return is_told(scrape, scrape->report->totals.blocked);
}

static bool
tells_destinations(const struct exposition_scrape *scrape)
{
	return is_told(scrape, scrape->report->totals.destination_used_max);
}

static bool
sees_all(const struct exposition_scrape *scrape)
{
	return !scrape->report->is_lower_bound;
}

static bool
is_supervised(const struct exposition_scrape *scrape)
{
	return scrape->outcome_count > 0;
}

static bool
names_destinations(const struct exposition_scrape *scrape)
{
	return scrape->names_destinations;
}

/*
 * A sample is called family and suffix together. OpenMetrics names the family without the
 * suffix and has a type for facts; the text format knows neither.
 */
enum kind {
	GAUGE,
	COUNTER,
	INFO,
};

static const struct kind_names {
	const char *suffix, *type, *openmetrics_type;
} kinds[] = {
	[GAUGE] = { "", "gauge", "gauge" },
	[COUNTER] = { "_total", "counter", "counter" },
	[INFO] = { "_info", "gauge", "info" },
};

/* clang-format off */
static const struct family {
	const char *name;
	enum kind kind;
	const char *help;
	void (*emit)(struct buf *b, const char *name, const struct exposition_scrape *scrape);
	bool (*applies)(const struct exposition_scrape *scrape); /* NULL: always */
} families[] = {
	{ "port_used", GAUGE, "Used Local Port Count", emit_used, tells_used },
	{ "port_total", GAUGE, "Total Local Port Count", emit_total, NULL },
	{ "port_used_by_protocol", GAUGE,
	  "Used local ports of the pool, by the protocol of their sockets.",
	  emit_used_by_protocol, tells_used },
	{ "port_blocked", GAUGE,
	  "TCP ports of the pool that a listening or a bound socket holds: no connect() can use them.",
	  emit_blocked, tells_blocked },
	{ "port_time_wait", GAUGE,
	  "TCP ports of the pool held by nothing but TIME_WAIT sockets.", emit_time_wait, sees_all },
	{ "port_time_wait_reusable", GAUGE,
	  "TCP ports of the pool held by nothing but TIME_WAIT sockets, each of which connect() may take over now unless it was bound.",
	  emit_time_wait_reusable, sees_all },
	{ "port_destination_used_max", GAUGE,
	  "TCP ports of the pool known to be closed to a new connect() to the destination nearest to exhaustion.",
	  emit_destination_used_max, tells_destinations },
	{ "port_destination_used", GAUGE,
	  "TCP ports of the pool known to be closed to a new connect() to this destination.",
	  emit_destination_used, names_destinations },
	{ "port_destination_error_max", GAUGE,
	  "The most by which a destination's figure is too low; 0 when every destination was counted.",
	  emit_destination_error_max, sees_all },
	{ "port_sockets", GAUGE,
	  "Sockets with a local port in the pool, by state.", emit_sockets, NULL },
	{ "port_range_first", GAUGE,
	  "First port of the local port range.", emit_range_first, NULL },
	{ "port_range_last", GAUGE,
	  "Last port of the local port range.", emit_range_last, NULL },
	{ "port_reserved", GAUGE,
	  "Reserved ports in the local port range: not in the pool.", emit_reserved, NULL },
	{ "port_scan_duration_seconds", GAUGE,
	  "Wall time of the scan behind this scrape.", emit_scan_duration, NULL },
	{ "port_scan_sockets", GAUGE,
	  "Socket rows read by the scan behind this scrape.", emit_scan_sockets, NULL },
	{ "metrics_sidecar", INFO,
	  "Version, source of the figures, launcher of this process, and whether its network namespace is the connection's.", emit_info, NULL },
	{ "metrics_sidecar_connections", COUNTER,
	  "Connections since the supervisor started, by how they ended.", emit_connections, is_supervised },
	{ "metrics_sidecar_start_time_seconds", GAUGE,
	  "Start of the supervisor, in seconds since the Unix epoch.", emit_start_time, is_supervised },
};
/* clang-format on */

static void
write_family(struct buf *b, enum exposition_format format, const struct family *family,
	const struct exposition_scrape *scrape)
{
	const struct kind_names *kind = &kinds[family->kind];
	bool openmetrics = format == EXPOSITION_OPENMETRICS;
	const char *suffix = openmetrics ? "" : kind->suffix;
	char name_data[64];
	struct buf name = buf_over(name_data, sizeof(name_data));

	buf_printf(&name, "%s%s", family->name, kind->suffix);
	buf_printf(b, "# HELP %s%s %s\n", family->name, suffix, family->help);
	buf_printf(b, "# TYPE %s%s %s\n", family->name, suffix,
		openmetrics ? kind->openmetrics_type : kind->type);
	family->emit(b, name_data, scrape);
}

void
exposition_write(struct buf *b, enum exposition_format format,
	const struct exposition_scrape *scrape)
{
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		if (!families[i].applies || families[i].applies(scrape))
			write_family(b, format, &families[i], scrape);
	}
	if (format == EXPOSITION_OPENMETRICS)
		buf_printf(b, "# EOF\n");
}
