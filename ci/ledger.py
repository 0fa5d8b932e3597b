#!/usr/bin/env python3
"""Sizes beside the committed ones, in bytes:

    ci/ledger.py PREFIX --profile NAME [--target T] [--bless]                  an installed C package: ffi/c/sizes.toml
    ci/ledger.py --ledger FILE --file NAME=PATH… --profile NAME --target T     any files

More than 2 % above the ledger fails; more than 2 % below asks for a new entry. An entry that is not there fails: who adds
a target says what it costs.
"""
import argparse
import pathlib
import subprocess
import sys
import tomllib

LEDGER = pathlib.Path(__file__).resolve().parent.parent / "ffi/c/sizes.toml"
TOLERANCE = 0.02
HEAD = """# Bytes of the C library, stripped: `shared` is libpocketbert.so, `static` libpocketbert.a, `program` what a program that
# classifies grows by when it links the static library with --gc-sections. ci/ledger.py compares, with 2 % of tolerance.
"""


def host() -> str:
    out = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.split()[1] for line in out.splitlines() if line.startswith("host:"))


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("prefix", type=pathlib.Path, nargs="?")
    args.add_argument("--ledger", type=pathlib.Path, default=LEDGER)
    args.add_argument("--file", action="append", default=[])
    args.add_argument("--profile", default="ship")
    args.add_argument("--target", default=host())
    args.add_argument("--program", type=pathlib.Path)
    args.add_argument("--bless", action="store_true")
    args = args.parse_args()
    sizes = {name: pathlib.Path(path).stat().st_size for name, path in (f.split("=", 1) for f in args.file)}
    if args.prefix:
        for file in (args.prefix / "lib").glob("libpocketbert.so.*.*.*"):
            sizes["shared"] = file.stat().st_size
        sizes["static"] = (args.prefix / "lib/libpocketbert.a").stat().st_size
    if args.program:
        sizes["program"] = args.program.stat().st_size
    ledger = tomllib.loads(args.ledger.read_text()) if args.ledger.exists() else {}
    entry = ledger.setdefault(args.profile, {}).setdefault(args.target, {})
    bad = False
    for what, size in sizes.items():
        old = entry.get(what)
        change = (size - old) / old if old else None
        print(f"{args.profile} {args.target} {what}: {size} bytes" + (f", {change:+.1%}" if change is not None else ", no entry"))
        if change is None or abs(change) > TOLERANCE:
            bad = True
        entry[what] = size
    if args.bless:
        # The comment that a ledger starts with stays.
        old_text = args.ledger.read_text() if args.ledger.exists() else ""
        head = "".join(line + "\n" for line in old_text.splitlines() if line.startswith("#"))
        lines = [head or HEAD]
        for profile, targets in sorted(ledger.items()):
            for target, values in sorted(targets.items()):
                lines.append(f"[{profile}.{target}]\n" + "".join(f"{k} = {v}\n" for k, v in values.items()))
        args.ledger.write_text("\n".join(lines))
    elif bad:
        sys.exit(f"the ledger says otherwise: if the change is meant, run this with --bless and commit {args.ledger.name}")


main()
