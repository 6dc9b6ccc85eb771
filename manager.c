/* SPDX-License-Identifier: MIT */
#include "manager.h"

#include "log.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#if WITH_SYSTEMD

#include <dlfcn.h>
#include <systemd/sd-daemon.h>

_Static_assert(MANAGER_FIRST_FD == SD_LISTEN_FDS_START, "as systemd passes them");

/* The types are libsystemd's own, so that a change of its interface does not compile. */
static struct {
	__typeof__(&sd_listen_fds) listen_fds;
	__typeof__(&sd_notify) notify;
	__typeof__(&sd_watchdog_enabled) watchdog_enabled;
} lib;

/*
 * A function pointer cannot be cast from what dlsym() returns, by ISO C; POSIX wants this
 * detour.
 */
static void
find_symbol(void *handle, const char *name, void *ret_function)
{
	void *symbol = dlsym(handle, name);

	memcpy(ret_function, &symbol, sizeof(symbol));
}

void
manager_init(void)
{
	void *handle;

	if (!getenv("LISTEN_FDS") && !getenv("NOTIFY_SOCKET"))
		return;
	handle = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		log_message("load libsystemd: %s", dlerror());
		return;
	}
	find_symbol(handle, "sd_listen_fds", &lib.listen_fds);
	find_symbol(handle, "sd_notify", &lib.notify);
	find_symbol(handle, "sd_watchdog_enabled", &lib.watchdog_enabled);
}

int
manager_listen_fds(void)
{
	bool passed = getenv("LISTEN_FDS") != NULL;
	int count = lib.listen_fds ? lib.listen_fds(1) : 0;

	if (count == 0 && passed && lib.listen_fds)
		log_message(
			"take passed sockets: LISTEN_PID is not this process: ignored");
	return count;
}

void
manager_notify(const char *state)
{
	if (lib.notify)
		lib.notify(0, state);
}

int64_t
manager_watchdog_ms(void)
{
	uint64_t usec = 0;

	if (!lib.watchdog_enabled || lib.watchdog_enabled(0, &usec) <= 0)
		return 0;
	/* Twice as often as asked, as sd_watchdog_enabled(3) advises. */
	return (int64_t)(usec / 1000 / 2);
}

#else

void
manager_init(void)
{
	if (getenv("LISTEN_FDS"))
		log_message("take passed sockets: built without libsystemd: ignored");
}

int
manager_listen_fds(void)
{
	return 0;
}

void
manager_notify(const char *state)
{
	(void)state;
}

int64_t
manager_watchdog_ms(void)
{
	return 0;
}

#endif
