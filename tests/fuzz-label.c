/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a label value. The pod's name comes from the environment, and one bad byte
 * would cost Prometheus the whole scrape.
 */
#include "exposition.h"
#include "util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* U+FFFD, for one byte, is the longest that a byte can become. */
enum {
	GROWTH = 3,
};

/*
 * The length of the character at the start of s, or 0 when it is not valid UTF-8. Decodes
 * and looks at the number, to be wrong in other places than a table of byte ranges is.
 */
static size_t
decode_character(struct slice s)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *bytes = (const unsigned char *)s.data;
	size_t more = bytes[0] < 0x80 ? 0 : bytes[0] < 0xe0 ? 1 : bytes[0] < 0xf0 ? 2 : 3;
	uint32_t number = more == 0 ? bytes[0] : bytes[0] & (0x3fU >> more);

	if ((bytes[0] >= 0x80 && bytes[0] < 0xc0) || bytes[0] >= 0xf8 || s.len <= more)
		return 0;
	for (size_t i = 1; i <= more; i++) {
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		number = number << 6 | (bytes[i] & 0x3f);
	}
	if (number < least[more] || number > 0x10ffff ||
		(number >= 0xd800 && number <= 0xdfff))
		return 0;
	return more + 1;
}

static bool
is_utf8(struct slice s)
{
	while (s.len > 0) {
		size_t len = decode_character(s);

		if (len == 0)
			return false;
		s.data += len;
		s.len -= len;
	}
	return true;
}

/* What a reader of the exposition makes of the value, into text; its length. */
static size_t
unescape(struct slice value, char *text)
{
	size_t len = 0;

	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];

		assert(c != '"' && c != '\n');
		if (c == '\\') {
			assert(++i < value.len);
			c = value.data[i];
			assert(c == '\\' || c == '"' || c == 'n');
			c = c == 'n' ? '\n' : c;
		}
		text[len++] = c;
	}
	return len;
}

/* The reader gets what was meant, but for what is not UTF-8: each such byte replaced. */
static void
check_meaning(struct slice text, struct slice value)
{
	while (value.len > 0) {
		size_t taken = decode_character(value), len = taken > 0 ? taken : 3;

		assert(text.len >= len);
		assert(memcmp(text.data, taken > 0 ? value.data : "\xef\xbf\xbd", len) ==
			0);
		text.data += len;
		text.len -= len;
		value.data += taken > 0 ? taken : 1;
		value.len -= taken > 0 ? taken : 1;
	}
	assert(text.len == 0);
}

/*
 * With too little room the value ends early, between two characters or escapes. The room
 * is a heap block of exactly that size: the sanitizer sees every write past it.
 */
static void
check_room(struct slice value, struct slice written, size_t size)
{
	char *room = malloc(size);
	struct buf b = buf_over(room, size);

	assert(room);
	exposition_write_label_value(&b, value);
	assert(b.data == room && b.size == size && b.len <= size);
	assert(b.overflow == (written.len > size));
	assert(b.overflow || b.len == written.len);
	assert(memcmp(room, written.data, b.len) == 0);
	assert(is_utf8((struct slice){ room, b.len }));
	free(room);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice value = { (const char *)data, size }, written, text;
	struct buf b = buf_over(malloc(GROWTH * size), GROWTH * size);
	char *unescaped = malloc(GROWTH * size);

	assert(b.data && unescaped);
	exposition_write_label_value(&b, value);
	assert(!b.overflow && b.len >= size);
	written = (struct slice){ b.data, b.len };
	assert(is_utf8(written));
	text = (struct slice){ unescaped, unescape(written, unescaped) };
	check_meaning(text, value);

	check_room(value, written, written.len);
	check_room(value, written, written.len - (written.len > 0));
	check_room(value, written, written.len / 2);
	check_room(value, written, 0);
	free(unescaped);
	free(b.data);
	return 0;
}
