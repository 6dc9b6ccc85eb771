/* SPDX-License-Identifier: MIT */
/*
 * Say a scrape in the words of Prometheus.
 *
 * Source: Prometheus text exposition format 0.0.4; OpenMetrics 1.0.
 * Pure: no I/O, no allocation.
 */
#ifndef EXPOSITION_H
#define EXPOSITION_H

#include "ports.h"
#include "util.h"

#include <stdbool.h>
#include <stdint.h>

enum exposition_format {
	EXPOSITION_TEXT,
	EXPOSITION_OPENMETRICS,
	EXPOSITION_FORMATS,
};

/* What a media type is made of, and the whole of it for Content-Type. */
struct exposition_media_type {
	const char *type;
	const char *subtype;
	const char *version;
	const char *content_type;
};

extern const struct exposition_media_type exposition_media_types[EXPOSITION_FORMATS];

/* The values of the label `state`. */
extern const char *const exposition_state_names[USAGE_STATES];

/* Connections that ended in one way: a sample of metrics_sidecar_connections_total. */
struct exposition_outcome {
	const char *name;
	uint64_t count;
};

/* Everything that a scrape tells. */
struct exposition_scrape {
	const struct ports_report *report;
	const char *pod_name;
	const char *version;
	const char *launcher;
	const char *netns;       /* "same", "other", "unknown" */
	bool names_destinations; /* those of report->top, if there are any */
	bool in_kubernetes;      /* whoever reads it may have kubectl */
	/*
	 * Under the supervisor only; else outcome_count is 0 and the families are left
	 * out.
	 */
	const struct exposition_outcome *outcomes;
	size_t outcome_count;
	int64_t start_time_ms; /* Unix time, milliseconds */
};

/* Append every family, in the order of the README. Look at b->overflow afterwards. */
void exposition_write(struct buf *b, enum exposition_format format,
	const struct exposition_scrape *scrape);

/*
 * Append a label value, without the quotes around it: backslash, quote and newline
 * escaped, each byte that is not part of valid UTF-8 replaced by U+FFFD.
 */
void exposition_write_label_value(struct buf *b, struct slice value);

/*
 * Append the local address, "10.0.0.5", "2001:db8::5", "fe80::5%2" for a socket bound to
 * the device of index 2; what the label `source` says.
 */
void exposition_write_source(struct buf *b, const struct destination *to);

/* Append the remote address and port as a URL has them, "10.0.0.9:443",
 * "[2001:db8::1]:443". */
void exposition_write_destination(struct buf *b, const struct destination *to);

#endif
