/* SPDX-License-Identifier: MIT */
#include "procnet.h"

#include "util.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* Where a parser stands in a line, and where the line ends. */
struct cursor {
	const char *at;
	const char *end;
};

static bool
is_hex(char c, unsigned *ret_digit)
{
	if (c >= '0' && c <= '9')
		*ret_digit = (unsigned)(c - '0');
	else if (c >= 'A' && c <= 'F')
		*ret_digit = (unsigned)(c - 'A') + 10;
	else
		return false;
	return true;
}

/* Exactly `digits` upper-case hexadecimal digits, no more, no less. */
static bool
take_hex(struct cursor *c, int digits, unsigned *ret_value)
{
	unsigned value = 0, digit;

	if (c->end - c->at < digits)
		return false;
	for (int i = 0; i < digits; i++) {
		if (!is_hex(c->at[i], &digit))
			return false;
		value = value << 4 | digit;
	}
	c->at += digits;
	*ret_value = value;
	return true;
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

/* An address of 8 or 32 digits and a port: "0100007F:1F90 ". */
static bool
take_endpoint(struct cursor *c, uint16_t *ret_port)
{
	unsigned word, port;
	int words;

	for (words = 0; words < 4 && c->at < c->end && *c->at != ':'; words++) {
		if (!take_hex(c, 8, &word))
			return false;
	}
	if ((words != 1 && words != 4) || !take_char(c, ':') || !take_hex(c, 4, &port) ||
		!take_char(c, ' '))
		return false;
	skip_spaces(c);
	*ret_port = (uint16_t)port;
	return true;
}

/*
 * A state the kernel has for this protocol. gVisor prints 0 for a TCP endpoint whose
 * state has no equal in Linux: it has its port and no connection, which is what CLOSE
 * says.
 */
static bool
take_state(struct cursor *c, enum usage_protocol protocol, enum usage_state *ret_state)
{
	unsigned state;

	if (!take_hex(c, 2, &state) || !take_char(c, ' '))
		return false;
	if (state == 0)
		state = USAGE_CLOSE;
	if (state >= USAGE_STATES)
		return false;
	if (protocol == USAGE_UDP && state != USAGE_ESTABLISHED && state != USAGE_CLOSE)
		return false;
	*ret_state = (enum usage_state)state;
	return true;
}

/* The two queue lengths: "00000000:00000000 ". */
static bool
take_queues(struct cursor *c)
{
	unsigned length;

	skip_spaces(c);
	return take_hex(c, 8, &length) && take_char(c, ':') && take_hex(c, 8, &length) &&
	       take_char(c, ' ');
}

/*
 * Every kind of row goes on with timer, retransmits, uid, timeout, inode, references and
 * pointer. They are not used, but a row without them was torn.
 */
static bool
has_trailing_fields(struct cursor c)
{
	enum {
		TRAILING_FIELDS = 7
	};
	int fields = 0;
	char before = ' ';

	for (; c.at < c.end; before = *c.at++)
		fields += before == ' ' && *c.at != ' ';
	return fields >= TRAILING_FIELDS;
}

static bool
parse_row(struct cursor line, enum usage_protocol protocol, struct usage_row *ret_row)
{
	uint16_t remote_port;

	ret_row->protocol = protocol;
	return take_entry(&line) && take_endpoint(&line, &ret_row->local_port) &&
	       take_endpoint(&line, &remote_port) &&
	       take_state(&line, protocol, &ret_row->state) && take_queues(&line) &&
	       has_trailing_fields(line);
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
		usage_add(usage, &row);
		line = newline + 1;
	}
	return line - buf;
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
procnet_parse_reserved(struct usage *usage, const char *buf, size_t len)
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
		usage_reserve(usage, first, last);
	} while (take_char(&c, ','));
	return take_char(&c, '\n') && c.at == c.end ? 0 : -EBADMSG;
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

static int
find_in_line(struct cursor line, const char *label, const char *name, uint64_t *ret_count)
{
	struct slice word = take_word(&line);

	if (!slice_equals(word, label))
		return -ENOENT;
	do {
		word = take_word(&line);
		if (slice_equals(word, name))
			return util_parse_number(
				       take_word(&line), 0, UINT32_MAX, ret_count)
			               ? -ENOENT
			               : 0;
	} while (word.len > 0);
	return -ENOENT;
}

int
procnet_find_count(const char *buf, size_t len, const char *label, const char *name,
	uint64_t *ret_count)
{
	const char *line = buf, *end = buf + len, *newline;

	while (line < end && (newline = memchr(line, '\n', (size_t)(end - line)))) {
		if (find_in_line((struct cursor){ line, newline }, label, name,
			    ret_count) == 0)
			return 0;
		line = newline + 1;
	}
	return -ENOENT;
}
