/* SPDX-License-Identifier: MIT */
/*
 * Carry one exchange over a pair of descriptors, sockets or pipes, before a deadline.
 *
 * Source: read(2), write(2), setitimer(2); RFC 9112 section 9.6 (closing a connection).
 */
#ifndef EXCHANGE_H
#define EXCHANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Set the deadline of this process, by util_now_ms(). Calls below then fail with
 * -ETIMEDOUT, and calls that wait with EINTR; a process that has not come to its end a
 * second later is ended.
 */
void exchange_set_deadline(int64_t deadline_ms);

/*
 * Move the deadline, also one that has passed: calls below then work again until the new
 * one; INT64_MAX is none. Nothing but setitimer(2), for a process that is confined.
 */
void exchange_move_deadline(int64_t deadline_ms);

/*
 * Read until `is_ready` says that the bytes so far are enough, until the peer sends no
 * more, or until the buffer is full.
 *
 * Returns the number of bytes; 0 when the peer closed, or reset the connection, without
 * having sent one; -ETIMEDOUT when `until_ms`, by util_now_ms(), or the deadline passed
 * first; -errno of read(2).
 */
ssize_t exchange_read(int fd, char *buf, size_t size, int64_t until_ms,
	bool (*is_ready)(const char *buf, size_t len));

/*
 * Write it all. A descriptor that is not blocking and takes nothing, because another
 * process made it so, is waited for until `until_ms`, by util_now_ms(); the deadline, if
 * one is set, also ends a write that blocks. SIGPIPE must be ignored.
 *
 * Returns 0, -ETIMEDOUT, or -errno of write(2).
 */
int exchange_write(int fd, const char *data, size_t len, int64_t until_ms);

/*
 * Write it all to a client, which must take it at a pace of its own choice above 16 KiB a
 * second, after a first second; the kernel takes as much as the send buffer has room for.
 *
 * Returns 0, -ETIMEDOUT, or -errno of send(2).
 */
int exchange_send(int socket, const char *data, size_t len, int64_t until_ms);

/* Whether both descriptors are one socket: what exchange_finish() is for. */
bool exchange_is_one_socket(int in, int out);

/*
 * Let the peer of a socket close first, for a bounded time and a bounded number of bytes.
 * Its last bytes are read: a close with unread bytes is a reset, which takes the response
 * with it. Then end our side, and wait until the peer has acknowledged all, but not
 * longer than until `until_ms`, by util_now_ms(), or for a second if that is over:
 * close(2) may throw the rest away. TIME_WAIT stays on its side,
 * unless ours was closed already. Other pairs of descriptors need none of that.
 */
void exchange_finish(int socket, int64_t until_ms);

#endif
