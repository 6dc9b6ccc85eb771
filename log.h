/* SPDX-License-Identifier: MIT */
/*
 * Tell the operator, without ever waiting for the reader of the log.
 *
 * A message is one line, "verb object: reason", on standard error, or in syslog where
 * standard error is the client itself, as inetd arranges it. The same message is written
 * at most once in ten seconds, by this process and all it forked; what was left out is
 * counted and said later. Of different messages, too, no more than ten are written in a
 * second.
 *
 * Source: inetd(8), pipe(7) (PIPE_BUF), RFC 3164 (syslog).
 */
#ifndef LOG_H
#define LOG_H

#include <stdbool.h>

enum {
	LOG_LINE_MAX =
		512, /* bytes of a line with its newline; below PIPE_BUF: never torn */
	LOG_REPEAT_MS = 10 * 1000, /* the same message again after this long */
	LOG_MESSAGES_REMEMBERED = 16,
	LOG_LINES_PER_S = 10,
};

/*
 * Find out where messages go. Call it first: it also fills descriptors 0 to 2 where they
 * are closed, so that no file opened later is taken for standard error.
 */
void log_init(void);

/*
 * Remember from now on in this memory, less than a page, what was said: processes that
 * this one did not fork share it so. Memory of zeros gets what is remembered so far.
 */
void log_share_memory(void *memory);

/* Where messages go, to be kept open: descriptor 2, or one that log_init() opened. */
int log_descriptor(void);

/* Whether that is a file, which grows with what is written. */
bool log_is_file(void);

/*
 * Give up the log, and what this process shares of it with others. Messages after that go
 * nowhere.
 */
void log_close(void);

/*
 * Say one message (printf(3), without newline). Bytes that are not printable ASCII become
 * '?', what is longer than a line is cut. Never blocks, never fails.
 */
void log_message(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same, but only once, by this process and all it forked: one line that was taken. */
void log_message_once(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
