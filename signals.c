/* SPDX-License-Identifier: MIT */
#include "signals.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <time.h>

static volatile sig_atomic_t told_to_stop, caught;
static sigset_t wait_mask, original_mask;

static void
on_stop(int signal_number)
{
	(void)signal_number;
	told_to_stop = 1;
	caught = 1;
}

/* That it arrives is all: it ends the wait, and whoever waited reaps. */
static void
on_child(int signal_number)
{
	(void)signal_number;
	caught = 1;
}

static const struct {
	int number;
	void (*handler)(int);
} handled[] = {
	{ SIGTERM, on_stop },
	{ SIGINT, on_stop },
	{ SIGCHLD, on_child },
};

static const int errors[] = { SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP };

enum {
	FAILED_PAUSE_MS = 100,
	HANDLED = sizeof(handled) / sizeof(handled[0]),
	ERRORS = sizeof(errors) / sizeof(errors[0]),
};

void
signals_catch(void)
{
	struct sigaction action = { .sa_flags = 0 };
	sigset_t blocked;

	told_to_stop = 0;
	sigfillset(&blocked);
	for (int i = 0; i < ERRORS; i++)
		sigdelset(&blocked, errors[i]);
	sigprocmask(SIG_SETMASK, &blocked, &original_mask);
	wait_mask = original_mask;
	sigemptyset(&action.sa_mask);
	for (int i = 0; i < HANDLED; i++) {
		action.sa_handler = handled[i].handler;
		sigaction(handled[i].number, &action, NULL);
		sigdelset(&wait_mask, handled[i].number);
	}
}

void
signals_release(void)
{
	for (int i = 0; i < HANDLED; i++)
		signal(handled[i].number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &original_mask, NULL);
}

bool
signals_told_to_stop(void)
{
	return told_to_stop;
}

bool
signals_take_caught(void)
{
	bool was_caught = caught;

	caught = 0;
	return was_caught;
}

const sigset_t *
signals_wait_mask(void)
{
	return &wait_mask;
}

void
signals_let_in(void)
{
	sigset_t blocked;

	sigprocmask(SIG_SETMASK, &wait_mask, &blocked);
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}

void
signals_pause(int64_t ms)
{
	struct timespec time = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000 * 1000000),
	};

	if (ppoll(NULL, 0, ms < 0 ? NULL : &time, &wait_mask) == 0 ||
		(errno == EINTR && signals_take_caught()))
		return;
	/* The callers loop: an error, or EINTR without a signal, must not make them spin.
	 */
	nanosleep(&(struct timespec){ .tv_nsec = FAILED_PAUSE_MS * 1000000L }, NULL);
	signals_let_in();
}
