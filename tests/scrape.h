/* SPDX-License-Identifier: MIT */
/*
 * Make a scrape of a fuzz input: what was found, in records, and the name of the pod
 * behind them. For the targets that look at how a scrape is told; each of them is one
 * file, which includes this one.
 */
#ifndef SCRAPE_H
#define SCRAPE_H

#include "exposition.h"
#include "ports.h"
#include "usage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
	HEADER_BYTES = 8,
	RECORD_BYTES = 8,
	NAME_MAX_BYTES = 253,
	OUTCOMES = 3,
};

/* Bits of the first byte. */
enum flag {
	FLAG_OPENMETRICS = 1,
	FLAG_SUPERVISED = 2,
	FLAG_BOUND_INACTIVE = 4,
	FLAG_PROCFS = 8,
	FLAG_OTHER_NETNS = 16,
	FLAG_AGAIN = 32,      /* scanned twice, and the first half is gone by then */
	FLAG_LONGEST = 64,    /* every address and every number as long as can be */
	FLAG_EXHAUSTED = 128, /* a socket listens on each port that no row has */
};

/* In the first byte of a record: what the others are. */
enum record {
	RECORD_TCP_IPV4,
	RECORD_TCP_IPV6,
	RECORD_UDP,
	RECORD_SOCKETS, /* a number of sockets no machine has */
	RECORDS,
};

/* What the scrape was made of, and the scrape. */
static struct found {
	struct usage usage;
	struct usage_totals totals;
	struct usage_map map;
	struct destinations_entry top[DESTINATIONS_TOP_MAX];
	size_t top_count;
	uint8_t flags;
	bool is_lower_bound;
	size_t top_destinations;
	uint64_t duration_us;
	int64_t start_time_ms;
	char pod_name[NAME_MAX_BYTES + 1];
	struct exposition_outcome outcomes[OUTCOMES];
	struct ports_report report;
	struct exposition_scrape scrape;
} found;

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
	report->map = found.map;
	memcpy(report->sockets, usage->sockets, sizeof(report->sockets));
	report->rows = usage->rows;
	report->reserved = usage->pool.reserved;
	report->range_first = usage->pool.range_first;
	report->range_last = usage->pool.range_last;
	report->shows_bound_inactive = usage->shows_bound_inactive;
	report->is_lower_bound = found.is_lower_bound;
	report->top_count = found.top_count;
	memcpy(report->top, found.top, sizeof(report->top));
	report->source =
		has_flag(FLAG_PROCFS) ? PORTS_SOURCE_PROCFS : PORTS_SOURCE_SOCK_DIAG;
	report->scan_duration_us = found.duration_us;
}

static void
fill_scrape(struct exposition_scrape *scrape)
{
	found.outcomes[0] = (struct exposition_outcome){ "served", found.usage.rows };
	found.outcomes[1] = (struct exposition_outcome){ "failed", 0 };
	found.outcomes[2] = (struct exposition_outcome){ "refused", UINT64_MAX };
	*scrape = (struct exposition_scrape){
		.report = &found.report,
		.pod_name = found.pod_name,
		.version = "1.2.3",
		.launcher = "print",
		.netns = has_flag(FLAG_OTHER_NETNS) ? "other" : "same",
		.names_destinations = found.top_destinations > 0,
		.outcomes = found.outcomes,
		.outcome_count = has_flag(FLAG_SUPERVISED) ? OUTCOMES : 0,
		.start_time_ms = found.start_time_ms,
	};
}

static void
take_row(enum record kind, const uint8_t *record)
{
	struct usage_row row = {
		.protocol = kind == RECORD_UDP ? USAGE_UDP : USAGE_TCP,
		.state = (enum usage_state)(1 + record[1] % (USAGE_STATES - 1)),
		.local_port = (uint16_t)(record[2] << 8 | record[3]),
		.age_ms = record[6] * 16U, /* more than a second, or less */
		.destination.remote_port = (uint16_t)(record[4] << 8 | record[5]),
	};
	struct destination *to = &row.destination;

	if (kind == RECORD_UDP)
		row.state = record[1] & 1 ? USAGE_ESTABLISHED : USAGE_CLOSE;
	to->device = has_flag(FLAG_LONGEST) ? UINT32_MAX : record[0] / RECORDS / 16;
	row.is_bound = kind == RECORD_TCP_IPV4 && record[0] / RECORDS % 16 == 15;
	if (has_flag(FLAG_LONGEST))
		memset(&to->local, 0xff, sizeof(to->local));
	if (kind != RECORD_TCP_IPV6)
		memcpy(&to->local, (const uint8_t[]){ [10] = 0xff, 0xff }, 12);
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

/* What is blocked in the first scan is known to be in the second one. */
static void
take_records(const uint8_t *data, size_t count)
{
	for (size_t i = 0; i < count; i++)
		take_record(data + i * RECORD_BYTES);
	if (!has_flag(FLAG_AGAIN))
		return;
	usage_restart(&found.usage);
	for (size_t i = count / 2; i < count; i++)
		take_record(data + i * RECORD_BYTES);
}

static void
make_pool(const uint8_t *ends)
{
	static const uint64_t seed[DESTINATIONS_SEED_WORDS] = { 1, 2 };
	uint16_t first = (uint16_t)(ends[0] << 8 | ends[1]);
	uint16_t last = (uint16_t)(ends[2] << 8 | ends[3]);

	if (first == 0)
		first = 1;
	if (last < first)
		last = UINT16_MAX;
	usage_reset(&found.usage, seed);
	usage_pool_fill(&found.usage.pool, first, last);
	usage_pool_reserve(&found.usage.pool, (uint16_t)(last & 0xfff0), last);
	found.usage.reuse = (struct usage_reuse){ 1, 1, 1000 };
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
	/* The bits of the flags are all taken: here it is from 101 to 201. */
	found.is_lower_bound = header[1] / (DESTINATIONS_TOP_MAX + 1U) == 1;
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

/* Of no row, because an input that has so many would be too long. */
static void
block_free_ports(struct usage *usage)
{
	for (int i = 0; i < USAGE_WORDS; i++) {
		uint64_t free = usage->pool.ports.words[i] &
		                ~usage->held[USAGE_TCP].words[i] &
		                ~usage->held[USAGE_UDP].words[i];

		usage->held[USAGE_TCP].words[i] |= free;
		usage->held_beyond_time_wait.words[i] |= free;
		usage->held_beyond_reusable.words[i] |= free;
		usage->blocked.words[i] |= free;
	}
}

static void
go_to_extremes(struct usage *usage)
{
	if (has_flag(FLAG_EXHAUSTED))
		block_free_ports(usage);
	if (has_flag(FLAG_LONGEST)) {
		memset(usage->sockets, 0xff, sizeof(usage->sockets));
		usage->rows = UINT64_MAX;
		usage->destinations.rounds = UINT32_MAX;
		found.duration_us = UINT64_MAX;
	}
}

static void
take_input(const uint8_t *data, size_t size)
{
	size_t records, at = take_header(data, size, &records);

	if (records > (size - at) / RECORD_BYTES)
		records = (size - at) / RECORD_BYTES;
	take_records(data + at, records);
	at += records * RECORD_BYTES;
	take_name(data + at, size - at);
	found.usage.shows_bound_inactive = has_flag(FLAG_BOUND_INACTIVE);
	go_to_extremes(&found.usage);
	found.totals = usage_sum(&found.usage);
	usage_draw(&found.usage, &found.map);
	found.top_count = destinations_top(
		&found.usage.destinations, found.top_destinations, found.top);
	fill_report(&found.report);
	fill_scrape(&found.scrape);
}

#endif
