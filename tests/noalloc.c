/* SPDX-License-Identifier: MIT */
/*
 * The program, in which a confined process dies by SIGILL when it allocates or frees, the
 * C library on its own account included. The filter of the supervisor would allow it, and
 * malloc() makes no system call while it has memory left.
 *
 * Before that, memory comes from an array and is never given back.
 *
 * Source: "Replacing malloc" in the manual of glibc; ld(1) (--wrap).
 */
#include "sandbox.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
	ARENA = 4 * 1024 * 1024, /* bytes; a loaded library takes some 100 KiB */
	ALIGNED = 16,            /* what every type needs */
};

/* In front of what is given, its size. */
struct block {
	_Alignas(ALIGNED) size_t size;
};

static _Alignas(ALIGNED) char arena[ARENA];
static size_t used;
static bool confined;

static void *
take(size_t alignment, size_t size)
{
	size_t start = used + sizeof(struct block);

	if (confined)
		__builtin_trap();
	start = (start + alignment - 1) / alignment * alignment;
	if (size > ARENA || start + size > ARENA) {
		errno = ENOMEM;
		return NULL;
	}
	used = (start + size + ALIGNED - 1) / ALIGNED * ALIGNED;
	((struct block *)(void *)(arena + start))[-1].size = size;
	return arena + start;
}

void *
malloc(size_t size)
{
	return take(ALIGNED, size);
}

/* The array is zero, and no part of it is given twice. */
void *
calloc(size_t count, size_t size)
{
	return take(ALIGNED, size > 0 && count > ARENA / size ? SIZE_MAX : count * size);
}

void *
realloc(void *old, size_t size)
{
	void *new = take(ALIGNED, size);
	size_t had = old ? ((struct block *)old)[-1].size : 0;

	if (new)
		memcpy(new, old ? old : new, had < size ? had : size);
	return new;
}

void
free(void *data)
{
	(void)data;
	if (confined)
		__builtin_trap();
}

void *
memalign(size_t alignment, size_t size)
{
	return take(alignment < ALIGNED ? ALIGNED : alignment, size);
}

void *
aligned_alloc(size_t alignment, size_t size)
{
	return memalign(alignment, size);
}

int
posix_memalign(void **ret_data, size_t alignment, size_t size)
{
	*ret_data = memalign(alignment, size);
	return *ret_data ? 0 : ENOMEM;
}

void __real_sandbox_confine_server(const struct sandbox_needs *, int *);
void __real_sandbox_confine_responder(unsigned, bool, int *);
int __real_sandbox_filter_responder(void);

/* Only behind it: realpath(3) may allocate while the process is being confined. */
void
__wrap_sandbox_confine_server(const struct sandbox_needs *needs, int *ret_errors)
{
	__real_sandbox_confine_server(needs, ret_errors);
	confined = true;
}

void
__wrap_sandbox_confine_responder(unsigned cpu_more_s, bool writes_file, int *ret_errors)
{
	__real_sandbox_confine_responder(cpu_more_s, writes_file, ret_errors);
	confined = true;
}

int
__wrap_sandbox_filter_responder(void)
{
	confined = true;
	return __real_sandbox_filter_responder();
}
