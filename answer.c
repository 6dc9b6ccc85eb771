/* SPDX-License-Identifier: MIT */
#include "answer.h"

#include "log.h"

#include <errno.h>
#include <string.h>

#ifndef VERSION
#error "the Makefile defines VERSION"
#endif

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

/* The parts of a response that are decided on. */
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
	if (error == -EINTR)
		return "deadline passed";
	/* A C library may want memory to word one that it does not know. */
	return -error <= EHWPOISON ? strerror(-error) : "an error without a name";
}

static const char *
describe_token_error(int error)
{
	if (error == -ENODATA)
		return "empty";
	if (error == -EMSGSIZE)
		return "longer than a token may be";
	if (error == -EBADMSG)
		return "not a token: bytes other than visible ASCII";
	return describe_error(error);
}

/* Returns 0, or -errno after appending what went wrong; the content is unusable then. */
static int
write_exposition(struct buf *content, const struct answer_facts *facts,
	enum exposition_format format, struct buf *reason)
{
	const struct answer_figures *figures = facts->measure(facts->context);
	const struct exposition_scrape scrape = {
		.report = &figures->report,
		.pod_name = facts->pod_name,
		.version = VERSION,
		.launcher = facts->launcher,
		.netns = facts->netns,
		.names_destinations = facts->names_destinations,
		.outcomes = facts->outcomes,
		.outcome_count = facts->outcome_count,
		.start_time_ms = facts->start_time_ms,
	};

	if (figures->error < 0) {
		buf_printf(reason, "read %s: %s", figures->object,
			describe_error(figures->error));
		return figures->error;
	}
	if (figures->report.sock_diag_error < 0)
		log_message_once("read sock_diag: %s: reading procfs instead",
			describe_error(figures->report.sock_diag_error));
	exposition_write(content, format, &scrape);
	if (content->overflow) {
		buf_printf(
			reason, "render metrics: longer than %zu bytes", content->size);
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
answer_metrics(struct answer *answer, const struct answer_facts *facts,
	const struct http_request *request)
{
	enum exposition_format format = choose_format(request);
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));

	if (write_exposition(&answer->content, facts, format, &reason) < 0) {
		log_message("%s", text);
		answer_reason(answer, HTTP_INTERNAL_ERROR);
		buf_printf(&answer->content, "%s\n", text);
		return;
	}
	answer->status = HTTP_OK;
	answer->content_type = exposition_media_types[format].content_type;
}

/* Who may not be answered. Without a token to compare with, that is everyone. */
static enum http_status
check_token(const struct answer_facts *facts, const struct http_request *request)
{
	struct slice shown;

	if (!facts->needs_token)
		return HTTP_OK;
	if (facts->token_error < 0) {
		log_message("read bearer token: %s: nobody is let in",
			describe_token_error(facts->token_error));
		return HTTP_UNAVAILABLE;
	}
	return http_find_bearer_token(request, &shown) &&
	                       token_equals(&facts->token, shown)
	               ? HTTP_OK
	               : HTTP_UNAUTHORIZED;
}

static void
answer_request(struct answer *answer, const struct answer_facts *facts,
	const struct http_request *request)
{
	enum http_status status = check_token(facts, request);

	if (status != HTTP_OK) {
		answer_reason(answer, status);
	} else if (request->method == HTTP_OTHER) {
		answer_reason(answer, HTTP_METHOD_NOT_ALLOWED);
	} else if (slice_equals(request->path, "/metrics")) {
		answer_metrics(answer, facts, request);
	} else if (slice_equals(request->path, "/")) {
		answer->status = HTTP_OK;
		answer->content_type = "text/html; charset=utf-8";
		buf_append(&answer->content, landing_page, sizeof(landing_page) - 1);
	} else {
		answer_reason(answer, HTTP_NOT_FOUND);
	}
}

/*
 * The content is written first, because its length is in the head, which then goes right
 * before it: a response is in one piece, and none of it was written twice.
 */
struct slice
answer_write(char data[static ANSWER_MAX], const struct answer_facts *facts,
	enum http_status status, const struct http_request *request, bool is_head)
{
	char head_data[ANSWER_HEAD_MAX];
	struct buf head = buf_over(head_data, sizeof(head_data));
	struct answer answer = { .content = buf_over(
					 data + ANSWER_HEAD_MAX, ANSWER_CONTENT_MAX) };
	char *start;

	if (status == HTTP_OK)
		answer_request(&answer, facts, request);
	else
		answer_reason(&answer, status);
	http_write_head(&head, &(struct http_response){
				       .status = answer.status,
				       .content_type = answer.content_type,
				       .content_length = answer.content.len,
			       });
	start = answer.content.data - head.len;
	memcpy(start, head.data, head.len);
	return (struct slice){ start, head.len + (is_head ? 0 : answer.content.len) };
}

int
answer_write_metrics(struct buf *b, const struct answer_facts *facts)
{
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));
	int r = write_exposition(b, facts, EXPOSITION_TEXT, &reason);

	if (r < 0)
		log_message("%s", text);
	return r;
}

void
answer_write_refusal(struct buf *b, enum http_status status)
{
	http_write_head(b, &(struct http_response){
				   .status = status,
				   .content_type = plain_text,
			   });
}
