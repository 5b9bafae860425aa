/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs a fuzz target on files instead of under a fuzzer: each argument is a file, or a directory of
 * files. Speaks TAP; an input that the target does not survive ends the program, and its name is the
 * last that was said.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static unsigned int count;

static void die(const char *path)
{
	fprintf(stderr, "%s: %s\n", path, strerror(errno));
	exit(1);
}

static void run_file(const char *path)
{
	FILE *file = fopen(path, "re");
	struct stat st;
	uint8_t *data;
	size_t len;

	if (file == NULL || fstat(fileno(file), &st) < 0) {
		die(path);
	}
	len = (size_t)st.st_size;
	/* Exactly as long as the input, so that a byte too far is noticed. */
	data = malloc(len > 0 ? len : 1);
	if (data == NULL || fread(data, 1, len, file) != len) {
		die(path);
	}
	fclose(file);
	printf("# %s\n", path);
	fflush(stdout);
	LLVMFuzzerTestOneInput(data, len);
	free(data);
	printf("ok %u - %s\n", ++count, strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path);
	fflush(stdout);
}

static int is_visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static void run_directory(const char *path)
{
	struct dirent **entries;
	char name[4096];
	int n = scandir(path, &entries, is_visible, alphasort);
	int i;

	if (n < 0) {
		die(path);
	}
	for (i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "%s/%s", path, entries[i]->d_name);
		run_file(name);
		free(entries[i]);
	}
	free(entries);
}

int main(int argc, char **argv)
{
	struct stat st;
	int i;

	if (LLVMFuzzerInitialize != NULL) {
		LLVMFuzzerInitialize(&argc, &argv);
	}
	for (i = 1; i < argc; i++) {
		if (stat(argv[i], &st) < 0) {
			die(argv[i]);
		}
		if (S_ISDIR(st.st_mode)) {
			run_directory(argv[i]);
		} else {
			run_file(argv[i]);
		}
	}
	printf("1..%u\n", count);
	return count > 0 ? 0 : 1;
}
