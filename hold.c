/* SPDX-License-Identifier: MIT */
#include "hold.h"

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
hold_reset(struct hold *hold, size_t size)
{
	memset(hold->lists, 0, sizeof(hold->lists));
	for (size_t i = 0; i < size; i++) {
		hold->connections[i].state = HOLD_FREE;
		append(&hold->lists[HOLD_FREE], &hold->connections[i]);
	}
}

void
hold_move(struct hold *hold, struct hold_connection *connection, enum hold_state state)
{
	unlink_from(&hold->lists[connection->state], connection);
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
