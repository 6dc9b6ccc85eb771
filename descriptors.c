/* SPDX-License-Identifier: MIT */
#include "descriptors.h"

#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As getdents64(2) has it. Not readdir(3), which allocates. */
struct entry {
	uint64_t inode;
	int64_t offset;
	uint16_t length;
	uint8_t type;
	char name[];
};

/* Add the descriptors that `len` bytes of entries name. Returns false when it is full. */
static bool
add_entries(
	const char *data, size_t len, int first, int directory, struct descriptors *list)
{
	for (size_t at = 0; at < len;) {
		const struct entry *entry = (const struct entry *)(const void *)&data[at];
		const struct slice name = { entry->name, strlen(entry->name) };
		uint64_t fd;

		at += entry->length;
		/* "." and ".." are no numbers. */
		if (util_parse_number(name, 0, INT_MAX, &fd) < 0 || (int)fd < first ||
			(int)fd == directory)
			continue;
		if (list->count == DESCRIPTORS_LIST_MAX)
			return false;
		list->fds[list->count++] = (int)fd;
	}
	return true;
}

int
descriptors_list(int first, struct descriptors *ret_list)
{
	_Alignas(struct entry) char data[2048];
	int fd = open("/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct descriptors list = { .count = 0 };
	long n;
	int r;

	if (fd < 0)
		return -errno;
	while ((n = syscall(SYS_getdents64, fd, data, sizeof(data))) > 0 &&
		add_entries(data, (size_t)n, first, fd, &list))
		;
	r = n < 0 ? -errno : 0;
	close(fd);
	if (r == 0)
		*ret_list = list;
	return r;
}

/* The lowest one to keep, at `from` or above, or INT_MAX. */
static int
next_kept(const int keep[], size_t count, int from)
{
	int next = INT_MAX;

	for (size_t i = 0; i < count; i++) {
		if (keep[i] >= from && keep[i] < next)
			next = keep[i];
	}
	return next;
}

int
descriptors_close_range(const int keep[], size_t count)
{
#ifdef SYS_close_range
	int from = STDERR_FILENO + 1;

	for (;;) {
		int next = next_kept(keep, count, from);

		if (from < next && syscall(SYS_close_range, from, next - 1, 0) < 0)
			return -errno;
		if (next == INT_MAX)
			return 0;
		from = next + 1;
	}
#else
	(void)keep;
	(void)count;
	return -ENOSYS;
#endif
}

int
descriptors_close_others(const int keep[], size_t count)
{
	struct descriptors list = { .count = DESCRIPTORS_LIST_MAX };
	int from = STDERR_FILENO + 1;

	if (descriptors_close_range(keep, count) == 0)
		return 0;
	while (list.count == DESCRIPTORS_LIST_MAX) {
		int r = descriptors_list(from, &list);

		if (r < 0)
			return r;
		for (size_t i = 0; i < list.count; i++) {
			from = list.fds[i] + 1;
			if (next_kept(keep, count, list.fds[i]) != list.fds[i])
				close(list.fds[i]);
		}
	}
	return 0;
}
