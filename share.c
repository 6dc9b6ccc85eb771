/* SPDX-License-Identifier: MIT */
#include "share.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdalign.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/*
 * Times are microseconds of CLOCK_MONOTONIC. Only `valid` is published atomically: some
 * 32-bit machines have no atomic store of eight bytes. The lock guards the rest.
 */
struct share_slot {
	uint32_t valid; /* 0 while there is no result */
	int64_t began_us;
	int64_t ended_us;
	int64_t cpu_us; /* processor time that it took */
	alignas(max_align_t) char result[];
};

/* 0 where it cannot be read: a result then serves nobody who comes later. */
static int64_t
read_clock_us(clockid_t id)
{
	struct timespec now;

	if (clock_gettime(id, &now) < 0)
		return 0;
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int
share_open(struct share *ret_share, size_t size)
{
	void *map;
	int fd;

	*ret_share = (struct share){ .lock_fd = -1 };
	map = mmap(NULL, sizeof(struct share_slot) + size, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	/* It stays empty: only its lock is wanted, and RLIMIT_FSIZE may be 0. */
	fd = memfd_create("metrics-sidecar", MFD_CLOEXEC);
	if (fd < 0) {
		int error = errno;

		munmap(map, sizeof(struct share_slot) + size);
		return -error;
	}
	*ret_share = (struct share){ .lock_fd = fd, .size = size, .slot = map };
	return 0;
}

/* Returns 0 or -errno. */
static int
lock(const struct share *share, int command, short type)
{
	struct flock whole = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(share->lock_fd, command, &whole) < 0 ? -errno : 0;
}

/* A millisecond that has begun counts as over: who came in it came before its end. */
static bool
serves(const struct share_slot *slot, int64_t arrived_ms)
{
	if (!slot->valid)
		return false;
	return (arrived_ms + 1) * 1000 <= slot->began_us ||
	       read_clock_us(CLOCK_MONOTONIC) - slot->ended_us <=
	               SHARE_REST * slot->cpu_us;
}

int
share_take(struct share *share, int64_t arrived_ms, void *ret_result)
{
	int r;

	if (share->lock_fd < 0)
		return 0;
	r = lock(share, F_SETLKW, F_WRLCK);
	if (r < 0)
		return r;
	if (serves(share->slot, arrived_ms)) {
		memcpy(ret_result, share->slot->result, share->size);
		lock(share, F_SETLK, F_UNLCK);
		return 1;
	}
	share->began_us = read_clock_us(CLOCK_MONOTONIC);
	share->began_cpu_us = read_clock_us(CLOCK_PROCESS_CPUTIME_ID);
	return 0;
}

void
share_give(const struct share *share, const void *result)
{
	struct share_slot *slot = share->slot;

	if (share->lock_fd < 0)
		return;
	/* Invalidate, copy, publish: a writer that dies half-way leaves no result. */
	__atomic_store_n(&slot->valid, 0, __ATOMIC_SEQ_CST);
	memcpy(slot->result, result, share->size);
	slot->began_us = share->began_us;
	slot->cpu_us = read_clock_us(CLOCK_PROCESS_CPUTIME_ID) - share->began_cpu_us;
	slot->ended_us = read_clock_us(CLOCK_MONOTONIC);
	__atomic_store_n(&slot->valid, slot->ended_us != 0, __ATOMIC_SEQ_CST);
	lock(share, F_SETLK, F_UNLCK);
}

void
share_close(struct share *share)
{
	if (share->lock_fd < 0)
		return;
	munmap(share->slot, sizeof(*share->slot) + share->size);
	close(share->lock_fd);
	*share = (struct share){ .lock_fd = -1 };
}
