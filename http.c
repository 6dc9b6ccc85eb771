/* SPDX-License-Identifier: MIT */
#include "http.h"

#include <string.h>

enum {
	/* Seconds after which a client that was turned away may come again. */
	RETRY_AFTER_S = 1,
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* token characters, RFC 9110 section 5.6.2 */
static bool
is_token_char(char c)
{
	return is_digit(c) || is_letter(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool
is_visible(char c)
{
	return (unsigned char)c > ' ' && (unsigned char)c < 0x7f;
}

/* A control character other than those that a head may have: HTAB, CR, LF. */
static bool
is_foreign(char c)
{
	return ((unsigned char)c < ' ' && c != '\t' && c != '\r' && c != '\n') ||
	       c == 0x7f;
}

/* The line without its end; a lone LF ends a line too (RFC 9112 section 2.2). */
static bool
take_line(struct slice *rest, struct slice *ret_line)
{
	const char *newline = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
	size_t len;

	if (!newline)
		return false;
	len = (size_t)(newline - rest->data);
	*ret_line = (struct slice){ rest->data, len };
	if (len > 0 && rest->data[len - 1] == '\r')
		ret_line->len--;
	rest->data += len + 1;
	rest->len -= len + 1;
	return true;
}

/* Empty lines before the request-line are skipped (RFC 9112 section 2.2). */
static size_t
count_leading_line_ends(const char *buf, size_t len)
{
	size_t i = 0;

	for (;;) {
		if (i < len && buf[i] == '\n')
			i++;
		else if (i + 1 < len && buf[i] == '\r' && buf[i + 1] == '\n')
			i += 2;
		else
			return i;
	}
}

/* The length of the head with its blank line, or 0 while there is none. */
static size_t
find_head_end(const char *buf, size_t len)
{
	size_t start = count_leading_line_ends(buf, len);
	struct slice rest = { buf + start, len - start }, line;

	while (take_line(&rest, &line)) {
		if (line.len == 0)
			return (size_t)(rest.data - buf);
	}
	return 0;
}

static bool
has_foreign(const char *buf, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (is_foreign(buf[i]))
			return true;
	}
	return false;
}

bool
http_head_is_ready(const char *buf, size_t len)
{
	return len > HTTP_HEAD_MAX || find_head_end(buf, len) > 0 ||
	       has_foreign(buf, len);
}

/* What stands before the separator, which is taken too; false when there is none. */
static bool
take_until(struct slice *rest, char separator, struct slice *ret_part)
{
	const char *end = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;

	if (!end)
		return false;
	*ret_part = (struct slice){ rest->data, (size_t)(end - rest->data) };
	rest->data = end + 1;
	rest->len -= ret_part->len + 1;
	return true;
}

static bool
all_of(struct slice s, bool (*is_wanted)(char))
{
	for (size_t i = 0; i < s.len; i++) {
		if (!is_wanted(s.data[i]))
			return false;
	}
	return s.len > 0;
}

/* "HTTP/" DIGIT "." DIGIT, in this case only */
static enum http_status
check_version(struct slice version)
{
	const char *v = version.data;

	if (version.len != 8 || memcmp(v, "HTTP/", 5) != 0 || !is_digit(v[5]) ||
		v[6] != '.' || !is_digit(v[7]))
		return HTTP_BAD_REQUEST;
	return v[5] == '1' ? HTTP_OK : HTTP_VERSION_NOT_SUPPORTED;
}

static enum http_method
find_method(struct slice method)
{
	if (slice_equals(method, "GET"))
		return HTTP_GET;
	if (slice_equals(method, "HEAD"))
		return HTTP_HEAD;
	return HTTP_OTHER;
}

/*
 * Skip "http://authority"; an empty path behind it is "/" (RFC 9112 section 3.2.2). An
 * empty authority makes the target invalid (RFC 9110 section 4.2.1), and leaves nothing.
 */
static struct slice
skip_authority(struct slice target)
{
	static const char *const schemes[] = { "http://", "https://" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);
		struct slice start = { target.data, target.len < len ? target.len : len };

		if (!slice_equals_nocase(start, schemes[i]))
			continue;
		while (len < target.len && target.data[len] != '/' &&
			target.data[len] != '?')
			len++;
		if (len == start.len)
			return (struct slice){ target.data, 0 };
		if (len == target.len || target.data[len] == '?')
			return (struct slice){ "/", 1 };
		return (struct slice){ target.data + len, target.len - len };
	}
	return target;
}

static int
hex_value(char c)
{
	if (is_digit(c))
		return c - '0';
	if (is_letter(c) && (c | 0x20) <= 'f')
		return (c | 0x20) - 'a' + 10;
	return -1;
}

/* The octet of a percent-encoding, RFC 3986 section 2.1, that starts here, or -1. */
static int
decode_octet(struct slice s)
{
	int high, low;

	if (s.len < 3 || s.data[0] != '%')
		return -1;
	high = hex_value(s.data[1]);
	low = hex_value(s.data[2]);
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool
is_well_encoded(struct slice path)
{
	for (; path.len > 0; path.data++, path.len--) {
		if (path.data[0] == '%' && decode_octet(path) < 0)
			return false;
	}
	return true;
}

/* Only unreserved characters mean the same encoded (RFC 3986 section 6.2.2.2). */
static int
take_path_char(struct slice *rest)
{
	int c = decode_octet(*rest);
	size_t len = 3;

	if (c <= 0 || c > 0x7f ||
		!(is_digit((char)c) || is_letter((char)c) || strchr("-._~", c))) {
		c = (unsigned char)rest->data[0];
		len = 1;
	}
	rest->data += len;
	rest->len -= len;
	return c;
}

bool
http_path_equals(const struct http_request *request, const char *wanted)
{
	struct slice rest = request->path;

	while (rest.len > 0 && *wanted != '\0') {
		if (take_path_char(&rest) != *wanted++)
			return false;
	}
	return rest.len == 0 && *wanted == '\0';
}

/* The path of an origin-form or absolute-form target; other forms are for other methods.
 */
static enum http_status
parse_target(struct slice target, struct http_request *request)
{
	struct slice path = skip_authority(target);
	const char *query;

	if (request->method == HTTP_OTHER)
		return HTTP_OK;
	if (path.len == 0 || path.data[0] != '/')
		return HTTP_BAD_REQUEST;
	query = memchr(path.data, '?', path.len);
	if (query)
		path.len = (size_t)(query - path.data);
	if (!is_well_encoded(path))
		return HTTP_BAD_REQUEST;
	request->path = path;
	return HTTP_OK;
}

static enum http_status
parse_request_line(struct slice line, struct http_request *request)
{
	struct slice method, target;
	enum http_status status;

	if (!take_until(&line, ' ', &method) || !take_until(&line, ' ', &target))
		return HTTP_BAD_REQUEST;
	if (!all_of(method, is_token_char) || !all_of(target, is_visible))
		return HTTP_BAD_REQUEST;
	status = check_version(line);
	if (status != HTTP_OK)
		return status;
	request->is_1_0 = line.data[line.len - 1] == '0';
	request->method = find_method(method);
	return parse_target(target, request);
}

/*
 * Split a field line. White space before the colon and folded lines are refused, as RFC
 * 9112 section 5 asks for; so is a bare CR, which section 2.2 forbids.
 */
static bool
split_field(struct slice line, struct slice *ret_name, struct slice *ret_value)
{
	struct slice name;

	if (!take_until(&line, ':', &name) || !all_of(name, is_token_char) ||
		(line.len > 0 && memchr(line.data, '\r', line.len)))
		return false;
	*ret_name = name;
	*ret_value = slice_trim(line);
	return true;
}

/* What RFC 3986 lets a host and its port consist of. */
static bool
is_host_char(char c)
{
	static const char delimiters[] = ":[](),;=";

	return is_token_char(c) ? !strchr("#^`|", c)
	                        : memchr(delimiters, c, sizeof(delimiters) - 1) != NULL;
}

static bool
is_host(struct slice value)
{
	return value.len == 0 || all_of(value, is_host_char);
}

/*
 * Every line a field line, and Host as often and as valid as RFC 9112 section 3.2 wants
 * it.
 */
static enum http_status
check_fields(struct slice fields, bool needs_host)
{
	struct slice line, name, value;
	unsigned hosts = 0;

	while (take_line(&fields, &line)) {
		if (!split_field(line, &name, &value))
			return HTTP_BAD_REQUEST;
		if (!slice_equals_nocase(name, "Host"))
			continue;
		if (!is_host(value))
			return HTTP_BAD_REQUEST;
		hosts++;
	}
	return hosts > 1 || (needs_host && hosts == 0) ? HTTP_BAD_REQUEST : HTTP_OK;
}

/* What a head is refused with that is too long: by what made it so. */
static enum http_status
too_long(const char *buf)
{
	size_t start = count_leading_line_ends(buf, HTTP_HEAD_MAX);

	return memchr(buf + start, '\n', HTTP_HEAD_MAX - start) ? HTTP_FIELDS_TOO_LARGE
	                                                        : HTTP_URI_TOO_LONG;
}

enum http_status
http_parse_request(const char *buf, size_t len, struct http_request *ret_request)
{
	size_t end = find_head_end(buf, len);
	size_t start = count_leading_line_ends(buf, len);
	struct http_request request = { .path = { "", 0 } };
	struct slice line = { buf, 0 };
	enum http_status status;

	if (has_foreign(buf, end > 0 ? end : len))
		return HTTP_BAD_REQUEST;
	if (end > HTTP_HEAD_MAX || (end == 0 && len > HTTP_HEAD_MAX))
		return too_long(buf);
	if (end == 0)
		return HTTP_INCOMPLETE;

	request.fields = (struct slice){ buf + start, end - start };
	take_line(&request.fields, &line);
	status = parse_request_line(line, &request);
	if (status != HTTP_OK)
		return status;
	/* The blank line is no field line. */
	request.fields.len -= buf[end - 2] == '\r' ? 2 : 1;
	status = check_fields(request.fields, !request.is_1_0);
	if (status == HTTP_OK)
		*ret_request = request;
	return status;
}

bool
http_is_head(const char *buf, size_t len)
{
	size_t start = count_leading_line_ends(buf, len);

	return len - start >= 5 && memcmp(buf + start, "HEAD ", 5) == 0;
}

bool
http_next_field(const struct http_request *request, const char *name, size_t *offset,
	struct slice *ret_value)
{
	struct slice rest = { request->fields.data + *offset,
		request->fields.len - *offset };
	struct slice line, line_name, value;

	while (take_line(&rest, &line)) {
		*offset = request->fields.len - rest.len;
		if (split_field(line, &line_name, &value) &&
			slice_equals_nocase(line_name, name)) {
			*ret_value = value;
			return true;
		}
	}
	return false;
}

/* Up to the separator outside quotes, which is taken too; trimmed. False at the end. */
static bool
take_element(struct slice *list, char separator, struct slice *ret_element)
{
	size_t i = 0;
	bool quoted = false;

	if (list->len == 0)
		return false;
	for (; i < list->len && (quoted || list->data[i] != separator); i++) {
		if (list->data[i] == '"')
			quoted = !quoted;
		else if (quoted && list->data[i] == '\\' && i + 1 < list->len)
			i++;
	}
	*ret_element = slice_trim((struct slice){ list->data, i });
	i += i < list->len;
	list->data += i;
	list->len -= i;
	return true;
}

bool
http_wants_close(const struct http_request *request)
{
	struct slice list, option;
	size_t offset = 0;

	while (http_next_field(request, "Connection", &offset, &list)) {
		while (take_element(&list, ',', &option)) {
			if (slice_equals_nocase(option, "close"))
				return true;
		}
	}
	return request->is_1_0;
}

/* A qvalue, RFC 9110 section 12.4.2, in thousandths; nonsense weighs nothing. */
static unsigned
parse_weight(struct slice value)
{
	unsigned weight = 0, unit = 1000;

	if (value.len == 0 || value.len > 5 || (value.len > 1 && value.data[1] != '.'))
		return 0;
	for (size_t i = 0; i < value.len; i++) {
		if (i == 1)
			continue;
		if (!is_digit(value.data[i]))
			return 0;
		weight += (unsigned)(value.data[i] - '0') * unit;
		unit /= 10;
	}
	return weight <= 1000 ? weight : 0;
}

/*
 * How specific a media-range is for what is offered; NO_MATCH when it means something
 * else.
 */
enum match {
	NO_MATCH,
	MATCH_ANY,
	MATCH_TYPE,
	MATCH_SUBTYPE,
	MATCH_VERSION,
};

static enum match
match_range(struct slice range, const char *type, const char *subtype)
{
	struct slice range_type;

	if (!take_until(&range, '/', &range_type))
		return NO_MATCH;
	if (slice_equals(range_type, "*"))
		return slice_equals(range, "*") ? MATCH_ANY : NO_MATCH;
	if (!slice_equals_nocase(range_type, type))
		return NO_MATCH;
	if (slice_equals(range, "*"))
		return MATCH_TYPE;
	return slice_equals_nocase(range, subtype) ? MATCH_SUBTYPE : NO_MATCH;
}

/*
 * Whether a parameter's value, a token or a quoted string (RFC 9110 section 5.6.4), means
 * this.
 */
static bool
value_equals(struct slice value, const char *wanted)
{
	size_t i;

	if (value.len < 2 || value.data[0] != '"' || value.data[value.len - 1] != '"')
		return slice_equals(value, wanted);
	for (i = 1; i < value.len - 1; i++, wanted++) {
		if (value.data[i] == '\\' && i + 1 < value.len - 1)
			i++;
		if (*wanted == '\0' || value.data[i] != *wanted)
			return false;
	}
	return *wanted == '\0';
}

/*
 * One element of Accept: how it matches, and its weight. Other parameters than these are
 * ignored.
 */
static enum match
match_element(struct slice element, const char *type, const char *subtype,
	const char *version, unsigned *ret_weight)
{
	struct slice part, name;
	enum match match;

	*ret_weight = 1000;
	if (!take_element(&element, ';', &part))
		return NO_MATCH;
	match = match_range(part, type, subtype);
	while (match != NO_MATCH && take_element(&element, ';', &part)) {
		if (!take_element(&part, '=', &name))
			continue;
		if (slice_equals_nocase(name, "q"))
			*ret_weight = parse_weight(slice_trim(part));
		else if (match == MATCH_SUBTYPE && slice_equals_nocase(name, "version"))
			match = value_equals(slice_trim(part), version) ? MATCH_VERSION
			                                                : NO_MATCH;
	}
	return match;
}

unsigned
http_accept_weight(const struct http_request *request, const char *type,
	const char *subtype, const char *version)
{
	enum match best = NO_MATCH, match;
	unsigned best_weight = 0, weight;
	struct slice list, element;
	size_t offset = 0;
	bool sent = false;

	while (http_next_field(request, "Accept", &offset, &list)) {
		sent = true;
		while (take_element(&list, ',', &element)) {
			match = match_element(element, type, subtype, version, &weight);
			if (match < best || match == NO_MATCH)
				continue;
			if (match > best || weight > best_weight)
				best_weight = weight;
			best = match;
		}
	}
	return sent ? best_weight : 1000;
}

bool
http_find_bearer_token(const struct http_request *request, struct slice *ret_token)
{
	struct slice value, scheme, second;
	size_t offset = 0;

	if (!http_next_field(request, "Authorization", &offset, &value) ||
		http_next_field(request, "Authorization", &offset, &second) ||
		!take_until(&value, ' ', &scheme) ||
		!slice_equals_nocase(scheme, "Bearer"))
		return false;
	*ret_token = slice_trim(value);
	return ret_token->len > 0;
}

/* clang-format off */
static const struct {
	enum http_status status;
	const char *reason;
} reasons[] = {
	{ HTTP_OK,                    "OK" },
	{ HTTP_BAD_REQUEST,           "Bad Request" },
	{ HTTP_UNAUTHORIZED,          "Unauthorized" },
	{ HTTP_NOT_FOUND,             "Not Found" },
	{ HTTP_METHOD_NOT_ALLOWED,    "Method Not Allowed" },
	{ HTTP_REQUEST_TIMEOUT,       "Request Timeout" },
	{ HTTP_URI_TOO_LONG,          "URI Too Long" },
	{ HTTP_FIELDS_TOO_LARGE,      "Request Header Fields Too Large" },
	{ HTTP_INTERNAL_ERROR,        "Internal Server Error" },
	{ HTTP_UNAVAILABLE,           "Service Unavailable" },
	{ HTTP_VERSION_NOT_SUPPORTED, "HTTP Version Not Supported" },
};
/* clang-format on */

const char *
http_reason_phrase(enum http_status status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (reasons[i].status == status)
			return reasons[i].reason;
	}
	return "";
}

void
http_write_head(struct buf *b, const struct http_response *response)
{
	buf_printf(b, "HTTP/1.1 %u %s\r\n", (unsigned)response->status,
		http_reason_phrase(response->status));
	if (response->status == HTTP_METHOD_NOT_ALLOWED)
		buf_printf(b, "Allow: GET, HEAD\r\n");
	if (response->status == HTTP_UNAVAILABLE)
		buf_printf(b, "Retry-After: %u\r\n", (unsigned)RETRY_AFTER_S);
	if (response->status == HTTP_UNAUTHORIZED)
		buf_printf(b, "WWW-Authenticate: Bearer realm=\"metrics-sidecar\"\r\n");
	if (response->security_policy)
		buf_printf(b,
			"Content-Security-Policy: %s\r\nReferrer-Policy: no-referrer\r\n",
			response->security_policy);
	buf_printf(b,
		"Content-Type: %s\r\n"
		"X-Content-Type-Options: nosniff\r\n"
		"Cross-Origin-Resource-Policy: same-origin\r\n"
		"Cache-Control: no-store\r\n"
		"Content-Length: %zu\r\n"
		"Connection: close\r\n"
		"\r\n",
		response->content_type, response->content_length);
}
