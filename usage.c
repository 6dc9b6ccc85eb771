/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <string.h>

static void
bitmap_set(struct usage_bitmap *map, uint16_t port)
{
	map->words[port / 64] |= UINT64_C(1) << (port % 64);
}

static void
bitmap_clear(struct usage_bitmap *map, uint16_t port)
{
	map->words[port / 64] &= ~(UINT64_C(1) << (port % 64));
}

static bool
bitmap_has(const struct usage_bitmap *map, uint16_t port)
{
	return (map->words[port / 64] >> (port % 64)) & 1;
}

static uint32_t
count_bits(uint64_t word)
{
	return (uint32_t)__builtin_popcountll(word);
}

void
usage_reset(struct usage *usage, uint16_t first, uint16_t last)
{
	memset(usage, 0, sizeof(*usage));
	usage->range_first = first;
	usage->range_last = last;
	for (uint32_t port = first; port <= last; port++)
		bitmap_set(&usage->pool, (uint16_t)port);
}

void
usage_reserve(struct usage *usage, uint16_t first, uint16_t last)
{
	for (uint32_t port = first; port <= last; port++) {
		if (!bitmap_has(&usage->pool, (uint16_t)port))
			continue;
		bitmap_clear(&usage->pool, (uint16_t)port);
		usage->reserved++;
	}
}

bool
usage_in_pool(const struct usage *usage, uint16_t port)
{
	return bitmap_has(&usage->pool, port);
}

void
usage_add(struct usage *usage, const struct usage_row *row)
{
	bool time_wait = row->protocol == USAGE_TCP && row->state == USAGE_TIME_WAIT;

	usage->rows++;
	/* Port 0 is in no pool: the range begins at 1 at the lowest. */
	if (!usage_in_pool(usage, row->local_port))
		return;
	bitmap_set(&usage->held[row->protocol], row->local_port);
	if (row->protocol == USAGE_TCP && !time_wait)
		bitmap_set(&usage->held_beyond_time_wait, row->local_port);
	usage->sockets[row->protocol][row->state]++;
}

struct usage_totals
usage_sum(const struct usage *usage)
{
	struct usage_totals totals = { 0 };

	for (int i = 0; i < USAGE_WORDS; i++) {
		uint64_t tcp = usage->held[USAGE_TCP].words[i];
		uint64_t udp = usage->held[USAGE_UDP].words[i];

		totals.total += count_bits(usage->pool.words[i]);
		totals.used += count_bits(tcp | udp);
		totals.used_by[USAGE_TCP] += count_bits(tcp);
		totals.used_by[USAGE_UDP] += count_bits(udp);
		totals.time_wait +=
			count_bits(tcp & ~usage->held_beyond_time_wait.words[i]);
	}
	return totals;
}
