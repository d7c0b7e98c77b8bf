/* SPDX-License-Identifier: MIT */
/*
 * One look at each thing a guest sees: boot information, CPUID, MSRs, ports, memory-mapped
 * devices, interrupts, exceptions, first touch. What is odd is a FAIL line with its name.
 */
#include "guest.h"

#define LAPIC  0xfee00000u
#define IOAPIC 0xfec00000u

#define IBRS	  (1u << 26) /* CPUID.7:EDX */
#define SPEC_CTRL 0x48

struct multiboot_info {
	u32 flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	u32 mmap_length, mmap_addr;
};

static u32 mmio_read(u32 at)
{
	return *(volatile u32 *)at;
}

static void mmio_write(u32 at, u32 v)
{
	*(volatile u32 *)at = v;
}

static bool same(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

static void check_boot(u32 magic, const struct multiboot_info *info)
{
	u32 lower = 0;

	check("multiboot magic", magic == 0x2badb002);
	check("multiboot information outside page 0", (u32)info >= 0x1000);
	check("multiboot command line", same((const char *)info->cmdline, "smoke one two"));
	check("multiboot modules", info->mods_count == 0);
	for (u32 at = info->mmap_addr; at < info->mmap_addr + info->mmap_length;
	     at += *(u32 *)at + 4) {
		u64 addr = *(u64 *)(at + 4);

		check("memory map is sorted", addr >= lower || addr > ~0u);
		lower = (u32)addr;
	}
}

/* What CPUID said before the bit was set and cleared is not what it says after. */
static void check_osxsave(void)
{
	const u32 bit = 1u << 18;
	u32 r[4], cr4;

	cpuid(1, 0, r);
	if (!(r[2] & (1 << 26)))
		return;
	check("CPUID: OSXSAVE is clear at first", !(r[2] & (1 << 27)));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4 | bit));
	cpuid(1, 0, r);
	check("CPUID: OSXSAVE follows CR4", r[2] & (1 << 27));
	cpuid(0xd, 0, r);
	u32 small = r[1];

	__asm__ volatile("xsetbv" ::"a"(r[0]), "d"(r[3]), "c"(0));
	cpuid(0xd, 0, r);
	check("CPUID: the XSAVE area follows XCR0", r[1] == r[2] && r[1] >= small);
	__asm__ volatile("mov %0, %%cr4" ::"r"(cr4));
	cpuid(1, 0, r);
	check("CPUID: OSXSAVE goes with CR4's", !(r[2] & (1 << 27)));
}

static void check_cpuid(void)
{
	u32 r[4], text[4] = {0};

	cpuid(1, 0, r);
	check("CPUID shows a hypervisor", r[2] >> 31);
	check("CPUID hides VMX", !(r[2] & (1 << 5)));
	check("CPUID offers x2APIC", r[2] & (1 << 21));
	cpuid(0x40000000, 0, r);
	check("KVM's signature", r[1] == 0x4b4d564b && r[2] == 0x564b4d56 && r[3] == 0x4d);
	cpuid(0x40000100, 0, r);
	text[0] = r[1], text[1] = r[2], text[2] = r[3];
	check("Weir's signature", same((const char *)text, "WeirWeirWeir"));
	cpuid(7, 0, r);
	check("CPUID hides PKU", !(r[2] & (1 << 3)));
	cpuid(10, 0, r);
	check("CPUID hides the PMU", r[0] == 0);
}

static void check_msrs(void)
{
	check("unknown RDMSR is #GP",
	      TRY("mov $0x12345, %%ecx; rdmsr") && exception_vector == 13 && exception_error == 0);
	check("unknown WRMSR is #GP", TRY("mov $0x12345, %%ecx; wrmsr") && exception_vector == 13);
	check("WRMSR to EFER's reserved bits is #GP",
	      TRY("mov $0xc0000080, %%ecx; mov $0x80, %%eax; xor %%edx, %%edx; wrmsr") &&
		      exception_vector == 13);
	check("RDPMC is #GP", TRY("xor %%ecx, %%ecx; rdpmc") && exception_vector == 13);
	check("VMXON is #UD or #GP", TRY("sub $8, %%esp; vmxon (%%esp); add $8, %%esp"));
	check("UD2 is #UD", TRY("ud2") && exception_vector == 6);
	check("XSETBV of nonsense is an exception",
	      TRY("xor %%ecx, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; xsetbv"));
	check("VMCALL answers ENOSYS", ({
		      int ax = 0x7777;

		      __asm__ volatile("vmcall" : "+a"(ax)::"memory");
		      ax == -1000;
	      }));
	check("APIC base", (rdmsr(0x1b) & 0xfffff900u) == 0xfee00900u);
}

/* Kept over exits, whose way out and in goes by it. */
static void check_speculation(void)
{
	u32 r[4];

	cpuid(7, 0, r);
	if (!(r[3] & IBRS))
		return;
	wrmsr(SPEC_CTRL, 1);
	cpuid(0, 0, r);
	check("IA32_SPEC_CTRL keeps what is written", rdmsr(SPEC_CTRL) == 1);
	wrmsr(SPEC_CTRL, 0);
	check("and what is written next", rdmsr(SPEC_CTRL) == 0);
}

static void check_tsc(void)
{
	u64 a = rdtsc(), b = rdtsc();
	bool back = b < a;

	/* An emulator of several CPUs may move it on only now and then. */
	for (u32 i = 0; i < 1000000 && b == a; i++)
		b = rdtsc();
	check("TSC goes forward", !back && b > a);
}

static void check_ports(void)
{
	outb(0x43, 0x34);
	outb(0x40, 0xff);
	outb(0x40, 0xff);
	outb(0x43, 0);
	u32 first = inb(0x40) | inb(0x40) << 8;

	for (volatile u32 i = 0; i < 10000; i++)
		;
	outb(0x43, 0);
	u32 second = inb(0x40) | inb(0x40) << 8;

	check("PIT counts down", first != second);
	outb(0x70, 0x0d);
	check("RTC's battery is good", inb(0x71) & 0x80);
	outl(0xcf8, 0x80000000);
	check("PCI configuration reads all ones", inl(0xcfc) == 0xffffffff);
	check("an unused port reads all ones", inb(0x5555) == 0xff && inl(0x5554) == 0xffffffff);
	check("the PM timer runs", ({
		      u32 t = inl(0x608);

		      for (volatile u32 i = 0; i < 10000; i++)
			      ;
		      inl(0x608) != t;
	      }));
}

static u16 fw_cfg_read16(u16 key)
{
	u16 v;

	outw(0x510, key);
	v = inb(0x511);
	v |= (u16)inb(0x511) << 8;
	return v;
}

static void check_fw_cfg(void)
{
	outw(0x510, 0);
	bool q = inb(0x511) == 'Q', e = inb(0x511) == 'E';

	check("fw_cfg signature", q && e && inb(0x511) == 'M' && inb(0x511) == 'U');
	check("fw_cfg number of CPUs", fw_cfg_read16(5) == 1);
}

static void check_mmio(void)
{
	u32 version = mmio_read(LAPIC + 0x30);

	check("LAPIC version by MMIO", (version & 0xff) >= 0x10 && (version & 0xff) < 0x20);
	mmio_write(LAPIC + 0x80, 0x20);
	check("LAPIC TPR keeps what is written", mmio_read(LAPIC + 0x80) == 0x20);
	mmio_write(LAPIC + 0x80, 0);
	mmio_write(IOAPIC, 1);
	check("IOAPIC has 24 pins", ((mmio_read(IOAPIC + 0x10) >> 16) & 0xff) == 23);
	check("no device reads all ones", mmio_read(0xd0000000) == 0xffffffff);
	mmio_write(0xd0000000, 0);
	check("OR and TEST with a device", ({
		      u32 v = 0;

		      __asm__ volatile("orl %1, %0" : "+r"(v) : "m"(*(u32 *)(LAPIC + 0x30)));
		      v == version;
	      }));
}

/* Timer in one-shot mode, vector 0x40, then HLT: the interrupt wakes and is counted. */
static void check_interrupts(void)
{
	outb(0x21, 0xff);
	outb(0xa1, 0xff);
	mmio_write(LAPIC + 0xf0, 0x1ff);
	mmio_write(LAPIC + 0x3e0, 0xb);
	mmio_write(LAPIC + 0x320, 0x40);
	mmio_write(LAPIC + 0x380, 100000);
	__asm__ volatile("sti; hlt; cli");
	check("LAPIC timer wakes from HLT", interrupt_count[0x40] == 1);
	mmio_write(LAPIC + 0xb0, 0);

	mmio_write(LAPIC + 0x300, 0x40000 | 0x41); /* self, fixed */
	check("self-IPI waits while IF is clear", interrupt_count[0x41] == 0);
	__asm__ volatile("sti; nop; nop; cli");
	check("self-IPI comes when IF is set", interrupt_count[0x41] == 1);
	mmio_write(LAPIC + 0xb0, 0);

	__asm__ volatile("int $0x50");
	check("INT n", interrupt_count[0x50] == 1);
}

/* The PIT by the PICs, remapped to 0x60: IRQ 0 in periodic mode. */
static void check_pic(void)
{
	outb(0x20, 0x11);
	outb(0x21, 0x60);
	outb(0x21, 0x04);
	outb(0x21, 0x01);
	outb(0xa0, 0x11);
	outb(0xa1, 0x68);
	outb(0xa1, 0x02);
	outb(0xa1, 0x01);
	outb(0x21, 0xfe);
	outb(0xa1, 0xff);
	mmio_write(LAPIC + 0x350, 0x700); /* LINT0: ExtINT */
	outb(0x43, 0x34);
	outb(0x40, 0xa9); /* 1193182 / 1193: 1 ms */
	outb(0x40, 0x04);
	for (u32 i = 0; i < 3; i++) {
		__asm__ volatile("sti; hlt; cli");
		outb(0x20, 0x20);
	}
	check("PIT interrupts by the PIC", interrupt_count[0x60] >= 3);
	outb(0x21, 0xff);
}

/* Every page is zero when it is first touched, and keeps what is written. */
static void check_memory(void)
{
	bool zero = true, kept = true;

	for (u32 at = 0x1000000; at < 0x1400000; at += 4096) {
		zero = zero && *(volatile u32 *)at == 0;
		*(volatile u32 *)at = at ^ 0x5a5a5a5a;
	}
	for (u32 at = 0x1000000; at < 0x1400000; at += 4096)
		kept = kept && *(volatile u32 *)at == (at ^ 0x5a5a5a5a);
	check("first touch gives zeros", zero);
	check("memory keeps what is written", kept);
}

void main(u32 magic, const struct multiboot_info *info)
{
	interrupts_init();
	print("guest: hello\n");
	check_boot(magic, info);
	check_cpuid();
	check_speculation();
	check_osxsave();
	check_msrs();
	check_tsc();
	check_ports();
	check_fw_cfg();
	check_mmio();
	check_interrupts();
	check_pic();
	check_memory();
	guest_end();
}
