/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the short texts of people and of scrapers: numbers, seconds and the delays
 * that are bounded by them, addresses to listen on.
 */
#include "listen.h"
#include "util.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/random.h>

enum {
	DAY_MS = 24 * 3600 * 1000,
	/* strtoull() knows as many without overflow. */
	DIGITS_MAX = 19,
	BACKOFF_FIRST_MS = 100,
	GROWTHS = 24, /* from the first delay to more than a day */
	RANDOM_MAX = 16,
	RANDOM_BYTE = 0xa5,
	UNTOUCHED_BYTE = 0x5a,
	ERRORS_MAX = 4095, /* of the kernel; those that have a text are below */
};

static const struct bounds {
	uint64_t min, max;
} bounds[] = {
	{ 0, UINT64_MAX },
	{ 1, UINT16_MAX },
	{ 0, 999 },
	{ 10, 19 },
	{ 0, 5 },
	{ UINT64_MAX, UINT64_MAX },
};

static size_t
count_digits(struct slice s)
{
	size_t i = 0;

	while (i < s.len && s.data[i] >= '0' && s.data[i] <= '9')
		i++;
	return i;
}

/* strtoull() is asked about what has no sign and no white space in front only. */
static void
check_value(struct slice s, const struct bounds *bound, int r, uint64_t number)
{
	char text[DIGITS_MAX + 1];
	uint64_t expected;

	if (s.len > DIGITS_MAX)
		return;
	memcpy(text, s.data, s.len);
	text[s.len] = '\0';
	expected = strtoull(text, NULL, 10);
	if (expected < bound->min || expected > bound->max)
		assert(r == -ERANGE);
	else
		assert(r == 0 && number == expected);
}

static void
check_number(struct slice s, const struct bounds *bound)
{
	const uint64_t untouched = 42;
	uint64_t number = untouched;
	int r = util_parse_number(s, bound->min, bound->max, &number);

	assert(r == 0 || r == -EINVAL || r == -ERANGE);
	assert(r < 0 || (number >= bound->min && number <= bound->max));
	assert(r == 0 || number == untouched);
	if (s.len == 0)
		assert(r == -EINVAL);
	else if (count_digits(s) < s.len)
		assert(r < 0);
	else
		check_value(s, bound, r, number);
}

/* Digits, and perhaps a point with more of them. */
static bool
looks_like_seconds(struct slice s)
{
	size_t whole = count_digits(s);
	struct slice rest = { s.data + whole, s.len - whole };

	if (whole == 0 || rest.len == 0)
		return whole > 0;
	rest.data++;
	rest.len--;
	return rest.data[-1] == '.' && rest.len > 0 && count_digits(rest) == rest.len;
}

/*
 * Who fails again and again waits twice as long each time, from the first delay to the
 * longest, and from now on: not from when it began to wait.
 */
static void
check_backoff(int64_t max_ms)
{
	struct backoff backoff = { 0 };
	int64_t expected_ms = BACKOFF_FIRST_MS;

	for (int i = 0; i < GROWTHS; i++) {
		int64_t before_ms = util_now_ms();

		backoff_grow(&backoff, max_ms);
		assert(backoff.delay_ms == (expected_ms < max_ms ? expected_ms : max_ms));
		assert(backoff.until_ms >= before_ms + backoff.delay_ms);
		assert(backoff.until_ms <= util_now_ms() + backoff.delay_ms);
		expected_ms *= 2;
	}
}

static void
check_seconds(struct slice s)
{
	int64_t ms = -1;
	int r = util_parse_seconds(s, &ms);
	uint64_t whole;

	assert(r == 0 || r == -EINVAL || r == -ERANGE);
	if (r < 0) {
		assert(ms == -1 && (r == -ERANGE || !looks_like_seconds(s)));
		return;
	}
	assert(looks_like_seconds(s));
	assert(ms >= 0 && ms <= DAY_MS);
	s.len = count_digits(s);
	assert(util_parse_number(s, 0, UINT64_MAX, &whole) == 0);
	assert((uint64_t)ms / 1000 == whole);
	check_backoff(ms);
}

static bool
same_address(const struct listen_address *a, const struct listen_address *b)
{
	return a->len == b->len && a->any_host == b->any_host &&
	       strcmp(a->zone, b->zone) == 0 &&
	       memcmp(&a->storage, &b->storage, sizeof(a->storage)) == 0;
}

static bool
is_ipv6_wildcard(const struct listen_address *address)
{
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)&address->storage;

	return sin6->sin6_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&sin6->sin6_addr);
}

/* An address, written by us, is an address that we read; the port of a TCP one is in it.
 */
static void
check_address(const struct listen_address *address, struct slice s)
{
	struct listen_address again[LISTEN_PARSED_MAX];
	char text[LISTEN_TEXT_MAX], port[sizeof(":65535")];
	size_t len;

	assert(!address->only_ipv6);
	listen_format_address(address, text, sizeof(text));
	len = strlen(text);
	assert(len < sizeof(text) - 1);
	assert(listen_parse_address((struct slice){ text, len }, again) == 1);
	assert(same_address(address, &again[0]));

	if (address->storage.ss_family == AF_UNIX) {
		assert(listen_port(address) == 0);
		assert(s.len == len && memcmp(s.data, text, len) == 0);
		return;
	}
	assert(listen_port(address) > 0);
	len = (size_t)snprintf(port, sizeof(port), ":%u", listen_port(address));
	assert(strcmp(text + strlen(text) - len, port) == 0);
	/* All addresses are asked for by no host, by 0.0.0.0, or by [::]; not by a typo.
	 */
	if (address->any_host)
		assert(s.data[0] == ':');
	else if (is_ipv6_wildcard(address))
		assert(s.data[0] == '[' && memchr(s.data, ':', s.len - len));
}

/*
 * Of an address and what may stand beside it: each is kept or included in one that is,
 * and the same again changes nothing.
 */
static void
check_merge(const struct listen_address *address)
{
	static const char *const others[] = { "0.0.0.0:%u", "[::]:%u", ":%u",
		"127.0.0.1:%u", "[::1]:%u" };
	enum {
		OTHERS = sizeof(others) / sizeof(others[0]),
	};
	struct listen_address merged[1 + OTHERS] = { *address };
	size_t count, kept = 1;
	char text[LISTEN_TEXT_MAX];

	for (count = 1; count < 1 + OTHERS; count++) {
		int len = snprintf(
			text, sizeof(text), others[count - 1], listen_port(address));
		struct listen_address parsed[LISTEN_PARSED_MAX];

		if (listen_parse_address((struct slice){ text, (size_t)len }, parsed) < 0)
			return; /* a UNIX path has no port */
		merged[kept] = parsed[0];
		kept = listen_merge_addresses(merged, kept + 1);
		assert(kept >= 1 && kept <= 3);
		assert(listen_merge_addresses(merged, kept) == kept);
	}
	/* The last but two was ":PORT", which includes them all. */
	assert(kept == 1 && merged[0].any_host && !merged[0].only_ipv6);
}

static void
check_addresses(struct slice s)
{
	struct listen_address addresses[LISTEN_PARSED_MAX];
	int n = listen_parse_address(s, addresses);

	assert(n == -EINVAL || n == 1 || n == LISTEN_PARSED_MAX);
	for (int i = 0; i < n; i++) {
		check_address(&addresses[i], s);
		check_merge(&addresses[i]);
	}
	if (n == LISTEN_PARSED_MAX)
		assert(addresses[0].storage.ss_family == AF_INET &&
			addresses[1].storage.ss_family == AF_INET6 &&
			listen_port(&addresses[0]) == listen_port(&addresses[1]));
}

/* Whether the kernel has no random bytes for us, as where a sandbox refuses the call. */
static bool random_is_refused;

/* In the place of the C library's. */
ssize_t
getrandom(void *bytes, size_t size, unsigned flags)
{
	assert(flags == GRND_NONBLOCK);
	if (random_is_refused) {
		errno = EPERM;
		return -1;
	}
	memset(bytes, RANDOM_BYTE, size);
	return (ssize_t)size;
}

/* So many bytes are filled, and none beyond them, whoever they are from. */
static void
check_random(size_t size)
{
	char expected[RANDOM_MAX + 1], bytes[RANDOM_MAX + 1];

	memset(bytes, UNTOUCHED_BYTE, sizeof(bytes));
	memset(expected, UNTOUCHED_BYTE, sizeof(expected));
	memset(expected, RANDOM_BYTE, size);
	util_fill_random(bytes, size);
	assert(memcmp(bytes, expected, sizeof(bytes)) == 0);

	memset(bytes, UNTOUCHED_BYTE, sizeof(bytes));
	memcpy(expected, (const void *)getauxval(AT_RANDOM), size);
	random_is_refused = true;
	util_fill_random(bytes, size);
	random_is_refused = false;
	assert(memcmp(bytes, expected, sizeof(bytes)) == 0);
}

/* Deadlines are made of it: it does not go back, and has one start in both units. */
static void
check_clock(void)
{
	static int64_t last_us;
	int64_t now_us = util_now_us(), now_ms = util_now_ms();

	assert(now_us >= last_us && now_ms >= now_us / 1000);
	last_us = util_now_us();
	assert(now_ms <= last_us / 1000);
}

/* A reason is never empty, and a number without a text is the reason itself. */
static void
check_error_text(struct slice s)
{
	uint64_t error;

	if (util_parse_number(s, 1, UINT16_MAX, &error) < 0)
		return;
	assert(util_error_text((int)error)[0] != '\0');
	if (error > ERRORS_MAX)
		assert(strtoull(util_error_text((int)error) + strlen("error "), NULL,
			       10) == error);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = { (const char *)data, size };

	for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++)
		check_number(s, &bounds[i]);
	check_seconds(s);
	check_clock();
	check_random(size % (RANDOM_MAX + 1));
	check_error_text(s);
	/* Addresses come from arguments and environment, where no NUL can be. */
	s.len = strnlen(s.data, s.len);
	check_addresses(s);
	return 0;
}
