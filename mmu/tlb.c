/* SPDX-License-Identifier: MIT */
/*
 * Which CPUs may hold translations of a root, and making them forget.
 *
 * A flush raises the root's flush_generation. A CPU that is not in the guest does nothing at once:
 * it notices at its next mmu_enter that it lags behind, and executes INVEPT then (R15: a CPU that
 * runs the root for the first time, or again after long, lags too). A CPU that is in the guest is
 * kicked, and the flush waits until it has left: nothing that was taken out of the tables is used
 * once mmu_flush returns, and that is before the lock that hid it is released (R13).
 *
 *	mmu_enter                        mmu_flush (entries are cleared already)
 *	in_guest = true                  flush_generation += 1
 *	-- full barrier --               -- full barrier --
 *	read flush_generation            read in_guest
 *
 * Either the one sees the new generation or the other sees the guest running. A kick that arrives
 * between mmu_enter and VM entry stays pending, since interrupts are off, and makes the guest exit
 * as soon as it has been entered (SDM 3C 26.2, external-interrupt exiting).
 *
 * What a guest's INVLPG takes out of shadow tables that are out of step other vCPUs may go on with,
 * as they would on CPUs of their own: nobody is kicked, and the flush is owed. It is paid by
 * whoever looks for something in the tables, finds it gone already, and relies on that.
 */
#include "kernel/base/panic.h"
#include "kernel/base/x86.h"
#include "mmu/invept.h"
#include "mmu/mmu_private.h"

static void flush_here(struct mmu_vm *vm)
{
	enum invept_type type = mmu_hw.invept_single ? INVEPT_SINGLE : INVEPT_ALL;

	mmu_count(&vm->stats.invepts, 1);
	if (vm->shadow) {
		/* Without VPIDs every entry and exit flushes. */
		BUG_ON(mmu_hw.invvpid_all && !invvpid(INVVPID_ALL, 0));
		return;
	}
	/* Only a malformed EPT pointer or type makes it fail. */
	BUG_ON(!invept(type, mmu_eptp(vm)));
}

/*
 * Every CPU comes by here at its first entry, for a new root's generation is ahead of all. A flush
 * that does not see its bit yet has raised the generation before it is read here.
 */
void mmu_enter_flush(struct mmu_vm *vm)
{
	u32 cpu = cpu_id();
	u64 *word = &vm->cpus.bits[cpu / 64];
	u64 generation;

	if (!(__atomic_load_n(word, __ATOMIC_RELAXED) & BIT(cpu % 64)))
		__atomic_fetch_or(word, BIT(cpu % 64), __ATOMIC_SEQ_CST);
	generation = __atomic_load_n(&vm->flush_generation, __ATOMIC_SEQ_CST);
	flush_here(vm);
	__atomic_store_n(&vm->flushed_generation[cpu], generation, __ATOMIC_RELEASE);
}

/* In the guest, with what it cached before this generation. */
static bool may_use_old(struct mmu_vm *vm, u32 cpu, u64 generation)
{
	return __atomic_load_n(&vm->in_guest[cpu], __ATOMIC_SEQ_CST) &&
	       __atomic_load_n(&vm->flushed_generation[cpu], __ATOMIC_ACQUIRE) < generation;
}

void mmu_owe_flush(struct mmu_vm *vm)
{
	ASSERT(spin_held(&vm->mmu_lock));
	__atomic_store_n(&vm->flush_owed, true, __ATOMIC_RELEASE);
}

void mmu_pay_flush(struct mmu_vm *vm)
{
	ASSERT(spin_held(&vm->mmu_lock));
	if (mmu_flush_is_owed(vm))
		mmu_flush(vm);
}

/*
 * With the lock, which who owes has as well: all that is owed is older than this flush's
 * generation. Interrupts off: a thread that is moved between CPUs could take another's holding of
 * the lock for its own.
 */
static bool pays_what_is_owed(struct mmu_vm *vm)
{
	bool on, held;

	if (!mmu_flush_is_owed(vm))
		return false;
	on = irq_save();
	held = spin_held(&vm->mmu_lock);
	irq_restore(on);
	return held;
}

void mmu_flush(struct mmu_vm *vm)
{
	struct cpu_set kicked = {{0}};
	bool pays = pays_what_is_owed(vm);
	u64 generation;

	generation = __atomic_add_fetch(&vm->flush_generation, 1, __ATOMIC_SEQ_CST);

	mmu_count(&vm->stats.flushes, 1);
	for (u32 w = 0; w < ARRAY_SIZE(kicked.bits); w++)
		kicked.bits[w] = __atomic_load_n(&vm->cpus.bits[w], __ATOMIC_SEQ_CST);
	/* All are told first, then waited for. */
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		if (!cpu_set_has(&kicked, cpu) || !may_use_old(vm, cpu, generation))
			continue;
		mmu_count(&vm->stats.kicks, 1);
		ipi_kick(cpu);
	}
	for (u32 cpu = 0; cpu < cpu_count(); cpu++) {
		while (cpu_set_has(&kicked, cpu) && may_use_old(vm, cpu, generation))
			cpu_relax();
	}
	/* Not before: others look at it without the lock, and go on where nothing is owed (R13). */
	if (pays)
		__atomic_store_n(&vm->flush_owed, false, __ATOMIC_RELEASE);
}
