/* SPDX-License-Identifier: MIT */
#include "supervisor.h"

#include "log.h"
#include "manager.h"
#include "signals.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ACCEPT_BATCH = 64, /* before the others get their turn again */
	LAG_MIN = 256,     /* a quarter of a processor accepts them in 0.1 s */
	EVENT_BATCH = 64,
	LISTEN_DELAY_MAX_MS = 3200, /* a port is taken within 5 s of being free */
	ACCEPT_DELAY_MAX_MS = 800,  /* accepting goes on within 1 s of being possible */
	WAIT_FAILED_MS = 100,
	RECEIVE_TRIES = 3,
	/*
	 * A neighbour that wakes up on our processor is let in when we sleep, or when our
	 * slice of time is over: that is milliseconds, and a crowd is work for all of
	 * them.
	 */
	WORK_US = 100, /* in a row */
	GIVE_WAY_NS = 50 * 1000,
	SLEPT_US = 20, /* a wait that took less had an event at once */
	/*
	 * Between two crashes when they are many. The shorter one is enough where each
	 * guess meets other addresses, and leaves room for a scrape in its time.
	 */
	CRASH_DELAY_MAX_MS = 5000,
	CRASH_DELAY_RENEWED_MAX_MS = 2000,
	CRASHES_OF_ONE_LAYOUT = 3,
	RENEW_GRACE_MS = 1000, /* for what is being answered, before a renewal */
	KILL_GRACE_MS = 1000,  /* a process ends itself at its deadline, or else */
	ANSWERED_MS = 500,     /* for the client to close first: TIME_WAIT is its */
	CLOSING_MS = 2000,
	DISCARD_MAX = 1024 * 1024, /* bytes read after the answer */
	/* Three standard ones, log, epoll, one just accepted, and more. */
	SPARE_DESCRIPTORS = 16,
	LISTENER = HOLD_MAX, /* event numbers from here on are listening sockets */
};

/* The states whose connections may be given up for a new one, cheapest loss first. */
static const enum hold_state expendable[] = { HOLD_HEAD, HOLD_CLOSING, HOLD_ANSWERED };

struct listener {
	struct backoff opening, accepting;
	bool watched; /* it is open and part of the epoll set */
	bool pending; /* there may be connections to accept */
	bool settled; /* none is left that came before the bounds of connections */
	bool lags;    /* there are more than LAG_MIN, after a whole batch */
};

struct supervisor {
	const struct supervisor_config *config;
	struct hold hold;
	struct listener listeners[LISTEN_MAX];
	char peek[SUPERVISOR_PEEK_MAX]; /* one for all connections */
	size_t crashed;                 /* of this supervisor's processes */
	int64_t renew_at_ms; /* at the latest; 0 while a renewal is not wanted */
	size_t unread;       /* bytes that the kernel holds for answers */
	int64_t idle_since_ms;
	int64_t watchdog_ms, watchdog_at_ms;
	int64_t ask_at_ms; /* whether to end */
	int64_t working_since_us;
	pid_t pid;
	int epoll_fd;
	bool announced;
};

const char *const supervisor_outcome_names[SUPERVISOR_OUTCOMES] = {
	[SUPERVISOR_SERVED] = "served",
	[SUPERVISOR_PROBE] = "probe",
	[SUPERVISOR_FAILED] = "failed",
	[SUPERVISOR_CRASHED] = "crashed",
	[SUPERVISOR_TIMED_OUT] = "timed_out",
	[SUPERVISOR_EVICTED] = "evicted",
	[SUPERVISOR_REFUSED] = "refused",
};

static const struct slice no_word;

/* To be called after each piece of work, none of which takes long. */
static void
give_way(struct supervisor *s)
{
	const struct timespec pause = { .tv_nsec = GIVE_WAY_NS };

	if (util_now_us() - s->working_since_us < WORK_US)
		return;
	nanosleep(&pause, NULL);
	s->working_since_us = util_now_us();
}

/* Close with a reset: nothing stays in the table that each scrape walks. */
static void
reset_connection(int fd)
{
	const struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

/* A word of goodbye if the socket takes it at once, then a reset. */
static void
turn_away(int fd, struct slice word)
{
	if (word.len > 0)
		send(fd, word.data, word.len, MSG_DONTWAIT | MSG_NOSIGNAL);
	reset_connection(fd);
}

/*
 * Take the connection out of the epoll set. close() would do that only when no child that
 * was just forked has a copy; until then its events would be taken for those of the
 * slot's next holder.
 */
static void
unwatch(struct supervisor *s, const struct hold_connection *c)
{
	epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
}

static void
free_slot(struct supervisor *s, struct hold_connection *c)
{
	if (c->state == HOLD_ANSWERED || c->state == HOLD_CLOSING)
		s->unread -= c->unread;
	hold_move(&s->hold, c, HOLD_FREE);
}

/* Close what both sides have ended, and free its slot; it has been counted. */
static void
close_ended(struct supervisor *s, struct hold_connection *c)
{
	unwatch(s, c);
	close(c->fd);
	free_slot(s, c);
}

/* Close with a reset, and perhaps a word before it. */
static void
cut_off(struct supervisor *s, struct hold_connection *c, struct slice word)
{
	unwatch(s, c);
	turn_away(c->fd, word);
	free_slot(s, c);
}

/*
 * Give up one that had its answer. The reset throws away what the client has not
 * acknowledged; a client that has all of it sees the end in front of the reset.
 */
static void
give_up_answered(struct supervisor *s, struct hold_connection *c)
{
	shutdown(c->fd, SHUT_WR);
	cut_off(s, c, no_word);
}

static void
drop(struct supervisor *s, struct hold_connection *c, enum supervisor_outcome outcome,
	struct slice word)
{
	s->config->tally->outcomes[outcome]++;
	cut_off(s, c, word);
}

/* How many connections the source of this one has. */
static size_t
held_with(const struct supervisor *s, const struct hold_connection *c)
{
	return s->hold.held[c->source];
}

/*
 * Give up a connection for a source that has `held` ones: one of the source that has the
 * most, so that no address drives out those that have fewer. Returns false when there is
 * none.
 */
static bool
evict(struct supervisor *s, size_t held)
{
	struct hold_connection *c = NULL;

	for (size_t i = 0; i < sizeof(expendable) / sizeof(expendable[0]); i++) {
		struct hold_connection *other = hold_heaviest(&s->hold, expendable[i]);

		if (other && (!c || held_with(s, other) > held_with(s, c)))
			c = other;
	}
	if (!c || held_with(s, c) < held)
		return false;
	if (c->state == HOLD_HEAD)
		drop(s, c, SUPERVISOR_EVICTED, no_word);
	else
		give_up_answered(s, c);
	return true;
}

/*
 * Give up a complete request for a source that has `held` connections, if another one has
 * more.
 */
static bool
evict_request(struct supervisor *s, size_t held)
{
	struct hold_connection *c = hold_heaviest(&s->hold, HOLD_READY);

	if (!c || held_with(s, c) <= held + 1)
		return false;
	drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
	return true;
}

static size_t
index_of(const struct supervisor *s, const struct hold_connection *c)
{
	return (size_t)(c - s->hold.connections);
}

/*
 * Edge-triggered, because bytes that are only peeked at stay, and would wake a
 * level-triggered wait for ever.
 */
static int
watch(struct supervisor *s, int fd, uint64_t number)
{
	struct epoll_event event = {
		.events = EPOLLIN | EPOLLRDHUP | EPOLLET,
		.data.u64 = number,
	};

	return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* The part of `all` that one address may have. */
static size_t
half_of(size_t all)
{
	return (all + 1) / 2;
}

static size_t
queue_max(const struct supervisor *s)
{
	return s->config->max_connections < SUPERVISOR_QUEUE_MAX
	               ? s->config->max_connections
	               : SUPERVISOR_QUEUE_MAX;
}

/* Whether the source has its half of the queue. */
static bool
has_half_of_queue(const struct supervisor *s, uint16_t source)
{
	return source != HOLD_NO_SOURCE &&
	       hold_count_from(&s->hold, HOLD_READY, source) >= half_of(queue_max(s));
}

/* Whether the request may wait for a process; others may have to give way to it. */
static bool
may_wait(struct supervisor *s, const struct hold_connection *c)
{
	if (has_half_of_queue(s, c->source))
		return false;
	return hold_count(&s->hold, HOLD_READY) < queue_max(s) ||
	       evict_request(s, held_with(s, c) - 1);
}

static void
queue_connection(struct supervisor *s, struct hold_connection *c)
{
	if (!may_wait(s, c)) {
		drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
		return;
	}
	unwatch(s, c);
	c->ready_ms = util_now_ms();
	c->deadline_ms = c->accepted_ms + s->config->timeout_ms;
	hold_move(&s->hold, c, HOLD_READY);
}

/*
 * Receive without waiting. No signal interrupts that; but one event tells of what came
 * once only, so that it is better not believed at the first time.
 */
static ssize_t
receive(struct supervisor *s, const struct hold_connection *c, int flags)
{
	ssize_t n = -1;

	for (int i = 0; i < RECEIVE_TRIES; i++) {
		n = recv(c->fd, s->peek, sizeof(s->peek), flags | MSG_DONTWAIT);
		if (n >= 0 || errno != EINTR)
			break;
	}
	return n;
}

/* Look whether the head is there; `ended` when no more bytes will come. */
static void
examine_head(struct supervisor *s, struct hold_connection *c, bool ended)
{
	ssize_t n = receive(s, c, MSG_PEEK);
	bool ready = n > 0 && s->config->head_is_ready(s->peek, (size_t)n);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 0 || (n < 0 && errno == ECONNRESET)) {
		/* Bytes before the end, even before a reset, would still be there. */
		drop(s, c, SUPERVISOR_PROBE, no_word);
	} else if (n < 0) {
		log_message("look at connection: %s", util_error_text(errno));
		drop(s, c, SUPERVISOR_FAILED, no_word);
	} else if (ready) {
		queue_connection(s, c);
	} else if (ended) {
		drop(s, c, SUPERVISOR_FAILED, s->config->torn);
	}
}

static int64_t
head_ms(const struct supervisor *s)
{
	return s->config->timeout_ms < SUPERVISOR_HEAD_MS ? s->config->timeout_ms
	                                                  : SUPERVISOR_HEAD_MS;
}

/* Whether a backlog is long: a flood is in it, and others wait behind that. */
static bool
accepting_lags(const struct supervisor *s)
{
	bool lags = false;

	for (size_t i = 0; i < s->config->socket_count; i++)
		lags |= s->listeners[i].pending && s->listeners[i].lags;
	return lags;
}

/* Without a look at what it asks, and without an answer while that keeps others waiting.
 */
static void
refuse(struct supervisor *s, int fd)
{
	s->config->tally->outcomes[SUPERVISOR_REFUSED]++;
	turn_away(fd, accepting_lags(s) ? no_word : s->config->busy);
}

/* Whether the table takes another connection of the source. */
static bool
has_room(struct supervisor *s, uint16_t source)
{
	size_t held = s->hold.held[source];

	return hold_count(&s->hold, HOLD_FREE) > 0 || evict(s, held) ||
	       evict_request(s, held);
}

/* Take a connection from this address into the table that came at `accepted_ms`. */
static void
hold_connection(struct supervisor *s, int fd, const struct sockaddr_storage *address,
	int64_t accepted_ms)
{
	uint16_t source = hold_source(&s->hold, address);
	struct hold_connection *c;

	if ((accepting_lags(s) && has_half_of_queue(s, source)) || !has_room(s, source)) {
		refuse(s, fd);
		return;
	}
	c = hold_oldest(&s->hold, HOLD_FREE);
	c->fd = fd;
	c->source = source;
	c->discarded = 0;
	c->killed = false;
	c->accepted_ms = accepted_ms;
	c->deadline_ms = c->accepted_ms + head_ms(s);
	hold_move(&s->hold, c, HOLD_HEAD);
	/* Most heads are there already; only the others are worth watching. */
	examine_head(s, c, false);
	if (c->state == HOLD_HEAD && watch(s, fd, index_of(s, c)) < 0) {
		log_message("watch connection: %s", util_error_text(errno));
		drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
	}
}

/* accept(2): errors of the new connection, not of our socket. */
static bool
is_peer_error(int error)
{
	return error == ECONNABORTED || error == EINTR || error == EPROTO ||
	       error == ENETDOWN || error == ENETUNREACH || error == EHOSTDOWN ||
	       error == EHOSTUNREACH || error == ENOPROTOOPT || error == ENONET;
}

static bool
is_shortage(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

/* accept(2) looks for a descriptor first, and for a connection only then. */
static bool
has_connection(int fd)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN };

	return poll(&pollfd, 1, 0) != 0;
}

static void
accept_failed(struct supervisor *s, size_t i, int error)
{
	struct listener *listener = &s->listeners[i];

	if (error == EAGAIN ||
		(is_shortage(error) && !has_connection(s->config->sockets[i].fd))) {
		listener->pending = false;
		listener->settled = true;
		return;
	}
	log_message("accept connection: %s", util_error_text(error));
	/* Giving up a connection gives back what the next accept needs. */
	if (is_shortage(error) && evict(s, 0))
		return;
	backoff_grow(&listener->accepting, ACCEPT_DELAY_MAX_MS);
}

/* Of a listening socket, from now on, or one that it was given before. */
static void
bound_connections(const struct supervisor *s, int fd)
{
	listen_bound_connection(fd, s->config->answer_max, s->config->timeout_ms);
}

/* TCP_INFO of a listening socket: tcpi_unacked is what it has not handed out. */
static bool
has_long_backlog(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t len = sizeof(info);

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 &&
	       info.tcpi_unacked > LAG_MIN;
}

static void
accept_connections(struct supervisor *s, size_t i)
{
	struct listener *listener = &s->listeners[i];
	struct sockaddr_storage address;
	int fd = -1;

	if (!listener->pending || util_now_ms() < listener->accepting.until_ms)
		return;
	for (int n = 0; n < ACCEPT_BATCH; n++) {
		socklen_t len = sizeof(address);

		address.ss_family = AF_UNSPEC;
		/* What other holders set may let accept4(2) wait; see
		 * keep_from_blocking(). */
		if (s->config->sockets[i].passed &&
			!has_connection(s->config->sockets[i].fd)) {
			listener->pending = false;
			listener->settled = true;
			listener->lags = false;
			return;
		}
		fd = accept4(s->config->sockets[i].fd, (struct sockaddr *)&address, &len,
			SOCK_CLOEXEC);
		if (fd >= 0) {
			listener->accepting = (struct backoff){ 0 };
			if (!listener->settled || address.ss_family == AF_UNIX)
				bound_connections(s, fd);
			hold_connection(s, fd, &address, util_now_ms());
			give_way(s);
		} else if (!is_peer_error(errno)) {
			break;
		}
	}
	listener->lags = fd >= 0 && has_long_backlog(s->config->sockets[i].fd);
	/* A whole batch that ends in a peer's error is more than bad luck. */
	if (fd < 0)
		accept_failed(s, i, errno);
}

static void
announce(struct supervisor *s, const char *name)
{
	log_message("listen on %s", name);
	if (!s->announced)
		manager_notify("READY=1\nSTATUS=Answering scrapes");
	s->announced = true;
}

/*
 * Neither accept4(2) nor close(2) may wait, whatever other holders of a passed socket do.
 * One may clear O_NONBLOCK, which belongs to the open file; then SO_RCVTIMEO ends
 * accept4(2) after a tick of the kernel's clock. Connections inherit it, and are read
 * without waiting or behind poll(2). They inherit SO_LINGER too, with which close(2) may
 * wait for the client: bound_connections() sets it so that it does not.
 */
static void
keep_from_blocking(int fd)
{
	const struct timeval tick = { .tv_usec = 1 };
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		log_message(
			"make passed socket non-blocking: %s", util_error_text(errno));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tick, sizeof(tick));
}

/*
 * What is not there yet may never come: IPv6, an address, an interface. It is waited for,
 * and one line says so; that a port is taken is worth a line each time.
 */
static void
log_not_listening(const char *name, int error)
{
	if (error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL || error == -ENODEV)
		log_message_once("listen on %s: %s: tried again, without another line",
			name, util_error_text(-error));
	else
		log_message("listen on %s: %s", name, util_error_text(-error));
}

/* Open a listening socket that is ours, and watch it. Returns 0 or -errno. */
static int
start_listening(struct supervisor *s, size_t i)
{
	struct listen_socket *socket = &s->config->sockets[i];
	char name[LISTEN_TEXT_MAX] = "passed socket";
	int r = 0;

	if (socket->passed) {
		keep_from_blocking(socket->fd);
	} else {
		listen_format_address(&socket->address, name, sizeof(name));
		r = listen_open(socket);
	}
	if (r < 0) {
		log_not_listening(name, r);
		return r;
	}
	bound_connections(s, socket->fd);
	if (watch(s, socket->fd, LISTENER + i) < 0) {
		r = -errno;
		log_message("watch %s: %s", name, util_error_text(-r));
		/* Connections come all the same; they are looked for now and then. */
		s->listeners[i].pending = true;
		return r;
	}
	announce(s, name);
	return 0;
}

static void
start_listeners(struct supervisor *s)
{
	for (size_t i = 0; i < s->config->socket_count; i++) {
		struct listener *listener = &s->listeners[i];

		if (listener->watched || util_now_ms() < listener->opening.until_ms)
			continue;
		listener->watched = start_listening(s, i) == 0;
		if (!listener->watched)
			backoff_grow(&listener->opening, listener->pending
								 ? ACCEPT_DELAY_MAX_MS
								 : LISTEN_DELAY_MAX_MS);
	}
}

/* The client has not closed first; perhaps it is one that reads to the end. */
static void
close_our_side(struct supervisor *s, struct hold_connection *c, int64_t now)
{
	shutdown(c->fd, SHUT_WR);
	c->deadline_ms = now + CLOSING_MS;
	hold_move(&s->hold, c, HOLD_CLOSING);
}

static uint32_t
most_unread(const struct supervisor *s)
{
	return (uint32_t)(s->config->answer_max * LISTEN_SEND_FACTOR);
}

/*
 * Bytes that the kernel holds for what the client has not acknowledged, our end among
 * it, which a reset would throw away; before Linux 4.12 the most that it can be. TIOCOUTQ
 * is what tcp(7) calls SIOCOUTQ, without a header of the kernel.
 */
static uint32_t
measure_unread(const struct supervisor *s, const struct hold_connection *c)
{
	uint32_t memory[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(memory);
	int bytes = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_MEMINFO, memory, &len) == 0)
		return memory[SK_MEMINFO_WMEM_QUEUED];
	return ioctl(c->fd, TIOCOUTQ, &bytes) == 0 && bytes > 0 ? most_unread(s) : 0;
}

static void
note_unread(struct supervisor *s, struct hold_connection *c, uint32_t unread)
{
	s->unread += unread;
	s->unread -= c->unread;
	c->unread = unread;
}

/*
 * The client sends no more, and may still read. The connection keeps its slot until all
 * is acknowledged: closed before, it would be reset, or live on in the kernel where
 * nothing counts it. The last acknowledgement is an event.
 */
static void
end_answered(struct supervisor *s, struct hold_connection *c)
{
	if (c->state == HOLD_ANSWERED)
		close_our_side(s, c, util_now_ms());
	note_unread(s, c, measure_unread(s, c));
	if (c->unread == 0)
		close_ended(s, c);
}

/* After the answer: throw away what still comes, until the client closes. */
static void
discard_input(struct supervisor *s, struct hold_connection *c)
{
	ssize_t n;

	while ((n = receive(s, c, 0)) > 0) {
		c->discarded += (uint32_t)n;
		if (c->discarded > DISCARD_MAX) {
			cut_off(s, c, no_word);
			return;
		}
	}
	if (n == 0)
		end_answered(s, c);
	else if (errno != EAGAIN && errno != EINTR)
		close_ended(s, c);
}

/* `lost`: by a reset, or given up by the kernel. recv(2) hides that behind the client's
 * end. */
static void
examine_answered(struct supervisor *s, struct hold_connection *c, bool lost)
{
	if (lost)
		close_ended(s, c);
	else
		discard_input(s, c);
}

static void
handle_event(struct supervisor *s, const struct epoll_event *event)
{
	struct hold_connection *c;

	if (event->data.u64 >= LISTENER) {
		s->listeners[event->data.u64 - LISTENER].pending = true;
		return;
	}
	/* New connections come after all events: the slot has the same, or none. */
	c = &s->hold.connections[event->data.u64];
	if (c->state == HOLD_HEAD)
		examine_head(s, c, event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
	else if (c->state == HOLD_ANSWERED || c->state == HOLD_CLOSING)
		examine_answered(s, c, event->events & EPOLLERR);
}

static bool
is_one_of(int fd, const int fds[], size_t count)
{
	size_t i;

	for (i = 0; i < count && fds[i] != fd; i++)
		;
	return i < count;
}

/* Close all but the standard ones, what the child keeps, and its own connection. */
static void
close_others(const struct supervisor *s, int own)
{
	int keep[DESCRIPTORS_KEEP_MAX + 1];
	const size_t count = sizeof(keep) / sizeof(keep[0]);

	memcpy(keep, s->config->keep, sizeof(s->config->keep));
	keep[DESCRIPTORS_KEEP_MAX] = own;
	if (descriptors_close_range(keep, count) == 0)
		return;
	/* Before Linux 5.9, or refused: what is known to be open, and nothing else is. */
	for (size_t i = 0; i < s->config->inherited.count; i++) {
		if (!is_one_of(s->config->inherited.fds[i], keep, count))
			close(s->config->inherited.fds[i]);
	}
	for (size_t i = 0; i < s->config->socket_count; i++)
		close(s->config->sockets[i].fd);
	close(s->epoll_fd);
	for (int state = HOLD_HEAD; state < HOLD_STATES; state++) {
		const struct hold_connection *c =
			hold_oldest(&s->hold, (enum hold_state)state);

		for (; c; c = c->newer) {
			if (c->fd != own)
				close(c->fd);
		}
	}
}

static void
become_child(const struct supervisor *s, const struct hold_connection *own)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != s->pid)
		_exit(EXIT_FAILURE); /* the supervisor was gone before that took effect */
	signals_release();
	close_others(s, own->fd);
}

static void
fill_child(const struct supervisor *s, const struct hold_connection *c,
	struct supervisor_child *ret_child)
{
	ret_child->connection = c->fd;
	ret_child->accepted_ms = c->accepted_ms;
	ret_child->ready_ms = c->ready_ms;
	ret_child->tally = *s->config->tally;
}

/*
 * The request that a process may be started for now, or NULL: of the source that has the
 * fewest processes. They take processor time from us: while accepting lags, each source
 * has one at a time.
 */
static struct hold_connection *
next_request(const struct supervisor *s)
{
	size_t busy_max = accepting_lags(s) ? 1 : s->config->max_processes;

	if (hold_count(&s->hold, HOLD_BUSY) >= s->config->max_processes)
		return NULL;
	return hold_next(&s->hold, busy_max);
}

/* Returns true in a child. */
static bool
start_processes(struct supervisor *s, struct supervisor_child *ret_child)
{
	struct hold_connection *c;

	while ((c = next_request(s)) && crashes_allow_start(&s->config->tally->crashes,
						hold_count(&s->hold, HOLD_BUSY))) {
		pid_t pid = fork();

		if (pid == 0) {
			become_child(s, c);
			fill_child(s, c, ret_child);
			return true;
		}
		if (pid < 0) {
			log_message("start process: %s", util_error_text(errno));
			drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
			continue;
		}
		c->pid = pid;
		c->deadline_ms += KILL_GRACE_MS;
		hold_move(&s->hold, c, HOLD_BUSY);
		give_way(s);
	}
	return false;
}

static enum supervisor_outcome
judge(const struct supervisor *s, const struct hold_connection *c, int status)
{
	if (WIFEXITED(status) && s->config->has_answered(WEXITSTATUS(status)))
		return SUPERVISOR_SERVED;
	if (WIFSIGNALED(status) && !c->killed) {
		log_message("answer connection: process killed by signal %d",
			WTERMSIG(status));
		return SUPERVISOR_CRASHED;
	}
	/* A process gives up at the deadline by itself, or is killed a little later. */
	return c->killed || util_now_ms() >= c->deadline_ms - KILL_GRACE_MS
	               ? SUPERVISOR_TIMED_OUT
	               : SUPERVISOR_FAILED;
}

/*
 * A process that crashed may have been a guess at an address or at the canary, which are
 * the same in all that one supervisor forks. A renewal makes what they learned worthless:
 * after three, and after each while there are many.
 */
static void
note_crash(struct supervisor *s, enum supervisor_outcome outcome)
{
	struct crashes *crashes = &s->config->tally->crashes;
	const char *error = s->config->renewal_error;

	/* One that had to be killed is no crash, but may have been a guess as well. */
	if (outcome == SUPERVISOR_CRASHED)
		crashes_note(
			crashes, error ? CRASH_DELAY_MAX_MS : CRASH_DELAY_RENEWED_MAX_MS);
	if (++s->crashed < CRASHES_OF_ONE_LAYOUT && !crashes_are_many(crashes))
		return;
	if (error) {
		log_message_once("start supervisor with new addresses: %s: crashes are "
				 "slowed down only",
			error);
	} else if (s->renew_at_ms == 0) {
		log_message("start supervisor with new addresses: processes crashed");
		s->renew_at_ms = util_now_ms() + RENEW_GRACE_MS;
	}
}

/*
 * Of answers that are not read the oldest go first. What is not measured yet counts as
 * the most that it can be: measuring each would cost a call for each scrape.
 */
static void
bound_unread(struct supervisor *s)
{
	static const enum hold_state states[] = { HOLD_CLOSING, HOLD_ANSWERED };
	struct hold_connection *c = hold_oldest(&s->hold, HOLD_ANSWERED);

	for (; c && s->unread > SUPERVISOR_UNREAD_MAX; c = c->newer) {
		if (c->unread == most_unread(s))
			note_unread(s, c, measure_unread(s, c));
	}
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		while (s->unread > SUPERVISOR_UNREAD_MAX &&
			(c = hold_oldest(&s->hold, states[i])))
			give_up_answered(s, c);
	}
}

static void
finish(struct supervisor *s, struct hold_connection *c, int status)
{
	enum supervisor_outcome outcome = judge(s, c, status);

	if (outcome == SUPERVISOR_CRASHED || c->killed)
		note_crash(s, outcome);
	if (outcome != SUPERVISOR_SERVED) {
		drop(s, c, outcome, no_word);
		return;
	}
	s->config->tally->outcomes[SUPERVISOR_SERVED]++;
	c->deadline_ms = util_now_ms() + ANSWERED_MS;
	hold_move(&s->hold, c, HOLD_ANSWERED);
	c->unread = 0;
	/* Unwatched, it is let go by its deadlines. */
	if (watch(s, c->fd, index_of(s, c)) < 0)
		log_message("watch connection: %s", util_error_text(errno));
	note_unread(s, c, most_unread(s));
	bound_unread(s);
}

/* Everyone is reaped, because PID 1 adopts strangers; only our own are counted. */
static void
reap(struct supervisor *s)
{
	struct hold_connection *c;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (c = hold_oldest(&s->hold, HOLD_BUSY); c && c->pid != pid;
			c = c->newer)
			;
		if (c) {
			finish(s, c, status);
			give_way(s);
		}
	}
}

/* The client has had its time to close; one that still reads has all of its exchange. */
static void
give_up(struct supervisor *s, struct hold_connection *c, int64_t now)
{
	note_unread(s, c, measure_unread(s, c));
	if (c->unread == 0 || now >= c->accepted_ms + s->config->timeout_ms) {
		cut_off(s, c, no_word);
		return;
	}
	c->deadline_ms = now + CLOSING_MS;
	hold_move(&s->hold, c, HOLD_CLOSING);
}

static void
expire(struct supervisor *s, struct hold_connection *c, int64_t now)
{
	switch (c->state) {
	case HOLD_HEAD:
		drop(s, c, SUPERVISOR_TIMED_OUT, s->config->late);
		break;
	case HOLD_READY:
		drop(s, c, SUPERVISOR_TIMED_OUT, s->config->busy);
		break;
	case HOLD_BUSY:
		log_message("answer connection: deadline passed");
		c->killed = true;
		c->deadline_ms = now + KILL_GRACE_MS;
		kill(c->pid, SIGKILL);
		break;
	case HOLD_ANSWERED:
		note_unread(s, c, measure_unread(s, c));
		close_our_side(s, c, now);
		break;
	case HOLD_CLOSING:
		give_up(s, c, now);
		break;
	case HOLD_FREE:
	case HOLD_STATES:
		break;
	}
}

/*
 * The next one whose deadline may be the earliest of its state. A state that gives every
 * connection the same time from its start keeps its list in that order: the oldest is all
 * there is to look at. Requests wait for processes, and have them, with deadlines that
 * count from accept.
 */
static struct hold_connection *
next_candidate(const struct hold_connection *c)
{
	return c->state == HOLD_READY || c->state == HOLD_BUSY ? c->newer : NULL;
}

static void
expire_all(struct supervisor *s)
{
	int64_t now = util_now_ms();

	for (int state = HOLD_HEAD; state < HOLD_STATES; state++) {
		struct hold_connection *c = hold_oldest(&s->hold, (enum hold_state)state);
		struct hold_connection *next;

		for (; c; c = next) {
			bool late = c->deadline_ms <= now;

			next = late ? c->newer : next_candidate(c);
			if (late) {
				expire(s, c, now);
				give_way(s);
			}
		}
	}
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When something is due, or INT64_MAX. */
static int64_t
next_deadline(const struct supervisor *s)
{
	int64_t next = INT64_MAX;

	for (int state = HOLD_HEAD; state < HOLD_STATES; state++) {
		const struct hold_connection *c =
			hold_oldest(&s->hold, (enum hold_state)state);

		for (; c; c = next_candidate(c))
			next = earlier(next, c->deadline_ms);
	}
	if (s->renew_at_ms > 0)
		return earlier(next, s->renew_at_ms);
	for (size_t i = 0; i < s->config->socket_count; i++) {
		const struct listener *listener = &s->listeners[i];

		if (listener->pending)
			next = earlier(next, listener->accepting.until_ms);
		if (!listener->watched)
			next = earlier(next, listener->opening.until_ms);
	}
	if (crashes_are_many(&s->config->tally->crashes) && next_request(s))
		next = earlier(next, crashes_due_ms(&s->config->tally->crashes,
					     hold_count(&s->hold, HOLD_BUSY)));
	if (s->watchdog_ms > 0)
		next = earlier(next, s->watchdog_at_ms);
	if (s->config->should_end)
		next = earlier(next, s->ask_at_ms);
	if (s->idle_since_ms > 0 && s->config->idle_exit_ms > 0)
		next = earlier(next, s->idle_since_ms + s->config->idle_exit_ms);
	return next;
}

static int
wait_ms(const struct supervisor *s)
{
	int64_t next = next_deadline(s);
	int64_t left = next - util_now_ms();

	if (next == INT64_MAX)
		return -1;
	if (left <= 0)
		return 0;
	return left < INT32_MAX ? (int)left : INT32_MAX;
}

/* Events cannot be had: look at everything that may have had one. */
static void
look_at_all(struct supervisor *s)
{
	struct hold_connection *c = hold_oldest(&s->hold, HOLD_HEAD), *newer;

	for (size_t i = 0; i < s->config->socket_count; i++)
		s->listeners[i].pending = s->listeners[i].watched;
	for (; c; c = newer) {
		newer = c->newer;
		examine_head(s, c, false);
	}
}

/*
 * The wait has ended without a reason: wait elsewhere, or this becomes a loop that spins.
 * EINTR without a signal is worth no line of the log: SIGCONT and a tracer cause it.
 */
static void
wait_failed(struct supervisor *s, int error)
{
	if (error != EINTR)
		log_message("wait for events: %s", util_error_text(error));
	signals_pause(WAIT_FAILED_MS);
	look_at_all(s);
}

static void
wait_for_events(struct supervisor *s)
{
	struct epoll_event events[EVENT_BATCH];
	int64_t began_us = util_now_us();
	int n = epoll_pwait(
		s->epoll_fd, events, EVENT_BATCH, wait_ms(s), signals_wait_mask());

	if (util_now_us() - began_us >= SLEPT_US)
		s->working_since_us = util_now_us();
	if (n < 0 && (errno != EINTR || !signals_take_caught()))
		wait_failed(s, errno);
	for (int i = 0; i < n; i++) {
		handle_event(s, &events[i]);
		give_way(s);
	}
}

static void
answer_watchdog(struct supervisor *s)
{
	if (s->watchdog_ms == 0 || util_now_ms() < s->watchdog_at_ms)
		return;
	manager_notify("WATCHDOG=1");
	s->watchdog_at_ms = util_now_ms() + s->watchdog_ms;
}

/* Whether there has been nobody for as long as the configuration wants. */
static bool
is_idle(struct supervisor *s)
{
	int64_t now = util_now_ms();

	if (hold_count(&s->hold, HOLD_FREE) < s->config->max_connections) {
		s->idle_since_ms = 0;
		return false;
	}
	if (s->idle_since_ms == 0)
		s->idle_since_ms = now;
	return s->config->idle_exit_ms > 0 &&
	       now - s->idle_since_ms >= s->config->idle_exit_ms;
}

static bool
should_end(struct supervisor *s)
{
	if (!s->config->should_end || util_now_ms() < s->ask_at_ms)
		return false;
	s->ask_at_ms = util_now_ms() + SUPERVISOR_ASK_MS;
	return s->config->should_end(s->config->context);
}

/* The soft limit is a default for users of select(2); the hard one is what we were given.
 */
static void
raise_descriptor_limit(size_t wanted)
{
	struct rlimit limit;

	/* Not setrlimit(): musl has it stop all threads, for which it needs 2 KiB. */
	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (prlimit(0, RLIMIT_NOFILE, &limit, NULL) < 0 || limit.rlim_cur < wanted)
		log_message("raise descriptor limit to %zu: only %llu allowed", wanted,
			(unsigned long long)limit.rlim_cur);
}

static void
note_start(struct supervisor_tally *tally)
{
	struct timespec now;

	if (tally->start_time_ms == 0 && clock_gettime(CLOCK_REALTIME, &now) == 0)
		tally->start_time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
start(struct supervisor *s, const struct supervisor_config *config)
{
	struct backoff backoff = { 0 };

	s->config = config;
	s->pid = getpid();
	note_start(config->tally);
	hold_fill(&s->hold, config->max_connections);
	util_fill_random(s->hold.key, sizeof(s->hold.key));
	raise_descriptor_limit(
		config->max_connections + config->socket_count + SPARE_DESCRIPTORS);
	while ((s->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 &&
		!signals_told_to_stop()) {
		log_message("create epoll: %s", util_error_text(errno));
		backoff_grow(&backoff, ACCEPT_DELAY_MAX_MS);
		signals_pause(backoff.delay_ms);
	}
	s->watchdog_ms = manager_watchdog_ms();
}

static void
stop(struct supervisor *s)
{
	const struct hold_connection *c = hold_oldest(&s->hold, HOLD_BUSY);

	manager_notify("STOPPING=1");
	for (; c; c = c->newer)
		kill(c->pid, SIGKILL);
}

/*
 * Connections of a predecessor, from when they were accepted. One that was taken over may
 * have sent anything, and may still send: a time that cannot be is the present, a message
 * that is none is left out, and the end does not depend on it.
 */
static void
take_over(struct supervisor *s)
{
	for (size_t i = 0; i < s->config->max_connections; i++) {
		struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
		socklen_t len = sizeof(address);
		int64_t accepted_ms = 0, now = util_now_ms();
		int fd = handover_receive(&s->config->handover, &accepted_ms);

		if (fd == -EBADMSG)
			continue;
		if (fd < 0)
			return;
		getpeername(fd, (struct sockaddr *)&address, &len);
		if (accepted_ms > now || accepted_ms < now - s->config->timeout_ms)
			accepted_ms = now;
		hold_connection(s, fd, &address, accepted_ms);
	}
}

/* Give a successor what no process has been started for. */
static void
hand_over(struct supervisor *s)
{
	static const enum hold_state states[] = { HOLD_READY, HOLD_HEAD };
	struct hold_connection *c;

	/* They end with this process. */
	s->config->tally->outcomes[SUPERVISOR_FAILED] += hold_count(&s->hold, HOLD_BUSY);
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		while ((c = hold_oldest(&s->hold, states[i]))) {
			if (handover_send(&s->config->handover, c->fd, c->accepted_ms) ==
				0)
				close_ended(s, c);
			else
				drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
		}
	}
}

/*
 * Whether the time for a renewal has come: nothing is being answered, and no answer is
 * still on its way, or for too long.
 */
static bool
is_time_to_renew(const struct supervisor *s)
{
	return s->renew_at_ms > 0 &&
	       ((hold_count(&s->hold, HOLD_BUSY) == 0 && s->unread == 0) ||
		       util_now_ms() >= s->renew_at_ms);
}

/* One turn. Returns true in a child. */
static bool
work(struct supervisor *s, struct supervisor_child *ret_child)
{
	start_listeners(s);
	answer_watchdog(s);
	wait_for_events(s);
	signals_let_in();
	reap(s);
	for (size_t i = 0; s->renew_at_ms == 0 && i < s->config->socket_count; i++)
		accept_connections(s, i);
	expire_all(s);
	return s->renew_at_ms == 0 && start_processes(s, ret_child);
}

/* A mapping of its own, so that a child can unmap it. NULL when told to stop. */
static struct supervisor *
allocate(void)
{
	struct backoff backoff = { 0 };
	void *p;

	while ((p = mmap(NULL, sizeof(struct supervisor), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) == MAP_FAILED &&
		!signals_told_to_stop()) {
		log_message("allocate connection table: %s", util_error_text(errno));
		backoff_grow(&backoff, ACCEPT_DELAY_MAX_MS);
		signals_pause(backoff.delay_ms);
	}
	return p == MAP_FAILED ? NULL : p;
}

int
supervisor_run(const struct supervisor_config *config, struct supervisor_child *ret_child)
{
	struct supervisor *s;

	signals_catch();
	s = allocate();
	if (!s)
		return 0;
	start(s, config);
	take_over(s);
	while (!signals_told_to_stop() && !is_idle(s) && !should_end(s)) {
		if (is_time_to_renew(s)) {
			hand_over(s);
			return SUPERVISOR_RENEW;
		}
		if (work(s, ret_child)) {
			/* It holds the requests and addresses of other clients. */
			if (munmap(s, sizeof(*s)) < 0)
				explicit_bzero(s, sizeof(*s));
			return 1;
		}
	}
	stop(s);
	return 0;
}
