/* SPDX-License-Identifier: MIT */
/*
 * unit-sources: boot/main.c boot/console.c boot/multiboot2.c mem/memmap.c
 * kernel/base/console.c kernel/base/log.c kernel/base/log_ring.c kernel/base/screen.c
 * kernel/base/screen_sequence.c kernel/base/serial.c
 * kernel/config.c kernel/config_cpus.c kernel/config_kernel.c kernel/config_line.c
 * kernel/config_memory.c kernel/config_weir.c kernel/disk/swap_name.c
 */
/*
 * From the first C statement to the switch of stacks, on a machine without a UART: whatever Weir says
 * on this way is on the screen, and that is written to only where the page tables of the moment have it.
 */
#include "boot/boot.h"
#include "boot/multiboot2.h"
#include "kernel/base/console.h"
#include "kernel/base/error.h"
#include "kernel/base/harden.h"
#include "kernel/base/log.h"
#include "kernel/base/machine.h"
#include "kernel/base/mca.h"
#include "kernel/base/panic.h"
#include "kernel/base/pci_config.h"
#include "kernel/base/screen.h"
#include "kernel/base/string.h"
#include "kernel/main.h"
#include "mem/frame.h"
#include "mem/mtrr.h"
#include "mem/slab.h"
#include "mem/vmap.h"
#include "smp/cpu.h"
#include "smp/ipi.h"
#include "smp/irq.h"
#include "tests/hosted/hosted.h"

#include <cmocka.h>

#define INFO_AT	      MIB(1)
#define VGA_TEXT_ADDR 0xb8000

/* In GRUB's tag, multiboot2 specification 3.6.12. */
enum {
	SCREEN_PALETTE = 0,
	SCREEN_TEXT = 2,
};

extern u8 image_text_start[], image_end[];
u8 image_text_start[1], image_end[1];
const u8 font_8x16[256][GLYPH_HEIGHT];

static u16 lasting[VGA_TEXT_SIZE / 2]; /* where vmap_device maps the text buffer */
static int fail_frame_init, fail_vmap_init;
static u32 fail_vmap_device; /* so many times */
static bool loaded;	     /* the final tables */
static bool shown_at_once;   /* what frame_init_high says */

/* Is the text in these cells, line ends aside? */
static bool shows(const u16 *cells, const char *text)
{
	char flat[VGA_TEXT_SIZE / 2 + 1] = "";

	for (u32 i = 0; i < VGA_TEXT_SIZE / 2; i++)
		flat[i] = (char)cells[i];
	return strstr(flat, text) != NULL;
}

/* --- What the rest of Weir does -------------------------------------------------------------- */

void cpu_init_boot(void)
{
}

void panic_set_hooks(const struct panic_hooks *hooks)
{
}

void machine_set_stop_others(void (*stop_others)(void))
{
}

void ipi_stop_others(struct panic_others *others)
{
}

bool machine_has_hypervisor(void)
{
	return false;
}

u32 pci_stop_network(void)
{
	return 0;
}

int rdmsr_safe(u32 index, u64 *value)
{
	return ERR_NOTSUP;
}

int wrmsr_safe(u32 index, u64 value)
{
	return ERR_NOTSUP;
}

void harden_show_cpuid(int (*rdmsr)(u32, u64 *), int (*wrmsr)(u32, u64))
{
}

int harden_enable_nx(int (*rdmsr)(u32, u64 *), int (*wrmsr)(u32, u64))
{
	return 0;
}

void cpu_harden(void)
{
}

void mca_init_cpu(int (*rdmsr)(u32, u64 *), int (*wrmsr)(u32, u64))
{
}

int mtrr_read(struct mtrr_state *out, int (*rdmsr)(u32, u64 *))
{
	return ERR_NOTSUP;
}

int mtrr_withhold(const struct mtrr_state *s, struct memmap *m, u64 *bytes)
{
	return 0;
}

u32 mtrr_not_write_back(const struct mtrr_state *s, struct mem_range *out)
{
	return 0;
}

u64 vmap_phys_end(void)
{
	return BIT(36);
}

int frame_init(const struct memmap *map)
{
	return fail_frame_init;
}

void slab_init(void)
{
}

void frame_get_stats(struct frame_stats *out)
{
	memset(out, 0, sizeof(*out));
}

int vmap_init(u64 top_of_ram, const struct vmap_uncached *uncached)
{
	return fail_vmap_init;
}

/* What is said now is written nowhere: the early tables go. */
void vmap_init_cpu(void)
{
	u16 before[VGA_TEXT_SIZE / 2];

	memcpy(before, phys_to_virt(HPA(VGA_TEXT_ADDR)), sizeof(before));
	log_error("in the dark");
	assert_memory_equal(before, phys_to_virt(HPA(VGA_TEXT_ADDR)), sizeof(before));
	loaded = true;
}

void *vmap_device(hpa_t hpa, u64 size, enum vmap_cache cache)
{
	assert_true(loaded);
	assert_int_equal(hpa.v, VGA_TEXT_ADDR);
	assert_int_equal(size, sizeof(lasting));
	return fail_vmap_device && fail_vmap_device-- ? NULL : lasting;
}

void frame_init_high(void)
{
	assert_true(loaded);
	log_error("no room to describe it");
	shown_at_once = shows(lasting, "no room to describe it");
}

u8 *vmap_stack_alloc(u32 pages)
{
	assert_true(loaded);
	return phys_to_virt(HPA(0));
}

void __noreturn boot_switch_stack(void *top, void (*fn)(void))
{
	panic("the stack is switched");
}

void __noreturn kernel_main(void)
{
	panic("kernel_main was called");
}

/* --- The machine ----------------------------------------------------------------------------- */

static void put(u8 **at, const void *bytes, u32 n)
{
	memcpy(*at, bytes, n);
	*at += align_up(n, 8);
}

static int setup_with(u32 type)
{
	static const struct {
		u32 type, size;
		char text[16];
	} cmdline = {1, 8 + 13, "console=none"};
	static const struct {
		u32 type, size, entry_size, version;
		u64 base, length;
		u32 kind, zero;
	} mmap = {6, 40, 24, 0, MIB(1), MIB(15), BOOT_MEM_AVAILABLE, 0};
	const u32 screen[] = {8, 32, 0xa0000, 0, 640, 640, 480, 8 | type << 8};
	static const u32 end[] = {0, 8};
	u32 total[2] = {0};
	u8 *at;

	hosted_arena_init(MIB(16));
	at = phys_to_virt(HPA(INFO_AT + sizeof(total)));
	put(&at, &cmdline, cmdline.size);
	put(&at, &mmap, mmap.size);
	put(&at, screen, sizeof(screen));
	put(&at, end, sizeof(end));
	total[0] = (u32)(at - (u8 *)phys_to_virt(HPA(INFO_AT)));
	memcpy(phys_to_virt(HPA(INFO_AT)), total, sizeof(total));
	memset(lasting, 0, sizeof(lasting));
	fail_frame_init = fail_vmap_init = 0;
	fail_vmap_device = 0;
	loaded = false;
	return 0;
}

static int setup(void **state)
{
	return setup_with(SCREEN_TEXT);
}

static void boot(void *unused)
{
	boot_main(MULTIBOOT2_MAGIC, INFO_AT);
}

static const u16 *early_cells(void)
{
	return phys_to_virt(HPA(VGA_TEXT_ADDR));
}

/* --- Tests ----------------------------------------------------------------------------------- */

static void what_is_said_is_shown(void **state)
{
	assert_true(hosted_catch_panic(boot, NULL));
	assert_string_equal(hosted_panic_text(), "the stack is switched");
	assert_true(shows(early_cells(), "loaded by a nameless loader"));
	assert_false(shows(early_cells(), "no room to describe it"));
	assert_true(shows(lasting, "loaded by a nameless loader"));
	assert_true(shows(lasting, "in the dark"));
	assert_true(shown_at_once);
	assert_true(shows(lasting, "memory: 0 MiB"));
}

/* Memory below 4 GiB may be scarce where that above is not. */
static void a_screen_is_mapped_when_it_can_be(void **state)
{
	fail_vmap_device = 1;
	assert_true(hosted_catch_panic(boot, NULL));
	assert_true(shows(lasting, "no room to describe it"));
	assert_false(shows(lasting, "no room to map the screen"));

	setup(state);
	fail_vmap_device = 2;
	assert_true(hosted_catch_panic(boot, NULL));
	assert_string_equal(hosted_panic_text(), "the stack is switched");
	assert_int_equal(lasting[0], 0);
	console_attach_screen(lasting);
	assert_true(shows(lasting, "no room to map the screen"));
}

/* Its mode is none in which there is a text buffer. */
static void a_screen_with_a_palette_is_left_alone(void **state)
{
	setup_with(SCREEN_PALETTE);
	assert_true(hosted_catch_panic(boot, NULL));
	assert_string_equal(hosted_panic_text(), "the stack is switched");
	assert_int_equal(early_cells()[0], 0);
	assert_int_equal(lasting[0], 0);
	console_add_vga(lasting); /* nothing of it is left for the next test's screen */
	log_replay();
	assert_true(shows(lasting, "a screen of 640x480 with a palette"));
}

static void refusals_are_shown(void **state)
{
	fail_frame_init = ERR_NOMEM;
	assert_true(hosted_catch_panic(boot, NULL));
	assert_string_equal(hosted_panic_text(), "halted for ever");
	assert_true(shows(early_cells(), "no room below 4 GiB for its table of memory frames"));

	setup(state);
	fail_vmap_init = ERR_NOMEM;
	assert_true(hosted_catch_panic(boot, NULL));
	assert_string_equal(hosted_panic_text(), "halted for ever");
	assert_false(loaded);
	assert_true(shows(early_cells(), "no memory below 4 GiB for its page tables"));
}

int main(void)
{
	/* The console of one test is that of the next: first those without a screen. */
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_screen_with_a_palette_is_left_alone),
		cmocka_unit_test_setup(what_is_said_is_shown, setup),
		cmocka_unit_test_setup(a_screen_is_mapped_when_it_can_be, setup),
		cmocka_unit_test_setup(refusals_are_shown, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
