/* SPDX-License-Identifier: MIT */
#include "report.h"

#include "view.h"

#include <string.h>

enum {
	/* Bytes of a paragraph: the longest has the pod's name, 253 bytes, or is a
	 * verdict of three sentences. */
	TEXT_MAX = 512,
	ADDRESS_MAX = 64,   /* bytes: 39 of IPv6, brackets and a port, or "from " */
	TABLE_FIGURES = 19, /* columns before the bar */
	TABLE_BAR = 20,     /* columns, where there is room for it */
	TABLE_BAR_FROM = 80,
	MAP_LABEL = 6,
	MAP_HEIGHTS = 9, /* of a column of the map: nothing used, then eighths */
};

enum colour {
	PLAIN,
	STRONG,
	SOFT,
	RED,
	GREEN,
	YELLOW,
	BLUE,
	COLOURS,
};

static const char *const sgr[COLOURS] = {
	[PLAIN] = "0",
	[STRONG] = "1",
	[SOFT] = "2",
	[RED] = "31",
	[GREEN] = "32",
	[YELLOW] = "33",
	[BLUE] = "34",
};

static const enum colour level_colours[VIEW_LEVELS] = {
	[VIEW_ENOUGH] = GREEN,
	[VIEW_UNKNOWN] = YELLOW,
	[VIEW_MOSTLY_USED] = YELLOW,
	[VIEW_HALF_USED] = YELLOW,
	[VIEW_SHORT] = RED,
	[VIEW_EXHAUSTED] = RED,
};

/* What a column of a bar is filled with. */
enum fill {
	CONNECTED,
	BLOCKED,
	WAITING,
	FREE,
	MARK,
	FILLS,
};

static const struct {
	const char *utf8, *ascii;
	enum colour colour;
} fills[FILLS] = {
	[CONNECTED] = { "█", "#", BLUE },
	[BLOCKED] = { "▓", "X", RED },
	[WAITING] = { "▒", "w", YELLOW },
	[FREE] = { "░", ".", SOFT },
	[MARK] = { "│", "|", STRONG },
};

static const struct {
	const char *utf8, *ascii;
} heights[MAP_HEIGHTS] = {
	{ "·", "." },
	{ "▁", ":" },
	{ "▂", "-" },
	{ "▃", "=" },
	{ "▄", "+" },
	{ "▅", "*" },
	{ "▆", "o" },
	{ "▇", "O" },
	{ "█", "#" },
};

static void
set_colour(struct buf *b, const struct report_style *style, enum colour colour)
{
	if (style->has_colours)
		buf_printf(b, "\033[%sm", sgr[colour]);
}

/*
 * A line is erased before it is written: after a full one the cursor is still on the last
 * column, in many terminals, and what erases the rest of the line erases that.
 */
static void
end_line(struct buf *b, const struct report_style *style)
{
	buf_printf(b, style->redraws ? "\n\033[K" : "\n");
}

static void
write_fill(struct buf *b, const struct report_style *style, enum fill fill)
{
	set_colour(b, style, fills[fill].colour);
	buf_printf(b, "%s", style->has_utf8 ? fills[fill].utf8 : fills[fill].ascii);
	set_colour(b, style, PLAIN);
}

/* Bytes from outside: no control characters, and none that the terminal may not know. */
static void
write_text(struct buf *b, const struct report_style *style, const char *text)
{
	struct slice s = { text, strlen(text) };

	while (s.len > 0) {
		size_t len = util_utf8_length(s);
		bool shown = (len == 1 || (len > 0 && style->has_utf8)) &&
		             !view_is_control((struct slice){ s.data, len });

		buf_append(b, shown ? s.data : "?", shown ? len : 1);
		len += len == 0;
		s.data += len;
		s.len -= len;
	}
}

/*
 * Columns that the text takes; every character is taken for one column wide, and the
 * escapes that there are here, which end with a letter, for none.
 */
static unsigned
columns_of(const char *text, size_t len)
{
	unsigned columns = 0;
	bool escapes = false;

	for (size_t i = 0; i < len; i++) {
		if (text[i] == '\033')
			escapes = true;
		else if (escapes)
			escapes = text[i] == '[' || text[i] < 'A';
		else
			columns += ((unsigned char)text[i] & 0xc0) != 0x80;
	}
	return columns;
}

/* A paragraph, broken between words. */
static void
write_paragraph(struct buf *b, const struct report_style *style, const struct buf *text)
{
	const char *word = text->data, *end = text->data + text->len;
	unsigned column = 0;

	while (word < end) {
		const char *space = memchr(word, ' ', (size_t)(end - word));
		size_t len = (size_t)((space ? space : end) - word);
		unsigned columns = columns_of(word, len);

		if (column > 0 && column + 1 + columns > style->width) {
			end_line(b, style);
			column = 0;
		} else if (column > 0) {
			buf_append(b, " ", 1);
			column++;
		}
		buf_append(b, word, len);
		column += columns;
		word += len + 1;
	}
	end_line(b, style);
}

static void
write_heading(struct buf *b, const struct report_style *style, const char *heading)
{
	end_line(b, style);
	set_colour(b, style, STRONG);
	buf_printf(b, "%s", heading);
	set_colour(b, style, PLAIN);
	end_line(b, style);
}

static void
write_seconds(struct buf *b, uint32_t seconds)
{
	if (seconds < 90)
		buf_printf(b, "%u second%s", seconds, seconds == 1 ? "" : "s");
	else if (seconds < 90 * 60)
		buf_printf(b, "%u minutes", (seconds + 30) / 60);
	else
		buf_printf(b, "%u hours", (seconds + 1800) / 3600);
}

static void
write_pace(struct buf *b, double pace)
{
	buf_printf(b, "%.*f ports a second", pace < 0.1 ? 3 : pace < 10 ? 1 : 0, pace);
}

/* page.js has the same words. */
static void
write_time_left(struct buf *b, const struct trend *trend)
{
	uint32_t seconds, span_s;
	int r = trend_estimate(trend, &seconds);
	double pace;

	if (r < 0) {
		buf_printf(b, "How long the ports last can be estimated in a few "
			      "seconds.");
		return;
	}
	if (r > 0 && seconds == 0) {
		buf_printf(b, "Nothing is left towards the nearest destination.");
		return;
	}
	pace = trend_pace(trend, &span_s);
	buf_printf(b, "At the pace of the last ");
	write_seconds(b, span_s);
	if (r > 0) {
		buf_printf(b, ", ");
		write_pace(b, pace);
		buf_printf(b, ", the nearest destination is exhausted in ");
		write_seconds(b, seconds);
	} else {
		buf_printf(b, " connections to the nearest destination do not take all "
			      "ports within two days");
	}
	buf_printf(b, ".");
}

static void
write_verdict(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	enum view_level level = view_judge(scrape->report);
	char data[TEXT_MAX];
	struct buf text = buf_over(data, sizeof(data));

	buf_printf(&text, "Local ports of ");
	write_text(&text, style, scrape->pod_name);
	if (style->time)
		buf_printf(&text, " at %s", style->time);
	buf_printf(&text, ": %s", view_level_names[level]);
	set_colour(b, style, level_colours[level]);
	write_paragraph(b, style, &text);
	set_colour(b, style, PLAIN);
	text = buf_over(data, sizeof(data));
	view_write_verdict(&text, scrape);
	write_paragraph(b, style, &text);
	if (!style->trend)
		return;
	text = buf_over(data, sizeof(data));
	if (scrape->report->is_lower_bound)
		buf_printf(&text, "How long the ports last cannot be estimated: not "
				  "every port in use can be seen.");
	else
		write_time_left(&text, style->trend);
	write_paragraph(b, style, &text);
}

/* Columns of a bar for so many ports; what is there is seen, however little it is. */
static unsigned
columns_for(uint32_t part, uint32_t whole, unsigned width)
{
	unsigned columns = whole > 0 ? (unsigned)((uint64_t)part * width / whole) : 0;

	return part > 0 && columns == 0 ? 1 : columns;
}

static unsigned
write_fills(struct buf *b, const struct report_style *style, enum fill fill,
	unsigned columns, unsigned room)
{
	unsigned written = columns < room ? columns : room;

	for (unsigned i = 0; i < written; i++)
		write_fill(b, style, fill);
	return room - written;
}

static void
write_nearest(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	const struct usage_totals *totals = &scrape->report->totals;
	unsigned used =
		columns_for(totals->destination_used_max, totals->total, style->width);
	char data[TEXT_MAX];
	struct buf text = buf_over(data, sizeof(data));

	write_heading(b, style, "Nearest to exhaustion");
	buf_printf(&text, "%s", view_is_at_least(scrape->report) ? "at least " : "");
	view_write_count(&text, totals->destination_used_max);
	buf_printf(&text, " of ");
	view_write_count(&text, totals->total);
	buf_printf(&text, " ports (");
	view_write_share(&text, totals->destination_used_max, totals->total);
	buf_printf(&text, "): ");
	view_write_nearest(&text, scrape);
	write_paragraph(b, style, &text);
	text = buf_over(data, sizeof(data));
	view_write_error(&text, totals);
	if (text.len > 0)
		write_paragraph(b, style, &text);
	for (unsigned i = 0; i < style->width; i++)
		write_fill(b, style,
			i == style->width * VIEW_HALF_PERCENT / 100 ? MARK
			: i < used                                  ? CONNECTED
								    : FREE);
	end_line(b, style);
}

static void
write_legend(struct buf *b, const struct report_style *style, enum fill fill,
	const char *name, uint32_t ports)
{
	buf_printf(b, "  ");
	write_fill(b, style, fill);
	buf_printf(b, " ");
	view_write_count(b, ports);
	buf_printf(b, " %s", name);
	end_line(b, style);
}

static void
write_pool_figures(struct buf *b, const struct ports_report *report,
	const struct report_style *style)
{
	const struct usage_totals *totals = &report->totals;
	char data[TEXT_MAX];
	struct buf text = buf_over(data, sizeof(data));

	buf_printf(&text, "%s", report->is_lower_bound ? "at least " : "");
	view_write_count(&text, totals->used);
	buf_printf(&text, " of ");
	view_write_count(&text, totals->total);
	buf_printf(&text, " ports in use (");
	view_write_share(&text, totals->used, totals->total);
	buf_printf(&text, "): TCP ");
	view_write_count(&text, totals->used_by[USAGE_TCP]);
	buf_printf(&text, ", UDP ");
	view_write_count(&text, totals->used_by[USAGE_UDP]);
	buf_printf(&text, "; range %u to %u, ", report->range_first, report->range_last);
	view_write_count(&text, report->reserved);
	buf_printf(&text, " reserved");
	write_paragraph(b, style, &text);
}

static void
write_pool(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	const struct ports_report *report = scrape->report;
	const struct usage_totals *totals = &report->totals;
	const struct view_parts parts = view_divide(totals);
	unsigned room = style->width;

	write_heading(b, style, "The pool");
	write_pool_figures(b, report, style);
	room = write_fills(b, style, BLOCKED,
		columns_for(parts.blocked, totals->total, style->width), room);
	room = write_fills(b, style, CONNECTED,
		columns_for(parts.connected, totals->total, style->width), room);
	room = write_fills(b, style, WAITING,
		columns_for(parts.time_wait, totals->total, style->width), room);
	write_fills(b, style, FREE, room, room);
	end_line(b, style);
	write_legend(b, style, CONNECTED, "connected, or UDP", parts.connected);
	write_legend(b, style, BLOCKED, "blocked for every connect()", parts.blocked);
	if (!report->is_lower_bound)
		write_legend(b, style, WAITING, "TCP in TIME_WAIT only", parts.time_wait);
	write_legend(b, style, FREE,
		report->is_lower_bound ? "free, or not seen" : "free",
		totals->total - totals->used);
}

/* A number at the right end of so many columns. */
static void
write_right(struct buf *b, unsigned columns, uint64_t number)
{
	char data[32];
	struct buf text = buf_over(data, sizeof(data));

	view_write_count(&text, number);
	buf_printf(b, "%*.*s", (int)columns, (int)text.len, data);
}

static void
write_table_bar(struct buf *b, const struct report_style *style, unsigned columns)
{
	unsigned room = write_fills(b, style, CONNECTED, columns, TABLE_BAR);

	write_fills(b, style, FREE, room, room);
	buf_printf(b, "  ");
}

/* Addresses in one line with the bar if there is room: for an IPv6 one there may not be.
 */
static void
write_addresses(struct buf *b, const struct destinations_entry *entry, unsigned bar,
	const struct report_style *style)
{
	char to_data[ADDRESS_MAX], from_data[ADDRESS_MAX];
	struct buf to = buf_over(to_data, sizeof(to_data));
	struct buf from = buf_over(from_data, sizeof(from_data));
	unsigned column = TABLE_FIGURES;

	exposition_write_destination(&to, &entry->destination);
	buf_printf(&from, "from ");
	exposition_write_source(&from, &entry->destination);
	if (style->width >= TABLE_BAR_FROM &&
		column + TABLE_BAR + 2 + to.len <= style->width) {
		write_table_bar(b, style, bar);
		column += TABLE_BAR + 2;
	}
	buf_append(b, to.data, to.len);
	if (style->width < TABLE_BAR_FROM ||
		column + to.len + 1 + from.len > style->width) {
		end_line(b, style);
		if (column + from.len > style->width)
			column = TABLE_FIGURES;
		buf_printf(b, "%*s", (int)column, "");
	} else {
		buf_printf(b, " ");
	}
	buf_append(b, from.data, from.len);
	end_line(b, style);
}

static void
write_destination(struct buf *b, const struct usage_totals *totals,
	const struct destinations_entry *entry, const struct report_style *style)
{
	uint32_t used = usage_destination_used(totals, entry);
	char data[32];
	struct buf share = buf_over(data, sizeof(data));

	write_right(b, 8, used);
	view_write_share(&share, used, totals->total);
	buf_printf(b, "%9.*s  ", (int)share.len, data);
	write_addresses(b, entry, columns_for(used, totals->total, TABLE_BAR), style);
}

static void
write_destinations(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	const struct ports_report *report = scrape->report;

	/* Who asked for no names is told in the line above. */
	if (report->top_count == 0)
		return;
	write_heading(b, style,
		view_is_at_least(report) ? "Top destinations, at least"
					 : "Top destinations");
	for (size_t i = 0; i < report->top_count; i++)
		write_destination(b, &report->totals, &report->top[i], style);
}

static void
write_states(struct buf *b, const struct ports_report *report,
	const struct report_style *style)
{
	char data[TEXT_MAX];
	const char *leak = view_leak(report);
	struct buf text = buf_over(data, sizeof(data));

	write_heading(b, style,
		report->is_lower_bound ? "Open sockets of pool       TCP       UDP"
				       : "Sockets of the pool        TCP       UDP");
	for (int state = USAGE_ESTABLISHED; state < USAGE_STATES; state++) {
		if (!view_has_state(report, (enum usage_state)state))
			continue;
		buf_printf(b, "  %-18s", exposition_state_names[state]);
		write_right(b, 10, report->sockets[USAGE_TCP][state]);
		write_right(b, 10, report->sockets[USAGE_UDP][state]);
		end_line(b, style);
	}
	if (leak) {
		buf_printf(&text, "%s", leak);
		write_paragraph(b, style, &text);
	}
}

static const char *
glyph(const struct report_style *style, unsigned height)
{
	return style->has_utf8 ? heights[height].utf8 : heights[height].ascii;
}

/* Some cells as one column. */
static void
write_column(struct buf *b, const struct report_style *style,
	const struct usage_cell *cells, int count)
{
	unsigned used = 0, total = 0, height = 0;

	for (int i = 0; i < count; i++) {
		used += cells[i].used;
		total += cells[i].total;
	}
	if (used > 0)
		height = (used * (MAP_HEIGHTS - 1) + total - 1) / total;
	if (total == 0)
		buf_append(b, " ", 1); /* out of the pool, all of it */
	else
		buf_printf(b, "%s", glyph(style, height));
}

static void
write_map(struct buf *b, const struct ports_report *report,
	const struct report_style *style)
{
	const struct usage_map *map = &report->map;
	const int room = (int)style->width - MAP_LABEL;
	const int step = (map->count + room - 1) / room;
	char data[TEXT_MAX];
	struct buf text = buf_over(data, sizeof(data));

	write_heading(b, style, "Where the used ports lie");
	for (int parity = 0; parity < USAGE_PARITIES; parity++) {
		buf_printf(b, "%-*s", MAP_LABEL,
			(report->range_first + parity) % 2 ? "odd" : "even");
		for (int i = 0; i < map->count; i += step) {
			int left = map->count - i;

			write_column(b, style, &map->cells[parity][i],
				left < step ? left : step);
		}
		end_line(b, style);
	}
	buf_printf(&text, "%u to %u, from %s for none to %s for all", report->range_first,
		report->range_last, glyph(style, 0), glyph(style, MAP_HEIGHTS - 1));
	/* Another network stack than Linux's has an order of its own. */
	if (!report->is_lower_bound)
		buf_printf(&text, "; connect() tries %s ports first",
			report->range_first % 2 ? "odd" : "even");
	write_paragraph(b, style, &text);
}

static void
write_foot(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	char data[TEXT_MAX];
	struct buf text = buf_over(data, sizeof(data));

	buf_printf(&text, "Scanned ");
	view_write_count(&text, scrape->report->rows);
	buf_printf(&text, " sockets in ");
	view_write_cost(&text, scrape->report->scan_duration_us);
	buf_printf(&text, " by %s; metrics-sidecar %s",
		ports_source_names[scrape->report->source], scrape->version);
	end_line(b, style);
	write_paragraph(b, style, &text);
}

/* Lines that the terminal shows for one of ours. */
static unsigned
lines_of(const char *line, size_t len, unsigned width)
{
	unsigned columns = columns_of(line, len);

	return columns > 0 ? (columns + width - 1) / width : 1;
}

/* What does not fit is what comes last. */
static void
cut(struct buf *b, size_t from, const struct report_style *style)
{
	const char *line = b->data + from, *end = b->data + b->len, *newline;
	unsigned room = style->height;

	while ((newline = memchr(line, '\n', (size_t)(end - line)))) {
		unsigned lines = lines_of(line, (size_t)(newline - line), style->width);

		if (lines > room)
			break;
		room -= lines;
		line = newline + 1;
	}
	b->len = (size_t)(line - b->data);
	/* The end of a colour may have been there. */
	set_colour(b, style, PLAIN);
}

void
report_write(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style)
{
	size_t from;

	if (style->redraws)
		buf_printf(b, "\033[H\033[K");
	from = b->len;
	write_verdict(b, scrape, style);
	write_nearest(b, scrape, style);
	write_destinations(b, scrape, style);
	write_pool(b, scrape, style);
	write_states(b, scrape->report, style);
	write_map(b, scrape->report, style);
	write_foot(b, scrape, style);
	if (style->height > 0)
		cut(b, from, style);
	if (style->redraws)
		buf_printf(b, "\033[J");
}

void
report_write_stale(struct buf *b, const struct report_style *style, const char *since)
{
	/* The cursor goes to the first line, and back. */
	if (style->redraws)
		buf_printf(b,
			"\0337\033[H\033[KNo figures since %s; these are older.\0338",
			since);
}
