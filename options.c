/* SPDX-License-Identifier: MIT */
#include "options.h"

#include "log.h"
#include "supervisor.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	DEFAULT_PORT = 9999,
	HELP_WIDTH = 78,
	REPORT_TOP_DESTINATIONS = 10, /* who reads a report may see them all anyway */
	REASON_SIZE = 128,
};

#define DEFAULT_PROCFS "/proc"

/* One row of the table: an option, an environment variable, or both. */
struct spec {
	const char *option;
	const char *argument; /* its name in --help; NULL where the option has none */
	const char *variable;
	/* Take a value; returns 0, or -EINVAL with the reason appended. */
	int (*take)(struct options *options, const struct spec *spec, const char *value,
		struct buf *reason);
	size_t offset;     /* of the member that a number or a string goes to */
	unsigned min, max; /* of a number; what a mode is set to */
	const char *help;
};

static struct slice
slice_of(const char *string)
{
	return (struct slice){ string, strlen(string) };
}

static int
take_number(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	uint64_t number;

	if (util_parse_number(slice_of(value), spec->min, spec->max, &number) < 0) {
		buf_printf(
			reason, "not a whole number from %u to %u", spec->min, spec->max);
		return -EINVAL;
	}
	*(unsigned *)((char *)options + spec->offset) = (unsigned)number;
	return 0;
}

static int
take_mode(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)value;
	(void)reason;
	options->mode = (enum options_mode)spec->max;
	return 0;
}

static int
take_watch(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)spec;
	(void)value;
	(void)reason;
	options->watches = true;
	return 0;
}

static int
take_procfs(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)spec;
	if (value[0] == '\0') {
		buf_printf(reason, "empty");
		return -EINVAL;
	}
	options->procfs = value;
	return 0;
}

/* A file that lets nobody in when it cannot be read, its name being empty included. */
static int
take_token_file(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)spec;
	(void)reason;
	options->token_file = value;
	return 0;
}

static int
take_pod_name(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)spec;
	if (strlen(value) > OPTIONS_POD_NAME_MAX) {
		buf_printf(reason, "longer than %d bytes", OPTIONS_POD_NAME_MAX);
		return -EINVAL;
	}
	memcpy(options->pod_name, value, strlen(value) + 1);
	return 0;
}

static int
take_source(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	(void)spec;
	for (int i = 0; i < PORTS_SOURCES; i++) {
		if (strcmp(value, ports_source_names[i]) == 0) {
			options->source = (enum ports_source)i;
			return 0;
		}
	}
	buf_printf(reason, "not one of");
	for (int i = 0; i < PORTS_SOURCES; i++)
		buf_printf(reason, "%s %s", i > 0 ? "," : "", ports_source_names[i]);
	return -EINVAL;
}

/* One address, or several with commas between them; all of them or none. */
static int
take_addresses(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	size_t count = options->address_count;

	(void)spec;
	for (const char *end; value; value = *end == ',' ? end + 1 : NULL) {
		end = value + strcspn(value, ",");
		if (count == LISTEN_MAX) {
			buf_printf(reason, "more than %d addresses", LISTEN_MAX);
			return -EINVAL;
		}
		if (listen_parse_address((struct slice){ value, (size_t)(end - value) },
			    &options->addresses[count++]) < 0) {
			buf_printf(reason,
				"not [HOST]:PORT with a numeric host and a port from "
				"1 to 65535, nor unix:/path");
			return -EINVAL;
		}
	}
	options->address_count = count;
	return 0;
}

/* clang-format off */
#define NUMBER(member) .take = take_number, .offset = offsetof(struct options, member)
#define MODE(mode) .take = take_mode, .max = OPTIONS_MODE_##mode

static const struct spec specs[] = {
	{ "web.listen-address", "ADDRESS", "METRICS_SIDECAR_LISTEN_ADDRESS",
	  .take = take_addresses,
	  .help = "[HOST]:PORT, unix:/path; repeatable (:9999)" },
	{ .variable = "METRICS_SIDECAR_PORT", NUMBER(port), .min = 1, .max = 65535 },
	{ "pod-name", "NAME", "POD_NAME", .take = take_pod_name,
	  .help = "label of every sample (host name)" },
	{ "path.procfs", "DIR", "METRICS_SIDECAR_PROCFS", .take = take_procfs,
	  .help = "where procfs is mounted (/proc)" },
	{ "source", "SOURCE", "METRICS_SIDECAR_SOURCE", .take = take_source,
	  .help = "auto, sock_diag or procfs (auto)" },
	{ "top-destinations", "N", "METRICS_SIDECAR_TOP_DESTINATIONS",
	  NUMBER(top_destinations), .min = 0, .max = DESTINATIONS_TOP_MAX,
	  .help = "name the N most used ones (0; 10 in a report)" },
	{ "max-connections", "N", "METRICS_SIDECAR_MAX_CONNECTIONS",
	  NUMBER(max_connections), .min = 1, .max = SUPERVISOR_CONNECTIONS_MAX,
	  .help = "hold at most N connections (512)" },
	{ "max-processes", "N", "METRICS_SIDECAR_MAX_PROCESSES",
	  NUMBER(max_processes), .min = 1, .max = SUPERVISOR_PROCESSES_MAX,
	  .help = "answer at most N at a time (8)" },
	{ "bearer-token-file", "FILE", "METRICS_SIDECAR_BEARER_TOKEN_FILE",
	  .take = take_token_file, .help = "answer who shows the token in it" },
	{ "timeout", "SECONDS", "METRICS_SIDECAR_TIMEOUT",
	  NUMBER(timeout_s), .min = 1, .max = 60,
	  .help = "for a whole exchange (10)" },
	{ "idle-exit", "SECONDS", "METRICS_SIDECAR_IDLE_EXIT",
	  NUMBER(idle_exit_s), .min = 0, .max = 86400,
	  .help = "end when idle, with passed sockets (0: never)" },
	{ "inetd", MODE(INETD), .help = "answer one request on standard input" },
	{ "print", MODE(PRINT), .help = "print the metrics, no HTTP" },
	{ "report", MODE(REPORT), .help = "print a report for a person" },
	{ "watch", .take = take_watch, .help = "the report every 2 s, until interrupted" },
	{ "help", MODE(HELP), .help = "print this" },
	{ "version", MODE(VERSION), .help = "print the version" },
};

#undef NUMBER
#undef MODE
/* clang-format on */

enum {
	SPECS = sizeof(specs) / sizeof(specs[0]),
};

static void
set_defaults(struct options *options)
{
	*options = (struct options){
		.procfs = DEFAULT_PROCFS,
		.port = DEFAULT_PORT,
		.top_destinations = UINT_MAX, /* none yet */
		.max_connections = 512,
		.max_processes = 8,
		.timeout_s = 10,
	};
	/* It is cut where it is longer, and still terminated. */
	gethostname(options->pod_name, sizeof(options->pod_name) - 1);
}

/* An empty variable is as good as none, but for the one that must not let everyone in. */
static void
take_environment(struct options *options)
{
	for (int i = 0; i < SPECS; i++) {
		const char *value = specs[i].variable ? getenv(specs[i].variable) : NULL;
		char text[REASON_SIZE] = "";
		struct buf reason = buf_over(text, sizeof(text));

		if (value && (value[0] != '\0' || specs[i].take == take_token_file) &&
			specs[i].take(options, &specs[i], value, &reason) < 0)
			log_message("use %s=%.64s: %s: default used", specs[i].variable,
				value, text);
	}
}

static void
fill_long_options(struct option *long_options)
{
	for (int i = 0; i < SPECS; i++) {
		if (specs[i].option)
			*long_options++ = (struct option){
				.name = specs[i].option,
				.has_arg = specs[i].argument ? required_argument
				                             : no_argument,
				.val = i,
			};
	}
	*long_options = (struct option){ 0 };
}

static int
take_option(struct options *options, const struct spec *spec, const char *value,
	struct buf *message)
{
	char text[REASON_SIZE] = "";
	struct buf reason = buf_over(text, sizeof(text));

	if (spec->take(options, spec, value, &reason) == 0)
		return 0;
	buf_printf(message, "use --%s=%.64s: %s", spec->option, value, text);
	return -EINVAL;
}

/* Word what getopt_long() stumbled over. */
static void
describe_unknown(int result, char *argv[], struct buf *message)
{
	bool is_long = optopt < SPECS;

	if (result == ':')
		buf_printf(message, "use %.64s: argument missing", argv[optind - 1]);
	else if (!is_long)
		buf_printf(message, "use -%c: no such option", optopt);
	else
		buf_printf(message, "use %.64s: %s", argv[optind - 1],
			optopt ? "no argument expected" : "no such option");
}

static int
take_arguments(struct options *options, int argc, char *argv[], struct buf *message)
{
	struct option long_options[SPECS + 1];
	int i;

	fill_long_options(long_options);
	opterr = 0;
	while ((i = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		if (i == ':' || i == '?') {
			describe_unknown(i, argv, message);
			return -EINVAL;
		}
		if (take_option(options, &specs[i], optarg, message) < 0)
			return -EINVAL;
	}
	if (optind < argc) {
		buf_printf(message, "use %.64s: no argument expected", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* A bad option is an error, a bad variable is not. Returns 0 or -EINVAL. */
static int
settle_source(struct options *options, enum ports_source variable, struct buf *message)
{
	bool is_option = options->source != PORTS_SOURCES;

	if (!is_option)
		options->source = variable;
	/* Another procfs may be another namespace's; netlink always asks about ours. */
	if (strcmp(options->procfs, DEFAULT_PROCFS) == 0)
		return 0;
	if (options->source == PORTS_SOURCE_AUTO)
		options->source = PORTS_SOURCE_PROCFS;
	if (options->source == PORTS_SOURCE_PROCFS)
		return 0;
	if (is_option) {
		buf_printf(message,
			"use --source=sock_diag: another procfs than " DEFAULT_PROCFS
			" is read as files only");
		return -EINVAL;
	}
	log_message("use METRICS_SIDECAR_SOURCE=sock_diag: another procfs "
		    "than " DEFAULT_PROCFS " is read as files only: procfs used");
	options->source = PORTS_SOURCE_PROCFS;
	return 0;
}

/* Addresses add up, but those of the arguments replace those of the environment. */
static void
settle_addresses(struct options *options, const struct options *environment)
{
	char address[sizeof(":65535")];

	if (options->address_count > 0)
		return;
	memcpy(options->addresses, environment->addresses, sizeof(options->addresses));
	options->address_count = environment->address_count;
	if (options->address_count > 0)
		return;
	snprintf(address, sizeof(address), ":%u", options->port);
	listen_parse_address(slice_of(address), &options->addresses[0]);
	options->address_count = 1;
}

int
options_parse(struct options *ret_options, int argc, char *argv[], struct buf *message)
{
	struct options options, environment;

	set_defaults(&options);
	take_environment(&options);
	environment = options;
	options.address_count = 0;
	options.source = PORTS_SOURCES; /* none yet */
	if (take_arguments(&options, argc, argv, message) < 0 ||
		settle_source(&options, environment.source, message) < 0)
		return -EINVAL;
	if (options.watches && options.mode != OPTIONS_MODE_REPORT) {
		buf_printf(message, "use --watch: only with --report");
		return -EINVAL;
	}
	if (options.top_destinations == UINT_MAX)
		options.top_destinations =
			options.mode == OPTIONS_MODE_REPORT ? REPORT_TOP_DESTINATIONS : 0;
	settle_addresses(&options, &environment);
	*ret_options = options;
	return 0;
}

static void
write_option(struct buf *b, const struct spec *spec)
{
	char text[40];

	snprintf(text, sizeof(text), "--%s%s%s", spec->option, spec->argument ? "=" : "",
		spec->argument ? spec->argument : "");
	buf_printf(b, "  %-29s%s\n", text, spec->help);
}

static void
write_variables(struct buf *b)
{
	size_t column = HELP_WIDTH;

	for (int i = 0; i < SPECS; i++) {
		size_t len = specs[i].variable ? strlen(specs[i].variable) : 0;

		if (len == 0)
			continue;
		if (column + 1 + len > HELP_WIDTH) {
			buf_printf(b, "\n ");
			column = 1;
		}
		buf_printf(b, " %s", specs[i].variable);
		column += 1 + len;
	}
	buf_printf(b, "\n");
}

void
options_write_help(struct buf *b)
{
	buf_printf(b, "Usage: metrics-sidecar [OPTION]...\n\n");
	for (int i = 0; i < SPECS; i++) {
		if (specs[i].option)
			write_option(b, &specs[i]);
	}
	buf_printf(b, "\nEnvironment, where an option is not given:");
	write_variables(b);
}
