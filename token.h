/* SPDX-License-Identifier: MIT */
/*
 * Compare the bearer token that a client shows with the one that a file holds.
 *
 * Only a keyed digest of the file's token is kept, under a key of this process, so that a
 * process that is taken over cannot read the token out of its own memory. The file is
 * read anew for each request, so that a rotated secret needs no restart. A file that
 * cannot be read, or that holds no token, means that no request is allowed.
 *
 * Source: RFC 6750 section 2.1 (b64token), Kubernetes secrets mounted as files.
 */
#ifndef TOKEN_H
#define TOKEN_H

#include "siphash.h"
#include "util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TOKEN_MAX = 1024, /* bytes */
};

/* What is kept of a token. */
struct token {
	uint64_t key[SIPHASH_WORDS];
	uint64_t digest[SIPHASH_WORDS];
};

/*
 * Digest the token in a file's content under ret_token->key, which the caller has filled
 * with random bytes. White space around the token is ignored. No I/O.
 *
 * Returns 0, -ENODATA when there is nothing else, -EMSGSIZE when the token is longer than
 * TOKEN_MAX, -EBADMSG when it holds a byte that is not visible ASCII.
 */
int token_parse(struct slice content, struct token *ret_token);

/*
 * Read the file and digest its token under a new random key. No copy of the token stays
 * in memory. Returns as token_parse() does, or -errno of open(2) or read(2).
 */
int token_read(const char *path, struct token *ret_token);

/*
 * Whether this is the token. The time taken depends on the length of `shown` only. No
 * I/O.
 */
bool token_equals(const struct token *token, struct slice shown);

#endif
