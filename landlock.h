/* SPDX-License-Identifier: MIT */
/*
 * Take from this process, and all that it forks, the access to files, TCP ports, abstract
 * UNIX sockets and processes outside, but for what a rule names.
 *
 * The kernel decides by the inode of a directory: one that is replaced by another of its
 * name is another one. No domain may trace, or read the memory or the environment of, a
 * process outside of it, whatever the rules say.
 *
 * Source: Linux Documentation/userspace-api/landlock.rst, include/uapi/linux/landlock.h;
 * security/landlock/task.c for tracing.
 */
#ifndef LANDLOCK_H
#define LANDLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>

/*
 * The headers may be older than the kernel. From 424 on a call has the same number
 * everywhere, counted from where the numbers of the architecture begin.
 */
#ifndef SYS_landlock_create_ruleset
#if defined(__alpha__)
#define NUMBERS_BEGIN 110
#elif defined(__mips__)
#define NUMBERS_BEGIN __NR_Linux
#elif defined(__x86_64__) && defined(__ILP32__)
#define NUMBERS_BEGIN 0x40000000
#else
#define NUMBERS_BEGIN 0
#endif
#define SYS_landlock_create_ruleset (NUMBERS_BEGIN + 444)
#define SYS_landlock_add_rule (NUMBERS_BEGIN + 445)
#define SYS_landlock_restrict_self (NUMBERS_BEGIN + 446)
#endif

enum landlock_access {
	LANDLOCK_READ,         /* open files and directories to read them */
	LANDLOCK_MAKE_SOCKETS, /* bind(2) a UNIX socket to a path, and unlink(2) */
};

/* A set of rules that is not in force yet. */
struct landlock {
	int fd;
	bool restricts_tcp; /* this kernel can: since Linux 6.7 */
};

/*
 * Make a set that handles all that this kernel knows, and allows none of it.
 *
 * Returns 0; or -errno (-ENOSYS, -EOPNOTSUPP: the kernel has no Landlock, or it is off).
 */
int landlock_create(struct landlock *ret_landlock);

/*
 * Allow this access below a directory; where it is not there yet, below the nearest one
 * above it that is. Returns 0 or -errno.
 */
int landlock_allow_below(const struct landlock *landlock, const char *directory,
	enum landlock_access access);

/*
 * The same with the directory that this file is in or will be in. Where its name is that
 * of a link, which may be changed to another directory, with the one that the link is in
 * too. Returns 0 or -errno.
 */
int landlock_allow_beside(
	const struct landlock *landlock, const char *file, enum landlock_access access);

/* Allow bind(2) of TCP sockets to this port. Returns 0 or -errno. */
int landlock_allow_bind(const struct landlock *landlock, uint16_t port);

/* Put the set in force; no_new_privs is set, or the caller is privileged. Returns 0 or
 * -errno. */
int landlock_restrict(const struct landlock *landlock);

/* Close the set, which stays in force where it is. */
void landlock_close(const struct landlock *landlock);

#endif
