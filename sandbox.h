/* SPDX-License-Identifier: MIT */
/*
 * Lock the doors behind a process: take from it, for good, whatever it will not need.
 *
 * Each layer stands by itself, and one that the kernel or the container's runtime lacks
 * leaves the others in place. What a confined process may still call is the list in
 * sandbox.c; a responder that calls anything else is killed, a server is told EPERM.
 *
 * Source: Linux Documentation/userspace-api/no_new_privs.rst, seccomp_filter.rst;
 * setrlimit(2), PR_SET_DUMPABLE(2const), capabilities(7).
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_layer {
	SANDBOX_NO_NEW_PRIVS,
	SANDBOX_RLIMITS,
	SANDBOX_CAPABILITIES,
	SANDBOX_LANDLOCK,
	SANDBOX_SECCOMP,
	SANDBOX_LAYERS,
};

/* "no_new_privs", "rlimits", ... */
extern const char *const sandbox_layer_names[SANDBOX_LAYERS];

enum {
	/* What a responder may map besides what is mapped already: its stack grows. */
	SANDBOX_ADDRESS_SPACE_MORE = 256 * 1024,
	SANDBOX_LISTEN_MAX = 16,
};

/* What a server reaches for after it was confined. */
struct sandbox_needs {
	const char *directory; /* where it reads whatever is below */
	const char *file;      /* what it reads anew as others replace it, or NULL */
	/* UNIX sockets that it makes, or removes */
	const char *paths[SANDBOX_LISTEN_MAX];
	size_t path_count;
	uint16_t ports[SANDBOX_LISTEN_MAX]; /* TCP ports that it binds to */
	size_t port_count;
	bool hands_over; /* descriptors, to a successor */
};

/*
 * Make ready what a responder will be confined by. Call it before the others. Reads
 * /proc/self/statm: the limit of the address space is what is mapped now, and
 * SANDBOX_ADDRESS_SPACE_MORE; without it that limit is not set.
 */
void sandbox_init(void);

/*
 * Neither a core file nor a tracer of the same user without CAP_SYS_PTRACE gets at what
 * is in memory, until the process executes a program. A part of what confines the others.
 * Returns 0 or -errno.
 */
int sandbox_forbid_dumps(void);

/*
 * Confine the process that accepts connections, and all that it forks: no other program,
 * no debugging and no dump, no opening but to read what it needs, no sockets but for
 * listening and for sock_diag, no sending but to peers connected before
 * (needs->hands_over aside, of which the address is not seen).
 *
 * Fills ret_errors with 0, or -errno for each layer that is not in place.
 */
void sandbox_confine_server(
	const struct sandbox_needs *needs, int ret_errors[static SANDBOX_LAYERS]);

/*
 * Confine the process that answers one request, before it reads a byte of it, by every
 * layer but the filter of calls: it can still close what is open and unmap what is
 * mapped.
 *
 * cpu_more_s: seconds of processor time that it may spend besides what it has spent; then
 * it is killed. The kernel counts whole seconds: it is up to half a second more or less.
 * writes_file: one of its descriptors is a file that must be allowed to grow. SIGXFSZ is
 * to be ignored: a write that is too much is an error then, not the end.
 *
 * Fills ret_errors in the same way.
 */
void sandbox_limit_responder(
	unsigned cpu_more_s, bool writes_file, int ret_errors[static SANDBOX_LAYERS]);

/* The last layer: it can read and write what is open, wait and end. Returns 0 or -errno.
 */
int sandbox_filter_responder(void);

/* Both, one after the other. */
void sandbox_confine_responder(
	unsigned cpu_more_s, bool writes_file, int ret_errors[static SANDBOX_LAYERS]);

#endif
