/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the small files behind the pool. One input holds both, with '|'
 * between: ip_local_port_range, ip_local_reserved_ports.
 */
#include "procnet.h"
#include "usage.h"
#include "util.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pool of Linux when nobody has set another. */
enum {
	DEFAULT_FIRST = 32768,
	DEFAULT_LAST = 60999,
};

/* Of the destinations, which this target only asks to be empty. */
static const uint64_t seed[DESTINATIONS_SEED_WORDS] = { 1, 2 };

/* The bytes up to the next '|', which is taken too, or all of them. */
static struct slice
take_file(struct slice *input)
{
	const char *bar = input->len > 0 ? memchr(input->data, '|', input->len) : NULL;
	struct slice file = { input->data,
		bar ? (size_t)(bar - input->data) : input->len };
	size_t taken = file.len + (bar != NULL);

	input->data += taken;
	input->len -= taken;
	return file;
}

/* The file has one line, and that has its end. */
static bool
is_line(struct slice file)
{
	return file.len > 0 &&
	       memchr(file.data, '\n', file.len) == file.data + file.len - 1;
}

/* A range says itself when it is written again, and nothing when its end is missing. */
static void
check_range(struct slice file, uint16_t first, uint16_t last)
{
	char text[sizeof("65535\t65535\n")];
	uint16_t first_again, last_again;
	int len = snprintf(text, sizeof(text), "%u\t%u\n", first, last);

	assert(is_line(file));
	assert(first >= 1 && first <= last);
	assert(procnet_parse_range(text, (size_t)len, &first_again, &last_again) == 0);
	assert(first_again == first && last_again == last);
	assert(procnet_parse_range(file.data, file.len - 1, &first_again, &last_again) ==
		-EBADMSG);
}

static void
parse_range(struct slice file, uint16_t *ret_first, uint16_t *ret_last)
{
	uint16_t first = 0, last = 0;
	int r = procnet_parse_range(file.data, file.len, &first, &last);

	if (r == 0) {
		check_range(file, first, last);
	} else {
		assert(r == -EBADMSG && first == 0 && last == 0);
		first = DEFAULT_FIRST;
		last = DEFAULT_LAST;
	}
	*ret_first = first;
	*ret_last = last;
}

/* A number as strtoul() reads it, which would also take white space and signs. */
static unsigned long
read_port(const char **at)
{
	unsigned long port;
	char *end;

	assert(**at >= '0' && **at <= '9');
	port = strtoul(*at, &end, 10);
	assert(port <= UINT16_MAX);
	*at = end;
	return port;
}

/* Mark the ports of a list that was taken; its newline is where strtoul() stops. */
static void
mark_ports(bool *reserved, const char *at)
{
	unsigned long first, last;

	do {
		first = last = read_port(&at);
		if (*at == '-') {
			at++;
			last = read_port(&at);
		}
		assert(first <= last);
		memset(reserved + first, true, last - first + 1);
	} while (*at++ == ',');
	assert(at[-1] == '\n');
}

/* The ports that a list takes out of the pool are those it names, and no others. */
static void
check_reserved(const struct usage *usage, struct slice file)
{
	static bool reserved[USAGE_PORTS];
	uint32_t count = 0;

	memset(reserved, false, sizeof(reserved));
	if (file.len > 1)
		mark_ports(reserved, file.data);
	for (uint32_t port = usage->pool.range_first; port <= usage->pool.range_last;
		port++) {
		assert(usage_pool_contains(&usage->pool, (uint16_t)port) ==
			!reserved[port]);
		count += reserved[port];
	}
	assert(usage->pool.reserved == count);
}

/* Everything but the destinations, which are large and have nothing to do with the pool.
 */
static void
copy_counters(struct usage *to, const struct usage *from)
{
	memcpy(to, from, offsetof(struct usage, destinations));
}

/* The padding was zero at first, and is copied with the rest. */
static bool
same_counters(const struct usage *a, const struct usage *b)
{
	return memcmp(a, b, offsetof(struct usage, destinations)) == 0;
}

/* Ports that are reserved twice are reserved; a list without its end is no list. */
static void
check_list(const struct usage *usage, struct slice file)
{
	static struct usage again;

	assert(file.len == 0 || is_line(file));
	copy_counters(&again, usage);
	assert(procnet_parse_reserved(&again.pool, file.data, file.len) == 0);
	assert(same_counters(&again, usage));
	if (file.len > 1)
		assert(procnet_parse_reserved(&again.pool, file.data, file.len - 1) ==
			-EBADMSG);
}

/* Before the first row every port of the pool is free, for every destination, but for
 * the end of an odd range. */
static void
check_unused(const struct usage *usage)
{
	struct usage_totals totals = usage_sum(usage);
	int size = usage->pool.range_last - usage->pool.range_first + 1;
	uint16_t end = size == 3 ? usage->pool.range_last : usage->pool.range_first;
	bool leaves_out =
		size % 2 == 1 && size > 1 && usage_pool_contains(&usage->pool, end);

	assert(totals.total + usage->pool.reserved ==
		(uint32_t)usage->pool.range_last - usage->pool.range_first + 1);
	assert(totals.used == 0 && totals.time_wait == 0 && totals.blocked == 0);
	assert(totals.used_by[USAGE_TCP] == 0 && totals.used_by[USAGE_UDP] == 0);
	assert(totals.destination_used_max == leaves_out &&
		totals.left_out == leaves_out);
	assert(totals.destination_error_max == 0);
}

/* Counting starts over with the pool it had, and forgets the row it counted. */
static void
check_restart(const struct usage *usage)
{
	static struct usage again;
	const struct usage_row row = {
		.protocol = USAGE_TCP,
		.state = USAGE_ESTABLISHED,
		.local_port = usage->pool.range_first,
		.destination = { .remote_port = 80 },
	};

	copy_counters(&again, usage);
	destinations_reset(&again.destinations, seed);
	usage_add(&again, &row);
	assert(again.rows == 1);
	assert(usage_sum(&again).used ==
		usage_pool_contains(&usage->pool, usage->pool.range_first));
	usage_restart(&again);
	assert(same_counters(&again, usage));
	check_unused(&again);
}

static void
check_pool(struct slice range, struct slice reserved)
{
	static struct usage usage;
	uint16_t first, last;
	int r;

	parse_range(range, &first, &last);
	usage_reset(&usage, seed);
	usage_pool_fill(&usage.pool, first, last);
	assert(usage.pool.range_first == first && usage.pool.range_last == last);
	r = procnet_parse_reserved(&usage.pool, reserved.data, reserved.len);
	assert(r == 0 || r == -EBADMSG);
	check_unused(&usage);
	check_restart(&usage);
	if (r == 0) {
		check_reserved(&usage, reserved);
		check_list(&usage, reserved);
	}
}

/* A number in a line of its own is what the C library reads there. */
static void
check_setting(struct slice file)
{
	char text[4096] = "", *end;
	uint32_t value;
	int r = procnet_parse_setting(file.data, file.len, &value);

	assert(r == 0 || r == -EBADMSG);
	if (r < 0) {
		assert(file.len != 2 || file.data[1] != '\n' || file.data[0] < '0' ||
			file.data[0] > '9');
		return;
	}
	assert(file.len > 0);
	if (file.len >= sizeof(text))
		return; /* leading zeros */
	memcpy(text, file.data, file.len);
	assert(strtoul(text, &end, 10) == value);
	assert(end == text + file.len || (*end == '\n' && end + 1 == text + file.len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input = { (const char *)data, size };
	struct slice range = take_file(&input);
	struct slice reserved = take_file(&input);

	check_pool(range, reserved);
	check_setting(range);
	check_setting(input);
	return 0;
}
