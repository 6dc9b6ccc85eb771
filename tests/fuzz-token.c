/* SPDX-License-Identifier: MIT */
/*
 * Fuzz the bearer token: what a file has, up to a zero byte, then what a client shows.
 */
#include "token.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

static bool
is_white(char c)
{
	return c != '\0' && strchr(" \t\n\v\f\r", c) != NULL;
}

/* By the letter of the header, and in another way than the program does it. */
static int
expect(struct slice content, struct slice *ret_token)
{
	size_t first = 0, end = content.len;

	while (first < end && is_white(content.data[first]))
		first++;
	while (end > first && is_white(content.data[end - 1]))
		end--;
	*ret_token = (struct slice){ content.data + first, end - first };
	if (first == end)
		return -ENODATA;
	if (end - first > TOKEN_MAX)
		return -EMSGSIZE;
	for (size_t i = first; i < end; i++) {
		if (content.data[i] < '!' || content.data[i] > '~')
			return -EBADMSG;
	}
	return 0;
}

static void
check_shown(const struct token *token, struct slice wanted, struct slice shown)
{
	bool same = wanted.len == shown.len &&
	            memcmp(wanted.data, shown.data, shown.len) == 0;

	assert(token_equals(token, shown) == same);
	assert(token_equals(token, wanted));
	assert(!token_equals(token, (struct slice){ wanted.data, wanted.len - 1 }));
	assert(!token_equals(token, (struct slice){ "", 0 }));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct token token, untouched;
	const char *zero = size > 0 ? memchr(data, '\0', size) : NULL;
	struct slice content = { (const char *)data, size }, shown = { "", 0 }, wanted;
	int r;

	if (zero) {
		content.len = (size_t)(zero - content.data);
		shown = (struct slice){ zero + 1, size - content.len - 1 };
	}
	memset(&token, 0x5a, sizeof(token));
	memset(&untouched, 0x5a, sizeof(untouched));
	r = token_parse(content, &token);
	assert(r == expect(content, &wanted));
	if (r == 0)
		check_shown(&token, wanted, shown);
	else
		assert(memcmp(&token, &untouched, sizeof(token)) == 0);
	return 0;
}
