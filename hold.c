/* SPDX-License-Identifier: MIT */
#include "hold.h"

#include <netinet/in.h>
#include <string.h>

static void
append(struct hold_list *list, struct hold_connection *connection)
{
	connection->older = list->newest;
	connection->newer = NULL;
	if (list->newest)
		list->newest->newer = connection;
	else
		list->oldest = connection;
	list->newest = connection;
	list->count++;
}

static void
unlink_from(struct hold_list *list, struct hold_connection *connection)
{
	if (connection->older)
		connection->older->newer = connection->newer;
	else
		list->oldest = connection->newer;
	if (connection->newer)
		connection->newer->older = connection->older;
	else
		list->newest = connection->older;
	list->count--;
}

void
hold_fill(struct hold *hold, size_t size)
{
	for (size_t i = 0; i < size; i++)
		append(&hold->lists[HOLD_FREE], &hold->connections[i]);
}

void
hold_move(struct hold *hold, struct hold_connection *connection, enum hold_state state)
{
	unlink_from(&hold->lists[connection->state], connection);
	if (connection->state == HOLD_FREE)
		hold->held[connection->source]++;
	if (state == HOLD_FREE) {
		hold->held[connection->source]--;
		/* Processes for other clients inherit the table. */
		memset(connection, 0, sizeof(*connection));
	}
	connection->state = state;
	append(&hold->lists[state], connection);
}

struct hold_connection *
hold_oldest(const struct hold *hold, enum hold_state state)
{
	return hold->lists[state].oldest;
}

size_t
hold_count(const struct hold *hold, enum hold_state state)
{
	return hold->lists[state].count;
}

uint16_t
hold_source(const struct hold *hold, const struct sockaddr_storage *address)
{
	const struct sockaddr_in *sin = (const struct sockaddr_in *)address;
	const struct sockaddr_in6 *sin6 = (const struct sockaddr_in6 *)address;
	const char *bytes = (const char *)&sin6->sin6_addr;
	struct slice part = { bytes, 8 };
	uint64_t digest[SIPHASH_WORDS];

	if (address->ss_family == AF_INET)
		part = (struct slice){ (const char *)&sin->sin_addr, 4 };
	else if (address->ss_family != AF_INET6)
		return HOLD_NO_SOURCE;
	else if (IN6_IS_ADDR_V4MAPPED(&sin6->sin6_addr))
		part = (struct slice){ bytes + 12, 4 };
	siphash(hold->key, part, digest);
	return (uint16_t)(1 + digest[0] % (HOLD_SOURCES - 1));
}

size_t
hold_count_from(const struct hold *hold, enum hold_state state, uint16_t source)
{
	const struct hold_connection *c = hold->lists[state].oldest;
	size_t count = 0;

	for (; c; c = c->newer)
		count += c->source == source;
	return count;
}

struct hold_connection *
hold_heaviest(const struct hold *hold, enum hold_state state)
{
	struct hold_connection *c = hold->lists[state].oldest, *heaviest = c;

	for (int i = 0; c && i < HOLD_LOOK_MAX; i++, c = c->newer) {
		if (hold->held[c->source] > hold->held[heaviest->source])
			heaviest = c;
	}
	return heaviest;
}

struct hold_connection *
hold_next(const struct hold *hold, size_t busy_max)
{
	struct hold_connection *c = hold->lists[HOLD_READY].oldest, *next = NULL;
	size_t least = SIZE_MAX;

	for (; c; c = c->newer) {
		size_t busy, rank;

		if (c->older && c->older->source == c->source)
			continue; /* the older one goes first */
		busy = hold_count_from(hold, HOLD_BUSY, c->source);
		rank = busy * (HOLD_MAX + 1) + hold->held[c->source];
		if (rank >= least || (busy >= busy_max && c->source != HOLD_NO_SOURCE))
			continue;
		least = rank;
		next = c;
	}
	return next;
}
