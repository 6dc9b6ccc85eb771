/* SPDX-License-Identifier: MIT */
/*
 * Hear signals only while waiting, and tell whether one has asked this process to end.
 *
 * SIGTERM and SIGINT ask for the end; SIGCHLD ends a wait. All others are blocked, but
 * for those that tell of an error in the program itself: blocked, they would end it all
 * the same, and without a trace. PID 1 has no default actions, so that nothing ends it
 * but what has a handler here.
 *
 * Source: signal(7), sigprocmask(2), pid_namespaces(7).
 */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* Block and handle from now on. */
void signals_catch(void);

/* As it was before signals_catch(): for a child that is not to supervise. */
void signals_release(void);

/* Whether SIGTERM or SIGINT has come since signals_catch(). */
bool signals_told_to_stop(void);

/*
 * Whether a handler has run since the last call. EINTR without that says nothing: SIGCONT
 * and a tracer cause it once, and a wait that always returns it must not become a loop
 * that spins.
 */
bool signals_take_caught(void);

/* What is blocked while waiting, for ppoll(2) and epoll_pwait(2). */
const sigset_t *signals_wait_mask(void);

/* Take what is pending. A wait takes signals only when it has to wait. */
void signals_let_in(void);

/* Wait for a signal, at most so many milliseconds; for ever when negative. */
void signals_pause(int64_t ms);

#endif
