/* SPDX-License-Identifier: MIT */
/*
 * Decide what one request is answered with, and word the whole response.
 *
 * A scrape is complete, or it is an error that says why. No byte of a request is ever
 * part of a response.
 *
 * Source: RFC 9110 section 15 (status codes), RFC 6750 section 3 (401). Reads and writes
 * no descriptor; what it finds wrong goes to the log as well.
 */
#ifndef ANSWER_H
#define ANSWER_H

#include "exposition.h"
#include "http.h"
#include "ports.h"
#include "report.h"
#include "token.h"
#include "util.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	/*
	 * Metrics: so many samples and one for each named destination, each with so many
	 * bytes besides the pod name, their part of the headings among them.
	 */
	ANSWER_SAMPLES = 47,
	ANSWER_SAMPLE = 171,
	/* The page: twice the pod name, and so many bytes besides it and the rows. */
	ANSWER_PAGE = 20480,
	ANSWER_PAGE_ROW = 320, /* of a named destination */
	/*
	 * A name has at most 253 bytes, each of which U+FFFD can make three: 147 *
	 * (759 + 171) bytes are 134 KiB.
	 */
	ANSWER_CONTENT_MAX = 144 * 1024,
	ANSWER_HEAD_MAX = 768,
	ANSWER_MAX = ANSWER_HEAD_MAX + ANSWER_CONTENT_MAX,
};

/* One measurement, good or bad. It can be copied between processes of one program. */
struct answer_figures {
	int error;          /* 0, or the -errno of ports_collect() */
	const char *object; /* what could not be read; a constant string */
	struct ports_report report;
};

/* What is known when the request comes. */
struct answer_facts {
	/* The figures, measured now if they are not there yet; for a request that needs
	 * them. */
	const struct answer_figures *(*measure)(void *context);
	void *context;
	const char *pod_name;
	const char *launcher;
	bool is_one_shot; /* for one connection: what all of them would log is left out */
	const char *netns;
	/* Why figures would be those of another namespace than this file's, or NULL. */
	const char *netns_error, *netns_file;
	bool names_destinations;
	bool in_kubernetes;
	bool needs_token;
	int token_error;    /* why there is none: every request gets 503; or 0 */
	struct token token; /* that a request must show */
	const struct exposition_outcome *outcomes;
	size_t outcome_count; /* 0 without a supervisor */
	int64_t start_time_ms;
};

/*
 * Log what is known to be wrong before there is a request: the token, the namespace, the
 * figures, which are measured for that if they are not there.
 */
void answer_log_faults(const struct answer_facts *facts);

/*
 * Word the response to a request, in `data`, which has room for ANSWER_MAX bytes; without
 * content where it is one to HEAD. `status` is HTTP_OK and `request` is what was parsed,
 * or it is an error and the request is not looked at. Returns the response, inside data,
 * and its status in *ret_status.
 */
struct slice answer_write(char data[static ANSWER_MAX], const struct answer_facts *facts,
	enum http_status status, const struct http_request *request, bool is_head,
	enum http_status *ret_status);

/* The most bytes of a response with this pod name and so many named destinations. */
size_t answer_longest(const char *pod_name, size_t destinations);

/*
 * Append the exposition alone, in the text format. Returns 0, or -errno after logging
 * what went wrong.
 */
int answer_write_metrics(struct buf *b, const struct answer_facts *facts);

/* Append the report for a terminal alone. Returns the same. */
int answer_write_report(struct buf *b, const struct answer_facts *facts,
	const struct report_style *style);

/*
 * Append a response without content, for a client whose request is not known: whether it
 * was a HEAD is not, either.
 */
void answer_write_refusal(struct buf *b, enum http_status status);

#endif
