/* SPDX-License-Identifier: MIT */
/*
 * Limit how often processes may crash: an attacker that guesses addresses or canaries
 * needs a process for each guess.
 *
 * Three crashes in ten seconds begin a slow mode: after each crash no process starts for
 * a delay that doubles, and then one at a time. A minute without a crash ends it.
 */
#ifndef CRASHES_H
#define CRASHES_H

#include "util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	CRASHES = 3,
};

/*
 * All zeros: none yet. It may lie in memory that a supervisor that was taken over has
 * written to: every value is one that its users can take.
 */
struct crashes {
	int64_t at_ms[CRASHES]; /* the last ones, in turn; 0 for none */
	int64_t last_ms;
	int64_t started_ms; /* the last process of the slow mode */
	uint64_t next;
	struct backoff backoff; /* all zeros unless it is the slow mode */
};

/* A process has crashed; delay_max_ms limits what the next ones are put off by. */
void crashes_note(struct crashes *crashes, int64_t delay_max_ms);

/* Whether it is the slow mode. */
bool crashes_are_many(const struct crashes *crashes);

/* Whether a process may start now, beside `running` others; it counts as started then. */
bool crashes_allow_start(struct crashes *crashes, size_t running);

/* When to ask again, by util_now_ms(); in the slow mode only. */
int64_t crashes_due_ms(const struct crashes *crashes, size_t running);

#endif
