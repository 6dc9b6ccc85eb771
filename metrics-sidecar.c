/* SPDX-License-Identifier: MIT */
/*
 * metrics-sidecar: tell Prometheus how many local ports are in use, and how many there
 * are.
 *
 * One process answers one request on a pair of descriptors and ends. systemd, inetd and
 * the supervisor are ways to start that process; whichever it was, serve() is what it
 * does.
 */
#include "exchange.h"
#include "exposition.h"
#include "http.h"
#include "listen.h"
#include "log.h"
#include "manager.h"
#include "options.h"
#include "ports.h"
#include "supervisor.h"
#include "util.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef VERSION
#error "the Makefile defines VERSION"
#endif

enum {
	EXIT_USAGE = 2,
	/*
	 * At most 45 samples and DESTINATIONS_TOP_MAX more with a name of at most 253
	 * bytes, each of which U+FFFD can make three: 145 * (759 + 160) is 131 KiB.
	 */
	CONTENT_MAX = 144 * 1024,
	RESPONSE_HEAD_MAX = 512,
};

static const char plain_text[] = "text/plain; charset=utf-8";

static const char landing_page[] =
	"<!DOCTYPE html>\n"
	"<html lang=\"en\">\n"
	"<head><meta charset=\"utf-8\"><title>metrics-sidecar</title></head>\n"
	"<body>\n"
	"<h1>metrics-sidecar</h1>\n"
	"<p>Local ports in use, and how many there are: <a "
	"href=\"/metrics\">metrics</a>.</p>\n"
	"<p>Version " VERSION "</p>\n"
	"</body>\n"
	"</html>\n";

/* How this process came to its connection, and what it tells about that. */
struct job {
	const char *launcher;
	int in, out;
	int64_t accepted_ms;
	bool supervised;
	struct supervisor_child child; /* if supervised */
};

/* What a request is answered with. */
struct answer {
	enum http_status status;
	const char *content_type;
	struct buf content;
};

static const char *
describe_error(int error)
{
	if (error == -EBADMSG)
		return "not in the format the kernel writes";
	if (error == -EAGAIN)
		return "interrupted at every try";
	/* The alarm of the deadline is what interrupts. */
	return error == -EINTR ? "deadline passed" : strerror(-error);
}

static const char *const netns_names[] = {
	[LISTEN_NETNS_UNKNOWN] = "unknown",
	[LISTEN_NETNS_SAME] = "same",
	[LISTEN_NETNS_OTHER] = "other",
};

/* What an operator may not have meant, though the figures are right. */
static void
log_oddities(const struct ports_report *report, enum listen_netns netns)
{
	if (report->sock_diag_error < 0)
		log_message_once("read sock_diag: %s: reading procfs instead",
			describe_error(report->sock_diag_error));
	if (netns == LISTEN_NETNS_OTHER)
		log_message_once("measure network namespace: not the one that the "
				 "client connected to");
}

/*
 * Scan and render. Returns 0, or -errno after appending what went wrong to `reason`; the
 * content is unusable then.
 */
static int
scrape(const struct options *options, const struct job *job,
	enum exposition_format format, struct buf *content, struct buf *reason)
{
	static struct ports_report report;
	enum listen_netns netns = listen_compare_netns(job->in);
	struct exposition_outcome outcomes[SUPERVISOR_OUTCOMES];
	struct exposition_scrape all = {
		.report = &report,
		.pod_name = options->pod_name,
		.version = VERSION,
		.launcher = job->launcher,
		.netns = netns_names[netns],
		.top_destinations = options->top_destinations,
		.outcomes = outcomes,
		.outcome_count = job->supervised ? SUPERVISOR_OUTCOMES : 0,
		.start_time_ms = job->child.start_time_ms,
	};
	const char *object;
	int r = ports_collect(options->procfs, options->source, &report, &object);

	if (r < 0) {
		buf_printf(reason, "read %s: %s", object, describe_error(r));
		return r;
	}
	log_oddities(&report, netns);
	for (int i = 0; i < SUPERVISOR_OUTCOMES; i++)
		outcomes[i] = (struct exposition_outcome){
			supervisor_outcome_names[i],
			job->child.outcomes[i],
		};
	exposition_write(content, format, &all);
	if (content->overflow) {
		buf_printf(reason, "render metrics: longer than %d bytes", CONTENT_MAX);
		return -EMSGSIZE;
	}
	return 0;
}

static enum exposition_format
choose_format(const struct http_request *request)
{
	unsigned weights[EXPOSITION_FORMATS];

	for (int i = 0; i < EXPOSITION_FORMATS; i++) {
		const struct exposition_media_type *type = &exposition_media_types[i];

		weights[i] = http_accept_weight(
			request, type->type, type->subtype, type->version);
	}
	return weights[EXPOSITION_OPENMETRICS] > weights[EXPOSITION_TEXT]
	               ? EXPOSITION_OPENMETRICS
	               : EXPOSITION_TEXT;
}

/* An answer whose content is its reason, for a person. */
static void
answer_reason(struct answer *answer, enum http_status status)
{
	answer->status = status;
	answer->content_type = plain_text;
	answer->content.len = 0;
	answer->content.overflow = false;
	buf_printf(&answer->content, "%s\n", http_reason_phrase(status));
}

static void
answer_metrics(const struct options *options, const struct job *job,
	const struct http_request *request, struct answer *answer)
{
	enum exposition_format format = choose_format(request);
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));

	if (scrape(options, job, format, &answer->content, &reason) < 0) {
		log_message("%s", text);
		answer_reason(answer, HTTP_INTERNAL_ERROR);
		buf_printf(&answer->content, "%s\n", text);
		return;
	}
	answer->status = HTTP_OK;
	answer->content_type = exposition_media_types[format].content_type;
}

static void
answer_request(const struct options *options, const struct job *job,
	const struct http_request *request, struct answer *answer)
{
	if (request->method == HTTP_OTHER) {
		answer_reason(answer, HTTP_METHOD_NOT_ALLOWED);
	} else if (slice_equals(request->path, "/metrics")) {
		answer_metrics(options, job, request, answer);
	} else if (slice_equals(request->path, "/")) {
		answer->status = HTTP_OK;
		answer->content_type = "text/html; charset=utf-8";
		buf_append(&answer->content, landing_page, sizeof(landing_page) - 1);
	} else {
		answer_reason(answer, HTTP_NOT_FOUND);
	}
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

/* Returns 0 when the answer was written, else -errno. */
static int
send_answer(const struct job *job, const struct answer *answer, bool head_only)
{
	static char response_data[RESPONSE_HEAD_MAX + CONTENT_MAX];
	struct buf response = buf_over(response_data, sizeof(response_data));

	http_write_head(&response, &(struct http_response){
					   .status = answer->status,
					   .content_type = answer->content_type,
					   .content_length = answer->content.len,
				   });
	if (!head_only)
		buf_append(&response, answer->content.data, answer->content.len);
	return exchange_write(job->out, response.data, response.len);
}

/* Answer the bytes of a head, complete or not, or the time-out of waiting for it. */
static int
answer_head(const struct options *options, const struct job *job, const char *head,
	ssize_t len)
{
	static char content_data[CONTENT_MAX];
	struct answer answer = { .content =
					 buf_over(content_data, sizeof(content_data)) };
	struct http_request request;
	enum http_status status = HTTP_REQUEST_TIMEOUT;

	if (len >= 0)
		status = http_parse_request(head, (size_t)len, &request);
	if (status == HTTP_INCOMPLETE)
		status = HTTP_BAD_REQUEST; /* the client sends no more */
	if (status == HTTP_OK) {
		int64_t timeout_ms = find_timeout_ms(&request, options->timeout_s * 1000);

		exchange_set_deadline(job->accepted_ms + timeout_ms);
		answer_request(options, job, &request, &answer);
	} else {
		answer_reason(&answer, status);
	}
	return send_answer(job, &answer, len > 0 && http_is_head(head, (size_t)len));
}

/* One request, one response. Returns the exit status of the process. */
static int
serve(const struct options *options, const struct job *job)
{
	static char head[HTTP_HEAD_ROOM];
	const int64_t deadline_ms = job->accepted_ms + options->timeout_s * 1000;
	ssize_t len;
	int r;

	exchange_set_deadline(deadline_ms);
	/* The supervisor has seen the whole head; it may have queued since. */
	len = exchange_read(job->in, head, sizeof(head),
		job->supervised ? deadline_ms : job->accepted_ms + SUPERVISOR_HEAD_MS,
		http_head_is_ready);
	if (len == 0)
		return EXIT_SUCCESS; /* somebody who tried whether the port is open */
	if (len < 0 && len != -ETIMEDOUT) {
		log_message("read request: %s", strerror((int)-len));
		return EXIT_FAILURE;
	}
	r = answer_head(options, job, head, len);
	if (r < 0) {
		log_message("write response: %s", strerror(-r));
		return EXIT_FAILURE;
	}
	/*
	 * The supervisor waits for the client to close; a process would be too dear for
	 * that.
	 */
	if (!job->supervised)
		exchange_finish(job->in, job->out);
	return EXIT_SUCCESS;
}

static int
print_metrics(const struct options *options)
{
	static char content_data[CONTENT_MAX];
	struct buf content = buf_over(content_data, sizeof(content_data));
	struct job job = { .launcher = "print", .in = -1 };
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));
	int r;

	if (scrape(options, &job, EXPOSITION_TEXT, &content, &reason) < 0) {
		log_message("%s", text);
		return EXIT_FAILURE;
	}
	r = exchange_write(STDOUT_FILENO, content.data, content.len);
	if (r < 0)
		log_message("write metrics: %s", strerror(-r));
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int
print_help(void)
{
	char data[4096];
	struct buf b = buf_over(data, sizeof(data));

	options_write_help(&b);
	return exchange_write(STDOUT_FILENO, b.data, b.len) < 0 ? EXIT_FAILURE
	                                                        : EXIT_SUCCESS;
}

static int
print_version(void)
{
	static const char version[] = "metrics-sidecar " VERSION "\n";

	return exchange_write(STDOUT_FILENO, version, sizeof(version) - 1) < 0
	               ? EXIT_FAILURE
	               : EXIT_SUCCESS;
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

/*
 * What the supervisor says by itself, worded as everything else is. Without content,
 * because it does not know whether it answers a HEAD.
 */
static struct slice
word_refusal(char *data, size_t size, enum http_status status)
{
	struct buf b = buf_over(data, size);

	http_write_head(&b, &(struct http_response){
				    .status = status,
				    .content_type = plain_text,
			    });
	return (struct slice){ b.data, b.len };
}

/* Returns what supervisor_run() returns; in a child the job is filled. */
static int
supervise(const struct options *options, struct listen_found *found, struct job *ret_job)
{
	static char late[RESPONSE_HEAD_MAX], torn[RESPONSE_HEAD_MAX],
		busy[RESPONSE_HEAD_MAX];
	bool passed = found->role == LISTEN_ROLE_PASSED;
	const struct supervisor_config config = {
		.sockets = found->sockets,
		.socket_count = found->count,
		.max_connections = options->max_connections,
		.max_processes = options->max_processes,
		.timeout_ms = options->timeout_s * 1000,
		.idle_exit_ms = passed ? options->idle_exit_s * 1000 : 0,
		.head_is_ready = http_head_is_ready,
		.late = word_refusal(late, sizeof(late), HTTP_REQUEST_TIMEOUT),
		.torn = word_refusal(torn, sizeof(torn), HTTP_BAD_REQUEST),
		.busy = word_refusal(busy, sizeof(busy), HTTP_UNAVAILABLE),
	};
	int r;

	if (!passed && options->idle_exit_s > 0)
		log_message("use --idle-exit: only with passed sockets: ignored");
	r = supervisor_run(&config, &ret_job->child);
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
find_job(const struct options *options, struct job *ret_job)
{
	struct listen_found found;
	int r;

	ret_job->accepted_ms = util_now_ms();
	if (options->mode == OPTIONS_MODE_INETD) {
		take_standard_descriptors(ret_job);
		return 1;
	}
	manager_init();
	r = listen_find(&found);
	if (r < 0)
		return r;
	switch (found.role) {
	case LISTEN_ROLE_INETD:
		take_standard_descriptors(ret_job);
		return 1;
	case LISTEN_ROLE_SYSTEMD:
		ret_job->launcher = "systemd";
		ret_job->in = ret_job->out = found.connection;
		return 1;
	case LISTEN_ROLE_OWN:
		take_own_addresses(options, &found);
		break;
	case LISTEN_ROLE_PASSED:
		break;
	}
	return supervise(options, &found, ret_job);
}

static int
run(const struct options *options)
{
	static struct job job;
	int r;

	if (options->mode == OPTIONS_MODE_PRINT)
		return print_metrics(options);
	if (options->mode == OPTIONS_MODE_HELP)
		return print_help();
	if (options->mode == OPTIONS_MODE_VERSION)
		return print_version();
	r = find_job(options, &job);
	if (r < 0)
		log_message("take passed sockets: %s", strerror(-r));
	if (r <= 0)
		return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
	return serve(options, &job);
}

int
main(int argc, char *argv[])
{
	static struct options options;
	char text[256] = "";
	struct buf message = buf_over(text, sizeof(text));

	/* A client that leaves is an error of write(2), no reason to die. */
	signal(SIGPIPE, SIG_IGN);
	log_init();
	if (options_parse(&options, argc, argv, &message) < 0) {
		log_message("%s", text);
		return EXIT_USAGE;
	}
	return run(&options);
}
