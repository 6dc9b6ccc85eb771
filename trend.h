/* SPDX-License-Identifier: MIT */
/*
 * Estimate when a figure that is looked at again and again reaches its limit.
 *
 * Source: the line of least squares through the samples. Pure: no I/O, no allocation.
 */
#ifndef TREND_H
#define TREND_H

#include <stddef.h>
#include <stdint.h>

enum {
	/* Samples that are older than the last one by more tell nothing. */
	TREND_WINDOW_MS = 120 * 1000,
	TREND_SAMPLES = 60, /* at one every two seconds */
	TREND_LEAST = 5,    /* fewer tell nothing */
};

struct trend_sample {
	int64_t at_ms;
	uint32_t value;
};

/* All zeros but the limit: nothing seen yet. Another limit needs another trend. */
struct trend {
	uint32_t limit;
	struct trend_sample samples[TREND_SAMPLES]; /* in turn */
	size_t count;
	size_t next;
};

/* Note what was seen; the oldest sample gives way. at_ms never goes back. */
void trend_add(struct trend *trend, int64_t at_ms, uint32_t value);

/*
 * Returns 1 with the seconds from the last sample until the limit is reached at the pace
 * of the samples, 0 when it is not reached within two days, -EAGAIN while there are too
 * few samples.
 */
int trend_estimate(const struct trend *trend, uint32_t *ret_seconds);

/*
 * By how much the value has grown a second, from the oldest sample that tells something
 * to the last one; ret_span_s is how long that was. At least one sample must have been
 * seen.
 */
double trend_pace(const struct trend *trend, uint32_t *ret_span_s);

#endif
