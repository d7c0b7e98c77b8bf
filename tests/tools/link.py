#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Link an image that holds its own symbol table: link, list, link again until the list stands.

    tests/tools/link.py --cc CC --asflags FLAGS --ldflags FLAGS --gen DIR --out IMAGE OBJECT...
"""
import argparse
import os
import shlex
import subprocess
import sys

import symbols

PASSES = 4


def main():
    parser = argparse.ArgumentParser()
    for option in ("--cc", "--asflags", "--ldflags", "--gen", "--out"):
        parser.add_argument(option, required=True)
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    source = os.path.join(args.gen, "symbols.S")
    table = source + ".o"
    image = args.out + ".tmp"

    def run(*command):
        if subprocess.run(command).returncode:
            sys.exit(f"{command[0]} failed on {args.out}")

    listed = []
    for _ in range(PASSES):
        with open(source, "w") as file:
            file.write(symbols.source_text(listed))
        run(*shlex.split(args.cc), *shlex.split(args.asflags), "-c", "-o", table, source)
        run("ld", *shlex.split(args.ldflags), "-o", image, *args.objects, table)
        found = symbols.text_symbols(image)
        if found == listed:
            os.replace(image, args.out)
            return
        listed = found
    sys.exit(f"{args.out}: the symbol table still changes after {PASSES} links: "
             "is .rodata.symbols the last of .rodata, and text before it?")


main()
