/* SPDX-License-Identifier: MIT */
/* unit-sources: kernel/hypercall.c kernel/kvm_hypercall.c @mmu @mem tests/unit/mmu/fixture.c mmu/walk.c */
/*
 * Hypercalls as a guest makes them: numbers, modes and privilege, each wrong argument, each result,
 * and what a call does. Memory and its mappings are real, the CPU is this file's. The numbers are
 * those of docs/hypercalls.md, written down once more.
 */
#include "kernel/base/error.h"
#include "kernel/base/msr.h"
#include "kernel/dev/lapic.h"
#include "kernel/hypercall.h"
#include "kernel/vcpu.h"
#include "mem/frame.h"
#include "mem/tier.h"
#include "mmu/mmu_private.h"
#include "tests/hosted/hosted.h"
#include "tests/unit/mmu/fixture.h"

#include <cmocka.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define REMOVE	0x57490004ull
#define ENTER	0x57490008ull
#define READ	0x5749000cull
#define PROTECT 0x57490018ull
#define CEDE	0x574900e0ull
#define PROD	0x574900e8ull
#define KICK	5  /* KVM_HC_KICK_CPU */
#define IPI	10 /* KVM_HC_SEND_IPI */
#define YIELD	11 /* KVM_HC_SCHED_YIELD */

#define SUCCESS	   0
#define BUSY	   1
#define PARTIAL	   5
#define HARDWARE   (-1)
#define FUNCTION   (-2)
#define PRIVILEGE  (-3)
#define PARAMETER  (-4)
#define NOT_FOUND  (-7)
#define PERMISSION (-11)
#define RESOURCE   (-16)
#define P2	   (-55)
#define P3	   (-56)

#define WRITE 1
#define PIN   2
#define PINS  1 /* H_REMOVE */
#define ON    1

#define BASE	0x100000ull /* gpa of the RAM's slot */
#define PAGES	1024u
#define END	(BASE + PAGES * PAGE_SIZE)
#define ROM	0x8000000ull /* a read-only window onto pages 8 to 15 */
#define BIG	0x40000000ull
#define DEVICE	0xfee00000ull
#define HIGH	0x140000000ull /* above 4 GiB */
#define TOP	BIT(39)	       /* of guest physical addresses */
#define PINS_AT 600

static struct vm machine;
static struct vcpu cpu, other;
static struct gmem *ram, *big;
static u64 free_at_start;

/* --- The CPU --- */

static struct guest_regs regs;
static u32 ss_access, cs_access;
static u64 efer;
static u32 completed, requests;
static struct vcpu *requested;
static bool event_waits;
static u32 wanted_after; /* so many looks at whether the vCPU is wanted say no; 0: all */

struct guest_regs *vmx_regs(struct vmx_vcpu *v)
{
	return &regs;
}

void vmx_get_segment(struct vmx_vcpu *v, enum vmx_segment_id id, struct vmx_segment *out)
{
	assert_true(id == SEG_SS || id == SEG_CS);
	*out = (struct vmx_segment){.access = id == SEG_SS ? ss_access : cs_access};
}

u32 vmx_cpl(struct vmx_vcpu *v)
{
	return (ss_access >> 5) & 3;
}

void vmx_get_paging(struct vmx_vcpu *v, struct guest_paging *out)
{
	*out = (struct guest_paging){.efer = efer};
}

void vmx_complete_hypercall(struct vmx_vcpu *v, u64 rax)
{
	regs.gpr[RAX] = rax;
	completed++;
}

bool vmx_event_waits(struct vmx_vcpu *v)
{
	return event_waits;
}

bool vcpu_is_wanted(struct vcpu *v)
{
	assert_ptr_equal(v, &cpu);
	return wanted_after && --wanted_after == 0;
}

void vcpu_request(struct vcpu *v, u64 bits)
{
	requested = v;
	requests |= (u32)bits;
}

void vcpu_yield_to(struct vcpu *v, struct vcpu *to)
{
	fail();
}

bool lapic_send_to(struct lapic *l, const struct lapic_message *m)
{
	fail();
	return false;
}

static void mode(bool long_mode)
{
	efer = long_mode ? EFER_LMA | EFER_LME : 0;
	cs_access = long_mode ? 0xa09b : 0xc09b;
}

static int setup(void **state)
{
	machine_start(MIB(32));
	free_at_start = frames_free();
	memset(&machine, 0, sizeof(machine));
	cpu = (struct vcpu){.vm = &machine, .id = 0};
	other = (struct vcpu){.vm = &machine, .id = 1};
	machine.vcpus[0] = &cpu;
	machine.vcpus[1] = &other;
	machine.vcpu_count = 2;
	machine.pins.pins_max = PINS_AT;
	assert_int_equal(gmem_create(PAGES, &ram), 0);
	assert_int_equal(gmem_create_order(512, GMEM_LARGE_ORDER, &big), 0);
	gmem_set_account(ram, &machine.pins);
	gmem_set_account(big, &machine.pins);
	assert_int_equal(mmu_vm_create(&machine.mmu, MMU_AUTO), 0);
	mmu_vcpu_init(&cpu.mmu, &machine.mmu);
	assert_int_equal(memslot_create(&machine.mmu, 1, GFN(BASE >> 12), PAGES, ram, 0, 0), 0);
	assert_int_equal(
		memslot_create(&machine.mmu, 2, GFN(ROM >> 12), 8, ram, 8, MEMSLOT_READONLY), 0);
	assert_int_equal(memslot_create(&machine.mmu, 3, GFN(BIG >> 12), 512, big, 0, 0), 0);
	assert_int_equal(memslot_create(&machine.mmu, 4, GFN(HIGH >> 12), 8, ram, 100, 0), 0);
	ss_access = 0xc093;
	mode(true);
	completed = requests = wanted_after = 0;
	requested = NULL;
	event_waits = false;
	return 0;
}

static int teardown(void **state)
{
	assert_null(mmu_audit(&machine.mmu));
	mmu_vcpu_destroy(&cpu.mmu);
	mmu_vm_destroy(&machine.mmu);
	assert_int_equal(machine.pins.pins, 0);
	gmem_unref(ram);
	gmem_unref(big);
	assert_int_equal(hosted_locks_held(), 0);
	assert_int_equal(frames_free(), free_at_start);
	return 0;
}

/* A call that is completed; what it returned. What it has no business with stays as it was. */
static s64 call(u64 number, u64 rbx, u64 rcx, u64 rdx)
{
	u32 before = completed;
	u64 quick = number;
	int too_hard = hypercall_quick(&quick, vmx_cpl(NULL) << 5);

	memset(&regs, 0x5a, sizeof(regs));
	regs.rflags = 2;
	regs.gpr[RAX] = number;
	regs.gpr[RBX] = rbx;
	regs.gpr[RCX] = rcx;
	regs.gpr[RDX] = rdx;
	assert_int_equal(hypercall(&cpu, number), HYPERCALL_GO_ON);
	assert_int_equal(completed, before + 1);
	/* What the short way answers, the long one does alike. */
	assert_int_equal(too_hard, ((u32)number & 0xffff0000) == 0x57490000 || (u32)number <= YIELD
					   ? ERR_TOO_HARD
					   : 0);
	if (!too_hard)
		assert_int_equal(regs.gpr[RAX], quick);
	assert_int_equal(regs.gpr[RDX], rdx);
	for (u32 i = RSP; i < GPR_COUNT; i++)
		assert_int_equal(regs.gpr[i], 0x5a5a5a5a5a5a5a5aull);
	assert_int_equal(regs.rflags, 2);
	return (s64)regs.gpr[RAX];
}

/* The same for one of the calls on a range: `count` pages are said to be done. */
#define EXPECT(number, gpa, pages, flags, result, count)                   \
	do {                                                               \
		assert_int_equal(call(number, gpa, pages, flags), result); \
		assert_int_equal(regs.gpr[RCX], (u64)(count));             \
		assert_int_equal(regs.gpr[RBX], (u64)(gpa));               \
	} while (0)

static u64 page(u64 i)
{
	return BASE + i * PAGE_SIZE;
}

static u64 rights(u64 gpa)
{
	return ept_walk(&machine.mmu, GPA(gpa)) & EPT_RWX;
}

static void write_byte(u64 gpa, u8 value)
{
	assert_int_equal(gpa_write(&machine.mmu, GPA(gpa), &value, 1), 0);
}

static u8 read_byte(u64 gpa)
{
	u8 value;

	assert_int_equal(gpa_read(&machine.mmu, GPA(gpa), &value, 1), 0);
	return value;
}

/* --- Numbers, privilege, modes --- */

static void numbers(void **state)
{
	static const u64 kvm[] = {
		0,  1,		2,	    3,		 0x100000005,	     9,	   0x10000000b, 12,
		13, 0x5748ffff, 0x574a0000, 0x157490008, 0xffffffff57490008, ~0ull};
	static const u64 tokens[] = {0x00, 0x01, 0x10, 0x14, 0xdc, 0xe4, 0xec, 0xffff};

	for (u32 i = 0; i < ARRAY_SIZE(kvm); i++) {
		assert_int_equal(call(kvm[i], page(0), 1, 0), -1000);
		assert_int_equal(regs.gpr[RCX], 1);
	}
	for (u32 i = 0; i < ARRAY_SIZE(tokens); i++) {
		assert_int_equal(call(0x57490000 | tokens[i], page(0), 1, 0), FUNCTION);
		assert_int_equal(regs.gpr[RBX], page(0));
		assert_int_equal(regs.gpr[RCX], 1);
	}
	assert_int_equal(ram->resident, 0);
}

static void privilege(void **state)
{
	static const u64 calls[] = {REMOVE, ENTER, READ, PROTECT, CEDE, PROD, 0x57490000};

	for (u32 cpl = 1; cpl < 4; cpl++) {
		ss_access = 0xc093 | cpl << 5;
		for (u32 i = 0; i < ARRAY_SIZE(calls); i++) {
			assert_int_equal(call(calls[i], page(0), 1, 0), PRIVILEGE);
			assert_int_equal(regs.gpr[RBX], page(0));
			assert_int_equal(regs.gpr[RCX], 1);
		}
		assert_int_equal(call(1, 0, 0, 0), -1);
		assert_int_equal(call(KICK, 0, 1, 0), -1);
		assert_int_equal(call(YIELD, 1, 0, 0), -1);
		assert_int_equal(call(IPI, 3, 0, 0), -1);
	}
	assert_int_equal(ram->resident, 0);
	assert_null(requested);
}

/* Outside 64-bit code the upper halves do not count, and ESI is the address's. */
static s64 call_32(u64 number, u64 gpa, u64 rcx, u64 rdx)
{
	const u64 junk = 0xdeadbeefull << 32;

	regs.gpr[RAX] = number | junk;
	regs.gpr[RBX] = (u32)gpa | junk;
	regs.gpr[RCX] = rcx | junk;
	regs.gpr[RDX] = rdx | junk;
	regs.gpr[RSI] = gpa >> 32 | junk;
	assert_int_equal(hypercall(&cpu, regs.gpr[RAX]), HYPERCALL_GO_ON);
	assert_int_equal(regs.gpr[RAX] >> 32, 0);
	return (s32)regs.gpr[RAX];
}

static void narrow_registers(void **state)
{
	mode(false);
	assert_int_equal(call_32(ENTER, page(3), 2, WRITE), SUCCESS);
	assert_int_equal(regs.gpr[RCX], 2);
	assert_int_equal(regs.gpr[RBX], page(3));
	assert_int_equal(rights(page(3)) & rights(page(4)), EPT_RWX);
	assert_int_equal(call_32(ENTER, HIGH + 0x1000, 1, 0), SUCCESS);
	assert_int_equal(rights(HIGH + 0x1000), EPT_RWX);
	assert_int_equal(call_32(READ, HIGH + 0x1000, 0, 0), SUCCESS);
	assert_int_equal(regs.gpr[RBX], 1);
	assert_int_equal(call_32(ENTER, ~0xfffull, 1, 0), PARAMETER);
	assert_int_equal(call_32(ENTER, DEVICE, 1, 0), NOT_FOUND);
	assert_int_equal(call_32(PROD, 1, 0, 0), SUCCESS);
	assert_int_equal(call_32(KICK, 0, 1, 0), 0);
	assert_true(hypercall_take_kick(&other));
	assert_int_equal(call_32(0x57490001, 1, 0, 0), FUNCTION);
	/* Compatibility mode is no 64-bit code, and a bit that means nothing is none of it either. */
	efer = EFER_LMA | EFER_LME;
	assert_int_equal(call_32(ENTER, page(5), 1, 0), SUCCESS);
	efer = 0;
	cs_access = 0xa09b;
	assert_int_equal(call_32(ENTER, page(6), 1, 0), SUCCESS);
	mode(true);
	assert_int_equal(call(ENTER, HIGH + 0x2000, 1, 0), SUCCESS);
	assert_int_equal(rights(HIGH + 0x2000), EPT_RWX);
}

/* --- Arguments of the calls on ranges --- */

static void arguments(void **state)
{
	static const struct {
		u64 number, flags;
	} calls[] = {{ENTER, ~3ull}, {REMOVE, ~1ull}, {PROTECT, ~1ull}};

	for (u32 i = 0; i < ARRAY_SIZE(calls); i++) {
		u64 n = calls[i].number;

		/* Unaligned; none; too many; what is no flag. The first that is wrong is told. */
		EXPECT(n, page(0) + 1, 1, 0, PARAMETER, 0);
		EXPECT(n, page(0) + 0x800, 513, ~0ull, PARAMETER, 0);
		EXPECT(n, page(0), 0, 0, P2, 0);
		EXPECT(n, page(0), 513, ~0ull, P2, 0);
		EXPECT(n, page(0), ~0ull, 0, P2, 0);
		EXPECT(n, page(0), 1ull << 52, 0, P2, 0);
		for (u32 bit = 0; bit < 64; bit++) {
			if (calls[i].flags & BIT(bit))
				EXPECT(n, page(0), 1, BIT(bit), P3, 0);
		}
		/* Beyond what addresses there are, and around their end. */
		EXPECT(n, TOP, 1, 0, PARAMETER, 0);
		EXPECT(n, TOP - PAGE_SIZE, 2, 0, PARAMETER, 0);
		EXPECT(n, ~0xfffull, 1, 0, PARAMETER, 0);
		EXPECT(n, ~0xfffull, 2, 0, PARAMETER, 0);
		EXPECT(n, 1ull << 63, 1, 0, PARAMETER, 0);
		EXPECT(n, (1ull << 52) + page(0), 1, 0, PARAMETER, 0);
		/* A range of which only the end is bad: nothing is done first. */
		EXPECT(n, TOP - 100 * PAGE_SIZE, 101, 0, PARAMETER, 0);
		/* No memory there: below, a device, the last address. */
		EXPECT(n, 0, 1, 0, NOT_FOUND, 0);
		EXPECT(n, DEVICE, 1, 0, NOT_FOUND, 0);
		EXPECT(n, TOP - PAGE_SIZE, 1, 0, NOT_FOUND, 0);
		EXPECT(n, page(0) - PAGE_SIZE, 2, 0, NOT_FOUND, 0);
		EXPECT(n, END, 1, 0, NOT_FOUND, 0);
	}
	assert_int_equal(ram->resident, 0);
	for (u32 i = 0; i < ARRAY_SIZE(calls); i++)
		EXPECT(calls[i].number, END - 3 * PAGE_SIZE, 5, 0, NOT_FOUND, 3);
	EXPECT(REMOVE, END - 3 * PAGE_SIZE, 5, PINS, NOT_FOUND, 3);
}

static void arguments_of_read(void **state)
{
	assert_int_equal(call(READ, page(0) + 8, 0, 0), PARAMETER);
	assert_int_equal(regs.gpr[RBX], page(0) + 8);
	assert_int_equal(regs.gpr[RCX], 0);
	assert_int_equal(call(READ, TOP, 7, 0), PARAMETER);
	assert_int_equal(call(READ, ~0xfffull, 7, 0), PARAMETER);
	assert_int_equal(call(READ, DEVICE, 7, 0), NOT_FOUND);
	assert_int_equal(regs.gpr[RBX], DEVICE);
	assert_int_equal(regs.gpr[RCX], 7);
	/* Registers that it does not use may hold anything. */
	assert_int_equal(call(READ, page(0), ~0ull, ~0ull), SUCCESS);
}

static void *deleter(void *arg)
{
	hosted_cpu_set(7);
	assert_int_equal(memslot_delete(&machine.mmu, 3), 0);
	return NULL;
}

static void a_slot_on_its_way_out(void **state)
{
	static const u64 calls[] = {ENTER, REMOVE, PROTECT};
	const struct memslots *old;
	pthread_t thread;
	u32 reader;

	/* One that stays lies before it, so that a range begins well. */
	assert_int_equal(memslot_create(&machine.mmu, 9, GFN((BIG >> 12) - 2), 2, ram, 0, 0), 0);
	reader = srcu_read_lock(&machine.mmu.srcu);
	old = memslots_get(&machine.mmu);
	pthread_create(&thread, NULL, deleter, NULL);
	while (memslots_get(&machine.mmu) == old)
		usleep(1000);
	for (u32 i = 0; i < ARRAY_SIZE(calls); i++) {
		EXPECT(calls[i], BIG, 512, 0, BUSY, 0);
		EXPECT(calls[i], BIG - 2 * PAGE_SIZE, 3, 0, PARTIAL, 2);
	}
	EXPECT(REMOVE, BIG, 1, PINS, BUSY, 0);
	assert_int_equal(call(READ, BIG, 0, 0), BUSY);
	srcu_read_unlock(&machine.mmu.srcu, reader);
	pthread_join(thread, NULL);
	EXPECT(ENTER, BIG, 512, 0, NOT_FOUND, 0);
}

/* --- What they do --- */

static void entering(void **state)
{
	EXPECT(ENTER, page(0), 512, 0, SUCCESS, 512);
	assert_int_equal(ram->resident, 512);
	assert_int_equal(rights(page(511)), EPT_RWX);
	assert_int_equal(rights(page(512)), 0);
	EXPECT(ENTER, page(0), 512, WRITE, SUCCESS, 512);
	EXPECT(ENTER, ROM, 8, 0, SUCCESS, 8);
	assert_int_equal(rights(ROM), EPT_R | EPT_X);
	EXPECT(ENTER, ROM, 8, WRITE, PERMISSION, 0);
	EXPECT(ENTER, BIG + 0x3000, 7, WRITE, SUCCESS, 7);
	assert_int_equal(big->resident, 512);
}

static void pinning(void **state)
{
	EXPECT(ENTER, page(0), 512, WRITE | PIN, SUCCESS, 512);
	EXPECT(ENTER, page(0), 512, WRITE | PIN, SUCCESS, 512);
	assert_int_equal(machine.pins.pins, 512);
	EXPECT(ENTER, page(512), 512, PIN, RESOURCE, PINS_AT - 512);
	assert_int_equal(machine.pins.pins, PINS_AT);
	EXPECT(REMOVE, page(3), 1, 0, RESOURCE, 0);
	EXPECT(REMOVE, page(PINS_AT - 1), 10, 0, RESOURCE, 0);
	EXPECT(REMOVE, page(0), 512, PINS, SUCCESS, 512);
	EXPECT(REMOVE, page(3), 1, 0, SUCCESS, 1);
	EXPECT(REMOVE, page(510), 10, 0, RESOURCE, 2);
	EXPECT(REMOVE, page(512), 512, PINS, SUCCESS, 512);
	assert_int_equal(machine.pins.pins, 0);
	EXPECT(ENTER, page(512), 512, PIN, SUCCESS, 512);
	/* The rest is the VM's end's to give back. */
}

static void read_is(u64 gpa, u64 contents, u64 bits)
{
	assert_int_equal(call(READ, gpa, 0, 0), SUCCESS);
	assert_int_equal(regs.gpr[RBX], contents);
	assert_int_equal(regs.gpr[RCX], bits);
}

static void removing(void **state)
{
	pfn_t pfn;

	for (u32 i = 0; i < 4; i++)
		write_byte(page(i), (u8)(i + 1));
	EXPECT(REMOVE, page(1), 2, 0, SUCCESS, 2);
	assert_int_equal(ram->resident, 2);
	assert_int_equal(gmem_given_back(ram), 2);
	read_is(page(1), 0, 0);
	assert_int_equal(read_byte(page(0)), 1);
	assert_int_equal(read_byte(page(1)) | read_byte(page(2)), 0);
	assert_int_equal(read_byte(page(3)), 4);
	/* What has no contents is given back; pins that there are none of, too. */
	EXPECT(REMOVE, page(500), 512, 0, SUCCESS, 512);
	EXPECT(REMOVE, page(500), 512, PINS, SUCCESS, 512);
	/* The counters: pages that held something. Those that were read are back. */
	assert_int_equal(gmem_given_back(ram), 0);
	assert_int_equal(ram->removed, 2);
	EXPECT(REMOVE, ROM, 1, 0, PERMISSION, 0);
	/* Another's hold on the page. */
	assert_int_equal(gmem_hold(ram, 3, true, &pfn), 0);
	EXPECT(REMOVE, page(0), 4, 0, RESOURCE, 3);
	gmem_release(ram, 3, pfn, true);
	assert_int_equal(read_byte(page(3)), 4);
	/* Pages of 2 MiB are whole or stay. */
	write_byte(BIG + 0x5000, 9);
	EXPECT(REMOVE, BIG, 511, 0, PARAMETER, 0);
	EXPECT(REMOVE, BIG + 0x1000, 511, 0, PARAMETER, 0);
	assert_int_equal(read_byte(BIG + 0x5000), 9);
	EXPECT(REMOVE, BIG, 512, 0, SUCCESS, 512);
	assert_int_equal(big->resident, 0);
}

static void protecting(void **state)
{
	u8 byte = 1;

	EXPECT(ENTER, page(0), 2, WRITE, SUCCESS, 2);
	EXPECT(PROTECT, page(1), 2, ON, SUCCESS, 2);
	EXPECT(PROTECT, page(1), 2, ON, SUCCESS, 2);
	assert_int_equal(rights(page(0)), EPT_RWX);
	assert_int_equal(rights(page(1)), EPT_R | EPT_X);
	assert_int_equal(gpa_write(&machine.mmu, GPA(page(2)), &byte, 1), ERR_PERM);
	EXPECT(ENTER, page(0), 3, WRITE, PERMISSION, 1);
	EXPECT(ENTER, page(0), 3, 0, SUCCESS, 3);
	EXPECT(REMOVE, page(0), 3, 0, PERMISSION, 1);
	EXPECT(PROTECT, page(0), 512, 0, SUCCESS, 512);
	EXPECT(ENTER, page(0), 3, WRITE, SUCCESS, 3);
	assert_int_equal(rights(page(1)), EPT_RWX);
	EXPECT(PROTECT, ROM, 1, ON, SUCCESS, 1);
	EXPECT(PROTECT, BIG + 0x7000, 1, ON, SUCCESS, 1);
	EXPECT(REMOVE, BIG, 512, 0, PERMISSION, 0);
	EXPECT(PROTECT, BIG, 512, 0, SUCCESS, 512);
}

static void reading(void **state)
{
	u64 entry, packed;
	char back[5];
	pfn_t pfn;

	read_is(page(0), 0, 0);
	assert_int_equal(ram->resident, 0);
	EXPECT(ENTER, page(0), 1, 0, SUCCESS, 1);
	read_is(page(0), 1, 0x001 | 0x002 | 0x008); /* mapped, writable, accessed */
	EXPECT(ENTER, page(0), 1, WRITE, SUCCESS, 1);
	read_is(page(0), 1, 0x01b); /* dirty */
	EXPECT(ENTER, page(0), 1, WRITE | PIN, SUCCESS, 1);
	read_is(page(0), 1, 0x13b); /* pinned, stays */
	EXPECT(PROTECT, page(0), 1, ON, SUCCESS, 1);
	read_is(page(0), 1, 0x179); /* protected, not writable */
	EXPECT(REMOVE, page(0), 1, PINS, SUCCESS, 1);
	read_is(page(0), 1, 0x059);
	EXPECT(PROTECT, page(1), 1, ON, SUCCESS, 1);
	read_is(page(1), 0, 0x040);
	assert_int_equal(gmem_hold(ram, 8, true, &pfn), 0);
	read_is(ROM, 1, 0x180); /* read-only, stays */
	gmem_release(ram, 8, pfn, false);
	EXPECT(ENTER, BIG + 0x3000, 1, WRITE, SUCCESS, 1);
	read_is(BIG + 0x4000, 1, 0x21f); /* large, and so are its contents */
	/* What reclaim makes of a page. */
	EXPECT(ENTER, page(20), 1, 0, SUCCESS, 1);
	assert_int_equal(gpa_write(&machine.mmu, GPA(page(20)), "packs", 5), 0);
	assert_int_equal(call(REMOVE, page(21), 1, 0), SUCCESS);
	gmem_invalidate_begin(ram, 20, 1);
	assert_int_equal(gmem_claim(ram, 20, &entry), 0);
	gmem_unmap(ram, 20, 1);
	read_is(page(20), 5, 0);
	assert_int_equal(tier_put(ram, pfn_to_virt(gmem_entry_pfn(entry)), &packed), 0);
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(ram, 20, packed);
	gmem_invalidate_end(ram, 20, 1);
	read_is(page(20), 3, 0);
	EXPECT(ENTER, page(20), 1, 0, SUCCESS, 1);
	assert_int_equal(gpa_read(&machine.mmu, GPA(page(20)), back, 5), 0);
	assert_memory_equal(back, "packs", 5);
	assert_int_equal(gmem_drop(ram, 20), 0);
	/* What the swap disk has lost the slow half of a fault cannot bring back. */
	EXPECT(ENTER, page(20), 1, 0, SUCCESS, 1);
	gmem_invalidate_begin(ram, 20, 1);
	assert_int_equal(gmem_claim(ram, 20, &entry), 0);
	gmem_unmap(ram, 20, 1);
	frame_free(gmem_entry_pfn(entry), 0);
	gmem_settle(ram, 20, GMEM_SWAPPED | GMEM_LOST);
	gmem_invalidate_end(ram, 20, 1);
	read_is(page(20), 4, 0);
	EXPECT(ENTER, page(20), 1, 0, HARDWARE, 0);
	assert_int_equal(gmem_claim(ram, 20, &entry), 0);
	frame_alloc(0, FRAME_ZERO, &pfn);
	gmem_settle(ram, 20, pfn.v << GMEM_PFN_SHIFT | GMEM_SHARED);
	read_is(page(20), 2, 0);
	assert_int_equal(gmem_claim(ram, 20, &entry), 0);
	gmem_settle(ram, 20, pfn.v << GMEM_PFN_SHIFT | GMEM_GOT_PAGE);
}

/* --- In the middle of a range --- */

static void interrupts_get_in(void **state)
{
	u64 done = 0;
	u32 calls = 0;

	while (done < 512) {
		s64 result;

		wanted_after = 3;
		result = call(ENTER, page(done), 512 - done, WRITE);
		assert_int_equal(result, done + regs.gpr[RCX] < 512 ? PARTIAL : SUCCESS);
		assert_true(regs.gpr[RCX] > 0);
		done += regs.gpr[RCX];
		calls++;
	}
	assert_int_equal(done, 512);
	assert_true(calls > 5 && calls < 30);
	/* Who is wanted all the time gets on all the same. */
	for (u32 i = 0; i < 4; i++) {
		wanted_after = 1;
		assert_int_equal(call(ENTER, page(512 + i * 16), 17, WRITE), PARTIAL);
		assert_int_equal(regs.gpr[RCX], 16);
	}
}

/* The registers are those of the call, so the guest makes it again. */
static void not_completed(u64 number, u64 gpa, u64 pages, u64 flags)
{
	u32 before = completed;

	memset(&regs, 0, sizeof(regs));
	regs.gpr[RAX] = number;
	regs.gpr[RBX] = gpa;
	regs.gpr[RCX] = pages;
	regs.gpr[RDX] = flags;
	assert_int_equal(hypercall(&cpu, number), HYPERCALL_WAIT_MEMORY);
	assert_int_equal(completed, before);
	assert_int_equal(regs.gpr[RAX], number);
	assert_int_equal(regs.gpr[RBX], gpa);
	assert_int_equal(regs.gpr[RCX], pages);
	assert_int_equal(regs.gpr[RDX], flags);
}

static void waiting_for_memory(void **state)
{
	u32 n, waited = 0, went_on = 0;

	hosted_fail_after(1);
	not_completed(ENTER, page(0), 5, WRITE | PIN);
	EXPECT(ENTER, page(0), 5, WRITE | PIN, SUCCESS, 5);
	hosted_fail_after(1);
	not_completed(PROTECT, page(512), 5, ON);
	EXPECT(PROTECT, page(512), 5, ON, SUCCESS, 5);
	EXPECT(PROTECT, page(512), 5, 0, SUCCESS, 5);
	/* Wherever it fails, the pages that are said to be done are, and the others are got later. */
	for (n = 1;; n++) {
		u64 at = page(100 + 4 * n), flags = WRITE | PIN;
		enum hypercall_next next;

		memset(&regs, 0, sizeof(regs));
		regs.gpr[RAX] = ENTER;
		regs.gpr[RBX] = at;
		regs.gpr[RCX] = 4;
		regs.gpr[RDX] = flags;
		hosted_fail_after(n);
		next = hypercall(&cpu, ENTER);
		if (!hosted_fail_happened())
			break;
		hosted_fail_after(0);
		waited += next == HYPERCALL_WAIT_MEMORY;
		if (next == HYPERCALL_GO_ON && regs.gpr[RAX] == PARTIAL) {
			went_on++;
			assert_true(regs.gpr[RCX] > 0 && regs.gpr[RCX] < 4);
			for (u64 i = 0; i < regs.gpr[RCX]; i++)
				assert_int_equal(rights(at + i * PAGE_SIZE), EPT_RWX);
		}
		EXPECT(ENTER, at, 4, flags, SUCCESS, 4);
	}
	assert_true(waited > 0 && went_on > 0);
	hosted_fail_after(0);
}

/* --- vCPUs --- */

static enum hypercall_next cede(void)
{
	enum hypercall_next next;
	u32 before = completed;

	memset(&regs, 0, sizeof(regs));
	regs.rflags = 2;
	regs.gpr[RAX] = CEDE;
	next = hypercall(&cpu, CEDE);
	assert_int_equal(completed, before + 1);
	assert_int_equal(regs.gpr[RAX], SUCCESS);
	assert_int_equal(regs.rflags, 2 | RFLAGS_IF);
	return next;
}

static void ceding_and_prodding(void **state)
{
	assert_int_equal(cede(), HYPERCALL_HALT);
	/* A prod that came first, once or often, is good for one call. */
	assert_int_equal(call(PROD, 0, 7, 7), SUCCESS);
	assert_ptr_equal(requested, &cpu);
	assert_int_equal(call(PROD, 0, 7, 7), SUCCESS);
	assert_int_equal(cede(), HYPERCALL_GO_ON);
	assert_int_equal(cede(), HYPERCALL_HALT);
	requests = 0;
	hosted_no_speculation = 0;
	assert_int_equal(call(PROD, 1, 0, 0), SUCCESS);
	assert_int_equal(hosted_no_speculation, 1); /* before the number leads to it */
	assert_ptr_equal(requested, &other);
	assert_int_equal(requests, VCPU_REQ_KICK);
	assert_int_equal(cede(), HYPERCALL_HALT);
	assert_true(hypercall_take_prod(&other));
	assert_false(hypercall_take_prod(&other));
	/* What is on its way into the guest already is no reason to sleep. */
	event_waits = true;
	assert_int_equal(cede(), HYPERCALL_GO_ON);
}

static void kicking(void **state)
{
	hosted_no_speculation = 0;
	assert_int_equal(call(KICK, 0, 1, 0), 0);
	assert_int_equal(hosted_no_speculation, 1);
	assert_ptr_equal(requested, &other);
	assert_int_equal(requests, VCPU_REQ_KICK);
	assert_true(hypercall_take_kick(&other));
	assert_false(hypercall_take_kick(&other));
	/* It is not what H_CEDE waits for, nor the other way round. */
	assert_int_equal(call(KICK, 0, 0, 0), 0);
	assert_int_equal(cede(), HYPERCALL_HALT);
	assert_int_equal(call(PROD, 0, 0, 0), SUCCESS);
	assert_true(hypercall_take_kick(&cpu));
	assert_false(hypercall_take_kick(&cpu));
	/* Of one that there is not nobody hears. */
	requested = NULL;
	assert_int_equal(call(KICK, 0, 2, 0), 0);
	assert_int_equal(call(KICK, 0, 1ull << 32, 0), 0);
	assert_null(requested);
}

static void vcpus_that_there_are_not(void **state)
{
	static const u64 ids[] = {2, 3, 31, 32, 0xffffffff, 1ull << 32, ~0ull};

	for (u32 i = 0; i < ARRAY_SIZE(ids); i++) {
		assert_int_equal(call(PROD, ids[i], 0, 0), PARAMETER);
		assert_int_equal(regs.gpr[RBX], ids[i]);
	}
	assert_null(requested);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(numbers),
		TEST(privilege),
		TEST(narrow_registers),
		TEST(arguments),
		TEST(arguments_of_read),
		TEST(a_slot_on_its_way_out),
		TEST(entering),
		TEST(pinning),
		TEST(removing),
		TEST(protecting),
		TEST(reading),
		TEST(interrupts_get_in),
		TEST(waiting_for_memory),
		TEST(ceding_and_prodding),
		TEST(kicking),
		TEST(vcpus_that_there_are_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
