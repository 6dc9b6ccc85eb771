/* SPDX-License-Identifier: MIT */
/*
 * Give a fuzz target the inputs of its corpus, once each, where there is no libFuzzer:
 * the arguments are files, or directories of files.
 *
 * Source: the interface of libFuzzer, https://llvm.org/docs/LibFuzzer.html
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <sanitizer/common_interface_defs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
	INPUT_MAX = 64 * 1024,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char current[PATH_MAX];
static size_t replayed;

/*
 * A report helps only with the name of its input. Failed assertions end in abort(), which
 * is none of the sanitizer's deaths unless it is told so, ...
 */
const char *
__asan_default_options(void)
{
	return "handle_abort=1";
}

/* ... and gcc has a library of its own for undefined behaviour, which knows no callback.
 */
const char *
__ubsan_default_options(void)
{
	return "abort_on_error=1:print_stacktrace=1";
}

static void
name_current(void)
{
	fprintf(stderr, "replay %s: failed\n", current);
}

/* The input lies at the end of its buffer, where the sanitizer sees a read beyond it. */
static void
replay_file(void)
{
	static uint8_t input[INPUT_MAX + 1];
	FILE *file = fopen(current, "rb");
	size_t len;

	if (!file)
		err(EXIT_FAILURE, "open %s", current);
	len = fread(input, 1, sizeof(input), file);
	if (ferror(file))
		err(EXIT_FAILURE, "read %s", current);
	fclose(file);
	if (len > INPUT_MAX)
		errx(EXIT_FAILURE, "read %s: longer than %d bytes", current, INPUT_MAX);
	memmove(input + sizeof(input) - len, input, len);
	LLVMFuzzerTestOneInput(input + sizeof(input) - len, len);
	replayed++;
}

static void
set_current(const char *directory, const char *slash, const char *name)
{
	int len = snprintf(current, sizeof(current), "%s%s%s", directory, slash, name);

	if (len < 0 || (size_t)len >= sizeof(current))
		errx(EXIT_FAILURE, "open %s%s%s: name too long", directory, slash, name);
}

static void
replay_directory(const char *path, DIR *directory)
{
	const struct dirent *entry;

	/* readdir() tells an error from the end by errno alone. */
	while ((errno = 0, entry = readdir(directory))) {
		if (entry->d_name[0] == '.')
			continue;
		set_current(path, "/", entry->d_name);
		replay_file();
	}
	if (errno != 0)
		err(EXIT_FAILURE, "read %s", path);
	closedir(directory);
}

int
main(int argc, char *argv[])
{
	__sanitizer_set_death_callback(name_current);
	for (int i = 1; i < argc; i++) {
		DIR *directory = opendir(argv[i]);

		set_current(argv[i], "", "");
		if (directory)
			replay_directory(argv[i], directory);
		else
			replay_file();
	}
	printf("%zu inputs replayed\n", replayed);
	return replayed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
