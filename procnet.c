/* SPDX-License-Identifier: MIT */
#include "procnet.h"

#include "util.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* Where a parser stands in a line, and where the line ends. */
struct cursor {
	const char *at;
	const char *end;
};

enum {
	HEX_DIGIT = 0x10, /* set for those that the kernel prints */
};

/*
 * Most of a row is hexadecimal digits: looking them up costs half of comparing them.
 */
/* clang-format off */
static const uint8_t hex_values[256] = {
	['0'] = HEX_DIGIT + 0, HEX_DIGIT + 1, HEX_DIGIT + 2, HEX_DIGIT + 3, HEX_DIGIT + 4,
		HEX_DIGIT + 5, HEX_DIGIT + 6, HEX_DIGIT + 7, HEX_DIGIT + 8, HEX_DIGIT + 9,
	['A'] = HEX_DIGIT + 10, HEX_DIGIT + 11, HEX_DIGIT + 12, HEX_DIGIT + 13, HEX_DIGIT + 14,
		HEX_DIGIT + 15,
};
/* clang-format on */

/* Exactly `digits` upper-case hexadecimal digits, no more, no less; at most eight. */
static inline bool
take_hex(struct cursor *c, int digits, unsigned *ret_value)
{
	unsigned value = 0, all = HEX_DIGIT;

	if (c->end - c->at < digits)
		return false;
	for (int i = 0; i < digits; i++) {
		unsigned digit = hex_values[(unsigned char)c->at[i]];

		all &= digit;
		value = value << 4 | (digit & (HEX_DIGIT - 1));
	}
	c->at += digits;
	*ret_value = value;
	return all & HEX_DIGIT;
}

static bool
take_char(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static void
skip_spaces(struct cursor *c)
{
	while (c->at < c->end && *c->at == ' ')
		c->at++;
}

/* The entry number: "  12: ". */
static bool
take_entry(struct cursor *c)
{
	const char *digits;

	skip_spaces(c);
	for (digits = c->at; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
		;
	if (c->at == digits || !take_char(c, ':'))
		return false;
	skip_spaces(c);
	return true;
}

/*
 * An address of 8 or 32 digits: words in the machine's byte order, so that putting them
 * back into memory makes the address in network byte order.
 */
static bool
take_address(struct cursor *c, struct in6_addr *ret_address)
{
	uint32_t words[4] = { 0, 0, htonl(0xffff), 0 };
	int count;

	for (count = 0; count < 4 && c->at < c->end && *c->at != ':'; count++) {
		if (!take_hex(c, 8, &words[count]))
			return false;
	}
	if (count == 1) {
		words[3] = words[0];
		words[0] = 0;
	} else if (count != 4) {
		return false;
	}
	memcpy(ret_address, words, sizeof(*ret_address));
	return true;
}

/* An address and a port: "0100007F:1F90 ". */
static bool
take_endpoint(struct cursor *c, struct in6_addr *ret_address, uint16_t *ret_port)
{
	unsigned port;

	if (!take_address(c, ret_address) || !take_char(c, ':') ||
		!take_hex(c, 4, &port) || !take_char(c, ' '))
		return false;
	skip_spaces(c);
	*ret_port = (uint16_t)port;
	return true;
}

/*
 * A state the kernel has for this protocol. gVisor prints 0 for a TCP endpoint whose
 * state has no equal in Linux: it has no connection, which is what CLOSE says.
 */
static bool
take_state(struct cursor *c, enum usage_protocol protocol, enum usage_state *ret_state)
{
	unsigned state;

	if (!take_hex(c, 2, &state) || !take_char(c, ' '))
		return false;
	if (state == 0)
		state = USAGE_CLOSE;
	if (state > USAGE_CLOSING)
		return false;
	if (protocol == USAGE_UDP && state != USAGE_ESTABLISHED && state != USAGE_CLOSE)
		return false;
	*ret_state = (enum usage_state)state;
	return true;
}

/* The two queue lengths, "00000000:00000000 ", which are not used. */
static bool
skip_queues(struct cursor *c)
{
	enum {
		DIGITS = 8,
		LENGTH = 2 * DIGITS + 2,
	};

	skip_spaces(c);
	if (c->end - c->at < LENGTH || c->at[DIGITS] != ':' || c->at[LENGTH - 1] != ' ')
		return false;
	c->at += LENGTH;
	return true;
}

/* Eight characters, the first in the lowest byte; spaces past the end. */
static uint64_t
load_characters(struct cursor c)
{
	uint64_t characters = UINT64_C(0x2020202020202020);

	if (c.end - c.at >= (ptrdiff_t)sizeof(characters))
		memcpy(&characters, c.at, sizeof(characters));
	else
		memcpy(&characters, c.at, (size_t)(c.end - c.at));
	return le64toh(characters);
}

/* 0x80 in each byte that is a space, 0 in the others. */
static uint64_t
find_spaces(uint64_t characters)
{
	const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f);
	uint64_t difference = characters ^ UINT64_C(0x2020202020202020);

	return ~(((difference & low) + low) | difference | low);
}

/*
 * Every kind of row goes on with timer, retransmits, uid, timeout, inode, references and
 * pointer. They are not used, but a row without them was torn. They are half of a row, so
 * eight characters are looked at together: a field starts where no space follows one.
 */
static bool
has_trailing_fields(struct cursor c)
{
	enum {
		TRAILING_FIELDS = 7,
		TOGETHER = sizeof(uint64_t),
	};
	uint64_t fields = 0, before = 0x80, spaces, starts;

	while (c.at < c.end && fields < TRAILING_FIELDS) {
		spaces = find_spaces(load_characters(c));
		starts = ~spaces & (spaces << 8 | before) & UINT64_C(0x8080808080808080);
		fields += (starts >> 7) * UINT64_C(0x0101010101010101) >> 56;
		before = spaces >> 56;
		c.at += c.end - c.at < TOGETHER ? c.end - c.at : TOGETHER;
	}
	return fields >= TRAILING_FIELDS;
}

/*
 * How long a socket has been in TIME_WAIT, from the timer, "03:00001770 ", which says in
 * clock ticks what is left of the minute. 0 when no such timer runs.
 */
static uint32_t
read_age(struct cursor c)
{
	enum {
		TIMER_TIME_WAIT = 3,
		TIME_WAIT_MS = 60 * 1000, /* TCP_TIMEWAIT_LEN in include/net/tcp.h */
	};
	unsigned timer, ticks;
	uint64_t left_ms;

	skip_spaces(&c);
	if (!take_hex(&c, 2, &timer) || timer != TIMER_TIME_WAIT || !take_char(&c, ':') ||
		!take_hex(&c, 8, &ticks) || !take_char(&c, ' '))
		return 0;
	left_ms = ticks * UINT64_C(1000) / getauxval(AT_CLKTCK);
	return left_ms <= TIME_WAIT_MS ? (uint32_t)(TIME_WAIT_MS - left_ms) : 0;
}

static bool
parse_row(struct cursor line, enum usage_protocol protocol, struct usage_row *ret_row)
{
	struct destination *to = &ret_row->destination;

	ret_row->protocol = protocol;
	to->device = 0;            /* these files do not show it, */
	ret_row->is_bound = false; /* nor this */
	if (!take_entry(&line) ||
		!take_endpoint(&line, &to->local, &ret_row->local_port) ||
		!take_endpoint(&line, &to->remote, &to->remote_port) ||
		!take_state(&line, protocol, &ret_row->state) || !skip_queues(&line))
		return false;
	ret_row->age_ms = ret_row->state == USAGE_TIME_WAIT ? read_age(line) : 0;
	return has_trailing_fields(line);
}

ssize_t
procnet_scan(
	struct usage *usage, enum usage_protocol protocol, const char *buf, size_t len)
{
	const char *line = buf, *end = buf + len, *newline;
	struct usage_row row;

	while (line < end && (newline = memchr(line, '\n', (size_t)(end - line)))) {
		struct cursor cursor = { line, newline };

		if (!parse_row(cursor, protocol, &row))
			return -EBADMSG;
		/*
		 * Linux lists no TCP socket in CLOSE. gVisor lists those that are bound,
		 * and those whose connection failed and which have let go of the port
		 * that the row still shows.
		 */
		if (protocol == USAGE_TCP && row.state == USAGE_CLOSE)
			row.local_port = 0;
		usage_add(usage, &row);
		line = newline + 1;
	}
	return line - buf;
}

/* The next word of the line, up to a space; empty at the end of the line. */
static struct slice
take_word(struct cursor *c)
{
	struct slice word;

	skip_spaces(c);
	word = (struct slice){ c->at, 0 };
	while (c->at < c->end && *c->at != ' ')
		c->at++;
	word.len = (size_t)(c->at - word.data);
	return word;
}

/* The line that buf ends with, without its end; empty when buf ends otherwise. */
static struct cursor
find_last_line(const char *buf, size_t len)
{
	const char *newline;

	if (len == 0 || buf[len - 1] != '\n')
		return (struct cursor){ buf, buf };
	newline = memrchr(buf, '\n', len - 1);
	return (struct cursor){ newline ? newline + 1 : buf, buf + len - 1 };
}

struct procnet_identity
procnet_identify_last(const char *buf, size_t len)
{
	enum {
		WORDS_TO_INODE = 7, /* state, queues, timer, retransmits, uid, timeout */
	};
	const struct procnet_identity none = { { buf, 0 }, { buf, 0 } };
	struct cursor line = find_last_line(buf, len);
	struct procnet_identity id;
	struct in6_addr local, remote;
	uint16_t local_port, remote_port;

	if (!take_entry(&line))
		return none;
	id.endpoints.data = line.at;
	if (!take_endpoint(&line, &local, &local_port) ||
		!take_endpoint(&line, &remote, &remote_port) || remote_port == 0)
		return none;
	id.endpoints.len = (size_t)(line.at - id.endpoints.data);
	for (int i = 0; i < WORDS_TO_INODE; i++)
		id.inode = take_word(&line);
	return id.inode.len == 0 || slice_equals(id.inode, "0") ? none : id;
}

/* Decimal digits up to something else; the port they make. */
static bool
take_port(struct cursor *c, uint16_t *ret_port)
{
	struct slice digits = { c->at, 0 };
	uint64_t port;

	while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
		c->at++;
	digits.len = (size_t)(c->at - digits.data);
	if (util_parse_number(digits, 0, USAGE_PORTS - 1, &port) < 0)
		return false;
	*ret_port = (uint16_t)port;
	return true;
}

int
procnet_parse_range(const char *buf, size_t len, uint16_t *ret_first, uint16_t *ret_last)
{
	struct cursor c = { buf, buf + len };
	uint16_t first, last;

	if (!take_port(&c, &first) || !(take_char(&c, '\t') || take_char(&c, ' ')))
		return -EBADMSG;
	if (!take_port(&c, &last) || !take_char(&c, '\n') || c.at != c.end)
		return -EBADMSG;
	if (first < 1 || first > last)
		return -EBADMSG;
	*ret_first = first;
	*ret_last = last;
	return 0;
}

int
procnet_parse_setting(const char *buf, size_t len, uint32_t *ret_value)
{
	/* gVisor ends the file without a newline. */
	struct slice digits = { buf, len > 0 && buf[len - 1] == '\n' ? len - 1 : len };
	uint64_t value;

	if (util_parse_number(digits, 0, UINT32_MAX, &value) < 0)
		return -EBADMSG;
	*ret_value = (uint32_t)value;
	return 0;
}

int
procnet_parse_reserved(struct usage_pool *pool, const char *buf, size_t len)
{
	struct cursor c = { buf, buf + len };
	uint16_t first, last;

	/* Linux prints a bare newline when there are none, gVisor nothing. */
	if (len == 0 || (len == 1 && buf[0] == '\n'))
		return 0;
	do {
		if (!take_port(&c, &first))
			return -EBADMSG;
		last = first;
		if (take_char(&c, '-') && !take_port(&c, &last))
			return -EBADMSG;
		if (first > last)
			return -EBADMSG;
		usage_pool_reserve(pool, first, last);
	} while (take_char(&c, ','));
	return take_char(&c, '\n') && c.at == c.end ? 0 : -EBADMSG;
}

ssize_t
procnet_parse_heading(const char *buf, size_t len)
{
	const char *newline = len > 0 ? memchr(buf, '\n', len) : NULL;
	struct cursor line = { buf, newline };

	if (!newline)
		return 0;
	if (!slice_equals(take_word(&line), "sl") ||
		!slice_equals(take_word(&line), "local_address"))
		return -EBADMSG;
	return newline - buf + 1;
}
