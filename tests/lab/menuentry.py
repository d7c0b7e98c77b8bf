# SPDX-License-Identifier: MIT
"""A GRUB menu entry of a person's own, whose modules are files of this computer, to be tried in an emulator."""
import os
import re

from lab.image import Module

DEFAULT_MEM = 256  # MiB, as docs/configuration.md has it
PASSED_OVER = ("set", "insmod", "boot", "echo", "terminal_output", "terminal_input", "serial", "search")
QUOTED = r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\."
SPECIAL = r"[;&|<>{}$]"  # of GRUB's shell, outside of quotes
PATH = r"[^\s'\"\\;&|<>{}$#]+"


class Wrong(Exception):
    """What is wrong, in one line with its number."""


def _check_words(number, words):
    bare = re.sub(QUOTED, "", words)
    if re.search(r"['\"]", bare):
        raise Wrong(f"line {number}: a quotation mark has no second one")
    if bare.endswith("\\"):
        raise Wrong(f"line {number}: ends in a backslash; each command is one line here")
    special = re.search(SPECIAL, bare)
    if special:
        raise Wrong(f"line {number}: GRUB takes '{special.group()}' for its own: put it in quotes")


def _words_of_weir(words):
    """Before `--`, after which they are the guest's."""
    return re.split(r"(?:^|\s)--(?:\s|$)", words)[0].split()


def mem_of(words):
    """MiB of the VM whose kernel has these words; 0: it is another module."""
    own = _words_of_weir(words)
    if "kernel" not in own:
        return 0
    sizes = [re.fullmatch(r"mem=(\d+)([KMGTkmgt]?)", word) for word in own if word.startswith("mem=")]
    if not sizes or not sizes[-1]:
        return DEFAULT_MEM  # where it is malformed Weir says so
    shift = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[sizes[-1].group(2).upper()]
    return int(sizes[-1].group(1)) << shift >> 20


def _is_readable(path):
    return os.path.isfile(path) and os.access(path, os.R_OK)


def _is_in(folder, path):
    return os.path.commonpath([os.path.abspath(path), folder]) == folder


def parse(text, made_later=None):
    """(Weir's words, modules). Wrong: there is no such file, or GRUB or we would not understand it. What is in
    the folder made_later may not be there yet."""
    weir, modules, entries, closed = None, [], 0, False
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        command, rest = (line.split(None, 1) + ["", ""])[:2]
        rest = re.sub(r"(?:^|\s)#.*", "", rest).strip() if not re.search(r"['\"]", rest) else rest.strip()
        closed = closed or (entries > 0 and line == "}")
        if not line or line.startswith("#") or line == "}" or command in PASSED_OVER:
            continue
        if command == "menuentry":
            entries += 1
            if entries > 1:
                raise Wrong(f"line {number}: a second menuentry; one can be tried at a time")
            continue
        if command not in ("multiboot2", "module2"):
            raise Wrong(f"line {number}: '{command}' is none of menuentry, multiboot2 and module2")
        path, words = (rest.split(None, 1) + ["", ""])[:2]
        words = words.strip()
        _check_words(number, words)
        if not re.fullmatch(PATH, path):
            raise Wrong(f"line {number}: {command} needs the path of a file, without quotes")
        if command == "multiboot2":
            if weir is not None:
                raise Wrong(f"line {number}: a second multiboot2")
            weir = words
            continue
        if weir is None:
            raise Wrong(f"line {number}: module2 before multiboot2")
        if not _is_readable(path) and not (made_later and _is_in(made_later, path)):
            raise Wrong(f"line {number}: there is no file {path} that can be read; paths are this computer's, "
                        f"from {os.getcwd()} on")
        # Two of the same name may be different files.
        modules.append(Module(path, words, f"/guests/{len(modules) + 1}/{os.path.basename(path)}"))
    if entries and not closed:
        raise Wrong("the menuentry is not closed: '}' on a line of its own is missing")
    if weir is None:
        raise Wrong("no line begins with multiboot2")
    if not modules:
        raise Wrong("no line begins with module2: there is no guest")
    return weir, modules


def read(path, made_later=None):
    """As parse, of the file at path."""
    try:
        with open(path) as file:
            return parse(file.read(), made_later)
    except (OSError, UnicodeDecodeError) as error:
        raise Wrong(error.strerror if isinstance(error, OSError) else "it is not text") from None
