/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the small files behind the pool. One input holds three of them, with '|'
 * between: ip_local_port_range, ip_local_reserved_ports, sockstat.
 */
#include "procnet.h"
#include "usage.h"
#include "util.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The pool of Linux when nobody has set another. */
enum {
	DEFAULT_FIRST = 32768,
	DEFAULT_LAST = 60999,
};

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
	for (uint32_t port = usage->range_first; port <= usage->range_last; port++) {
		assert(usage_in_pool(usage, (uint16_t)port) == !reserved[port]);
		count += reserved[port];
	}
	assert(usage->reserved == count);
}

/* Ports that are reserved twice are reserved; a list without its end is no list. */
static void
check_list(const struct usage *usage, struct slice file)
{
	static struct usage again;

	assert(file.len == 0 || is_line(file));
	memcpy(&again, usage, sizeof(again));
	assert(procnet_parse_reserved(&again, file.data, file.len) == 0);
	/* The struct has no padding that could differ. */
	assert(memcmp(&again, usage, sizeof(again)) == 0);
	if (file.len > 1)
		assert(procnet_parse_reserved(&again, file.data, file.len - 1) ==
			-EBADMSG);
}

static void
check_pool(struct slice range, struct slice reserved)
{
	static struct usage usage;
	uint16_t first, last;
	struct usage_totals totals;
	int r;

	parse_range(range, &first, &last);
	usage_reset(&usage, first, last);
	r = procnet_parse_reserved(&usage, reserved.data, reserved.len);
	assert(r == 0 || r == -EBADMSG);
	totals = usage_sum(&usage);
	assert(totals.total + usage.reserved == (uint32_t)last - first + 1);
	assert(totals.used == 0);
	if (r == 0) {
		check_reserved(&usage, reserved);
		check_list(&usage, reserved);
	}
}

/* A number that is found has its label and its name before it, and its line's end behind.
 */
static void
check_count(struct slice file, const char *label, const char *name)
{
	uint64_t count = UINT64_MAX;
	int r = procnet_find_count(file.data, file.len, label, name, &count);
	const char *at;

	if (r < 0) {
		assert(r == -ENOENT && count == UINT64_MAX);
		return;
	}
	assert(count <= UINT32_MAX);
	at = memmem(file.data, file.len, label, strlen(label));
	assert(at);
	at += strlen(label);
	at = memmem(at, (size_t)(file.data + file.len - at), name, strlen(name));
	assert(at && memchr(at, '\n', (size_t)(file.data + file.len - at)));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input = { (const char *)data, size };
	struct slice range = take_file(&input);
	struct slice reserved = take_file(&input);

	check_pool(range, reserved);
	check_count(input, "TCP:", "inuse");
	check_count(input, "TCP:", "tw");
	check_count(input, "TCP6:", "inuse");
	check_count(input, "UDP:", "inuse");
	check_count(input, "UDP6:", "inuse");
	return 0;
}
