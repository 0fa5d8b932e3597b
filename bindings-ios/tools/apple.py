"""What build-xcframework.py and check.py both know of Apple's platforms."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TOOLS = pathlib.Path(__file__).resolve().parent
MODULE = "PocketBERTMobileFFI"
LIBRARY = "libpocketbert_mobile.a"
# What the library is built for: the oldest systems that Package.swift names.
MIN_OS = {"ios": "15.0", "simulator": "15.0", "macos": "12.0"}
# slice: (platform of plists, variant of plists, [(Rust's target, Apple's architecture)])
SLICES = {
    "ios": ("ios", None, [("aarch64-apple-ios", "arm64")]),
    "simulator": ("ios", "simulator", [("aarch64-apple-ios-sim", "arm64"), ("x86_64-apple-ios", "x86_64")]),
    "macos": ("macos", None, [("aarch64-apple-darwin", "arm64"), ("x86_64-apple-darwin", "x86_64")]),
}
# The linker's names, which are the ones of `.tbd` files too.
LINKER_PLATFORM = {"ios": "ios", "simulator": "ios-simulator", "macos": "macos"}
SDK_PLATFORM = {"ios": "iPhoneOS", "simulator": "iPhoneSimulator", "macos": "MacOSX"}
TRIPLE_OS = {"ios": "ios{}", "simulator": "ios{}-simulator", "macos": "macos{}"}
# The kernels' names of the architectures: type and subtype of <mach/machine.h>.
CPU = {"arm64": (0x0100000C, 0), "x86_64": (0x01000007, 3)}


def allowed_symbols(slice_name, arch):
    """The symbols of the system that one slice of the library may need on one architecture (apple-symbols.txt)."""
    names = set()
    for line in (TOOLS / "apple-symbols.txt").read_text().splitlines():
        name, *only = line.split("#")[0].split() or [""]
        if name and (not only or arch in only or slice_name in only):
            names.add(name)
    return names


def write_tbd(path, slice_name, arch, names=None):
    """Writes the system's library as the linker sees it: exactly the symbols of apple-symbols.txt.

    A symbol that is not on the list fails the link: so a new need for one, such as a network call, is seen.
    """
    names = sorted((names or allowed_symbols(slice_name, arch)) | {"dyld_stub_binder"})
    target = f"{arch}-{LINKER_PLATFORM[slice_name]}"
    symbols = ", ".join(f"'{n}'" for n in names)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"--- !tapi-tbd\ntbd-version: 4\ntargets: [ {target} ]\ninstall-name: '/usr/lib/libSystem.B.dylib'\n"
        f"exports:\n  - targets: [ {target} ]\n    symbols: [ {symbols} ]\n...\n"
    )
    return path


def link_without_sdk(slice_name, arch, library, tbd, install_name, out):
    """The command that links a static library into a dynamic one on Linux; only what Swift calls is exported."""
    return [
        "ld64.lld-19", "-arch", arch, "-platform_version", LINKER_PLATFORM[slice_name], MIN_OS[slice_name], "17.0",
        "-dylib", "-all_load", library, tbd, "-dead_strip", "-exported_symbols_list", TOOLS / "exports.txt",
        "-install_name", install_name, "-o", out,
    ]


def called_by_swift():
    """The functions that the generated header declares, as the linker names them."""
    header = (TOOLS.parent / "Sources" / MODULE / f"{MODULE}.h").read_text()
    return {f"_{name}" for name in re.findall(r"\b((?:uniffi|ffi)_pocketbert_mobile_\w+)\s*\(", header)}
