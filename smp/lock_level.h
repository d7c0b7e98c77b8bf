/* SPDX-License-Identifier: MIT */
/*
 * The order of locks: a CPU or thread acquires strictly upwards. Debug builds keep the stack of
 * levels held and panic, naming both locks, at any acquire that does not go up. docs/locking.md
 * has one record for each.
 */
#ifndef SMP_LOCK_LEVEL_H
#define SMP_LOCK_LEVEL_H

enum lock_level {
	LOCK_NONE = 0,
	LOCK_STAT = 3,	       /* kernel/: the registry of counters, mutex */
	LOCK_CONSOLES = 5,     /* kernel/: which VMs have a console, mutex */
	LOCK_VM_DUMP = 8,      /* kernel/: one dump of a VM at a time, mutex */
	LOCK_VM = 10,	       /* vm->lock, mutex */
	LOCK_PML = 15,	       /* vmx: who has a page-modification log, mutex */
	LOCK_SLOTS = 20,       /* mmu: writers of the memslot array, mutex */
	LOCK_SRCU_READ = 25,   /* smp: no lock, but a reader of SRCU; nobody who holds more waits */
	LOCK_PINS = 27,	       /* mmu: pages that Weir writes in any context, mutex */
	LOCK_MEM_SEM = 30,     /* mmu: slow faults read, rw-semaphore */
	LOCK_DEVICE = 35,      /* kernel/dev: one device's state, mutex; may touch guest memory */
	LOCK_CONSOLE = 37,     /* kernel/: who has the console, what VMs wrote, mutex */
	LOCK_NOTIFY = 39,      /* mem: a memory object's notifiers, rw-semaphore */
	LOCK_SLOT_PHYS = 40,   /* mem: gmem slot_phys[] where more than one word changes */
	LOCK_MMU = 50,	       /* mmu: tables that are taken out */
	LOCK_MMU_VCPUS = 55,   /* mmu: the list of a VM's vCPUs */
	LOCK_RMAP = 60,	       /* mmu: rmap chains */
	LOCK_GENERATION = 65,  /* mem: whom cold pages are taken from, and where next */
	LOCK_SHARE = 66,       /* mem: contents that several pages have */
	LOCK_RMA_POOL = 67,    /* mem: pieces of the pool of real-mode areas */
	LOCK_POOL = 68,	       /* mem: one size class of packed pages */
	LOCK_SWAP = 69,	       /* mem: blocks of the swap disk, pages on their way there and back */
	LOCK_IRQCHIP = 70,     /* kernel/dev: a VM's whole chipset, spin, irqs off */
	LOCK_LAPIC = 71,       /* kernel/dev: one LAPIC, spin, irqs off */
	LOCK_VMAP = 75,	       /* mem: Weir's own page tables */
	LOCK_SLAB = 78,	       /* mem: one slab cache */
	LOCK_ZONE = 80,	       /* mem: frame allocator */
	LOCK_SRCU = 82,	       /* smp: srcu_call, irqs off */
	LOCK_WAIT = 84,	       /* smp: wait queues, mutex and rwsem internals */
	LOCK_IPI = 86,	       /* smp: call-function */
	LOCK_TIMER_MOVE = 87,  /* smp: timers that change CPUs, irqs off */
	LOCK_TIMER = 88,       /* smp: a CPU's timer queue, irqs off */
	LOCK_RUNQUEUE = 90,    /* smp: a CPU's run queue, irqs off */
	LOCK_SCHED_GROUP = 92, /* smp: what a group has used of its time, irqs off */
	LOCK_INPUT = 96,       /* kernel/: what was typed, irqs off */
	LOCK_LOG = 100,	       /* base: log, irqs off */
};

#endif
