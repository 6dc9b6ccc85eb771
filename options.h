/* SPDX-License-Identifier: MIT */
/*
 * Read the options with their environment variables: one table for both, for --help as
 * well.
 *
 * Source: getopt_long(3); the names follow the Prometheus exporters where they have one.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include "listen.h"
#include "ports.h"
#include "util.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	/* A Kubernetes name has 253 bytes at most, and is the longest there is. */
	OPTIONS_POD_NAME_MAX = 253,
};

enum options_mode {
	OPTIONS_MODE_FIND_OUT, /* by what the process was started with */
	OPTIONS_MODE_INETD,
	OPTIONS_MODE_PRINT,
	OPTIONS_MODE_REPORT,
	OPTIONS_MODE_HELP, /* this mode and later ones win over the others */
	OPTIONS_MODE_VERSION,
};

struct options {
	enum options_mode mode;
	struct listen_address addresses[LISTEN_OWN_MAX];
	size_t address_count; /* at least one; none includes another */
	unsigned port;        /* of the address that is used when none was given */
	char pod_name[OPTIONS_POD_NAME_MAX + 1];
	const char *procfs;
	const char *token_file; /* NULL: whoever asks is answered */
	const char *netns_file; /* NULL: measure whatever this process is in */
	enum ports_source source;
	unsigned top_destinations;
	unsigned max_connections;
	unsigned max_processes;
	unsigned timeout_s;
	unsigned idle_exit_s;
	bool watches; /* the report again and again */
};

/*
 * Fill *ret_options from defaults, environment and arguments, the later ones winning.
 * White space around a value is cut off. A bad environment value is logged, and its
 * default used; for addresses, localhost alone. ret_options points into argv and the
 * environment afterwards, which are written to.
 *
 * Returns 0; or -EINVAL for a bad option, with what is wrong appended to message.
 */
int
options_parse(struct options *ret_options, int argc, char *argv[], struct buf *message);

/* Append the text of --help. No I/O. */
void options_write_help(struct buf *b);

#endif
