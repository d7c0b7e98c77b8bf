# SPDX-License-Identifier: MIT
#
# Weir's build and its tests. `make run` boots a Linux guest, `make test` tests everything in
# under twenty minutes on two cores; docs/testing.md says what each part is.
#
# Targets, besides `all`, which makes Weir itself:
#   run, iso, swap-image; guest (fetches Linux), guests (those of the boot tests)
#   test, test-full; parts: test-unit, test-fuzz, test-models, test-boot, test-nested, coverage
#   bench, bench-kvm
#   deps (installs packages), format, check-format, clean (keeps what was fetched), distclean, help (this)
#
# Variables a person may set:
#   CC=gcc|clang   DEBUG=1|0   V=1 (show commands)   BUILD=build (not for what boots)
#   run:        CPU=tigerlake SMP= MEM= RAM= DISK=FILE GUEST= CONFIG=FILE ACCEL=auto|kvm|bochs HEADLESS=1
#   swap-image: SIZE=256M SWAP_IMAGE=build/swap.img
#   test-unit:  TESTS="mem/test_frame" LIST=1   test-models: TESTS="srcu" LIST=1
#   test-boot:  CASES="..." CPUS="..." LIST=1 FULL=1 BOOT_JOBS=2 (test-nested: those of QEMU with KVM)
#   bench:      BENCH="guest apicv paging weir sched memory boot faults reclaim fit" (bench-kvm: "exits aged fit")

ifeq ($(origin CC),default)
CC := gcc
endif
DEBUG	?= 1
BUILD	:= build
PYTHON	:= /usr/bin/python3
V	?= 0
$(foreach switch,DEBUG V HEADLESS LIST FULL,$(if $(filter-out 0 1,$($(switch)))$(word 2,$($(switch))),\
	$(error $(switch)=$($(switch)): it is 0 or 1)))
$(if $(filter-out . .. /,$(BUILD)),,$(error BUILD=$(BUILD): it is a folder that make may fill and clean))
$(if $(word 2,$(BUILD)),$(error BUILD=$(BUILD): the name of the folder has a space))
Q	:= $(if $(filter 0,$(V)),@)

# A misspelt variable would be ignored. Of whose make calls this one nothing is asked, as its variables come
# along; compilers' flags, which a caller may have for whatever he builds, make's own, and what tests look up
# in the environment pass, too.
VARIABLES := CC DEBUG V BUILD CPU SMP MEM RAM DISK GUEST CONFIG ACCEL HEADLESS SIZE SWAP_IMAGE TESTS LIST CASES \
	CPUS FULL BOOT_JOBS BENCH
ALSO := PYTHON WARNINGS %FLAGS %FLAGS_WEIR %FLAGS_GUEST MAKE SHELL \
	WEIR_SLOW WEIR_SEED WEIR_FUZZ WEIR_TEST_LOG WEIR_CAPTURE PYTEST_ADDOPTS
ifeq ($(MAKELEVEL),0)
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(firstword $(origin $(name)))),$(name)))
$(foreach name,$(filter-out $(VARIABLES) $(ALSO),$(GIVEN)),\
	$(error $(name)=$($(name)): there is no such variable; make help explains $(VARIABLES)))
endif
MAKEFLAGS += --no-builtin-rules

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# --- Packages ------------------------------------------------------------------------------
# deps-<purpose> installs what that purpose lacks; it costs one dpkg-query when nothing does.

PURPOSES := build iso run test list python format coverage

.PHONY: deps $(PURPOSES:%=deps-%)
deps:
	$(Q)sh tests/tools/deps.sh $(PURPOSES) '$(CC)'
$(PURPOSES:%=deps-%): deps-%:
	$(Q)sh tests/tools/deps.sh --quiet $* '$(CC)'

# --- The hypervisor ------------------------------------------------------------------------

CLANG	    := $(findstring clang,$(notdir $(CC)))
FLOORS	    := boot kernel vmx mmu mem smp
SOURCES	    := $(sort $(shell find $(FLOORS) -name '*.c' -o -name '*.S'))
ASL	    := $(wildcard kernel/guest/*.asl)
LINKER	    := linker.ld
WARNINGS    := -Wall -Wextra -Wshadow -Werror

CPPFLAGS_WEIR := -I. -MMD -MP $(if $(filter 1,$(DEBUG)),-DWEIR_DEBUG=1)
CFLAGS_WEIR := -std=gnu11 -ffreestanding -O2 -g -m64 -mcmodel=kernel -mno-red-zone \
	-mgeneral-regs-only -fno-pic -fno-pie -fno-omit-frame-pointer -fno-strict-aliasing \
	-fno-stack-protector -fno-asynchronous-unwind-tables -fno-common \
	-fcf-protection=none -fno-delete-null-pointer-checks $(WARNINGS)
ASFLAGS_WEIR := -m64 -g -D__ASSEMBLY__=1 -fno-pic -fno-pie $(if $(CLANG),-fno-integrated-as) -Werror
LDFLAGS_WEIR := -m elf_x86_64 -nostdlib -static -z max-page-size=4096 -z noexecstack \
	--build-id=none

# A loop that sets or copies memory may not become a call to itself.
STRING_FLAGS := $(if $(CLANG),-fno-builtin,-fno-builtin -fno-tree-loop-distribute-patterns)
$(BUILD)/obj/kernel/base/string.c.o: CFLAGS_WEIR += $(STRING_FLAGS)

GEN_C	 := $(BUILD)/gen/font.c $(ASL:kernel/guest/%.asl=$(BUILD)/gen/%_aml.c)
OBJECTS	 := $(SOURCES:%=$(BUILD)/obj/%.o) $(GEN_C:%=%.o)

.PHONY: all
all: $(BUILD)/weir.elf $(BUILD)/weir.sym $(BUILD)/weir.lst

# What is compiled with which flags: a change of compiler, flags or of the list of files rebuilds.
FLAGS_TEXT := $(CC) $(CPPFLAGS_WEIR) $(CFLAGS_WEIR) $(ASFLAGS_WEIR) $(LDFLAGS_WEIR)
define keep_text
$(shell mkdir -p $(dir $(1)); printf '%s\n' '$(2)' | cmp -s - $(1) || printf '%s\n' '$(2)' >$(1))
endef
# A compiler that deps.sh has no package for is refused while what was built may stay as it is.
ifneq ($(filter-out in-build clean distclean help,$(or $(MAKECMDGOALS),all)),)
$(if $(findstring gcc,$(CC))$(findstring clang,$(CC))$(filter cc %/cc %-cc,$(CC)),,\
	$(error CC=$(CC): it is gcc or clang, of any version, or that with words about it like "ccache gcc-12 -m64"))
endif
# Where nothing is built there is no folder for it either, which `sudo make deps` would make root's. Nor
# is one made for what in-build refuses.
BOOTING := run test test-full test-boot test-nested bench bench-kvm
ifneq ($(if $(filter $(abspath build),$(abspath $(BUILD))),,$(filter $(BOOTING),$(MAKECMDGOALS))),)
$(BUILD)/flags.txt $(BUILD)/objects.txt: in-build
else ifneq ($(filter-out deps deps-% in-build clean distclean help,$(or $(MAKECMDGOALS),all)),)
$(call keep_text,$(BUILD)/flags.txt,$(FLAGS_TEXT))
$(call keep_text,$(BUILD)/objects.txt,$(OBJECTS))
endif

$(BUILD)/obj/%.c.o: %.c $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS_WEIR) $(CFLAGS_WEIR) -c -o $@ $<
$(BUILD)/obj/%.S.o: %.S $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	@echo '  AS    $<'
	$(Q)$(CC) $(CPPFLAGS_WEIR) $(ASFLAGS_WEIR) -c -o $@ $<
$(BUILD)/gen/%.c.o: $(BUILD)/gen/%.c $(BUILD)/flags.txt | deps-build
	@echo '  CC    $<'
	$(Q)$(CC) $(CPPFLAGS_WEIR) $(CFLAGS_WEIR) -c -o $@ $<
$(BUILD)/gen/%.S.o: $(BUILD)/gen/%.S $(BUILD)/flags.txt | deps-build
	$(Q)$(CC) $(CPPFLAGS_WEIR) $(ASFLAGS_WEIR) -c -o $@ $<

$(BUILD)/gen/font.c: tests/tools/font.py | deps-build
	@mkdir -p $(@D)
	@echo '  GEN   $@'
	$(Q)$(PYTHON) tests/tools/font.py /usr/share/grub/ascii.pf2 $@
$(BUILD)/gen/%_aml.c: kernel/guest/%.asl tests/tools/aml.py | deps-build
	@mkdir -p $(@D)
	@echo '  IASL  $<'
	$(Q)$(PYTHON) tests/tools/aml.py $< $@

# The symbol table for backtraces is part of the image it describes, so the image is linked
# again with the table made from the previous link until the table stops changing. The table is
# last in .rodata, so text does not move and the second link is already right; tests/tools/link.py
# fails if it never settles.
$(BUILD)/weir.elf: $(OBJECTS) $(LINKER) tests/tools/link.py tests/tools/symbols.py $(BUILD)/objects.txt
	@echo '  LINK  $@'
	$(Q)$(PYTHON) tests/tools/link.py --cc '$(CC)' --asflags '$(ASFLAGS_WEIR)' \
		--ldflags '$(LDFLAGS_WEIR) -T $(LINKER)' --gen $(BUILD)/gen --out $@ $(OBJECTS) \
		$$($(CC) -print-file-name=liblz4.a)
$(BUILD)/weir.sym: $(BUILD)/weir.elf
	$(Q)nm -n $< >$@
$(BUILD)/weir.lst: $(BUILD)/weir.elf
	$(Q)objdump -d --no-show-raw-insn $< >$@

-include $(OBJECTS:.o=.d)

# --- Tests that run on this machine --------------------------------------------------------
# Every tests/unit/**/test_*.c and tests/fuzz/fuzz_*.c is an executable of its own; the comment
# lines at its top say what it links (docs/testing.md). tests/tools/hosted_mk.py turns them to rules.

.PHONY: test-unit test-fuzz test-models
ifeq ($(LIST),1)
test-unit test-fuzz: test-%: deps-python
	$(Q)$(PYTHON) tests/tools/run_hosted.py $* --list $(TESTS)
test-models: deps-python
	$(Q)$(PYTHON) tests/tools/run_models.py --full --list $(TESTS)
else
# What is chosen is looked at before anything is built for it.
.PHONY: choose-unit choose-fuzz choose-models
choose-unit choose-fuzz: choose-%: deps-python
	$(Q)$(PYTHON) tests/tools/run_hosted.py $* --list $(TESTS) >/dev/null
choose-models: deps-python
	$(Q)$(PYTHON) tests/tools/run_models.py --full --list $(TESTS) >/dev/null

HOSTED = +$(Q)$(MAKE) --no-print-directory -f tests/hosted/hosted.mk CC='$(CC)' \
	V='$(V)' TESTS='$(TESTS)'
test-unit: $(if $(TESTS),choose-unit) deps-test
	$(HOSTED) BUILD=$(BUILD)/hosted unit
	$(Q)$(PYTHON) tests/tools/run_hosted.py unit --quick --build $(BUILD)/hosted \
		--logs $(BUILD)/logs/unit $(TESTS)
test-fuzz: $(if $(TESTS),choose-fuzz) deps-test
	$(HOSTED) BUILD=$(BUILD)/hosted fuzz
	$(Q)$(PYTHON) tests/tools/run_hosted.py fuzz --full --build $(BUILD)/hosted \
		--logs $(BUILD)/logs/fuzz $(TESTS)

# Models of what runs in parallel.
test-models: $(if $(TESTS),choose-models) deps-test
	$(Q)$(PYTHON) tests/tools/run_models.py --full --build $(BUILD)/models \
		--logs $(BUILD)/logs/model $(TESTS)
endif

# --- Small guests --------------------------------------------------------------------------
# Each tests/guests/NAME.c but guest.c, which they share, is a multiboot 1 kernel of 32 bits.

GUEST_SHARED := tests/guests/guest.c tests/guests/start.S
GUESTS := $(patsubst tests/guests/%.c,$(BUILD)/guests/%.elf,\
	$(filter-out tests/guests/guest.c,$(wildcard tests/guests/*.c)))
CFLAGS_GUEST := -m32 -std=gnu11 -ffreestanding -O2 -g -fno-pic -fno-pie -fno-stack-protector \
	-fno-asynchronous-unwind-tables -mgeneral-regs-only -fcf-protection=none $(WARNINGS)

.PHONY: guests
guests: $(GUESTS)
$(BUILD)/guests/%.c.o: tests/guests/%.c $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) -I. -MMD -MP $(CFLAGS_GUEST) -c -o $@ $<
$(BUILD)/guests/%.S.o: tests/guests/%.S $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	$(Q)$(CC) -I. -MMD -MP -m32 $(if $(CLANG),-fno-integrated-as) -c -o $@ $<
$(BUILD)/guests/%.elf: $(BUILD)/guests/%.c.o tests/guests/guest.ld \
		$(GUEST_SHARED:tests/guests/%=$(BUILD)/guests/%.o)
	$(Q)ld -m elf_i386 -nostdlib -static -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld \
		-o $@ $(filter %.o,$^)
$(BUILD)/guests/real.elf: $(BUILD)/guests/real_code.S.o
$(BUILD)/guests/grub.elf: $(BUILD)/guests/grub_bios.S.o
$(BUILD)/guests/apic.elf: $(BUILD)/guests/apic_code.S.o
$(BUILD)/guests/tables.elf: $(BUILD)/guests/tables_code.S.o
-include $(wildcard $(BUILD)/guests/*.d)

# Each tests/guests/linux/NAME.c is a program of the Linux guest, which has no libraries.
LINUX_PROGRAMS := $(patsubst tests/guests/linux/%.c,$(BUILD)/guests/linux/%,\
	$(wildcard tests/guests/linux/*.c))
guests: $(LINUX_PROGRAMS)
$(BUILD)/guests/linux/%: tests/guests/linux/%.c $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) -std=gnu11 -O2 $(WARNINGS) -static -pthread -s -o $@ $<

# What starts the Linux that is host to Weir in tests/lab/nested.py.
$(BUILD)/nested/%.c.o: tests/nested/%.c $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	@echo '  CC    $<'
	$(Q)$(CC) -MMD -MP $(CFLAGS_GUEST) -c -o $@ $<
$(BUILD)/nested/%.S.o: tests/nested/%.S $(BUILD)/flags.txt | deps-build
	@mkdir -p $(@D)
	$(Q)$(CC) -MMD -MP -m32 $(if $(CLANG),-fno-integrated-as) -c -o $@ $<
$(BUILD)/nested/pvh.elf: $(BUILD)/nested/pvh.c.o $(BUILD)/nested/start.S.o tests/guests/guest.ld
	$(Q)ld -m elf_i386 -nostdlib -static -z noexecstack --no-warn-rwx-segments -T tests/guests/guest.ld \
		-o $@ $(filter %.o,$^)
-include $(wildcard $(BUILD)/nested/*.d)

# --- Boots in emulators --------------------------------------------------------------------

.PHONY: iso run guest test-boot test-nested in-build
# Of tests/lab/ only what makes the ISO is told where the build is.
in-build:
	$(if $(filter $(abspath build),$(abspath $(BUILD))),@:,\
		$(error BUILD=$(BUILD): run, bench and tests with boots take what they boot from build/: leave BUILD= out))
guest: deps-run
	$(Q)$(PYTHON) tests/lab/linux.py >/dev/null

iso: $(BUILD)/weir.iso
	@echo 'iso: $(BUILD)/weir.iso, $(if $(filter 1,$(DEBUG)),a debug build: DEBUG=0 makes the one for use,a release build)'
$(BUILD)/weir.iso: $(BUILD)/weir.elf tests/tools/make_iso.py tests/lab/image.py tests/lab/linux.py \
		tests/guests/init.sh | deps-iso guest
	@echo '  ISO   $@'
	$(Q)$(PYTHON) tests/tools/make_iso.py $@ $<

# An image with Weir's swap signature, for an emulator or to be copied to a disk.
SIZE	   ?= 256M
SWAP_IMAGE ?= $(BUILD)/swap.img
.PHONY: swap-image
swap-image: deps-build
	@mkdir -p $(dir $(SWAP_IMAGE))
	$(Q)$(PYTHON) tests/tools/swap_image.py --size='$(SIZE)' '$(SWAP_IMAGE)'

CPU	?=
SMP	?= 1
MEM	?=
RAM	?=
GUEST	?=
CONFIG	?=
ACCEL	?= auto
RUN = $(PYTHON) tests/tools/run.py --cpu '$(CPU)' --smp '$(SMP)' $(if $(MEM),--mem '$(MEM)') \
	$(if $(RAM),--ram '$(RAM)') $(if $(DISK),--disk '$(DISK)') --guest '$(GUEST)' --config '$(CONFIG)' --accel '$(ACCEL)' \
	$(if $(filter 1,$(HEADLESS)),--headless)
.PHONY: choose-run
choose-run: deps-python
	$(Q)$(RUN) --check
run: choose-run in-build all guest deps-iso
	$(Q)$(RUN)

PYTEST	 = PYTHONDONTWRITEBYTECODE=1 $(PYTHON) -m pytest -p no:terminal tests/boot$(if $(CASES)$(CPUS),/test_boot.py)
BOOT_JOBS ?= 2
ifeq ($(LIST),1)
test-boot: deps-list
	$(Q)$(PYTEST) --list-cases
else
# What is chosen is looked at before anything is built for it.
.PHONY: choose-cases
choose-cases: deps-list
	$(Q)$(PYTEST) --check-cases --cases '$(CASES)' --cpus '$(CPUS)'
test-boot: $(if $(CASES)$(CPUS),choose-cases) in-build all $(BUILD)/weir.iso guests guest $(BUILD)/nested/pvh.elf deps-test
# The case `release` boots that build, which make test has from its layer of builds.
	+$(if $(filter release,$(or $(CASES),release)),\
		$(Q)$(MAKE) --no-print-directory DEBUG=0 BUILD=$(BUILD)/release all)
	$(Q)$(PYTEST) -n $(BOOT_JOBS) --dist load --cases '$(CASES)' --cpus '$(CPUS)' \
		$(if $(filter 1,$(FULL)),--full)
endif

test-nested: in-build
	+$(Q)$(MAKE) --no-print-directory test-boot CASES='$(CASES)' CPUS=kvm

# --- Everything ----------------------------------------------------------------------------

.PHONY: test test-full coverage bench bench-kvm
test: in-build all $(BUILD)/weir.iso guests guest $(BUILD)/nested/pvh.elf deps-test
	$(Q)$(PYTHON) tests/tools/run_tests.py --cc '$(CC)' --build $(BUILD)
test-full: in-build all $(BUILD)/weir.iso guests guest $(BUILD)/nested/pvh.elf deps-test deps-coverage
	$(Q)$(PYTHON) tests/tools/run_tests.py --cc '$(CC)' --build $(BUILD) --full

coverage: deps-test deps-coverage
	+$(Q)$(MAKE) --no-print-directory -f tests/hosted/hosted.mk CC=gcc V='$(V)' NO_SANITIZER=1 \
		BUILD=$(BUILD)/coverage EXTRA_CFLAGS='--coverage -O0' all
	$(Q)$(PYTHON) tests/tools/coverage.py $(BUILD)/coverage
.PHONY: choose-bench
choose-bench: deps-python
	$(Q)$(PYTHON) tests/bench/run.py --check $(BENCH)
bench: $(if $(BENCH),choose-bench) in-build all guests guest deps-iso deps-test
	+$(Q)$(MAKE) --no-print-directory DEBUG=0 BUILD=$(BUILD)/release all
	$(Q)$(PYTHON) tests/bench/run.py $(BENCH)
bench-kvm: in-build all guests guest $(BUILD)/nested/pvh.elf deps-iso
	+$(Q)$(MAKE) --no-print-directory DEBUG=0 BUILD=$(BUILD)/release all
	$(Q)$(PYTHON) tests/bench/kvm.py $(BENCH)

# --- House-keeping -------------------------------------------------------------------------

FORMATTED = $(shell find $(FLOORS) tests -name '*.[ch]')
.PHONY: help format check-format clean distclean
help: # the comment at the top
	@sed -n '3,/^$$/s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))
format: deps-format
	$(Q)sh tests/tools/format.sh $(FORMATTED)
check-format: deps-format
	$(Q)sh tests/tools/format.sh --check $(FORMATTED)
# What was downloaded, and images made, are in build/cache. Nothing goes from a folder that no make
# has built in: that has a flags.txt, which stays.
CLEANED = [ ! -d '$(BUILD)' ] || [ -f '$(BUILD)/flags.txt' ] || \
	{ echo "BUILD=$(BUILD): nothing was built there, so it is left alone" >&2; exit 1; }
clean:
	$(Q)$(CLEANED)
	$(Q)[ ! -d '$(BUILD)' ] || find '$(BUILD)/' -mindepth 1 -maxdepth 1 ! -name cache ! -name flags.txt \
		-exec rm -rf {} +
distclean:
	$(Q)$(CLEANED)
	rm -rf '$(BUILD)'
