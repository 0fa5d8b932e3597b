"""An APK of the sample app, made with Android's tools as the Gradle plugin would, less Gradle."""

import pathlib
import struct
import subprocess
import tempfile
import zipfile


def run(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(str(c) for c in command[:4])}…:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def aligned(source: pathlib.Path, more: dict, deflated: dict, out: pathlib.Path) -> None:
    """Copies a zip and adds entries, stored and deflated; stored ones start at multiples of 4, libraries at multiples of 16 KiB."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(out, "w") as new:
        entries = [(i.filename, i.compress_type, old.read(i)) for i in old.infolist()]
        entries += [(n, zipfile.ZIP_STORED, d) for n, d in sorted(more.items())]
        entries += [(n, zipfile.ZIP_DEFLATED, d) for n, d in sorted(deflated.items())]
        for name, kind, data in entries:
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.compress_type = kind
            if kind == zipfile.ZIP_STORED:
                unit = 16384 if name.endswith(".so") else 4
                at = new.fp.tell() + 30 + len(name.encode())
                pad = -at % unit
                while 0 < pad < 6:
                    pad += unit
                # Android's own field for padding: its id, its size, the alignment, zeros.
                info.extra = struct.pack("<HHH", 0xD935, pad - 4, unit) + bytes(pad - 6) if pad else b""
            new.writestr(info, data)


def offsets(apk: pathlib.Path) -> dict:
    """Where each stored entry's bytes start."""
    found = {}
    with zipfile.ZipFile(apk) as z:
        for i in z.infolist():
            if i.compress_type == zipfile.ZIP_STORED:
                z.fp.seek(i.header_offset + 26)
                name, extra = struct.unpack("<HH", z.fp.read(4))
                found[i.filename] = i.header_offset + 30 + name + extra
    return found


def make(manifest: pathlib.Path, framework: pathlib.Path, asset: pathlib.Path, dex: list, libraries: dict, stored: bool,
         out: pathlib.Path) -> None:
    """Links the manifest, adds asset, code and libraries, aligns and signs. `stored` is `noCompress += "pbert"`."""
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        run("aapt2", "link", "-I", framework, "--manifest", manifest, "-o", work / "linked.apk",
            "--min-sdk-version", 24, "--target-sdk-version", 35, "--version-code", 1, "--version-name", "1")
        more = {f.name: f.read_bytes() for f in dex}
        more.update({f"lib/{n}": d for n, d in libraries.items()})
        assets = {f"assets/{asset.name}": asset.read_bytes()}
        aligned(work / "linked.apk", {**more, **(assets if stored else {})}, {} if stored else assets, work / "aligned.apk")
        key = work / "key"
        run("keytool", "-genkeypair", "-keystore", key, "-storepass", "android", "-keypass", "android", "-alias", "debug",
            "-dname", "CN=Check", "-keyalg", "RSA", "-keysize", 2048, "-validity", 10000)
        run("apksigner", "sign", "--ks", key, "--ks-pass", "pass:android", "--out", out, work / "aligned.apk")
        said = run("apksigner", "verify", "--verbose", out)
        if "v2 scheme (APK Signature Scheme v2): true" not in said:
            raise SystemExit(said)


def dex_classes(data: bytes) -> set:
    """The names of the classes that a dex file defines."""
    strings_at, types_at = struct.unpack_from("<I", data, 0x3C)[0], struct.unpack_from("<I", data, 0x44)[0]
    count, defs_at = struct.unpack_from("<II", data, 0x60)

    def text(index: int) -> str:
        at = struct.unpack_from("<I", data, strings_at + 4 * index)[0]
        while data[at] & 0x80:
            at += 1
        at += 1
        return data[at:data.index(0, at)].decode("utf-8", "replace")

    ids = (struct.unpack_from("<I", data, defs_at + 32 * i)[0] for i in range(count))
    return {text(struct.unpack_from("<I", data, types_at + 4 * i)[0])[1:-1].replace("/", ".") for i in ids}
