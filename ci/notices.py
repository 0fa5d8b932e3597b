#!/usr/bin/env python3
"""Licences of all that is linked into the libraries that ship: ci/notices.py [--check]

One file for each: the C library, the Android library, the Apple library (PRODUCTS below). Crates and licence texts come
from `cargo metadata` and the crates' own folders; equal texts are printed once. Where a licence is a choice, MIT or
Apache-2.0 is taken and only its text is printed. Rust's standard library is named by hand.
"""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
# (crate, what it is called, file, targets)
PRODUCTS = [
    ("pocketbert-c", "libpocketbert", "ffi/c/THIRD-PARTY.txt",
     ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf",
      "riscv64gc-unknown-linux-gnu", "x86_64-unknown-linux-musl"]),
    ("pocketbert-mobile", "PocketBERT for Android", "bindings-android/THIRD-PARTY-NOTICES.txt",
     ["aarch64-linux-android", "armv7-linux-androideabi", "x86_64-linux-android"]),
    ("pocketbert-mobile", "PocketBERT for Apple's systems", "bindings-ios/THIRD-PARTY-NOTICES.txt",
     ["aarch64-apple-ios", "aarch64-apple-ios-sim", "x86_64-apple-ios", "aarch64-apple-darwin", "x86_64-apple-darwin"]),
]
HEAD = """
Made by ci/notices.py: do not edit.
Rust's standard library (MIT OR Apache-2.0, https://github.com/rust-lang/rust) is linked in, too: its texts are those of
the MIT and Apache-2.0 licences below, copyright The Rust Project contributors.
"""


def linked(crate: str, targets: list) -> list:
    """The packages whose code goes into the library for any of the targets: no build scripts, no macros, no tests."""
    args = ["cargo", "metadata", "--locked", "--format-version", "1"]
    meta = json.loads(subprocess.run(args + [x for t in targets for x in ("--filter-platform", t)], cwd=ROOT,
                                     capture_output=True, text=True, check=True).stdout)
    packages = {p["id"]: p for p in meta["packages"]}
    # Features are those of the library alone, not of the whole workspace.
    used = set()
    for target in targets:
        tree = subprocess.run(["cargo", "tree", "--locked", "-p", crate, "-e", "normal,no-proc-macro", "--target", target,
                               "--prefix", "none", "-f", "{p}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        used |= {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    found = [p for p in packages.values() if (p["name"], "v" + p["version"]) in used and p["source"]]
    return sorted(found, key=lambda p: (p["name"], p["version"]))


def texts(package: dict) -> list:
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(f for f in folder.iterdir() if f.is_file() and re.match(r"(?i)(licen[cs]e|copying|notice|unlicense)", f.name))
    licence = package["license"] or ""
    if len(files) > 1 and " OR " in licence.replace("/", " OR "):
        for wanted in ("mit", "apache"):
            chosen = [f for f in files if wanted in f.name.lower()]
            if chosen:
                files = chosen + [f for f in files if f.name.lower().startswith("notice")]
                break
    return ["\n".join(line.rstrip() for line in f.read_text(errors="replace").strip().splitlines()) for f in files]


def make(crate: str, name: str, out: pathlib.Path, targets: list) -> None:
    packages = linked(crate, targets)
    title = f"Third-party software in {name}"
    by_text, bare, lines = {}, [], [title + "\n" + "=" * len(title) + "\n" + HEAD]
    for p in packages:
        lines.append(f"{p['name']} {p['version']}: {p['license']}  {p['repository'] or ''}".rstrip())
        found = texts(p)
        if not found:
            bare.append(p)
        for text in found:
            by_text.setdefault(text, []).append(p["name"])
    if bare:
        lines.append("\nNo file of a licence comes with: " + ", ".join(f"{p['name']} ({p['license']}, {'; '.join(p['authors']) or p['repository']})" for p in bare)
                     + ".\nThe texts of the licences named are below.")
    for text, names in sorted(by_text.items(), key=lambda x: x[1]):
        lines.append(f"\n{'-' * 100}\n{', '.join(dict.fromkeys(names))}\n\n{text}")
    made = "\n".join(lines) + "\n"
    if "--check" in sys.argv:
        if not out.exists() or out.read_text() != made:
            sys.exit(f"{out.relative_to(ROOT)} is not what the crates say: run ci/notices.py")
        print(f"{len(packages)} crates: {out.relative_to(ROOT)} is up to date")
    else:
        out.write_text(made)
        print(f"{out.relative_to(ROOT)}: {len(packages)} crates, {len(by_text)} texts, {len(bare)} without one, {len(made) >> 10} KiB")


for crate, name, out, targets in PRODUCTS:
    make(crate, name, ROOT / out, targets)
