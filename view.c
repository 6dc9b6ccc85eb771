/* SPDX-License-Identifier: MIT */
#include "view.h"

#include <inttypes.h>

const char *const view_level_names[VIEW_LEVELS] = {
	[VIEW_ENOUGH] = "enough",
	[VIEW_MOSTLY_USED] = "mostly used",
	[VIEW_SLOW] = "slow",
	[VIEW_SHORT] = "nearly exhausted",
	[VIEW_EXHAUSTED] = "exhausted",
};

/* Where the most of what is taken is taken towards one destination. */
static const char *const verdicts[VIEW_LEVELS] = {
	[VIEW_ENOUGH] = "Enough local ports are free towards every destination.",
	[VIEW_MOSTLY_USED] = "Most TCP ports are used, but no destination is near "
			     "exhaustion by itself.",
	[VIEW_SLOW] =
		"More than half of the ports are taken towards one destination: each "
		"connect() to it is slow.",
	[VIEW_SHORT] = "Nearly all ports are taken towards one destination: connect() to "
		       "it is slow, and few are left.",
	[VIEW_EXHAUSTED] =
		"No port is left towards one destination: connect() to it fails "
		"with EADDRNOTAVAIL.",
};

/* Where the most of it is blocked, whatever the destination. */
static const char *const blocked_verdicts[VIEW_LEVELS] = {
	[VIEW_SLOW] = "More than half of the ports are taken, most of them blocked by "
		      "listening or bound sockets: connect() is slow.",
	[VIEW_SHORT] = "Nearly all ports are taken, most of them blocked by listening or "
		       "bound sockets: connect() is slow, and few are left.",
	[VIEW_EXHAUSTED] = "No port is left, most are blocked by listening or bound "
			   "sockets: connect() fails with EADDRNOTAVAIL.",
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
	if (is_beyond(totals->destination_used_max, totals->total, VIEW_SLOW_PERCENT))
		return VIEW_SLOW;
	return VIEW_ENOUGH;
}

static enum view_level
judge_pool(const struct usage_totals *totals)
{
	/* UDP sockets share no port: with the last one it is over. */
	if (totals->used_by[USAGE_UDP] >= totals->total)
		return VIEW_EXHAUSTED;
	for (int i = 0; i < USAGE_PROTOCOLS; i++) {
		if (is_beyond(totals->used_by[i], totals->total, VIEW_POOL_PERCENT))
			return VIEW_MOSTLY_USED;
	}
	return VIEW_ENOUGH;
}

enum view_level
view_judge(const struct usage_totals *totals)
{
	enum view_level destination = judge_destination(totals);
	enum view_level pool = judge_pool(totals);

	return destination > pool ? destination : pool;
}

static const char *
find_verdict(const struct usage_totals *totals)
{
	enum view_level level = judge_destination(totals);

	if (totals->total == 0)
		return "The pool is empty: every port of the range is reserved.";
	if (totals->used_by[USAGE_UDP] >= totals->total)
		return "No UDP port is left: new UDP sockets fail, those of DNS lookups "
		       "among them.";
	if (level == VIEW_ENOUGH &&
		is_beyond(totals->used_by[USAGE_UDP], totals->total, VIEW_POOL_PERCENT))
		return "Most UDP ports are used: no two sockets share one.";
	if (level >= VIEW_SLOW && totals->blocked > totals->destination_used_max / 2)
		return blocked_verdicts[level];
	if (level == VIEW_EXHAUSTED && totals->time_wait > 0)
		return "No port is left towards one destination: connect() to it fails "
		       "with "
		       "EADDRNOTAVAIL, unless tcp_tw_reuse lets it have one in "
		       "TIME_WAIT.";
	return verdicts[view_judge(totals)];
}

void
view_write_verdict(struct buf *b, const struct exposition_scrape *scrape)
{
	buf_printf(b, "%s", find_verdict(&scrape->report->totals));
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
		buf_printf(b, "no connection that holds a port of the pool");
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
	return state == USAGE_ESTABLISHED || state == USAGE_TIME_WAIT;
}
