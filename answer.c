/* SPDX-License-Identifier: MIT */
#include "answer.h"

#include "log.h"
#include "page.h"

#include <errno.h>
#include <string.h>

#ifndef VERSION
#error "the Makefile defines VERSION"
#endif

static const char plain_text[] = "text/plain; charset=utf-8";

/* The parts of a response that are decided on. */
struct answer {
	enum http_status status;
	const char *content_type;
	const char *security_policy; /* of a page */
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
	if (error == -EINTR || error == -ETIMEDOUT)
		return "deadline passed";
	return util_error_text(-error);
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

/* Returns 0 with a scrape of the figures, or -errno after appending what went wrong. */
static int
take_scrape(const struct answer_facts *facts, struct exposition_scrape *ret_scrape,
	struct buf *reason)
{
	const struct answer_figures *figures;

	if (facts->netns_error) {
		buf_printf(reason, "measure network namespace %.128s: %s",
			facts->netns_file, facts->netns_error);
		return -ESTALE;
	}
	figures = facts->measure(facts->context);
	if (figures->error < 0) {
		buf_printf(reason, "read %s: %s", figures->object,
			describe_error(figures->error));
		return figures->error;
	}
	if (figures->report.sock_diag_error < 0 && !facts->is_one_shot)
		log_message_once("read sock_diag: %s: reading procfs instead",
			describe_error(figures->report.sock_diag_error));
	*ret_scrape = (struct exposition_scrape){
		.report = &figures->report,
		.pod_name = facts->pod_name,
		.version = VERSION,
		.launcher = facts->launcher,
		.netns = facts->netns,
		.names_destinations = facts->names_destinations,
		.in_kubernetes = facts->in_kubernetes,
		.outcomes = facts->outcomes,
		.outcome_count = facts->outcome_count,
		.start_time_ms = facts->start_time_ms,
	};
	return 0;
}

/* One way to say a scrape, and how exactly. */
struct form {
	void (*write)(struct buf *b, const struct exposition_scrape *scrape,
		const struct form *form);
	enum exposition_format format;    /* of metrics */
	const struct report_style *style; /* of a report */
};

static void
write_metrics(
	struct buf *b, const struct exposition_scrape *scrape, const struct form *form)
{
	exposition_write(b, form->format, scrape);
}

static void
write_page(struct buf *b, const struct exposition_scrape *scrape, const struct form *form)
{
	(void)form;
	page_write(b, scrape);
}

static void
write_report(
	struct buf *b, const struct exposition_scrape *scrape, const struct form *form)
{
	report_write(b, scrape, form->style);
}

/* Returns 0, or -errno after appending what went wrong; the content is unusable then. */
static int
write_scrape(struct buf *content, const struct answer_facts *facts,
	const struct form *form, struct buf *reason)
{
	struct exposition_scrape scrape;
	int r = take_scrape(facts, &scrape, reason);

	if (r < 0)
		return r;
	form->write(content, &scrape, form);
	if (content->overflow) {
		buf_printf(
			reason, "render figures: longer than %zu bytes", content->size);
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

/* A scrape in this form, or why there is none. */
static void
answer_scrape(struct answer *answer, const struct answer_facts *facts,
	const struct form *form, const char *content_type)
{
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));

	if (write_scrape(&answer->content, facts, form, &reason) < 0) {
		log_message("%s", text);
		answer_reason(answer, HTTP_INTERNAL_ERROR);
		buf_printf(&answer->content, "%s\n", text);
		return;
	}
	answer->status = HTTP_OK;
	answer->content_type = content_type;
}

static void
answer_metrics(struct answer *answer, const struct answer_facts *facts,
	const struct http_request *request)
{
	const struct form form = {
		.write = write_metrics,
		.format = choose_format(request),
	};

	answer_scrape(
		answer, facts, &form, exposition_media_types[form.format].content_type);
}

static void
answer_page(struct answer *answer, const struct answer_facts *facts)
{
	const struct form form = { .write = write_page };

	answer_scrape(answer, facts, &form, "text/html; charset=utf-8");
	if (answer->status == HTTP_OK)
		answer->security_policy = page_security_policy;
}

static void
log_token_error(const struct answer_facts *facts)
{
	log_message("read bearer token: %s: every request gets 503",
		describe_token_error(facts->token_error));
}

void
answer_log_faults(const struct answer_facts *facts)
{
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));
	struct exposition_scrape scrape;

	if (facts->token_error < 0)
		log_token_error(facts);
	if (take_scrape(facts, &scrape, &reason) < 0)
		log_message("%s", text);
}

/* Who may not be answered. Without a token to compare with, that is everyone. */
static enum http_status
check_token(const struct answer_facts *facts, const struct http_request *request)
{
	struct slice shown;

	if (!facts->needs_token)
		return HTTP_OK;
	if (facts->token_error < 0) {
		log_token_error(facts);
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
	} else if (http_path_equals(request, "/metrics")) {
		answer_metrics(answer, facts, request);
	} else if (http_path_equals(request, "/")) {
		answer_page(answer, facts);
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
	enum http_status status, const struct http_request *request, bool is_head,
	enum http_status *ret_status)
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
				       .security_policy = answer.security_policy,
			       });
	*ret_status = answer.status;
	start = answer.content.data - head.len;
	memcpy(start, head.data, head.len);
	return (struct slice){ start, head.len + (is_head ? 0 : answer.content.len) };
}

/* The most that escaping makes of a name, when it makes `escaped` bytes of one. */
static size_t
count_name_bytes(const char *name, size_t escaped)
{
	size_t count = 0;

	for (; *name != '\0'; name++)
		count += *name > ' ' && *name <= '~' && !strchr("&<>\"'\\", *name)
		                 ? 1
		                 : escaped;
	return count;
}

size_t
answer_longest(const char *pod_name, size_t destinations)
{
	enum {
		LABEL_ESCAPED = 3,
		HTML_ESCAPED = sizeof("&#xfffd;") - 1
	};
	const size_t metrics =
		(ANSWER_SAMPLES + destinations) *
		(ANSWER_SAMPLE + count_name_bytes(pod_name, LABEL_ESCAPED));
	const size_t page = ANSWER_PAGE + destinations * ANSWER_PAGE_ROW +
	                    2 * count_name_bytes(pod_name, HTML_ESCAPED);

	return ANSWER_HEAD_MAX + (metrics > page ? metrics : page);
}

static int
write_or_log(struct buf *b, const struct answer_facts *facts, const struct form *form)
{
	char text[256] = "";
	struct buf reason = buf_over(text, sizeof(text));
	int r = write_scrape(b, facts, form, &reason);

	if (r < 0)
		log_message("%s", text);
	return r;
}

int
answer_write_metrics(struct buf *b, const struct answer_facts *facts)
{
	const struct form form = { .write = write_metrics, .format = EXPOSITION_TEXT };

	return write_or_log(b, facts, &form);
}

int
answer_write_report(
	struct buf *b, const struct answer_facts *facts, const struct report_style *style)
{
	const struct form form = { .write = write_report, .style = style };

	return write_or_log(b, facts, &form);
}

void
answer_write_refusal(struct buf *b, enum http_status status)
{
	http_write_head(b, &(struct http_response){
				   .status = status,
				   .content_type = plain_text,
			   });
}
