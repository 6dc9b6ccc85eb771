/* SPDX-License-Identifier: MIT */
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	/* White space around the token, a newline most often. */
	CONTENT_MAX = TOKEN_MAX + 64,
};

int
token_parse(struct slice content, struct token *ret_token)
{
	struct slice s = slice_strip(content);

	if (s.len == 0)
		return -ENODATA;
	if (s.len > TOKEN_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < s.len; i++) {
		if (s.data[i] <= ' ' || s.data[i] > '~')
			return -EBADMSG;
	}
	siphash(ret_token->key, s, ret_token->digest);
	return 0;
}

/* Read the file into content. Returns its length, -EMSGSIZE, or -errno. */
static ssize_t
read_content(const char *path, char content[static CONTENT_MAX + 1])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t len = 0;
	ssize_t n = 0;
	int error;

	if (fd < 0)
		return -errno;
	while (len < CONTENT_MAX + 1 &&
		(n = read(fd, content + len, CONTENT_MAX + 1 - len)) > 0)
		len += (size_t)n;
	error = errno;
	close(fd);
	if (n < 0)
		return -error;
	return len <= CONTENT_MAX ? (ssize_t)len : -EMSGSIZE;
}

int
token_read(const char *path, struct token *ret_token)
{
	char content[CONTENT_MAX + 1];
	ssize_t n = read_content(path, content);

	util_fill_random(ret_token->key, sizeof(ret_token->key));
	if (n >= 0)
		n = token_parse((struct slice){ content, (size_t)n }, ret_token);
	explicit_bzero(content, sizeof(content));
	return (int)n;
}

bool
token_equals(const struct token *token, struct slice shown)
{
	uint64_t digest[SIPHASH_WORDS];

	siphash(token->key, shown, digest);
	return ((digest[0] ^ token->digest[0]) | (digest[1] ^ token->digest[1])) == 0;
}
