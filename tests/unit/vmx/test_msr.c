/* SPDX-License-Identifier: MIT */
/* The MSR table: what each read gives and which writes are taken. And the bitmap. */
/* unit-sources: vmx/msr_policy.c vmx/msr_bitmap.c */
#include <setjmp.h>
#include <cmocka.h>
#include "kernel/base/msr.h"
#include "vmx/msr_bitmap.h"
#include "vmx/msr_policy.h"

#define HOST_TSC 1000000ull
#define EFER_ALL (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

static struct msr_state fresh(void)
{
	struct msr_state s = {
		.efer_offered = EFER_ALL,
		.spec_ctrl_bits = SPEC_CTRL_IBRS | SPEC_CTRL_SSBD,
		.has_spec_ctrl = true,
		.has_ibpb = true,
		.has_arch_capabilities = true,
		.maxphyaddr = 39,
		.arch_capabilities = 0x29,
		.microcode = 0x1234ull << 32,
		.tsc_offset = (u64)-500,
	};

	msr_state_reset(&s);
	return s;
}

static u64 get(const struct msr_state *s, u32 index)
{
	u64 value = ~0ull;

	assert_int_equal(msr_policy_read(s, index, HOST_TSC, &value), MSR_DONE);
	return value;
}

static enum msr_answer put(struct msr_state *s, u32 index, u64 value)
{
	u32 effects;

	return msr_policy_write(s, index, HOST_TSC, value, &effects);
}

static void unknown_ones_go_up(void **state)
{
	static const u32 unknown[] = {0x00,  0x11,  0x12,  0x1b,       0x6e0,	   0x802,
				      0xc1,  0x186, 0x345, 0x1234,     0x4b564d00, 0xc0000084,
				      0x210, 0x251, 0x270, 0xc0000081, 0xda0,	   ~0u};
	struct msr_state s = fresh();
	u64 value;

	for (u32 i = 0; i < ARRAY_SIZE(unknown); i++) {
		assert_int_equal(msr_policy_read(&s, unknown[i], HOST_TSC, &value), MSR_UNKNOWN);
		assert_int_equal(put(&s, unknown[i], 0), MSR_UNKNOWN);
	}
}

static void constants(void **state)
{
	struct msr_state s = fresh();

	assert_int_equal(get(&s, 0x3a), 1); /* locked, VMX off */
	assert_int_equal(get(&s, 0x179), 0);
	assert_int_equal(get(&s, 0xfe), 0x508);
	assert_int_equal(get(&s, 0x1a0), 0x1801);
	assert_int_equal(get(&s, 0x34), 0);
	assert_int_equal(get(&s, 0x8b), 0x1234ull << 32);
	assert_int_equal(get(&s, 0x10a), 0x29);
	static const u32 read_only[] = {0x17, 0x34, 0x3a, 0xce, 0xfe, 0x10a, 0x179};

	for (u32 i = 0; i < ARRAY_SIZE(read_only); i++)
		assert_int_equal(put(&s, read_only[i], get(&s, read_only[i])), MSR_FAULT);
	assert_int_equal(put(&s, 0x17a, 0), MSR_DONE);
	assert_int_equal(put(&s, 0x17a, 1), MSR_FAULT);
	assert_int_equal(put(&s, 0x140, 1), MSR_FAULT);
	assert_int_equal(put(&s, 0x8b, 0), MSR_DONE);
	assert_int_equal(get(&s, 0x8b), 0x1234ull << 32);
}

static void efer(void **state)
{
	struct msr_state s = fresh();
	u32 effects;

	assert_int_equal(get(&s, MSR_EFER), 0);
	assert_int_equal(
		msr_policy_write(&s, MSR_EFER, 0, EFER_SCE | EFER_LME | EFER_NXE, &effects),
		MSR_DONE);
	assert_int_equal(effects, MSR_EFFECT_EFER);
	assert_int_equal(s.efer, EFER_SCE | EFER_LME | EFER_NXE);
	/* LMA is neither set nor cleared by a write. */
	assert_int_equal(put(&s, MSR_EFER, EFER_LME | EFER_LMA), MSR_DONE);
	assert_int_equal(s.efer, EFER_LME);
	s.efer |= EFER_LMA;
	s.cr0_pg = CR0_PG;
	assert_int_equal(put(&s, MSR_EFER, EFER_LME | EFER_SCE), MSR_DONE);
	assert_int_equal(s.efer, EFER_LME | EFER_LMA | EFER_SCE);
	/* With paging on LME stays. */
	assert_int_equal(put(&s, MSR_EFER, EFER_SCE), MSR_FAULT);
	assert_int_equal(s.efer, EFER_LME | EFER_LMA | EFER_SCE);
	for (u32 bit = 0; bit < 64; bit++) {
		if (!(EFER_ALL & BIT(bit)))
			assert_int_equal(put(&s, MSR_EFER, s.efer | BIT(bit)), MSR_FAULT);
	}
	s.efer_offered &= ~EFER_NXE;
	assert_int_equal(put(&s, MSR_EFER, s.efer | EFER_NXE), MSR_FAULT);
}

static void tsc(void **state)
{
	struct msr_state s = fresh();
	u32 effects;

	assert_int_equal(get(&s, MSR_IA32_TSC), HOST_TSC - 500);
	assert_int_equal(msr_policy_write(&s, MSR_IA32_TSC, HOST_TSC, 42, &effects), MSR_DONE);
	assert_int_equal(effects, MSR_EFFECT_TSC);
	assert_int_equal(get(&s, MSR_IA32_TSC), 42);
	assert_int_equal(get(&s, MSR_IA32_TSC_ADJUST), 42 - (HOST_TSC - 500));
	assert_int_equal(put(&s, MSR_IA32_TSC_ADJUST, 0), MSR_DONE);
	assert_int_equal(get(&s, MSR_IA32_TSC), HOST_TSC - 500);
	assert_int_equal(get(&s, MSR_IA32_TSC_ADJUST), 0);
}

static void speculation(void **state)
{
	struct msr_state s = fresh();
	u32 effects;
	u64 value;

	assert_int_equal(msr_policy_write(&s, MSR_IA32_SPEC_CTRL, 0, SPEC_CTRL_SSBD, &effects),
			 MSR_DONE);
	assert_int_equal(effects, MSR_EFFECT_SPEC_CTRL);
	assert_int_equal(get(&s, MSR_IA32_SPEC_CTRL), SPEC_CTRL_SSBD);
	assert_int_equal(put(&s, MSR_IA32_SPEC_CTRL, SPEC_CTRL_STIBP), MSR_FAULT);
	assert_int_equal(msr_policy_write(&s, MSR_IA32_PRED_CMD, 0, 1, &effects), MSR_DONE);
	assert_int_equal(effects, MSR_EFFECT_IBPB);
	assert_int_equal(msr_policy_write(&s, MSR_IA32_PRED_CMD, 0, 0, &effects), MSR_DONE);
	assert_int_equal(effects, 0);
	assert_int_equal(put(&s, MSR_IA32_PRED_CMD, 2), MSR_FAULT);
	assert_int_equal(msr_policy_read(&s, MSR_IA32_PRED_CMD, 0, &value), MSR_FAULT);
	s.has_spec_ctrl = s.has_ibpb = s.has_arch_capabilities = false;
	assert_int_equal(put(&s, MSR_IA32_SPEC_CTRL, 0), MSR_FAULT);
	assert_int_equal(put(&s, MSR_IA32_PRED_CMD, 1), MSR_FAULT);
	assert_int_equal(msr_policy_read(&s, MSR_IA32_SPEC_CTRL, 0, &value), MSR_FAULT);
	assert_int_equal(msr_policy_read(&s, MSR_IA32_ARCH_CAPABILITIES, 0, &value), MSR_FAULT);
}

static void misc_enable_and_debugctl(void **state)
{
	struct msr_state s = fresh();

	assert_int_equal(put(&s, MSR_IA32_MISC_ENABLE, 0x1800), MSR_DONE);
	assert_int_equal(get(&s, MSR_IA32_MISC_ENABLE), 0x1800);
	for (u32 bit = 1; bit < 64; bit++)
		assert_int_equal(put(&s, MSR_IA32_MISC_ENABLE, 0x1801 ^ BIT(bit)), MSR_FAULT);
	assert_int_equal(put(&s, MSR_IA32_DEBUGCTL, DEBUGCTL_BTF), MSR_DONE);
	assert_int_equal(get(&s, MSR_IA32_DEBUGCTL), DEBUGCTL_BTF);
	assert_int_equal(put(&s, MSR_IA32_DEBUGCTL, 1), MSR_FAULT);
}

static void memory_types(void **state)
{
	struct msr_state s = fresh();

	assert_int_equal(get(&s, 0x2ff), 0xc06);
	for (u64 type = 0; type < 256; type++) {
		bool good = type == 0 || type == 1 || type == 4 || type == 5 || type == 6;
		enum msr_answer want = good ? MSR_DONE : MSR_FAULT;

		assert_int_equal(put(&s, 0x2ff, 0xc00 | type), want);
		assert_int_equal(put(&s, 0x200, 0x10000000 | type), want);
		assert_int_equal(put(&s, 0x250, 0x0606060600060606ull | type << 24), want);
	}
	assert_int_equal(put(&s, 0x2ff, 0x1006), MSR_FAULT);
	/* base: bits 8 to 11 and above MAXPHYADDR; mask: valid bit, but no type */
	assert_int_equal(put(&s, 0x200, 0x10000106), MSR_FAULT);
	assert_int_equal(put(&s, 0x200, BIT(39)), MSR_FAULT);
	assert_int_equal(put(&s, 0x200, BIT(38)), MSR_DONE);
	assert_int_equal(put(&s, 0x201, 0x7ff0000800), MSR_DONE);
	assert_int_equal(put(&s, 0x201, 0x7ff0000806), MSR_FAULT);
	assert_int_equal(put(&s, 0x201, BIT(39) | 0x800), MSR_FAULT);
}

static void memory_type_registers_are_separate(void **state)
{
	static const u32 all[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
				  0x26b, 0x26c, 0x26d, 0x26e, 0x26f};
	struct msr_state s = fresh();

	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		assert_int_equal(get(&s, all[i]), 0x0606060606060606ull);
	for (u32 i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(put(&s, all[i], i % 2 ? 0x04 : 0x01), MSR_DONE);
		for (u32 j = i + 1; j < ARRAY_SIZE(all); j++)
			assert_int_equal(get(&s, all[j]), 0x0606060606060606ull);
	}
	for (u32 i = 0; i < 16; i++)
		assert_int_equal(put(&s, 0x200 + i, (u64)(i + 1) << 20), MSR_DONE);
	for (u32 i = 0; i < 16; i++)
		assert_int_equal(get(&s, 0x200 + i), (u64)(i + 1) << 20);
}

static void bitmap_passes_only_its_list(void **state)
{
	static const u32 both[] = {0x174,      0x175,	   0x176,      0x277,
				   0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,
				   0xc0000100, 0xc0000101, 0xc0000102, 0xc0000103};
	static u8 bitmap[MSR_BITMAP_SIZE];
	u32 read = 0, write = 0;

	msr_bitmap_fill(bitmap, true, false);
	for (u32 i = 0; i < ARRAY_SIZE(both); i++) {
		assert_false(msr_bitmap_exits(bitmap, both[i], false));
		assert_false(msr_bitmap_exits(bitmap, both[i], true));
	}
	assert_false(msr_bitmap_exits(bitmap, MSR_EFER, false));
	assert_true(msr_bitmap_exits(bitmap, MSR_EFER, true));
	assert_false(msr_bitmap_exits(bitmap, MSR_IA32_TSC, false));
	assert_true(msr_bitmap_exits(bitmap, MSR_IA32_TSC, true));
	for (u32 i = 0; i < 0x2000; i++) {
		read += !msr_bitmap_exits(bitmap, i, false);
		read += !msr_bitmap_exits(bitmap, 0xc0000000 + i, false);
		write += !msr_bitmap_exits(bitmap, i, true);
		write += !msr_bitmap_exits(bitmap, 0xc0000000 + i, true);
	}
	assert_int_equal(read, ARRAY_SIZE(both) + 2);
	assert_int_equal(write, ARRAY_SIZE(both));
	assert_true(msr_bitmap_exits(bitmap, 0x2000, false));
	assert_true(msr_bitmap_exits(bitmap, 0x4b564d01, true));
	assert_true(msr_bitmap_exits(bitmap, 0xc0002000, true));
	msr_bitmap_fill(bitmap, false, false);
	assert_true(msr_bitmap_exits(bitmap, MSR_TSC_AUX, false));
	/* Where the manual puts WRMSR of 0xc0000082. */
	assert_int_equal(bitmap[0xc00 + 0x82 / 8] & (1 << 0x82 % 8), 0);
}

/* Each that passes is one that exists, and none is written that the CPU does not keep to itself. */
static void x2apic_bitmap(void **state)
{
	static u8 map[MSR_BITMAP_SIZE];

	for (u32 full = 0; full < 2; full++) {
		msr_bitmap_fill(map, true, false);
		msr_bitmap_pass_x2apic(map, full);
		for (u32 reg = 0; reg < 0x100; reg++) {
			bool vectors = reg >= 0x10 && reg < 0x28, lvt = reg >= 0x32 && reg <= 0x37;
			bool read = vectors || lvt || reg == 2 || reg == 3 || reg == 8 ||
				    reg == 0xd || reg == 0xf || reg == 0x28 || reg == 0x30 ||
				    reg == 0x38 || reg == 0x3e || (full && reg == 0xa);
			bool write = reg == 8 || (full && (reg == 0xb || reg == 0x3f));

			assert_int_equal(msr_bitmap_exits(map, 0x800 + reg, false), !read);
			assert_int_equal(msr_bitmap_exits(map, 0x800 + reg, true), !write);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(x2apic_bitmap),
		cmocka_unit_test(unknown_ones_go_up),
		cmocka_unit_test(constants),
		cmocka_unit_test(efer),
		cmocka_unit_test(tsc),
		cmocka_unit_test(speculation),
		cmocka_unit_test(misc_enable_and_debugctl),
		cmocka_unit_test(memory_types),
		cmocka_unit_test(memory_type_registers_are_separate),
		cmocka_unit_test(bitmap_passes_only_its_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
