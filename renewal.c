/* SPDX-License-Identifier: MIT */
#include "renewal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

/* What argv[0] begins with then. */
#define NAME "metrics-sidecar: inherited "

enum {
	/* The memory, both ends of the handover; the sockets are behind them. */
	MEMORY,
	SENDER,
	RECEIVER,
	SOCKETS,
	INHERITED_MAX = SOCKETS + LISTEN_MAX,
	/* The name, the role, and a number of ten digits with its comma for each. */
	TEXT_MAX = sizeof(NAME) + 1 + 11 * sizeof(char[INHERITED_MAX]),
	PAGES = 2, /* of the memory: the log's, the tally's */
};

struct renewal
renewal_none(void)
{
	return (struct renewal){
		.error = "not the child of our PID 1",
		.memory_fd = -1,
		.handover = { -1, -1 },
	};
}

int
renewal_open(struct renewal *ret_renewal)
{
	struct renewal renewal = { .error = NULL };
	int r;

	renewal.memory_fd = memfd_create("metrics-sidecar", MFD_CLOEXEC);
	if (renewal.memory_fd < 0)
		return -errno;
	r = ftruncate(renewal.memory_fd, (off_t)(PAGES * getauxval(AT_PAGESZ))) < 0
	            ? -errno
	            : 0;
	if (r == 0)
		r = handover_open(&renewal.handover);
	if (r < 0)
		close(renewal.memory_fd);
	else
		*ret_renewal = renewal;
	return r;
}

static void *
map_page(const struct renewal *renewal, long page)
{
	const size_t size = getauxval(AT_PAGESZ);
	void *map;

	if (renewal->memory_fd < 0)
		return NULL;
	map = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED,
		renewal->memory_fd, page * (off_t)size);
	return map == MAP_FAILED ? NULL : map;
}

void *
renewal_map_log(const struct renewal *renewal)
{
	return map_page(renewal, 0);
}

void *
renewal_map_tally(const struct renewal *renewal)
{
	return map_page(renewal, 1);
}

/* Returns how many descriptors a new image gets. */
static size_t
fill_inherited(const struct renewal *renewal, const struct listen_found *found,
	int ret_fds[static INHERITED_MAX])
{
	ret_fds[MEMORY] = renewal->memory_fd;
	ret_fds[SENDER] = renewal->handover.sender;
	ret_fds[RECEIVER] = renewal->handover.receiver;
	for (size_t i = 0; i < found->count; i++)
		ret_fds[SOCKETS + i] = found->sockets[i].fd;
	return SOCKETS + found->count;
}

int
renewal_exec(const struct renewal *renewal, const struct listen_found *found,
	char *argv[], const int keep[static DESCRIPTORS_KEEP_MAX])
{
	static char text[TEXT_MAX];
	struct buf b = buf_over(text, sizeof(text));
	int fds[INHERITED_MAX + DESCRIPTORS_KEEP_MAX];
	size_t count = fill_inherited(renewal, found, fds);

	memcpy(&fds[count], keep, DESCRIPTORS_KEEP_MAX * sizeof(keep[0]));
	descriptors_close_others(fds, count + DESCRIPTORS_KEEP_MAX);
	buf_printf(&b, NAME "%d", (int)found->role);
	for (size_t i = 0; i < count; i++) {
		/* 0 is none: a socket that could not be made yet. */
		buf_printf(&b, ",%d", fds[i] + 1);
		fcntl(fds[i], F_SETFD, 0);
	}
	if (b.overflow || !argv[0])
		return -EINVAL;
	/* Not the environment: putenv(3) allocates. */
	argv[0] = text;
	/* By that name it is found even if it was replaced or deleted. */
	execv("/proc/self/exe", argv);
	return -errno;
}

/* Numbers with commas between them. Returns how many, or -EINVAL. */
static int
parse_numbers(const char *text, int ret_numbers[static INHERITED_MAX + 1])
{
	int count = 0;

	for (;;) {
		size_t len = strcspn(text, ",");
		uint64_t number;

		if (count > INHERITED_MAX ||
			util_parse_number(
				(struct slice){ text, len }, 0, INT_MAX, &number) < 0)
			return -EINVAL;
		ret_numbers[count++] = (int)number;
		if (text[len] == '\0')
			return count;
		text += len + 1;
	}
}

bool
renewal_find(
	const char *name, struct renewal *ret_renewal, struct listen_found *ret_found)
{
	const size_t prefix = sizeof(NAME) - 1;
	bool is_ours = name && strncmp(name, NAME, prefix) == 0 && getppid() == 1;
	int numbers[INHERITED_MAX + 1];
	const int *fds = &numbers[1];
	int count = is_ours ? parse_numbers(name + prefix, numbers) : 0;

	if (count <= 1 + SOCKETS)
		return false;
	ret_found->role =
		numbers[0] == LISTEN_ROLE_PASSED ? LISTEN_ROLE_PASSED : LISTEN_ROLE_OWN;
	ret_found->connection = -1;
	ret_found->count = (size_t)count - 1 - SOCKETS;
	for (int i = 0; i < count - 1; i++)
		fcntl(fds[i] - 1, F_SETFD, FD_CLOEXEC);
	for (size_t i = 0; i < ret_found->count; i++)
		ret_found->sockets[i] = (struct listen_socket){
			.fd = fds[SOCKETS + i] - 1,
			.passed = ret_found->role == LISTEN_ROLE_PASSED,
		};
	*ret_renewal = (struct renewal){
		.memory_fd = fds[MEMORY] - 1,
		.handover = { fds[SENDER] - 1, fds[RECEIVER] - 1 },
	};
	return true;
}
