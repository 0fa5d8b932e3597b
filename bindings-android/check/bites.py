"""Broken AARs, each of which a check must refuse: a check that lets one through is no check."""

import pathlib
import struct
import zipfile


def rewritten(aar: pathlib.Path, out: pathlib.Path, change) -> pathlib.Path:
    """A copy of which `change(name, bytes)` gives each entry's bytes, or None to leave it out."""
    with zipfile.ZipFile(aar) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info))
            if data is not None:
                new.writestr(info, data)
    return out


def small_pages(elf: bytes) -> bytes:
    """A library of 64 bits whose loaded parts claim pages of 4 KiB."""
    data = bytearray(elf)
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        if struct.unpack_from("<I", data, at + size * i)[0] == 1:
            struct.pack_into("<Q", data, at + size * i + 48, 4096)
    return bytes(data)


def writable_code(elf: bytes) -> bytes:
    """A library of 64 bits with memory that can be written and executed."""
    data = bytearray(elf)
    at, = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    for i in range(count):
        struct.pack_into("<I", data, at + size * i + 4, 7)
    return bytes(data)


def renamed(elf: bytes, old: bytes, new: bytes) -> bytes:
    """Another name of the same length, wherever the library has the old one."""
    assert len(old) == len(new) and old in elf, old
    return elf.replace(old + b"\0", new + b"\0")


def broken(abi: str) -> list:
    """(what is wrong, the check that must say so, the change)"""
    library = f"jni/{abi}/libpocketbert_mobile.so"

    def only(wanted: str, change):
        return lambda name, data: change(data) if name == wanted else data

    permission = b'<uses-permission android:name="android.permission.INTERNET" /><uses-sdk'
    return [
        ("a library is missing", "structure", lambda n, d: None if n == library else d),
        ("JNA's rules are missing", "structure", only("proguard.txt", lambda d: d.replace(b"com.sun.jna", b"com.x"))),
        ("INTERNET is asked for", "manifest", only("AndroidManifest.xml", lambda d: d.replace(b"<uses-sdk", permission))),
        ("minSdk is another", "manifest", only("AndroidManifest.xml", lambda d: d.replace(b'"23"', b'"26"'))),
        ("pages are small", "libraries", only(library, small_pages)),
        ("code can be written", "libraries", only(library, writable_code)),
        ("libm has another name", "libraries", only(library, lambda d: renamed(d, b"libm.so", b"libz.so"))),
        ("the network is used", "libraries", only(library, lambda d: renamed(d, b"getenv", b"socket"))),
        ("JNI_OnLoad is missing", "libraries", only(library, lambda d: renamed(d, b"JNI_OnLoad", b"JNI_OnLoaf"))),
    ]
