/* SPDX-License-Identifier: MIT */
#include "kernel/base/pci_config.h"

#include "kernel/base/x86.h"

#define CONFIG_ADDRESS 0xcf8
#define CONFIG_DATA    0xcfc
#define CONFIG_ENABLE  BIT(31)

#define REG_ID	    0x00
#define REG_COMMAND 0x04
#define REG_CLASS   0x08
#define REG_HEADER  0x0c /* its third byte is the header type */
#define REG_BAR0    0x10

#define COMMAND_IO     BIT(0)
#define COMMAND_MASTER BIT(2)
#define COMMAND_WORD   0xffffu /* the status above it is cleared by ones */

#define HEADER_MULTI   BIT(23)
#define CLASS_IDE      0x0101u
#define CLASS_NETWORK  0x02u	     /* without the subclass */
#define NATIVE(ch)     BIT(2 * (ch)) /* of the programming interface */
#define MASTER_CAPABLE BIT(7)

#define BAR_IO		 BIT(0)
#define BAR_PORT(bar)	 ((u16)((bar)&0xfffc))
#define BAR_NO_PORT(bar) ((bar) >> 16) /* bits that no port has */

#define FUNCTIONS 8u
#define ALL	  (256u * 32 * FUNCTIONS)

static u32 config_read(u32 address, u32 reg)
{
	outl(CONFIG_ADDRESS, (u32)(CONFIG_ENABLE | address | reg));
	return inl(CONFIG_DATA);
}

static void config_write(u32 address, u32 reg, u32 value)
{
	outl(CONFIG_ADDRESS, (u32)(CONFIG_ENABLE | address | reg));
	outl(CONFIG_DATA, value);
}

static bool has_pci(void)
{
	outl(CONFIG_ADDRESS, (u32)CONFIG_ENABLE);
	return inl(CONFIG_ADDRESS) == (u32)CONFIG_ENABLE;
}

/* The port that a BAR names, or 0. */
static u16 bar_port(u32 address, u32 bar)
{
	u32 value = config_read(address, REG_BAR0 + 4 * bar);

	return (value & BAR_IO) && !BAR_NO_PORT(value) ? BAR_PORT(value) : 0;
}

static void read_channel(struct pci_ide *ide, u32 ch, u32 interface, u16 master)
{
	static const struct {
		u16 command, control;
	} legacy[] = {{0x1f0, 0x3f6}, {0x170, 0x376}};

	ide->channel[ch].native = interface & NATIVE(ch);
	ide->channel[ch].bus_master = master ? (u16)(master + 8 * ch) : 0;
	if (!ide->channel[ch].native) {
		ide->channel[ch].command = legacy[ch].command;
		ide->channel[ch].control = legacy[ch].control;
		return;
	}
	ide->channel[ch].command = bar_port(ide->address, 2 * ch);
	ide->channel[ch].control = bar_port(ide->address, 2 * ch + 1);
	/* The register is the third of the four that the BAR spans. */
	ide->channel[ch].control += ide->channel[ch].control ? 2 : 0;
}

static void switch_on(struct pci_ide *ide, u32 interface)
{
	u32 command = config_read(ide->address, REG_COMMAND) & COMMAND_WORD;
	u16 master = interface & MASTER_CAPABLE ? bar_port(ide->address, 4) : 0;

	command |= COMMAND_IO | (master ? COMMAND_MASTER : 0);
	config_write(ide->address, REG_COMMAND, command);
	for (u32 ch = 0; ch < 2; ch++)
		read_channel(ide, ch, interface, master);
}

/* The next function from *cursor on, and its class register. False: there is no more. */
static bool function_next(u32 *cursor, u32 *address, u32 *class)
{
	while (*cursor < ALL) {
		u32 at = (*cursor)++;

		*address = at << 8;
		if (config_read(*address, REG_ID) == ~0u) {
			/* No device has any function without its first. */
			if (at % FUNCTIONS == 0)
				*cursor = at + FUNCTIONS;
			continue;
		}
		if (at % FUNCTIONS == 0 && !(config_read(*address, REG_HEADER) & HEADER_MULTI))
			*cursor = at + FUNCTIONS;
		*class = config_read(*address, REG_CLASS);
		return true;
	}
	return false;
}

bool pci_ide_next(u32 *cursor, struct pci_ide *out)
{
	u32 address, class;

	if (!has_pci())
		return false;
	while (function_next(cursor, &address, &class)) {
		if (class >> 16 != CLASS_IDE)
			continue;
		*out = (struct pci_ide){.address = address};
		switch_on(out, (class >> 8) & 0xff);
		return true;
	}
	return false;
}

u32 pci_stop_network(void)
{
	u32 cursor = 0, stopped = 0, address, class, command;

	if (!has_pci())
		return 0;
	while (function_next(&cursor, &address, &class)) {
		if (class >> 24 != CLASS_NETWORK)
			continue;
		command = config_read(address, REG_COMMAND) & COMMAND_WORD;
		if (!(command & COMMAND_MASTER))
			continue;
		config_write(address, REG_COMMAND, command & ~(u32)COMMAND_MASTER);
		stopped++;
	}
	return stopped;
}
