/* SPDX-License-Identifier: MIT */
/*
 * Runs in the Linux guest: fills memory with pages of four kinds, and reads them again, every word.
 *
 *	fill MIB NAME ROUNDS [random]
 *
 * Of a hundred pages 40 are zero, 25 are the same in every guest, 30 pack to about a third and 5 are
 * random, both different in guests of different names; or all are random. Ends with 0 if every word
 * was right.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_WORDS 512u

enum kind {
	ZERO,
	SAME,
	PACKS,
	RANDOM
};

static bool all_random;

static enum kind kind_of(uint64_t page)
{
	/* 37 and 100 have no common factor: the kinds are mixed, and their shares exact. */
	uint64_t n = page * 37 % 100;

	if (all_random)
		return RANDOM;
	return n < 40 ? ZERO : n < 65 ? SAME : n < 95 ? PACKS : RANDOM;
}

/* Steele, Lea and Flood's SplitMix64. */
static uint64_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static void make_page(uint64_t page, uint64_t guest, uint64_t *words)
{
	enum kind kind = kind_of(page);
	uint64_t state = page ^ (kind == SAME ? 0 : guest);

	memset(words, 0, PAGE_WORDS * sizeof(*words));
	for (unsigned int i = 0; kind != ZERO && i < PAGE_WORDS; i++) {
		if (kind != PACKS || i % 4 == 0)
			words[i] = next(&state);
		else
			words[i] = page;
	}
}

static uint64_t hash(const char *name)
{
	uint64_t h = 0xcbf29ce484222325u;

	while (*name)
		h = (h ^ (unsigned char)*name++) * 0x100000001b3u;
	return h;
}

static uint64_t check(const uint64_t *memory, uint64_t pages, uint64_t guest)
{
	uint64_t wrong = 0;

	for (uint64_t page = 0; page < pages; page++) {
		uint64_t words[PAGE_WORDS];

		make_page(page, guest, words);
		for (unsigned int i = 0; i < PAGE_WORDS; i++) {
			if (memory[page * PAGE_WORDS + i] == words[i])
				continue;
			if (!wrong++)
				printf("fill: page %" PRIu64 ", word %u: %#" PRIx64 " for %#" PRIx64
				       "\n",
				       page, i, memory[page * PAGE_WORDS + i], words[i]);
		}
	}
	return wrong;
}

int main(int argc, char **argv)
{
	uint64_t pages, guest, rounds, wrong = 0;
	uint64_t *memory;

	if (argc != 4 && (argc != 5 || strcmp(argv[4], "random"))) {
		fprintf(stderr, "usage: fill MIB NAME ROUNDS [random]\n");
		return 2;
	}
	pages = strtoull(argv[1], NULL, 10) << 8;
	guest = hash(argv[2]);
	rounds = strtoull(argv[3], NULL, 10);
	all_random = argc == 5;
	memory = mmap(NULL, pages * PAGE_WORDS * sizeof(*memory), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		perror("mmap");
		return 2;
	}
	for (uint64_t page = 0; page < pages; page++)
		make_page(page, guest, memory + page * PAGE_WORDS);
	for (uint64_t round = 1; round <= rounds; round++) {
		wrong += check(memory, pages, guest);
		printf("fill: %s: round %" PRIu64 " of %" PRIu64 ", %" PRIu64 " words wrong\n",
		       argv[2], round, rounds, wrong);
		fflush(stdout);
	}
	printf("fill: %s: %" PRIu64 " pages, %s\n", argv[2], pages,
	       wrong ? "DAMAGED" : "every word is right");
	return wrong != 0;
}
