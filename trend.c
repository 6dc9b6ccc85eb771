/* SPDX-License-Identifier: MIT */
#include "trend.h"

#include <errno.h>

enum {
	HORIZON_S = 2 * 24 * 3600,
};

void
trend_add(struct trend *trend, int64_t at_ms, uint32_t value)
{
	trend->samples[trend->next] = (struct trend_sample){ at_ms, value };
	trend->next = (trend->next + 1) % TREND_SAMPLES;
	if (trend->count < TREND_SAMPLES)
		trend->count++;
}

static const struct trend_sample *
last_of(const struct trend *trend)
{
	return &trend->samples[(trend->next + TREND_SAMPLES - 1) % TREND_SAMPLES];
}

/* Units of the value a second; times count from the last sample, where they are small. */
static double
slope(const struct trend *trend)
{
	const struct trend_sample *last = last_of(trend);
	double time = 0, value = 0, over = 0, under = 0;

	for (size_t i = 0; i < trend->count; i++) {
		time += (double)(trend->samples[i].at_ms - last->at_ms) / 1000;
		value += trend->samples[i].value;
	}
	time /= (double)trend->count;
	value /= (double)trend->count;
	for (size_t i = 0; i < trend->count; i++) {
		double away =
			(double)(trend->samples[i].at_ms - last->at_ms) / 1000 - time;

		over += away * (trend->samples[i].value - value);
		under += away * away;
	}
	return under > 0 ? over / under : 0;
}

int
trend_estimate(const struct trend *trend, uint32_t limit, uint32_t *ret_seconds)
{
	uint32_t value;
	double pace, left;

	if (trend->count < TREND_LEAST)
		return -EAGAIN;
	value = last_of(trend)->value;
	if (value >= limit) {
		*ret_seconds = 0;
		return 1;
	}
	pace = slope(trend);
	if (pace * HORIZON_S < limit - value)
		return 0;
	left = (limit - value) / pace;
	/* Rounded up: 0 says that the limit is reached. */
	*ret_seconds = (uint32_t)left;
	*ret_seconds += *ret_seconds < left;
	return 1;
}
