/* SPDX-License-Identifier: MIT */
#include "siphash.h"

#include <endian.h>
#include <string.h>

enum {
	BLOCK = sizeof(uint64_t),
	COMPRESS_ROUNDS = 2,
	FINISH_ROUNDS = 4,
};

struct state {
	uint64_t v0, v1, v2, v3;
};

static uint64_t
rotate(uint64_t word, int bits)
{
	return word << bits | word >> (64 - bits);
}

static void
mix(struct state *s, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		s->v0 += s->v1;
		s->v2 += s->v3;
		s->v1 = rotate(s->v1, 13) ^ s->v0;
		s->v3 = rotate(s->v3, 16) ^ s->v2;
		s->v0 = rotate(s->v0, 32);
		s->v2 += s->v1;
		s->v0 += s->v3;
		s->v1 = rotate(s->v1, 17) ^ s->v2;
		s->v3 = rotate(s->v3, 21) ^ s->v0;
		s->v2 = rotate(s->v2, 32);
	}
}

static void
compress(struct state *s, uint64_t block)
{
	s->v3 ^= block;
	mix(s, COMPRESS_ROUNDS);
	s->v0 ^= block;
}

/* Up to eight bytes, the first in the lowest place. */
static uint64_t
load_block(const char *bytes, size_t len)
{
	uint64_t block = 0;

	memcpy(&block, bytes, len);
	return le64toh(block);
}

void
siphash(const uint64_t key[static SIPHASH_WORDS], struct slice input,
	uint64_t ret_digest[static SIPHASH_WORDS])
{
	/* "somepseudorandomlygeneratedbytes", and 0xee for the longer output. */
	struct state s = {
		.v0 = key[0] ^ UINT64_C(0x736f6d6570736575),
		.v1 = key[1] ^ UINT64_C(0x646f72616e646f6d) ^ 0xee,
		.v2 = key[0] ^ UINT64_C(0x6c7967656e657261),
		.v3 = key[1] ^ UINT64_C(0x7465646279746573),
	};
	const size_t whole = input.len - input.len % BLOCK;

	for (size_t i = 0; i < whole; i += BLOCK)
		compress(&s, load_block(input.data + i, BLOCK));
	compress(&s, load_block(input.data + whole, input.len - whole) |
			     (uint64_t)input.len << 56);
	s.v2 ^= 0xee;
	mix(&s, FINISH_ROUNDS);
	ret_digest[0] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
	s.v1 ^= 0xdd;
	mix(&s, FINISH_ROUNDS);
	ret_digest[1] = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
