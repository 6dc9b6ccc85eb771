/* SPDX-License-Identifier: MIT */
/*
 * Judge a scrape for a person, and word numbers as people read them.
 *
 * The thresholds are those of the alerts in deploy/prometheus/rules.yaml; a test compares
 * them. Source: Linux net/ipv4/inet_hashtables.c (__inet_hash_connect) for what a half
 * used pool means. Pure: no I/O, no allocation.
 */
#ifndef VIEW_H
#define VIEW_H

#include "exposition.h"
#include "util.h"

#include <stdint.h>

enum {
	/* Of the pool, towards one destination: beyond that connect() can be slow. */
	VIEW_HALF_PERCENT = 50,
	/* Of the pool, towards one destination: beyond that it fails soon. */
	VIEW_SHORT_PERCENT = 90,
	/* Of the pool of one protocol, all destinations together. */
	VIEW_POOL_PERCENT = 80,
	/* The same: beyond that bind() to port 0 and new UDP sockets fail soon. */
	VIEW_POOL_SHORT_PERCENT = 99,
};

/* From good to bad. */
enum view_level {
	VIEW_ENOUGH,
	VIEW_UNKNOWN, /* it would be VIEW_ENOUGH, but the figures may be too low */
	VIEW_MOSTLY_USED,
	VIEW_HALF_USED, /* towards one destination */
	VIEW_SHORT,
	VIEW_EXHAUSTED,
	VIEW_LEVELS,
};

/* A word for each: "enough", "mostly used", ... */
extern const char *const view_level_names[VIEW_LEVELS];

enum view_level view_judge(const struct ports_report *report);

/* Append sentences that say what the level means here; ASCII. */
void view_write_verdict(struct buf *b, const struct exposition_scrape *scrape);

/*
 * Append what destination is nearest to exhaustion, and from where; or how to have it
 * named, where names were not asked for; ASCII.
 */
void view_write_nearest(struct buf *b, const struct exposition_scrape *scrape);

/* Whether a figure of destinations may be too low, and is to be called "at least". */
bool view_is_at_least(const struct ports_report *report);

/* Append by how much the figures of destinations may be too low, a sentence; or nothing.
 */
void view_write_error(struct buf *b, const struct usage_totals *totals);

/* Append a number in groups of three digits: "28,232". */
void view_write_count(struct buf *b, uint64_t number);

/* Thousandths of the whole, cut, so that 1000 is all of it; 0 of nothing. */
unsigned view_share(uint32_t part, uint32_t whole);

/* Append such a share in percent, "43.7 %". */
void view_write_share(struct buf *b, uint32_t part, uint32_t whole);

/* Append microseconds, "0.842 ms". */
void view_write_cost(struct buf *b, uint64_t us);

/* What stands in a bar of all ports, in this order; the rest is free. */
struct view_parts {
	uint32_t blocked;
	uint32_t connected; /* or used by anything else: by UDP without a peer, too */
	uint32_t time_wait;
};

struct view_parts view_divide(const struct usage_totals *totals);

/* What sockets in close_wait are a sign of, or NULL where there are none; ASCII. */
const char *view_leak(const struct ports_report *report);

/* Whether a character, of UTF-8, is there to control a terminal: C0, DEL and C1. */
bool view_is_control(struct slice character);

/* Whether the table of sockets by state has a row for it: rows of zeros are left out, but
 * for two states that are shown always, where the source can see them. */
bool view_has_state(const struct ports_report *report, enum usage_state state);

#endif
