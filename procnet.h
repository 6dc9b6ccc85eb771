/* SPDX-License-Identifier: MIT */
/*
 * Read the kernel's text files about ports: the socket tables of /proc/net, the sysctls
 * that make the pool and that free TIME_WAIT.
 *
 * The formats are parsed by field, not by column: IPv4 rows are usually padded to 150
 * bytes, IPv6 rows and gVisor's never are.
 *
 * Source: Linux net/ipv4/tcp_ipv4.c (get_tcp4_sock, get_timewait4_sock),
 * net/ipv6/tcp_ipv6.c (get_tcp6_sock), net/ipv4/udp.c (udp4_format_sock),
 * kernel/sysctl.c (proc_do_large_bitmap); gVisor pkg/sentry/fsimpl/proc/task_net.go.
 * Pure: no I/O, no allocation, and no pointer to buf is kept.
 */
#ifndef PROCNET_H
#define PROCNET_H

#include "usage.h"
#include "util.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Check the heading of a socket table. An empty file is not an empty table: it is what a
 * masked /proc/net/tcp looks like.
 *
 * Returns the bytes of the heading's line; 0 when buf does not hold the whole line yet;
 * -EBADMSG when the line is no such heading.
 */
ssize_t procnet_parse_heading(const char *buf, size_t len);

/*
 * Count every complete row of buf into usage; buf starts at a line boundary, behind the
 * heading.
 *
 * Returns the bytes consumed: whole lines only, so the caller carries the rest over to
 * the next read. Returns -EBADMSG at the first line that does not parse; usage is then
 * unusable and the scrape must fail.
 */
ssize_t procnet_scan(
	struct usage *usage, enum usage_protocol protocol, const char *buf, size_t len);

/* What tells a socket of a table from another one. */
struct procnet_identity {
	struct slice endpoints; /* addresses and ports */
	struct slice inode;
};

/*
 * The identity of the socket in the last row of buf, which ends with that row. Its slices
 * point into buf. They are empty when there is no such row, when it has no peer, since
 * SO_REUSEPORT gives many sockets one local address and port, and when it has no inode,
 * as in TIME_WAIT: two devices may have sockets of the same addresses and ports.
 */
struct procnet_identity procnet_identify_last(const char *buf, size_t len);

/*
 * Read ip_local_port_range: two port numbers, 1 to 65535, the first not above the last.
 *
 * Returns 0 or -EBADMSG.
 */
int
procnet_parse_range(const char *buf, size_t len, uint16_t *ret_first, uint16_t *ret_last);

/*
 * Read a sysctl that is one number, "2\n", or "2" under gVisor.
 *
 * Returns 0 or -EBADMSG.
 */
int procnet_parse_setting(const char *buf, size_t len, uint32_t *ret_value);

/*
 * Take the ports of ip_local_reserved_ports, "8080,9148-9150\n" or nothing at all, out of
 * the pool.
 *
 * Returns 0, or -EBADMSG when it does not parse; the pool is then unusable.
 */
int procnet_parse_reserved(struct usage_pool *pool, const char *buf, size_t len);

#endif
