#!/usr/bin/env python3
"""Where our kernels' instructions go under the emulator: `where.py CPU KERNEL [--tokens 128] [--blocks 30]`.

Prints instructions per token and layer by function and by block of the program that ci/arm/count.sh builds (run that
first, or name another with --encoder); the difference of two runs and one, so that loading cancels out. With --code the
disassembly of each block follows.
"""
import argparse
import collections
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BASE = 0x5500000000  # where qemu 7.2 puts a program that can lie anywhere


def blocks(args, runs):
    """{(address, instructions): (times run, symbol)}"""
    out = subprocess.run(
        ["qemu-aarch64", "-cpu", args.cpu, "-plugin", f"{args.plugin},blocks=on", "-d", "plugin",
         "-L", "/usr/aarch64-linux-gnu", "-E", "LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib",
         args.encoder, args.kernel, str(args.tokens), str(runs)],
        capture_output=True, text=True, check=True,
    )
    found = {}
    for line in (out.stdout + out.stderr).splitlines():
        if line.startswith("block "):
            _, address, n, count, symbol = line.split()
            key = int(address, 16), int(n)
            found[key] = found.get(key, (0, ""))[0] + int(count), symbol
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cpu")
    parser.add_argument("kernel")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--code", action="store_true")
    parser.add_argument("--plugin", default=ROOT / "target/arm/count.so")
    parser.add_argument(
        "--encoder", default=str(ROOT / "target/kernels/aarch64-unknown-linux-gnu/release/examples/encoder"))
    args = parser.parse_args()
    one, two = blocks(args, 1), blocks(args, 2)
    rows, functions = [], collections.Counter()
    for (address, n), (count, symbol) in two.items():
        times = (count - one.get((address, n), (0, ""))[0]) / (args.tokens * 2)  # two layers
        functions[symbol] += n * times
        rows.append((n * times, n, times, address, symbol))
    print(f"{sum(functions.values()):10.0f}  in all")
    for symbol, count in functions.most_common(12):
        print(f"{count:10.0f}  {symbol}")
    code = {}
    if args.code:
        text = subprocess.run(["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", args.encoder],
                              capture_output=True, text=True, check=True).stdout
        code = {int(m[1], 16): m[2] for m in re.finditer(r"^\s*([0-9a-f]+):\s+(.*)", text, re.M)}
    for total, n, times, address, symbol in sorted(rows, reverse=True)[:args.blocks]:
        print(f"{total:10.0f}  {n} instructions, {times:.1f} times, at {address - BASE:x} in {symbol}")
        if args.code:
            for i in range(n):
                print("            ", code.get(address - BASE + 4 * i, "?"))


if __name__ == "__main__":
    main()
