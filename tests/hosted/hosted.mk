# SPDX-License-Identifier: MIT
#
# Builds the tests that run on this machine. Called by the Makefile with CC, BUILD and V set and
# one of the goals unit, fuzz or all; the rules are generated from the comment lines at the top of
# each test, afresh at every call but written only when they changed.

PYTHON := /usr/bin/python3
Q := $(if $(filter 0,$(V)),@)
MAKEFLAGS += --no-builtin-rules
.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

# -Wno-unused-parameter stands for tests only: cmocka hands every one a state it may not want.
CFLAGS_HOSTED := -std=gnu11 -g -fno-omit-frame-pointer -fno-strict-aliasing -Wall -Wextra \
	-Wshadow -Werror -DWEIR_HOSTED=1 -DWEIR_DEBUG=1 -Itests/hosted/include -I. -MMD -MP \
	-pthread $(EXTRA_CFLAGS)

GENERATED := $(shell $(PYTHON) tests/tools/hosted_mk.py --build $(BUILD) \
	--flags '$(CC) $(CFLAGS_HOSTED)' $(if $(NO_SANITIZER),--no-sanitizer) || echo failed)
ifneq ($(GENERATED),)
$(error tests/tools/hosted_mk.py: $(GENERATED))
endif
include $(BUILD)/rules.mk

# TESTS chooses those whose path contains one of its words.
chosen = $(if $(TESTS),$(foreach word,$(TESTS),$(foreach test,$(1),\
	$(if $(findstring $(word),$(test)),$(test)))),$(1))

.PHONY: unit fuzz bench all
unit: $(call chosen,$(UNIT_TESTS))
fuzz: $(call chosen,$(FUZZ_TESTS))
bench: $(BENCH_TESTS)
all: unit fuzz
