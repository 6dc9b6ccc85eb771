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

#include "usage.h"

#include <stdint.h>

enum ports_source {
	PORTS_SOURCE_AUTO,
	PORTS_SOURCE_SOCK_DIAG,
	PORTS_SOURCE_PROCFS,
	PORTS_SOURCES,
};

/* "auto", "sock_diag", "procfs": the words of --source and of the label `source`. */
extern const char *const ports_source_names[PORTS_SOURCES];

struct ports_report {
	struct usage usage;
	struct usage_totals totals;
	enum ports_source source;  /* which one answered; never AUTO */
	int sock_diag_error;       /* -errno: why AUTO came to PROCFS; else 0 */
	uint64_t scan_duration_us; /* wall time of the scan, microseconds */
};

/*
 * Measure once: read the range and the reserved ports under the directory `procfs`
 * ("/proc"), and every socket from the source. AUTO is sock_diag, or the tables under
 * `procfs` where sock_diag cannot be had whole. sock_diag always asks about the network
 * namespace of this process, so another procfs goes with the source PROCFS. Does I/O,
 * opens files close-on-exec and closes them again.
 *
 * Returns 0 and fills *ret_report; the scan is complete. Or returns -errno (-EBADMSG:
 * what was read does not parse; -EAGAIN: sockets changed at every try; else what a system
 * call or the kernel's answer said) and names in *ret_object what could not be read, as a
 * constant string; *ret_report is then unusable.
 */
int ports_collect(const char *procfs, enum ports_source source,
	struct ports_report *ret_report, const char **ret_object);

/*
 * Whether the kernel may hand out `port` by itself: it lies in the range and is not
 * reserved. Does I/O.
 *
 * Returns 1 when it may, 0 when it may not, -errno when that cannot be read.
 */
int ports_pool_contains(const char *procfs, uint16_t port);

#endif
