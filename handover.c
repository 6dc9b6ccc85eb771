/* SPDX-License-Identifier: MIT */
#include "handover.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	/* The kernel counts about 768 bytes for each message; it gives less than this. */
	SEND_BUFFER = 1024 * 1024,
};

/* Room for one descriptor, aligned as the kernel reads it. */
union control {
	char data[CMSG_SPACE(sizeof(int))];
	struct cmsghdr align;
};

int
handover_open(struct handover *ret_handover)
{
	const int size = SEND_BUFFER;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) <
		0)
		return -errno;
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	*ret_handover = (struct handover){ .sender = pair[0], .receiver = pair[1] };
	return 0;
}

int
handover_send(const struct handover *handover, int connection, int64_t accepted_ms)
{
	struct iovec iov = { &accepted_ms, sizeof(accepted_ms) };
	union control control = { .data = { 0 } };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;

	message.msg_control = control.data;
	message.msg_controllen = sizeof(control.data);
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(connection));
	memcpy(CMSG_DATA(header), &connection, sizeof(connection));
	return sendmsg(handover->sender, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0
	               ? -errno
	               : 0;
}

/* A message that is none of ours may bring as many descriptors as there is room for. */
static void
close_all(const struct cmsghdr *header)
{
	size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	int fd;

	for (size_t i = 0; i < count; i++) {
		memcpy(&fd, CMSG_DATA(header) + i * sizeof(fd), sizeof(fd));
		close(fd);
	}
}

int
handover_receive(const struct handover *handover, int64_t *ret_accepted_ms)
{
	int64_t accepted_ms = 0;
	struct iovec iov = { &accepted_ms, sizeof(accepted_ms) };
	union control control = { .data = { 0 } };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	const struct cmsghdr *header;
	int connection;

	message.msg_control = control.data;
	message.msg_controllen = sizeof(control.data);
	if (recvmsg(handover->receiver, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_level != SOL_SOCKET ||
		header->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&connection, CMSG_DATA(header), sizeof(connection));
	if (header->cmsg_len != CMSG_LEN(sizeof(connection))) {
		close_all(header);
		return -EBADMSG;
	}
	*ret_accepted_ms = accepted_ms;
	return connection;
}
