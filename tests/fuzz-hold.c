/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: the supervisor's table of connections. The input is its size and then
 * steps that move connections from state to state; a model that only knows when
 * each came into its state, and from which source, says what the lists must be, and whose
 * turn it is.
 */
#include "hold.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>

enum {
	STEP_BYTES = 2,
	/* Up to here every list is walked after every step. */
	SMALL_MAX = 64,
	STEPS_MAX = 512,
	SOURCES = 4, /* HOLD_NO_SOURCE is one of them */
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
	uint16_t source[HOLD_MAX];
	uint64_t now;
	size_t size;
} model;

static struct hold hold;

static void
start_over(size_t size)
{
	memset(&hold, 0, sizeof(hold));
	hold_fill(&hold, size);
	model.size = size;
	for (size_t i = 0; i < size; i++) {
		model.state[i] = HOLD_FREE;
		model.source[i] = HOLD_NO_SOURCE;
		model.since[i] = model.now++;
	}
}

/*
 * What the members that belong to others hold: it is carried along, from when the
 * connection is taken into use to when it is free.
 */
static void
mark(size_t i)
{
	hold.connections[i].fd = (int)i;
	hold.connections[i].deadline_ms = (int64_t)i * 1000;
}

static bool
is_marked(size_t i)
{
	const struct hold_connection *connection = &hold.connections[i];
	const size_t marked = model.state[i] == HOLD_FREE ? 0 : i;

	return connection->fd == (int)marked &&
	       connection->deadline_ms == (int64_t)marked * 1000;
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
		assert(is_marked(i));
		count++;
	}
	assert(count == count_in(state) && hold_count(&hold, state) == count);
	return count;
}

static size_t
count_from(enum hold_state state, uint16_t source)
{
	size_t count = 0;

	for (size_t i = 0; i < model.size; i++)
		count += model.state[i] == state && model.source[i] == source;
	return count;
}

static size_t
held_by(uint16_t source)
{
	size_t held = 0;

	for (int state = HOLD_FREE + 1; state < HOLD_STATES; state++)
		held += count_from((enum hold_state)state, source);
	return held;
}

static void
check_sources(void)
{
	for (uint16_t source = 0; source < SOURCES; source++) {
		assert(hold.held[source] == held_by(source));
		for (int state = HOLD_FREE + 1; state < HOLD_STATES; state++)
			assert(hold_count_from(&hold, (enum hold_state)state, source) ==
				count_from((enum hold_state)state, source));
	}
}

/* When the youngest of those came that are looked at for the heaviest. */
static uint64_t
since_of_last(enum hold_state state)
{
	const struct hold_connection *c = hold_oldest(&hold, state);

	for (int i = 1; i < HOLD_LOOK_MAX && c->newer; i++)
		c = c->newer;
	return model.since[index_of(c)];
}

/*
 * None of those that are looked at is of a source with more, or as old a one with as
 * many. What a source has is right by now: check_sources() comes before.
 */
static void
check_heaviest(enum hold_state state)
{
	const struct hold_connection *heaviest = hold_heaviest(&hold, state);
	size_t found, held;
	uint64_t last;

	assert(!heaviest == (count_in(state) == 0));
	if (!heaviest)
		return;
	last = since_of_last(state);
	found = index_of(heaviest);
	held = hold.held[model.source[found]];
	assert(model.since[found] <= last);
	for (size_t i = 0; i < model.size; i++) {
		if (model.state[i] != state || i == found || model.since[i] > last)
			continue;
		assert(hold.held[model.source[i]] <= held);
		assert(hold.held[model.source[i]] < held ||
			model.since[found] < model.since[i]);
	}
}

/* Whether request a is to be answered before b. */
static bool
goes_before(size_t a, size_t b)
{
	size_t busy_a = count_from(HOLD_BUSY, model.source[a]);
	size_t busy_b = count_from(HOLD_BUSY, model.source[b]);
	size_t held_a = held_by(model.source[a]), held_b = held_by(model.source[b]);

	if (busy_a != busy_b)
		return busy_a < busy_b;
	return held_a != held_b ? held_a < held_b : model.since[a] < model.since[b];
}

static void
check_next(size_t busy_max)
{
	const struct hold_connection *next = hold_next(&hold, busy_max);
	size_t best = model.size;

	for (size_t i = 0; i < model.size; i++) {
		if (model.state[i] != HOLD_READY ||
			(model.source[i] != HOLD_NO_SOURCE &&
				count_from(HOLD_BUSY, model.source[i]) >= busy_max))
			continue;
		if (best == model.size || goes_before(i, best))
			best = i;
	}
	assert(best == model.size ? !next : next && index_of(next) == best);
}

static void
check_lists(void)
{
	size_t count = 0;

	for (int state = 0; state < HOLD_STATES; state++)
		count += check_list((enum hold_state)state);
	assert(count == model.size);
}

/* Of a table of any size, once. */
static void
check_everything(void)
{
	check_lists();
	check_sources();
	for (int state = HOLD_FREE + 1; state < HOLD_STATES; state++)
		check_heaviest((enum hold_state)state);
}

/* Of a large table only what a step has touched is looked at. */
static void
check_move(size_t i, enum hold_state state)
{
	const struct hold_connection *connection = &hold.connections[i];

	assert(connection->state == state && !connection->newer);
	assert(!connection->older || connection->older->newer == connection);
	assert(connection->older || hold_oldest(&hold, state) == connection);
	if (model.size > SMALL_MAX)
		return;
	check_lists();
	check_sources();
	check_heaviest(state);
	check_next(1 + i % 3);
}

static void
move(size_t i, enum hold_state state)
{
	if (model.state[i] == HOLD_FREE)
		hold.connections[i].source = model.source[i] =
			(uint16_t)(model.now * 7 / 3 % SOURCES);
	hold_move(&hold, &hold.connections[i], state);
	if (state == HOLD_FREE)
		model.source[i] = HOLD_NO_SOURCE; /* wiped */
	if (model.state[i] == HOLD_FREE && state != HOLD_FREE)
		mark(i);
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
		break;
	case STEP_MOVE:
	case STEPS:
		/* Numbers beyond a byte are those of a large table. */
		move((bytes[1] + 256U * (bytes[0] >> 5)) % model.size, to);
		break;
	}
}

/* The first eight bytes of an IPv6 address are a source, and a mapped one is IPv4. */
static void
check_source(const uint8_t *data, size_t size)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	struct sockaddr_storage a = { .ss_family = AF_INET6 }, b = a, c = a;
	struct sockaddr_in6 *a6 = (struct sockaddr_in6 *)&a,
			    *b6 = (struct sockaddr_in6 *)&b;
	struct sockaddr_in *c4 = (struct sockaddr_in *)&c;

	if (size < 16)
		return;
	memcpy(&a6->sin6_addr, data, 16);
	b6->sin6_addr = a6->sin6_addr;
	b6->sin6_addr.s6_addr[15] ^= 1;
	a6->sin6_port = 1;
	if (memcmp(data, mapped, sizeof(mapped)) != 0)
		assert(hold_source(&hold, &a) == hold_source(&hold, &b));
	memcpy(&a6->sin6_addr, mapped, sizeof(mapped));
	c.ss_family = AF_INET;
	memcpy(&c4->sin_addr, data + 12, 4);
	assert(hold_source(&hold, &a) == hold_source(&hold, &c));
	assert(hold_source(&hold, &a) != HOLD_NO_SOURCE);
	c.ss_family = AF_UNIX;
	assert(hold_source(&hold, &c) == HOLD_NO_SOURCE);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t steps = size / STEP_BYTES < STEPS_MAX ? size / STEP_BYTES : STEPS_MAX;

	model.now = 0;
	start_over(size > 0 ? choose_size(data[size - 1]) : 1);
	for (size_t i = 0; i < steps; i++)
		run_step(data + i * STEP_BYTES);
	check_everything();
	check_source(data, size);
	return 0;
}
