/* SPDX-License-Identifier: MIT */
/*
 * Understand one HTTP/1.x request head, word the head of one response.
 *
 * Source: RFC 9112 (message syntax), RFC 3986 (paths), RFC 9110 (semantics: Accept
 * in 12.5.1, status codes in 15), RFC 6750 (bearer tokens), RFC 9111 (Cache-Control).
 * Pure: no I/O, no allocation. Slices point into the caller's bytes.
 */
#ifndef HTTP_H
#define HTTP_H

#include "util.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	/* A head may have this many bytes, blank line included. */
	HTTP_HEAD_MAX = 16 * 1024,
	/* What a reader needs room for: one byte more tells that it is too long. */
	HTTP_HEAD_ROOM = HTTP_HEAD_MAX + 1,
};

enum http_status {
	HTTP_INCOMPLETE = 0, /* no answer yet: more bytes are needed */
	HTTP_OK = 200,
	HTTP_BAD_REQUEST = 400,
	HTTP_UNAUTHORIZED = 401,
	HTTP_NOT_FOUND = 404,
	HTTP_METHOD_NOT_ALLOWED = 405,
	HTTP_REQUEST_TIMEOUT = 408,
	HTTP_URI_TOO_LONG = 414,
	HTTP_FIELDS_TOO_LARGE = 431,
	HTTP_INTERNAL_ERROR = 500,
	HTTP_UNAVAILABLE = 503,
	HTTP_VERSION_NOT_SUPPORTED = 505,
};

enum http_method {
	HTTP_GET,
	HTTP_HEAD,
	HTTP_OTHER, /* a token, but none we serve */
};

struct http_request {
	enum http_method method;
	bool is_1_0; /* of HTTP/1.0, not of a later 1.x */
	struct slice
		path; /* of the request-target, without authority and query; encoded */
	struct slice fields; /* the field lines, each with its line end */
};

/* The parts of a response that vary; the content follows the head. */
struct http_response {
	enum http_status status;
	const char *content_type;
	size_t content_length;
	const char *security_policy; /* of a page (Content-Security-Policy); else NULL */
};

/*
 * Whether waiting for more bytes of a head is pointless: its blank line is there, it is
 * too long, or it holds a byte that no head can have (the first byte of a TLS handshake,
 * for one).
 */
bool http_head_is_ready(const char *buf, size_t len);

/*
 * Parse the request head at the start of buf; what follows the blank line is not looked
 * at.
 *
 * Returns HTTP_OK and fills *ret_request; HTTP_INCOMPLETE when the head has not ended
 * yet; else the status to refuse it with: 400, 414 or 431 (past HTTP_HEAD_MAX), 505.
 */
enum http_status
http_parse_request(const char *buf, size_t len, struct http_request *ret_request);

/*
 * Whether these bytes start a HEAD request, whose response has no content, whatever its
 * status.
 */
bool http_is_head(const char *buf, size_t len);

/*
 * Find the next field line called name, ignoring case, from *offset on, which starts at 0
 * and belongs to the call. Returns false when there is none, else true and its value
 * without surrounding white space.
 */
bool http_next_field(const struct http_request *request, const char *name, size_t *offset,
	struct slice *ret_value);

/*
 * Whether the path is this one: literally, or with unreserved characters percent-encoded,
 * which means the same.
 */
bool http_path_equals(const struct http_request *request, const char *wanted);

/*
 * Whether the client may read to the end of the connection: its request says close (RFC
 * 9112 section 9.6), or is of HTTP/1.0. One of HTTP/1.0 that says keep-alive reads to the
 * end too, because no response agrees to that.
 */
bool http_wants_close(const struct http_request *request);

/*
 * How much the client wants the media type type/subtype with the given version parameter:
 * the weight, 0 to 1000, that the most specific matching range of its Accept fields
 * gives; 1000 when it sent none.
 */
unsigned http_accept_weight(const struct http_request *request, const char *type,
	const char *subtype, const char *version);

/*
 * Find the token of "Authorization: Bearer TOKEN" (RFC 6750 section 2.1). Returns false
 * when there is none, or more than one Authorization field.
 */
bool http_find_bearer_token(const struct http_request *request, struct slice *ret_token);

/* "Not Found" for 404. The status is one of enum http_status that can be sent. */
const char *http_reason_phrase(enum http_status status);

/* Append the status-line, the field lines and the blank line. */
void http_write_head(struct buf *b, const struct http_response *response);

#endif
