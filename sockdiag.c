/* SPDX-License-Identifier: MIT */
#include "sockdiag.h"

#include "util.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <linux/filter.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>

/* A part of a dump. */
static char received[SOCKDIAG_RECEIVE_MAX];

enum {
	/* In include/net/tcp_states.h, which is not for programs. */
	STATE_NEW_SYN_RECV = 12,
	STATE_BOUND_INACTIVE = 13,
	STATES_ALL = (1 << (STATE_NEW_SYN_RECV + 1)) - 2, /* there is no state 0 */
	/* In tables of their own, large ones for the few that are in these states. */
	STATES_APART = 1 << USAGE_LISTEN | 1 << STATE_BOUND_INACTIVE,
};

/*
 * The legacy request walks IPv4 and IPv6 in one pass, but knows TCP only. The kernel
 * calls that family "unspecified".
 */
static const struct dump {
	uint16_t type;
	uint8_t family;
	enum sockdiag_rows rows;
} tcp = { TCPDIAG_GETSOCK, AF_UNSPEC, SOCKDIAG_TCP },
  tcp_bound = { TCPDIAG_GETSOCK, AF_UNSPEC, SOCKDIAG_TCP_BOUND },
  udp = { SOCK_DIAG_BY_FAMILY, AF_INET, SOCKDIAG_UDP },
  udp6 = { SOCK_DIAG_BY_FAMILY, AF_INET6, SOCKDIAG_UDP };

/* Two comparisons, each followed by its operand, and whether the kernel chose the port.
 */
struct filter {
	struct inet_diag_bc_op at_least, first, at_most, last, by_kernel, refuse;
};

/* Every part of a request is a multiple of NLMSG_ALIGNTO long. */
struct legacy_request {
	struct nlmsghdr header;
	struct inet_diag_req body;
	struct nlattr attribute;
	struct filter filter;
};

struct family_request {
	struct nlmsghdr header;
	struct inet_diag_req_v2 body;
	struct nlattr attribute;
	struct filter filter;
};

/*
 * Keep what has a local port in first..last, and of TCP what was bound by number or what
 * was not. `yes` and `no` are how far to jump, in bytes; a jump past the
 * end refuses. The operand is in the field `no` of what follows. The kernel wants each
 * `yes` to stay inside: what is refused for a `yes` goes there by a jump of its own.
 */
static struct filter
make_filter(uint16_t first, uint16_t last, enum sockdiag_rows rows)
{
	enum {
		OP = sizeof(struct inet_diag_bc_op),
		PAST_END = 4,
	};

	return (struct filter){
		.at_least = { INET_DIAG_BC_S_GE, 2 * OP, 6 * OP + PAST_END },
		.first = { .no = first },
		.at_most = { INET_DIAG_BC_S_LE, 2 * OP, 4 * OP + PAST_END },
		.last = { .no = last },
		.by_kernel = { INET_DIAG_BC_AUTO,
			rows == SOCKDIAG_TCP_BOUND ? OP : 2 * OP, 2 * OP },
		.refuse = { INET_DIAG_BC_JMP, OP, OP + PAST_END },
	};
}

static enum usage_protocol
protocol_of(enum sockdiag_rows rows)
{
	return rows == SOCKDIAG_UDP ? USAGE_UDP : USAGE_TCP;
}

static struct nlmsghdr
make_header(const struct dump *dump, uint32_t sequence, size_t len)
{
	return (struct nlmsghdr){
		.nlmsg_len = (uint32_t)len,
		.nlmsg_type = dump->type,
		.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		.nlmsg_seq = sequence,
	};
}

static struct nlattr
make_attribute(void)
{
	return (struct nlattr){
		.nla_len = sizeof(struct nlattr) + sizeof(struct filter),
		.nla_type = INET_DIAG_REQ_BYTECODE,
	};
}

/* Without an address it goes to the kernel (netlink_sendmsg), and may go nowhere else. */
static int
send_request(int fd, const void *request, size_t len)
{
	ssize_t n = send(fd, request, len, MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EMSGSIZE;
}

static int
request_dump(int fd, const struct dump *dump, uint32_t states, uint32_t sequence,
	struct filter filter)
{
	if (dump->type == TCPDIAG_GETSOCK) {
		struct legacy_request request = {
			.header = make_header(dump, sequence, sizeof(request)),
			.body = { .idiag_family = dump->family, .idiag_states = states },
			.attribute = make_attribute(),
			.filter = filter,
		};
		return send_request(fd, &request, sizeof(request));
	}
	struct family_request request = {
		.header = make_header(dump, sequence, sizeof(request)),
		.body = { .sdiag_family = dump->family,
			.sdiag_protocol = IPPROTO_UDP,
			.idiag_states = states },
		.attribute = make_attribute(),
		.filter = filter,
	};
	return send_request(fd, &request, sizeof(request));
}

/* Returns false when the state is none that a socket of this protocol can be in. */
static bool
read_state(enum usage_protocol protocol, uint8_t state, enum usage_state *ret_state)
{
	/* Nothing in CLOSE is in the tables of TCP but what has been bound. */
	bool bound = state == USAGE_CLOSE || state == STATE_BOUND_INACTIVE;

	if (protocol == USAGE_TCP)
		*ret_state = bound ? USAGE_BOUND_INACTIVE : (enum usage_state)state;
	else
		*ret_state = (enum usage_state)state;
	if (protocol == USAGE_UDP)
		return state == USAGE_ESTABLISHED || state == USAGE_CLOSE;
	return bound || (state >= USAGE_ESTABLISHED && state <= USAGE_CLOSING);
}

static void
read_address(uint8_t family, const uint32_t words[4], struct in6_addr *ret_address)
{
	if (family == AF_INET6) {
		memcpy(ret_address, words, sizeof(*ret_address));
		return;
	}
	ret_address->s6_addr32[0] = 0;
	ret_address->s6_addr32[1] = 0;
	ret_address->s6_addr32[2] = htonl(0xffff);
	ret_address->s6_addr32[3] = words[0];
}

/*
 * How long a socket has been in TIME_WAIT, from the time that is left of the minute.
 * While it waits for the peer's FIN, the kernel shows it in FIN_WAIT2.
 */
static uint32_t
read_age(const struct inet_diag_msg *message)
{
	enum {
		TIMER_TIME_WAIT = 3,
		TIME_WAIT_MS = 60 * 1000, /* TCP_TIMEWAIT_LEN in include/net/tcp.h */
	};

	if (message->idiag_timer != TIMER_TIME_WAIT ||
		message->idiag_expires > TIME_WAIT_MS)
		return 0;
	return TIME_WAIT_MS - message->idiag_expires;
}

static bool
read_row(enum sockdiag_rows rows, const char *buf, size_t len, struct usage_row *ret_row)
{
	enum usage_protocol protocol = protocol_of(rows);
	struct inet_diag_msg message;
	struct destination *to = &ret_row->destination;

	if (len < sizeof(message))
		return false;
	memcpy(&message, buf, sizeof(message));
	ret_row->protocol = protocol;
	ret_row->is_bound = rows == SOCKDIAG_TCP_BOUND;
	ret_row->local_port = ntohs(message.id.idiag_sport);
	ret_row->age_ms = read_age(&message);
	to->remote_port = ntohs(message.id.idiag_dport);
	to->device = message.id.idiag_if;
	read_address(message.idiag_family, message.id.idiag_src, &to->local);
	read_address(message.idiag_family, message.id.idiag_dst, &to->remote);
	return read_state(protocol, message.idiag_state, &ret_row->state) &&
	       (message.idiag_family == AF_INET || message.idiag_family == AF_INET6);
}

/*
 * The error number at the start of a message's content: a negative one in an answer, or
 * in the end of a dump that failed. A length stands there when it went well.
 */
static int
read_error(const char *buf, size_t len)
{
	enum {
		MAX_ERRNO = 4095, /* include/linux/err.h */
	};
	int error;

	if (len < sizeof(error))
		return -EBADMSG;
	memcpy(&error, buf, sizeof(error));
	if (error >= 0)
		return 0;
	return error >= -MAX_ERRNO ? error : -EBADMSG;
}

/* Returns as sockdiag_scan() does. */
static int
scan_message(struct usage *usage, enum sockdiag_rows rows, uint16_t type, const char *buf,
	size_t len)
{
	const uint16_t row_type =
		rows == SOCKDIAG_UDP ? SOCK_DIAG_BY_FAMILY : TCPDIAG_GETSOCK;
	struct usage_row row;
	int error;

	if (type == NLMSG_DONE || type == NLMSG_ERROR) {
		error = read_error(buf, len);
		if (error < 0)
			return error;
		return type == NLMSG_DONE ? 1 : -EBADMSG; /* nobody asked for an ACK */
	}
	if (type != row_type || !read_row(rows, buf, len, &row))
		return -EBADMSG;
	usage_add(usage, &row);
	return 0;
}

int
sockdiag_scan(struct usage *usage, enum sockdiag_rows rows, uint32_t sequence,
	const char *buf, size_t len)
{
	struct nlmsghdr header;
	size_t step;
	int r = 0;

	while (r == 0 && len > 0) {
		if (len < sizeof(header))
			return -EBADMSG;
		memcpy(&header, buf, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len ||
			header.nlmsg_seq != sequence)
			return -EBADMSG;
		if (header.nlmsg_flags & NLM_F_DUMP_INTR)
			return -EAGAIN;
		r = scan_message(usage, rows, header.nlmsg_type, buf + sizeof(header),
			header.nlmsg_len - sizeof(header));
		step = NLMSG_ALIGN(header.nlmsg_len);
		step = step < len ? step : len;
		buf += step;
		len -= step;
	}
	/* Nothing follows the end. */
	return r > 0 && len > 0 ? -EBADMSG : r;
}

/* What the dumps of one collection have in common. */
struct collection {
	int fd;
	uint32_t states;
	uint32_t sequence; /* of the last request */
	int64_t deadline_ms;
	struct usage *usage;
	size_t longest; /* part that was received: so many bytes of the buffer were used
	                 */
};

/*
 * The next part of a dump. It is there already, or the dump has ended without saying so.
 * Returns its length or -errno (-EAGAIN: no part, only the start of one, or something
 * that the kernel did not send).
 */
static ssize_t
receive_part(struct collection *c)
{
	struct sockaddr_nl sender = { 0 };
	socklen_t sender_len = sizeof(sender);
	ssize_t n = recvfrom(c->fd, received, sizeof(received), MSG_DONTWAIT | MSG_TRUNC,
		(struct sockaddr *)&sender, &sender_len);

	if (n < 0)
		return -errno;
	if ((size_t)n > sizeof(received) || sender.nl_pid != 0) {
		c->longest = sizeof(received);
		return -EAGAIN;
	}
	if ((size_t)n > c->longest)
		c->longest = (size_t)n;
	return n;
}

/* Ask for the ports first..last, both included, and count what comes. */
static int
collect_range(struct collection *c, const struct dump *dump, uint32_t states,
	uint32_t first, uint32_t last)
{
	int r = request_dump(c->fd, dump, states, ++c->sequence,
		make_filter((uint16_t)first, (uint16_t)last, dump->rows));
	ssize_t n;

	while (r == 0) {
		if (util_now_ms() >= c->deadline_ms)
			return -ETIMEDOUT;
		n = receive_part(c);
		if (n <= 0)
			return n < 0 ? (int)n : -EBADMSG;
		r = sockdiag_scan(c->usage, dump->rows, c->sequence, received, (size_t)n);
	}
	return r < 0 ? r : 0;
}

/* The last port of the slice that begins at first; last is that of the range. */
static uint32_t
find_slice_end(const struct sockdiag_slices *slices, enum usage_protocol protocol,
	uint32_t first, uint32_t last)
{
	uint32_t left = slices->ports[protocol];

	for (uint32_t port = first; port < last; port++) {
		if (!(slices->held[protocol].words[port / 64] >> (port % 64) & 1))
			continue;
		if (--left == 0)
			return port;
	}
	return last;
}

static int
collect_slices(struct collection *c, const struct dump *dump,
	const struct sockdiag_slices *slices)
{
	const enum usage_protocol protocol = protocol_of(dump->rows);
	const uint32_t range_last = c->usage->pool.range_last;
	uint32_t apart = protocol == USAGE_TCP ? c->states & STATES_APART : 0;
	uint32_t first = c->usage->pool.range_first, last;
	int r = apart ? collect_range(c, dump, apart, first, range_last) : 0;

	for (; r == 0 && first <= range_last; first = last + 1) {
		last = find_slice_end(slices, protocol, first, range_last);
		r = collect_range(c, dump, c->states & ~apart, first, last);
	}
	return r;
}

static int
collect_dump(struct collection *c, const struct dump *dump,
	const struct sockdiag_slices *slices)
{
	const struct usage_pool *pool = &c->usage->pool;

	if (slices && slices->ports[protocol_of(dump->rows)] > 0)
		return collect_slices(c, dump, slices);
	return collect_range(c, dump, c->states, pool->range_first, pool->range_last);
}

/* The digits that *text begins with; more than four of them mean "large". */
static unsigned
read_digits(const char **text)
{
	unsigned number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++) {
		if (number < 1000)
			number = number * 10 + (unsigned)(**text - '0');
	}
	return number;
}

bool
sockdiag_shows_bound_inactive(const char *release)
{
	unsigned major = read_digits(&release), minor = 0;

	if (*release++ == '.')
		minor = read_digits(&release);
	return major > 6 || (major == 6 && minor >= 8);
}

static bool
kernel_shows_bound_inactive(void)
{
	struct utsname name;

	return uname(&name) == 0 && sockdiag_shows_bound_inactive(name.release);
}

/*
 * Let nothing in but answers about Internet sockets. A process that is taken over still
 * has the socket, and the same netlink family lists UNIX, packet and other sockets. All
 * rows of one answer are of one kind: TCPDIAG_GETSOCK is of Internet sockets alone, and
 * the others begin with their address family.
 */
static int
accept_only_internet(int fd)
{
	enum {
		TYPE = offsetof(struct nlmsghdr, nlmsg_type),
		FAMILY = sizeof(struct nlmsghdr),
	};
	/* Half a word is loaded in network byte order. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, TYPE),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, htons(SOCK_DIAG_BY_FAMILY), 0, 3),
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FAMILY),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 1, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0
	               ? -errno
	               : 0;
}

struct sockdiag
sockdiag_open(void)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	int r = fd < 0 ? -errno : accept_only_internet(fd);

	if (fd >= 0 && r < 0)
		close(fd);
	return (struct sockdiag){
		.fd = r < 0 ? r : fd,
		.shows_bound_inactive = kernel_shows_bound_inactive(),
	};
}

void
sockdiag_close(const struct sockdiag *door)
{
	if (door->fd >= 0)
		close(door->fd);
}

/* Whether a socket of TCP was counted that may have been bound before it connected. */
static bool
has_connections(const struct usage *usage)
{
	uint64_t count = 0;

	for (int state = 0; state < USAGE_STATES; state++) {
		if (state != USAGE_LISTEN && state != USAGE_BOUND_INACTIVE &&
			state != USAGE_TIME_WAIT)
			count += usage->sockets[USAGE_TCP][state];
	}
	return count > 0;
}

/*
 * No row tells whether its socket was bound by number, but the kernel chooses by it. Most
 * namespaces have no such connection, and there a second walk, of which nothing comes,
 * says so. Where one comes, start over: the ports that bound ones block are known then
 * (usage_restart()), so that no connection on them is counted towards a destination.
 */
static int
collect_tcp(struct collection *c, const struct sockdiag_slices *slices)
{
	const uint32_t states = c->states;
	uint64_t rows;
	int r = collect_dump(c, &tcp, slices);

	if (r < 0 || !has_connections(c->usage))
		return r;
	rows = c->usage->rows;
	c->states &= ~(uint32_t)(STATES_APART | 1 << USAGE_TIME_WAIT);
	r = collect_dump(c, &tcp_bound, slices);
	c->states = states;
	if (r < 0 || c->usage->rows == rows)
		return r;
	usage_restart(c->usage);
	return collect_dump(c, &tcp, slices);
}

int
sockdiag_collect(const struct sockdiag *door, struct usage *usage,
	const struct sockdiag_slices *slices, int64_t deadline_ms)
{
	struct collection c = {
		.fd = door->fd,
		.states = STATES_ALL,
		.deadline_ms = deadline_ms,
		.usage = usage,
	};
	int r;

	if (door->fd < 0)
		return door->fd;
	if (door->shows_bound_inactive)
		c.states |= 1U << STATE_BOUND_INACTIVE;
	r = collect_tcp(&c, slices);
	if (r == 0)
		r = collect_dump(&c, &udp, slices);
	if (r == 0)
		r = collect_dump(&c, &udp6, slices);
	usage->shows_bound_inactive = door->shows_bound_inactive;
	/* Leave no peers in memory: this process reads a request next. */
	explicit_bzero(received, c.longest);
	return r;
}
