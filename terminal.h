/* SPDX-License-Identifier: MIT */
/*
 * Find out what the terminal behind a descriptor can show.
 *
 * Source: ioctl_tty(2) (TIOCGWINSZ), locale(7) (LC_ALL, LC_CTYPE, LANG),
 * https://no-color.org.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include "report.h"

/*
 * Fill all but the trend. Where fd is no terminal: 80 columns or those of $COLUMNS,
 * without colours, as many lines as there are. A terminal that `redraws` gets no more
 * lines than it shows at a time. Does I/O.
 */
void terminal_find_style(int fd, bool redraws, struct report_style *ret_style);

#endif
