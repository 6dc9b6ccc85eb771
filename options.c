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
	size_t offset;     /* of the member that a number or a path goes to */
	unsigned min, max; /* of a number; what a mode is set to */
	const char *help;
};

static struct slice
slice_of(const char *string)
{
	return (struct slice){ string, strlen(string) };
}

/*
 * Cut white space off both ends, in place: a value that a manifest takes from a file ends
 * in a newline. Arguments and environment are ours to write to.
 */
static const char *
strip(char *value)
{
	struct slice s = slice_strip(slice_of(value));
	char *start = value + (s.data - value);

	start[s.len] = '\0';
	return start;
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
	/* --help and --version win over every other mode. */
	if (options->mode >= OPTIONS_MODE_HELP)
		return 0;
	if (options->mode != OPTIONS_MODE_FIND_OUT && options->mode != spec->max &&
		spec->max < OPTIONS_MODE_HELP) {
		buf_printf(reason, "only one of --inetd, --print and --report");
		return -EINVAL;
	}
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
take_path(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	if (value[0] == '\0') {
		buf_printf(reason, "empty");
		return -EINVAL;
	}
	*(const char **)((char *)options + spec->offset) = value;
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

/* Take the next of several values with commas between them, until none is left. */
static bool
next_value(const char **values, struct slice *ret_value)
{
	size_t len;

	if (!*values)
		return false;
	len = strcspn(*values, ",");
	*ret_value = slice_strip((struct slice){ *values, len });
	*values = (*values)[len] == ',' ? *values + len + 1 : NULL;
	return true;
}

/* One address, or several; all of them or none. */
static int
take_addresses(struct options *options, const struct spec *spec, const char *value,
	struct buf *reason)
{
	struct listen_address parsed[LISTEN_PARSED_MAX];
	size_t count = options->address_count;
	struct slice text;

	(void)spec;
	while (next_value(&value, &text)) {
		int n = listen_parse_address(text, parsed);

		if (n < 0) {
			buf_printf(reason,
				"not [HOST]:PORT (IPv4, [IPv6], [fe80::1%%eth0] or "
				"localhost; 1 to 65535) nor unix:/path");
			return -EINVAL;
		}
		if (count + (size_t)n > LISTEN_OWN_MAX) {
			buf_printf(reason, "more than %d addresses", LISTEN_OWN_MAX);
			return -EINVAL;
		}
		for (int i = 0; i < n; i++)
			options->addresses[count++] = parsed[i];
	}
	options->address_count = count;
	return 0;
}

/* The first port that bad addresses name, or the one for no address. */
static unsigned
find_port(const struct options *options, const char *value)
{
	struct slice text, port;
	uint64_t number;

	while (next_value(&value, &text)) {
		const char *colon =
			text.len > 0 ? memrchr(text.data, ':', text.len) : NULL;

		port.data = colon ? colon + 1 : text.data;
		port.len = (size_t)(text.data + text.len - port.data);
		if (util_parse_number(port, 1, UINT16_MAX, &number) == 0)
			return (unsigned)number;
	}
	return options->port;
}

/* clang-format off */
#define NUMBER(member) .take = take_number, .offset = offsetof(struct options, member)
#define PATH(member) .take = take_path, .offset = offsetof(struct options, member)
#define MODE(mode) .take = take_mode, .max = OPTIONS_MODE_##mode

static const struct spec specs[] = {
	/* Before the addresses: bad ones that name no port leave this one. */
	{ .variable = "METRICS_SIDECAR_PORT", NUMBER(port), .min = 1, .max = 65535 },
	{ "web.listen-address", "ADDRESS", "METRICS_SIDECAR_LISTEN_ADDRESS",
	  .take = take_addresses,
	  .help = "[HOST]:PORT, unix:/path; repeatable (:9999)" },
	{ "pod-name", "NAME", "POD_NAME", .take = take_pod_name,
	  .help = "label of every sample (host name)" },
	{ "path.procfs", "DIR", "METRICS_SIDECAR_PROCFS", PATH(procfs),
	  .help = "where procfs is mounted (/proc)" },
	{ "source", "SOURCE", "METRICS_SIDECAR_SOURCE", .take = take_source,
	  .help = "auto, sock_diag or procfs (auto)" },
	{ "top-destinations", "N", "METRICS_SIDECAR_TOP_DESTINATIONS",
	  NUMBER(top_destinations), .min = 0, .max = DESTINATIONS_TOP_MAX,
	  .help = "name the N most used, 0 to 100 (0; report: 10)" },
	{ "max-connections", "N", "METRICS_SIDECAR_MAX_CONNECTIONS",
	  NUMBER(max_connections), .min = 1, .max = SUPERVISOR_CONNECTIONS_MAX,
	  .help = "hold at most N connections, 1 to 16384 (512)" },
	{ "max-processes", "N", "METRICS_SIDECAR_MAX_PROCESSES",
	  NUMBER(max_processes), .min = 1, .max = SUPERVISOR_PROCESSES_MAX,
	  .help = "answer at most N at a time, 1 to 64 (8)" },
	{ "bearer-token-file", "FILE", "METRICS_SIDECAR_BEARER_TOKEN_FILE",
	  .take = take_token_file, .help = "require the token in this file (none)" },
	{ "netns-file", "FILE", "METRICS_SIDECAR_NETNS_FILE", PATH(netns_file),
	  .help = "measure while in this network namespace (none)" },
	{ "timeout", "SECONDS", "METRICS_SIDECAR_TIMEOUT",
	  NUMBER(timeout_s), .min = 1, .max = 60,
	  .help = "for a whole exchange, 1 to 60 (10)" },
	{ "idle-exit", "SECONDS", "METRICS_SIDECAR_IDLE_EXIT",
	  NUMBER(idle_exit_s), .min = 0, .max = 86400,
	  .help = "passed sockets: end when idle, 0 to 86400 (0)" },
	{ "inetd", MODE(INETD), .help = "answer one request on standard input" },
	{ "print", MODE(PRINT), .help = "print the metrics, no HTTP" },
	{ "report", MODE(REPORT), .help = "print a report for a person" },
	{ "watch", .take = take_watch, .help = "the report every 2 s, until interrupted" },
	{ "help", MODE(HELP), .help = "print this; so does -h" },
	{ "version", MODE(VERSION), .help = "print the version" },
};

#undef NUMBER
#undef PATH
#undef MODE
/* clang-format on */

enum {
	SPECS = sizeof(specs) / sizeof(specs[0]),
};

_Static_assert((int)SPECS < 'h', "getopt_long() returns an index, or that letter");

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

/* Listen on localhost alone: a mistake in an address must not open all addresses. */
static void
use_localhost(struct options *options, const char *value, char *text, size_t size)
{
	snprintf(text, size, "localhost:%u", find_port(options, value));
	options->address_count =
		(size_t)listen_parse_address(slice_of(text), options->addresses);
}

static void
use_instead(struct options *options, const struct spec *spec, const char *value,
	const char *reason)
{
	char used[sizeof("localhost:65535")] = "default";

	if (spec->take == take_addresses)
		use_localhost(options, value, used, sizeof(used));
	log_message("use %s=%.64s: %s: %s used", spec->variable, value, reason, used);
}

/*
 * Take the variables of the options that were not given. An empty one is as good as none,
 * but for the one that must not let everyone in.
 */
static void
take_environment(struct options *options, const bool given[static SPECS])
{
	for (int i = 0; i < SPECS; i++) {
		char *variable = specs[i].variable ? getenv(specs[i].variable) : NULL;
		const char *value = variable ? strip(variable) : "";
		char text[REASON_SIZE] = "";
		struct buf reason = buf_over(text, sizeof(text));

		if (!variable || given[i] ||
			(value[0] == '\0' && specs[i].take != take_token_file))
			continue;
		if (specs[i].take(options, &specs[i], value, &reason) < 0)
			use_instead(options, &specs[i], value, text);
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
	buf_printf(message, "use --%s%s%.64s: %s", spec->option, value ? "=" : "",
		value ? value : "", text);
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
take_arguments(struct options *options, int argc, char *argv[],
	bool ret_given[static SPECS], struct buf *message)
{
	struct option long_options[SPECS + 1];
	int i;

	fill_long_options(long_options);
	opterr = 0;
	while ((i = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
		if (i == ':' || i == '?') {
			describe_unknown(i, argv, message);
			return -EINVAL;
		}
		if (i == 'h') {
			options->mode = OPTIONS_MODE_HELP;
			continue;
		}
		if (take_option(options, &specs[i], optarg ? strip(optarg) : NULL,
			    message) < 0)
			return -EINVAL;
		ret_given[i] = true;
	}
	if (optind < argc) {
		buf_printf(message, "use %.64s: no argument expected", argv[optind]);
		return -EINVAL;
	}
	return 0;
}

/* A bad option is an error, a bad variable is not. Returns 0 or -EINVAL. */
static int
settle_source(struct options *options, bool is_option, struct buf *message)
{
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

static void
settle_addresses(struct options *options)
{
	char address[sizeof(":65535")];

	if (options->address_count == 0) {
		snprintf(address, sizeof(address), ":%u", options->port);
		options->address_count = (size_t)listen_parse_address(
			slice_of(address), options->addresses);
	}
	options->address_count =
		listen_merge_addresses(options->addresses, options->address_count);
}

/* The report of a sidecar that names none to the network names them all the same. */
static void
settle_top_destinations(struct options *options, bool is_option)
{
	if (is_option)
		return;
	if (options->top_destinations == UINT_MAX)
		options->top_destinations = 0;
	if (options->top_destinations == 0 && options->mode == OPTIONS_MODE_REPORT)
		options->top_destinations = REPORT_TOP_DESTINATIONS;
}

int
options_parse(struct options *ret_options, int argc, char *argv[], struct buf *message)
{
	bool given[SPECS] = { false }, is_source_option, is_top_option;
	struct options options;

	set_defaults(&options);
	if (take_arguments(&options, argc, argv, given, message) < 0)
		return -EINVAL;
	is_source_option = options.source != PORTS_SOURCE_AUTO;
	is_top_option = options.top_destinations != UINT_MAX;
	take_environment(&options, given);
	if (settle_source(&options, is_source_option, message) < 0)
		return -EINVAL;
	if (options.watches && options.mode < OPTIONS_MODE_HELP &&
		options.mode != OPTIONS_MODE_REPORT) {
		buf_printf(message, "use --watch: only with --report");
		return -EINVAL;
	}
	settle_top_destinations(&options, is_top_option);
	settle_addresses(&options);
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
