/* SPDX-License-Identifier: MIT */
/*
 * Do what an attacker would do in a responder of the supervisor: LD_PRELOAD puts this
 * code in the place of the last call of the process, which is confined by then and has
 * read a request.
 *
 *   PLANTED=forge   write a line to every descriptor, then exit with a status that is
 *                   another one for each process
 *   PLANTED=spin    spend processor time without end, with the alarm switched off
 *
 * Source: ld.so(8) (LD_PRELOAD), fork(2), exit_group(2).
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

enum {
	DESCRIPTORS = 1024,
	STATUSES = 256,
};

static int forks; /* of the supervisor so far */
static bool is_responder;

/* The number of the process tells it apart; it may not ask for its pid any more. */
pid_t
fork(void)
{
	pid_t (*real)(void);
	pid_t pid;

	/* POSIX has it that this pointer is one to a function. */
	*(void **)&real = dlsym(RTLD_NEXT, "fork");
	forks++;
	pid = real();
	is_responder = pid == 0;
	return pid;
}

static void
forge(void)
{
	static const char line[] = "metrics-sidecar: forged \033[2J\n";

	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		/* Most are closed. */
		if (write(fd, line, sizeof(line) - 1) < 0)
			continue;
	}
}

static void
spin(void)
{
	const struct itimerval never = { 0 };

	setitimer(ITIMER_REAL, &never, NULL);
	for (;;)
		;
}

void
_exit(int status)
{
	const char *planted = getenv("PLANTED");

	if (is_responder && planted && strcmp(planted, "forge") == 0) {
		forge();
		status = forks % STATUSES;
	}
	if (is_responder && planted && strcmp(planted, "spin") == 0)
		spin();
	for (;;)
		syscall(SYS_exit_group, status);
}
