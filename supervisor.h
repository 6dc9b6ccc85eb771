/* SPDX-License-Identifier: MIT */
/*
 * Decide who may come: accept connections, hold each until its request head is there, and
 * spend a process on it only then.
 *
 * The supervisor interprets no byte from the network; it peeks, and asks `head_is_ready`.
 * In the child it returns, with the connection in place, into the code that inetd would
 * have started.
 *
 * Source: accept(2), epoll(7), socket(7) (SO_LINGER), fork(2); pid_namespaces(7) for the
 * duties of PID 1.
 */
#ifndef SUPERVISOR_H
#define SUPERVISOR_H

#include "crashes.h"
#include "descriptors.h"
#include "handover.h"
#include "hold.h"
#include "listen.h"
#include "util.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	SUPERVISOR_CONNECTIONS_MAX = HOLD_MAX,
	SUPERVISOR_PROCESSES_MAX = 64,
	SUPERVISOR_QUEUE_MAX = 512,      /* complete requests that wait for a process */
	SUPERVISOR_HEAD_MS = 5000,       /* for a head to come */
	SUPERVISOR_PEEK_MAX = 20 * 1024, /* bytes that head_is_ready() is shown */
	/*
	 * Bytes that the kernel may hold for answers that their clients do not read: the
	 * oldest ones are given up then.
	 */
	SUPERVISOR_UNREAD_MAX = 12 * 1024 * 1024,
	SUPERVISOR_ASK_MS = 2000, /* between two questions whether to end */
	SUPERVISOR_RENEW = 2,     /* what supervisor_run() returns to be started anew */
};

/* How a connection ended. */
enum supervisor_outcome {
	SUPERVISOR_SERVED,    /* answered, whatever the status */
	SUPERVISOR_PROBE,     /* the client closed it without having sent a byte */
	SUPERVISOR_FAILED,    /* the client left first, or the process could not serve */
	SUPERVISOR_CRASHED,   /* the process was killed by a signal */
	SUPERVISOR_TIMED_OUT, /* head or answer took too long */
	SUPERVISOR_EVICTED,   /* its head was not there when the table was full */
	SUPERVISOR_REFUSED,   /* no process, or no room, for a complete request */
	SUPERVISOR_OUTCOMES,
};

extern const char *const supervisor_outcome_names[SUPERVISOR_OUTCOMES];

/*
 * What a supervisor has seen. It lies where the successor of one that died finds it, and
 * where a keeper sees it move.
 */
struct supervisor_tally {
	int64_t start_time_ms; /* Unix time of the first supervisor's start, or 0 */
	uint64_t outcomes[SUPERVISOR_OUTCOMES];
	struct crashes crashes;
};

struct supervisor_config {
	/* Those that do not listen yet are opened, and again until it works. */
	struct listen_socket *sockets;
	size_t socket_count;
	struct supervisor_tally *tally;
	/* Descriptors that children keep, besides 0 to 2 and their connection; or -1. */
	int keep[DESCRIPTORS_KEEP_MAX];
	/* Those that were open before, which children are not to have. */
	struct descriptors inherited;
	/*
	 * NULL where an end with SUPERVISOR_RENEW is the start of a successor with other
	 * addresses, or why it is not; and how connections get there.
	 */
	const char *renewal_error;
	struct handover handover;
	size_t max_connections; /* 1 to SUPERVISOR_CONNECTIONS_MAX */
	size_t max_processes;   /* 1 to SUPERVISOR_PROCESSES_MAX */
	int64_t timeout_ms;     /* for a whole exchange, from accept on */
	size_t answer_max;      /* bytes of the longest answer */
	int64_t idle_exit_ms; /* end after this long without a connection; 0 for never */
	/* Asked every SUPERVISOR_ASK_MS; true ends it. NULL for never. */
	bool (*should_end)(const void *context);
	const void *context;

	/* Whether a child that exits with this status has answered; logs what the status
	 * tells. */
	bool (*has_answered)(int status);
	/* Whether these first bytes are enough for a process to answer. */
	bool (*head_is_ready)(const char *buf, size_t len);
	struct slice late; /* said to a client whose head does not come in time */
	struct slice torn; /* said to a client that ends before its head does */
	struct slice busy; /* said to a client that no process can be started for */
};

/* What a child gets: its connection, and what the supervisor has seen so far. */
struct supervisor_child {
	int connection;
	int64_t accepted_ms; /* util_now_ms() at its accept */
	int64_t ready_ms;    /* and when its request head was there */
	struct supervisor_tally tally;
};

/*
 * Supervise until SIGTERM or SIGINT, until idle, or until config->should_end. Errors are
 * logged and waited out; they never end it.
 *
 * Returns 1 in a child, which owns ret_child->connection and has no other descriptor of
 * the supervisor but those of config->keep; 0 when it has come to its end: children are
 * killed then; SUPERVISOR_RENEW when processes have crashed that shared this one's
 * addresses, without a renewal_error: the process is to end, and a successor has the
 * connections whose requests were not being answered.
 */
int supervisor_run(
	const struct supervisor_config *config, struct supervisor_child *ret_child);

#endif
