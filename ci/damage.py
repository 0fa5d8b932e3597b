#!/usr/bin/env python3
"""Damages a bundle in many ways, opens each with the command, and measures time and memory.

    python3 ci/damage.py --binary target/release/pocketbert --bundle models/everyday.pbert [--count 400] [--seed 1]

Half of the damaged files have all their checksums and hashes put right again, as an attacker's would be, so that what
lies behind the hashes is reached. Status 1 if the command dies by a signal, panics, ends with a status that it does not
document, takes a second of CPU time, or needs more than twice the file's memory over what the command needs alone.
Needs nothing but Python and Linux or macOS.
"""
import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib


class Bundle:
    """A container's bytes and where its parts are."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = bytearray(f.read())
        self.parts, self.headers = {}, {}
        with zipfile.ZipFile(path) as z:
            directory = z.start_dir
            for e in z.infolist():
                at = e.header_offset
                name, extra = (int.from_bytes(self.data[at + k:at + k + 2], "little") for k in (26, 28))
                start = at + 30 + name + extra
                self.parts[e.filename] = (start, start + e.file_size)
                self.headers[e.filename] = (at, directory)
                directory += 46 + name
        self.start_dir = min(d for _, d in self.headers.values())
        self.end = directory

    def repair(self, data, entry):
        """Puts right what speaks of `entry`: its hash in the manifest, and the checksums of both."""
        a, b = self.parts[entry]
        old = hashlib.sha256(self.data[a:b]).hexdigest().encode()
        m, n = self.parts["manifest.json"]
        if entry != "manifest.json":
            data[m:n] = data[m:n].replace(old, hashlib.sha256(data[a:b]).hexdigest().encode())
        for name in {entry, "manifest.json"}:
            a, b = self.parts[name]
            crc = zlib.crc32(data[a:b]).to_bytes(4, "little")
            local, central = self.headers[name]
            data[local + 14:local + 18] = crc
            data[central + 16:central + 20] = crc


def numbers(r):
    return r.choice([0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fffffff, 0xffffffff, r.randrange(1 << 32)])


def change(r, data, a, b):
    """Bytes between `a` and `b` changed, the length kept."""
    n = b - a
    kind = r.choice(["flip", "flip", "number", "zeros", "ones", "swap", "noise", "digits"])
    for _ in range(r.choice([1, 1, 1, 2, 8])):
        at = a + r.randrange(n)
        if kind == "flip":
            data[at] ^= 1 << r.randrange(8)
        elif kind == "number":
            w = r.choice([1, 2, 4, 8])
            data[at:min(at + w, b)] = (numbers(r).to_bytes(8, "little"))[:min(w, b - at)]
        elif kind in ("zeros", "ones", "noise"):
            w = min(r.choice([1, 4, 64, 4096]), b - at)
            data[at:at + w] = {"zeros": bytes(w), "ones": b"\xff" * w, "noise": r.randbytes(w)}[kind]
        elif kind == "swap":
            w = min(r.choice([4, 64]), n // 2)
            x, y = a + r.randrange(n - w + 1), a + r.randrange(n - w + 1)
            data[x:x + w], data[y:y + w] = data[y:y + w], data[x:x + w]
        else:
            digits = [i for i in range(a, min(b, a + (1 << 16))) if 48 <= data[i] < 58]
            if digits:
                data[r.choice(digits)] = r.choice(b"0123456789-")
    return kind


def cases(bundle, count, r):
    """Names and bytes of damaged files."""
    names = list(bundle.parts)
    big = max(names, key=lambda n: bundle.parts[n][1] - bundle.parts[n][0])
    for i in range(count):
        data = bytearray(bundle.data)
        what = r.choice(["container", "container", "truncated", "foreign"] + names + [n for n in names if n != big] * 2)
        if what == "container":
            a, b = r.choice([(0, 64), (bundle.start_dir, bundle.end), (bundle.end, len(data))] +
                            [(h, bundle.parts[n][0]) for n, (h, _) in bundle.headers.items()])
            yield f"{i} container {change(r, data, a, b)}", data
        elif what == "truncated":
            at = r.choice([r.randrange(len(data)), r.randrange(100), len(data) - 1 - r.randrange(1000)])
            yield f"{i} truncated to {at}", data[:at]
        elif what == "foreign":
            head = r.choice([b"", b"PK\3\4", b"\x08\x08:\x00", b"\x7fELF", b"GGUF", b"{", b"\x1f\x8b"])
            yield f"{i} foreign {head!r}", bytearray(head) + bytearray(r.randbytes(r.choice([0, 100, 1 << 20])))
        else:
            kind = change(r, data, *bundle.parts[what])
            right = r.random() < .7
            if right:
                bundle.repair(data, what)
            yield f"{i} {what} {kind}{', hashes right' if right else ''}", data


def runner(binary):
    """For each path on standard input: opens it and answers once; prints the status, the errors, CPU seconds and peak
    memory in bytes. A process of its own, because a child's peak begins at the memory of the process that starts it."""
    for path in sys.stdin:
        with tempfile.TemporaryFile() as err:
            command = [binary, "classify", "--model", path.strip(), "a short text"]
            p = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=err)
            _, status, usage = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
            err.seek(0)
            unit = 1 if sys.platform == "darwin" else 1024
            print(json.dumps([p.returncode, err.read().decode(errors="replace"), usage.ru_utime + usage.ru_stime,
                              usage.ru_maxrss * unit]), flush=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--binary", required=True)
    args.add_argument("--bundle", required=True)
    args.add_argument("--count", type=int, default=400)
    args.add_argument("--seed", type=int, default=1)
    a = args.parse_args()
    child = subprocess.Popen([sys.executable, __file__, "--runner", a.binary], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
    bundle = Bundle(a.bundle)
    r = random.Random(a.seed)
    size = len(bundle.data)
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    seen, worst_time, worst_memory, failed, began = {}, (0, ""), (0, ""), 0, time.time()
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        path = os.path.join(folder, "damaged.pbert")

        def one(data):
            with open(path, "wb") as f:
                f.write(data)
            child.stdin.write(path + "\n")
            child.stdin.flush()
            return json.loads(child.stdout.readline())

        # An empty file costs what the command costs alone.
        base = one(b"")[3]
        status, _, whole_time, whole = one(bundle.data)
        assert status == 0, "the bundle itself must open"
        for name, data in cases(bundle, a.count, r):
            status, err, seconds, memory = one(data)
            seen[status] = seen.get(status, 0) + 1
            worst_time, worst_memory = max(worst_time, (seconds, name)), max(worst_memory, (memory, name))
            good = status in (0, 1, 2) and "panic" not in err and (status == 0 or err.strip())
            if not good or seconds >= 1 or memory - base > 2 * size:
                failed += 1
                print(f"FAILED: {name}: status {status}, {seconds:.2f} s, {memory / 1e6:.0f} MB: {err.strip()[:300]}")
    print(f"{a.count} damaged files of {size / 1e6:.1f} MB (seed {a.seed}): " +
          ", ".join(f"status {k}: {v}" for k, v in sorted(seen.items())) + f"; {failed} failed; {time.time() - began:.0f} s")
    print(f"most CPU time {worst_time[0]:.2f} s ({worst_time[1]}); the whole bundle {whole_time:.2f} s")
    child.stdin.close()
    child.wait()
    print(f"most memory {worst_memory[0] / 1e6:.1f} MB ({worst_memory[1]}); the whole bundle {whole / 1e6:.1f} MB, "
          f"the command alone {base / 1e6:.1f} MB")
    sys.exit(failed > 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--runner"]:
        runner(sys.argv[2])
    else:
        main()
