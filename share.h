/* SPDX-License-Identifier: MIT */
/*
 * Share one costly result between processes: who comes while another one makes it waits,
 * who comes soon after takes what is there.
 *
 * A result serves those who came before its making began, and those who come within
 * SHARE_REST times the processor time that it took. So making takes at most one part in
 * SHARE_REST + 1 of one processor, however many ask, and what is cheap to make is always
 * new.
 *
 * The lock is one of fcntl(2) on an empty memory file: it belongs to a process, and goes
 * with it however that ends. What a process that died left half made is not taken for a
 * result.
 *
 * Source: fcntl(2) (advisory record locking), memfd_create(2), mmap(2),
 * clock_gettime(2).
 */
#ifndef SHARE_H
#define SHARE_H

#include <stddef.h>
#include <stdint.h>

enum {
	SHARE_REST = 9,
};

struct share_slot;

/* What a process has of it. All zeros with lock_fd -1 shares nothing. */
struct share {
	int lock_fd;
	size_t size; /* of the result */
	struct share_slot *slot;
	int64_t began_us, began_cpu_us; /* of the result that this process makes */
};

/*
 * Make room for a result of `size` bytes, to be shared with all that this process forks.
 *
 * Returns 0 or -errno; nothing is shared then.
 */
int share_open(struct share *ret_share, size_t size);

/*
 * Ask for a result on behalf of somebody who came at `arrived_ms`, by util_now_ms().
 * Waits while another process makes one.
 *
 * Returns 1 and copies the result; 0 when the caller is to make it, and then to call
 * share_give(), for which all others wait, or -errno: -EINTR when a signal ended the
 * wait, else what the lock said; it is not the caller's turn then, and what it makes
 * nevertheless is its own.
 */
int share_take(struct share *share, int64_t arrived_ms, void *ret_result);

/* Hand over what was made, good or bad, and let the next one in. */
void share_give(const struct share *share, const void *result);

/* Give up this process's part: no memory in common, and no lock. */
void share_close(struct share *share);

#endif
