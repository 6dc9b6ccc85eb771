/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the estimate of when a figure reaches its limit. The input is a straight
 * line, whose end is known, or samples one by one, through which a line is laid here
 * without rounding. All samples are kept here, so that those that the ring has forgotten
 * would be missed or remembered.
 */
#include "trend.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

enum {
	HORIZON_S = 2 * 24 * 3600,
	SAMPLES_MAX = 4 * TREND_SAMPLES,
	SAMPLE_BYTES = 6,
	UNTOUCHED = 0x5eed,
	DEFAULT_TOTAL = 28232, /* ports of the default range */
};

/* In the first byte. */
enum kind {
	KIND_LINE,
	KIND_PORTS,   /* samples, of 16 bits */
	KIND_NUMBERS, /* samples, of 32 bits */
	KINDS,
};

static struct input {
	uint8_t kind;
	int64_t first_ms;
	uint32_t limit;
	uint32_t first; /* value of a line, */
	uint16_t every_ms;
	int16_t step; /* and by how much it changes each time */
	uint8_t count;
} input;

static struct trend trend;
static struct trend_sample seen[SAMPLES_MAX];
static size_t seen_count;

/* Take the bytes of a number; what is missing is zero. */
static void
take(const uint8_t **at, const uint8_t *end, void *ret_number, size_t len)
{
	size_t taken = (size_t)(end - *at) < len ? (size_t)(end - *at) : len;

	memset(ret_number, 0, len);
	if (taken > 0)
		memcpy(ret_number, *at, taken);
	*at += taken;
}

static void
take_header(const uint8_t **at, const uint8_t *end)
{
	take(at, end, &input.kind, sizeof(input.kind));
	take(at, end, &input.first_ms, sizeof(input.first_ms));
	take(at, end, &input.limit, sizeof(input.limit));
	input.kind %= KINDS;
	/* No clock comes so far that its times cannot be subtracted. */
	input.first_ms /= 2;
}

/* Those that tell something: that the ring still has, and that are not too old. */
static const struct trend_sample *
known(size_t *ret_count)
{
	const struct trend_sample *first = seen, *end = seen + seen_count;

	if (seen_count > TREND_SAMPLES)
		first = end - TREND_SAMPLES;
	while (end[-1].at_ms - first->at_ms > TREND_WINDOW_MS)
		first++;
	*ret_count = (size_t)(end - first);
	return first;
}

static int64_t
last_time(void)
{
	return seen[seen_count - 1].at_ms;
}

static uint32_t
last_value(void)
{
	return seen[seen_count - 1].value;
}

static bool
never_rises(void)
{
	size_t count;
	const struct trend_sample *samples = known(&count);

	for (size_t i = 1; i < count; i++) {
		if (samples[i].value > samples[i - 1].value)
			return false;
	}
	return true;
}

static bool
has_one_time(void)
{
	size_t count;
	const struct trend_sample *samples = known(&count);

	return samples[0].at_ms == samples[count - 1].at_ms;
}

/* Ports a second. Of ports and of minutes, each sum is a number of less than 64 bits. */
static long double
exact_pace(void)
{
	size_t count;
	const struct trend_sample *samples = known(&count);
	int64_t n = (int64_t)count, t = 0, v = 0, tv = 0, tt = 0, under;

	for (size_t i = 0; i < count; i++) {
		int64_t time = samples[i].at_ms - samples[0].at_ms;

		t += time;
		v += samples[i].value;
		tv += time * samples[i].value;
		tt += time * time;
	}
	under = n * tt - t * t;
	return under > 0 ? 1000.0L * (long double)(n * tv - t * v) / (long double)under
	                 : 0;
}

/* In that second the limit is reached, give or take a port, and not before it. */
static void
check_pace(uint32_t limit, int r, uint32_t seconds)
{
	const long double pace = exact_pace(), left = limit - last_value();

	if (r == 0) {
		assert(pace * HORIZON_S < left + 1);
		return;
	}
	assert(pace * HORIZON_S > left - 1);
	assert(pace * seconds > left - 1);
	assert(pace * (seconds - 1) < left + 1);
}

static int
check_estimate(uint32_t limit, uint32_t *ret_seconds)
{
	uint32_t seconds = UNTOUCHED;
	const struct trend_sample *samples;
	uint32_t span_s;
	size_t count;
	int r;

	trend.limit = limit;
	r = trend_estimate(&trend, &seconds);
	samples = known(&count);
	trend_pace(&trend, &span_s);
	assert(span_s == (last_time() - samples[0].at_ms) / 1000);
	assert(r == 1 || seconds == UNTOUCHED);
	assert((r == -EAGAIN) == (count < TREND_LEAST));
	if (r == -EAGAIN)
		return r;
	assert(r == 0 || r == 1);
	*ret_seconds = seconds;
	if (last_value() >= limit) {
		assert(r == 1 && seconds == 0);
		return r;
	}
	/* 0 is said of what is reached only; the product was rounded, then the quotient.
	 */
	assert(r == 0 || (seconds > 0 && seconds <= HORIZON_S + 1));
	assert(r == 0 || (!never_rises() && !has_one_time()));
	if (input.kind == KIND_PORTS)
		check_pace(limit, r, seconds);
	return r;
}

/* A limit that is farther is not reached earlier. */
static void
check_limits(uint32_t low, uint32_t high)
{
	uint32_t sooner, later;
	int r = check_estimate(low, &sooner);

	if (check_estimate(high, &later) == 1)
		assert(r == 1 && sooner <= later);
}

static void
add(int64_t at_ms, uint32_t value)
{
	trend_add(&trend, at_ms, value);
	seen[seen_count++] = (struct trend_sample){ at_ms, value };
	check_limits(0, value);
	check_limits(value, UINT32_MAX);
	check_limits(DEFAULT_TOTAL, UINT16_MAX);
	if (input.limit < UINT32_MAX)
		check_limits(input.limit, input.limit + 1);
}

static void
add_samples(const uint8_t *at, const uint8_t *end)
{
	int64_t at_ms = input.first_ms;

	while (seen_count < SAMPLES_MAX && end - at >= SAMPLE_BYTES) {
		uint16_t after_ms;
		uint32_t value;

		take(&at, end, &after_ms, sizeof(after_ms));
		take(&at, end, &value, sizeof(value));
		at_ms += after_ms;
		add(at_ms, input.kind == KIND_PORTS ? value & UINT16_MAX : value);
	}
}

/* When a line reaches its limit needs no estimate. */
static void
check_line(void)
{
	uint32_t seconds;
	int r = check_estimate(input.limit, &seconds);
	int64_t left = (int64_t)input.limit - last_value(), expected_ms;

	if (r < 0 || left <= 0)
		return;
	if (input.step <= 0 || input.every_ms == 0) {
		assert(r == 0);
		return;
	}
	expected_ms = left * input.every_ms / input.step;
	if (r == 0)
		assert(expected_ms > (HORIZON_S - 1) * INT64_C(1000));
	else
		assert(seconds >= expected_ms / 1000 &&
			seconds <= expected_ms / 1000 + 1);
}

static void
add_line(const uint8_t *at, const uint8_t *end)
{
	int64_t value;

	take(&at, end, &input.first, sizeof(input.first));
	take(&at, end, &input.step, sizeof(input.step));
	take(&at, end, &input.every_ms, sizeof(input.every_ms));
	take(&at, end, &input.count, sizeof(input.count));
	value = input.first;
	for (int i = 0; i < input.count && seen_count < SAMPLES_MAX; i++) {
		/* Bent there, it would be none. */
		if (value < 0 || value > UINT32_MAX)
			break;
		add(input.first_ms + (int64_t)i * input.every_ms, (uint32_t)value);
		check_line();
		value += input.step;
	}
}

/* Nothing seen is too little. */
static void
check_empty(void)
{
	uint32_t seconds = UNTOUCHED;

	memset(&trend, 0, sizeof(trend));
	seen_count = 0;
	assert(trend_estimate(&trend, &seconds) == -EAGAIN && seconds == UNTOUCHED);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *at = data, *end = data + size;

	check_empty();
	take_header(&at, end);
	if (input.kind == KIND_LINE)
		add_line(at, end);
	else
		add_samples(at, end);
	return 0;
}
