/* SPDX-License-Identifier: MIT */
/*
 * Compares mmu/decode with Zydis over generated instructions: fuzz_decode [count] [seed] [shown]
 * Without arguments: 14 million, or 1 million when WEIR_FUZZ is "short"; the seed is WEIR_SEED.
 *
 * Every other case is random, the rest walk through all opcodes with all ModRM bytes; a full run
 * visits each of those under each mode and each of eight prefixes.
 *
 * Every case is decoded by both. They must agree on whether it is an instruction and, if so, on
 * length, address size, prefixes that act, memory operand, immediate and, for the kinds that
 * decode.h names, on kind, operands and operand size. Each accepted instruction is also decoded
 * again cut short at every length, which must ask for more bytes.
 *
 * Left out, each with its reason beside the function that names it: instructions of other makers
 * (is_foreign; that decode_insn() refuses them is checked), the source size of MOVSXD with 66
 * (is_short_movsxd), base and displacement of one form that Zydis 4.0 gets wrong (is_false_r13),
 * XCHG by opcode 90 (reference_kind), the segment of LEA and the address size of instructions that
 * address nothing. MPX and CET are switched off in Zydis (init_decoders). Of refused input only
 * the refusal is compared, not its reason; tests/unit/mmu/test_decode.c has the reasons.
 */
/* fuzz-sources: mmu/decode.c mmu/decode_classify.c mmu/decode_tables.c mmu/decode_tables_sse.c mmu/decode_xmm.c
   tests/fuzz/decode_kinds.c tests/fuzz/decode_compare.c */
/* fuzz-libs: -lZydis */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/base/error.h"
#include "mmu/decode.h"
#include "tests/fuzz/decode_reference.h"
#include "tests/hosted/random.h"

#define FULL_COUNT  14000000ull
#define SHORT_COUNT 1000000ull
#define BYTES	    20 /* more than any instruction has */

static ZydisDecoder decoders[3];
static const char *const mode_names[3] = {"16", "32", "64"};

/* ---- generation ---- */

static u64 random_state;

static size_t put_map(u8 *bytes, size_t at, unsigned int map)
{
	if (map > 0)
		bytes[at++] = 0x0f;
	if (map > 1)
		bytes[at++] = map == 2 ? 0x38 : 0x3a;
	return at;
}

/*
 * One of all combinations of mode, map, opcode, mandatory prefix or REX, and ModRM; the bytes after
 * it random. The stride has no factor in common with their number, so that SWEEP_CASES in a row
 * are all of them, and any part of that is spread over the whole.
 */
#define SWEEP_CASES  (3u * 4 * 256 * 8 * 256)
#define SWEEP_STRIDE 3888349u

static_assert(SWEEP_STRIDE % 2 && SWEEP_STRIDE % 3, "the stride must visit every case");
static_assert(FULL_COUNT / 2 >= SWEEP_CASES, "the full run must visit every case");

static enum decode_mode generate_swept(u8 *bytes, u64 n)
{
	static const u8 prefixes[8][2] = {{0},	  {0x66}, {0xf3},	{0xf2},
					  {0x48}, {0xf0}, {0x66, 0xf3}, {0x67, 0x66}};
	u64 index = n % SWEEP_CASES * SWEEP_STRIDE % SWEEP_CASES;
	const u8 *prefix = prefixes[index % 8];
	size_t at = 0;

	for (size_t i = 0; i < 2 && prefix[i]; i++)
		bytes[at++] = prefix[i];
	index /= 8;
	at = put_map(bytes, at, index % 4);
	index /= 4;
	bytes[at++] = (u8)index;
	index /= 256;
	bytes[at] = (u8)index;
	return (enum decode_mode)(index / 256);
}

static enum decode_mode generate_random(u8 *bytes)
{
	static const u8 prefixes[] = {0x66, 0x66, 0x67, 0xf2, 0xf3, 0xf0,
				      0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
	static const u8 maps[] = {0, 0, 0, 0, 1, 1, 1, 2, 3};
	enum decode_mode mode = (enum decode_mode)random_below(&random_state, 3);
	size_t at = 0;

	if (!random_below(&random_state, 16))
		return mode; /* noise */
	while (at < 14 && random_below(&random_state, 5) < 2)
		bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (!random_below(&random_state, 200))
		while (at < 13)
			bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (mode == DECODE_64 && at < 15 && random_below(&random_state, 2))
		bytes[at++] = 0x40 | (u8)random_below(&random_state, 16);
	if (mode == DECODE_64 && at < 15 && !random_below(&random_state, 40))
		bytes[at++] = prefixes[random_below(&random_state, sizeof(prefixes))];
	if (at < 15)
		put_map(bytes, at, maps[random_below(&random_state, sizeof(maps))]);
	return mode;
}

static enum decode_mode generate(u8 *bytes, u64 n)
{
	for (size_t i = 0; i < BYTES; i += 4) {
		u32 word = (u32)random_next(&random_state);

		memcpy(bytes + i, &word, sizeof(word));
	}
	return n & 1 ? generate_random(bytes) : generate_swept(bytes, n >> 1);
}

/* ---- comparison: each returns the name of what differs, or NULL ---- */

/*
 * What Zydis knows from 4.1 on and Weir's guests are not offered, by name, for 4.0 has nothing else
 * of it: PCOMMIT was withdrawn before any CPU had it, RAO-INT and the MSR lists are of CPUs to
 * come.
 */
static const char *const not_offered[] = {"pcommit", "aadd",	  "aand",      "aor",	"axor",
					  "wrmsrns", "rdmsrlist", "wrmsrlist", "pbndkb"};

/*
 * Instructions of other makers' CPUs: Zydis knows them, the SDM does not, and the CPUs that Weir
 * runs on raise #UD. decode_insn() must refuse them, which is checked.
 */
static bool is_foreign(const ZydisDecodedInstruction *z)
{
	for (size_t i = 0; i < ARRAY_SIZE(not_offered); i++)
		if (!strcmp(ZydisMnemonicGetString(z->mnemonic), not_offered[i]))
			return true;
	switch (z->meta.isa_set) {
	case ZYDIS_ISA_SET_AMD:
	case ZYDIS_ISA_SET_AMD3DNOW:
	case ZYDIS_ISA_SET_AMD_INVLPGB:
	case ZYDIS_ISA_SET_CLZERO:
	case ZYDIS_ISA_SET_MCOMMIT:
	case ZYDIS_ISA_SET_MONITORX:
	case ZYDIS_ISA_SET_PADLOCK_ACE:
	case ZYDIS_ISA_SET_PADLOCK_PHE:
	case ZYDIS_ISA_SET_PADLOCK_PMM:
	case ZYDIS_ISA_SET_PADLOCK_RNG:
	case ZYDIS_ISA_SET_RDPRU:
	case ZYDIS_ISA_SET_SNP:
	case ZYDIS_ISA_SET_SSE4A:
	case ZYDIS_ISA_SET_SVM:
		return true;
	default:
		return false;
	}
}

static const char *compare_truncated(const u8 *bytes, enum decode_mode mode, size_t length)
{
	struct insn i;

	for (size_t n = 0; n < length; n++) {
		/* On the heap and of the exact size, so that a read beyond the end is seen. */
		u8 *copy = malloc(n ? n : 1);
		int err;

		if (!copy)
			abort();
		memcpy(copy, bytes, n);
		err = decode_insn(&i, copy, n, mode);
		free(copy);
		if (err != ERR_AGAIN)
			return "error for truncated input";
	}
	return NULL;
}

static u64 accepted, kind_accepted;

static const char *compare(const u8 *bytes, enum decode_mode mode, struct insn *i,
			   struct reference *r)
{
	int err = decode_insn(i, bytes, BYTES, mode);
	ZyanStatus status = ZydisDecoderDecodeFull(&decoders[mode], bytes, BYTES, &r->insn, r->op);
	const char *what;

	if (err == ERR_AGAIN)
		return "more bytes asked for than an instruction has";
	if (!ZYAN_SUCCESS(status)) {
		if (!err)
			return "accepted";
		if (err == ERR_RANGE && status != ZYDIS_STATUS_INSTRUCTION_TOO_LONG)
			return "error for a long instruction";
		return NULL;
	}
	if (r->insn.encoding == ZYDIS_INSTRUCTION_ENCODING_3DNOW || is_foreign(&r->insn))
		return err ? NULL : "accepted, though foreign";
	if (r->insn.encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY)
		return err == ERR_NOTSUP ? NULL : "error for a vector encoding";
	if (err)
		return "refused";
	accepted++;
	kind_accepted += i->kind != INSN_OTHER;
	what = reference_differs(i, r);
	if (!what)
		what = compare_truncated(bytes, mode, i->length);
	return what;
}

/* ---- the run ---- */

static void print_mismatch(const char *what, const u8 *bytes, enum decode_mode mode, struct insn *i,
			   struct reference *r)
{
	ZydisFormatter formatter;
	char text[128] = "refused";
	int err = decode_insn(i, bytes, BYTES, mode);

	printf("mismatch: %s; %s-bit:", what, mode_names[mode]);
	for (size_t n = 0; n < BYTES; n++)
		printf(" %02x", bytes[n]);
	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (ZYAN_SUCCESS(ZydisDecoderDecodeFull(&decoders[mode], bytes, BYTES, &r->insn, r->op)))
		ZydisFormatterFormatInstruction(&formatter, &r->insn, r->op,
						r->insn.operand_count_visible, text, sizeof(text),
						0, NULL);
	printf("\n  Zydis: %s, length %u\n", text, r->insn.length);
	printf("  Weir: error %d, length %u, kind %u, sizes %u %u %u, dst %u:%u, src %u:%u, imm "
	       "%" PRIx64 " (%u)\n",
	       err, i->length, i->kind, i->op_size, i->src_size, i->addr_size, i->dst.kind,
	       i->dst.reg, i->src.kind, i->src.reg, i->imm, i->imm_size);
	printf("  memory %d: segment %u base %u index %u scale %u disp %" PRId64 "\n",
	       i->mem.present, i->mem.segment, i->mem.base, i->mem.index, i->mem.scale,
	       i->mem.disp);
}

static void init_decoders(void)
{
	static const ZydisMachineMode modes[3] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						  ZYDIS_MACHINE_MODE_LEGACY_32,
						  ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth widths[3] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						  ZYDIS_STACK_WIDTH_64};

	for (size_t m = 0; m < 3; m++) {
		ZydisDecoderInit(&decoders[m], modes[m], widths[m]);
		/* Hidden from guests: 0F 1A and 0F 1B are reserved NOPs, 3E is no NOTRACK. */
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_MPX, ZYAN_FALSE);
		ZydisDecoderEnableMode(&decoders[m], ZYDIS_DECODER_MODE_CET, ZYAN_FALSE);
	}
}

static u64 default_count(void)
{
	const char *extent = getenv("WEIR_FUZZ");

	return extent && !strcmp(extent, "short") ? SHORT_COUNT : FULL_COUNT;
}

static u64 default_seed(void)
{
	const char *seed = getenv("WEIR_SEED");

	return seed ? strtoull(seed, NULL, 0) : 1;
}

int main(int argc, char **argv)
{
	u64 count = argc > 1 ? strtoull(argv[1], NULL, 0) : default_count();
	u64 seed = argc > 2 ? strtoull(argv[2], NULL, 0) : default_seed();
	u64 shown = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;
	u64 mismatches = 0;

	init_decoders();
	random_state = seed;
	for (u64 n = 0; n < count && mismatches < shown; n++) {
		struct reference r = {0};
		u8 bytes[BYTES];
		struct insn i;
		enum decode_mode mode = generate(bytes, n);
		const char *what = compare(bytes, mode, &i, &r);

		if (!what)
			continue;
		mismatches++;
		printf("case %" PRIu64 " of seed %" PRIu64 ": ", n, seed);
		print_mismatch(what, bytes, mode, &i, &r);
	}
	printf("fuzz_decode: %" PRIu64 " compared (%" PRIu64 " instructions, %" PRIu64
	       " of a named kind), seed %" PRIu64 ", %" PRIu64 " mismatches\n",
	       count, accepted, kind_accepted, seed, mismatches);
	printf("%d passed, %d failed\n", !mismatches, !!mismatches);
	return mismatches ? 1 : 0;
}
