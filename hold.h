/* SPDX-License-Identifier: MIT */
/*
 * Keep the supervisor's connections, each in one state, oldest first within it.
 *
 * A table of fixed size and a list for each state, so that finding the oldest, moving on
 * and counting cost the same however many there are.
 *
 * Source: the scoreboard of prefork servers. Pure: no I/O, no allocation; descriptors are
 * only carried.
 */
#ifndef HOLD_H
#define HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum hold_state {
	HOLD_FREE,
	HOLD_HEAD,     /* its request head is not complete */
	HOLD_READY,    /* complete: waits for a process */
	HOLD_BUSY,     /* a process answers it */
	HOLD_ANSWERED, /* the client has its answer and is to close */
	HOLD_CLOSING,  /* it did not; our side is closed, its last bytes are read */
	HOLD_STATES,
};

enum {
	/* 64 bytes each: 1 MiB of address space, touched as it is used. */
	HOLD_MAX = 16384,
};

struct hold_connection {
	struct hold_connection *older, *newer;
	int64_t accepted_ms;
	int64_t ready_ms;    /* when its head was complete */
	int64_t deadline_ms; /* of its state */
	uint32_t discarded;  /* bytes read and thrown away after the answer */
	uint32_t unread;     /* bytes that the kernel holds for its answer */
	pid_t pid;           /* of the process that answers it, while busy */
	bool killed;         /* that process, for being late */
	int fd;
	enum hold_state state;
};

struct hold_list {
	struct hold_connection *oldest, *newest;
	size_t count;
};

struct hold {
	struct hold_connection connections[HOLD_MAX];
	struct hold_list lists[HOLD_STATES];
};

/* An empty table for `size` connections, 1 to HOLD_MAX. */
void hold_reset(struct hold *hold, size_t size);

/* Put the connection behind all others of the state. */
void
hold_move(struct hold *hold, struct hold_connection *connection, enum hold_state state);

/* The one that came into the state first, or NULL. Go on with ->newer. */
struct hold_connection *hold_oldest(const struct hold *hold, enum hold_state state);

/* How many are in the state. */
size_t hold_count(const struct hold *hold, enum hold_state state);

#endif
