#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Write the make rules for the hosted tests.

    tests/tools/hosted_mk.py --build DIR --flags 'CC FLAGS' [--no-sanitizer]

Every tests/unit/**/test_*.c, tests/fuzz/**/fuzz_*.c and tests/bench/bench_*.c becomes one executable. Comments at its top
say what it wants, in one line or several; the words may begin with unit- or fuzz-:

    /* unit-sources: mem/mtrr.c mem/memmap.c */            also compiled and linked in; @mem, @mmu,
                                                           @reclaim, @machine: all of a subject
    /* unit-sources: @tests/hosted/machine/machine.sources */    those that this file lists
    /* unit-cflags: -DFRAME_CACHE=4 */                     for all of this test's files
    /* unit-libs: -lZydis */                               after cmocka
    /* unit-sanitizer: thread */                           address,undefined without it; or none

Files that are compiled alike are compiled once: a set of flags is a variant with its own folder.
The fake machine (tests/hosted/*.c, the pure files of kernel/base, and of smp/ all that needs only
threads and the CPU's own data) is a library: a test links of it what it uses and does not bring.
"""
import argparse
import glob
import hashlib
import os
import re

# The pure files of kernel/base that every test may use.
BASE = ("kernel/base/error.c", "kernel/base/string.c", "kernel/base/printf.c",
        "kernel/base/size_text.c", "kernel/base/stat.c")

# The real locks, wait queues and grace periods: tests/hosted supplies threads and CPUs to them.
SMP = [f"smp/{name}.c" for name in ("lock_order", "mutex", "rcu", "rcu_worker", "spinlock", "srcu",
                                    "wait")]

# What tests name by one word.
GROUPS = {
    "@mem": [f"mem/{name}.c" for name in (
        "audit", "frame", "frame_array", "frame_node", "frame_use", "frame_zone", "lz4", "pool", "pool_compact",
        "share", "share_refs", "share_table", "slab", "swap", "swap_blocks", "swap_read", "swap_write", "tier",
        "watermark",
        )] + sorted(glob.glob("mem/gmem*.c")),
    "@reclaim": sorted(glob.glob("mem/reclaim*.c")),
    "@mmu": [f"mmu/{name}.c" for name in (
        "access", "audit", "dirty", "ept", "fault", "fetch", "gpa_pin", "h_enter", "large", "memslot",
        "memslot_change", "memslot_step", "mmu", "notify", "page_table", "range", "rmap", "sweep", "tlb",
        "walk")] + sorted(glob.glob("mmu/shadow*.c")),
}

GROUPS["@emulate"] = sorted(glob.glob("mmu/emulate*.c")) + [
    f"mmu/{name}.c" for name in ("decode", "decode_classify", "decode_tables", "decode_tables_sse", "decode_xmm")]

# VMs on fake CPUs, whose page tables have a format of their own.
GROUPS["@machine"] = GROUPS["@mem"] + [s for s in GROUPS["@mmu"] if s != "mmu/ept.c"] + sorted(
    glob.glob("tests/hosted/machine/*.c"))

# Weir's own C library functions are compiled under other names: the sanitizers watch libc's.
RENAMED = {
    "kernel/base/string.c": ("memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp "
                             "strchr strstr").split(),
    "kernel/base/printf.c": ["vsnprintf", "snprintf"],
}

SANITIZERS = {
    "address,undefined": "-O1 -fsanitize=address,undefined -fno-sanitize-recover=all",
    "thread": "-O1 -fsanitize=thread",
    "none": "-O2",
}

WORDS = re.compile(r"(?:unit|fuzz)-(sources|cflags|libs|sanitizer):(.*?)(?=\*/|(?:unit|fuzz)-\w+:)",
                   re.S)


def wishes(path):
    found = {"sources": [], "cflags": [], "libs": [], "sanitizer": ["address,undefined"]}
    with open(path) as file:
        text = file.read()
    for word, rest in WORDS.findall(text):
        found[word] = [part for item in rest.split() if item != "*"
                       for part in GROUPS.get(item, [item])]
    found["sources"] = list(dict.fromkeys(s for item in found["sources"] for s in listed(item)))
    return found


def listed(item):
    """@FILE stands for the sources that are named in FILE, one a line."""
    if not item.startswith("@"):
        return [item]
    with open(item[1:]) as file:
        return [line.strip() for line in file if line.strip() and not line.startswith("#")]


def write_if_changed(path, text):
    if os.path.exists(path):
        with open(path) as file:
            if file.read() == text:
                return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


class Rules:
    def __init__(self, build, no_sanitizer):
        self.build, self.no_sanitizer = build, no_sanitizer
        self.lines, self.objects, self.archives = [], {}, {}

    def variant(self, wish):
        sanitizer = "none" if self.no_sanitizer else wish["sanitizer"][0]
        # A build without sanitizers is one for coverage, whose caller says how to optimise.
        own = [] if self.no_sanitizer else [SANITIZERS[sanitizer]]
        flags = " ".join(own + wish["cflags"])
        name = sanitizer.replace(",", "-")
        if wish["cflags"]:
            name += "-" + hashlib.sha1(flags.encode()).hexdigest()[:8]
        return name, flags

    def object(self, source, variant):
        name, flags = variant
        target = f"{self.build}/obj/{name}/{source}.o"
        if target not in self.objects:
            self.objects[target] = source
            renamed = "".join(f" -D{f}=weir_{f}" for f in RENAMED.get(source, ()))
            if renamed:
                renamed += " -DHOSTED_RENAMED=1 -fno-builtin"
            if source.startswith("tests/"):
                renamed += " -Wno-unused-parameter"
            self.lines += [f"{target}: {source} {self.build}/flags.txt",
                           "\t@mkdir -p $(@D)", f"\t@echo '  CC    {source} ({name})'",
                           f"\t$(Q)$(CC) $(CFLAGS_HOSTED) {flags}{renamed} -c -o $@ $<",
                           f"-include {target[:-2]}.d"]
        return target

    def archive(self, variant):
        name, _ = variant
        target = f"{self.build}/obj/{name}/libhosted.a"
        if target not in self.archives:
            sources = sorted(glob.glob("tests/hosted/*.c")) + list(BASE) + SMP
            members = [self.object(source, variant) for source in sources]
            listing = f"{self.build}/obj/{name}/libhosted.list"
            write_if_changed(listing, "\n".join(members) + "\n")
            self.archives[target] = members
            self.lines += [f"{target}: {' '.join(members)} {listing}",
                           f"\t$(Q)rm -f $@ && ar rcs $@ {' '.join(members)}"]
        return target

    def executable(self, source, kind):
        wish = wishes(source)
        variant = self.variant(wish)
        inner = os.path.relpath(source, f"tests/{kind}")[:-2]
        target = f"{self.build}/{kind}/{inner}"
        objects = [self.object(s, variant) for s in [source] + wish["sources"]]
        objects.append(self.archive(variant))
        libs = " ".join(["-lcmocka"] + wish["libs"] + ["-llz4", "-pthread"])
        write_if_changed(f"{target}.list", " ".join(objects) + f" {libs}\n")
        self.lines += [f"{target}: {' '.join(objects)} {target}.list",
                       f"\t@echo '  LINK  {target}'",
                       f"\t$(Q)$(CC) $(CFLAGS_HOSTED) {variant[1]} -o $@ @{target}.list"]
        return target


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--flags", required=True)
    parser.add_argument("--no-sanitizer", action="store_true")
    args = parser.parse_args()
    rules = Rules(args.build, args.no_sanitizer)
    lists = []
    for kind, pattern in (("unit", "test_*.c"), ("fuzz", "fuzz_*.c"), ("bench", "bench_*.c")):
        sources = sorted(glob.glob(f"tests/{kind}/**/{pattern}", recursive=True))
        targets = [rules.executable(source, kind) for source in sources]
        lists.append(f"{kind.upper()}_TESTS := {' '.join(targets)}")
        write_if_changed(f"{args.build}/{kind}.txt", "".join(t + "\n" for t in targets))
    write_if_changed(f"{args.build}/flags.txt",
                     f"{args.flags} {SANITIZERS} {RENAMED} {args.no_sanitizer}\n")
    write_if_changed(f"{args.build}/rules.mk", "\n".join(lists + rules.lines) + "\n")


main()
