/* SPDX-License-Identifier: MIT */
/*
 * Measure the local ports of this process's network namespace: the public door of the
 * measuring half.
 *
 * Source: Linux Documentation/filesystems/proc.rst,
 * Documentation/networking/ip-sysctl.rst.
 */
#ifndef PORTS_H
#define PORTS_H

#include "sockdiag.h"
#include "usage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ports_source {
	PORTS_SOURCE_AUTO,
	PORTS_SOURCE_SOCK_DIAG,
	PORTS_SOURCE_PROCFS,
	PORTS_SOURCES, /* that can be asked for */
	/* The tables of gVisor, which list only sockets that a process has open. */
	PORTS_SOURCE_GVISOR = PORTS_SOURCES,
	PORTS_SOURCE_NAMES,
};

/*
 * "auto", "sock_diag", "procfs", the words of --source; and "gvisor", which the label
 * `source` has besides.
 */
extern const char *const ports_source_names[PORTS_SOURCE_NAMES];

enum {
	/* Dumps that the kernel calls inconsistent, before another source is asked. */
	PORTS_SOCK_DIAG_TRIES = 3,
};

enum ports_file {
	PORTS_FILE_RANGE,
	PORTS_FILE_RESERVED,
	PORTS_FILE_TW_REUSE,
	PORTS_FILE_TW_REUSE_DELAY,
	PORTS_FILE_TIMESTAMPS,
	PORTS_FILE_TCP_CHAINS,
	PORTS_FILE_UDP_CHAINS,
	PORTS_FILE_VERSION,
	PORTS_FILE_SOCKSTAT6,
	PORTS_FILE_TCP,
	PORTS_FILE_TCP6,
	PORTS_FILE_UDP,
	PORTS_FILE_UDP6,
	PORTS_FILES,
};

/* What a measurement reads, opened before: a confined process opens nothing. */
struct ports {
	enum ports_source source;
	int procfs_error;            /* why the directory could not be opened, or 0 */
	int files[PORTS_FILES];      /* descriptors, or -errno */
	bool is_procfs[PORTS_FILES]; /* it is Linux's own, not FUSE, a pipe or a copy */
	struct sockdiag sock_diag[PORTS_SOCK_DIAG_TRIES];
	int64_t deadline_ms; /* of a measurement, by util_now_ms(); the caller's to set */
	uint64_t seed[DESTINATIONS_SEED_WORDS];
};

/* What was measured; it points nowhere, so that it can be copied between processes. */
struct ports_report {
	struct usage_totals totals;
	struct usage_map map;
	uint64_t sockets[USAGE_PROTOCOLS][USAGE_STATES];
	uint64_t rows;             /* socket rows read, in the pool or not */
	uint64_t scan_duration_us; /* wall time of the scan, microseconds */
	uint32_t reserved;         /* ports of the range that are reserved */
	uint16_t range_first;
	uint16_t range_last;
	bool shows_bound_inactive; /* the source shows sockets in USAGE_BOUND_INACTIVE */
	/*
	 * The source lists only sockets that a process has open: used ports and
	 * destinations are lower bounds.
	 */
	bool is_lower_bound;
	enum ports_source source; /* which one answered; never AUTO */
	int sock_diag_error;      /* -errno: why AUTO came to PROCFS; else 0 */
	size_t top_count;
	struct destinations_entry top[DESTINATIONS_TOP_MAX]; /* highest count first */
};

/*
 * Open what a measurement by this source needs: the range, the reserved ports and what
 * decides about TIME_WAIT under the directory `procfs` ("/proc"), netlink sockets, the
 * tables under `procfs`. AUTO is sock_diag, or the tables where sock_diag cannot be had
 * whole. sock_diag always asks about the network namespace of this process, so another
 * procfs goes with the source PROCFS. All is close-on-exec.
 *
 * What cannot be opened is remembered, and said by ports_collect() if it is needed. There
 * is no deadline yet, but a signal ends the wait for a file that does not open. The
 * caller closes with ports_close().
 */
void ports_open(struct ports *ret_ports, const char *procfs, enum ports_source source);

void ports_close(const struct ports *ports);

/*
 * Measure once, by what was opened, and name the `top` destinations with the most local
 * ports, at most DESTINATIONS_TOP_MAX. Reads, and opens nothing.
 *
 * Returns 0 and fills *ret_report; the scan is complete. Or returns -errno (-EBADMSG:
 * what was read does not parse; -EAGAIN: sockets changed at every try; -ETIMEDOUT: the
 * deadline passed, which is looked at between pieces; else what a system call or the
 * kernel's answer said: -EINTR when a signal ended a wait) and names in *ret_object what
 * could not be read, as a constant string; *ret_report is then unusable.
 */
int ports_collect(const struct ports *ports, size_t top, struct ports_report *ret_report,
	const char **ret_object);

/*
 * Whether the kernel may hand out `port` by itself: it lies in the range and is not
 * reserved. Does I/O.
 *
 * Returns 1 when it may, 0 when it may not, -errno when that cannot be read.
 */
int ports_pool_contains(const char *procfs, uint16_t port);

#endif
