/* SPDX-License-Identifier: MIT */
#include "usage.h"

#include <string.h>

static void
bitmap_set(struct usage_bitmap *map, uint16_t port)
{
	map->words[port / 64] |= UINT64_C(1) << (port % 64);
}

/* Writes only where there is something: a page that was never written stays unmapped. */
static void
bitmap_wipe(struct usage_bitmap *map)
{
	for (int i = 0; i < USAGE_WORDS; i++) {
		if (map->words[i] != 0)
			map->words[i] = 0;
	}
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

/* Both ends included, whole words at once: the range has 28,232 ports by default. */
static void
bitmap_fill(struct usage_bitmap *map, uint32_t first, uint32_t last)
{
	uint32_t port = first;

	while (port <= last) {
		if (port % 64 == 0 && last - port >= 63) {
			map->words[port / 64] = UINT64_MAX;
			port += 64;
		} else {
			bitmap_set(map, (uint16_t)port++);
		}
	}
}

static uint32_t
count_bits(uint64_t word)
{
	return (uint32_t)__builtin_popcountll(word);
}

void
usage_pool_fill(struct usage_pool *pool, uint16_t first, uint16_t last)
{
	memset(pool, 0, sizeof(*pool));
	pool->range_first = first;
	pool->range_last = last;
	if (last - first == 2)
		pool->odd_end = last;
	else if (last > first && (last - first) % 2 == 0)
		pool->odd_end = first;
	bitmap_fill(&pool->ports, first, last);
}

void
usage_pool_reserve(struct usage_pool *pool, uint16_t first, uint16_t last)
{
	for (uint32_t port = first; port <= last; port++) {
		if (!bitmap_has(&pool->ports, (uint16_t)port))
			continue;
		bitmap_clear(&pool->ports, (uint16_t)port);
		pool->reserved++;
	}
}

bool
usage_pool_contains(const struct usage_pool *pool, uint16_t port)
{
	return bitmap_has(&pool->ports, port);
}

void
usage_restart(struct usage *usage)
{
	usage->known_blocked = usage->blocked;
	memset(usage->held, 0, sizeof(usage->held));
	memset(&usage->held_beyond_time_wait, 0, sizeof(usage->held_beyond_time_wait));
	memset(&usage->held_beyond_reusable, 0, sizeof(usage->held_beyond_reusable));
	memset(&usage->blocked, 0, sizeof(usage->blocked));
	memset(&usage->connected, 0, sizeof(usage->connected));
	memset(usage->sockets, 0, sizeof(usage->sockets));
	usage->blocked_late = false;
	usage->shows_bound_inactive = false;
	usage->rows = 0;
	destinations_clear(&usage->destinations);
}

void
usage_reset(struct usage *usage, const uint64_t seed[static DESTINATIONS_SEED_WORDS])
{
	/* A process that scans once leaves the pages alone that it never needs. */
	if (usage->pool.range_last != 0) {
		usage_restart(usage);
		memset(&usage->known_blocked, 0, sizeof(usage->known_blocked));
		memset(&usage->pool, 0, sizeof(usage->pool));
		memset(&usage->reuse, 0, sizeof(usage->reuse));
	}
	destinations_reset(&usage->destinations, seed);
}

void
usage_wipe(struct usage *usage)
{
	bitmap_wipe(&usage->held[USAGE_TCP]);
	bitmap_wipe(&usage->held[USAGE_UDP]);
	bitmap_wipe(&usage->held_beyond_time_wait);
	bitmap_wipe(&usage->held_beyond_reusable);
	bitmap_wipe(&usage->blocked);
	bitmap_wipe(&usage->known_blocked);
	bitmap_wipe(&usage->connected);
	destinations_wipe(&usage->destinations);
}

/*
 * A socket without a peer takes its port away from every connect(), of either family, and
 * so does one that was bound before it connected; in the kernel's words, its bind bucket
 * has fastreuse >= 0. In SYN_SENT a peer is there, though gVisor does not say which.
 */
static bool
blocks_port(const struct usage_row *row)
{
	return row->state == USAGE_LISTEN || row->state == USAGE_BOUND_INACTIVE ||
	       (row->destination.remote_port == 0 && row->state != USAGE_SYN_SENT) ||
	       row->is_bound;
}

static bool
is_loopback(const struct in6_addr *address)
{
	return IN6_IS_ADDR_LOOPBACK(address) ||
	       (IN6_IS_ADDR_V4MAPPED(address) && address->s6_addr[12] == IN_LOOPBACKNET);
}

/*
 * Whether connect() to the same destination may take over this socket in TIME_WAIT now.
 * The kernel asks whether the connection had timestamps, which no source shows; the
 * sysctl says whether it could have had them.
 */
static bool
is_reusable(const struct usage_reuse *reuse, const struct usage_row *row)
{
	enum {
		LOOPBACK_DEVICE = 1, /* LOOPBACK_IFINDEX in include/net/flow.h */
	};
	const struct destination *to = &row->destination;

	if (row->state != USAGE_TIME_WAIT || row->age_ms <= reuse->delay_ms ||
		reuse->timestamps == 0 || reuse->mode == 0)
		return false;
	return reuse->mode != 2 || to->device == LOOPBACK_DEVICE ||
	       is_loopback(&to->local) || is_loopback(&to->remote);
}

/*
 * A connection on a blocked port is one that a listening socket accepted, or shares the
 * port of a bound one: it takes nothing that is not taken already. So does a request, in
 * SYN_RECV; one on another port is a simultaneous open, or has outlived its listening
 * socket.
 */
static void
add_destination(struct usage *usage, const struct usage_row *row)
{
	uint16_t port = row->local_port;

	if (row->destination.remote_port == 0 || bitmap_has(&usage->blocked, port) ||
		bitmap_has(&usage->known_blocked, port))
		return;
	bitmap_set(&usage->connected, port);
	destinations_add(&usage->destinations, &row->destination, port,
		port == usage->pool.odd_end);
}

static void
add_tcp(struct usage *usage, const struct usage_row *row)
{
	if (is_reusable(&usage->reuse, row))
		return;
	bitmap_set(&usage->held_beyond_reusable, row->local_port);
	if (row->state != USAGE_TIME_WAIT)
		bitmap_set(&usage->held_beyond_time_wait, row->local_port);
	if (!blocks_port(row)) {
		add_destination(usage, row);
		return;
	}
	bitmap_set(&usage->blocked, row->local_port);
	if (bitmap_has(&usage->connected, row->local_port))
		usage->blocked_late = true;
}

void
usage_add(struct usage *usage, const struct usage_row *row)
{
	usage->rows++;
	/* Port 0 is in no pool: the range begins at 1 at the lowest. */
	if (!usage_pool_contains(&usage->pool, row->local_port))
		return;
	bitmap_set(&usage->held[row->protocol], row->local_port);
	usage->sockets[row->protocol][row->state]++;
	if (row->protocol == USAGE_TCP)
		add_tcp(usage, row);
}

/* What a socket listened on stays closed for those that it accepted. */
static uint64_t
blocked_word(const struct usage *usage, int i)
{
	return usage->blocked.words[i] |
	       (usage->known_blocked.words[i] & usage->held[USAGE_TCP].words[i]);
}

/* Whether connect() leaves out a port that is lost by nothing else. */
static bool
leaves_out(const struct usage *usage)
{
	uint16_t port = usage->pool.odd_end;

	return usage_pool_contains(&usage->pool, port) &&
	       !(blocked_word(usage, port / 64) >> (port % 64) & 1);
}

struct usage_totals
usage_sum(const struct usage *usage)
{
	struct usage_totals totals = { 0 };
	struct destinations_entry nearest = { 0 };

	/* Nothing is counted outside the range. */
	for (int i = usage->pool.range_first / 64; i <= usage->pool.range_last / 64;
		i++) {
		uint64_t tcp = usage->held[USAGE_TCP].words[i];
		uint64_t udp = usage->held[USAGE_UDP].words[i];

		totals.total += count_bits(usage->pool.ports.words[i]);
		totals.used += count_bits(tcp | udp);
		totals.used_by[USAGE_TCP] += count_bits(tcp);
		totals.used_by[USAGE_UDP] += count_bits(udp);
		totals.time_wait +=
			count_bits(tcp & ~usage->held_beyond_time_wait.words[i]);
		totals.time_wait_reusable +=
			count_bits(tcp & ~usage->held_beyond_reusable.words[i]);
		totals.blocked += count_bits(blocked_word(usage, i));
	}
	totals.left_out = leaves_out(usage);
	destinations_top(&usage->destinations, 1, &nearest);
	totals.destination_used_max = usage_destination_used(&totals, &nearest);
	totals.destination_error_max = usage->destinations.rounds < totals.total
	                                       ? usage->destinations.rounds
	                                       : totals.total;
	return totals;
}

static void
draw_word(
	const struct usage *usage, int i, struct usage_cell *even, struct usage_cell *odd)
{
	const uint64_t evens = UINT64_C(0x5555555555555555);
	uint64_t pool = usage->pool.ports.words[i];
	uint64_t used = usage->held[USAGE_TCP].words[i] | usage->held[USAGE_UDP].words[i];

	even->used = (uint16_t)(even->used + count_bits(used & evens));
	even->total = (uint16_t)(even->total + count_bits(pool & evens));
	odd->used = (uint16_t)(odd->used + count_bits(used & ~evens));
	odd->total = (uint16_t)(odd->total + count_bits(pool & ~evens));
}

/* Pieces are whole words of the bitmaps: that costs next to nothing. */
void
usage_draw(const struct usage *usage, struct usage_map *ret_map)
{
	const int first = usage->pool.range_first / 64,
		  last = usage->pool.range_last / 64;
	const int words = (last - first) / USAGE_CELLS + 1;
	const int even = usage->pool.range_first % 2; /* the index of even ports */

	*ret_map = (struct usage_map){
		.first = (uint16_t)(first * 64),
		.width = (uint16_t)(words * 64),
		.count = (uint16_t)((last - first) / words + 1),
	};
	for (int i = first; i <= last; i++) {
		int cell = (i - first) / words;

		draw_word(usage, i, &ret_map->cells[even][cell],
			&ret_map->cells[!even][cell]);
	}
}

uint32_t
usage_destination_used(
	const struct usage_totals *totals, const struct destinations_entry *entry)
{
	uint32_t used =
		totals->blocked + entry->count + (entry->has_end ? 0 : totals->left_out);

	/* A row that the kernel shows twice while its table changes may count twice. */
	return used < totals->total ? used : totals->total;
}
