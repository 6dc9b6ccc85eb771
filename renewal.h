/* SPDX-License-Identifier: MIT */
/*
 * Start a supervisor by exec, so that its addresses and its stack canary are others than
 * those of the one before.
 *
 * PID 1 makes what every supervisor shares: memory for the counters and for what was
 * logged, the listening sockets, the pair of a handover. A process that it forks finds
 * them where they are; one that it starts by exec is told their descriptors in argv[0].
 *
 * Source: execve(2), memfd_create(2), random_va_space in proc_sys_kernel(5).
 */
#ifndef RENEWAL_H
#define RENEWAL_H

#include "descriptors.h"
#include "handover.h"
#include "listen.h"

#include <stdbool.h>
#include <stddef.h>

/* What a supervisor has of PID 1. */
struct renewal {
	/* Why the end of a supervisor starts no other one; NULL if it does. */
	const char *error;
	int memory_fd;
	struct handover handover;
};

/* None: nothing is inherited, nothing can be renewed. No I/O. */
struct renewal renewal_none(void);

/* Make memory and handover, in PID 1. Returns 0 or -errno; nothing is made then. */
int renewal_open(struct renewal *ret_renewal);

/*
 * Map the memory of the log, or that of the counters, which must be smaller than a page;
 * it is all zeros at first. Returns NULL where there is none.
 */
void *renewal_map_log(const struct renewal *renewal);
void *renewal_map_tally(const struct renewal *renewal);

/*
 * Replace this process, a child of PID 1, by a new image of the program. Closes what the
 * new image is not to have, but for those of `keep`.
 *
 * Returns -errno when it could not.
 */
int renewal_exec(const struct renewal *renewal, const struct listen_found *found,
	char *argv[], const int keep[static DESCRIPTORS_KEEP_MAX]);

/*
 * Whether this process, with `name` for argv[0], was started in that way: fills both, and
 * makes what it has inherited close-on-exec. The sockets have no addresses yet.
 */
bool renewal_find(
	const char *name, struct renewal *ret_renewal, struct listen_found *ret_found);

#endif
