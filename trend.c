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

/* The samples that tell something, newest first; NULL behind the last of them. */
static const struct trend_sample *
sample_before(const struct trend *trend, size_t age)
{
	const struct trend_sample *sample =
		&trend->samples[(trend->next + 2 * TREND_SAMPLES - 1 - age) %
				TREND_SAMPLES];

	if (age >= trend->count ||
		last_of(trend)->at_ms - sample->at_ms > TREND_WINDOW_S * 1000)
		return NULL;
	return sample;
}

/* Times count from the last sample, where they are small. */
static double
seconds_of(const struct trend *trend, const struct trend_sample *sample)
{
	return (double)(sample->at_ms - last_of(trend)->at_ms) / 1000;
}

double
trend_pace(const struct trend *trend, uint32_t *ret_span_s)
{
	double time = 0, value = 0, over = 0, under = 0;
	const struct trend_sample *sample;
	size_t n = 0;

	for (; (sample = sample_before(trend, n)); n++) {
		time += seconds_of(trend, sample);
		value += sample->value;
		*ret_span_s = (uint32_t)-seconds_of(trend, sample);
	}
	time /= (double)n;
	value /= (double)n;
	for (size_t i = 0; i < n; i++) {
		double away;

		sample = sample_before(trend, i);
		away = seconds_of(trend, sample) - time;
		over += away * (sample->value - value);
		under += away * away;
	}
	return under > 0 ? over / under : 0;
}

int
trend_estimate(const struct trend *trend, uint32_t *ret_seconds)
{
	double pace, left;
	uint32_t span_s;

	if (trend->count == 0 || !sample_before(trend, TREND_LEAST - 1))
		return -EAGAIN;
	if (last_of(trend)->value >= trend->limit) {
		*ret_seconds = 0;
		return 1;
	}
	pace = trend_pace(trend, &span_s);
	left = trend->limit - last_of(trend)->value;
	if (pace * HORIZON_S < left)
		return 0;
	left /= pace;
	/* Rounded up: 0 says that the limit is reached. */
	*ret_seconds = (uint32_t)left;
	*ret_seconds += *ret_seconds < left;
	return 1;
}
