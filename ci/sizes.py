#!/usr/bin/env python3
"""Where a library's bytes are: sections, then code and constants by crate, then the largest functions.

ci/sizes.py LIBRARY [--nm TOOL] [--top N]     (LIBRARY with its symbols, or the file of its symbols apart)
A generic function counts for the crate in whose path it stands; `<A as B>::f` for A's, or B's where A is of core.
"""
import argparse
import collections
import re
import subprocess

STD = {"core", "alloc", "std", "compiler_builtins", "panic_unwind", "hashbrown", "gimli", "addr2line",
       "miniz_oxide", "rustc_demangle", "memchr", "object", "unwind"}
PLAIN = {"bool", "str", "char", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "usize", "isize", "f32", "f64",
         "dyn", "mut", "const", "fn", "as", "impl", "extern", "unsafe", "for", "u128", "i128"}
PATH = re.compile(r"(?<![\w:])([a-z_][a-z0-9_]*)(?:\[[0-9a-f]+\])?::")


def crate(name: str) -> str:
    """The first crate named that is not the standard library, or `std`, or `C and assembler`."""
    found = [c for c in PATH.findall(name) if c not in PLAIN]
    # What a closure or a drop is instantiated for says more than `core::ptr::drop_in_place`.
    if name.startswith("<") or name.startswith(("core::", "alloc::", "std::")):
        found = [c for c in found if c not in STD] or found
    if not found:
        return "C and assembler"
    return "std" if found[0] in STD else found[0]


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("library")
    args.add_argument("--nm", default="nm")
    args.add_argument("--readelf", default="readelf")
    args.add_argument("--top", type=int, default=0)
    args = args.parse_args()
    sections = subprocess.run([args.readelf, "-SW", args.library], capture_output=True, text=True, check=True).stdout
    for line in sections.splitlines():
        m = re.match(r"\s*\[ *\d+\] (\S+)\s+(\S+)\s+\S+ \S+ (\S+) \S+\s+(\S*)", line)
        if m and "A" in m[4] and int(m[3], 16) >= 4096:
            print(f"{int(m[3], 16):>10}  {m[1]}")
    print()
    sizes, functions, seen = collections.Counter(), [], set()
    out = subprocess.run([args.nm, "-S", "-C", "--size-sort", args.library], capture_output=True, text=True, check=True)
    for line in out.stdout.splitlines():
        address, size, kind, name = line.split(maxsplit=3)
        # Functions that were folded into one are counted once; the rest of `.data` and `.bss` takes no room of note.
        if kind.lower() not in "trdvw" or (address, size) in seen:
            continue
        seen.add((address, size))
        sizes[crate(name)] += int(size, 16)
        functions.append((int(size, 16), kind, name))
    total = sum(sizes.values())
    for name, size in sizes.most_common(40):
        print(f"{size:>10}  {size / total:6.1%}  {name}")
    print(f"{total:>10}          all symbols")
    for size, kind, name in sorted(functions, reverse=True)[: args.top]:
        print(f"{size:>10} {kind}  {name[:150]}")


main()
