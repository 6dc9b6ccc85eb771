/* SPDX-License-Identifier: MIT */
/*
 * Turn socket rows into port usage: which ports of the pool are held, by what.
 *
 * The pool is the local port range minus the reserved ports. A port number is counted
 * once however many sockets share it, because connect() may share a local port between
 * destinations; that is also why rows go into bitmaps: a table read in pieces may show
 * the same row twice. What a new connect() to one destination cannot use is counted in
 * destinations.h, and the ports that no connect() can use at all are added here.
 *
 * Source: Linux net/ipv4/inet_hashtables.c (__inet_hash_connect), net/ipv4/udp.c
 * (udp_lib_get_port), Documentation/networking/ip-sysctl.rst (ip_local_port_range,
 * ip_local_reserved_ports, tcp_tw_reuse), net/ipv4/tcp_ipv4.c (tcp_twsk_unique). Pure: no
 * I/O, no allocation.
 */
#ifndef USAGE_H
#define USAGE_H

#include "destinations.h"

#include <stdbool.h>
#include <stdint.h>

enum usage_protocol {
	USAGE_TCP,
	USAGE_UDP,
	USAGE_PROTOCOLS,
};

/*
 * The kernel's numbers (include/net/tcp_states.h) but for the last, which is no state of
 * its own there: a TCP socket in CLOSE that has been bound. UDP uses ESTABLISHED and
 * CLOSE of them.
 */
enum usage_state {
	USAGE_ESTABLISHED = 1,
	USAGE_SYN_SENT,
	USAGE_SYN_RECV,
	USAGE_FIN_WAIT1,
	USAGE_FIN_WAIT2,
	USAGE_TIME_WAIT,
	USAGE_CLOSE,
	USAGE_CLOSE_WAIT,
	USAGE_LAST_ACK,
	USAGE_LISTEN,
	USAGE_CLOSING,
	USAGE_BOUND_INACTIVE,
	USAGE_STATES, /* one past the last; 0 is no state */
};

enum {
	USAGE_PORTS = 65536,
	USAGE_WORDS = USAGE_PORTS / 64,
};

/* One bit for each port number: 8 KiB. */
struct usage_bitmap {
	uint64_t words[USAGE_WORDS];
};

/* The ports that the kernel hands out by itself. */
struct usage_pool {
	struct usage_bitmap ports;
	uint16_t range_first;
	uint16_t range_last;
	uint32_t reserved; /* ports of the range that are reserved */
	uint16_t odd_end;  /* the port that connect() leaves out, or 0 */
};

/* What decides whether connect() takes over a socket in TIME_WAIT. */
struct usage_reuse {
	uint32_t mode;       /* tcp_tw_reuse: 0 never, 1 always, 2 over loopback only */
	uint32_t timestamps; /* tcp_timestamps: 0 off */
	uint32_t delay_ms;   /* tcp_tw_reuse_delay: not before it is older than that */
};

struct usage {
	struct usage_pool pool;
	struct usage_reuse reuse;
	struct usage_bitmap held[USAGE_PROTOCOLS];
	struct usage_bitmap held_beyond_time_wait; /* TCP, by anything but TIME_WAIT */
	struct usage_bitmap held_beyond_reusable; /* by anything but reusable TIME_WAIT */
	struct usage_bitmap blocked;       /* TCP, by a socket that listens or is bound */
	struct usage_bitmap known_blocked; /* by the scan before usage_restart() */
	struct usage_bitmap connected;     /* TCP, counted towards a destination */
	bool blocked_late; /* a port was counted towards a destination, then found blocked
	                    */
	bool shows_bound_inactive; /* the source shows sockets in USAGE_BOUND_INACTIVE */
	uint64_t sockets[USAGE_PROTOCOLS][USAGE_STATES];
	uint64_t rows; /* rows read, in the pool or not */
	struct destinations destinations;
};

struct usage_row {
	enum usage_protocol protocol;
	enum usage_state state;
	uint16_t local_port; /* host byte order; 0 for a socket without a port */
	bool is_bound;       /* TCP: known to be bound to its port by number */
	uint32_t age_ms; /* in TIME_WAIT: for how long; 0 also when that is not known */
	struct destination destination; /* remote_port 0 for a socket without a peer */
};

/* What the counters come to. Every figure is a number of ports; 0 <= each <= total. */
struct usage_totals {
	uint32_t total;
	uint32_t used;
	uint32_t used_by[USAGE_PROTOCOLS];
	uint32_t time_wait;
	uint32_t time_wait_reusable; /* of those: by sockets that connect() may take over
	                              */
	uint32_t blocked;
	uint32_t left_out; /* 1 when connect() leaves out a port that is not blocked */
	uint32_t destination_used_max;
	uint32_t destination_error_max; /* 0 while every destination is counted exactly */
};

enum {
	USAGE_PARITIES = 2,
	USAGE_CELLS = 64,
};

/* Ports of one parity in one piece of the range. */
struct usage_cell {
	uint16_t used;
	uint16_t total; /* of the pool */
};

/*
 * Where in the range the used ports lie, in pieces of equal width. connect() tries the
 * parity of the range's first port before the other one: parity 0 here is that one.
 */
struct usage_map {
	uint16_t first; /* port of the first piece; it may lie before the range */
	uint16_t width; /* ports of a piece, of both parities together */
	uint16_t count; /* of pieces */
	struct usage_cell cells[USAGE_PARITIES][USAGE_CELLS];
};

/*
 * Make the pool first..last, both ends included; first <= last.
 *
 * Of an odd number of ports, three or more, no connect() looks at all: it begins at an
 * even offset and takes (number - 1) / 2 steps of two for each parity. That leaves out
 * the first port, or the last one when it begins at offset 0: of three ports always, of
 * more in one of (number - 1) / 2 searches.
 */
void usage_pool_fill(struct usage_pool *pool, uint16_t first, uint16_t last);

/*
 * Take the ports first..last, both ends included and first <= last, out of the pool.
 * Ports outside the range, and ports taken out before, change nothing.
 */
void usage_pool_reserve(struct usage_pool *pool, uint16_t first, uint16_t last);

/* Whether the port is in the pool. */
bool usage_pool_contains(const struct usage_pool *pool, uint16_t port);

/*
 * Start over, with a pool that is still to be filled. The struct is one that is all
 * zeros, as static ones begin, or that was reset before. For the seed see
 * destinations_reset().
 */
void
usage_reset(struct usage *usage, const uint64_t seed[static DESTINATIONS_SEED_WORDS]);

/*
 * Forget the ports and the peers. The counters are unusable until usage_reset() then.
 */
void usage_wipe(struct usage *usage);

/*
 * Start the counting over with the same pool. Ports that were found blocked are known to
 * be from the first row on: then none of them is counted towards a destination.
 */
void usage_restart(struct usage *usage);

/*
 * Count one socket. Rows outside the pool only add to the rows read. When it sets
 * `blocked_late`, the counts of destinations are too high: usage_restart() and scan
 * again.
 */
void usage_add(struct usage *usage, const struct usage_row *row);

/* Draw the map. */
void usage_draw(const struct usage *usage, struct usage_map *ret_map);

/* Sum up. */
struct usage_totals usage_sum(const struct usage *usage);

/*
 * How many ports of the pool a new connect() to this destination cannot use: those that
 * lead there, those that are blocked, and the one that it leaves out.
 */
uint32_t usage_destination_used(
	const struct usage_totals *totals, const struct destinations_entry *entry);

#endif
