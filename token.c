/* SPDX-License-Identifier: MIT */
#include "token.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum {
	/* White space around the token, a newline most often. */
	FILE_MAX = TOKEN_MAX + 64,
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
	memset(ret_token, 0, sizeof(*ret_token));
	memcpy(ret_token->bytes, s.data, s.len);
	ret_token->len = s.len;
	return 0;
}

int
token_read(const char *path, struct token *ret_token)
{
	char content[FILE_MAX + 1];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = 0;
	size_t len = 0;
	int r;

	if (fd < 0)
		return -errno;
	while (len < sizeof(content) &&
		(n = read(fd, content + len, sizeof(content) - len)) > 0)
		len += (size_t)n;
	r = n < 0 ? -errno : 0;
	close(fd);
	if (r < 0)
		return r;
	if (len > FILE_MAX)
		return -EMSGSIZE;
	return token_parse((struct slice){ content, len }, ret_token);
}

bool
token_equals(const struct token *token, struct slice shown)
{
	char bytes[TOKEN_MAX] = { 0 };
	size_t len = shown.len < sizeof(bytes) ? shown.len : sizeof(bytes);
	unsigned differing = token->len != shown.len;

	memcpy(bytes, shown.data, len);
	for (size_t i = 0; i < sizeof(bytes); i++)
		differing |= (unsigned char)token->bytes[i] ^ (unsigned char)bytes[i];
	return differing == 0;
}
