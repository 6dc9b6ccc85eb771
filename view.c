/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <inttypes.h>

const char *const view_level_names[VIEW_LEVELS] = {
	[VIEW_ENOUGH] = "enough",
	[VIEW_UNKNOWN] = "not known",
	[VIEW_MOSTLY_USED] = "mostly used",
	[VIEW_HALF_USED] = "half used",
	[VIEW_SHORT] = "nearly exhausted",
	[VIEW_EXHAUSTED] = "exhausted",
};

/* "one" or "every" destination comes in between. */
static const struct {
	const char *before, *after;
} destination_verdicts[VIEW_LEVELS] = {
	[VIEW_HALF_USED] = { "More than half of the ports are taken towards ",
		": connect() can be many times slower there." },
	[VIEW_SHORT] = { "Nearly all ports are taken towards ",
		": few are left for connect() there, and it can be many times slower." },
	[VIEW_EXHAUSTED] = { "No port is left towards ",
		": connect() fails there with EADDRNOTAVAIL." },
};

/*
 * connect() without bind() shares the ports that it chose itself between destinations.
 * bind() takes no port that any socket has on the same address or on all addresses, and
 * no connect() shares what bind() took. A UDP socket shares its port with one of another
 * address, of the other IP version if that is for IPv6 only, and by SO_REUSEADDR.
 */
static const char *const pool_verdicts[USAGE_PROTOCOLS][VIEW_LEVELS] = {
	[USAGE_TCP] = {
		[VIEW_MOSTLY_USED] =
			"Most TCP ports are in use, all destinations together. bind() "
			"to port 0 needs others on the same address; connect() without "
			"bind() can share those that no program has bound.",
		[VIEW_SHORT] = "Nearly all TCP ports are in use: few are left for bind() "
			       "to port 0, and for programs that bind before they "
			       "connect.",
		[VIEW_EXHAUSTED] =
			"All TCP ports are in use. bind() to port 0 fails with "
			"EADDRINUSE on an address on which all of them are, and so do "
			"programs that bind before they connect. connect() without "
			"bind() can still share ports that no program has bound.",
	},
	[USAGE_UDP] = {
		[VIEW_MOSTLY_USED] = "Most UDP ports are in use: UDP sockets do not "
				     "share ports between destinations.",
		[VIEW_SHORT] = "Nearly all UDP ports are in use: few are left for new "
			       "UDP sockets, those of name lookups among them.",
		[VIEW_EXHAUSTED] =
			"All UDP ports are in use: a new UDP socket, as a name lookup "
			"opens one, gets a port only where it may share one, by "
			"SO_REUSEADDR or with another address or IP version.",
	},
};

static bool
is_beyond(uint32_t part, uint32_t whole, unsigned percent)
{
	return (uint64_t)part * 100 > (uint64_t)whole * percent;
}

static enum view_level
judge_destination(const struct usage_totals *totals)
{
	if (totals->destination_used_max >= totals->total)
		return VIEW_EXHAUSTED;
	if (is_beyond(totals->destination_used_max, totals->total, VIEW_SHORT_PERCENT))
		return VIEW_SHORT;
	if (is_beyond(totals->destination_used_max, totals->total, VIEW_HALF_PERCENT))
		return VIEW_HALF_USED;
	return VIEW_ENOUGH;
}

static enum view_level
judge_pool(const struct ports_report *report, enum usage_protocol protocol)
{
	const struct usage_totals *totals = &report->totals;
	/* What connect() may take over is no shortage. */
	uint32_t used = totals->used_by[protocol] -
	                (protocol == USAGE_TCP ? totals->time_wait_reusable : 0);
	/* In a range with an odd number of ports, bind() to port 0 may miss the last
	 * free one: inet_csk_find_open_port() looks at an even number of them. */
	bool misses_one = protocol == USAGE_TCP && !report->is_lower_bound &&
	                  (report->range_last - report->range_first) % 2 == 0 &&
	                  is_beyond(used, totals->total, VIEW_HALF_PERCENT);

	if (used >= totals->total)
		return VIEW_EXHAUSTED;
	if (is_beyond(used + misses_one, totals->total, VIEW_POOL_SHORT_PERCENT))
		return VIEW_SHORT;
	if (is_beyond(used, totals->total, VIEW_POOL_PERCENT))
		return VIEW_MOSTLY_USED;
	return VIEW_ENOUGH;
}

/* Whether more than half may be taken towards one destination although the figure is
 * lower. */
static bool
may_be_too_low(const struct ports_report *report)
{
	const struct usage_totals *totals = &report->totals;

	return report->is_lower_bound ||
	       is_beyond(totals->destination_used_max + totals->destination_error_max,
		       totals->total, VIEW_HALF_PERCENT);
}

enum view_level
view_judge(const struct ports_report *report)
{
	enum view_level level = judge_destination(&report->totals);

	for (int i = 0; i < USAGE_PROTOCOLS; i++) {
		enum view_level pool = judge_pool(report, (enum usage_protocol)i);

		if (pool > level)
			level = pool;
	}
	return level == VIEW_ENOUGH && may_be_too_low(report) ? VIEW_UNKNOWN : level;
}

static void
write_destination_verdict(
	struct buf *b, const struct usage_totals *totals, enum view_level level)
{
	/* What is blocked is so for every destination. */
	bool every = totals->blocked + totals->left_out >= totals->destination_used_max;

	buf_printf(b, "%s%s destination%s", destination_verdicts[level].before,
		every ? "every" : "one", destination_verdicts[level].after);
	if (every && totals->blocked > 0)
		buf_printf(b, " Sockets that listen or are bound hold %s ports.",
			totals->left_out ? "all but one of these" : "these");
	else if (totals->blocked > totals->destination_used_max / 2)
		buf_printf(b, " Sockets that listen or are bound hold most of these "
			      "ports, which closes them to every destination.");
	if (totals->left_out)
		buf_printf(b, " connect() leaves out one port of a range with an odd "
			      "number of them.");
	if (level == VIEW_EXHAUSTED && totals->time_wait > 0)
		buf_printf(b, " Ports in TIME_WAIT come back within 60 seconds.");
}

static void
write_unknown(struct buf *b, const struct ports_report *report)
{
	const struct usage_totals *totals = &report->totals;
	bool is_lower_bound = report->is_lower_bound;

	buf_printf(b, "At least ");
	view_write_count(b, is_lower_bound ? totals->used : totals->destination_used_max);
	buf_printf(b, " of ");
	view_write_count(b, totals->total);
	buf_printf(b, is_lower_bound ? " ports are in use."
				     : " ports are taken towards one destination; there "
				       "are too many destinations to count each.");
}

static void
write_enough(struct buf *b, const struct ports_report *report)
{
	/* No source shows which connections were bound to port 0 before. */
	buf_printf(b, "As far as can be seen, enough local ports are free towards every "
		      "destination.");
	if (!report->shows_bound_inactive)
		buf_printf(b, " Not every bound socket is seen here.");
	if (is_beyond(report->totals.used_by[USAGE_TCP], report->totals.total,
		    VIEW_POOL_PERCENT))
		buf_printf(b,
			" Most TCP ports are in use, but connect() may take over those "
			"in TIME_WAIT that no program had bound. bind() to port 0 may "
			"not, and can fail.");
}

/* The first of these that has the level: UDP, a destination, TCP. */
static void
write_shortage(struct buf *b, const struct ports_report *report, enum view_level level)
{
	if (judge_pool(report, USAGE_UDP) == level)
		buf_printf(b, "%s", pool_verdicts[USAGE_UDP][level]);
	else if (judge_destination(&report->totals) == level)
		write_destination_verdict(b, &report->totals, level);
	else
		buf_printf(b, "%s", pool_verdicts[USAGE_TCP][level]);
}

void
view_write_verdict(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;
	enum view_level level = view_judge(report);

	if (report->totals.total == 0)
		buf_printf(b, "The pool is empty: every port of the range is reserved.");
	else if (level == VIEW_ENOUGH)
		write_enough(b, report);
	else if (level == VIEW_UNKNOWN)
		write_unknown(b, report);
	else
		write_shortage(b, report, level);
	if (report->is_lower_bound && report->totals.used < report->totals.total)
		buf_printf(b, " Sockets that no process has open any more, those in "
			      "TIME_WAIT among them, and UDP sockets of IPv6 cannot be "
			      "seen here: more ports may be in use.");
}

bool
view_is_at_least(const struct ports_report *report)
{
	return report->is_lower_bound || report->totals.destination_error_max > 0;
}

void
view_write_error(struct buf *b, const struct usage_totals *totals)
{
	if (totals->destination_error_max == 0)
		return;
	buf_printf(b,
		"There are more destinations than the table holds: the figure may be "
		"too low by ");
	view_write_count(b, totals->destination_error_max);
	buf_printf(b, ".");
}

void
view_write_nearest(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;

	if (!scrape->names_destinations) {
		buf_printf(b, "not named without --top-destinations=N");
	} else if (report->top_count == 0) {
		buf_printf(b, "no connection from a port of the pool%s",
			report->is_lower_bound ? " can be seen" : "");
	} else {
		exposition_write_destination(b, &report->top[0].destination);
		buf_printf(b, " from ");
		exposition_write_source(b, &report->top[0].destination);
	}
}

void
view_write_count(struct buf *b, uint64_t number)
{
	uint64_t unit = 1;

	while (number / unit >= 1000)
		unit *= 1000;
	buf_printf(b, "%" PRIu64, number / unit);
	for (unit /= 1000; unit > 0; unit /= 1000)
		buf_printf(b, ",%03" PRIu64, number / unit % 1000);
}

unsigned
view_share(uint32_t part, uint32_t whole)
{
	return whole > 0 ? (unsigned)((uint64_t)part * 1000 / whole) : 0;
}

void
view_write_share(struct buf *b, uint32_t part, uint32_t whole)
{
	unsigned share = view_share(part, whole);

	buf_printf(b, "%u.%u %%", share / 10, share % 10);
}

void
view_write_cost(struct buf *b, uint64_t us)
{
	buf_printf(b, "%" PRIu64 ".%03" PRIu64 " ms", us / 1000, us % 1000);
}

struct view_parts
view_divide(const struct usage_totals *totals)
{
	struct view_parts parts = { .blocked = totals->blocked };
	uint32_t left = totals->used - totals->blocked;

	/* A port of a listener that is closed may be both: TIME_WAIT alone, and blocked.
	 */
	parts.time_wait = totals->time_wait < left ? totals->time_wait : left;
	parts.connected = left - parts.time_wait;
	return parts;
}

const char *
view_leak(const struct ports_report *report)
{
	if (report->sockets[USAGE_TCP][USAGE_CLOSE_WAIT] == 0)
		return NULL;
	return "close_wait: the program does not close what the other side has closed. "
	       "Where that lasts or grows, it is a leak.";
}

bool
view_is_control(struct slice character)
{
	unsigned char first = (unsigned char)character.data[0];

	if (character.len == 2)
		return first == 0xc2 && (unsigned char)character.data[1] < 0xa0;
	return character.len == 1 && (first < ' ' || first == 0x7f);
}

bool
view_has_state(const struct ports_report *report, enum usage_state state)
{
	for (int i = 0; i < USAGE_PROTOCOLS; i++) {
		if (report->sockets[i][state] > 0)
			return true;
	}
	return state == USAGE_ESTABLISHED ||
	       (state == USAGE_TIME_WAIT && !report->is_lower_bound);
}
