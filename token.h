/* SPDX-License-Identifier: MIT */
/*
 * Know the token that clients must show, as a file has it now.
 *
 * It is read anew for each request, so that a rotated secret needs no restart, and what
 * is wrong with the file lets nobody in.
 *
 * Source: RFC 6750 section 2.1 (b64token), Kubernetes secrets mounted as files.
 */
#ifndef TOKEN_H
#define TOKEN_H

#include "util.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	TOKEN_MAX = 1024, /* bytes */
};

/* Zeros behind its end, so that a comparison can always look at all of it. */
struct token {
	char bytes[TOKEN_MAX];
	size_t len;
};

/*
 * Take a file's content for a token: white space around it does not count. No I/O.
 *
 * Returns 0, -ENODATA when there is nothing else, -EMSGSIZE when it is longer than
 * TOKEN_MAX, -EBADMSG when it holds a byte that is not visible ASCII.
 */
int token_parse(struct slice content, struct token *ret_token);

/* Read the file. Returns as token_parse() does, or -errno of open(2) or read(2). */
int token_read(const char *path, struct token *ret_token);

/*
 * Whether this is the token. How long that takes tells nothing about the token: neither
 * its bytes nor its length. No I/O.
 */
bool token_equals(const struct token *token, struct slice shown);

#endif
