/* SPDX-License-Identifier: MIT */
/*
 * Hand connections from a supervisor that ends to its successor, through a pair of
 * sockets that both have inherited: what is on its way outlives the one that sent it.
 *
 * Source: unix(7) (SCM_RIGHTS, SOCK_SEQPACKET).
 */
#ifndef HANDOVER_H
#define HANDOVER_H

#include <stdint.h>

/* What is sent by one of the two is received by the other. */
struct handover {
	int sender, receiver; /* -1 where there is none */
};

/* Make the pair, close-on-exec and not blocking. Returns 0 or -errno. */
int handover_open(struct handover *ret_handover);

/*
 * Send a connection and when it was accepted; the caller still has to close it. Returns
 * 0, or -errno (-EAGAIN: no room).
 */
int handover_send(const struct handover *handover, int connection, int64_t accepted_ms);

/*
 * Receive one, close-on-exec. Returns the descriptor, which may be anything if the sender
 * was taken over, -EAGAIN when there is no more, -EBADMSG for a message without one, or
 * -errno.
 */
int handover_receive(const struct handover *handover, int64_t *ret_accepted_ms);

#endif
