"""Reads what Apple's object files say of themselves: architecture, platform, oldest system, UUID.

Formats: <mach-o/fat.h>, <ar.h> with BSD's long names, <mach-o/loader.h>. llvm-otool takes a file of another
architecture for the one that was asked for, so it cannot tell.
"""

import mmap
import struct
from typing import Iterator, NamedTuple

CPU = {(0x0100000C, 0): "arm64", (0x01000007, 3): "x86_64"}
LC_UUID = 0x1B
LC_BUILD_VERSION = 0x32
# The way of before 2018, of objects for older systems: LC_VERSION_MIN_MACOSX, LC_VERSION_MIN_IPHONEOS. It names no
# simulator; of an Intel CPU nothing else can be meant by iOS.
MACOS, IOS, SIMULATOR = 1, 2, 7  # PLATFORM_MACOS, PLATFORM_IOS, PLATFORM_IOSSIMULATOR
LC_VERSION_MIN = {0x24: MACOS, 0x25: IOS}


class Object(NamedTuple):
    """One object file, or one dynamic library."""

    name: str
    arch: str
    # Number of its platform and (major, minor) of its oldest system; None where it does not say.
    platform: int | None
    oldest: tuple[int, int] | None
    # What ties a linked library and its debug symbols together; empty for object files.
    uuid: str


def objects(path) -> Iterator[Object]:
    """All object files in a Mach-O file, an archive, or a file of several architectures."""
    with open(path, "rb") as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _file(data, path.name, 0, len(data))


def _file(data, name, start, end):
    if data[start : start + 4] == b"\xca\xfe\xba\xbe":
        (count,) = struct.unpack_from(">I", data, start + 4)
        for i in range(count):
            _, _, offset, size, _ = struct.unpack_from(">IIIII", data, start + 8 + 20 * i)
            yield from _file(data, name, start + offset, start + offset + size)
    elif data[start : start + 8] == b"!<arch>\n":
        yield from _archive(data, start + 8, end)
    else:
        yield _object(data, name, start)


def _archive(data, place, end):
    while place + 60 <= end:
        head = data[place : place + 60]
        size = int(head[48:58])
        body, name = place + 60, head[:16].decode().strip()
        long_name = 0
        if name.startswith("#1/"):
            long_name = int(name[3:])
            name = data[body : body + long_name].rstrip(b"\0").decode(errors="replace")
        if not name.startswith("__.SYMDEF"):
            yield _object(data, name, body + long_name)
        place = body + size + size % 2


def _object(data, name, start):
    magic, cpu, sub, _, count, _, _ = struct.unpack_from("<IIIIIII", data, start)
    if magic != 0xFEEDFACF:
        return Object(name, "no 64-bit Mach-O", None, None, "")
    arch = CPU.get((cpu, sub & 0xFFFFFF), f"cpu {cpu:#x}")
    platform, oldest, uuid, place = None, None, "", start + 32
    for _ in range(count):
        command, size = struct.unpack_from("<II", data, place)
        if command == LC_BUILD_VERSION:
            platform, version = struct.unpack_from("<II", data, place + 8)
            oldest = (version >> 16, version >> 8 & 0xFF)
        elif command == LC_UUID:
            uuid = data[place + 8 : place + 24].hex()
        elif command in LC_VERSION_MIN:
            (version,) = struct.unpack_from("<I", data, place + 8)
            oldest = (version >> 16, version >> 8 & 0xFF)
            platform = LC_VERSION_MIN[command]
            if platform == IOS and arch == "x86_64":
                platform = SIMULATOR
        place += size
    return Object(name, arch, platform, oldest, uuid)
