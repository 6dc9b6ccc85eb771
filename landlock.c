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
	FS_READ_DIR = 1 << 3,
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
	[LANDLOCK_READ] = FS_READ_FILE | FS_READ_DIR,
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

/* Leave of a path the directory that it is in. Returns false where it is in none. */
static bool
cut_name(char *path)
{
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	if (len == 0)
		return false;
	while (len > 0 && path[len - 1] != '/')
		len--;
	path[len] = '\0';
	if (len == 0)
		memcpy(path, ".", sizeof("."));
	return true;
}

static int
copy_path(const char *path, char ret_copy[static PATH_MAX])
{
	size_t len = strlen(path);

	if (len < 1 || len >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(ret_copy, path, len + 1);
	return 0;
}

static int
add_rule(const struct landlock *landlock, int type, const void *rule)
{
	return syscall(SYS_landlock_add_rule, landlock->fd, type, rule, 0) < 0 ? -errno
	                                                                       : 0;
}

/*
 * What lies below a directory that may not be entered cannot be opened either, now or
 * later.
 */
static int
open_nearest(char *path)
{
	int fd;

	while ((fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)) < 0) {
		if (strcmp(path, ".") == 0 || !cut_name(path))
			return -errno;
	}
	return fd;
}

int
landlock_allow_below(const struct landlock *landlock, const char *directory,
	enum landlock_access access)
{
	/* struct landlock_path_beneath_attr */
	struct __attribute__((packed)) {
		uint64_t allowed;
		int32_t directory;
	} rule = { .allowed = path_accesses[access] };
	char path[PATH_MAX];
	int r = copy_path(directory, path);

	if (r < 0)
		return r;
	rule.directory = open_nearest(path);
	if (rule.directory < 0)
		return rule.directory;
	r = add_rule(landlock, RULE_PATH_BENEATH, &rule);
	close(rule.directory);
	return r;
}

int
landlock_allow_beside(
	const struct landlock *landlock, const char *file, enum landlock_access access)
{
	char path[PATH_MAX], target[1];
	int r = copy_path(file, path);

	if (r < 0)
		return r;
	cut_name(path);
	r = landlock_allow_below(landlock, path, access);
	/* Behind a slash, readlink(2) would follow the link. */
	for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
		path[len - 1] = '\0';
	if (r < 0 || readlink(path, target, sizeof(target)) < 0)
		return r;
	cut_name(path);
	return landlock_allow_below(landlock, path, access);
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
