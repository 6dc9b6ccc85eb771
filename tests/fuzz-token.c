/* SPDX-License-Identifier: MIT */
/*
 * Fuzz the bearer token: what a file has, up to a zero byte, then what a client shows.
 */
#include "token.h"

#include <assert.h>
#include <endian.h>
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

/* The reference's vectors: the key is 0, 1, ... 15, and so is the longest input. */
static void
check_siphash(void)
{
	static const struct {
		size_t len;
		uint64_t digest[SIPHASH_WORDS];
	} vectors[] = {
		{ 0, { UINT64_C(0xe6a825ba047f81a3), UINT64_C(0x930255c71472f66d) } },
		{ 1, { UINT64_C(0x44af996bd8c187da), UINT64_C(0x45fc229b11597634) } },
		{ 8, { UINT64_C(0x61f55862baa9623b), UINT64_C(0xb49714f364e2830f) } },
		{ 15, { UINT64_C(0x11a8b03399e99354), UINT64_C(0xd9c3cf970fec087e) } },
	};
	uint64_t key[SIPHASH_WORDS], digest[SIPHASH_WORDS];
	char bytes[sizeof(key)];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	memcpy(key, bytes, sizeof(key));
	for (size_t i = 0; i < SIPHASH_WORDS; i++)
		key[i] = le64toh(key[i]);
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		siphash(key, (struct slice){ bytes, vectors[i].len }, digest);
		assert(memcmp(digest, vectors[i].digest, sizeof(digest)) == 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct token token, untouched;
	const char *zero = size > 0 ? memchr(data, '\0', size) : NULL;
	struct slice content = { (const char *)data, size }, shown = { "", 0 }, wanted;
	int r;

	check_siphash();
	if (zero) {
		content.len = (size_t)(zero - content.data);
		shown = (struct slice){ zero + 1, size - content.len - 1 };
	}
	memset(&token, 0x5a, sizeof(token)); /* its key too */
	memset(&untouched, 0x5a, sizeof(untouched));
	r = token_parse(content, &token);
	assert(r == expect(content, &wanted));
	if (r == 0)
		check_shown(&token, wanted, shown);
	else
		assert(memcmp(&token, &untouched, sizeof(token)) == 0);
	return 0;
}
