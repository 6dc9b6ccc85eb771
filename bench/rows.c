/* SPDX-License-Identifier: MIT */
/*
 * Feed the program's two scanners with rows as Linux makes them, connections that go to
 * so many destinations, in portions as Linux hands them out. The system takes no part in
 * what is measured.
 *
 *   rows feed SCANNER DESTINATIONS ROWS   for callgrind, which counts what happens below
 *                                         procnet_scan() or sockdiag_scan(); prints the
 *                                         memory resident at the end, KiB
 *   rows time ROWS ROUNDS                 prints "SCANNER DESTINATIONS ROUND NANOSECONDS"
 *                                         for each scanner and for 1, 1,000 and 1,000,000
 *                                         destinations in turn, in every round
 */
#include "procnet.h"
#include "sockdiag.h"

#include <err.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <linux/inet_diag.h>
#include <linux/netlink.h>

enum {
	PORT_FIRST = 10000,
	PORT_LAST = 60999,
	PORTS = PORT_LAST - PORT_FIRST + 1,
	/* A read of /proc/net/tcp gives a page of whole rows. */
	TEXT_ROW = 150,
	TEXT_PORTION = 4096 / TEXT_ROW,
	/* Behind the message of a connection Linux 6 puts attributes of 36 bytes. */
	DUMP_ROW = sizeof(struct nlmsghdr) + sizeof(struct inet_diag_msg) + 36,
	DUMP_PORTION = SOCKDIAG_RECEIVE_MAX / DUMP_ROW,
	SEQUENCE = 1,
};

static struct usage usage;
static char buf[SOCKDIAG_RECEIVE_MAX];

struct scanner {
	const char *name;
	uint32_t portion;      /* rows at a time */
	void (*prepare)(void); /* fill buf with rows */
	void (*write_row)(char *row, uint16_t port, uint32_t address); /* change one */
	size_t row_size;
	bool (*scan)(size_t len);
};

static void
write_hex(char *text, int digits, uint32_t value)
{
	for (int i = digits - 1; i >= 0; i--) {
		text[i] = "0123456789ABCDEF"[value % 16];
		value /= 16;
	}
}

static void
prepare_text(void)
{
	for (int i = 0; i < TEXT_PORTION; i++) {
		char *row = buf + i * TEXT_ROW;
		int n = snprintf(row, TEXT_ROW,
			"%4d: 0100007F:2710 0100000A:01BB 01 00000000:00000000 "
			"00:00000000 00000000  1000        0 1234567 1 "
			"0000000000000000 20 4 30 10 -1",
			1000 + i);

		memset(row + n, ' ', (size_t)(TEXT_ROW - 1 - n));
		row[TEXT_ROW - 1] = '\n';
	}
}

static void
write_text_row(char *row, uint16_t port, uint32_t address)
{
	write_hex(row + strlen("1000: 0100007F:"), 4, port);
	write_hex(row + strlen("1000: 0100007F:2710 "), 8, address);
}

static bool
scan_text(size_t len)
{
	return procnet_scan(&usage, USAGE_TCP, buf, len) == (ssize_t)len;
}

static void
prepare_dump(void)
{
	const struct nlmsghdr header = {
		.nlmsg_len = DUMP_ROW,
		.nlmsg_type = TCPDIAG_GETSOCK,
		.nlmsg_flags = NLM_F_MULTI,
		.nlmsg_seq = SEQUENCE,
	};
	const struct inet_diag_msg message = {
		.idiag_family = AF_INET,
		.idiag_state = USAGE_ESTABLISHED,
		.id.idiag_src = { htonl(INADDR_LOOPBACK) },
		.id.idiag_dport = htons(443),
	};

	for (int i = 0; i < DUMP_PORTION; i++) {
		char *row = buf + i * DUMP_ROW;

		memset(row, 0, DUMP_ROW);
		memcpy(row, &header, sizeof(header));
		memcpy(row + sizeof(header), &message, sizeof(message));
	}
}

static void
write_dump_row(char *row, uint16_t port, uint32_t address)
{
	char *message = row + sizeof(struct nlmsghdr);
	const uint16_t network_port = htons(port);

	memcpy(message + offsetof(struct inet_diag_msg, id.idiag_sport), &network_port,
		sizeof(network_port));
	memcpy(message + offsetof(struct inet_diag_msg, id.idiag_dst), &address,
		sizeof(address));
}

static bool
scan_dump(size_t len)
{
	return sockdiag_scan(&usage, SOCKDIAG_TCP, SEQUENCE, buf, len) == 0;
}

static const struct scanner scanners[] = {
	{ "procnet_scan", TEXT_PORTION, prepare_text, write_text_row, TEXT_ROW,
		scan_text },
	{ "sockdiag_scan", DUMP_PORTION, prepare_dump, write_dump_row, DUMP_ROW,
		scan_dump },
};

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Returns the nanoseconds that the scanner took; to write the rows is not among them. */
static int64_t
feed(const struct scanner *scanner, uint32_t destinations, uint32_t rows)
{
	const uint64_t seed[DESTINATIONS_SEED_WORDS] = { 1, 2 };
	int64_t start_ns, ns = 0;
	uint32_t n;

	usage_reset(&usage, seed);
	usage_pool_fill(&usage.pool, PORT_FIRST, PORT_LAST);
	scanner->prepare();
	for (uint32_t at = 0; at < rows; at += n) {
		n = rows - at < scanner->portion ? rows - at : scanner->portion;
		for (uint32_t i = 0; i < n; i++)
			scanner->write_row(buf + i * scanner->row_size,
				(uint16_t)(PORT_FIRST + (at + i) % PORTS),
				/* in 10.0.0.0/8 */
				10 | ((at + i) % destinations) << 8);
		start_ns = now_ns();
		if (!scanner->scan(n * scanner->row_size))
			errx(1, "%s: failed", scanner->name);
		ns += now_ns() - start_ns;
	}
	if (usage.rows != rows)
		errx(1, "%s: %" PRIu64 " rows", scanner->name, usage.rows);
	return ns;
}

static void
print_resident(void)
{
	FILE *file = fopen("/proc/self/smaps_rollup", "re");
	char line[256];
	long kib;

	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Rss: %ld", &kib) == 1)
			printf("%ld\n", kib);
	}
}

static void
time_rounds(uint32_t rows, int rounds)
{
	static const uint32_t destinations[] = { 1, 1000, 1000000 };

	for (int i = 0; i <= rounds; i++) {
		for (size_t j = 0; j < 6; j++) {
			const struct scanner *scanner = &scanners[j % 2];
			int64_t ns = feed(scanner, destinations[j / 2], rows);

			/* The first round warms up. */
			if (i > 0)
				printf("%s %" PRIu32 " %d %" PRId64 "\n", scanner->name,
					destinations[j / 2], i, ns);
		}
	}
}

int
main(int argc, char *argv[])
{
	if (argc == 4 && strcmp(argv[1], "time") == 0) {
		time_rounds((uint32_t)atol(argv[2]), atoi(argv[3]));
		return 0;
	}
	if (argc != 5 || strcmp(argv[1], "feed") != 0)
		errx(2, "usage: rows feed SCANNER DESTINATIONS ROWS | time ROWS ROUNDS");
	for (size_t i = 0; i < sizeof(scanners) / sizeof(scanners[0]); i++) {
		if (strcmp(argv[2], scanners[i].name) != 0)
			continue;
		feed(&scanners[i], (uint32_t)atol(argv[3]), (uint32_t)atol(argv[4]));
		print_resident();
		return 0;
	}
	errx(2, "%s: no such scanner", argv[2]);
}
