/* SPDX-License-Identifier: MIT */
#include "landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Names of linux/landlock.h with other prefixes: that header may be missing or older. */
enum {
	ASK_VERSION = 1, /* LANDLOCK_CREATE_RULESET_VERSION */
	RULE_PATH_BENEATH = 1,
	RULE_NET_PORT = 2,
	FS_READ_FILE = 1 << 2,
	FS_REMOVE_FILE = 1 << 5,
	FS_MAKE_SOCK = 1 << 9,
	NET_BIND_TCP = 1 << 0,
};

/*
 * The whole of what a ruleset can handle, by version of its interface (landlock(7)); the
 * kernel refuses bits that it does not know.
 */
struct ruleset {
	uint64_t file_system, network, scopes;
};

static const struct {
	size_t size; /* of the attribute that this version knows */
	struct ruleset handled;
} versions[] = {
	{ 8, { 0x1fff, 0, 0 } },
	{ 8, { 0x3fff, 0, 0 } },  /* linking and renaming between directories */
	{ 8, { 0x7fff, 0, 0 } },  /* truncating */
	{ 16, { 0x7fff, 3, 0 } }, /* binding and connecting TCP sockets */
	{ 16, { 0xffff, 3, 0 } }, /* ioctl(2) of devices */
	{ 24, { 0xffff, 3, 3 } }, /* abstract UNIX sockets and signals */
};

static const uint64_t path_accesses[] = {
	[LANDLOCK_READ_FILES] = FS_READ_FILE,
	[LANDLOCK_MAKE_SOCKETS] = FS_MAKE_SOCK | FS_REMOVE_FILE,
};

int
landlock_create(struct landlock *ret_landlock)
{
	const long known = sizeof(versions) / sizeof(versions[0]);
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, ASK_VERSION);
	long fd;

	if (version < 1)
		return version < 0 ? -errno : -ENOSYS;
	if (version > known)
		version = known;
	fd = syscall(SYS_landlock_create_ruleset, &versions[version - 1].handled,
		versions[version - 1].size, 0);
	if (fd < 0)
		return -errno;
	*ret_landlock = (struct landlock){
		.fd = (int)fd,
		.restricts_tcp = versions[version - 1].handled.network != 0,
	};
	return 0;
}

/*
 * Open the directory of this name, or the nearest one above it. What lies below a
 * directory that may not be entered cannot be opened either, now or later.
 */
static int
open_nearest_directory(const char *path)
{
	const int flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
	char name[PATH_MAX];
	size_t len = strlen(path);
	char *slash;
	int fd;

	if (len >= sizeof(name))
		return -ENAMETOOLONG;
	memcpy(name, path, len + 1);
	while ((fd = open(name, flags)) < 0 && (slash = strrchr(name, '/')) &&
		strcmp(name, "/") != 0)
		slash[slash == name ? 1 : 0] = '\0';
	if (fd < 0 && name[0] != '/')
		fd = open(".", flags);
	return fd < 0 ? -errno : fd;
}

static int
add_rule(const struct landlock *landlock, int type, const void *rule)
{
	return syscall(SYS_landlock_add_rule, landlock->fd, type, rule, 0) < 0 ? -errno
	                                                                       : 0;
}

int
landlock_allow_below(
	const struct landlock *landlock, const char *path, enum landlock_access access)
{
	/* struct landlock_path_beneath_attr */
	struct __attribute__((packed)) {
		uint64_t allowed;
		int32_t directory;
	} rule = { path_accesses[access], open_nearest_directory(path) };
	int r;

	if (rule.directory < 0)
		return rule.directory;
	r = add_rule(landlock, RULE_PATH_BENEATH, &rule);
	close(rule.directory);
	return r;
}

int
landlock_allow_bind(const struct landlock *landlock, uint16_t port)
{
	/* struct landlock_net_port_attr, in host byte order */
	const struct {
		uint64_t allowed, port;
	} rule = { NET_BIND_TCP, port };

	return landlock->restricts_tcp ? add_rule(landlock, RULE_NET_PORT, &rule) : 0;
}

int
landlock_restrict(const struct landlock *landlock)
{
	return syscall(SYS_landlock_restrict_self, landlock->fd, 0) < 0 ? -errno : 0;
}

void
landlock_close(const struct landlock *landlock)
{
	close(landlock->fd);
}
