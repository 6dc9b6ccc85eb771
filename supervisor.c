/* SPDX-License-Identifier: MIT */
#include "supervisor.h"

#include "log.h"
#include "manager.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	ACCEPT_BATCH = 64, /* before the others get their turn again */
	EVENT_BATCH = 64,
	PEEK_SIZE = 16 * 1024, /* one for all; more than any head may have */
	BACKOFF_FIRST_MS = 100,
	BACKOFF_LAST_MS = 3200, /* a port is taken within 5 s of being free */
	KILL_GRACE_MS = 1000,   /* a process ends itself at its deadline, or else */
	ANSWERED_MS = 500,      /* for the client to close first: TIME_WAIT is its */
	CLOSING_MS = 2000,
	DISCARD_MAX = 1024 * 1024, /* bytes read after the answer */
	/* Three standard ones, log, epoll, 8 listening, one just accepted, and more. */
	SPARE_DESCRIPTORS = 24,
	LISTENER = HOLD_MAX, /* event numbers from here on are listening sockets */
};

/* The states whose connections may be given up for a new one, cheapest loss first. */
static const enum hold_state expendable[] = { HOLD_HEAD, HOLD_CLOSING, HOLD_ANSWERED };

struct backoff {
	int64_t until_ms;
	int64_t delay_ms;
};

struct listener {
	struct backoff backoff;
	bool watched; /* it is open and part of the epoll set */
	bool pending; /* there may be connections to accept */
};

struct supervisor {
	const struct supervisor_config *config;
	struct hold hold;
	struct listener listeners[LISTEN_MAX];
	char peek[PEEK_SIZE];
	uint64_t outcomes[SUPERVISOR_OUTCOMES];
	sigset_t wait_mask; /* while waiting for events; all is blocked elsewhere */
	int64_t start_time_ms;
	int64_t idle_since_ms;
	int64_t watchdog_ms, watchdog_at_ms;
	pid_t pid;
	int epoll_fd;
	bool announced;
};

const char *const supervisor_outcome_names[SUPERVISOR_OUTCOMES] = {
	[SUPERVISOR_SERVED] = "served",
	[SUPERVISOR_FAILED] = "failed",
	[SUPERVISOR_CRASHED] = "crashed",
	[SUPERVISOR_TIMED_OUT] = "timed_out",
	[SUPERVISOR_EVICTED] = "evicted",
	[SUPERVISOR_REFUSED] = "refused",
};

static const struct slice no_word;

static volatile sig_atomic_t told_to_stop;

static void
on_stop(int signal_number)
{
	(void)signal_number;
	told_to_stop = 1;
}

/* That it arrives is all: it ends the wait, and the loop reaps. */
static void
on_child(int signal_number)
{
	(void)signal_number;
}

static const struct {
	int number;
	void (*handler)(int);
} handled_signals[] = {
	{ SIGTERM, on_stop },
	{ SIGINT, on_stop },
	{ SIGCHLD, on_child },
};

enum {
	HANDLED_SIGNALS = sizeof(handled_signals) / sizeof(handled_signals[0]),
};

/*
 * PID 1 has no default actions, so the two signals that end it need handlers; all others
 * leave PID 1 alone by themselves.
 */
static void
catch_signals(struct supervisor *s)
{
	struct sigaction action = { .sa_flags = 0 };
	sigset_t all;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &s->wait_mask);
	sigemptyset(&action.sa_mask);
	for (int i = 0; i < HANDLED_SIGNALS; i++) {
		action.sa_handler = handled_signals[i].handler;
		sigaction(handled_signals[i].number, &action, NULL);
		sigdelset(&s->wait_mask, handled_signals[i].number);
	}
}

static void
release_signals(const struct supervisor *s)
{
	for (int i = 0; i < HANDLED_SIGNALS; i++)
		signal(handled_signals[i].number, SIG_DFL);
	sigprocmask(SIG_SETMASK, &s->wait_mask, NULL);
}

static void
back_off(struct backoff *backoff)
{
	backoff->delay_ms *= 2;
	if (backoff->delay_ms < BACKOFF_FIRST_MS)
		backoff->delay_ms = BACKOFF_FIRST_MS;
	if (backoff->delay_ms > BACKOFF_LAST_MS)
		backoff->delay_ms = BACKOFF_LAST_MS;
	backoff->until_ms = util_now_ms() + backoff->delay_ms;
}

static void
pause_for(const struct supervisor *s, int64_t ms)
{
	struct timespec time = {
		.tv_sec = (time_t)(ms / 1000),
		.tv_nsec = (long)(ms % 1000 * 1000000),
	};

	ppoll(NULL, 0, &time, &s->wait_mask);
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

/* Close what is over, without a reset, and free its slot; it has been counted. */
static void
close_quietly(struct supervisor *s, struct hold_connection *c)
{
	unwatch(s, c);
	close(c->fd);
	hold_move(&s->hold, c, HOLD_FREE);
}

/* The same with a reset, and perhaps a word before it. */
static void
cut_off(struct supervisor *s, struct hold_connection *c, struct slice word)
{
	unwatch(s, c);
	turn_away(c->fd, word);
	hold_move(&s->hold, c, HOLD_FREE);
}

static void
drop(struct supervisor *s, struct hold_connection *c, enum supervisor_outcome outcome,
	struct slice word)
{
	s->outcomes[outcome]++;
	cut_off(s, c, word);
}

/* Returns false when there is nobody to give up. */
static bool
evict_oldest(struct supervisor *s)
{
	for (size_t i = 0; i < sizeof(expendable) / sizeof(expendable[0]); i++) {
		struct hold_connection *c = hold_oldest(&s->hold, expendable[i]);

		if (!c)
			continue;
		if (c->state == HOLD_HEAD)
			drop(s, c, SUPERVISOR_EVICTED, no_word);
		else
			close_quietly(s, c); /* what is under way still gets there */
		return true;
	}
	return false;
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

static void
queue_connection(struct supervisor *s, struct hold_connection *c)
{
	if (hold_count(&s->hold, HOLD_READY) >= SUPERVISOR_QUEUE_MAX) {
		drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
		return;
	}
	unwatch(s, c);
	c->deadline_ms = c->accepted_ms + s->config->timeout_ms;
	hold_move(&s->hold, c, HOLD_READY);
}

/* Look whether the head is there; `ended` when no more bytes will come. */
static void
examine_head(struct supervisor *s, struct hold_connection *c, bool ended)
{
	ssize_t n = recv(c->fd, s->peek, sizeof(s->peek), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0 && errno != ECONNRESET)
		log_message("look at connection: %s", strerror(errno));
	if (n <= 0)
		drop(s, c, SUPERVISOR_FAILED, no_word);
	else if (s->config->head_is_ready(s->peek, (size_t)n))
		queue_connection(s, c);
	else if (ended)
		drop(s, c, SUPERVISOR_FAILED, s->config->torn);
}

static int64_t
head_ms(const struct supervisor *s)
{
	return s->config->timeout_ms < SUPERVISOR_HEAD_MS ? s->config->timeout_ms
	                                                  : SUPERVISOR_HEAD_MS;
}

/* Take a new connection into the table. */
static void
hold_connection(struct supervisor *s, int fd)
{
	struct hold_connection *c;

	if (hold_count(&s->hold, HOLD_FREE) == 0)
		evict_oldest(s);
	c = hold_oldest(&s->hold, HOLD_FREE);
	if (!c) {
		s->outcomes[SUPERVISOR_REFUSED]++;
		turn_away(fd, s->config->busy);
		return;
	}
	c->fd = fd;
	c->discarded = 0;
	c->killed = false;
	c->accepted_ms = util_now_ms();
	c->deadline_ms = c->accepted_ms + head_ms(s);
	hold_move(&s->hold, c, HOLD_HEAD);
	/* Most heads are there already; only the others are worth watching. */
	examine_head(s, c, false);
	if (c->state == HOLD_HEAD && watch(s, fd, index_of(s, c)) < 0) {
		log_message("watch connection: %s", strerror(errno));
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

static void
accept_failed(struct supervisor *s, struct listener *listener, int error)
{
	if (error == EAGAIN) {
		listener->pending = false;
		return;
	}
	log_message("accept connection: %s", strerror(error));
	/* Giving up a connection gives back what the next accept needs. */
	if (is_shortage(error) && evict_oldest(s))
		return;
	back_off(&listener->backoff);
}

static void
accept_connections(struct supervisor *s, size_t i)
{
	struct listener *listener = &s->listeners[i];
	int fd = -1;

	if (!listener->pending || util_now_ms() < listener->backoff.until_ms)
		return;
	for (int n = 0; n < ACCEPT_BATCH; n++) {
		fd = accept4(s->config->sockets[i].fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0) {
			listener->backoff = (struct backoff){ 0 };
			hold_connection(s, fd);
		} else if (!is_peer_error(errno)) {
			break;
		}
	}
	/* A whole batch that ends in a peer's error is more than bad luck. */
	if (fd < 0)
		accept_failed(s, listener, errno);
}

static void
announce(struct supervisor *s, const char *name)
{
	log_message("listen on %s", name);
	if (!s->announced)
		manager_notify("READY=1\nSTATUS=Answering scrapes");
	s->announced = true;
}

/* Watch a listening socket, opening it first if it is ours; false when that must wait. */
static bool
start_listening(struct supervisor *s, size_t i)
{
	struct listen_socket *socket = &s->config->sockets[i];
	char name[LISTEN_TEXT_MAX] = "passed socket";
	bool passed = socket->fd >= 0;

	if (!passed) {
		listen_format_address(&socket->address, name, sizeof(name));
		socket->fd = listen_open(&socket->address);
	}
	if (socket->fd < 0) {
		log_message("listen on %s: %s", name, strerror(-socket->fd));
		socket->fd = -1;
		return false;
	}
	if (watch(s, socket->fd, LISTENER + i) < 0) {
		log_message("watch %s: %s", name, strerror(errno));
		if (!passed) {
			close(socket->fd);
			socket->fd = -1;
		}
		return false;
	}
	announce(s, name);
	return true;
}

static void
start_listeners(struct supervisor *s)
{
	for (size_t i = 0; i < s->config->socket_count; i++) {
		struct listener *listener = &s->listeners[i];

		if (listener->watched || util_now_ms() < listener->backoff.until_ms)
			continue;
		listener->watched = start_listening(s, i);
		if (listener->watched)
			listener->backoff = (struct backoff){ 0 };
		else
			back_off(&listener->backoff);
	}
}

/* After the answer: throw away what still comes, until the client closes. */
static void
discard_input(struct supervisor *s, struct hold_connection *c)
{
	ssize_t n;

	while ((n = recv(c->fd, s->peek, sizeof(s->peek), MSG_DONTWAIT)) > 0) {
		c->discarded += (size_t)n;
		if (c->discarded > DISCARD_MAX) {
			cut_off(s, c, no_word);
			return;
		}
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	close_quietly(s, c);
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
		discard_input(s, c);
}

/* Only the connection itself is left to the child. */
static void
become_child(struct supervisor *s, const struct hold_connection *own)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != s->pid)
		_exit(EXIT_FAILURE); /* the supervisor was gone before that took effect */
	release_signals(s);
	close(s->epoll_fd);
	for (size_t i = 0; i < s->config->socket_count; i++) {
		if (s->config->sockets[i].fd >= 0)
			close(s->config->sockets[i].fd);
	}
	for (int state = HOLD_HEAD; state < HOLD_STATES; state++) {
		const struct hold_connection *c =
			hold_oldest(&s->hold, (enum hold_state)state);

		for (; c; c = c->newer) {
			if (c != own)
				close(c->fd);
		}
	}
}

static void
fill_child(const struct supervisor *s, const struct hold_connection *c,
	struct supervisor_child *ret_child)
{
	ret_child->connection = c->fd;
	ret_child->accepted_ms = c->accepted_ms;
	ret_child->start_time_ms = s->start_time_ms;
	memcpy(ret_child->outcomes, s->outcomes, sizeof(s->outcomes));
}

/* Returns true in a child. */
static bool
start_processes(struct supervisor *s, struct supervisor_child *ret_child)
{
	struct hold_connection *c;

	while ((c = hold_oldest(&s->hold, HOLD_READY)) &&
		hold_count(&s->hold, HOLD_BUSY) < s->config->max_processes) {
		pid_t pid = fork();

		if (pid == 0) {
			become_child(s, c);
			fill_child(s, c, ret_child);
			return true;
		}
		if (pid < 0) {
			log_message("start process: %s", strerror(errno));
			drop(s, c, SUPERVISOR_REFUSED, s->config->busy);
			continue;
		}
		c->pid = pid;
		c->deadline_ms += KILL_GRACE_MS;
		hold_move(&s->hold, c, HOLD_BUSY);
	}
	return false;
}

static enum supervisor_outcome
judge(const struct hold_connection *c, int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS)
		return SUPERVISOR_SERVED;
	/* A process gives up at the deadline by itself, or is killed a little later. */
	if (c->killed || util_now_ms() >= c->deadline_ms - KILL_GRACE_MS)
		return SUPERVISOR_TIMED_OUT;
	if (WIFEXITED(status))
		return SUPERVISOR_FAILED;
	log_message("answer connection: process killed by signal %d", WTERMSIG(status));
	return SUPERVISOR_CRASHED;
}

static void
finish(struct supervisor *s, struct hold_connection *c, int status)
{
	enum supervisor_outcome outcome = judge(c, status);

	if (outcome != SUPERVISOR_SERVED) {
		drop(s, c, outcome, no_word);
		return;
	}
	s->outcomes[SUPERVISOR_SERVED]++;
	c->deadline_ms = util_now_ms() + ANSWERED_MS;
	hold_move(&s->hold, c, HOLD_ANSWERED);
	/* Unwatched, it is let go by its deadlines. */
	if (watch(s, c->fd, index_of(s, c)) < 0)
		log_message("watch connection: %s", strerror(errno));
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
		if (c)
			finish(s, c, status);
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

/*
 * Bytes that the client has not acknowledged; a reset would throw them away. TIOCOUTQ is
 * what tcp(7) calls SIOCOUTQ, without a header of the kernel.
 */
static bool
has_unsent(const struct hold_connection *c)
{
	int bytes = 0;

	return ioctl(c->fd, TIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* The client has had its time to close; one that still reads has all of its exchange. */
static void
give_up(struct supervisor *s, struct hold_connection *c, int64_t now)
{
	if (!has_unsent(c) || now >= c->accepted_ms + s->config->timeout_ms) {
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
			if (late)
				expire(s, c, now);
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
	for (size_t i = 0; i < s->config->socket_count; i++) {
		if (s->listeners[i].pending || !s->listeners[i].watched)
			next = earlier(next, s->listeners[i].backoff.until_ms);
	}
	if (s->watchdog_ms > 0)
		next = earlier(next, s->watchdog_at_ms);
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

/*
 * epoll_pwait() takes pending signals only when it has to wait; a supervisor that is
 * never out of work would not hear SIGTERM.
 */
static void
let_signals_in(const struct supervisor *s)
{
	sigset_t all;

	sigprocmask(SIG_SETMASK, &s->wait_mask, &all);
	sigprocmask(SIG_SETMASK, &all, NULL);
}

static void
wait_for_events(struct supervisor *s)
{
	struct epoll_event events[EVENT_BATCH];
	int n = epoll_pwait(s->epoll_fd, events, EVENT_BATCH, wait_ms(s), &s->wait_mask);

	if (n < 0 && errno != EINTR) {
		log_message("wait for events: %s", strerror(errno));
		pause_for(s, BACKOFF_FIRST_MS);
	}
	for (int i = 0; i < n; i++)
		handle_event(s, &events[i]);
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

/* The soft limit is a default for users of select(2); the hard one is what we were given.
 */
static void
raise_descriptor_limit(size_t wanted)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < wanted)
		log_message("raise descriptor limit to %zu: only %llu allowed", wanted,
			(unsigned long long)limit.rlim_cur);
}

static void
start(struct supervisor *s, const struct supervisor_config *config)
{
	struct backoff backoff = { 0 };
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	s->start_time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	s->config = config;
	s->pid = getpid();
	hold_reset(&s->hold, config->max_connections);
	catch_signals(s);
	raise_descriptor_limit(config->max_connections + SPARE_DESCRIPTORS);
	while ((s->epoll_fd = epoll_create1(EPOLL_CLOEXEC)) < 0 && !told_to_stop) {
		log_message("create epoll: %s", strerror(errno));
		back_off(&backoff);
		pause_for(s, backoff.delay_ms);
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

int
supervisor_run(const struct supervisor_config *config, struct supervisor_child *ret_child)
{
	static struct supervisor s;

	start(&s, config);
	while (!told_to_stop && !is_idle(&s)) {
		start_listeners(&s);
		answer_watchdog(&s);
		wait_for_events(&s);
		let_signals_in(&s);
		reap(&s);
		for (size_t i = 0; i < config->socket_count; i++)
			accept_connections(&s, i);
		expire_all(&s);
		if (start_processes(&s, ret_child))
			return 1;
	}
	stop(&s);
	return 0;
}
