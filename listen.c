/* SPDX-License-Identifier: MIT */
#include "listen.h"

#include "log.h"
#include "manager.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE /* Linux 5.14; the headers may be older */
#if defined(__hppa__)
#define SO_NETNS_COOKIE 0x4045
#elif defined(__sparc__)
#define SO_NETNS_COOKIE 0x50
#else
#define SO_NETNS_COOKIE 71
#endif
#endif

static const char unix_prefix[] = "unix:";

static int
parse_unix_path(struct slice path, struct listen_address *ret_address)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };

	if (path.len == 0 || path.len >= sizeof(sun.sun_path) || path.data[0] != '/')
		return -EINVAL;
	memcpy(sun.sun_path, path.data, path.len);
	*ret_address = (struct listen_address){ .len = sizeof(sun) };
	memcpy(&ret_address->storage, &sun, sizeof(sun));
	return 1;
}

static void
set_ipv6(struct listen_address *address, const struct in6_addr *host, uint16_t port)
{
	struct sockaddr_in6 sin6 = {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = *host,
	};

	address->len = sizeof(sin6);
	memcpy(&address->storage, &sin6, sizeof(sin6));
}

static void
set_ipv4(struct listen_address *address, struct in_addr host, uint16_t port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr = host,
	};

	address->len = sizeof(sin);
	memcpy(&address->storage, &sin, sizeof(sin));
}

/*
 * What brackets hold that is no IPv4 address. bind(2) wants the interface of a link-local
 * address, and of no other. Returns 1 or -EINVAL.
 */
static int
parse_ipv6(struct slice host, uint16_t port, struct listen_address *ret_address)
{
	const char *percent = memchr(host.data, '%', host.len);
	size_t len = percent ? (size_t)(percent - host.data) : host.len;
	size_t zone_len = percent ? host.len - len - 1 : 0;
	char text[INET6_ADDRSTRLEN] = "";
	struct in6_addr in6;
	struct in_addr in;

	if (len < sizeof(text))
		memcpy(text, host.data, len);
	if (inet_pton(AF_INET6, text, &in6) != 1 ||
		IN6_IS_ADDR_LINKLOCAL(&in6) != (zone_len > 0) ||
		(percent && zone_len == 0) || zone_len >= sizeof(ret_address->zone))
		return -EINVAL;
	memcpy(&in, &in6.s6_addr[12], sizeof(in));
	if (IN6_IS_ADDR_V4MAPPED(&in6))
		set_ipv4(ret_address, in, port);
	else
		set_ipv6(ret_address, &in6, port);
	if (percent)
		memcpy(ret_address->zone, percent + 1, zone_len);
	return 1;
}

static int
parse_host(struct slice host, uint16_t port, struct listen_address *ret_addresses)
{
	const struct in_addr loopback = { htonl(INADDR_LOOPBACK) };
	char text[INET_ADDRSTRLEN] = "";
	struct in_addr in;
	bool brackets =
		host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';

	if (host.len == 0) {
		set_ipv6(ret_addresses, &in6addr_any, port);
		ret_addresses->any_host = true;
		return 1;
	}
	if (brackets)
		host = (struct slice){ host.data + 1, host.len - 2 };
	if (slice_equals_nocase(host, "localhost")) {
		set_ipv4(&ret_addresses[0], loopback, port);
		set_ipv6(&ret_addresses[1], &in6addr_loopback, port);
		return 2;
	}
	if (host.len < sizeof(text))
		memcpy(text, host.data, host.len);
	if (inet_pton(AF_INET, text, &in) == 1) {
		set_ipv4(ret_addresses, in, port);
		return 1;
	}
	return brackets ? parse_ipv6(host, port, ret_addresses) : -EINVAL;
}

int
listen_parse_address(
	struct slice text, struct listen_address ret_addresses[static LISTEN_PARSED_MAX])
{
	const size_t prefix = sizeof(unix_prefix) - 1;
	struct listen_address addresses[LISTEN_PARSED_MAX] = { 0 };
	struct slice port_text;
	uint64_t port;
	size_t host;
	int r;

	if (text.len > prefix && memcmp(text.data, unix_prefix, prefix) == 0)
		return parse_unix_path(
			(struct slice){ text.data + prefix, text.len - prefix },
			ret_addresses);
	for (host = text.len; host > 0 && text.data[host - 1] != ':'; host--)
		;
	if (host == 0)
		return -EINVAL;
	port_text = (struct slice){ text.data + host, text.len - host };
	if (util_parse_number(port_text, 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	r = parse_host((struct slice){ text.data, host - 1 }, (uint16_t)port, addresses);
	for (int i = 0; i < r; i++)
		ret_addresses[i] = addresses[i];
	return r;
}

/* Whether it is 0.0.0.0 or [::]. */
static bool
is_wildcard(const struct listen_address *address)
{
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;

	memcpy(&sin6, &address->storage, sizeof(sin6));
	memcpy(&sin, &address->storage, sizeof(sin));
	if (address->storage.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&sin6.sin6_addr);
	return address->storage.ss_family == AF_INET &&
	       sin.sin_addr.s_addr == htonl(INADDR_ANY);
}

/* Whether whoever listens on a has all that comes to b, so that bind(2) refuses b. */
static bool
includes(const struct listen_address *a, const struct listen_address *b)
{
	if (memcmp(&a->storage, &b->storage, sizeof(a->storage)) == 0 &&
		strcmp(a->zone, b->zone) == 0)
		return a->any_host || !b->any_host;
	return listen_port(a) == listen_port(b) && is_wildcard(a) &&
	       (a->any_host || a->storage.ss_family == b->storage.ss_family);
}

static bool
has_ipv4(const struct listen_address *addresses, size_t count, uint16_t port)
{
	for (size_t i = 0; i < count; i++) {
		if (addresses[i].storage.ss_family == AF_INET &&
			listen_port(&addresses[i]) == port)
			return true;
	}
	return false;
}

size_t
listen_merge_addresses(struct listen_address *addresses, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		const struct listen_address address = addresses[i];
		size_t others = 0, j;

		for (j = 0; j < kept && !includes(&addresses[j], &address); j++)
			;
		if (j < kept)
			continue;
		for (j = 0; j < kept; j++) {
			if (!includes(&address, &addresses[j]))
				addresses[others++] = addresses[j];
		}
		addresses[others] = address;
		kept = others + 1;
	}
	for (size_t i = 0; i < kept; i++)
		addresses[i].only_ipv6 =
			addresses[i].storage.ss_family == AF_INET6 &&
			has_ipv4(addresses, kept, listen_port(&addresses[i]));
	return kept;
}

uint16_t
listen_port(const struct listen_address *address)
{
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;

	memcpy(&sin6, &address->storage, sizeof(sin6));
	memcpy(&sin, &address->storage, sizeof(sin));
	if (address->storage.ss_family == AF_INET6)
		return ntohs(sin6.sin6_port);
	return address->storage.ss_family == AF_INET ? ntohs(sin.sin_port) : 0;
}

const char *
listen_path(const struct listen_address *address)
{
	if (address->storage.ss_family != AF_UNIX)
		return NULL;
	return (const char *)&address->storage + offsetof(struct sockaddr_un, sun_path);
}

void
listen_format_address(const struct listen_address *address, char *buf, size_t size)
{
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;
	struct sockaddr_un sun;
	char host[INET6_ADDRSTRLEN] = "";

	memcpy(&sin6, &address->storage, sizeof(sin6));
	memcpy(&sin, &address->storage, sizeof(sin));
	memcpy(&sun, &address->storage, sizeof(sun));
	if (address->storage.ss_family == AF_UNIX) {
		snprintf(buf, size, "%s%s", unix_prefix, sun.sun_path);
	} else if (address->any_host) {
		snprintf(buf, size, ":%u", listen_port(address));
	} else if (address->storage.ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &sin6.sin6_addr, host, sizeof(host));
		snprintf(buf, size, "[%s%s%s]:%u", host, address->zone[0] ? "%" : "",
			address->zone, listen_port(address));
	} else {
		inet_ntop(AF_INET, &sin.sin_addr, host, sizeof(host));
		snprintf(buf, size, "%s:%u", host, listen_port(address));
	}
}

static int
get_option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -errno : value;
}

static bool
is_stream_socket(int fd)
{
	return get_option(fd, SO_TYPE) == SOCK_STREAM;
}

static bool
is_listening(int fd)
{
	return get_option(fd, SO_ACCEPTCONN) > 0;
}

/*
 * Whether standard input is somebody's service. A UNIX socket without a name is one end
 * of a socketpair: many parents start their children with that, and none of them is a
 * client.
 */
static bool
is_service_socket(int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = sizeof(address);

	if (!is_stream_socket(fd) ||
		getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return false;
	if (address.ss_family == AF_UNIX)
		return len > offsetof(struct sockaddr_un, sun_path);
	return address.ss_family == AF_INET || address.ss_family == AF_INET6;
}

static bool
is_same_file(int a, int b)
{
	struct stat x, y;

	return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/*
 * Move a listening socket away from the standard descriptors, which children keep: with
 * it one of them could end the listening for good. Returns where it is now.
 */
static int
move_from_standard(void)
{
	int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	int nowhere;

	if (fd < 0)
		return STDIN_FILENO;
	nowhere = open("/", O_PATH | O_CLOEXEC);
	for (int i = STDERR_FILENO; nowhere >= 0 && i >= STDIN_FILENO; i--) {
		if (is_same_file(fd, i))
			dup2(nowhere, i);
	}
	if (nowhere >= 0)
		close(nowhere);
	return fd;
}

static void
add_listening(struct listen_found *found, int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	found->role = LISTEN_ROLE_PASSED;
	found->sockets[found->count++] =
		(struct listen_socket){ .fd = fd, .passed = true };
}

/*
 * A connection may be reset before we start, and has no peer then: so what does not
 * listen is a connection.
 */
static int
sort_passed(int count, struct listen_found *found)
{
	if (count == 1 && is_stream_socket(MANAGER_FIRST_FD) &&
		!is_listening(MANAGER_FIRST_FD)) {
		found->role = LISTEN_ROLE_SYSTEMD;
		found->connection = MANAGER_FIRST_FD;
		return 0;
	}
	for (int fd = MANAGER_FIRST_FD; fd < MANAGER_FIRST_FD + count; fd++) {
		if (found->count < LISTEN_MAX && is_stream_socket(fd) && is_listening(fd))
			add_listening(found, fd);
		else
			close(fd);
	}
	if (found->count == 0)
		return -ENOTSOCK;
	if (found->count < (size_t)count)
		log_message("take passed sockets: %d of %d are not listening stream "
			    "sockets, or more than %d: closed",
			count - (int)found->count, count, LISTEN_MAX);
	return 0;
}

int
listen_find(struct listen_found *ret_found)
{
	int passed = manager_listen_fds();

	/* The sockets are not touched: memory that is not needed stays untouched. */
	ret_found->role = LISTEN_ROLE_OWN;
	ret_found->connection = -1;
	ret_found->count = 0;
	if (passed < 0)
		return passed;
	if (passed > 0)
		return sort_passed(passed, ret_found);
	if (!is_service_socket(STDIN_FILENO))
		return 0;
	if (is_listening(STDIN_FILENO))
		add_listening(ret_found, move_from_standard());
	else
		ret_found->role = LISTEN_ROLE_INETD;
	return 0;
}

/* A socket left behind by a process that is gone: nobody accepts there. */
static bool
is_stale(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	bool stale;

	if (fd < 0)
		return false;
	/* connect(2) refuses a file that is no socket in the same words. */
	stale = lstat(sun->sun_path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	        connect(fd, (const struct sockaddr *)sun, sizeof(*sun)) < 0 &&
	        errno == ECONNREFUSED;
	close(fd);
	return stale;
}

static void
remove_stale(const struct listen_address *address)
{
	struct sockaddr_un sun;

	memcpy(&sun, &address->storage, sizeof(sun));
	if (sun.sun_family == AF_UNIX && is_stale(&sun))
		unlink(sun.sun_path);
}

static int
create_once(int family, int only_ipv6)
{
	const int on = 1;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	/* TIME_WAIT left by a predecessor must not keep its port from us. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_ipv6, sizeof(only_ipv6));
	return fd;
}

/*
 * [::] that was asked to serve IPv4 as well can do so where there is no IPv6: not in the
 * kernel, or switched off.
 */
static bool
can_fall_back(const struct listen_address *address)
{
	return address->storage.ss_family == AF_INET6 && is_wildcard(address) &&
	       !address->only_ipv6;
}

static void
fall_back_to_ipv4(struct listen_address *address)
{
	set_ipv4(address, (struct in_addr){ htonl(INADDR_ANY) }, listen_port(address));
}

int
listen_create(struct listen_socket *socket)
{
	struct listen_address *address = &socket->address;
	int fd;

	if (socket->fd >= 0)
		return 0;
	fd = create_once(address->storage.ss_family, address->only_ipv6);
	if (fd == -EAFNOSUPPORT && can_fall_back(address)) {
		fall_back_to_ipv4(address);
		fd = create_once(AF_INET, 0);
	}
	if (fd < 0)
		return fd;
	socket->fd = fd;
	return 0;
}

/* Bound by a try that could not listen then, or by a process that is gone. */
static bool
is_bound(int fd)
{
	struct listen_address bound = { .len = sizeof(bound.storage) };

	if (getsockname(fd, (struct sockaddr *)&bound.storage, &bound.len) < 0)
		return false;
	if (bound.storage.ss_family == AF_UNIX)
		return bound.len > offsetof(struct sockaddr_un, sun_path);
	return listen_port(&bound) > 0;
}

/*
 * Look the interface up at each try: it may come later, or come again with another
 * number. Not if_nametoindex(3), which opens a socket that the filter of calls does not
 * allow.
 */
static int
resolve_zone(int fd, struct listen_address *address)
{
	const struct slice zone = { address->zone, strlen(address->zone) };
	struct ifreq request = { 0 };
	struct sockaddr_in6 sin6;
	uint64_t number;

	memcpy(request.ifr_name, address->zone, sizeof(address->zone));
	if (util_parse_number(zone, 1, UINT32_MAX, &number) < 0) {
		if (ioctl(fd, SIOCGIFINDEX, &request) < 0)
			return -errno;
		number = (uint64_t)request.ifr_ifindex;
	}
	memcpy(&sin6, &address->storage, sizeof(sin6));
	sin6.sin6_scope_id = (uint32_t)number;
	memcpy(&address->storage, &sin6, sizeof(sin6));
	return 0;
}

static int
bind_and_listen(struct listen_socket *socket)
{
	struct listen_address *address = &socket->address;
	int r;

	if (is_listening(socket->fd))
		return 0;
	if (!is_bound(socket->fd)) {
		r = address->zone[0] ? resolve_zone(socket->fd, address) : 0;
		if (r < 0)
			return r;
		remove_stale(address);
		if (bind(socket->fd, (const struct sockaddr *)&address->storage,
			    address->len) < 0)
			return -errno;
	}
	/* Never without a bound address: the kernel would take a port of the pool. */
	return listen(socket->fd, LISTEN_BACKLOG) < 0 ? -errno : 0;
}

int
listen_open(struct listen_socket *socket)
{
	int r = listen_create(socket);

	if (r == 0)
		r = bind_and_listen(socket);
	if (r != -EADDRNOTAVAIL || !can_fall_back(&socket->address))
		return r;
	close(socket->fd);
	socket->fd = -1;
	fall_back_to_ipv4(&socket->address);
	r = listen_create(socket);
	return r < 0 ? r : bind_and_listen(socket);
}

void
listen_bound_connection(int fd, size_t answer_max, int64_t timeout_ms)
{
	const int receive = LISTEN_RECEIVE_BUFFER;
	/* The kernel doubles it, for its own part. */
	const int send = (int)(answer_max * LISTEN_SEND_FACTOR / 2);
	const unsigned user_timeout = (unsigned)timeout_ms + LISTEN_USER_TIMEOUT_MORE_MS;
	const struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof(receive));
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &send, sizeof(send));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	setsockopt(
		fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
}

/* An accepted UNIX socket tells of its client's namespace, not of the listening one's. */
static bool
is_internet_socket(int fd)
{
	int domain = AF_UNSPEC;
	socklen_t len = sizeof(domain);

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 &&
	       (domain == AF_INET || domain == AF_INET6);
}

static bool
read_netns_cookie(int fd, uint64_t *ret_cookie)
{
	socklen_t len = sizeof(*ret_cookie);

	return getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret_cookie, &len) == 0;
}

enum listen_netns
listen_compare_netns(int connection)
{
	uint64_t theirs, ours;
	bool known;
	int fd;

	if (!is_internet_socket(connection) || !read_netns_cookie(connection, &theirs))
		return LISTEN_NETNS_UNKNOWN;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return LISTEN_NETNS_UNKNOWN;
	known = read_netns_cookie(fd, &ours);
	close(fd);
	if (!known)
		return LISTEN_NETNS_UNKNOWN;
	return theirs == ours ? LISTEN_NETNS_SAME : LISTEN_NETNS_OTHER;
}
