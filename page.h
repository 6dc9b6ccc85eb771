/* SPDX-License-Identifier: MIT */
/*
 * Show a scrape to a person in a browser: one HTML page that needs nothing else.
 *
 * All of it is written here, by the same scrape that /metrics says. Its script fetches
 * the page again every two seconds and takes the new parts over; what the script adds is
 * what only somebody who stays can know: the last minutes, and how long there is left.
 *
 * Source: the HTML standard; Content Security Policy level 3. Pure: no I/O, no
 * allocation.
 */
#ifndef PAGE_H
#define PAGE_H

#include "exposition.h"
#include "util.h"

/* The value of Content-Security-Policy that goes with the page: only its own style and
 * script, by their digests. */
extern const char page_security_policy[];

/* Append the page. Look at b->overflow afterwards. */
void page_write(struct buf *b, const struct exposition_scrape *scrape);

#endif
