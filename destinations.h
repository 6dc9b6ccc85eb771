/* SPDX-License-Identifier: MIT */
/*
 * Count the local ports that lead to each destination, in fixed memory.
 *
 * Counts are exact while every destination has an entry. Beyond that the least of them go
 * unnamed: a destination that finds the table full takes one from every count and from
 * its own, and what comes to nothing makes room. Each such round is paid for by
 * DESTINATIONS_MAX + 1 rows, so no count is too low by more than rows /
 * (DESTINATIONS_MAX + 1), and none is higher than the rows that were given.
 *
 * Source: Linux include/net/inet_hashtables.h (inet_match), include/net/inet_sock.h
 * (inet_bound_dev_eq); Misra and Gries, "Finding repeated elements" (1982); Lemire and
 * Kaser, "Strongly universal string hashing is fast" (2014), the multilinear family;
 * Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014); RFC
 * 4291 section 2.5.5.2 (IPv4-mapped). Pure: no I/O, no allocation.
 */
#ifndef DESTINATIONS_H
#define DESTINATIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	DESTINATIONS_MAX = 16384,
	/* Half of them stay empty, so that a search ends soon. */
	DESTINATIONS_SLOTS = 2 * DESTINATIONS_MAX,
	DESTINATIONS_SEED_WORDS = 2,
	/* One for each 32-bit word of two addresses, for the device and for the port, one
	   to begin with. */
	DESTINATIONS_KEYS = 11,
	/* Whose ports are known one by one: those that have an entry first. */
	DESTINATIONS_EXACT = 32,
	DESTINATIONS_WORDS = 65536 / 64,
	DESTINATIONS_TOP_MAX = 100, /* that may be asked for by name */
};

/*
 * What the kernel tells connections of one local port apart by. IPv4 addresses are in
 * their mapped form, whichever family the socket has.
 *
 * A socket that is bound to a device, as each is that talks to a link-local address, has
 * other connections than one that is not (inet_match). Index 0 is no device, or one that
 * the source does not show.
 */
struct destination {
	struct in6_addr local;
	struct in6_addr remote;
	uint32_t device;      /* index of the interface */
	uint16_t remote_port; /* host byte order */
};

/* A destination that has an entry, and how many local ports lead to it. */
struct destinations_entry {
	struct destination destination;
	uint16_t last_port; /* the local port counted last */
	bool has_end;       /* the port at the end of an odd range leads there */
	uint32_t count;
};

/*
 * 768 KiB of entries, 64 KiB of slots, 256 KiB of ports; of the entries and the ports,
 * what is used becomes resident.
 */
struct destinations {
	struct destinations_entry entries[DESTINATIONS_MAX]; /* filled from the front */
	/* A bit for each port that leads to one of the first entries, up to the first
	 * round. */
	uint64_t ports[DESTINATIONS_EXACT][DESTINATIONS_WORDS];
	uint16_t slots[DESTINATIONS_SLOTS]; /* by hash: the entry's number from 1, or 0 */
	uint32_t entry_count;
	uint32_t last;                    /* the entry counted last, if there are any */
	uint32_t rounds;                  /* the most by which a count is too low */
	uint64_t keys[DESTINATIONS_KEYS]; /* of the hash */
};

/*
 * Start with an empty table; the struct is all zeros, as static ones begin, or was reset
 * before. The seed decides where entries lie, never what they count: random words keep a
 * stranger who chooses ports from choosing collisions too.
 */
void destinations_reset(
	struct destinations *d, const uint64_t seed[static DESTINATIONS_SEED_WORDS]);

/* Start over with the same seed; no destination stays in memory. */
void destinations_clear(struct destinations *d);

/* Leave no destination in memory. The table is unusable until it is reset then. */
void destinations_wipe(struct destinations *d);

/*
 * Count one local port towards a destination; `is_end` marks the one that has_end is
 * about. A source that is read in pieces may show a row again: the same port counts once
 * towards the first DESTINATIONS_EXACT destinations, and towards others when it comes
 * twice in a row.
 */
void destinations_add(struct destinations *d, const struct destination *to,
	uint16_t local_port, bool is_end);

/*
 * The `max` destinations that the fewest ports are left for, nearest to exhaustion first,
 * equal ones in the order of their bytes. A socket bound to a device cannot have the
 * ports of unbound ones either: its count has both where they are known one by one, else
 * the larger of the two counts. Returns how many there are in ret_top.
 */
size_t destinations_top(
	const struct destinations *d, size_t max, struct destinations_entry *ret_top);

#endif
