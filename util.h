/* SPDX-License-Identifier: MIT */
/*
 * The small things every module leans on: a slice of bytes, a bounded buffer, checked
 * numbers and characters, a clock.
 *
 * Source: RFC 3629 (UTF-8), clock_gettime(2).
 */
#ifndef UTIL_H
#define UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes that belong to somebody else; not terminated. */
struct slice {
	const char *data;
	size_t len;
};

/* A buffer that never grows. What does not fit sets `overflow` and changes nothing else.
 */
struct buf {
	char *data;
	size_t size;
	size_t len;
	bool overflow;
};

/* An empty buffer over the `size` bytes at `data`, which stay the caller's. No I/O. */
struct buf buf_over(char *data, size_t size);

/*
 * Append `len` bytes, or none and set `overflow`. Overflow is sticky: write everything,
 * then look once. No I/O.
 */
void buf_append(struct buf *b, const char *data, size_t len);

/* The same for a formatted string (printf(3)). No I/O. */
void
buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Whether the slice is exactly the string. No I/O. */
bool slice_equals(struct slice s, const char *string);

/* The same, ignoring the case of ASCII letters. No I/O. */
bool slice_equals_nocase(struct slice s, const char *string);

/* The slice without spaces and tabs at both ends. No I/O. */
struct slice slice_trim(struct slice s);

/* The slice without any white space at both ends, newlines included. No I/O. */
struct slice slice_strip(struct slice s);

/*
 * Read the whole slice as a decimal number without sign, at least min, at most max.
 *
 * Returns 0, -EINVAL when it is empty or holds anything but digits, or -ERANGE. No I/O.
 */
int util_parse_number(struct slice s, uint64_t min, uint64_t max, uint64_t *ret_number);

/*
 * Read the whole slice as seconds, "10" or "9.5", in milliseconds; more than three digits
 * behind the point are cut.
 *
 * Returns 0, -EINVAL or -ERANGE (above a day). No I/O.
 */
int util_parse_seconds(struct slice s, int64_t *ret_ms);

/* The bytes of the character that s, which is not empty, begins with; 0 when that is not
 * valid UTF-8. No I/O. */
size_t util_utf8_length(struct slice s);

/*
 * What an error number means, "error 524" where the C library does not know it. Unlike
 * strerror(3) it never allocates: a confined process has no memory to allocate. The next
 * call may overwrite the text. No I/O.
 */
const char *util_error_text(int error);

/* When something that failed may be tried again: later each time. All zeros: now. */
struct backoff {
	int64_t until_ms; /* by util_now_ms() */
	int64_t delay_ms;
};

/* Put it off by 0.1 s, then by twice as long each time, at most by max_ms. */
void backoff_grow(struct backoff *backoff, int64_t max_ms);

/*
 * Fill with random bytes, at most 16, without waiting: the kernel's, or, where
 * getrandom(2) is refused, those that it gave this process at its start (AT_RANDOM).
 */
void util_fill_random(void *bytes, size_t size);

/* CLOCK_MONOTONIC: for deadlines, never shown to anyone. */
int64_t util_now_ms(void);
int64_t util_now_us(void);

#endif
