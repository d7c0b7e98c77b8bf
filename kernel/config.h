/* SPDX-License-Identifier: MIT */
/*
 * Weir's command line and the VMs described by GRUB's module lines. Pure: parsing only.
 * One VM is the modules that carry the same vm= word. Thread context at boot; hosted tests.
 */
#ifndef KERNEL_CONFIG_H
#define KERNEL_CONFIG_H

#include "kernel/base/boot_info.h"
#include "kernel/disk/swap_name.h"
#include "vmx/apicv.h"

#define CONFIG_NAME_MAX	    32
#define CONFIG_VMS_MAX	    16
#define CONFIG_VCPUS_MAX    32 /* of one VM */
#define CONFIG_CMDLINE_MAX  1024
#define CONFIG_MODULES_MAX  16 /* of one VM */
#define CONFIG_MESSAGE_MAX  256
#define CONFIG_BAUD_DEFAULT 115200

enum config_module_kind {
	CONFIG_KERNEL,
	CONFIG_INITRD,
	CONFIG_MODULE
};

struct config_module {
	enum config_module_kind kind;
	u32 boot_index; /* into boot_info.modules */
	hpa_t start;
	u64 size;
	char cmdline[CONFIG_CMDLINE_MAX]; /* what follows "--" */
};

struct vm_config {
	char name[CONFIG_NAME_MAX];
	u64 mem;	/* bytes, multiple of 4 KiB and of the page size */
	u64 rma;	/* bytes of low memory from the pool, likewise; 0: none */
	u64 min;	/* bytes, multiple of 4 KiB, up to mem: what of it stays resident */
	u64 max;	/* likewise: what of it may be resident; 0: all */
	u32 shares;	/* of memory, beside those of other VMs; 1 to RECLAIM_SHARES_MAX */
	u32 page_order; /* of the pages that mem is made of: 0 (4 KiB) or 9 (2 MiB) */
	u32 vcpus;	/* 1 to CONFIG_VCPUS_MAX */
	enum {
		CONFIG_MMU_AUTO,
		CONFIG_MMU_EPT,
		CONFIG_MMU_SHADOW
	} mmu;
	u32 weight; /* 1 to 10000, beside that of other VMs */
	u32 cap;    /* percent of a CPU, of all vCPUs together; 0: none */
	u64 cpus;   /* on which they may run, as bits; 0: all */
	bool restart_on_crash;
	bool release_modules;	     /* once it has started, which it then does but once */
	char share[CONFIG_NAME_MAX]; /* with whom equal pages are kept once; "": with nobody else */
	u32 share_group;	     /* of all that name the same; never 0 */
	u32 module_count;
	struct config_module
		*modules; /* as many; room for CONFIG_MODULES_MAX. A VM's copy shares them */
	u32 line;	  /* whose words are looked at, a module from 1; 0: no module's */
	bool refused;	  /* message says why; the VM is not started */
	char message[CONFIG_MESSAGE_MAX];
};

enum config_when_done {
	WHEN_DONE_HALT,
	WHEN_DONE_POWEROFF,
	WHEN_DONE_REBOOT
};

struct weir_config {
	/* console=com1[,baud] | com2 | none | 0xPORT; default com1,115200 */
	u16 console_port;
	u32 console_baud;
	u32 loglevel; /* enum log_level */
	bool stats;   /* log counters when a VM ends, and at the end */
	bool monitor; /* stay when no VM is left */
	bool selftest;
	char selftest_names[128]; /* "all" or a comma list */
	u32 max_cpus;		  /* 0: all */
	u64 rma_pool;		  /* bytes, multiple of 2 MiB; 0: none */
	u64 watermarks[3];	  /* min, low, high in bytes, multiples of 4 KiB; 0: by size */
	u32 tax;		  /* on idle memory, in percent */
	char swap[SWAP_NAME_MAX]; /* what kernel/disk/swap_name.h takes; empty: none */
	enum config_when_done when_done;
	bool panic_reboots;    /* panic=reboot */
	bool mitigations_off;  /* mitigations=off */
	bool pstate_firmware;  /* pstate=firmware: CPUs stay as fast as they were left */
	bool numa_off;	       /* numa=off: all memory is one node */
	bool unrestricted_off; /* unrestricted=off */
	enum vmx_apicv apicv;  /* apicv=: the most that the CPU does of local APICs */
	u32 message_count;     /* of unknown or malformed words; may exceed what is kept */
	char messages[16][CONFIG_MESSAGE_MAX];
	u32 vm_count;
	struct vm_config vms[CONFIG_VMS_MAX];
	struct config_module modules[CONFIG_VMS_MAX][CONFIG_MODULES_MAX]; /* by VM */
};

/*
 * The value of console=: a name or port, and an optional baud rate. 0 or ERR_INVAL, when nothing
 * is changed. port 0: none. For boot/, which wants a console first of all.
 */
int config_parse_console(const char *at, const char *end, u16 *port, u32 *baud);

/*
 * Parses the command line, then the modules. Never fails: what is wrong becomes a message (for
 * Weir's own words) or a refused VM; everything else stands. Each message is one line naming the
 * module or word, what is wrong, and the remedy.
 */
void config_parse(const struct boot_info *boot, struct weir_config *out);

#endif
