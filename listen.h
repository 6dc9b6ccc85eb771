/* SPDX-License-Identifier: MIT */
/*
 * Find out whose sockets these are: passed by systemd, on standard input, or our own to
 * open.
 *
 * Source: sd_listen_fds(3), inetd(8), xinetd.conf(5), socket(7) (SO_ACCEPTCONN), unix(7),
 * ipv6(7) (IPV6_V6ONLY, sin6_scope_id), netdevice(7) (SIOCGIFINDEX); Linux
 * net/core/sock.c (SO_NETNS_COOKIE); tcp(7) (TCP_USER_TIMEOUT).
 */
#ifndef LISTEN_H
#define LISTEN_H

#include "util.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

enum {
	LISTEN_MAX = 64,       /* listening sockets */
	LISTEN_OWN_MAX = 16,   /* of these, that we open */
	LISTEN_PARSED_MAX = 2, /* of one text: "localhost" is IPv4 and IPv6 */
	LISTEN_BACKLOG = 2048, /* 2,000 that come at once have room */
	/*
	 * Of each connection, in bytes: the longest head and half of that, because the
	 * window is closed before the buffer is full. The kernel doubles it, for its own
	 * part; without a limit a peer could make it hold megabytes.
	 */
	LISTEN_RECEIVE_BUFFER = 24 * 1024,
	/*
	 * What the kernel holds for a byte of an answer, at most: 1,100 bytes for a
	 * segment of 289, of which two do not fit into half of the least window that a
	 * socket of Linux can have (1,152 bytes; tcp_bound_to_half_wnd()).
	 */
	LISTEN_SEND_FACTOR = 4,
	/* The kernel gives up after we should have. */
	LISTEN_USER_TIMEOUT_MORE_MS = 3000,
	/*
	 * Room for an address as people write it: a UNIX path of 107 bytes, "unix:" in
	 * front of it.
	 */
	LISTEN_TEXT_MAX = 128,
};

/* An address to listen on, as parsed. */
struct listen_address {
	struct sockaddr_storage storage;
	socklen_t len;
	char zone[IF_NAMESIZE]; /* the interface of a link-local address, or empty */
	bool any_host;          /* written without a host */
	bool only_ipv6;         /* [::] beside IPv4 addresses with the same port */
};

struct listen_socket {
	int fd;      /* -1 while it is not open */
	bool passed; /* by who started us: it listens already, and has no address here */
	struct listen_address address;
};

enum listen_role {
	LISTEN_ROLE_OWN,     /* nothing was passed: open the addresses and supervise */
	LISTEN_ROLE_PASSED,  /* listening sockets: supervise them */
	LISTEN_ROLE_SYSTEMD, /* one connection, from sd_listen_fds */
	LISTEN_ROLE_INETD,   /* one connection, on standard input */
};

/* Who started us, with what. */
struct listen_found {
	enum listen_role role;
	int connection; /* the descriptor, for LISTEN_ROLE_SYSTEMD */
	struct listen_socket sockets[LISTEN_MAX]; /* for LISTEN_ROLE_PASSED */
	size_t count;
};

/*
 * Parse "[HOST]:PORT" as net.Listen() of Go does, but for names that need a resolver:
 * HOST is an IPv4 address, in brackets or not, an IPv6 address in brackets, which is
 * followed by "%ZONE" if and only if it is link-local, "localhost" (127.0.0.1 and [::1]),
 * or none for all addresses. An IPv4-mapped address is the IPv4 address. Or parse
 * "unix:/path". PORT is 1 to 65535. No I/O.
 *
 * Returns how many addresses that are, 1 or 2, or -EINVAL.
 */
int listen_parse_address(
	struct slice text, struct listen_address ret_addresses[static LISTEN_PARSED_MAX]);

/*
 * Make addresses that can be listened on together of those that were asked for: drop what
 * another one includes, and let [::] leave IPv4 to the IPv4 addresses with its port. No
 * I/O.
 *
 * Returns how many are left, in front.
 */
size_t listen_merge_addresses(struct listen_address *addresses, size_t count);

/* The address as a person writes it, cut to size. No I/O. */
void listen_format_address(const struct listen_address *address, char *buf, size_t size);

/* The TCP port, host byte order, or 0 for a UNIX path. No I/O. */
uint16_t listen_port(const struct listen_address *address);

/* The UNIX path, inside *address, or NULL for a TCP address. No I/O. */
const char *listen_path(const struct listen_address *address);

/*
 * Look at what this process was started with; the sockets found become close-on-exec.
 *
 * Returns 0 and fills *ret_found, or -errno when sockets were passed and none of them can
 * be served (-ENOTSOCK: none is a stream socket). Closes a passed descriptor that is none
 * or for which there is no room, and logs how many these were.
 */
int listen_find(struct listen_found *ret_found);

/*
 * Make the socket, close-on-exec and not blocking, without binding it: whoever is forked
 * later can bind it for all that have it. Does nothing where there is one.
 *
 * Returns 0 or -errno.
 */
int listen_create(struct listen_socket *socket);

/*
 * Bind it and listen, making it first if need be. A UNIX path that nobody answers on is
 * removed before. Does nothing where it listens already.
 *
 * Returns 0, or -errno: try again later.
 */
int listen_open(struct listen_socket *socket);

/*
 * Bound what the kernel holds for a connection, or for each connection of a listening
 * socket that comes after this. The receive buffer holds a head. The send buffer takes an
 * answer of `answer_max` bytes whole, so that writing it waits for no client. close(2)
 * resets: no bytes stay in the kernel behind it, not even those of a process that is
 * killed; a client that is to have its last bytes needs shutdown(2) and time. Where
 * another holder of a passed socket changes that, the kernel gives up soon after
 * `timeout_ms` without an acknowledgement.
 *
 * What the kernel refuses stays as it was; net.core.wmem_max may make the buffer smaller.
 */
void listen_bound_connection(int fd, size_t answer_max, int64_t timeout_ms);

/* Whether a connection is of the network namespace of this process. */
enum listen_netns {
	LISTEN_NETNS_UNKNOWN, /* no TCP connection, or Linux before 5.14 */
	LISTEN_NETNS_SAME,
	LISTEN_NETNS_OTHER,
};

/* By SO_NETNS_COOKIE of the connection and of a socket opened for it. */
enum listen_netns listen_compare_netns(int connection);

#endif
