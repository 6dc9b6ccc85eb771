/* SPDX-License-Identifier: MIT */
/*
 * A fault for the tests, to be loaded in front of the C library (LD_PRELOAD): whoever
 * reads a request for /crash dies of it, as a process does that an attacker guesses with.
 */
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t
read(int fd, void *buf, size_t size)
{
	static const char fatal[] = "GET /crash";
	ssize_t n = syscall(SYS_read, fd, buf, size);

	if (n >= (ssize_t)sizeof(fatal) && memcmp(buf, fatal, sizeof(fatal) - 1) == 0)
		__builtin_trap();
	return n;
}
