/* SPDX-License-Identifier: MIT */
/*
 * metrics-sidecar: tell Prometheus how many local ports are in use, and how many there
 * are.
 *
 * One process answers one request on a pair of descriptors and ends. systemd, inetd and
 * the supervisor are ways to start that process; whichever it was, serve() is what it
 * does.
 */
#include "answer.h"
#include "descriptors.h"
#include "exchange.h"
#include "http.h"
#include "keeper.h"
#include "listen.h"
#include "log.h"
#include "manager.h"
#include "options.h"
#include "ports.h"
#include "renewal.h"
#include "sandbox.h"
#include "share.h"
#include "supervisor.h"
#include "terminal.h"
#include "token.h"
#include "trend.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
	EXIT_USAGE = 2,
	EXIT_INTERRUPTED = 128, /* and the signal's number, as a shell says it */
	EXIT_TOLD = 2,          /* the first status that tells a failure */
	TELL_MS = 1000,         /* between two lines about what statuses tell */
	/* More than the frames of a scan, and of what the supervisor does, come to. */
	STACK_WIPED = 8 * 1024,
	WATCH_S = 2,
	/* What a scan leaves of the time for its answer, or for the reason that there is
	   none. */
	ANSWER_MS = 500,
	DAY_S = 24 * 60 * 60,
};

/* How this process came to its connection, and what it tells about that. */
struct job {
	const char *launcher;
	int in, out;
	bool is_one_socket; /* in and out */
	int64_t accepted_ms;
	bool supervised;
	struct supervisor_child child; /* if supervised */
	struct share share;            /* of figures, with the other children */
};

/* What outlives the process that accepts, and what its successor is started with. */
struct service {
	struct listen_found found;
	struct renewal renewal;
	struct descriptors inherited;
	int lock_fd; /* of what is shared */
	char **argv;
};

/* Figures, once measured, and what they are measured by. */
struct meter {
	const struct options *options;
	struct ports ports;
	bool opened, measured;
	int64_t began_ms, deadline_ms; /* of all that the figures are for */
	struct answer_figures figures;
};

_Static_assert((int)SUPERVISOR_PEEK_MAX >= (int)HTTP_HEAD_ROOM,
	"the supervisor sees when a head is too long");

/* A process writes one response, or one report at a time. */
static char answer_data[ANSWER_MAX];

static const char *const netns_names[] = {
	[LISTEN_NETNS_UNKNOWN] = "unknown",
	[LISTEN_NETNS_SAME] = "same",
	[LISTEN_NETNS_OTHER] = "other",
};

/*
 * What may go wrong in a process of the supervisor when it has no log any more. Its exit
 * status tells the supervisor, which words it: an attacker who takes such a process over
 * can choose among these sentences, and log nothing else.
 */
enum failure {
	FAILURE_READ,
	FAILURE_WRITE,
	FAILURE_RENDER,
	FAILURE_FILTER,
	FAILURES,
};

static const struct {
	const char *action;
	bool answered; /* all the same */
} failures[FAILURES] = {
	[FAILURE_READ] = { "read request", false },
	[FAILURE_WRITE] = { "write response", false },
	[FAILURE_RENDER] = { "render figures", true },
	[FAILURE_FILTER] = { "confine process: seccomp", true },
};

/* What read(2), write(2), poll(2) and seccomp(2) say. The first one stands for others. */
static const int told_errors[] = { 0, EPERM, EINTR, EIO, EBADF, EAGAIN, ENOMEM, EACCES,
	EFAULT, EINVAL, EMFILE, EFBIG, ENOSPC, EPIPE, ENOSYS, EPROTO, EMSGSIZE,
	EOPNOTSUPP, ENETDOWN, ENETUNREACH, ECONNABORTED, ECONNRESET, ENOBUFS, ENOTCONN,
	ETIMEDOUT, ECONNREFUSED, EHOSTDOWN, EHOSTUNREACH };

enum {
	TOLD_ERRORS = sizeof(told_errors) / sizeof(told_errors[0]),
};

_Static_assert(EXIT_TOLD + FAILURES * TOLD_ERRORS <= UINT8_MAX,
	"an exit status is one byte, and 255 is left");

/* When a scan must be over; half of the time is for the answer where there is little. */
static int64_t
find_scan_deadline(const struct meter *meter)
{
	int64_t half_ms = (meter->deadline_ms - meter->began_ms) / 2;

	return meter->deadline_ms - (half_ms < ANSWER_MS ? half_ms : ANSWER_MS);
}

/*
 * Whether a scan may begin. One that has next to no time would fail, and its error would
 * be the answer to others that have all of theirs.
 */
static bool
has_time_to_scan(const struct meter *meter)
{
	int64_t quarter_ms = (meter->deadline_ms - meter->began_ms) / 4;

	return find_scan_deadline(meter) - util_now_ms() >=
	       (quarter_ms < ANSWER_MS ? quarter_ms : ANSWER_MS);
}

static void
open_meter(struct meter *meter)
{
	ports_open(&meter->ports, meter->options->procfs, meter->options->source);
	meter->opened = true;
}

/*
 * The namespace of a process lives as long as the process does, whatever becomes of its
 * name: what was deleted, or is another one now, must not be measured for what has the
 * name. Returns NULL, or what is wrong; whether the namespace is lost is in *ret_lost.
 */
static const char *
find_netns_error(const char *file, bool *ret_lost)
{
	struct stat ours, named;

	*ret_lost = false;
	if (!file)
		return NULL;
	if (stat("/proc/self/ns/net", &ours) < 0)
		return "/proc/self/ns/net cannot be read";
	if (stat(file, &named) < 0) {
		*ret_lost = errno == ENOENT;
		return *ret_lost ? "deleted" : util_error_text(errno);
	}
	/* While we hold ours, no other one has its inode number. */
	if (named.st_dev == ours.st_dev && named.st_ino == ours.st_ino)
		return NULL;
	*ret_lost = true;
	return "replaced by another one of that name";
}

/*
 * End soon, so that the namespace is not kept alive, and the next process enters the new
 * one. What is wrong for another reason may pass.
 */
static bool
has_lost_netns(const void *context)
{
	const char *file = context;
	bool lost;
	const char *error = find_netns_error(file, &lost);

	if (lost)
		log_message("measure network namespace %s: %s: ending", file, error);
	return lost;
}

/* As answer_facts has it. */
static const struct answer_figures *
measure(void *context)
{
	struct meter *meter = context;
	struct answer_figures *figures = &meter->figures;

	if (meter->measured)
		return figures;
	if (!meter->opened)
		open_meter(meter);
	meter->ports.deadline_ms = find_scan_deadline(meter);
	exchange_move_deadline(meter->ports.deadline_ms);
	figures->error = ports_collect(&meter->ports, meter->options->top_destinations,
		&figures->report, &figures->object);
	exchange_move_deadline(meter->deadline_ms);
	meter->measured = true;
	return figures;
}

/*
 * Figures for a request whose head the supervisor has seen: those of another child if
 * they are new enough. All of it before a byte of the request is read, so that nobody who
 * takes this process over can reach what the next ones are told. An error is shared as
 * figures are: what cannot be measured is not tried more often than what can.
 */
static void
measure_shared(struct meter *meter, struct share *share, int64_t ready_ms)
{
	int r = share_take(share, ready_ms, &meter->figures);

	if (r == 0 && !has_time_to_scan(meter))
		r = -EINTR;
	if (r == -EINTR) {
		meter->figures.error = r;
		meter->figures.object = "shared figures";
	} else if (r < 0) {
		log_message("share figures: %s: measured again", util_error_text(-r));
	}
	meter->measured = r > 0 || r == -EINTR;
	if (!meter->measured) {
		measure(meter);
		ports_close(&meter->ports);
	}
	if (r == 0)
		share_give(share, &meter->figures);
	share_close(share);
}

static bool
is_unknown_to_kernel(int error)
{
	return error == -ENOSYS || error == -EOPNOTSUPP;
}

/*
 * A process that stays says it once. Of those that are started for one connection each
 * would: about what the kernel does not have they are silent, and --version tells it.
 */
static void
log_missing_layers(const int errors[static SANDBOX_LAYERS], bool stays)
{
	for (int i = 0; i < SANDBOX_LAYERS; i++) {
		if (errors[i] < 0 && (stays || !is_unknown_to_kernel(errors[i])))
			log_message_once("confine process: %s: %s",
				sandbox_layer_names[i], util_error_text(-errors[i]));
	}
}

/* The exit status of a process in which this has failed; one that has a log says why. */
static int
fail(const struct job *job, enum failure failure, int error)
{
	int i = TOLD_ERRORS - 1;

	if (!job->supervised) {
		log_message("%s: %s", failures[failure].action, util_error_text(-error));
		return EXIT_FAILURE;
	}
	while (i > 0 && told_errors[i] != -error)
		i--;
	return EXIT_TOLD + (int)failure * TOLD_ERRORS + i;
}

/*
 * As supervisor_config has it. One line a second for each failure: a process that was
 * taken over must not use up the lines that a second may have.
 */
static bool
has_answered(int status)
{
	static int64_t told_ms[FAILURES];
	const int told = status - EXIT_TOLD, failure = told / TOLD_ERRORS;
	int error;

	if (told < 0 || failure >= FAILURES)
		return status == EXIT_SUCCESS;
	if (told_ms[failure] == 0 || util_now_ms() - told_ms[failure] >= TELL_MS) {
		told_ms[failure] = util_now_ms();
		error = told_errors[told % TOLD_ERRORS];
		log_message("%s: %s", failures[failure].action,
			error ? util_error_text(error) : "unusual error");
	}
	return failures[failure].answered;
}

static bool
is_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Functions that have returned leave peers here, and log lines about other clients. */
static __attribute__((noinline)) void
wipe_stack(void)
{
	char frames[STACK_WIPED];

	explicit_bzero(frames, sizeof(frames));
}

/*
 * Close everything but the connection, which becomes the lowest descriptor: RLIMIT_NOFILE
 * of 1 then allows no other one.
 */
static void
keep_connection_only(struct job *job)
{
	int fd;

	log_close();
	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fd != job->in)
			close(fd);
	}
	fd = fcntl(job->in, F_DUPFD, STDIN_FILENO);
	if (fd >= 0) {
		close(job->in);
		job->in = job->out = fd;
	}
	wipe_stack();
}

/*
 * Give up everything that reading a request and answering it does not need. A process of
 * the supervisor has measured by now; another one has that still to do, and needs
 * processor time for it. Returns 0, or -errno when calls are not filtered.
 */
static int
confine(const struct options *options, struct job *job)
{
	int errors[SANDBOX_LAYERS];

	sandbox_limit_responder(job->supervised ? 1 : options->timeout_s + 1,
		log_is_file() || is_file(job->out), errors);
	if (job->supervised) {
		log_missing_layers(errors, true);
		keep_connection_only(job);
	}
	errors[SANDBOX_SECCOMP] = sandbox_filter_responder();
	if (!job->supervised)
		log_missing_layers(errors, false);
	return errors[SANDBOX_SECCOMP];
}

/*
 * Prometheus says how long it will wait; a client that asks for longer than ours gets
 * ours.
 */
static int64_t
find_timeout_ms(const struct http_request *request, int64_t ours)
{
	size_t offset = 0;
	struct slice value;
	int64_t theirs;

	if (!http_next_field(
		    request, "X-Prometheus-Scrape-Timeout-Seconds", &offset, &value) ||
		util_parse_seconds(value, &theirs) < 0 || theirs == 0)
		return ours;
	return theirs < ours ? theirs : ours;
}

/* Whether the figures were measured without an error. */
static bool
has_figures(const struct answer_facts *facts)
{
	const struct meter *meter = facts->context;

	return !facts->netns_error && meter->figures.error == 0;
}

/*
 * Answer the bytes of a head, complete or not, or the time-out of waiting for it. A
 * client that may read to the end of the connection gets that end at once; it is not
 * closed altogether before the client has closed, because unread bytes would make that a
 * reset. Returns the exit status of the process.
 */
static int
answer_head(const struct options *options, const struct job *job,
	const struct answer_facts *facts, const char *head, ssize_t len)
{
	struct http_request request;
	struct slice response;
	enum http_status status = HTTP_REQUEST_TIMEOUT;
	bool ends = true; /* unless the request is understood and says otherwise */
	int r;

	if (len >= 0)
		status = http_parse_request(head, (size_t)len, &request);
	if (status == HTTP_INCOMPLETE)
		status = HTTP_BAD_REQUEST; /* the client sends no more */
	if (status == HTTP_OK) {
		struct meter *meter = facts->context;

		ends = http_wants_close(&request);
		meter->deadline_ms =
			job->accepted_ms +
			find_timeout_ms(&request, (int64_t)options->timeout_s * 1000);
		exchange_move_deadline(meter->deadline_ms);
	}
	response = answer_write(answer_data, facts, status, &request,
		len > 0 && http_is_head(head, (size_t)len), &status);
	r = (job->is_one_socket ? exchange_send : exchange_write)(job->out, response.data,
		response.len, job->accepted_ms + (int64_t)options->timeout_s * 1000);
	if (r < 0)
		return fail(job, FAILURE_WRITE, r);
	if (ends && job->is_one_socket)
		shutdown(job->out, SHUT_WR);
	return job->supervised && status == HTTP_INTERNAL_ERROR && has_figures(facts)
	               ? fail(job, FAILURE_RENDER, -EMSGSIZE)
	               : EXIT_SUCCESS;
}

/* Read one request and answer it, confined. Returns the exit status of the process. */
static int
exchange(const struct options *options, const struct job *job,
	const struct answer_facts *facts, int64_t head_until_ms)
{
	static char head[HTTP_HEAD_ROOM];
	ssize_t len = exchange_read(
		job->in, head, sizeof(head), head_until_ms, http_head_is_ready);

	if (len == 0 && job->supervised)
		len = -ECONNRESET; /* the supervisor has seen its head */
	if (len == 0)
		return EXIT_SUCCESS; /* a probe of the port */
	if (len < 0 && len != -ETIMEDOUT)
		return fail(job, FAILURE_READ, (int)len);
	return answer_head(options, job, facts, head, len);
}

/* What an answer says of this process, whoever asks. */
static void
fill_facts(const struct options *options, const struct job *job, struct meter *meter,
	struct answer_facts *facts)
{
	static struct exposition_outcome outcomes[SUPERVISOR_OUTCOMES];
	enum listen_netns netns = listen_compare_netns(job->in);
	bool lost; /* the supervisor looks by itself */

	*facts = (struct answer_facts){
		.measure = measure,
		.context = meter,
		.pod_name = options->pod_name,
		.launcher = job->launcher,
		.is_one_shot = job->in >= 0 && !job->supervised,
		.netns = netns_names[netns],
		.netns_file = options->netns_file,
		.netns_error = find_netns_error(options->netns_file, &lost),
		.names_destinations = options->top_destinations > 0,
		/* The kubelet sets it in every container, whatever the pod says. */
		.in_kubernetes = getenv("KUBERNETES_SERVICE_HOST") != NULL,
		.needs_token = options->token_file != NULL,
		.outcomes = outcomes,
		.outcome_count = job->supervised ? SUPERVISOR_OUTCOMES : 0,
		.start_time_ms = job->child.tally.start_time_ms,
	};
	for (int i = 0; i < SUPERVISOR_OUTCOMES; i++)
		outcomes[i] = (struct exposition_outcome){
			supervisor_outcome_names[i],
			job->child.tally.outcomes[i],
		};
	if (options->token_file)
		facts->token_error = token_read(options->token_file, &facts->token);
	if (netns == LISTEN_NETNS_OTHER && !options->netns_file)
		log_message_once("measure network namespace: not the one that the "
				 "client connected to");
}

/* Begin what has no peer: as long as an exchange may take, it may take. */
static void
begin_alone(struct meter *meter)
{
	meter->began_ms = util_now_ms();
	meter->deadline_ms = meter->began_ms + (int64_t)meter->options->timeout_s * 1000;
	exchange_set_deadline(find_scan_deadline(meter));
}

static size_t
find_answer_max(const struct options *options)
{
	return answer_longest(options->pod_name, options->top_destinations);
}

/*
 * What has to be done for the figures before a request is read: all of it in a process of
 * the supervisor, which has no log either then; in another one, to open what it will
 * need.
 */
static void
prepare_figures(struct meter *meter, const struct answer_facts *facts, struct job *job)
{
	if (!job->supervised) {
		open_meter(meter);
		sandbox_init();
		return;
	}
	if (facts->netns_error)
		share_close(&job->share);
	else
		measure_shared(meter, &job->share, job->child.ready_ms);
	answer_log_faults(facts);
}

/* One request, one response: prepare, confine, read. Returns the exit status. */
static int
serve(const struct options *options, struct job *job)
{
	static struct answer_facts facts;
	static struct meter meter;
	const int64_t deadline_ms = job->accepted_ms + (int64_t)options->timeout_s * 1000;
	/* The supervisor has seen the whole head; it may have queued since. */
	const int64_t head_until_ms =
		job->supervised ? deadline_ms : job->accepted_ms + SUPERVISOR_HEAD_MS;
	int status, r;

	meter.options = options;
	meter.began_ms = job->accepted_ms;
	meter.deadline_ms = deadline_ms;
	/* Opening a file may wait as well, and so may the scan of another process. */
	exchange_set_deadline(find_scan_deadline(&meter));
	fill_facts(options, job, &meter, &facts);
	prepare_figures(&meter, &facts, job);
	exchange_move_deadline(deadline_ms);
	job->is_one_socket = exchange_is_one_socket(job->in, job->out);
	if (!job->supervised && job->is_one_socket)
		listen_bound_connection(job->in, find_answer_max(options),
			(int64_t)options->timeout_s * 1000);
	r = confine(options, job);
	status = exchange(options, job, &facts, head_until_ms);
	if (r < 0 && job->supervised && status == EXIT_SUCCESS)
		status = fail(job, FAILURE_FILTER, r);
	/*
	 * The supervisor waits for the client to close; a process would be too dear for
	 * that.
	 */
	if (!job->supervised && job->is_one_socket && status == EXIT_SUCCESS)
		exchange_finish(job->in, meter.deadline_ms);
	return status;
}

/* No alarm: it would end a pager, or a terminal that is stopped, after the timeout. */
static int
write_output(const struct options *options, const char *data, size_t len)
{
	return exchange_write(STDOUT_FILENO, data, len,
		util_now_ms() + (int64_t)options->timeout_s * 1000);
}

static int
print_metrics(const struct options *options)
{
	static struct meter meter;
	static struct answer_facts facts;
	struct buf content = buf_over(answer_data, sizeof(answer_data));
	struct job job = { .launcher = "print", .in = -1 };
	int r;

	meter.options = options;
	begin_alone(&meter);
	fill_facts(options, &job, &meter, &facts);
	if (answer_write_metrics(&content, &facts) < 0)
		return EXIT_FAILURE;
	exchange_move_deadline(INT64_MAX);
	r = write_output(options, content.data, content.len);
	if (r < 0)
		log_message("write metrics: %s", util_error_text(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What a report that is written again and again needs to know of the times before. */
struct watch {
	struct trend trend;
	bool has_drawn;
	char time[sizeof("00:00:00 UTC")]; /* of the last figures */
};

/* By hand, because a C library makes it of time zones and languages, of 16 KiB. */
static void
note_time(struct watch *watch)
{
	const unsigned second = (unsigned)(time(NULL) % DAY_S);
	struct buf b = buf_over(watch->time, sizeof(watch->time));

	buf_printf(
		&b, "%02u:%02u:%02u UTC", second / 3600, second / 60 % 60, second % 60);
}

static void
note_figures(struct watch *watch, const struct usage_totals *totals)
{
	note_time(watch);
	if (watch->trend.limit != totals->total)
		watch->trend = (struct trend){ .limit = totals->total };
	trend_add(&watch->trend, util_now_ms(), totals->destination_used_max);
}

/* Returns 1 after a report, 0 when there is nothing to report, which is logged, or
 * -errno. */
static int
write_report(const struct options *options, struct watch *watch)
{
	static struct answer_facts facts;
	struct meter meter = { .options = options };
	struct buf content = buf_over(answer_data, sizeof(answer_data));
	struct job job = { .launcher = "report", .in = -1 };
	struct report_style style;
	int r, written;

	begin_alone(&meter);
	fill_facts(options, &job, &meter, &facts);
	terminal_find_style(STDOUT_FILENO, options->watches, &style);
	if (options->watches && !facts.netns_error && measure(&meter)->error == 0) {
		note_figures(watch, &meter.figures.report.totals);
		style.trend = &watch->trend;
		style.time = watch->time;
	}
	r = answer_write_report(&content, &facts, &style);
	if (meter.opened)
		ports_close(&meter.ports);
	/* A terminal may be stopped for any length of time. */
	exchange_move_deadline(INT64_MAX);
	if (r < 0)
		content = buf_over(answer_data, sizeof(answer_data));
	if (r < 0 && watch->has_drawn)
		report_write_stale(&content, &style, watch->time);
	watch->has_drawn |= r == 0;
	written = write_output(options, content.data, content.len);
	return written < 0 ? written : r == 0;
}

static void
on_interrupt(int signal_number)
{
	_exit(EXIT_INTERRUPTED + signal_number);
}

/* PID 1 has no default actions: nothing would end it but SIGKILL. */
static void
allow_interrupts(void)
{
	if (getpid() != 1)
		return;
	signal(SIGINT, on_interrupt);
	signal(SIGTERM, on_interrupt);
}

/* Whoever watches sees errors come and go. */
static int
print_report(const struct options *options)
{
	static struct watch watch;
	const struct timespec pause = { .tv_sec = WATCH_S };
	int r;

	allow_interrupts();
	do {
		r = write_report(options, &watch);
	} while (options->watches && r >= 0 && nanosleep(&pause, NULL) == 0);
	if (r < 0)
		log_message("write report: %s", util_error_text(-r));
	return r > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
print_help(const struct options *options)
{
	struct buf b = buf_over(answer_data, sizeof(answer_data));

	options_write_help(&b);
	return write_output(options, b.data, b.len) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void
write_layers(struct buf *b, const int errors[static SANDBOX_LAYERS])
{
	buf_printf(b, "sandbox:");
	for (int i = 0; i < SANDBOX_LAYERS; i++) {
		if (errors[i] == 0)
			buf_printf(b, " %s", sandbox_layer_names[i]);
	}
	buf_printf(b, "\n");
	for (int i = 0; i < SANDBOX_LAYERS; i++) {
		if (errors[i] < 0)
			buf_printf(b, "not available: %s (%s)\n", sandbox_layer_names[i],
				util_error_text(-errors[i]));
	}
}

/* The process confines itself to find out which layers it can have, and has to exit. */
static int
print_version(const struct options *options)
{
	struct buf b = buf_over(answer_data, sizeof(answer_data));
	int errors[SANDBOX_LAYERS];

	sandbox_init();
	sandbox_confine_responder(options->timeout_s + 1, true, errors);
	buf_printf(&b, "metrics-sidecar " VERSION "\n");
	write_layers(&b, errors);
	return write_output(options, b.data, b.len) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/*
 * A listening port that connect() may be given is lost to it, and may be taken before we
 * start.
 */
static void
warn_of_ports_in_pool(const struct options *options)
{
	for (size_t i = 0; i < options->address_count; i++) {
		uint16_t port = listen_port(&options->addresses[i]);

		if (port > 0 && ports_pool_contains(options->procfs, port) > 0)
			log_message("listen on port %u: it lies in the local port range; "
				    "reserve it "
				    "in net.ipv4.ip_local_reserved_ports",
				port);
	}
}

static void
take_own_addresses(const struct options *options, struct listen_found *found)
{
	warn_of_ports_in_pool(options);
	found->count = options->address_count;
	for (size_t i = 0; i < found->count; i++)
		found->sockets[i] = (struct listen_socket){
			.fd = -1,
			.address = options->addresses[i],
		};
}

/* The addresses of the sockets that PID 1 has made, from the same options. */
static void
take_inherited_addresses(const struct options *options, struct listen_found *found)
{
	for (size_t i = 0; i < found->count && i < options->address_count; i++) {
		if (found->role == LISTEN_ROLE_OWN)
			found->sockets[i].address = options->addresses[i];
	}
}

/* What the supervisor says by itself, worded as everything else is. */
static struct slice
word_refusal(char *data, size_t size, enum http_status status)
{
	struct buf b = buf_over(data, size);

	answer_write_refusal(&b, status);
	return (struct slice){ b.data, b.len };
}

static struct supervisor_tally not_shared;

/* In memory that outlives a supervisor that dies, and is seen by who starts it again. */
static struct supervisor_tally *
make_tally(const struct renewal *renewal)
{
	struct supervisor_tally *tally = renewal_map_tally(renewal);

	if (!tally)
		tally = mmap(NULL, sizeof(not_shared), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return tally == MAP_FAILED ? &not_shared : tally;
}

/* A child has its copy; what is everybody's must be out of its reach. */
static void
leave_tally(struct supervisor_tally *tally)
{
	if (tally != &not_shared)
		munmap(tally, sizeof(*tally));
}

/* In PID 1, which starts supervisors. */
static void
prepare_renewal(struct renewal *renewal)
{
	int r = renewal_open(renewal);
	void *log = renewal_map_log(renewal);

	if (r < 0) {
		log_message("prepare other addresses for each supervisor: %s: all have "
			    "the same",
			util_error_text(-r));
		renewal->error = "could not be prepared";
	}
	if (log)
		log_share_memory(log);
	/* What it executes is this program, which needs no more than it has. */
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	sandbox_forbid_dumps();
}

_Static_assert((int)SANDBOX_LISTEN_MAX >= (int)LISTEN_OWN_MAX, "each can be allowed");

/* What the supervisor reaches for after it was confined. */
static struct sandbox_needs
find_needs(const struct options *options, const struct listen_found *found)
{
	struct sandbox_needs needs = {
		.directory = options->procfs,
		.file = options->token_file,
	};

	if (needs.file && needs.file[0] == '\0')
		needs.file = NULL; /* names no file: every request gets 503 */
	for (size_t i = 0; i < found->count; i++) {
		const struct listen_socket *socket = &found->sockets[i];

		if (socket->passed)
			continue;
		if (listen_path(&socket->address))
			needs.paths[needs.path_count++] = listen_path(&socket->address);
		else
			needs.ports[needs.port_count++] = listen_port(&socket->address);
	}
	return needs;
}

/*
 * Make what outlives the process that accepts: the sockets, which are opened again and
 * again where it does not work at once, and what children share.
 */
static void
prepare_to_supervise(struct service *service, struct share *share)
{
	struct listen_found *found = &service->found;
	int r = share_open(share, sizeof(struct answer_figures));

	if (r < 0)
		log_message(
			"share figures: %s: each request measures", util_error_text(-r));
	service->lock_fd = share->lock_fd;
	for (size_t i = 0; i < found->count; i++)
		listen_create(&found->sockets[i]);
	if (getpid() == 1)
		prepare_renewal(&service->renewal);
	manager_connect();
	service->inherited.count = 0;
	descriptors_list(STDERR_FILENO + 1, &service->inherited);
	if (service->inherited.count == DESCRIPTORS_LIST_MAX)
		log_message("list inherited descriptors: more than %d: the others are "
			    "closed by close_range() or not at all",
			DESCRIPTORS_LIST_MAX);
	sandbox_init();
}

/*
 * Shut the doors of the process that accepts. PID 1 keeps the right to start another one:
 * it reads nothing from the network, and no other process can write to its memory.
 */
static void
confine_supervisor(const struct options *options, const struct service *service)
{
	struct sandbox_needs needs = find_needs(options, &service->found);
	int errors[SANDBOX_LAYERS];

	needs.hands_over = service->renewal.handover.receiver >= 0;
	sandbox_confine_server(&needs, errors);
	log_missing_layers(errors, true);
}

/* Returns only when that failed: this process has the addresses of PID 1. */
static int
renew(void *context)
{
	struct service *service = context;
	const int keep[DESCRIPTORS_KEEP_MAX] = { log_descriptor(), service->lock_fd };
	int r = renewal_exec(&service->renewal, &service->found, service->argv, keep);

	service->renewal.error = "the program could not be executed";
	manager_connect(); /* it has closed that socket */
	return r;
}

/* PID 1 keeps the process alive that goes on from here. Returns false in PID 1, at the
 * end. */
static bool
go_on_in_child(struct service *service, const struct supervisor_config *config)
{
	const struct keeper_config keeper = {
		.progress = &config->tally->outcomes[SUPERVISOR_SERVED],
		.may_end = config->idle_exit_ms > 0 || config->should_end,
		.renew = service->renewal.error ? NULL : renew,
		.context = service,
	};

	return getpid() != 1 || keeper_run(&keeper) > 0;
}

/* Returns what supervisor_run() returns; in a child the job is filled. */
static int
supervise(const struct options *options, struct service *service, struct job *ret_job)
{
	static char late[ANSWER_HEAD_MAX], torn[ANSWER_HEAD_MAX], busy[ANSWER_HEAD_MAX];
	bool passed = service->found.role == LISTEN_ROLE_PASSED;
	struct supervisor_config config = {
		.sockets = service->found.sockets,
		.socket_count = service->found.count,
		.tally = make_tally(&service->renewal),
		.keep = { log_descriptor(), service->lock_fd },
		.inherited = service->inherited,
		.handover = service->renewal.handover,
		.max_connections = options->max_connections,
		.max_processes = options->max_processes,
		.timeout_ms = (int64_t)options->timeout_s * 1000,
		.answer_max = find_answer_max(options),
		.idle_exit_ms = passed ? (int64_t)options->idle_exit_s * 1000 : 0,
		.should_end = options->netns_file ? has_lost_netns : NULL,
		.context = options->netns_file,
		.has_answered = has_answered,
		.head_is_ready = http_head_is_ready,
		.late = word_refusal(late, sizeof(late), HTTP_REQUEST_TIMEOUT),
		.torn = word_refusal(torn, sizeof(torn), HTTP_BAD_REQUEST),
		.busy = word_refusal(busy, sizeof(busy), HTTP_UNAVAILABLE),
	};
	int r;

	if (!passed && options->idle_exit_s > 0)
		log_message("use --idle-exit: only with passed sockets: ignored");
	if (!go_on_in_child(service, &config))
		return 0;
	config.renewal_error = service->renewal.error;
	confine_supervisor(options, service);
	r = supervisor_run(&config, &ret_job->child);
	if (r == SUPERVISOR_RENEW)
		_exit(KEEPER_RENEW);
	if (r > 0)
		leave_tally(config.tally);
	return r;
}

/* Returns 1 with the job of a child, 0 when all is done. */
static int
start_supervising(
	const struct options *options, struct service *service, struct job *ret_job)
{
	int r;

	prepare_to_supervise(service, &ret_job->share);
	r = supervise(options, service, ret_job);
	if (r > 0) {
		ret_job->launcher = "supervisor";
		ret_job->supervised = true;
		ret_job->in = ret_job->out = ret_job->child.connection;
		ret_job->accepted_ms = ret_job->child.accepted_ms;
	}
	return r;
}

/*
 * inetd has one connection on standard input, and on standard output as well, or another
 * pipe there.
 */
static void
take_standard_descriptors(struct job *ret_job)
{
	ret_job->launcher = "inetd";
	ret_job->in = STDIN_FILENO;
	ret_job->out = STDOUT_FILENO;
}

/* Find out who started us. Returns 1 with a job to do, 0 when all is done, or -errno. */
static int
find_job(const struct options *options, struct service *service, struct job *ret_job)
{
	struct listen_found *found = &service->found;
	int r;

	ret_job->accepted_ms = util_now_ms();
	if (!service->renewal.error) {
		take_inherited_addresses(options, found);
		return start_supervising(options, service, ret_job);
	}
	if (options->mode == OPTIONS_MODE_INETD) {
		take_standard_descriptors(ret_job);
		return 1;
	}
	r = listen_find(found);
	if (r < 0)
		return r;
	switch (found->role) {
	case LISTEN_ROLE_INETD:
		take_standard_descriptors(ret_job);
		return 1;
	case LISTEN_ROLE_SYSTEMD:
		ret_job->launcher = "systemd";
		ret_job->in = ret_job->out = found->connection;
		return 1;
	case LISTEN_ROLE_OWN:
		take_own_addresses(options, found);
		break;
	case LISTEN_ROLE_PASSED:
		break;
	}
	return start_supervising(options, service, ret_job);
}

/*
 * What a launcher has left open, perhaps by mistake, is nothing that a request may reach.
 * Where it cannot be closed, it is what it would be for any program.
 */
static void
close_inherited(const struct job *job)
{
	const int keep[] = { job->in, job->out, log_descriptor() };

	descriptors_close_others(keep, sizeof(keep) / sizeof(keep[0]));
}

static int
run(const struct options *options, struct service *service)
{
	static struct job job;
	int r;

	if (options->mode == OPTIONS_MODE_PRINT)
		return print_metrics(options);
	if (options->mode == OPTIONS_MODE_REPORT)
		return print_report(options);
	if (options->mode == OPTIONS_MODE_HELP)
		return print_help(options);
	if (options->mode == OPTIONS_MODE_VERSION)
		_exit(print_version(options));
	r = find_job(options, service, &job);
	if (r < 0)
		log_message("take passed sockets: %s", util_error_text(-r));
	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	if (!job.supervised)
		close_inherited(&job);
	/* Nothing is left to flush, and what libraries do at exit is not allowed any
	 * more. */
	_exit(serve(options, &job));
}

/* Started by PID 1 in place of another one: it goes on with what that one had. */
static void
take_inheritance(struct service *service)
{
	void *log;

	service->renewal = renewal_none();
	if (!renewal_find(service->argv[0], &service->renewal, &service->found))
		return;
	/* execve(2) has named it "exe". */
	prctl(PR_SET_NAME, "metrics-sidecar");
	log = renewal_map_log(&service->renewal);
	if (log)
		log_share_memory(log);
}

int
main(int argc, char *argv[])
{
	static struct options options;
	struct service service; /* left untouched where it is not needed */
	char text[256] = "";
	struct buf message = buf_over(text, sizeof(text));

	/* A client that leaves, a file that may not grow: errors of write(2). */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	log_init();
	service.argv = argv;
	take_inheritance(&service);
	if (options_parse(&options, argc, argv, &message) < 0) {
		log_message("%s; see --help", text);
		return EXIT_USAGE;
	}
	return run(&options, &service);
}
