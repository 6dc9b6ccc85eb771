/* SPDX-License-Identifier: MIT */
#include "crashes.h"

enum {
	WINDOW_MS = 10 * 1000,
	PEACE_MS = 60 * 1000,
};

void
crashes_note(struct crashes *crashes, int64_t delay_max_ms)
{
	int64_t now = util_now_ms(), third_last;

	crashes->last_ms = now;
	crashes->at_ms[crashes->next % CRASHES] = now;
	crashes->next = crashes->next % CRASHES + 1;
	third_last = crashes->at_ms[crashes->next % CRASHES];
	if (crashes_are_many(crashes) || (third_last > 0 && now - third_last < WINDOW_MS))
		backoff_grow(&crashes->backoff, delay_max_ms);
}

bool
crashes_are_many(const struct crashes *crashes)
{
	return crashes->backoff.delay_ms > 0;
}

/*
 * The delay counts from the last crash: while processes end without one, the next starts
 * at once. A process that hangs delays the next one for no longer than that.
 */
int64_t
crashes_due_ms(const struct crashes *crashes, size_t running)
{
	int64_t last_ms = crashes->last_ms;

	if (running > 0 && crashes->started_ms > last_ms)
		last_ms = crashes->started_ms;
	return last_ms + crashes->backoff.delay_ms;
}

bool
crashes_allow_start(struct crashes *crashes, size_t running)
{
	int64_t now = util_now_ms();

	if (!crashes_are_many(crashes))
		return true;
	/* What is due later than the peace is no time that was noted. */
	if (now - crashes->last_ms >= PEACE_MS ||
		crashes_due_ms(crashes, running) - now >= PEACE_MS) {
		crashes->backoff = (struct backoff){ 0 };
		return true;
	}
	if (now < crashes_due_ms(crashes, running))
		return false;
	crashes->started_ms = now;
	return true;
}
