/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a whole collection by netlink, from a kernel that is played here. The
 * input is how the dumps are asked for and told, what goes wrong, and sockets.
 *
 * Source: netlink(7); Linux net/ipv4/inet_diag.c (inet_diag_bc_run, inet_diag_bc_audit).
 */
#include "sockdiag.h"
#include "usage.h"
#include "util.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

enum {
	HEADER_BYTES = 6,
	RECORD_BYTES = 4,
	SOCKETS_MAX = 128,
	FIRST = 40000, /* of the pool, which has an even number of ports */
	LAST = 40199,
	LOWEST = FIRST - 10, /* of the sockets, some of which lie outside */
	DOOR = 42,           /* the number of no file that is open */
	STATE_BOUND = 13,
	PART_ROWS_MAX = 8,
	/* The rows, the end, and the size of each. */
	PART_MAX = (PART_ROWS_MAX + 1) * (16 + 72),
};

/* Bits of the first byte. */
enum flag {
	FLAG_SHOWS_BOUND = 1,
	FLAG_SLICES = 2,
	FLAG_HALF_KNOWN = 4, /* half of the sockets are there since the last collection */
	FLAG_NO_RELEASE = 8, /* nothing tells what kernel it is */
};

enum fault {
	FAULT_NONE,
	FAULT_NO_SOCKET,
	FAULT_LATE,
	FAULT_SEND,
	FAULT_SEND_SHORT,
	FAULT_RECEIVE,
	FAULT_TOO_LONG,
	FAULT_OTHER_SENDER,
	FAULT_NOTHING,
	FAULT_INCONSISTENT,
	FAULT_ANSWER,
	FAULT_FILTER,
	FAULTS,
};

static const int fault_errors[FAULTS] = {
	[FAULT_NO_SOCKET] = -EPROTONOSUPPORT,
	[FAULT_LATE] = -ETIMEDOUT,
	[FAULT_SEND] = -EPERM,
	[FAULT_SEND_SHORT] = -EMSGSIZE,
	[FAULT_RECEIVE] = -ENOBUFS,
	[FAULT_TOO_LONG] = -EAGAIN,
	[FAULT_OTHER_SENDER] = -EAGAIN,
	[FAULT_NOTHING] = -EBADMSG,
	[FAULT_INCONSISTENT] = -EAGAIN,
	[FAULT_ANSWER] = -ENOENT,
	[FAULT_FILTER] = -ENOMEM,
};

struct socket {
	uint8_t protocol, family, state, address;
	bool is_bound; /* to its port by number */
	uint16_t port, remote_port;
};

struct request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 body; /* made of the other one too */
	const char *filter;
	size_t filter_len;
};

static struct kernel {
	struct socket sockets[SOCKETS_MAX];
	size_t count;
	size_t part_rows;
	enum fault fault;
	unsigned faultless; /* so many calls before it */
	bool is_broken;     /* the fault has come */
	struct request request;
	char bytes[256]; /* of the request */
	size_t next;     /* socket to tell of; SIZE_MAX behind the end */
	char *buffer;    /* that the program receives into */
	size_t buffer_len;
	int open; /* sockets */
	bool shows_bound, has_release;
	struct sock_filter code[16]; /* that the socket's messages have to pass */
	size_t code_len;
} kernel;

static struct sockdiag_slices slices;
static bool has_slices;

ssize_t kernel_send(int fd, const void *request, size_t len, int flags) __asm__("send");
ssize_t kernel_receive(int fd, void *buf, size_t len, int flags,
	struct sockaddr_nl *sender, socklen_t *sender_len) __asm__("recvfrom");

int kernel_socket(int family, int type, int protocol) __asm__("socket");
int kernel_setsockopt(int fd, int level, int name, const struct sock_fprog *program,
	socklen_t len) __asm__("setsockopt");
int kernel_close(int fd) __asm__("close");
int kernel_uname(struct utsname *name) __asm__("uname");

/* Whether it is time for the fault, of the calls that it may befall. */
static bool
is_faulty(enum fault fault)
{
	if (kernel.fault != fault || kernel.is_broken)
		return false;
	if (kernel.faultless > 0) {
		kernel.faultless--;
		return false;
	}
	kernel.is_broken = true;
	return true;
}

int
kernel_socket(int family, int type, int protocol)
{
	assert(family == AF_NETLINK && type == (SOCK_RAW | SOCK_CLOEXEC));
	assert(protocol == NETLINK_SOCK_DIAG);
	if (is_faulty(FAULT_NO_SOCKET)) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	kernel.open++;
	return DOOR;
}

int
kernel_setsockopt(
	int fd, int level, int name, const struct sock_fprog *program, socklen_t len)
{
	assert(fd == DOOR && level == SOL_SOCKET && name == SO_ATTACH_FILTER);
	assert(len == sizeof(*program));
	assert(program->len <= sizeof(kernel.code) / sizeof(kernel.code[0]));
	if (is_faulty(FAULT_FILTER)) {
		errno = ENOMEM;
		return -1;
	}
	kernel.code_len = program->len;
	memcpy(kernel.code, program->filter, program->len * sizeof(kernel.code[0]));
	return 0;
}

/* libFuzzer closes files of its own. */
int
kernel_close(int fd)
{
	if (fd != DOOR || kernel.open == 0)
		return (int)syscall(SYS_close, fd);
	kernel.open--;
	return 0;
}

int
kernel_uname(struct utsname *name)
{
	strcpy(name->release, kernel.shows_bound ? "6.8.0-1-generic" : "6.7.12");
	return kernel.has_release ? 0 : -1;
}

/* The few instructions of BPF that load, compare and return. */
static bool
is_let_in(const char *message, size_t len)
{
	uint32_t word = 0;

	for (size_t i = 0; i < kernel.code_len; i++) {
		const struct sock_filter *op = &kernel.code[i];
		const uint8_t *at = (const uint8_t *)message + op->k;

		switch (op->code) {
		case BPF_LD | BPF_H | BPF_ABS:
			assert(op->k + 2 <= len);
			word = (uint32_t)at[0] << 8 | at[1];
			break;
		case BPF_LD | BPF_B | BPF_ABS:
			assert(op->k < len);
			word = *at;
			break;
		case BPF_JMP | BPF_JEQ | BPF_K:
			i += word == op->k ? op->jt : op->jf;
			break;
		default:
			assert(op->code == (BPF_RET | BPF_K));
			return op->k >= len;
		}
	}
	abort(); /* the kernel takes no program that does not end with a return */
}

/* Sockets of the Internet may be told of, and no others. */
static void
check_families(void)
{
	struct {
		struct nlmsghdr header;
		uint8_t family;
	} message = { .header.nlmsg_type = SOCK_DIAG_BY_FAMILY };

	for (unsigned family = 0; family <= UINT8_MAX; family++) {
		message.family = (uint8_t)family;
		assert(is_let_in((const char *)&message, sizeof(message)) ==
			(family == AF_INET || family == AF_INET6));
	}
}

/* As inet_diag_bc_run() does, and inet_diag_bc_audit() before it. */
static bool
passes_filter(uint16_t port, bool is_bound)
{
	const char *at = kernel.request.filter;
	size_t len = kernel.request.filter_len;
	struct inet_diag_bc_op op, operand;

	while (len > 0) {
		size_t jump;
		bool yes = false;

		assert(len >= sizeof(op));
		memcpy(&op, at, sizeof(op));
		assert(op.yes >= 4 && op.yes <= len && op.yes % 4 == 0);
		assert(op.no >= 4 && op.no <= len + 4 && op.no % 4 == 0);
		if (op.code == INET_DIAG_BC_S_GE || op.code == INET_DIAG_BC_S_LE) {
			assert(len >= 2 * sizeof(op));
			memcpy(&operand, at + sizeof(op), sizeof(operand));
			yes = op.code == INET_DIAG_BC_S_GE ? port >= operand.no
			                                   : port <= operand.no;
		} else if (op.code == INET_DIAG_BC_AUTO) {
			yes = !is_bound;
		} else {
			assert(op.code == INET_DIAG_BC_JMP);
		}
		jump = yes ? op.yes : op.no;
		if (jump > len)
			return false;
		at += jump;
		len -= jump;
	}
	return true;
}

/* The body of a request, old or new, and the filter behind it. */
static void
parse_request(void)
{
	struct request *request = &kernel.request;
	struct inet_diag_req legacy;
	const char *at = kernel.bytes;
	struct nlattr attribute;

	memcpy(&request->header, at, sizeof(request->header));
	at += sizeof(request->header);
	if (request->header.nlmsg_type == TCPDIAG_GETSOCK) {
		memcpy(&legacy, at, sizeof(legacy));
		request->body = (struct inet_diag_req_v2){
			.sdiag_protocol = IPPROTO_TCP,
			.sdiag_family = legacy.idiag_family,
			.idiag_states = legacy.idiag_states,
		};
		at += sizeof(legacy);
	} else {
		assert(request->header.nlmsg_type == SOCK_DIAG_BY_FAMILY);
		memcpy(&request->body, at, sizeof(request->body));
		at += sizeof(request->body);
	}
	memcpy(&attribute, at, sizeof(attribute));
	assert(attribute.nla_type == INET_DIAG_REQ_BYTECODE);
	request->filter = at + sizeof(attribute);
	request->filter_len = attribute.nla_len - sizeof(attribute);
	assert(request->filter + request->filter_len ==
		kernel.bytes + request->header.nlmsg_len);
}

/* No more ports than asked for were in use in the slice; large tables are not meant. */
static void
check_slice(void)
{
	const struct inet_diag_req_v2 *body = &kernel.request.body;
	int protocol = body->sdiag_protocol == IPPROTO_TCP ? USAGE_TCP : USAGE_UDP;
	uint32_t held = 0;

	if (!has_slices || slices.ports[protocol] == 0 ||
		!(body->idiag_states & 1 << USAGE_ESTABLISHED))
		return;
	for (unsigned port = 0; port < USAGE_PORTS; port++)
		held += (slices.held[protocol].words[port / 64] >> port % 64 & 1) &&
		        passes_filter((uint16_t)port, true);
	assert(held <= slices.ports[protocol]);
}

ssize_t
kernel_send(int fd, const void *bytes, size_t len, int flags)
{
	uint32_t last = kernel.request.header.nlmsg_seq;

	assert(fd == DOOR && flags == MSG_NOSIGNAL && len <= sizeof(kernel.bytes));
	if (is_faulty(FAULT_SEND)) {
		errno = EPERM;
		return -1;
	}
	if (is_faulty(FAULT_SEND_SHORT))
		return (ssize_t)len - 1;
	memcpy(kernel.bytes, bytes, len);
	parse_request();
	assert(kernel.request.header.nlmsg_len == len);
	assert(kernel.request.header.nlmsg_flags == (NLM_F_REQUEST | NLM_F_DUMP));
	assert(kernel.request.header.nlmsg_seq == last + 1);
	check_slice();
	kernel.next = 0;
	return (ssize_t)len;
}

static bool
is_asked_for(const struct socket *socket)
{
	const struct inet_diag_req_v2 *body = &kernel.request.body;

	return socket->protocol == body->sdiag_protocol &&
	       (body->sdiag_family == AF_UNSPEC ||
		       body->sdiag_family == socket->family) &&
	       body->idiag_states >> socket->state & 1 &&
	       passes_filter(socket->port, socket->is_bound);
}

/* Write a message; returns its length. */
static size_t
write_message(char *at, uint16_t type, const void *content, size_t content_len)
{
	const struct nlmsghdr header = {
		.nlmsg_len = (uint32_t)(sizeof(header) + content_len),
		.nlmsg_type = type,
		.nlmsg_flags =
			is_faulty(FAULT_INCONSISTENT) ? NLM_F_DUMP_INTR : NLM_F_MULTI,
		.nlmsg_seq = kernel.request.header.nlmsg_seq,
	};

	memcpy(at, &header, sizeof(header));
	memcpy(at + sizeof(header), content, content_len);
	return header.nlmsg_len;
}

static size_t
write_row(char *at, const struct socket *socket)
{
	struct inet_diag_msg row = {
		.idiag_family = socket->family,
		.idiag_state = socket->state,
		.id = { .idiag_sport = htons(socket->port),
			.idiag_dport = htons(socket->remote_port) },
	};

	row.id.idiag_dst[socket->family == AF_INET ? 0 : 3] = htonl(socket->address);
	return write_message(at, kernel.request.header.nlmsg_type, &row, sizeof(row));
}

/* The rows that come next, and the end where it has room; returns the bytes. */
static size_t
write_part(char part[PART_MAX])
{
	const int nothing = 0, error = fault_errors[FAULT_ANSWER];
	size_t len = 0, rows = 0;

	assert(kernel.next != SIZE_MAX);
	if (is_faulty(FAULT_ANSWER))
		return write_message(part, NLMSG_ERROR, &error, sizeof(error));
	for (; kernel.next < kernel.count && rows < kernel.part_rows; kernel.next++) {
		if (!is_asked_for(&kernel.sockets[kernel.next]))
			continue;
		len += write_row(part + len, &kernel.sockets[kernel.next]);
		rows++;
	}
	if (rows == kernel.part_rows)
		return len;
	kernel.next = SIZE_MAX;
	return len + write_message(part + len, NLMSG_DONE, &nothing, sizeof(nothing));
}

ssize_t
kernel_receive(int fd, void *buf, size_t len, int flags, struct sockaddr_nl *sender,
	socklen_t *sender_len)
{
	size_t part_len;

	assert(fd == DOOR && flags == (MSG_DONTWAIT | MSG_TRUNC) && len >= PART_MAX);
	assert(*sender_len == sizeof(*sender));
	if (is_faulty(FAULT_RECEIVE)) {
		errno = ENOBUFS;
		return -1;
	}
	if (is_faulty(FAULT_NOTHING))
		return 0;
	*sender = (struct sockaddr_nl){ .nl_family = AF_NETLINK };
	kernel.buffer = buf;
	kernel.buffer_len = len;
	if (is_faulty(FAULT_TOO_LONG)) {
		memset(buf, 0xa5, len);
		return (ssize_t)len + 1;
	}
	part_len = write_part(buf);
	assert(is_let_in(buf, part_len));
	sender->nl_pid = is_faulty(FAULT_OTHER_SENDER);
	return (ssize_t)part_len;
}

static bool
is_in_range(const struct socket *socket)
{
	return socket->port >= FIRST && socket->port <= LAST;
}

static bool
is_tcp(const struct socket *socket)
{
	return socket->protocol == IPPROTO_TCP;
}

static void
take_socket(const uint8_t record[RECORD_BYTES])
{
	static const uint8_t states[] = { 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, STATE_BOUND };
	struct socket *socket = &kernel.sockets[kernel.count++];

	*socket = (struct socket){
		.protocol = record[0] >> 6 == 3 ? IPPROTO_UDP : IPPROTO_TCP,
		.family = record[0] & 0x20 ? AF_INET6 : AF_INET,
		.is_bound = record[0] & 0x10,
		.port = (uint16_t)(LOWEST + record[1]),
		.remote_port = record[2],
		.address = record[3],
	};
	socket->state = is_tcp(socket)  ? states[(record[0] & 15) % sizeof(states)]
	                : record[0] & 1 ? USAGE_ESTABLISHED
	                                : USAGE_CLOSE;
	if (socket->state == USAGE_TIME_WAIT)
		socket->is_bound = false;
	if (socket->state == USAGE_LISTEN || socket->state == STATE_BOUND)
		socket->remote_port = 0;
}

static void
take_slices(const uint8_t header[HEADER_BYTES])
{
	const size_t step = header[0] & FLAG_HALF_KNOWN ? 2 : 1;

	has_slices = header[0] & FLAG_SLICES;
	slices = (struct sockdiag_slices){ .ports = { header[1], header[2] } };
	for (size_t i = 0; i < kernel.count; i += step) {
		const struct socket *socket = &kernel.sockets[i];

		slices.held[is_tcp(socket) ? USAGE_TCP : USAGE_UDP]
			.words[socket->port / 64] |= UINT64_C(1) << socket->port % 64;
	}
}

static bool
has_port(const struct usage_bitmap *map, uint16_t port)
{
	return map->words[port / 64] >> port % 64 & 1;
}

/* A connection of a socket that was bound by number: it starts the collection over. */
static bool
is_bound_connection(const struct socket *socket)
{
	return is_tcp(socket) && is_in_range(socket) && socket->is_bound &&
	       socket->state != USAGE_LISTEN && socket->state != STATE_BOUND;
}

static bool
is_shown(const struct socket *socket, bool shows_bound)
{
	return is_in_range(socket) && (socket->state != STATE_BOUND || shows_bound);
}

/* Every socket of the pool is counted, and none of them twice. */
static void
check_sockets(const struct usage *usage, bool shows_bound)
{
	uint64_t sockets[USAGE_PROTOCOLS][USAGE_STATES] = { 0 }, rows = 0;

	for (size_t i = 0; i < kernel.count; i++) {
		const struct socket *socket = &kernel.sockets[i];
		int protocol = is_tcp(socket) ? USAGE_TCP : USAGE_UDP;
		int state = socket->state == STATE_BOUND ? USAGE_BOUND_INACTIVE
		                                         : socket->state;

		if (!is_shown(socket, shows_bound))
			continue;
		assert(has_port(&usage->held[protocol], socket->port));
		sockets[protocol][state]++;
		rows++;
	}
	assert(memcmp(usage->sockets, sockets, sizeof(sockets)) == 0);
	assert(usage->rows == rows);
	assert(usage->shows_bound_inactive == shows_bound);
}

/* Whether a socket takes the port away from every connect(). */
static bool
is_blocked(uint16_t port, bool shows_bound)
{
	for (size_t i = 0; i < kernel.count; i++) {
		const struct socket *socket = &kernel.sockets[i];

		if (is_tcp(socket) && socket->port == port &&
			is_shown(socket, shows_bound) &&
			(is_bound_connection(socket) ||
				(socket->remote_port == 0 &&
					socket->state != USAGE_SYN_SENT)))
			return true;
	}
	return false;
}

/*
 * What is blocked is known in the end, and a connection on such a port is none towards a
 * destination, but where it came first and nothing had the collection start over.
 */
static void
check_blocked(const struct usage *usage, bool shows_bound)
{
	bool has_restarted = false;

	for (size_t i = 0; i < kernel.count; i++)
		has_restarted |= is_bound_connection(&kernel.sockets[i]);
	assert(!has_restarted || !usage->blocked_late);
	for (uint16_t port = FIRST; port <= LAST; port++) {
		bool blocked = has_port(&usage->blocked, port) ||
		               has_port(&usage->known_blocked, port);

		assert(blocked == is_blocked(port, shows_bound));
	}
	for (size_t i = 0; i < kernel.count; i++) {
		const struct socket *socket = &kernel.sockets[i];
		uint16_t port = socket->port;

		if (!is_tcp(socket) || !is_in_range(socket) || socket->remote_port == 0)
			continue;
		assert(usage->blocked_late || has_port(&usage->connected, port) !=
						      is_blocked(port, shows_bound));
	}
}

/* No peer is left in memory, whatever came of it. */
static void
check_buffer(void)
{
	for (size_t i = 0; i < kernel.buffer_len; i++)
		assert(kernel.buffer[i] == 0);
}

static void
collect(uint8_t flags)
{
	static const uint64_t seed[DESTINATIONS_SEED_WORDS] = { 1, 2 };
	static struct usage usage;
	struct sockdiag door;
	int r;

	usage_reset(&usage, seed);
	usage_pool_fill(&usage.pool, FIRST, LAST);
	kernel.shows_bound = flags & FLAG_SHOWS_BOUND;
	kernel.has_release = !(flags & FLAG_NO_RELEASE);
	door = sockdiag_open();
	assert(kernel.open == (door.fd >= 0));
	assert(door.shows_bound_inactive == (kernel.shows_bound && kernel.has_release));
	if (door.fd >= 0)
		check_families();
	kernel.is_broken |= kernel.fault == FAULT_LATE;
	r = sockdiag_collect(&door, &usage, has_slices ? &slices : NULL,
		kernel.fault == FAULT_LATE ? 0 : INT64_MAX);
	sockdiag_close(&door);
	assert(kernel.open == 0);
	assert(r == (kernel.is_broken ? fault_errors[kernel.fault] : 0));
	check_buffer();
	if (r < 0)
		return;
	check_sockets(&usage, door.shows_bound_inactive);
	check_blocked(&usage, door.shows_bound_inactive);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t header[HEADER_BYTES] = { 0 };
	size_t at = size < HEADER_BYTES ? size : HEADER_BYTES;

	if (at > 0)
		memcpy(header, data, at);
	memset(&kernel, 0, sizeof(kernel));
	kernel.part_rows = 1U + header[3] % PART_ROWS_MAX;
	kernel.fault = (enum fault)(header[4] % FAULTS);
	kernel.faultless = header[5];
	for (; at + RECORD_BYTES <= size && kernel.count < SOCKETS_MAX;
		at += RECORD_BYTES)
		take_socket(data + at);
	take_slices(header);
	collect(header[0]);
	return 0;
}
