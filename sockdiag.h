/* SPDX-License-Identifier: MIT */
/*
 * Read the sockets of this network namespace from the kernel in binary form: dumps
 * over NETLINK_SOCK_DIAG, of which the kernel leaves out what lies outside the local port
 * range.
 *
 * A dump is no snapshot, and the kernel does not say when one went wrong: it resumes at
 * "entry number so-and-so of this chain" of a hash table, after sixteen sockets of one
 * chain and after each message, and passes over a socket for each that has left the chain
 * meanwhile. Where chains are short, that does not happen in practice. Where they are
 * long, the range is asked for in slices of which each comes in one go.
 *
 * No privilege is needed. gVisor has no such netlink family, SELinux may deny it, and the
 * kernel may lack the modules tcp_diag or udp_diag.
 *
 * Source: sock_diag(7), netlink(7); Linux net/ipv4/inet_diag.c (inet_diag_dump_compat,
 * inet_diag_bc_run, inet_diag_bc_audit, bound inactive sockets since 6.8),
 * net/ipv4/udp_diag.c, net/netlink/af_netlink.c (netlink_dump).
 */
#ifndef SOCKDIAG_H
#define SOCKDIAG_H

#include "usage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/* What the kernel makes of a dump at a time, when it is given the room. */
	SOCKDIAG_RECEIVE_MAX = 32 * 1024,
};

/* What the rows of a dump are. */
enum sockdiag_rows {
	/*
	 * TCP sockets that were bound to their port by number (SOCK_BINDPORT_LOCK): they
	 * close it to every connect() that looks for a port, connected or not. TIME_WAIT
	 * and what was accepted is never here.
	 */
	SOCKDIAG_TCP_BOUND,
	SOCKDIAG_TCP, /* all TCP sockets; none is known to be bound */
	SOCKDIAG_UDP,
	SOCKDIAG_ROWS,
};

/* A netlink socket, opened before it is needed: a confined process opens none. */
struct sockdiag {
	int fd;                    /* or -errno: why there is none */
	bool shows_bound_inactive; /* this kernel does */
};

/* How to ask for the sockets of a range that an earlier collection has seen. */
struct sockdiag_slices {
	struct usage_bitmap held[USAGE_PROTOCOLS]; /* the ports that it found in use */
	uint32_t ports[USAGE_PROTOCOLS]; /* of those in a slice; 0: all in one */
};

/* Open a socket, close-on-exec, for one collection. Look at ret->fd for an error. */
struct sockdiag sockdiag_open(void);

/* Close it, if it is open. */
void sockdiag_close(const struct sockdiag *door);

/*
 * Count every socket into usage; the pool is what usage was reset to. Waits for nothing:
 * the kernel makes each part of a dump when it is asked for it. Looks at the deadline, by
 * util_now_ms(), before each part. slices is NULL for dumps of the whole range.
 *
 * Returns 0; the dumps are complete, and usage->shows_bound_inactive is set where this
 * kernel shows such sockets. Returns -EAGAIN or -ENOBUFS when they are not, because the
 * kernel says so, or left out the end: usage_restart() and try again, by another socket,
 * because this one may still be handed the rest. Else returns -errno: why the socket was
 * not opened, what send(2) or recv(2) said, -ETIMEDOUT: the deadline passed, what the
 * kernel answered (-ENOENT: a module is missing), or -EBADMSG when the answer does not
 * parse. usage is unusable after an error, until usage_restart().
 */
int sockdiag_collect(const struct sockdiag *door, struct usage *usage,
	const struct sockdiag_slices *slices, int64_t deadline_ms);

/*
 * Count the sockets in what one recv(2) brought of the dump with this sequence number. No
 * I/O, and no pointer to buf is kept.
 *
 * Returns 1 at the end of the dump, 0 when there is more to come, -EAGAIN when the dump
 * is inconsistent, -EBADMSG when this is no part of it, or the -errno in the kernel's
 * answer. usage is unusable after an error.
 */
int sockdiag_scan(struct usage *usage, enum sockdiag_rows rows, uint32_t sequence,
	const char *buf, size_t len);

/*
 * Whether a kernel of this release, "6.18.44-generic", shows sockets that are bound and
 * not connected: 6.8 and newer. No I/O.
 */
bool sockdiag_shows_bound_inactive(const char *release);

#endif
