/* SPDX-License-Identifier: MIT */
/*
 * Do what an attacker would do in a responder of the supervisor, or in the supervisor
 * itself: LD_PRELOAD puts this code in the place of the last call of the process, which
 * is confined by then and has read a request, or in the place of the call by which a
 * supervisor hands its connections over.
 *
 *   PLANTED=forge   write a line to every descriptor, then exit with a status that is
 *                   another one for each process
 *   PLANTED=spin    spend processor time without end, with the alarm switched off
 *   PLANTED=foreign hand each connection over twice, once with a time that cannot be, and
 *                   messages that hold no connection in front of it
 *
 * Source: ld.so(8) (LD_PRELOAD), fork(2), exit_group(2), unix(7) (SCM_RIGHTS).
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

/* Send `len` bytes and so many descriptors, all of them standard error. */
static void
send_message(int fd, const void *data, size_t len, size_t descriptors)
{
	const int none[] = { STDERR_FILENO, STDERR_FILENO };
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(none))] = { 0 };
	struct iovec iov = { (void *)(uintptr_t)data, len };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *header;

	if (descriptors > 0) {
		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(descriptors * sizeof(none[0]));
		header = CMSG_FIRSTHDR(&message);
		header->cmsg_level = SOL_SOCKET;
		header->cmsg_type = SCM_RIGHTS;
		header->cmsg_len = CMSG_LEN(descriptors * sizeof(none[0]));
		memcpy(CMSG_DATA(header), none, descriptors * sizeof(none[0]));
	}
	syscall(SYS_sendmsg, fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void
send_foreign(int fd, struct msghdr message, int flags)
{
	static int64_t impossible = INT64_MAX;
	struct iovec iov = { &impossible, sizeof(impossible) };
	char data[64] = { 0 };

	for (size_t descriptors = 0; descriptors <= 2; descriptors++) {
		send_message(fd, data, 0, descriptors);
		send_message(fd, data, sizeof(int64_t) - 1, descriptors);
		send_message(fd, data, sizeof(data), descriptors);
	}
	message.msg_iov = &iov;
	syscall(SYS_sendmsg, fd, &message, flags);
	impossible = impossible == INT64_MAX ? INT64_MIN : INT64_MAX;
}

ssize_t
sendmsg(int fd, const struct msghdr *message, int flags)
{
	const char *planted = getenv("PLANTED");

	if (planted && strcmp(planted, "foreign") == 0)
		send_foreign(fd, *message, flags);
	return syscall(SYS_sendmsg, fd, message, flags);
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
