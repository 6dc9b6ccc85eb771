/* SPDX-License-Identifier: MIT */
#include "manager.h"

#include "log.h"
#include "util.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int notify_fd = -1; /* connected to the service manager, or not connected */

static bool
read_variable(const char *name, uint64_t max, uint64_t *ret_number)
{
	const char *value = getenv(name);

	return value && util_parse_number((struct slice){ value, strlen(value) }, 0, max,
				ret_number) == 0;
}

static bool
is_this_process(const char *name)
{
	uint64_t pid;

	return read_variable(name, INT32_MAX, &pid) && pid == (uint64_t)getpid();
}

/*
 * What sd_listen_fds(3) does. The variables stay: this program starts no other one that
 * could take them for its own.
 */
static int
listen_fds(int unset_environment)
{
	uint64_t count;

	(void)unset_environment;
	if (!read_variable("LISTEN_FDS", INT32_MAX - MANAGER_FIRST_FD, &count))
		return -EINVAL;
	for (int fd = MANAGER_FIRST_FD; fd < MANAGER_FIRST_FD + (int)count; fd++) {
		if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
			return -errno;
	}
	return (int)count;
}

#if WITH_SYSTEMD

#include <dlfcn.h>
#include <systemd/sd-daemon.h>

_Static_assert(MANAGER_FIRST_FD == SD_LISTEN_FDS_START, "as systemd passes them");

/* By libsystemd, or by ourselves where it is missing. */
static int
take_fds(void)
{
	void *handle = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	void *symbol = handle ? dlsym(handle, "sd_listen_fds") : NULL;
	/* The type is libsystemd's own: a change of its interface does not compile. */
	__typeof__(&sd_listen_fds) function = listen_fds;

	/*
	 * A function pointer cannot be cast from what dlsym() returns, by ISO C; POSIX
	 * wants this detour.
	 */
	if (symbol)
		memcpy(&function, &symbol, sizeof(symbol));
	return function(1);
}

#else

static int
take_fds(void)
{
	return listen_fds(1);
}

#endif

int
manager_listen_fds(void)
{
	const char *passed = getenv("LISTEN_FDS");

	/* Nothing was passed, which sd_listen_fds(3) calls an error. */
	if (!passed || passed[0] == '\0' || strcmp(passed, "0") == 0)
		return 0;
	if (!is_this_process("LISTEN_PID")) {
		log_message(
			"take passed sockets: LISTEN_PID is not this process: ignored");
		return 0;
	}
	return take_fds();
}

void
manager_connect(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	size_t len = path ? strlen(path) : 0;

	if (len == 0 || len > sizeof(sun.sun_path) || (path[0] != '/' && path[0] != '@'))
		return;
	memcpy(sun.sun_path, path, len);
	if (path[0] == '@')
		sun.sun_path[0] = '\0'; /* an abstract name, unix(7) */
	notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (notify_fd < 0 ||
		connect(notify_fd, (const struct sockaddr *)&sun,
			(socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		log_message("connect to service manager: %s", util_error_text(errno));
}

/*
 * Not sd_notify(3), which waits for a manager that does not read: the supervisor must
 * not.
 */
void
manager_notify(const char *state)
{
	if (notify_fd >= 0)
		send(notify_fd, state, strlen(state), MSG_DONTWAIT | MSG_NOSIGNAL);
}

int64_t
manager_watchdog_ms(void)
{
	uint64_t usec;

	if (getenv("WATCHDOG_PID") && !is_this_process("WATCHDOG_PID"))
		return 0;
	if (!read_variable("WATCHDOG_USEC", INT64_MAX, &usec))
		return 0;
	/* Twice as often as asked, as sd_watchdog_enabled(3) advises. */
	return (int64_t)(usec / 1000 / 2);
}
