/* SPDX-License-Identifier: MIT */
/*
 * Show a scrape to a person at a terminal.
 *
 * Source: ECMA-48 (SGR, CUP, EL, ED). Pure: no I/O, no allocation.
 */
#ifndef REPORT_H
#define REPORT_H

#include "exposition.h"
#include "trend.h"
#include "util.h"

#include <stdbool.h>

enum {
	REPORT_WIDTH_MIN = 40,
	REPORT_WIDTH_MAX = 200,
};

struct report_style {
	unsigned width;  /* columns */
	unsigned height; /* lines that may be written; 0 for as many as there are */
	bool has_colours;
	bool has_utf8;
	bool redraws;              /* in place of what was written before */
	const char *time;          /* of the figures; NULL without one */
	const struct trend *trend; /* of port_destination_used_max; NULL without one */
};

/* Append the report. Look at b->overflow afterwards. */
void report_write(struct buf *b, const struct exposition_scrape *scrape,
	const struct report_style *style);

/* Append what says, on a terminal, that the report there could not be renewed. */
void
report_write_stale(struct buf *b, const struct report_style *style, const char *since);

#endif
