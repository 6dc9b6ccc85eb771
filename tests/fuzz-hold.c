/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the supervisor's table of connections. The input is its size and then
 * steps that move connections from state to state; a model that only knows when
 * each came into its state says what the lists must be.
 */
#include "hold.h"

#include <assert.h>
#include <string.h>

enum {
	STEP_BYTES = 2,
	/* Up to here every list is walked after every step. */
	SMALL_MAX = 64,
	STEPS_MAX = 512,
};

/* What a step moves into a state. */
enum step {
	STEP_MOVE,        /* the connection with a number */
	STEP_MOVE_OLDEST, /* of another state, as the supervisor does */
	STEP_RESET,       /* none: the table begins anew, with another size */
	STEPS,
};

static struct model {
	enum hold_state state[HOLD_MAX];
	uint64_t since[HOLD_MAX]; /* in moves */
	uint64_t now;
	size_t size;
} model;

static struct hold hold;

static void
start_over(size_t size)
{
	hold_reset(&hold, size);
	model.size = size;
	for (size_t i = 0; i < size; i++) {
		model.state[i] = HOLD_FREE;
		model.since[i] = model.now++;
	}
}

/* What the members that belong to others hold: it is carried along. */
static void
mark(void)
{
	for (size_t i = 0; i < model.size; i++) {
		hold.connections[i].fd = (int)i;
		hold.connections[i].deadline_ms = (int64_t)i * 1000;
	}
}

static size_t
index_of(const struct hold_connection *connection)
{
	size_t i = (size_t)(connection - hold.connections);

	assert(connection >= hold.connections && i < model.size);
	assert(&hold.connections[i] == connection);
	return i;
}

static size_t
count_in(enum hold_state state)
{
	size_t count = 0;

	for (size_t i = 0; i < model.size; i++)
		count += model.state[i] == state;
	return count;
}

/* Every connection of the state, oldest first, can be walked to, and back. */
static size_t
check_list(enum hold_state state)
{
	const struct hold_connection *connection = hold_oldest(&hold, state);
	const struct hold_connection *older = NULL;
	size_t count = 0;

	for (; connection; older = connection, connection = connection->newer) {
		size_t i = index_of(connection);

		assert(model.state[i] == state && connection->state == state);
		assert(connection->older == older);
		assert(!older || model.since[index_of(older)] < model.since[i]);
		assert(connection->fd == (int)i);
		assert(connection->deadline_ms == (int64_t)i * 1000);
		count++;
	}
	assert(count == count_in(state) && hold_count(&hold, state) == count);
	return count;
}

static void
check_lists(void)
{
	size_t count = 0;

	for (int state = 0; state < HOLD_STATES; state++)
		count += check_list((enum hold_state)state);
	assert(count == model.size);
}

/* Of a large table only what a step has touched is looked at. */
static void
check_move(size_t i, enum hold_state state)
{
	const struct hold_connection *connection = &hold.connections[i];

	assert(connection->state == state && !connection->newer);
	assert(!connection->older || connection->older->newer == connection);
	assert(connection->older || hold_oldest(&hold, state) == connection);
	if (model.size <= SMALL_MAX)
		check_lists();
}

static void
move(size_t i, enum hold_state state)
{
	hold_move(&hold, &hold.connections[i], state);
	model.state[i] = state;
	model.since[i] = model.now++;
	check_move(i, state);
}

/* Most tables are small, and looked at closely. */
static size_t
choose_size(uint8_t byte)
{
	return byte == UINT8_MAX ? HOLD_MAX : byte % SMALL_MAX + 1U;
}

static void
run_step(const uint8_t bytes[STEP_BYTES])
{
	enum hold_state to = (enum hold_state)(bytes[0] / STEPS % HOLD_STATES);
	const struct hold_connection *connection;

	switch ((enum step)(bytes[0] % STEPS)) {
	case STEP_MOVE_OLDEST:
		connection =
			hold_oldest(&hold, (enum hold_state)(bytes[1] % HOLD_STATES));
		if (connection)
			move(index_of(connection), to);
		break;
	case STEP_RESET:
		start_over(choose_size(bytes[1]));
		mark();
		break;
	case STEP_MOVE:
	case STEPS:
		/* Numbers beyond a byte are those of a large table. */
		move((bytes[1] + 256U * (bytes[0] >> 5)) % model.size, to);
		break;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t steps = size / STEP_BYTES < STEPS_MAX ? size / STEP_BYTES : STEPS_MAX;

	model.now = 0;
	start_over(size > 0 ? choose_size(data[size - 1]) : 1);
	mark();
	for (size_t i = 0; i < steps; i++)
		run_step(data + i * STEP_BYTES);
	check_lists();
	return 0;
}
