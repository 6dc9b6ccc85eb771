/* SPDX-License-Identifier: MIT */
#include "page.h"

#include "page-data.h"
#include "view.h"

#include <inttypes.h>
#include <string.h>

enum {
	BAR_WIDTH = 1000, /* thousandths of the pool */
	SHADES = 5,       /* of the map: none, and up to each fourth */
};

/* Base64 of 32 bytes: whatever made them knew how. */
_Static_assert(sizeof(PAGE_STYLE_DIGEST) == sizeof("sha256-") + 44, "a digest");
_Static_assert(sizeof(PAGE_SCRIPT_DIGEST) == sizeof("sha256-") + 44, "a digest");

const char page_security_policy[] =
	"default-src 'none'; connect-src 'self'; img-src data:; "
	"style-src '" PAGE_STYLE_DIGEST "'; script-src '" PAGE_SCRIPT_DIGEST "'; "
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/* Bytes from outside, as text: nothing in them is markup. */
static void
write_text(struct buf *b, struct slice s)
{
	while (s.len > 0) {
		size_t len = util_utf8_length(s);

		if (len == 0 || view_is_control((struct slice){ s.data, len }))
			buf_printf(b, "&#xfffd;");
		else if (len == 1 && strchr("&<>\"'", s.data[0]))
			buf_printf(b, "&#%d;", s.data[0]);
		else
			buf_append(b, s.data, len);
		len += len == 0;
		s.data += len;
		s.len -= len;
	}
}

static void
write_string(struct buf *b, const char *string)
{
	write_text(b, (struct slice){ string, strlen(string) });
}

static void
write_head(struct buf *b, const struct exposition_scrape *scrape)
{
	buf_printf(b, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
		      "<meta charset=\"utf-8\">\n"
		      "<meta name=\"viewport\" content=\"width=device-width\">\n"
		      "<meta name=\"color-scheme\" content=\"light dark\">\n"
		      "<link rel=\"icon\" href=\"data:,\">\n<title>Local ports of ");
	write_string(b, scrape->pod_name);
	buf_printf(b, "</title>\n<style>");
	buf_append(b, page_style, sizeof(page_style));
	buf_printf(b, "</style>\n</head>\n<body>\n<header><h1>Local ports of ");
	write_string(b, scrape->pod_name);
	buf_printf(b, "</h1>\n<p id=\"status\"></p><p id=\"news\" "
		      "role=\"status\"></p></header>\n");
}

/* What the script keeps for its lines, as attributes of the first part. */
static void
write_verdict(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct usage_totals *totals = &scrape->report->totals;
	enum view_level level = view_judge(scrape->report);

	buf_printf(b,
		"<section id=\"verdict\" class=\"level%d\" data-bound=\"%s\" "
		"data-total=\"%" PRIu32 "\" data-used=\"%" PRIu32
		"\" data-nearest=\"%" PRIu32 "\">\n<h2>",
		(int)level, scrape->report->is_lower_bound ? "lower" : "exact",
		totals->total, totals->used, totals->destination_used_max);
	buf_printf(b, "Local ports: %s</h2>\n<p>", view_level_names[level]);
	view_write_verdict(b, scrape);
	buf_printf(b, "</p>\n");
	if (strcmp(scrape->netns, "other") == 0)
		buf_printf(b,
			"<p>These are not the ports of the network namespace that you "
			"connected to.</p>\n");
	buf_printf(b, "</section>\n");
}

/* A part of a bar, and where the next one begins. */
static unsigned
write_part(struct buf *b, const char *name, unsigned from, uint32_t part, uint32_t total)
{
	unsigned width = view_share(part, total);

	/* What is there is seen, however little it is. */
	if (part > 0 && width < 3)
		width = 3;
	if (width > BAR_WIDTH - from)
		width = BAR_WIDTH - from;
	if (width > 0)
		buf_printf(b, "<rect class=\"%s\" x=\"%u\" width=\"%u\" height=\"20\"/>",
			name, from, width);
	return from + width;
}

/* The label is for who cannot see the picture; the same figures stand beside it. */
static void
begin_bar(struct buf *b, const char *label)
{
	buf_printf(b,
		"<svg class=\"bar\" viewBox=\"0 0 1000 20\" preserveAspectRatio=\"none\" "
		"role=\"img\" aria-label=\"%s\"><rect class=\"free\" width=\"1000\" "
		"height=\"20\"/>",
		label);
}

static void
write_count_and_share(struct buf *b, uint32_t part, uint32_t whole)
{
	view_write_count(b, part);
	buf_printf(b, " <small>(");
	view_write_share(b, part, whole);
	buf_printf(b, ")</small>");
}

static void
write_legend(
	struct buf *b, const char *name, const char *words, uint32_t part, uint32_t total)
{
	buf_printf(b, "<div><dt><i class=\"%s\"></i>%s</dt><dd>", name, words);
	write_count_and_share(b, part, total);
	buf_printf(b, "</dd></div>\n");
}

static void
write_pool(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;
	const struct usage_totals *totals = &report->totals;
	const struct view_parts parts = view_divide(totals);
	unsigned x;

	buf_printf(b, "<section id=\"pool\">\n<h2>The pool</h2>\n<p>%s<b id=\"used\">",
		report->is_lower_bound ? "At least " : "");
	view_write_count(b, totals->used);
	buf_printf(b, "</b> of <b id=\"total\">");
	view_write_count(b, totals->total);
	buf_printf(b, "</b> ports in use, ");
	view_write_share(b, totals->used, totals->total);
	buf_printf(b, "</p>\n");
	begin_bar(b, "Parts of the pool; the list below has the figures");
	x = write_part(b, "blocked", 0, parts.blocked, totals->total);
	x = write_part(b, "connected", x, parts.connected, totals->total);
	write_part(b, "waiting", x, parts.time_wait, totals->total);
	buf_printf(b, "</svg>\n<dl>\n");
	write_legend(b, "connected", "connected, or UDP", parts.connected, totals->total);
	write_legend(b, "blocked", "blocked", parts.blocked, totals->total);
	if (!report->is_lower_bound)
		write_legend(b, "waiting", "TCP in TIME_WAIT only", parts.time_wait,
			totals->total);
	write_legend(b, "free", report->is_lower_bound ? "free, or not seen" : "free",
		totals->total - totals->used, totals->total);
	buf_printf(b,
		"</dl>\n<p>Blocked ports have a socket that listens or is bound: "
		"connect() does not choose them. %sTCP ",
		report->is_lower_bound ? "At least " : "");
	view_write_count(b, totals->used_by[USAGE_TCP]);
	buf_printf(b, ", UDP ");
	view_write_count(b, totals->used_by[USAGE_UDP]);
	buf_printf(b, "; range %u to %u, ", report->range_first, report->range_last);
	view_write_count(b, report->reserved);
	buf_printf(b, " reserved.</p>\n</section>\n");
}

static void
write_nearest(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct usage_totals *totals = &scrape->report->totals;

	buf_printf(b,
		"<section id=\"nearest\">\n<h2>The destination nearest to "
		"exhaustion</h2>\n<p>%s<b>",
		view_is_at_least(scrape->report) ? "At least " : "");
	write_count_and_share(b, totals->destination_used_max, totals->total);
	/* Not "a new connect() to it cannot use so many": what a program has bound to
	 * port 0 and connected elsewhere cannot be told from what connect() chose. */
	buf_printf(b, "</b> %s: ",
		totals->left_out
			? "are blocked, lead to it, or are left out of an odd range"
			: "are blocked or lead to it");
	view_write_nearest(b, scrape);
	buf_printf(b, "</p>\n");
	begin_bar(b, "Share of the pool; the mark is at a half");
	write_part(b, "connected", 0, totals->destination_used_max, totals->total);
	buf_printf(b, "<path class=\"mark\" d=\"M500 0V20\"/></svg>\n"
		      "<p class=\"scale\"><span>0</span><span>50 %%: connect() can be "
		      "slow</span><span>100 %%: it fails</span></p>\n");
	buf_printf(b, "<p>");
	view_write_error(b, totals);
	buf_printf(b, "</p>\n");
	buf_printf(b, "</section>\n");
}

/* Empty until there is a script that has something to put there. */
static void
write_history(struct buf *b)
{
	buf_printf(b,
		"<section id=\"history\" hidden>\n<h2>The last ten minutes</h2>\n"
		"<p id=\"left\"></p>\n<svg id=\"lines\" viewBox=\"0 0 600 120\" "
		"preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Shares of the "
		"pool over the last ten minutes\"><path class=\"mark\" d=\"M0 "
		"60H600\"/><path id=\"line-used\"/><path "
		"id=\"line-nearest\"/></svg>\n<p class=\"scale\"><span>10 minutes "
		"ago</span><span><i class=\"used\"></i>in use <i "
		"class=\"nearest\"></i>nearest "
		"destination</span><span>now</span></p>\n</section>\n");
}

static void
write_row(struct buf *b, const struct usage_totals *totals,
	const struct destinations_entry *entry)
{
	uint32_t used = usage_destination_used(totals, entry);

	buf_printf(b, "<tr><td>");
	exposition_write_destination(b, &entry->destination);
	buf_printf(b, " <small>from ");
	exposition_write_source(b, &entry->destination);
	buf_printf(b, "</small></td><td>");
	view_write_count(b, used);
	buf_printf(b, "</td><td>");
	view_write_share(b, used, totals->total);
	buf_printf(b,
		"<svg viewBox=\"0 0 1000 9\" preserveAspectRatio=\"none\" "
		"aria-hidden=\"true\"><rect width=\"%u\" "
		"height=\"9\"/></svg></td></tr>\n",
		view_share(used, totals->total));
}

/* Where no destination is named: how to see them all the same. */
static void
write_not_named(struct buf *b, bool in_kubernetes)
{
	buf_printf(b,
		"<p>Not named, because that shows remote addresses to whoever can open "
		"this page. Now, without a restart: %s. To name ten here, "
		"start with <code>--top-destinations=10</code> or set "
		"<code>METRICS_SIDECAR_TOP_DESTINATIONS=10</code>.</p>\n",
		in_kubernetes ? "<code>kubectl exec -it POD -c metrics-sidecar -- "
				"/metrics-sidecar --report</code>"
			      : "<code>metrics-sidecar --report</code> where this one "
				"runs");
}

static void
write_destinations(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;

	buf_printf(b, "<section id=\"destinations\">\n<h2>Top destinations</h2>\n");
	if (!scrape->names_destinations) {
		write_not_named(b, scrape->in_kubernetes);
	} else if (report->top_count == 0) {
		buf_printf(b, "<p>No destination to name.</p>\n");
	} else {
		buf_printf(b,
			"<table>\n<thead><tr><th scope=\"col\">destination</th><th "
			"scope=\"col\">ports%s</th><th scope=\"col\">of the "
			"pool</th></tr></thead>\n<tbody>\n",
			view_is_at_least(report) ? ", at least" : "");
		for (size_t i = 0; i < report->top_count; i++)
			write_row(b, &report->totals, &report->top[i]);
		buf_printf(b, "</tbody>\n</table>\n");
	}
	buf_printf(b, "</section>\n");
}

static void
write_states(struct buf *b, const struct ports_report *report)
{
	const char *leak = view_leak(report);

	buf_printf(b,
		"<section id=\"states\">\n<h2>%s of the pool by "
		"state</h2>\n<table>\n"
		"<thead><tr><th scope=\"col\">state</th><th scope=\"col\">TCP</th><th "
		"scope=\"col\">UDP</th></tr></thead>\n<tbody>\n",
		report->is_lower_bound ? "Open sockets" : "Sockets");
	for (int state = USAGE_ESTABLISHED; state < USAGE_STATES; state++) {
		if (!view_has_state(report, (enum usage_state)state))
			continue;
		buf_printf(b, "<tr><th scope=\"row\">%s</th><td>",
			exposition_state_names[state]);
		view_write_count(b, report->sockets[USAGE_TCP][state]);
		buf_printf(b, "</td><td>");
		view_write_count(b, report->sockets[USAGE_UDP][state]);
		buf_printf(b, "</td></tr>\n");
	}
	buf_printf(b, "</tbody>\n</table>\n");
	if (leak)
		buf_printf(b, "<p>%s</p>\n", leak);
	buf_printf(b, "</section>\n");
}

/* 0 for none, then 1 to 4: the more, the darker. Rounded up: what is full is darkest,
 * however few ports that are. */
static unsigned
shade(const struct usage_cell *cell)
{
	return (cell->used * (SHADES - 1U) + cell->total - 1U) / cell->total;
}

/* The cells of one shade and of both parities, as one path of squares. */
static void
write_shade(struct buf *b, const struct usage_map *map, unsigned wanted)
{
	buf_printf(b, "<path class=\"shade%u\" d=\"", wanted);
	for (int parity = 0; parity < USAGE_PARITIES; parity++) {
		for (int i = 0; i < map->count; i++) {
			const struct usage_cell *cell = &map->cells[parity][i];

			if (cell->total > 0 && shade(cell) == wanted)
				buf_printf(b, "M%d %dh9v20h-9z", i * 10, parity * 24);
		}
	}
	buf_printf(b, "\"/>");
}

static void
write_parity(struct buf *b, const struct ports_report *report, int parity)
{
	const struct usage_map *map = &report->map;
	bool is_odd = (report->range_first + parity) % 2;
	unsigned used = 0, total = 0;

	for (int i = 0; i < map->count; i++) {
		used += map->cells[parity][i].used;
		total += map->cells[parity][i].total;
	}
	buf_printf(b, "<li>%s, the %s ports", parity == 0 ? "Above" : "Below",
		is_odd ? "odd" : "even");
	/* Another network stack than Linux's has an order of its own. */
	if (report->is_lower_bound)
		buf_printf(b, ": at least ");
	else
		buf_printf(b, ", which connect() tries %s: ",
			parity == 0 ? "first" : "when the others are taken");
	view_write_count(b, used);
	buf_printf(b, " of ");
	view_write_count(b, total);
	buf_printf(b, " used</li>\n");
}

static void
write_map(struct buf *b, const struct ports_report *report)
{
	const struct usage_map *map = &report->map;

	buf_printf(b,
		"<section id=\"map\">\n<h2>Where the used ports lie</h2>\n<svg "
		"viewBox=\"0 0 %d 44\" preserveAspectRatio=\"none\" role=\"img\" "
		"aria-label=\"Map of the range; the list below has the figures\">",
		map->count * 10 - 1);
	for (unsigned i = 0; i < SHADES; i++)
		write_shade(b, map, i);
	buf_printf(b,
		"</svg>\n<p class=\"scale\"><span>%u</span><span>up to %u ports in "
		"a field; the darker, the fewer are "
		"free</span><span>%u</span></p>\n<ul>\n",
		report->range_first, map->width / 2, report->range_last);
	for (int parity = 0; parity < USAGE_PARITIES; parity++)
		write_parity(b, report, parity);
	buf_printf(b, "</ul>\n</section>\n");
}

static void
write_foot(struct buf *b, const struct exposition_scrape *scrape)
{
	const struct ports_report *report = scrape->report;

	buf_printf(b, "<footer>\n<p id=\"scan\">Scanned ");
	view_write_count(b, report->rows);
	buf_printf(b, " sockets in ");
	view_write_cost(b, report->scan_duration_us);
	buf_printf(b, " by %s; metrics-sidecar %s, started by %s</p>\n",
		ports_source_names[report->source], scrape->version, scrape->launcher);
	buf_printf(b, "<p><a href=\"metrics\">The same as "
		      "metrics</a></p>\n<noscript><p>Without "
		      "JavaScript this is a snapshot: load it again for newer figures."
		      "</p></noscript>\n</footer>\n");
}

void
page_write(struct buf *b, const struct exposition_scrape *scrape)
{
	write_head(b, scrape);
	buf_printf(b, "<main>\n");
	write_verdict(b, scrape);
	write_nearest(b, scrape);
	write_history(b);
	write_destinations(b, scrape);
	write_pool(b, scrape);
	write_states(b, scrape->report);
	write_map(b, scrape->report);
	buf_printf(b, "</main>\n");
	write_foot(b, scrape);
	buf_printf(b, "<script>");
	buf_append(b, page_script, sizeof(page_script));
	buf_printf(b, "</script>\n</body>\n</html>\n");
}
