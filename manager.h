/* SPDX-License-Identifier: MIT */
/*
 * Talk to the service manager: systemd, or what speaks its protocol, as podman does.
 *
 * Passed sockets are taken by libsystemd, which is loaded only where LISTEN_FDS is set.
 * Linking it would cost every one-shot start 0.7 ms and map five libraries into a process
 * that reads from the network. Built with SYSTEMD=0, or where the library is missing, the
 * program takes them by itself.
 *
 * Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3), unix(7).
 */
#ifndef MANAGER_H
#define MANAGER_H

#include <stdint.h>

enum {
	MANAGER_FIRST_FD = 3, /* SD_LISTEN_FDS_START */
};

/*
 * How many descriptors were passed, from MANAGER_FIRST_FD on; they are close-on-exec
 * then. Returns 0 when none were passed to this very process (LISTEN_PID), or -errno when
 * what was passed cannot be used.
 */
int manager_listen_fds(void);

/*
 * Connect to the manager that NOTIFY_SOCKET names: a path or an abstract name, not
 * AF_VSOCK. A confined process can do that no more.
 */
void manager_connect(void);

/*
 * Send a state, "READY=1", as sd_notify(3) has it, without waiting, to the manager that
 * was connected to. Ignored where there is none, or where it does not read.
 */
void manager_notify(const char *state);

/* How often the watchdog wants to hear "WATCHDOG=1", in milliseconds; 0 for never. */
int64_t manager_watchdog_ms(void);

#endif
