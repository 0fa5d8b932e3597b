#!/usr/bin/env python3
"""A stand-in for the NDK's sysroot: sysroot.py OUT_FOLDER

For machines without the NDK. Each ABI gets empty system libraries that export just the names in symbols.txt, an unwinder
whose functions abort, and a linker command. What is linked so proves that all code compiles for the ABI, that every symbol
resolves against a known list, and how the file is laid out. It cannot run: **never ship it**.
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
CLANG, LLD, AR = "clang-19", "ld.lld-19", "llvm-ar-19"
API = 23
# Rust's name, clang's name
TARGETS = {
    "aarch64-linux-android": f"aarch64-linux-android{API}",
    "armv7-linux-androideabi": f"armv7a-linux-androideabi{API}",
    "x86_64-linux-android": f"x86_64-linux-android{API}",
}
UNWIND = """Backtrace DeleteException FindEnclosingFunction GetCFA GetDataRelBase GetGR GetIP GetIPInfo GetLanguageSpecificData
GetRegionStart GetTextRelBase RaiseException Resume SetGR SetIP""".split()
UNWIND_ARM = ["_Unwind_VRS_Get", "_Unwind_VRS_Set", "__gnu_unwind_frame", "__aeabi_unwind_cpp_pr0", "__aeabi_unwind_cpp_pr1",
              "__aeabi_unwind_cpp_pr2"]
# What the NDK's start file says of the API level.
START = """
__attribute__((visibility("hidden"))) void *__dso_handle = &__dso_handle;
__attribute__((section(".note.android.ident"), used, aligned(4)))
static const struct { int namesz, descsz, type; char name[8]; int api; } note = { 8, 4, 1, "Android", %d };
""" % API


def run(*command: object, text: str = "") -> None:
    subprocess.run([str(c) for c in command], input=text.encode(), check=True)


def symbols() -> dict:
    libraries = {"c": [], "m": [], "dl": [], "log": []}
    for line in (HERE / "symbols.txt").read_text().splitlines():
        fields = line.split("#")[0].split()
        if fields:
            libraries[fields[0]].append((fields[1], "object" if fields[2:] == ["var"] else "function"))
    return libraries


def make(out: pathlib.Path, rust: str, clang: str) -> None:
    folder = out / rust
    folder.mkdir(parents=True, exist_ok=True)
    compiler = [CLANG, f"--target={clang}", "-O1", "-fPIC", "-c", "-Wno-unused-command-line-argument"]
    arm = rust.startswith("armv7")
    for library, names in symbols().items():
        code = ".text\n" + "".join(f".globl {n}\n.type {n},%{kind}\n{n}:\n.byte 0\n.size {n},1\n" for n, kind in names)
        run(*compiler, "-x", "assembler", "-", "-o", folder / "stub.o", text=code)
        run(LLD, "-shared", "-soname", f"lib{library}.so", "-z", "max-page-size=16384", folder / "stub.o", "-o",
            folder / f"lib{library}.so")
    (folder / "stub.o").unlink()
    run(*compiler, "-x", "c", "-", "-o", folder / "start.o", text=START)
    unwind = [f"_Unwind_{n}" for n in UNWIND] + (UNWIND_ARM if arm else [])
    code = "extern void abort(void) __attribute__((noreturn));\n" + "".join(
        f'__attribute__((visibility("hidden"))) void {n}(void) {{ abort(); }}\n' for n in unwind)
    run(*compiler, "-x", "c", "-fno-exceptions", "-fno-asynchronous-unwind-tables", "-", "-o", folder / "unwind.o", text=code)
    (folder / "libunwind.a").unlink(missing_ok=True)
    run(AR, "rcsD", folder / "libunwind.a", folder / "unwind.o")
    linker = folder / "cc"
    linker.write_text(f"""#!/bin/sh
exec {CLANG} --target={clang} -fuse-ld=lld -nostdlib -nostartfiles -nodefaultlibs -L{folder} {folder}/start.o \\
    -Wl,-z,text -Wl,-z,defs -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,--no-dependent-libraries "$@" -lc
""")
    linker.chmod(0o755)


for rust_name, clang_name in TARGETS.items():
    make(pathlib.Path(sys.argv[1]).resolve(), rust_name, clang_name)
