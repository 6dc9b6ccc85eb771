/* SPDX-License-Identifier: MIT */
/*
 * Close the descriptors that a process is not to have.
 *
 * Never one by one up to RLIMIT_NOFILE: that limit is 2^30 in some containers, and a
 * process that needs a minute to start answers no request.
 *
 * Source: close_range(2) (Linux 5.9), proc_pid_fd(5), getdents64(2).
 */
#ifndef DESCRIPTORS_H
#define DESCRIPTORS_H

#include <stddef.h>

enum {
	DESCRIPTORS_LIST_MAX = 128, /* more than there can be listening sockets */
	DESCRIPTORS_KEEP_MAX = 2,   /* the log's, and that of the lock of the figures */
};

struct descriptors {
	int fds[DESCRIPTORS_LIST_MAX];
	size_t count;
};

/*
 * List the open descriptors from `first` on, in ascending order: as many as fit. Reads
 * /proc/self/fd.
 *
 * Returns 0 or -errno.
 */
int descriptors_list(int first, struct descriptors *ret_list);

/*
 * Close every descriptor above 2 but those of `keep` by close_range(2). Entries of `keep`
 * below 3, -1 among them, mean nothing.
 *
 * Returns 0, or -errno where the kernel does not have the call or a filter refuses it.
 */
int descriptors_close_range(const int keep[], size_t count);

/*
 * The same, by /proc/self/fd where close_range(2) cannot be had. Where that cannot be
 * read either, nothing is closed.
 *
 * Returns 0 or -errno.
 */
int descriptors_close_others(const int keep[], size_t count);

#endif
