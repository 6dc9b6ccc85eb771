/* SPDX-License-Identifier: MIT */
/*
 * Keep the supervisor's connections, each in one state, oldest first within it, and say
 * which one is next when those of several addresses compete.
 *
 * A table of fixed size and a list for each state, so that finding the oldest, moving on
 * and counting cost the same however many there are. What compares addresses looks at
 * HOLD_LOOK_MAX connections at most.
 *
 * Source: the scoreboard of prefork servers; max-min fairness for what is shared. Pure:
 * no I/O, no allocation; descriptors are only carried.
 */
#ifndef HOLD_H
#define HOLD_H

#include "siphash.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

/* Packed into one byte: a connection has no room for more. */
enum __attribute__((packed)) hold_state {
	HOLD_FREE,
	HOLD_HEAD,     /* its request head is not complete */
	HOLD_READY,    /* complete: waits for a process */
	HOLD_BUSY,     /* a process answers it */
	HOLD_ANSWERED, /* the client has its answer and is to close */
	HOLD_CLOSING,  /* it did not; our side is closed, its last bytes are read */
	HOLD_STATES,
};

enum {
	/* 56 bytes each: 896 KiB of address space, touched as it is used. */
	HOLD_MAX = 16384,
	/*
	 * Numbers of sources: 32 KiB of counters. Two addresses have the same number by
	 * chance only, one time in 16,383, and share one address's part then.
	 */
	HOLD_SOURCES = 16384,
	HOLD_NO_SOURCE = 0, /* UNIX sockets */
	HOLD_LOOK_MAX = 256,
};

struct hold_connection {
	struct hold_connection *older, *newer;
	int64_t accepted_ms;
	int64_t ready_ms;    /* when its head was complete */
	int64_t deadline_ms; /* of its state */
	uint32_t discarded;  /* bytes read and thrown away after the answer */
	union {
		pid_t pid;       /* of the process that answers it, while busy */
		uint32_t unread; /* bytes that the kernel holds for its answer, later */
	};
	int fd;
	uint16_t source; /* to be set while it is free, see hold_source() */
	enum hold_state state;
	bool killed; /* that process, for being late */
};

struct hold_list {
	struct hold_connection *oldest, *newest;
	size_t count;
};

struct hold {
	struct hold_connection connections[HOLD_MAX];
	struct hold_list lists[HOLD_STATES];
	uint64_t key[SIPHASH_WORDS]; /* random, so that no client chooses its number */
	uint16_t held[HOLD_SOURCES]; /* connections of each source that are not free */
};

/*
 * Give a table that is all zeros `size` free connections, 1 to HOLD_MAX. The key is the
 * caller's to fill.
 */
void hold_fill(struct hold *hold, size_t size);

/* Put the connection behind all others of the state. */
void
hold_move(struct hold *hold, struct hold_connection *connection, enum hold_state state);

/* The one that came into the state first, or NULL. Go on with ->newer. */
struct hold_connection *hold_oldest(const struct hold *hold, enum hold_state state);

/* How many are in the state. */
size_t hold_count(const struct hold *hold, enum hold_state state);

/*
 * The number of the source that a client's address belongs to: an IPv4 address, also one
 * that is mapped into IPv6, or the first 64 bits of an IPv6 address, which one host can
 * have all addresses of. HOLD_NO_SOURCE for other families.
 */
uint16_t hold_source(const struct hold *hold, const struct sockaddr_storage *address);

/* How many of the source are in the state, by walking its list. */
size_t hold_count_from(const struct hold *hold, enum hold_state state, uint16_t source);

/*
 * Of the HOLD_LOOK_MAX oldest in the state the oldest one whose source has the most
 * connections in the table, or NULL.
 */
struct hold_connection *hold_heaviest(const struct hold *hold, enum hold_state state);

/*
 * The ready one to be answered next: of the source that has the fewest busy ones, then of
 * the one that has the fewest in the table, then the oldest. A source that has `busy_max`
 * busy ones has none; HOLD_NO_SOURCE is not limited. NULL when there is none.
 */
struct hold_connection *hold_next(const struct hold *hold, size_t busy_max);

#endif
