/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: a scrape as people see it, in a browser and at a terminal. The input is
 * how the terminal looks and then that of scrape.h. The page is read as a strict parser
 * would, the report as a terminal that counts its columns; the map is drawn again port by
 * port.
 */
#include "page.h"
#include "report.h"
#include "tests/scrape.h"
#include "trend.h"
#include "usage.h"
#include "util.h"
#include "view.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	LOOK_BYTES = 6,
	/* What the page promises, whatever the scrape; the report keeps it too. */
	PAGE_MAX = 64 * 1024,
	DEPTH_MAX = 16,
	TAG_MAX = 16, /* bytes of a name */
	BAR_WIDTH = 1000,
	SQUARE = 9, /* columns of the map's picture, with one between two of them */
	SHADES = 5,
	MAP_LABEL = 6,
	MAP_LINES = 2,
	TEXT_MAX = 512,
	/* In front of an address; the longest has room behind it on most terminals. */
	TABLE_LEAD_MAX = 8 + 9 + 2 + sizeof("from ") - 1,
	TABLE_WIDTH_MAX = 8 + 9 + 2 + sizeof("from %4294967295") - 1 + 39,
	/* The table of states has room for no more. */
	SOCKETS_MAX = 99999999,
	CHARACTER_MAX = 4, /* bytes */
	REPLACEMENT = 0xfffd,
};

/* Bits of the third byte. */
enum look_flag {
	LOOK_COLOURS = 1,
	LOOK_UTF8 = 2,
	LOOK_REDRAWS = 4,
	LOOK_TREND = 8,
};

static struct look {
	struct report_style style;
	struct trend trend;
} look;

/* One byte more, for a NUL. */
static char page[PAGE_MAX + 1], nameless[PAGE_MAX + 1];
static char ascii[PAGE_MAX + 1], utf8[PAGE_MAX + 1];
static char styled[PAGE_MAX + 1], stripped[PAGE_MAX + 1];

/* Samples that lead to the figure of the scrape: so many, so far apart, so steep. */
static void
make_trend(unsigned count, uint8_t every, int8_t step)
{
	int64_t last = found.totals.destination_used_max;

	look.trend = (struct trend){ .limit = found.totals.total };
	for (unsigned i = 0; i < count; i++) {
		int64_t value = last - (int64_t)(count - 1 - i) * step;

		trend_add(&look.trend, (int64_t)i * every * every * 10,
			value > 0 ? (uint32_t)value : 0);
	}
}

static void
take_look(const uint8_t bytes[LOOK_BYTES])
{
	const unsigned widths = REPORT_WIDTH_MAX - REPORT_WIDTH_MIN + 1;

	look.style = (struct report_style){
		.width = REPORT_WIDTH_MIN + bytes[0] % widths,
		.height = bytes[1],
		.has_colours = bytes[2] & LOOK_COLOURS,
		.has_utf8 = bytes[2] & LOOK_UTF8,
		.redraws = bytes[2] & LOOK_REDRAWS,
		.trend = bytes[2] & LOOK_TREND ? &look.trend : NULL,
		.time = bytes[2] & LOOK_TREND ? "00:00:00 UTC" : NULL,
	};
	make_trend(bytes[3] % (TREND_SAMPLES + 10U), bytes[4], (int8_t)bytes[5]);
}

static bool
is_in(const struct usage_bitmap *map, unsigned port)
{
	return map->words[port / 64] >> port % 64 & 1;
}

static bool
is_used(unsigned port)
{
	return is_in(&found.usage.held[USAGE_TCP], port) ||
	       is_in(&found.usage.held[USAGE_UDP], port);
}

/* The map, port by port. */
static void
check_map(void)
{
	const unsigned first = found.usage.pool.range_first;
	const unsigned last = found.usage.pool.range_last;
	const struct usage_map *map = &found.map;
	struct usage_map expected = { 0 };

	assert(map->count > 0 && map->count <= USAGE_CELLS && map->width % 2 == 0);
	assert(map->first <= first && first - map->first < map->width);
	assert((last - map->first) / map->width == map->count - 1U);
	for (unsigned port = first; port <= last; port++) {
		struct usage_cell *cell =
			&expected.cells[(port - first) % 2]
				       [(port - map->first) / map->width];

		cell->total += is_in(&found.usage.pool.ports, port);
		cell->used += is_used(port);
	}
	assert(memcmp(map->cells, expected.cells, sizeof(map->cells)) == 0);
}

static void
check_sums(void)
{
	uint32_t total = 0, used = 0;

	for (int i = 0; i < USAGE_PARITIES * USAGE_CELLS; i++) {
		const struct usage_cell *cell =
			&found.map.cells[i / USAGE_CELLS][i % USAGE_CELLS];

		assert(cell->used <= cell->total);
		total += cell->total;
		used += cell->used;
	}
	assert(total == found.totals.total && used == found.totals.used);
}

/* What is no less than it must be: every part of a whole. */
static void
check_parts(void)
{
	const struct usage_totals *totals = &found.totals;
	const struct view_parts parts = view_divide(totals);

	assert(totals->used <= totals->total && totals->blocked <= totals->used);
	assert(totals->destination_used_max <= totals->total);
	assert(parts.blocked == totals->blocked);
	assert(parts.time_wait <= totals->time_wait);
	assert((uint64_t)parts.blocked + parts.connected + parts.time_wait ==
		totals->used);
}

/* By other arithmetic: tenths, fifths, hundredths. What connect() takes over is free. */
static enum view_level
expected_pool_level(const struct ports_report *report, enum usage_protocol protocol)
{
	const struct usage_totals *totals = &report->totals;
	const uint64_t taken_over =
		protocol == USAGE_TCP ? totals->time_wait_reusable : 0;
	const uint64_t used = totals->used_by[protocol] - taken_over;
	const uint64_t total = report->totals.total;
	const bool is_odd = (report->range_first ^ report->range_last ^ 1) & 1;
	const uint64_t missed = protocol == USAGE_TCP && is_odd &&
	                        !report->is_lower_bound && used * 2 > total;

	if (used >= total)
		return VIEW_EXHAUSTED;
	if ((total - used - missed) * 100 < total)
		return VIEW_SHORT;
	return used * 5 > total * 4 ? VIEW_MOSTLY_USED : VIEW_ENOUGH;
}

static enum view_level
expected_level(const struct ports_report *report)
{
	const struct usage_totals *totals = &report->totals;
	const uint64_t nearest = totals->destination_used_max, total = totals->total;
	const uint64_t most = nearest + totals->destination_error_max;
	enum view_level tcp = expected_pool_level(report, USAGE_TCP);
	enum view_level udp = expected_pool_level(report, USAGE_UDP);
	enum view_level pool = tcp > udp ? tcp : udp;

	if (nearest >= total || pool == VIEW_EXHAUSTED)
		return VIEW_EXHAUSTED;
	if (nearest * 10 > total * 9 || pool == VIEW_SHORT)
		return VIEW_SHORT;
	if (nearest > total - nearest)
		return VIEW_HALF_USED;
	if (pool == VIEW_ENOUGH && (report->is_lower_bound || most * 2 > total))
		return VIEW_UNKNOWN;
	return pool;
}

/* One port more is never better. */
static void
check_level(void)
{
	struct ports_report report = found.report;
	enum view_level level = view_judge(&report);

	assert(level == expected_level(&report));
	report.totals.destination_used_max++;
	assert(view_judge(&report) >= level);
	assert(view_judge(&report) == expected_level(&report));
	report = found.report;
	report.totals.used_by[found.flags % USAGE_PROTOCOLS]++;
	assert(view_judge(&report) >= level);
	report = found.report;
	report.totals.total++;
	assert(view_judge(&report) <= level);
}

/* A number in groups of three digits, from its end. */
static const char *
group(uint64_t number)
{
	static char text[32];
	char digits[21], *at = text + sizeof(text) - 1;
	int count = snprintf(digits, sizeof(digits), "%" PRIu64, number);

	*at = '\0';
	for (int i = 0; i < count; i++) {
		if (i > 0 && i % 3 == 0)
			*--at = ',';
		*--at = digits[count - 1 - i];
	}
	return at;
}

static void
check_count(uint64_t number)
{
	char data[32];
	struct buf b = buf_over(data, sizeof(data));

	view_write_count(&b, number);
	assert(!b.overflow);
	assert(slice_equals((struct slice){ data, b.len }, group(number)));
}

static void
check_share(uint32_t part, uint32_t whole)
{
	const unsigned share = view_share(part, whole);
	char data[16], *end;
	struct buf b = buf_over(data, sizeof(data));

	if (whole == 0) {
		assert(share == 0);
		return;
	}
	assert(share <= 1000 && (share == 1000) == (part == whole));
	assert((uint64_t)whole * share <= (uint64_t)part * 1000);
	assert((uint64_t)whole * (share + 1) > (uint64_t)part * 1000);
	view_write_share(&b, part, whole);
	assert(!b.overflow);
	assert(strtoul(data, &end, 10) == share / 10 && *end == '.');
	assert(strtoul(end + 1, &end, 10) == share % 10);
	assert(slice_equals((struct slice){ end, b.len - (size_t)(end - data) }, " %"));
}

static void
check_cost(uint64_t us)
{
	char data[32], *end;
	struct buf b = buf_over(data, sizeof(data));

	view_write_cost(&b, us);
	assert(!b.overflow);
	assert(strtoull(data, &end, 10) == us / 1000 && *end == '.');
	assert(strtoull(end + 1, &end, 10) == us % 1000);
	assert(slice_equals((struct slice){ end, b.len - (size_t)(end - data) }, " ms"));
}

static void
check_numbers(void)
{
	const struct usage_totals *totals = &found.totals;

	for (int state = 0; state < USAGE_STATES; state++) {
		uint64_t tcp = found.report.sockets[USAGE_TCP][state];
		uint64_t udp = found.report.sockets[USAGE_UDP][state];
		bool always = state == USAGE_ESTABLISHED ||
		              (state == USAGE_TIME_WAIT && !found.is_lower_bound);

		check_count(tcp);
		check_count(udp);
		assert(view_has_state(&found.report, (enum usage_state)state) ==
			(always || tcp > 0 || udp > 0));
	}
	check_cost(found.duration_us);
	check_share(totals->used, totals->total);
	check_share(totals->destination_used_max, totals->total);
	check_share(UINT32_MAX - totals->used, UINT32_MAX);
}

/* Sentences that fit a paragraph of the report, in printable ASCII. */
static void
check_sentence(void (*write)(struct buf *b, const struct exposition_scrape *scrape))
{
	char data[TEXT_MAX];
	struct buf b = buf_over(data, sizeof(data));

	write(&b, &found.scrape);
	assert(!b.overflow && b.len > 0);
	for (size_t i = 0; i < b.len; i++)
		assert(data[i] >= ' ' && data[i] <= '~');
}

static bool
says(struct slice text, const char *words)
{
	return memmem(text.data, text.len, words, strlen(words)) != NULL;
}

/* "enough" needs figures that are not too low, and a lower bound is called so. */
static void
check_claims(void)
{
	const struct usage_totals *totals = &found.totals;
	const uint32_t tcp = totals->used_by[USAGE_TCP];
	char data[TEXT_MAX];
	struct buf b = buf_over(data, sizeof(data));
	struct slice text;

	view_write_verdict(&b, &found.scrape);
	text = (struct slice){ data, b.len };
	if (says(text, "enough local ports are free")) {
		assert(!found.is_lower_bound);
		assert((uint64_t)2 * (totals->destination_used_max +
					     totals->destination_error_max) <=
			totals->total);
		assert(says(text, "Not every bound socket") ==
			!found.report.shows_bound_inactive);
		assert(says(text, "may take over those in TIME_WAIT") ==
			((uint64_t)tcp * 5 > (uint64_t)totals->total * 4));
	}
	if (says(text, "leaves out one port"))
		assert(totals->left_out == 1 &&
			(found.report.range_last - found.report.range_first) % 2 == 0);
	if (says(text, "hold all but one of these"))
		assert(totals->blocked + 1 >= totals->destination_used_max &&
			says(text, "leaves out one port"));
	if (says(text, "hold these ports"))
		assert(totals->blocked >= totals->destination_used_max &&
			!says(text, "leaves out one port"));
	assert(says(text, "more ports may be") ==
		(found.is_lower_bound && totals->used < totals->total));
}

/* Words that only an exact text has, and words that only one of lower bounds has. */
static void
check_bounds(const char *text)
{
	static const char *const exact[] = { "TCP in TIME_WAIT only", "tries" };
	static const char *const lower[] = { "t least ", "free, or not seen",
		"Open sockets of" };

	for (size_t i = 0; i < sizeof(exact) / sizeof(exact[0]); i++)
		assert(!strstr(text, exact[i]) == found.is_lower_bound);
	for (size_t i = 0; i < sizeof(lower) / sizeof(lower[0]); i++) {
		if (found.is_lower_bound)
			assert(strstr(text, lower[i]));
		else if (found.totals.destination_error_max == 0)
			assert(!strstr(text, lower[i]));
	}
}

/* Past one character of text, which is none that controls anything. */
static const char *
skip_character(const char *at)
{
	size_t len = util_utf8_length((struct slice){ at, strnlen(at, CHARACTER_MAX) });

	assert(len > 0);
	assert((unsigned char)*at >= ' ' && *at != 0x7f);
	assert(len != 2 || *at != '\xc2' || (unsigned char)at[1] >= 0xa0);
	return at + len;
}

/* "&#38;" or "&#xfffd;": no other references are written. */
static const char *
skip_reference(const char *at, unsigned long *ret_code)
{
	const bool is_hexadecimal = at[2] == 'x';
	char *end;

	assert(at[0] == '&' && at[1] == '#');
	*ret_code = strtoul(at + 2 + is_hexadecimal, &end, is_hexadecimal ? 16 : 10);
	assert(*end == ';');
	return end + 1;
}

/* The number of an attribute, as in ` x="3"`. */
static unsigned long
attribute(const char *tag, size_t len, const char *start, unsigned long missing)
{
	const char *at = memmem(tag, len, start, strlen(start));

	return at ? strtoul(at + strlen(start), NULL, 10) : missing;
}

static void
check_rect(const char *tag, size_t len)
{
	unsigned long x = attribute(tag, len, " x=\"", 0);
	unsigned long width = attribute(tag, len, " width=\"", BAR_WIDTH + 1);

	assert(x <= BAR_WIDTH && width <= BAR_WIDTH - x);
}

/* The shade is that of the next fourth: only what is empty has none. */
static void
check_square(const struct usage_cell *cell, unsigned long shade)
{
	assert(cell->total > 0);
	assert(shade * cell->total >= cell->used * (SHADES - 1UL));
	assert(shade == 0 || (shade - 1) * cell->total < cell->used * (SHADES - 1UL));
}

/* Squares of one shade of the map; returns how many. */
static size_t
check_squares(const char *tag, size_t len)
{
	unsigned long shade = attribute(tag, len, " class=\"shade", SHADES);
	const char *at = strstr(tag, " d=\"") + strlen(" d=\"");
	size_t count = 0;

	assert(shade < SHADES);
	for (; *at != '"'; count++) {
		unsigned x, y;
		int taken = 0;

		assert(sscanf(at, "M%u %uh9v20h-9z%n", &x, &y, &taken) == 2 && taken > 0);
		assert(x % (SQUARE + 1) == 0 && x / (SQUARE + 1) < found.map.count);
		assert(y == 0 || y == 24);
		check_square(&found.map.cells[y > 0][x / (SQUARE + 1)], shade);
		at += taken;
	}
	return count;
}

/* A reader of the page. */
struct reader {
	const char *at;
	char open[DEPTH_MAX][TAG_MAX];
	size_t depth;
	size_t rows, squares;
};

static void
take_tag_name(struct reader *reader, char ret_name[TAG_MAX])
{
	size_t len = strspn(reader->at, "abcdefghijklmnopqrstuvwxyz123456");

	assert(len > 0 && len < TAG_MAX);
	memcpy(ret_name, reader->at, len);
	ret_name[len] = '\0';
	reader->at += len;
}

static void
take_end_tag(struct reader *reader)
{
	char name[TAG_MAX];

	reader->at += strlen("</");
	take_tag_name(reader, name);
	assert(*reader->at++ == '>');
	assert(reader->depth > 0);
	assert(strcmp(reader->open[--reader->depth], name) == 0);
}

/* Each has a value in quotes, but for one that is there or not. */
static void
take_attributes(struct reader *reader)
{
	while (*reader->at == ' ') {
		reader->at++;
		reader->at += strspn(reader->at, "abcdefghijklmnopqrstuvwxyzABR-");
		if (*reader->at != '=')
			continue;
		assert(reader->at[1] == '"');
		for (reader->at += 2; *reader->at != '"';) {
			assert(!strchr("<>&", *reader->at));
			reader->at = skip_character(reader->at);
		}
		reader->at++;
	}
}

static void
look_at(struct reader *reader, const char *name, const char *tag)
{
	size_t len = (size_t)(reader->at - tag);

	reader->rows += strncmp(tag, "<tr><td>", strlen("<tr><td>")) == 0;
	if (strcmp(name, "rect") == 0)
		check_rect(tag, len);
	if (memmem(tag, len, " class=\"shade", strlen(" class=\"shade")))
		reader->squares += check_squares(tag, len);
}

/* Style and script end with the first "</" there is. */
static void
skip_raw_text(struct reader *reader, const char *name)
{
	if (strcmp(name, "style") != 0 && strcmp(name, "script") != 0)
		return;
	reader->at = strstr(reader->at, "</");
	assert(reader->at);
	assert(strncmp(reader->at + 2, name, strlen(name)) == 0);
}

static void
take_start_tag(struct reader *reader)
{
	const char *tag = reader->at++;
	char name[TAG_MAX];

	take_tag_name(reader, name);
	take_attributes(reader);
	look_at(reader, name, tag);
	if (*reader->at == '/') {
		assert(strcmp(name, "rect") == 0 || strcmp(name, "path") == 0);
		reader->at++;
	} else if (strcmp(name, "meta") != 0 && strcmp(name, "link") != 0) {
		assert(reader->depth < DEPTH_MAX);
		strcpy(reader->open[reader->depth++], name);
	}
	assert(*reader->at++ == '>');
	skip_raw_text(reader, name);
}

static void
take_text(struct reader *reader)
{
	unsigned long code;

	assert(!strchr(">\"'", *reader->at));
	if (*reader->at == '&')
		reader->at = skip_reference(reader->at, &code);
	else if (*reader->at == '\n')
		reader->at++;
	else
		reader->at = skip_character(reader->at);
}

static size_t
count_squares(void)
{
	size_t count = 0;

	for (int i = 0; i < USAGE_PARITIES * USAGE_CELLS; i++)
		count += found.map.cells[i / USAGE_CELLS][i % USAGE_CELLS].total > 0;
	return count;
}

static void
check_markup(void)
{
	static const char doctype[] = "<!DOCTYPE html>\n";
	struct reader reader = { .at = page };

	assert(strncmp(page, doctype, strlen(doctype)) == 0);
	reader.at += strlen(doctype);
	while (*reader.at != '\0') {
		if (strncmp(reader.at, "</", 2) == 0)
			take_end_tag(&reader);
		else if (*reader.at == '<')
			take_start_tag(&reader);
		else
			take_text(&reader);
	}
	assert(reader.depth == 0);
	assert(reader.squares == count_squares());
}

/* The character of the name that stands there, however it is written. */
static const char *
check_written(const char *at, unsigned long control, struct slice character)
{
	unsigned long code;

	assert(!strchr("<>\"'", *at));
	if (*at != '&') {
		assert(control == 0);
		assert(memcmp(at, character.data, character.len) == 0);
		return at + character.len;
	}
	at = skip_reference(at, &code);
	assert(code == (control > 0 ? control : (unsigned char)character.data[0]));
	return at;
}

/* What is no character, or controls something, is replaced. */
static const char *
check_name(const char *at)
{
	struct slice s = { found.pod_name, strlen(found.pod_name) };

	while (s.len > 0) {
		size_t len = util_utf8_length(s);
		unsigned char byte = (unsigned char)s.data[0];
		bool is_control = len == 1 ? byte < ' ' || byte == 0x7f
		                           : len == 2 && byte == 0xc2 &&
		                                     (unsigned char)s.data[1] < 0xa0;

		at = check_written(at, len == 0 || is_control ? REPLACEMENT : 0,
			(struct slice){ s.data, len });
		len += len == 0;
		s.data += len;
		s.len -= len;
	}
	return at;
}

/* The page is that of a pod without a name, and the name stands in two places of it. */
static void
check_names(void)
{
	static const char before[] = "Local ports of ";
	struct exposition_scrape scrape = found.scrape;
	struct buf b = buf_over(nameless, PAGE_MAX);
	const char *with = page, *without = nameless;

	scrape.pod_name = "";
	page_write(&b, &scrape);
	nameless[b.len] = '\0';
	for (int i = 0; i < 2; i++) {
		const char *at = strstr(without, before);
		size_t len = (size_t)(at - without) + strlen(before);

		assert(at && memcmp(with, without, len) == 0);
		with = check_name(with + len);
		without += len;
	}
	assert(strcmp(with, without) == 0);
}

/* The script looks for these; an id is there once. */
static void
check_ids(void)
{
	static const char *const ids[] = { "verdict", "nearest", "pool", "destinations",
		"states", "map", "scan", "status", "history", "left", "lines",
		"line-used", "line-nearest" };

	for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		char id[32];
		const char *at;

		snprintf(id, sizeof(id), " id=\"%s\"", ids[i]);
		at = strstr(page, id);
		assert(at && !strstr(at + 1, id));
	}
}

static void
check_figures(void)
{
	const struct usage_totals *totals = &found.totals;
	char text[128];

	snprintf(text, sizeof(text),
		" class=\"level%d\" data-bound=\"%s\" data-total=\"%u\" "
		"data-used=\"%u\" data-nearest=\"%u\">",
		(int)view_judge(&found.report), found.is_lower_bound ? "lower" : "exact",
		totals->total, totals->used, totals->destination_used_max);
	assert(strstr(page, text));
	snprintf(text, sizeof(text), "<b id=\"used\">%s</b>", group(totals->used));
	assert(strstr(page, text));
	snprintf(text, sizeof(text), "<b id=\"total\">%s</b>", group(totals->total));
	assert(strstr(page, text));
	assert(!strstr(page, "ports of the network namespace that you") ==
		!has_flag(FLAG_OTHER_NETNS));
}

static void
check_page(void)
{
	struct buf b = buf_over(page, PAGE_MAX);

	page_write(&b, &found.scrape);
	assert(!b.overflow);
	page[b.len] = '\0';
	assert(strlen(page) == b.len);
	check_markup();
	check_names();
	check_bounds(strstr(nameless, "<main>"));
	check_ids();
	check_figures();
}

static size_t
write_report(char text[PAGE_MAX + 1], const struct report_style *style)
{
	struct buf b = buf_over(text, PAGE_MAX);

	report_write(&b, &found.scrape, style);
	assert(!b.overflow);
	text[b.len] = '\0';
	assert(strlen(text) == b.len);
	return b.len;
}

/* Past a line with its end; in ret_columns what it takes. */
static const char *
skip_line(const char *at, bool has_utf8, size_t *ret_columns)
{
	for (*ret_columns = 0; *at != '\n'; ++*ret_columns) {
		assert(has_utf8 || (unsigned char)*at < 0x80);
		at = skip_character(at);
	}
	return at + 1;
}

/* What cannot be broken: one word, or an address behind figures. */
static bool
may_be_wide(const char *line, const char *end, unsigned width)
{
	const char *space = memrchr(line, ' ', (size_t)(end - line));

	return !space || (width < TABLE_WIDTH_MAX && space - line < TABLE_LEAD_MAX &&
				 (memchr(space, ':', (size_t)(end - space)) ||
					 memchr(space, '%', (size_t)(end - space))));
}

static bool
is_a_state(const char *line)
{
	const size_t indent = 2;

	for (int state = 1; state < USAGE_STATES; state++) {
		const char *name = exposition_state_names[state];

		if (strncmp(line + indent, name, strlen(name)) == 0)
			return true;
	}
	return false;
}

static bool
has_too_many_sockets(void)
{
	for (int i = 0; i < USAGE_PROTOCOLS * USAGE_STATES; i++) {
		if (found.report.sockets[i / USAGE_STATES][i % USAGE_STATES] >
			SOCKETS_MAX)
			return true;
	}
	return false;
}

/* Lines are as wide as the terminal at the most, and equally wide in both alphabets. */
static void
check_lines(unsigned width)
{
	const char *at = ascii, *other = utf8;
	size_t columns, other_columns;

	while (*at != '\0') {
		const char *line = at;

		at = skip_line(at, false, &columns);
		other = skip_line(other, true, &other_columns);
		assert(columns == other_columns);
		assert(columns <= width || may_be_wide(line, at - 1, width) ||
			(has_too_many_sockets() && is_a_state(line)));
	}
	assert(*other == '\0');
}

/* A legend is a line that nothing else looks like. */
static void
check_legend(char fill, const char *name, uint32_t ports)
{
	char line[80];

	snprintf(line, sizeof(line), "\n  %c %s %s\n", fill, group(ports), name);
	assert(strstr(ascii, line));
}

static void
check_legends(void)
{
	const struct view_parts parts = view_divide(&found.totals);

	check_legend('#', "connected, or UDP", parts.connected);
	check_legend('X', "blocked for every connect()", parts.blocked);
	if (found.is_lower_bound)
		assert(!strstr(ascii, "\n  w "));
	else
		check_legend('w', "TCP in TIME_WAIT only", parts.time_wait);
	check_legend('.', found.is_lower_bound ? "free, or not seen" : "free",
		found.totals.total - found.totals.used);
}

/* A column is empty when its cells are, and full from seven eighths on. */
static void
check_column(char column, const struct usage_cell *cells, int count)
{
	unsigned used = 0, total = 0;

	for (int i = 0; i < count; i++) {
		used += cells[i].used;
		total += cells[i].total;
	}
	assert((column == ' ') == (total == 0));
	assert((column == '#') == (used * 8 > total * 7));
	assert((column == '.') == (total > 0 && used == 0));
}

static void
check_map_lines(unsigned width)
{
	static const char heading[] = "\nWhere the used ports lie\n";
	const int room = (int)width - MAP_LABEL;
	const int step = (found.map.count + room - 1) / room;
	const char *at = strstr(ascii, heading);

	assert(at);
	at += strlen(heading);
	for (int parity = 0; parity < MAP_LINES; parity++) {
		bool is_odd = (found.usage.pool.range_first + parity) % 2;

		assert(strncmp(at, is_odd ? "odd   " : "even  ", MAP_LABEL) == 0);
		at += MAP_LABEL;
		for (int i = 0; i < found.map.count; i += step) {
			int left = found.map.count - i;

			check_column(*at++, &found.map.cells[parity][i],
				left < step ? left : step);
		}
		assert(*at++ == '\n');
	}
}

/* An escape sequence, which only they may have who can show it. */
static const char *
skip_sequence(const char *at, bool *colour_is_set)
{
	const char *number = at + 2;
	size_t digits = strspn(number, "0123456789");

	assert(at[1] == '[');
	at = number + digits;
	if (*at == 'm') {
		assert(look.style.has_colours && digits > 0);
		*colour_is_set = *number != '0';
	} else {
		assert(look.style.redraws && digits == 0);
		assert(*at == 'H' || *at == 'J' || *at == 'K');
		assert((*at == 'H') == (number == styled + 2));
		assert((*at == 'J') == (at[1] == '\0'));
	}
	return at + 1;
}

/* A line is erased where it begins, unless all that follows is. */
static void
check_erasure(const char *line)
{
	static const char *const erased[] = { "\033[K", "\033[J", "\033[0m\033[J" };

	for (size_t i = 0; i < sizeof(erased) / sizeof(erased[0]); i++) {
		if (strncmp(line, erased[i], strlen(erased[i])) == 0)
			return;
	}
	assert(!look.style.redraws);
}

/* The report without its escape sequences; colours do not outlast it. */
static void
strip(void)
{
	static const char home[] = "\033[H";
	const char *at = styled;
	bool colour_is_set = false;
	size_t len = 0;

	assert(!look.style.redraws || strncmp(at, home, strlen(home)) == 0);
	check_erasure(styled + strlen(home));
	while (*at != '\0') {
		if (*at == '\033') {
			at = skip_sequence(at, &colour_is_set);
			continue;
		}
		if (*at == '\n')
			check_erasure(at + 1);
		stripped[len++] = *at++;
	}
	assert(!look.style.redraws || at[-1] == 'J');
	assert(!colour_is_set);
	stripped[len] = '\0';
}

/* Where the first line begins that has no room; the terminal breaks what is too wide. */
static const char *
find_end(const char *text)
{
	const struct report_style *style = &look.style;
	size_t columns, room = style->height;
	const char *next;

	for (; style->height > 0 && *text != '\0'; text = next) {
		size_t lines = 1;

		next = skip_line(text, style->has_utf8, &columns);
		for (; columns > style->width; columns -= style->width)
			lines++;
		if (lines > room)
			return text;
		room -= lines;
	}
	return text + strlen(text);
}

/* The style adds nothing to what is read, and the height takes what comes last. */
static void
check_style(void)
{
	const char *plain = look.style.has_utf8 ? utf8 : ascii;
	size_t len = (size_t)(find_end(plain) - plain);

	write_report(styled, &look.style);
	strip();
	assert(strlen(stripped) == len && memcmp(stripped, plain, len) == 0);
}

static void
check_report(void)
{
	struct report_style plain = {
		.width = look.style.width,
		.trend = look.style.trend,
		.time = look.style.time,
	};

	write_report(ascii, &plain);
	plain.has_utf8 = true;
	write_report(utf8, &plain);
	check_lines(plain.width);
	check_bounds(strstr(ascii, "\nNearest to exhaustion\n"));
	check_legends();
	check_map_lines(plain.width);
	check_style();
}

/* It is written over the first line of a terminal, and nowhere else. */
static void
check_stale(void)
{
	char text[TEXT_MAX];
	struct buf b = buf_over(text, sizeof(text));
	const char *line =
		"\0337\033[H\033[KNo figures since 00:00:00 UTC; these are older.\0338";

	report_write_stale(&b, &look.style, "00:00:00 UTC");
	assert(b.len == (look.style.redraws ? strlen(line) : 0));
	assert(memcmp(text, line, b.len) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[LOOK_BYTES] = { 0 };
	size_t taken = size < LOOK_BYTES ? size : LOOK_BYTES;

	if (taken > 0)
		memcpy(bytes, data, taken);
	take_input(data + taken, size - taken);
	take_look(bytes);
	check_map();
	check_sums();
	check_parts();
	check_level();
	check_numbers();
	check_sentence(view_write_verdict);
	check_sentence(view_write_nearest);
	check_claims();
	check_page();
	check_report();
	check_stale();
	return 0;
}
