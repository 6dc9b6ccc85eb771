/* SPDX-License-Identifier: MIT */
#include "util.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <time.h>

enum {
	SECONDS_MAX = 24 * 3600, /* a day */
	BACKOFF_FIRST_MS = 100,
};

struct buf
buf_over(char *data, size_t size)
{
	return (struct buf){ .data = data, .size = size };
}

void
buf_append(struct buf *b, const char *data, size_t len)
{
	if (b->overflow || len > b->size - b->len) {
		b->overflow = true;
		return;
	}
	memcpy(b->data + b->len, data, len);
	b->len += len;
}

void
buf_printf(struct buf *b, const char *format, ...)
{
	size_t room = b->size - b->len;
	va_list args;
	int n;

	if (b->overflow)
		return;
	va_start(args, format);
	n = vsnprintf(b->data + b->len, room, format, args);
	va_end(args);
	/* vsnprintf needs a byte for the NUL, which is not part of the content. */
	if (n < 0 || (size_t)n >= room)
		b->overflow = true;
	else
		b->len += (size_t)n;
}

bool
slice_equals(struct slice s, const char *string)
{
	return s.len == strlen(string) && memcmp(s.data, string, s.len) == 0;
}

bool
slice_equals_nocase(struct slice s, const char *string)
{
	return s.len == strlen(string) && strncasecmp(s.data, string, s.len) == 0;
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

struct slice
slice_trim(struct slice s)
{
	while (s.len > 0 && is_blank(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_blank(s.data[s.len - 1]))
		s.len--;
	return s;
}

static bool
is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct slice
slice_strip(struct slice s)
{
	while (s.len > 0 && is_space(s.data[0])) {
		s.data++;
		s.len--;
	}
	while (s.len > 0 && is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

int
util_parse_number(struct slice s, uint64_t min, uint64_t max, uint64_t *ret_number)
{
	uint64_t number = 0;

	if (s.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < s.len; i++) {
		unsigned digit = (unsigned char)s.data[i] - (unsigned)'0';

		if (digit > 9)
			return -EINVAL;
		if (number > (max - digit) / 10 || digit > max)
			return -ERANGE;
		number = number * 10 + digit;
	}
	if (number < min)
		return -ERANGE;
	*ret_number = number;
	return 0;
}

/* The digits behind a point, "5" for a half, in thousandths; more than three are cut. */
static int
parse_thousandths(struct slice digits, int64_t *ret_thousandths)
{
	int64_t thousandths = 0, unit = 100;

	if (digits.len == 0)
		return -EINVAL;
	for (size_t i = 0; i < digits.len; i++) {
		if (digits.data[i] < '0' || digits.data[i] > '9')
			return -EINVAL;
		thousandths += (digits.data[i] - '0') * unit;
		unit /= 10;
	}
	*ret_thousandths = thousandths;
	return 0;
}

int
util_parse_seconds(struct slice s, int64_t *ret_ms)
{
	const char *point = s.len > 0 ? memchr(s.data, '.', s.len) : NULL;
	int64_t thousandths = 0;
	uint64_t seconds;
	int r;

	if (point) {
		struct slice fraction = { point + 1,
			(size_t)(s.data + s.len - point - 1) };

		s.len = (size_t)(point - s.data);
		r = parse_thousandths(fraction, &thousandths);
		if (r < 0)
			return r;
	}
	r = util_parse_number(s, 0, SECONDS_MAX, &seconds);
	if (r < 0)
		return r;
	if (seconds == SECONDS_MAX && thousandths > 0)
		return -ERANGE;
	*ret_ms = (int64_t)seconds * 1000 + thousandths;
	return 0;
}

/*
 * How many continuation bytes follow this first byte, and between what the first of them
 * lies: that bound keeps out overlong forms, surrogates and what is above U+10FFFF (RFC
 * 3629 section 4).
 */
/* clang-format off */
static const struct lead {
	unsigned char first, last, more, low, high;
} leads[] = {
	{ 0x00, 0x7f, 0, 0x00, 0x00 },
	{ 0xc2, 0xdf, 1, 0x80, 0xbf },
	{ 0xe0, 0xe0, 2, 0xa0, 0xbf },
	{ 0xe1, 0xec, 2, 0x80, 0xbf },
	{ 0xed, 0xed, 2, 0x80, 0x9f },
	{ 0xee, 0xef, 2, 0x80, 0xbf },
	{ 0xf0, 0xf0, 3, 0x90, 0xbf },
	{ 0xf1, 0xf3, 3, 0x80, 0xbf },
	{ 0xf4, 0xf4, 3, 0x80, 0x8f },
};
/* clang-format on */

static bool
fits_lead(const struct lead *lead, struct slice s)
{
	const unsigned char *bytes = (const unsigned char *)s.data;

	if (bytes[0] < lead->first || bytes[0] > lead->last || s.len <= lead->more)
		return false;
	if (lead->more > 0 && (bytes[1] < lead->low || bytes[1] > lead->high))
		return false;
	for (size_t i = 2; i <= lead->more; i++) {
		if (bytes[i] < 0x80 || bytes[i] > 0xbf)
			return false;
	}
	return true;
}

size_t
util_utf8_length(struct slice s)
{
	for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++) {
		if (fits_lead(&leads[i], s))
			return leads[i].more + 1U;
	}
	return 0;
}

/*
 * strerror() looks for a translation, for which glibc 2.41 allocates. musl has no other
 * function, does not allocate, and has one text for all errors that it does not know.
 */
static const char *
find_error_text(int error)
{
#if __GLIBC__ == 2 && __GLIBC_MINOR__ >= 32
	return strerrordesc_np(error);
#else
	return error <= EHWPOISON ? strerror(error) : NULL;
#endif
}

const char *
util_error_text(int error)
{
	static char unknown[sizeof("error -2147483648")];
	const char *text = find_error_text(error);

	if (text)
		return text;
	snprintf(unknown, sizeof(unknown), "error %d", error);
	return unknown;
}

void
util_fill_random(void *bytes, size_t size)
{
	if (getrandom(bytes, size, GRND_NONBLOCK) != (ssize_t)size)
		memcpy(bytes, (const void *)getauxval(AT_RANDOM), size);
}

int64_t
util_now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t
util_now_ms(void)
{
	return util_now_us() / 1000;
}

void
backoff_grow(struct backoff *backoff, int64_t max_ms)
{
	backoff->delay_ms *= 2;
	if (backoff->delay_ms < BACKOFF_FIRST_MS)
		backoff->delay_ms = BACKOFF_FIRST_MS;
	if (backoff->delay_ms > max_ms)
		backoff->delay_ms = max_ms;
	backoff->until_ms = util_now_ms() + backoff->delay_ms;
}
