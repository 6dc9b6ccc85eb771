/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the request head of any stranger, from the first byte to the weights of
 * its Accept fields, and the head that each status is answered with.
 */
#include "exposition.h"
#include "http.h"
#include "util.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	DAY_MS = 24 * 3600 * 1000,
	UNTOUCHED = 0xa5,
	STATUS_FIRST = 200, /* that can be sent */
	STATUS_LAST = 599,
};

/* What parsing made of some bytes. The head is a heap block of exactly that length: the
 * sanitizer sees every read beyond it. */
struct attempt {
	char *head;
	size_t len;
	enum http_status status;
	struct http_request request;
};

static struct slice
slice_between(const char *start, const char *end)
{
	return (struct slice){ start, (size_t)(end - start) };
}

static struct slice
slice_of(const char *string)
{
	return (struct slice){ string, strlen(string) };
}

static void
copy_slice(char **at, struct slice s)
{
	if (s.len > 0)
		memcpy(*at, s.data, s.len);
	*at += s.len;
}

/* Whether s lies in the bytes, its end included. */
static bool
lies_in(struct slice s, const char *data, size_t len)
{
	return s.data >= data && s.data <= data + len &&
	       s.len <= (size_t)(data + len - s.data);
}

static bool
same_bytes(struct slice a, struct slice b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* A reader that stops as soon as it may must neither stop too early nor wait for ever;
 * and a refusal leaves the result alone. */
static void
check_status(const struct attempt *a)
{
	struct http_request untouched;

	assert(a->status == HTTP_INCOMPLETE || a->status == HTTP_OK ||
		a->status == HTTP_BAD_REQUEST || a->status == HTTP_URI_TOO_LONG ||
		a->status == HTTP_FIELDS_TOO_LARGE ||
		a->status == HTTP_VERSION_NOT_SUPPORTED);
	assert(a->status != HTTP_INCOMPLETE || a->len <= HTTP_HEAD_MAX);
	assert(http_head_is_ready(a->head, a->len) == (a->status != HTTP_INCOMPLETE));
	memset(&untouched, UNTOUCHED, sizeof(untouched));
	assert(a->status == HTTP_OK ||
		memcmp(&a->request, &untouched, sizeof(untouched)) == 0);
}

/* The path with unreserved characters decoded, written otherwise than in http.c. */
static const char *
decode_path(struct slice path)
{
	static char decoded[HTTP_HEAD_ROOM];
	size_t len = 0;

	for (size_t i = 0; i < path.len; i++) {
		char hex[3] = "";
		long octet = -1;

		if (path.data[i] == '%') {
			assert(path.len - i > 2 && isxdigit(path.data[i + 1]) &&
				isxdigit(path.data[i + 2]));
			memcpy(hex, path.data + i + 1, 2);
			octet = strtol(hex, NULL, 16);
		}
		if (octet > 0 && octet < 0x80 &&
			(isalnum((int)octet) || strchr("-._~", (int)octet))) {
			decoded[len++] = (char)octet;
			i += 2;
		} else {
			decoded[len++] = path.data[i];
		}
	}
	decoded[len] = '\0';
	return decoded;
}

static void
check_path(const struct http_request *request)
{
	static char longer[HTTP_HEAD_ROOM + 1];
	const char *decoded = decode_path(request->path);

	assert(http_path_equals(request, decoded));
	snprintf(longer, sizeof(longer), "%sx", decoded);
	assert(!http_path_equals(request, longer));
	longer[strlen(decoded) - 1] = '\0';
	assert(!http_path_equals(request, longer));
	assert(http_path_equals(request, "/metrics") ==
		(strcmp(decoded, "/metrics") == 0));
}

static void
check_request(const struct attempt *a)
{
	const struct slice path = a->request.path, fields = a->request.fields;

	assert(lies_in(fields, a->head, a->len));
	assert(fields.len == 0 || fields.data[fields.len - 1] == '\n');
	if (a->request.method == HTTP_OTHER) {
		assert(path.len == 0);
		return;
	}
	assert(lies_in(path, a->head, a->len) || slice_equals(path, "/"));
	assert(path.len > 0 && path.data[0] == '/');
	for (size_t i = 0; i < path.len; i++)
		assert(path.data[i] > ' ' && path.data[i] < 0x7f && path.data[i] != '?');
	check_path(&a->request);
}

/* Parse the three pieces as one head. */
static struct attempt
try_head(struct slice first, struct slice second, struct slice third)
{
	struct attempt a = { .len = first.len + second.len + third.len };
	char *at = a.head = malloc(a.len);

	assert(a.head);
	copy_slice(&at, first);
	copy_slice(&at, second);
	copy_slice(&at, third);
	memset(&a.request, UNTOUCHED, sizeof(a.request));
	a.status = http_parse_request(a.head, a.len, &a.request);
	check_status(&a);
	if (a.status == HTTP_OK)
		check_request(&a);
	return a;
}

/* The bytes that make the head: up to its blank line and with it. */
static struct slice
head_of(const struct attempt *a)
{
	const char *blank = a->request.fields.data + a->request.fields.len;

	return slice_between(a->head, blank + (*blank == '\r' ? 2 : 1));
}

/* The head, followed by anything, is the same request. */
static void
check_followed_by(const struct attempt *whole, struct slice head, struct slice more)
{
	struct attempt a = try_head(head, more, (struct slice){ "", 0 });

	assert(a.status == HTTP_OK && a.request.method == whole->request.method);
	assert(same_bytes(a.request.path, whole->request.path));
	assert(same_bytes(a.request.fields, whole->request.fields));
	free(a.head);
}

/* The head, cut short, waits for the rest. */
static void
check_cut(struct slice head, size_t len)
{
	struct slice none = { "", 0 };
	struct attempt a = try_head((struct slice){ head.data, len }, none, none);

	assert(a.status == HTTP_INCOMPLETE);
	free(a.head);
}

/* The head, with one more field line that makes it len bytes long. */
static void
check_padded(const struct attempt *whole, struct slice head, size_t len,
	enum http_status status)
{
	static char line[HTTP_HEAD_ROOM];
	const char *blank = whole->request.fields.data + whole->request.fields.len;
	struct slice padding = { line, len - head.len };
	struct attempt a;

	/* "x:" and a line end are the least that a field line has. */
	if (head.len + 3 > len)
		return;
	memset(line, 'x', padding.len);
	line[1] = ':';
	line[padding.len - 1] = '\n';
	a = try_head(slice_between(head.data, blank), padding,
		slice_between(blank, head.data + head.len));
	assert(a.len == len && a.status == status);
	check_cut((struct slice){ a.head, len }, len - 1);
	free(a.head);
}

static void
check_timeout(struct slice value)
{
	int64_t ms = -1;
	int r = util_parse_seconds(value, &ms);

	assert(r == 0 || r == -EINVAL || r == -ERANGE);
	assert(r == 0 ? ms >= 0 && ms <= DAY_MS : ms == -1);
}

/* Returns how many fields of that name there are. */
static unsigned
check_fields(const struct http_request *request, const char *name)
{
	const struct slice fields = request->fields;
	size_t offset = 0, before = 0;
	struct slice value;
	unsigned count = 0;

	for (; http_next_field(request, name, &offset, &value); before = offset) {
		count++;
		assert(offset > before && offset <= fields.len);
		assert(lies_in(value, fields.data + before, offset - before));
		assert(same_bytes(slice_trim(value), value));
		for (size_t i = 0; i < value.len; i++)
			assert(value.data[i] != '\r' && value.data[i] != '\n');
		check_timeout(value);
	}
	return count;
}

static void
check_weights(const struct http_request *request, bool accepts_sent)
{
	for (int i = 0; i < EXPOSITION_FORMATS; i++) {
		const struct exposition_media_type *type = &exposition_media_types[i];
		unsigned weight = http_accept_weight(
			request, type->type, type->subtype, type->version);

		assert(weight <= 1000);
		assert(accepts_sent || weight == 1000);
	}
}

/*
 * A token is the end of a single Authorization field whose scheme is Bearer, and shows no
 * space at its ends.
 */
static void
check_bearer_token(const struct http_request *request)
{
	const unsigned count = check_fields(request, "Authorization");
	struct slice token = { NULL, 0 }, value;
	size_t offset = 0;

	if (!http_find_bearer_token(request, &token)) {
		assert(!token.data || token.len == 0);
		return;
	}
	assert(count == 1 && token.len > 0);
	assert(http_next_field(request, "Authorization", &offset, &value));
	assert(lies_in(token, value.data, value.len));
	assert(token.data + token.len == value.data + value.len);
	assert(strncasecmp(value.data, "Bearer ", strlen("Bearer ")) == 0);
	assert(same_bytes(slice_trim(token), token));
}

/* Only HTTP/1.0, or a Connection field, says that the client may read to the end. */
static void
check_wants_close(const struct http_request *request)
{
	const bool wants_close = http_wants_close(request);

	assert(!request->is_1_0 || wants_close);
	assert(!wants_close || request->is_1_0 ||
		check_fields(request, "Connection") > 0);
}

/* Field lines that nobody has parsed before are read to their end as well. */
static void
check_unparsed(struct slice input)
{
	struct http_request request = { .fields = input };

	check_weights(&request, check_fields(&request, "Accept") > 0);
	check_bearer_token(&request);
	check_wants_close(&request);
}

/* A request for HEAD says so whether it is complete or not. */
static void
check_is_head(const struct attempt *a)
{
	if (a->status == HTTP_OK)
		assert(http_is_head(a->head, a->len) == (a->request.method == HTTP_HEAD));
	assert(!http_is_head(a->head, 0));
}

static bool
has_line(const char *head, const char *line)
{
	const char *at = strstr(head, line);

	return at && at[-1] == '\n' && strstr(at, "\r\n") == at + strlen(line);
}

/* A status-line with a reason, the fields that a status asks for, and a blank line. */
static void
check_response(enum http_status status, size_t content_length)
{
	static const char policy[] = "default-src 'none'";
	char head[512], line[64];
	struct buf b = buf_over(head, sizeof(head) - 1);

	http_write_head(&b, &(struct http_response){
				    .status = status,
				    .content_type = "text/plain",
				    .content_length = content_length,
				    .security_policy = status == HTTP_OK ? policy : NULL,
			    });
	assert(!b.overflow && strlen(head) == b.len);
	snprintf(line, sizeof(line), "HTTP/1.1 %u %s\r\n", (unsigned)status,
		http_reason_phrase(status));
	assert(strncmp(head, line, strlen(line)) == 0);
	snprintf(line, sizeof(line), "Content-Length: %zu", content_length);
	assert(has_line(head, line) && has_line(head, "Connection: close"));
	assert(has_line(head, "Content-Type: text/plain"));
	assert(has_line(head, "X-Content-Type-Options: nosniff"));
	assert(has_line(head, "Cross-Origin-Resource-Policy: same-origin"));
	assert(has_line(head, "Cache-Control: no-store"));
	assert(has_line(head, "WWW-Authenticate: Bearer realm=\"metrics-sidecar\"") ==
		(status == HTTP_UNAUTHORIZED));
	assert(has_line(head, "Allow: GET, HEAD") == (status == HTTP_METHOD_NOT_ALLOWED));
	assert(has_line(head, "Retry-After: 1") == (status == HTTP_UNAVAILABLE));
	assert(has_line(head, "Content-Security-Policy: default-src 'none'") ==
		(status == HTTP_OK));
	assert(has_line(head, "Referrer-Policy: no-referrer") == (status == HTTP_OK));
	assert(strstr(head, "\r\n\r\n") == head + b.len - 4);
}

/* Those that can be sent have a reason. */
static void
check_responses(size_t content_length)
{
	assert(http_reason_phrase(HTTP_INCOMPLETE)[0] == '\0');
	for (int i = STATUS_FIRST; i <= STATUS_LAST; i++) {
		enum http_status status = (enum http_status)i;

		if (http_reason_phrase(status)[0] != '\0')
			check_response(status, content_length);
	}
}

static void
check_understood(const struct attempt *whole)
{
	struct slice head = head_of(whole);
	struct slice rest = slice_between(head.data + head.len, whole->head + whole->len);

	check_followed_by(whole, head, (struct slice){ "", 0 });
	check_followed_by(whole, head, slice_of("\x16\x03\x01\r\n\r\n: \x7f"));
	check_followed_by(whole, head, rest);
	check_cut(head, head.len - 1);
	check_cut(head, head.len / 2);
	check_padded(whole, head, HTTP_HEAD_MAX, HTTP_OK);
	check_padded(whole, head, HTTP_HEAD_MAX + 1, HTTP_FIELDS_TOO_LARGE);
	assert(check_fields(&whole->request, "Host") <= 1);
	check_fields(&whole->request, "X-Prometheus-Scrape-Timeout-Seconds");
	check_weights(&whole->request, check_fields(&whole->request, "Accept") > 0);
	check_bearer_token(&whole->request);
	check_wants_close(&whole->request);
}

/* Refused once is refused for good: what comes after it changes nothing. */
static void
check_first_half(const struct attempt *whole)
{
	struct slice none = { "", 0 };
	struct attempt a =
		try_head((struct slice){ whole->head, whole->len / 2 }, none, none);

	if (a.status == HTTP_OK)
		assert(whole->status == HTTP_OK &&
			same_bytes(a.request.path, whole->request.path));
	else if (a.status != HTTP_INCOMPLETE)
		assert(whole->status != HTTP_OK && whole->status != HTTP_INCOMPLETE);
	free(a.head);
}

/* The same with as much in front of it as makes it longer than a head may be. */
static void
check_too_long(struct slice input)
{
	static char line[HTTP_HEAD_ROOM];
	struct slice none = { "", 0 };
	struct attempt a;

	memset(line, input.len > 0 ? input.data[0] : '\n', sizeof(line));
	a = try_head((struct slice){ line, sizeof(line) }, input, none);
	assert(a.status == HTTP_URI_TOO_LONG || a.status == HTTP_BAD_REQUEST);
	free(a.head);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice input = { (const char *)data, size }, none = { "", 0 };
	struct attempt whole = try_head(input, none, none);

	check_first_half(&whole);
	check_too_long(input);
	check_unparsed(input);
	check_is_head(&whole);
	check_responses(size);
	if (whole.status == HTTP_OK)
		check_understood(&whole);
	free(whole.head);
	return 0;
}
