/* SPDX-License-Identifier: MIT */
#include "kernel/dev/pci.h"

#include "kernel/dev/chipset.h"

#define PCI_PORT 0xcf8
#define PCI_SIZE 8

static bool is_reset_control(u64 offset, u32 size)
{
	return offset == PLATFORM_RESET_PORT - PCI_PORT && size == 1;
}

static u64 pci_read(struct device *d, struct vcpu *v, u64 offset, u32 size)
{
	struct pci *pci = container_of(d, struct pci, dev);

	(void)v;
	if (is_reset_control(offset, size))
		return reset_control_read(&pci->p->reset);
	return ~0ull;
}

static void pci_write(struct device *d, struct vcpu *v, u64 offset, u32 size, u64 value)
{
	struct pci *pci = container_of(d, struct pci, dev);

	(void)v;
	if (is_reset_control(offset, size))
		reset_control_write(&pci->p->reset, (u8)value);
}

static const struct device_ops pci_ops = {
	.name = "pci",
	.read = pci_read,
	.write = pci_write,
	.quick = DEVICE_QUICK_READ,
};

int pci_init(struct pci *pci, struct platform *p)
{
	pci->p = p;
	chipset_add(p, &pci->dev, &pci_ops);
	return bus_register(&p->vm->bus, SPACE_PIO, PCI_PORT, PCI_SIZE, &pci->dev, 0);
}
