/* SPDX-License-Identifier: MIT */
#include "terminal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum {
	DEFAULT_WIDTH = 80,
	DEFAULT_HEIGHT = 24,
};

/* NULL for an empty one too. */
static const char *
value_of(const char *variable)
{
	const char *value = getenv(variable);

	return value && value[0] != '\0' ? value : NULL;
}

/* The first that is set decides; nothing sets one in a container, whose terminal is
 * that of a person elsewhere. */
static bool
has_utf8(void)
{
	static const char *const variables[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		const char *value = value_of(variables[i]);

		if (value)
			return strcasestr(value, "UTF-8") || strcasestr(value, "UTF8");
	}
	return true;
}

static bool
knows_escapes(void)
{
	const char *terminal = value_of("TERM");

	return terminal && strcmp(terminal, "dumb") != 0;
}

static unsigned
find_width(const struct winsize *size)
{
	const char *columns = value_of("COLUMNS");
	uint64_t width = DEFAULT_WIDTH;

	if (size->ws_col > 0)
		width = size->ws_col;
	else if (columns)
		util_parse_number((struct slice){ columns, strlen(columns) }, 1,
			UINT16_MAX, &width);
	if (width < REPORT_WIDTH_MIN)
		return REPORT_WIDTH_MIN;
	return width < REPORT_WIDTH_MAX ? (unsigned)width : REPORT_WIDTH_MAX;
}

/*
 * The cursor needs a line of its own, and a terminal that is narrower than a report
 * breaks lines.
 */
static unsigned
find_height(const struct winsize *size, unsigned width)
{
	unsigned lines = size->ws_row > 1 ? size->ws_row - 1u : DEFAULT_HEIGHT - 1;

	if (size->ws_col > 0)
		lines /= (width + size->ws_col - 1) / size->ws_col;
	return lines > 0 ? lines : 1;
}

void
terminal_find_style(int fd, bool redraws, struct report_style *ret_style)
{
	struct winsize size = { 0 };
	bool is_terminal = isatty(fd) && knows_escapes();

	ioctl(fd, TIOCGWINSZ, &size);
	*ret_style = (struct report_style){
		.width = find_width(&size),
		.has_colours = is_terminal && !value_of("NO_COLOR"),
		.has_utf8 = has_utf8(),
		.redraws = is_terminal && redraws,
	};
	if (ret_style->redraws)
		ret_style->height = find_height(&size, ret_style->width);
}
