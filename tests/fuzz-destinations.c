/* SPDX-License-Identifier: MIT */
/*
 * Fuzz target: counting destinations. The input is a program whose steps add rows, to two
 * tables with different seeds and to a model that has room for every destination there
 * is.
 */
#include "destinations.h"
#include "usage.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

enum {
	IDS = 1 << 16,
	STEP_BYTES = 4,
	/* Two full tables and what they have over: that is all an execution may cost, ...
	 */
	ROWS_MAX = 2 * (DESTINATIONS_MAX + 1) + 512,
	/* ... and only one input of so many may cost it. */
	LARGE_EVERY = 32,
	/*
	 * Runs of slots in use, in a table that is nearly full: 16384 * (1 - exp(-1/2))
	 * is 6446, with a deviation of about 60. A hash that misses a part of the
	 * destination has fewer and longer ones.
	 */
	NEARLY_FULL = DESTINATIONS_MAX - 256,
	RUNS_MIN = 5900,
	FOUND_MAX = 256, /* entries that are looked up once more */
	KEY_BYTES = 4 + 16 + 2 + 4 + 16,
	DEVICE = 0x40000001, /* bits of both ends again */
	ID_DEVICE = 1 << 11,
	END_PORT = 1, /* of the pool, which is odd */
	TABLES = 2,
};

/* What a step does, in the low bits of its first byte; the others say how often. */
enum step {
	STEP_ADD_ONE,
	STEP_ADD_AGAIN, /* the same port */
	STEP_ADD_PORTS,
	STEP_ADD_DESTINATIONS,
	STEP_ADD_MORE,
	STEP_ADD_MANY, /* destinations enough for a full table, rarely */
	STEP_TOP,
	STEP_RESET,
	STEPS,
};

/* What the model knows of one destination. */
struct known {
	uint32_t exact; /* changes of the local port, as if no entry were ever lost */
	uint32_t kept;  /* the same less what rounds took; 0 when it has no entry */
	uint16_t exact_port;
	uint16_t kept_port;
	bool seen;
	bool has_end;
	uint16_t
		exact_ports; /* from 1: where its ports are; 0 for those that came late */
};

static struct model {
	struct known of[IDS];
	uint32_t ids[ROWS_MAX]; /* those that are not zero */
	uint32_t id_count;
	uint32_t kept_count;
	uint32_t rounds;
	uint64_t counted; /* rows, less those with the port that the entry had already */
	uint64_t rows;
	uint16_t with_ports;
	bool ports[DESTINATIONS_EXACT + 1][USAGE_PORTS];
} model;

/* The tables, in the struct that sums them up. */
static struct usage usages[TABLES];

/*
 * The bits of an id go to both ends of every field and to the middle, so that none may be
 * left out.
 */
static struct destination
make_destination(uint32_t id)
{
	struct destination to = {
		.device = id & ID_DEVICE ? DEVICE : 0,
		.remote_port = (uint16_t)(id >> 12 << 12 | (id >> 8 & 0x7)),
	};

	to.local.s6_addr[0] = id & 1;
	to.local.s6_addr[7] = id & 2;
	to.local.s6_addr[8] = id & 4;
	to.local.s6_addr[15] = id & 8;
	to.remote.s6_addr[0] = id & 16;
	to.remote.s6_addr[7] = id & 32;
	to.remote.s6_addr[8] = id & 64;
	to.remote.s6_addr[15] = id & 128;
	return to;
}

static bool
same_destination(const struct destination *a, const struct destination *b)
{
	return memcmp(&a->local, &b->local, sizeof(a->local)) == 0 &&
	       memcmp(&a->remote, &b->remote, sizeof(a->remote)) == 0 &&
	       a->remote_port == b->remote_port && a->device == b->device;
}

static uint32_t
find_id(const struct destination *to)
{
	const uint8_t *local = to->local.s6_addr, *remote = to->remote.s6_addr;
	uint32_t id = to->remote_port & 0xf000U;
	struct destination again;

	id |= (to->remote_port & 0x7U) << 8;
	id |= to->device != 0 ? ID_DEVICE : 0;
	id |= local[0] | local[7] | local[8] | local[15];
	id |= remote[0] | remote[7] | remote[8] | remote[15];
	again = make_destination(id);
	assert(same_destination(to, &again));
	return id;
}

static void
start_over(uint64_t seed)
{
	const uint64_t seeds[TABLES][DESTINATIONS_SEED_WORDS] = { { 1, 2 },
		{ seed * UINT64_C(0x9e3779b97f4a7c15), ~seed } };
	struct destinations_entry top;

	for (int i = 0; i < TABLES; i++) {
		destinations_reset(&usages[i].destinations, seeds[i]);
		assert(usages[i].destinations.entry_count == 0 &&
			usages[i].destinations.rounds == 0);
		assert(destinations_top(&usages[i].destinations, 1, &top) == 0);
	}
	for (uint32_t i = 0; i < model.id_count; i++)
		model.of[model.ids[i]] = (struct known){ 0 };
	for (uint16_t i = 1; i <= model.with_ports; i++)
		memset(model.ports[i], false, sizeof(model.ports[i]));
	model.with_ports = 0;
	model.id_count = model.kept_count = model.rounds = 0;
	model.counted = 0;
}

/* The destination that finds the table full takes one from every count and from its own.
 */
static void
model_round(void)
{
	for (uint32_t i = 0; i < model.id_count; i++) {
		struct known *known = &model.of[model.ids[i]];

		if (known->kept > 0 && --known->kept == 0)
			model.kept_count--;
	}
	model.rounds++;
}

/* Whether one by one it is known which ports a destination has. */
static bool
is_exact(const struct known *known)
{
	return known->exact_ports > 0 && model.rounds == 0;
}

static bool
is_again(struct known *known, uint16_t port)
{
	bool again = known->kept > 0 && known->kept_port == port;

	if (is_exact(known)) {
		again = model.ports[known->exact_ports][port];
		model.ports[known->exact_ports][port] = true;
	}
	return again;
}

static void
model_add(uint32_t id, uint16_t port)
{
	struct known *known = &model.of[id];
	bool again;

	if (!known->seen) {
		model.ids[model.id_count++] = id;
		if (model.with_ports < DESTINATIONS_EXACT)
			known->exact_ports = ++model.with_ports;
	}
	again = is_again(known, port);
	known->exact +=
		is_exact(known) ? !again : !known->seen || known->exact_port != port;
	known->seen = true;
	known->exact_port = port;
	if (known->kept == 0 && model.kept_count == DESTINATIONS_MAX) {
		model.counted++;
		model_round();
		return;
	}
	known->has_end = (known->kept > 0 && known->has_end) || port == END_PORT;
	known->kept_port = port;
	if (again)
		return;
	model.counted++;
	model.kept_count += known->kept == 0;
	known->kept++;
}

static void
add(uint32_t id, uint32_t port)
{
	const struct destination to = make_destination(id % IDS);

	if (model.rows == ROWS_MAX)
		return;
	model.rows++;
	for (int i = 0; i < TABLES; i++)
		destinations_add(&usages[i].destinations, &to, (uint16_t)port,
			(uint16_t)port == END_PORT);
	model_add(id % IDS, (uint16_t)port);
}

/* The order of the bytes, remote first: a key that memcmp() can compare. */
static void
make_key(const struct destinations_entry *entry, uint8_t ret_key[KEY_BYTES])
{
	const struct destination *to = &entry->destination;
	/* The highest figure first: no entry gets the end port that does not have it. */
	const uint32_t below = UINT32_MAX - entry->count - !entry->has_end;

	for (int i = 0; i < 4; i++)
		ret_key[i] = (uint8_t)(below >> (24 - 8 * i));
	memcpy(ret_key + 4, &to->remote, 16);
	ret_key[20] = (uint8_t)(to->remote_port >> 8);
	ret_key[21] = (uint8_t)to->remote_port;
	for (int i = 0; i < 4; i++)
		ret_key[22 + i] = (uint8_t)(to->device >> (24 - 8 * i));
	memcpy(ret_key + 26, &to->local, 16);
}

static int
compare(const struct destinations_entry *a, const struct destinations_entry *b)
{
	uint8_t key_a[KEY_BYTES], key_b[KEY_BYTES];

	make_key(a, key_a);
	make_key(b, key_b);
	return memcmp(key_a, key_b, sizeof(key_a));
}

static void
check_entry(const struct destinations_entry *entry)
{
	const struct known *known = &model.of[find_id(&entry->destination)];

	assert(entry->count > 0 && entry->count == known->kept);
	assert(entry->has_end == known->has_end);
	assert(entry->last_port == known->kept_port);
	assert(entry->count <= known->exact);
	assert(known->exact <= entry->count + model.rounds);
}

/* The ports of sockets without a device that those with one have not got. */
static uint32_t
count_unbound(const struct known *bound, const struct known *unbound)
{
	uint32_t count = 0;

	if (!is_exact(bound) || !is_exact(unbound))
		return unbound->kept > bound->kept ? unbound->kept - bound->kept : 0;
	for (int port = 0; port < USAGE_PORTS; port++)
		count += model.ports[unbound->exact_ports][port] &&
		         !model.ports[bound->exact_ports][port];
	return count;
}

/* The entry as it is in the top: with those ports too. */
static struct destinations_entry
sum_up(const struct destinations_entry *entry)
{
	uint32_t id = find_id(&entry->destination);
	const struct known *unbound = &model.of[id & ~(uint32_t)ID_DEVICE];
	struct destinations_entry sum = *entry;

	if (id & ID_DEVICE && unbound->kept > 0) {
		sum.count += count_unbound(&model.of[id], unbound);
		sum.has_end |= unbound->has_end;
	}
	return sum;
}

static void
check_top_entry(const struct destinations_entry *entry)
{
	const struct known *known = &model.of[find_id(&entry->destination)];
	struct destinations_entry own = *entry, again;

	own.count = known->kept;
	own.has_end = known->has_end;
	check_entry(&own);
	again = sum_up(&own);
	assert(again.count == entry->count && again.has_end == entry->has_end);
}

/* In order, which also says that they differ, and nothing else belongs among them. */
static void
check_top(size_t max)
{
	static struct destinations_entry tops[TABLES][DESTINATIONS_TOP_MAX + 1];
	size_t count = max < model.kept_count ? max : model.kept_count, before = 0;

	for (int i = 0; i < TABLES; i++) {
		memset(&tops[i][max], 0xa5, sizeof(tops[i][max]));
		assert(destinations_top(&usages[i].destinations, max, tops[i]) == count);
		/* Nothing is written behind the end. */
		assert(tops[i][max].count == 0xa5a5a5a5);
	}
	for (size_t i = 0; i < count; i++) {
		check_top_entry(&tops[0][i]);
		assert(compare(&tops[0][i], &tops[1][i]) == 0);
		assert(i == 0 || compare(&tops[0][i - 1], &tops[0][i]) < 0);
	}
	for (uint32_t i = 0; count > 0 && i < usages[0].destinations.entry_count; i++) {
		const struct destinations_entry entry =
			sum_up(&usages[0].destinations.entries[i]);

		before += compare(&entry, &tops[0][count - 1]) < 0;
	}
	assert(count == 0 || before == count - 1);
}

/* Each entry has one slot, and each slot in use has an entry of its own. */
static uint32_t
check_slot(const struct destinations *d, uint16_t number, bool *taken)
{
	if (number == 0)
		return 0;
	assert(number <= d->entry_count && !taken[number]);
	taken[number] = true;
	return 1;
}

/* Most slots are empty: look at four at a time. */
static void
check_slots(const struct destinations *d)
{
	static bool taken[DESTINATIONS_MAX + 1];
	uint32_t in_use = 0, runs = 0;
	uint64_t four;

	memset(taken, false, d->entry_count + 1);
	for (uint32_t i = 0; i < DESTINATIONS_SLOTS; i += 4) {
		memcpy(&four, &d->slots[i], sizeof(four));
		for (uint32_t k = i; four != 0 && k < i + 4; k++) {
			in_use += check_slot(d, d->slots[k], taken);
			runs += d->slots[k] != 0 && (k == 0 || d->slots[k - 1] == 0);
		}
	}
	assert(in_use == d->entry_count);
	assert(in_use < NEARLY_FULL || runs >= RUNS_MIN);
}

static void
check_table(const struct destinations *d)
{
	uint64_t sum = 0;

	check_slots(d);
	assert(d->entry_count == model.kept_count && d->rounds == model.rounds);
	for (uint32_t i = 0; i < d->entry_count; i++) {
		check_entry(&d->entries[i]);
		sum += d->entries[i].count;
	}
	assert(sum + (uint64_t)d->rounds * (DESTINATIONS_MAX + 1) == model.counted);
}

/* What is not kept cannot have had more than there were rounds. */
static void
check_lost(void)
{
	for (uint32_t i = 0; i < model.id_count; i++) {
		const struct known *known = &model.of[model.ids[i]];

		assert(known->kept > 0 || known->exact <= model.rounds);
	}
}

/* A row that is shown again finds its entry, and adds nothing. */
static void
check_found(struct destinations *d)
{
	for (uint32_t i = 0; i < d->entry_count; i += d->entry_count / FOUND_MAX + 1) {
		const struct destinations_entry entry = d->entries[i];

		destinations_add(d, &entry.destination, entry.last_port, false);
		assert(d->entries[i].count == entry.count);
	}
	assert(d->entry_count == model.kept_count && d->rounds == model.rounds);
}

/* Whoever reads the highest count reads how much too low it may be. */
static void
check_sums(const struct usage *usage)
{
	struct usage_totals totals = usage_sum(usage);
	struct destinations_entry top = { .count = 0 };

	destinations_top(&usage->destinations, 1, &top);
	assert(totals.total == USAGE_PORTS - 1 && totals.blocked == 0);
	assert(totals.left_out == 1);
	assert(totals.destination_used_max == top.count + !top.has_end ||
		totals.destination_used_max == totals.total);
	assert(totals.destination_error_max == model.rounds);
}

static void
check_everything(void)
{
	check_top(0);
	check_top(1);
	check_top(DESTINATIONS_TOP_MAX);
	check_lost();
	for (int i = 0; i < TABLES; i++) {
		check_table(&usages[i].destinations);
		check_found(&usages[i].destinations);
		check_sums(&usages[i]);
	}
}

/* No byte is left of a destination or of a port, and the table is of use once reset. */
static void
check_wiped(struct destinations *d)
{
	static const struct destinations nothing;

	destinations_wipe(d);
	assert(memcmp(d->entries, nothing.entries, sizeof(d->entries)) == 0);
	assert(memcmp(d->ports, nothing.ports, sizeof(d->ports)) == 0);
}

/* A mutation of an input that fills a table rarely fills it too: that takes long. */
static bool
may_be_large(const uint8_t *data, size_t size)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + data[i];
	return sum % LARGE_EVERY == 0;
}

/* How many destinations a step adds: enough for a full table when the byte says so. */
static uint32_t
count_many(uint32_t times, uint8_t low, bool large)
{
	return times == 31 && large ? DESTINATIONS_MAX - 16U + low % 32 : 2U * times;
}

static void
run_step(const uint8_t step[STEP_BYTES], bool large)
{
	uint32_t times = step[0] / STEPS, count = 1;
	uint32_t id = (uint32_t)step[1] << 8 | step[2], port = step[3];
	bool ports = false, ids = false;

	switch (step[0] % STEPS) {
	case STEP_ADD_AGAIN:
		count = times + 1;
		break;
	case STEP_ADD_PORTS:
		count = times + 1;
		ports = true;
		break;
	case STEP_ADD_DESTINATIONS:
	case STEP_ADD_MORE:
		count = step[0] % STEPS == STEP_ADD_MORE ? 8 * times : times + 1;
		ids = true;
		break;
	case STEP_ADD_MANY:
		count = count_many(times, step[2], large);
		ids = true;
		break;
	case STEP_TOP:
		check_top(step[1] % (DESTINATIONS_TOP_MAX + 1U));
		return;
	case STEP_RESET:
		start_over(id);
		return;
	}
	for (uint32_t i = 0; i < count; i++)
		add(id + ids * i, port + ports * i);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	bool large = may_be_large(data, size);

	model.rows = 0;
	for (int i = 0; i < TABLES; i++) {
		usage_reset(&usages[i], (uint64_t[]){ 0, 0 });
		usage_pool_fill(&usages[i].pool, 1, USAGE_PORTS - 1);
	}
	start_over(size);
	for (size_t i = 0; i + STEP_BYTES <= size; i += STEP_BYTES)
		run_step(data + i, large);
	check_everything();
	for (int i = 0; i < TABLES; i++)
		check_wiped(&usages[i].destinations);
	return 0;
}
