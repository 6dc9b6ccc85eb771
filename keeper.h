/* SPDX-License-Identifier: MIT */
/*
 * Keep one process alive: PID 1 of a container starts the process that accepts
 * connections, and starts it again whenever it dies.
 *
 * The listening sockets were made before, where that worked, so that they are this
 * process's too: while nobody accepts, connections wait in the backlog. It reads nothing
 * from the network.
 *
 * Source: pid_namespaces(7), wait(2), prctl(2) (PR_SET_PDEATHSIG).
 */
#ifndef KEEPER_H
#define KEEPER_H

#include <stdbool.h>
#include <stdint.h>

enum {
	/* Exit status of a process that wants a new one in its place, soon. */
	KEEPER_RENEW = 3,
};

struct keeper_config {
	/*
	 * Shared with the process: one that has moved this on before it died was in good
	 * health, and the next one is not put off for longer.
	 */
	const volatile uint64_t *progress;
	bool may_end; /* exit status 0 of the process is the end, not a failure */
	/*
	 * Called in every process but the first: replaces it by a new image of the
	 * program, or returns -errno. NULL where that cannot be done.
	 */
	int (*renew)(void *context);
	void *context;
};

/*
 * Keep the process alive until SIGTERM or SIGINT; reap everyone, because PID 1 adopts
 * strangers.
 *
 * Returns 1 in each process that is to do the work, unless it was replaced: its signals
 * are as they were, and it dies with its keeper. Returns 0 when all is to end; the
 * process is killed then.
 */
int keeper_run(const struct keeper_config *config);

#endif
