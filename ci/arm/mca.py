#!/usr/bin/env python3
"""Inner loops of the 64-bit ARM kernels against their peak, as llvm-mca (19 or newer) models some cores.

    python3 ci/arm/mca.py [--mca llvm-mca-19]

Compiles the kernels alone (tests/kernels-miri) to assembly, takes every loop written in `asm!`, and compares its
simulated cycles with those of its multiply instructions alone. A simulation: caches are perfect, and in-order cores
retire in order. Exits with 1 if a loop that carries the work of a large product is below 80 %.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = "aarch64-unknown-linux-gnu"
MULTIPLY = {"sdot": 16, "sudot": 16, "usmmla": 32, "smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8}
# LLVM's A72 model has no dot product, N1 and the A55 no matrix product.
CORES = {
    "dotprod": ["cortex-a55", "neoverse-n1", "neoverse-n2", "neoverse-v2"],
    "i8mm": ["cortex-a510", "neoverse-n2", "neoverse-v2"],
    "neon": ["cortex-a55", "cortex-a72", "neoverse-n1"],
}
# The goal is for the loops that carry the work; few rows wait for memory, and products in 16 bits need a further
# instruction (`SADALP`). The A510 is shown, not judged: it shares its vector unit between two cores.
GOAL = {("dotprod", "6 rows"): 0.8, ("i8mm", "6 rows"): 0.8}


def assembly():
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target" / "kernels"))
    subprocess.run(
        ["cargo", "rustc", "-q", "--release", "--target", TARGET, "--target-dir", target, "--", "--emit", "asm"],
        cwd=ROOT / "tests" / "kernels-miri", check=True,
        env=os.environ | {"CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER": "aarch64-linux-gnu-gcc"},
    )
    found = sorted(Path(target, TARGET, "release", "deps").glob("pocketbert_kernels_miri-*.s"),
                   key=lambda p: p.stat().st_mtime)
    return found[-1].read_text()


def loops(text):
    """(file, lines) of every loop that multiplies, once: the compiler copies some into their callers."""
    file, inside, body, seen = "", False, [], set()
    for line in text.splitlines():
        name = re.match(r"^(_\w+):", line)
        line = line.split("//")[0].strip() if "APP" not in line else line.strip()
        if name:
            found = re.search(r"aarch64_(dotprod|i8mm|neon)", name.group(1))
            file = found.group(1) if found else "?"
        elif line.endswith("APP") and "NO_APP" not in line:
            inside, body = True, None
        elif line.endswith("NO_APP"):
            inside = False
        elif inside and re.match(r"^(\.Ltmp\d+|2):", line):
            body = []
        elif inside and body is not None and line:
            if line.startswith("b.ne"):
                key = (file, tuple(re.sub(r"\bx\d+", "x", i) for i in body))
                if any(i.split()[0] in MULTIPLY for i in body) and key not in seen:
                    seen.add(key)
                    yield file, body + ["b.ne ."]
                body = None
            else:
                body.append(line)


def what(file, ops):
    """What a loop multiplies, from how many products it has."""
    kinds = {op.split()[0] for op in ops}
    if file == "neon":
        return "2 rows" if kinds & {"smlal"} else "2 rows, weights with a -128"
    if "usmmla" in kinds:
        return f"{len(ops) // 32 * 2} rows"
    return {16: "1 row (weights streamed)", 32: "2 rows (weights streamed)"}.get(len(ops), f"{len(ops) // 32} rows")


def cycles(mca, core, lines, iterations=200):
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        out = subprocess.run(
            [mca, "-mtriple=aarch64", f"-mcpu={core}", "-mattr=+dotprod,+i8mm", f"-iterations={iterations}", file.name],
            capture_output=True, text=True, check=True,
        ).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", out).group(1)) / iterations


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--mca", default="llvm-mca-19")
    mca, low = args.parse_args().mca, []
    print("| loop | core | instructions | products | cycles | multiplies alone | of peak |")
    print("|---|---|---|---|---|---|---|")
    for file, body in sorted(loops(assembly()), key=lambda loop: (loop[0], len(loop[1]))):
        ops = [line for line in body if line.split()[0] in MULTIPLY]
        products = sum(MULTIPLY[line.split()[0]] for line in ops)
        name = what(file, ops)
        # Sums of multiplies alone, on registers of their own: their rate without anything around them.
        alone = [re.sub(r"\bv\d+(\.\w+)", lambda m, i=i: f"v{8 + i % 24}{m.group(1)}", line, count=1)
                 for i, line in enumerate(ops)]
        alone = [re.sub(r", v\d+(\.\w+), v\d+", r", v6\1, v0", line) for line in alone]
        for core in CORES.get(file, []):
            took, least = cycles(mca, core, body), cycles(mca, core, alone)
            print(f"| {file}, {name} | {core} | {len(body)} | {products} | {took:.1f} | {least:.1f} "
                  f"| {least / took:.0%} |")
            if core != "cortex-a510" and least / took < GOAL.get((file, name), 0):
                low.append(f"{file}, {name} on {core}: {least / took:.1%}")
    for line in low:
        print(f"below the goal: {line}", file=sys.stderr)
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
