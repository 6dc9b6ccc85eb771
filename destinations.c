/* SPDX-License-Identifier: MIT */
#include "destinations.h"

#include <string.h>

void
destinations_wipe(struct destinations *d)
{
	/* A round leaves entries behind those that it keeps. */
	const size_t used = d->rounds > 0 ? DESTINATIONS_MAX : d->entry_count;

	/* A process that scans once leaves the pages alone that it never needs. */
	memset(d->entries, 0, used * sizeof(d->entries[0]));
	for (size_t i = 0; i < DESTINATIONS_EXACT && i < used; i++)
		memset(d->ports[i], 0, sizeof(d->ports[i]));
}

void
destinations_clear(struct destinations *d)
{
	destinations_wipe(d);
	if (d->entry_count > 0)
		memset(d->slots, 0, sizeof(d->slots));
	d->entry_count = 0;
	d->last = 0;
	d->rounds = 0;
}

/* splitmix64's: each bit of the word bears on each bit of the result. */
static uint64_t
mix(uint64_t word)
{
	word = (word ^ word >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	word = (word ^ word >> 27) * UINT64_C(0x94d049bb133111eb);
	return word ^ word >> 31;
}

/* splitmix64: the next of many words made of one. */
static uint64_t
next_word(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	return mix(*state);
}

void
destinations_reset(
	struct destinations *d, const uint64_t seed[static DESTINATIONS_SEED_WORDS])
{
	uint64_t states[DESTINATIONS_SEED_WORDS];

	memcpy(states, seed, sizeof(states));
	for (int i = 0; i < DESTINATIONS_KEYS; i++)
		d->keys[i] = next_word(&states[i % DESTINATIONS_SEED_WORDS]);
	destinations_clear(d);
}

/*
 * The multilinear family: for random keys, two destinations share a sum as seldom as
 * chance has it, whoever chose them. It is linear, though: mixing keeps consecutive ports
 * from filling runs of slots.
 */
static uint32_t
hash(const struct destinations *d, const struct destination *to)
{
	enum {
		WORDS = sizeof(struct in6_addr) / sizeof(uint32_t)
	};
	const uint64_t *keys = d->keys;
	uint64_t sum = keys[0] + keys[1] * to->remote_port +
	               keys[DESTINATIONS_KEYS - 1] * to->device;

	for (int i = 0; i < WORDS; i++)
		sum += keys[2 + i] * to->local.s6_addr32[i] +
		       keys[2 + WORDS + i] * to->remote.s6_addr32[i];
	return (uint32_t)mix(sum);
}

static bool
equals(const struct destination *a, const struct destination *b)
{
	return IN6_ARE_ADDR_EQUAL(&a->remote, &b->remote) &&
	       a->remote_port == b->remote_port && a->device == b->device &&
	       IN6_ARE_ADDR_EQUAL(&a->local, &b->local);
}

/* The slot of this destination, or the empty one where it belongs. */
static uint32_t
find_slot(const struct destinations *d, const struct destination *to)
{
	uint32_t i = hash(d, to) % DESTINATIONS_SLOTS;

	while (d->slots[i] != 0 && !equals(&d->entries[d->slots[i] - 1].destination, to))
		i = (i + 1) % DESTINATIONS_SLOTS;
	return i;
}

/* Take one from every count, and every entry away that has come to nothing. */
static void
take_one_from_all(struct destinations *d)
{
	uint32_t kept = 0;

	memset(d->slots, 0, sizeof(d->slots));
	for (uint32_t i = 0; i < d->entry_count; i++) {
		if (--d->entries[i].count == 0)
			continue;
		d->entries[kept] = d->entries[i];
		d->slots[find_slot(d, &d->entries[kept].destination)] =
			(uint16_t)(kept + 1);
		kept++;
	}
	d->entry_count = kept;
	d->last = 0;
	d->rounds++;
}

/*
 * The entry of this destination, or a new one with nothing counted; NULL when the table
 * is full. Rows of one destination often lie together: Linux hashes them so since 6.15.
 */
static struct destinations_entry *
find_entry(struct destinations *d, const struct destination *to)
{
	uint16_t *slot;

	if (d->entry_count > 0 && equals(&d->entries[d->last].destination, to))
		return &d->entries[d->last];
	slot = &d->slots[find_slot(d, to)];
	if (*slot == 0) {
		if (d->entry_count == DESTINATIONS_MAX)
			return NULL;
		d->entries[d->entry_count++] =
			(struct destinations_entry){ .destination = *to };
		*slot = (uint16_t)d->entry_count;
	}
	d->last = *slot - 1U;
	return &d->entries[d->last];
}

/* Whether entry number i has its ports one by one. A round moves entries. */
static bool
is_exact(const struct destinations *d, uint32_t i)
{
	return i < DESTINATIONS_EXACT && d->rounds == 0;
}

/* Note the port; returns whether it had been counted, as far as that is known. */
static bool
note_port(struct destinations *d, struct destinations_entry *entry, uint16_t port)
{
	uint64_t bit = UINT64_C(1) << (port % 64), *word;
	bool noted = entry->count > 0 && entry->last_port == port;

	entry->last_port = port;
	if (!is_exact(d, d->last))
		return noted;
	word = &d->ports[d->last][port / 64];
	noted = *word & bit;
	*word |= bit;
	return noted;
}

void
destinations_add(struct destinations *d, const struct destination *to,
	uint16_t local_port, bool is_end)
{
	struct destinations_entry *entry = find_entry(d, to);

	if (!entry) {
		take_one_from_all(d);
		return;
	}
	entry->count += !note_port(d, entry, local_port);
	entry->has_end |= is_end;
}

/* How many ports entry number `other` has that number i lacks, or at least so many. */
static uint32_t
count_others(const struct destinations *d, uint32_t i, uint32_t other)
{
	uint32_t count = 0;

	if (!is_exact(d, i) || !is_exact(d, other))
		return d->entries[other].count > d->entries[i].count
		               ? d->entries[other].count - d->entries[i].count
		               : 0;
	for (int k = 0; k < DESTINATIONS_WORDS; k++)
		count += (uint32_t)__builtin_popcountll(
			d->ports[other][k] & ~d->ports[i][k]);
	return count;
}

/* Entry number i, with the ports of sockets that are not bound to its device. */
static struct destinations_entry
sum_up(const struct destinations *d, uint32_t i)
{
	struct destinations_entry entry = d->entries[i];
	struct destination unbound = entry.destination;
	uint32_t number;

	if (unbound.device == 0)
		return entry;
	unbound.device = 0;
	number = d->slots[find_slot(d, &unbound)];
	if (number > 0) {
		entry.count += count_others(d, i, number - 1);
		entry.has_end |= d->entries[number - 1].has_end;
	}
	return entry;
}

static bool
comes_before(const struct destinations_entry *a, const struct destinations_entry *b)
{
	const struct destination *x = &a->destination, *y = &b->destination;
	const uint32_t x_lost = a->count + !a->has_end, y_lost = b->count + !b->has_end;
	int order;

	if (x_lost != y_lost)
		return x_lost > y_lost;
	order = memcmp(&x->remote, &y->remote, sizeof(x->remote));
	if (order != 0)
		return order < 0;
	if (x->remote_port != y->remote_port)
		return x->remote_port < y->remote_port;
	if (x->device != y->device)
		return x->device < y->device;
	return memcmp(&x->local, &y->local, sizeof(x->local)) < 0;
}

size_t
destinations_top(
	const struct destinations *d, size_t max, struct destinations_entry *ret_top)
{
	size_t count = 0, at;

	for (uint32_t i = 0; i < d->entry_count; i++) {
		const struct destinations_entry entry = sum_up(d, i);

		if (count == max &&
			(max == 0 || !comes_before(&entry, &ret_top[max - 1])))
			continue;
		for (at = count < max ? count++ : max - 1;
			at > 0 && comes_before(&entry, &ret_top[at - 1]); at--)
			ret_top[at] = ret_top[at - 1];
		ret_top[at] = entry;
	}
	return count;
}
