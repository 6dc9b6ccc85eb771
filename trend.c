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

/* So many samples before the last one. */
static const struct trend_sample *
sample_before(const struct trend *trend, size_t age)
{
	return &trend->samples[(trend->next + TREND_SAMPLES - 1 - age) % TREND_SAMPLES];
}

static const struct trend_sample *
last_of(const struct trend *trend)
{
	return sample_before(trend, 0);
}

/* How many samples tell something, the last one first. */
static size_t
count_recent(const struct trend *trend)
{
	size_t n = 0;

	while (n < trend->count &&
		last_of(trend)->at_ms - sample_before(trend, n)->at_ms <= TREND_WINDOW_MS)
		n++;
	return n;
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
	const size_t n = count_recent(trend);
	double time = 0, value = 0, over = 0, under = 0;

	for (size_t i = 0; i < n; i++) {
		time += seconds_of(trend, sample_before(trend, i));
		value += sample_before(trend, i)->value;
	}
	time /= (double)n;
	value /= (double)n;
	for (size_t i = 0; i < n; i++) {
		const struct trend_sample *sample = sample_before(trend, i);
		double away = seconds_of(trend, sample) - time;

		over += away * (sample->value - value);
		under += away * away;
	}
	*ret_span_s = (uint32_t)-seconds_of(trend, sample_before(trend, n - 1));
	return under > 0 ? over / under : 0;
}

int
trend_estimate(const struct trend *trend, uint32_t *ret_seconds)
{
	double pace, left;
	uint32_t span_s;

	if (count_recent(trend) < TREND_LEAST)
		return -EAGAIN;
	if (last_of(trend)->value >= trend->limit) {
		*ret_seconds = 0;
		return 1;
	}
	pace = trend_pace(trend, &span_s);
	left = trend->limit - last_of(trend)->value;
	if (pace * (double)HORIZON_S < left)
		return 0;
	left /= pace;
	/* Rounded up: 0 says that the limit is reached. */
	*ret_seconds = (uint32_t)left;
	*ret_seconds += *ret_seconds < left;
	return 1;
}
