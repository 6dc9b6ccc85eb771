/* SPDX-License-Identifier: MIT */
/*
 * Compute SipHash-2-4 with 128 bits of output: a keyed digest that tells nothing of its
 * input to a reader that does not have the key, and cannot be forged without it.
 *
 * Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), with the
 * 128-bit output of the authors' later reference. Pure: no I/O, no allocation.
 */
#ifndef SIPHASH_H
#define SIPHASH_H

#include "util.h"

#include <stdint.h>

enum {
	SIPHASH_WORDS = 2, /* of the key, and of the digest */
};

/* The digest's words are the little-endian halves of the reference's 16 bytes. */
void siphash(const uint64_t key[static SIPHASH_WORDS], struct slice input,
	uint64_t ret_digest[static SIPHASH_WORDS]);

#endif
