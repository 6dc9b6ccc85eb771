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
	TREND_SAMPLES = 60, /* two minutes, at one every two seconds */
	TREND_LEAST = 5,    /* fewer tell nothing */
};

struct trend_sample {
	int64_t at_ms;
	uint32_t value;
};

/* All zeros: nothing seen yet. */
struct trend {
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
int trend_estimate(const struct trend *trend, uint32_t limit, uint32_t *ret_seconds);

#endif
