#!/usr/bin/env python3
"""Checks what build-xcframework.py made: check.py [FOLDER] [--bless]

* Info.plist of the XCFrameworks and of every framework: the keys that Xcode and the App Store ask for.
* Every object: architecture, platform, oldest system (tools/macho.py).
* Every static library links with the listed symbols of the system alone (tools/apple-symbols.txt).
* Undefined symbols: none of a network. Exported ones: all that Swift calls, nothing of the C library, and of the
  dynamic variant nothing else.
* The privacy manifest names exactly the required-reason APIs that are used, and exactly our reasons.
* Debug symbols are of the same build as the dynamic library beside them.
* Headers and module maps are namespaced; notices are there; sizes are as in the ledger.

Needs llvm-19 and lld-19 (on a Mac: Xcode's tools; linking is then left to build-xcframework.py). Exit status 1 when
anything is wrong; every problem is printed. test-checks.py breaks a small XCFramework in each way.
"""

import argparse
import json
import pathlib
import plistlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))
import apple  # noqa: E402
import macho  # noqa: E402
from apple import MODULE  # noqa: E402

SLICE = {"ios": "ios", "ios-simulator": "simulator", "macos": "macos"}
PLATFORM = {"ios": macho.IOS, "simulator": macho.SIMULATOR, "macos": macho.MACOS}
NETWORK = re.compile(
    r"^_(socket|connect|bind|listen|accept|send|sendto|sendmsg|recv|recvfrom|recvmsg|getaddrinfo|gethostby\w+|"
    r"nw_\w+|CFSocket\w+|CFNetwork\w+|CFHost\w+|SecTrust\w+|res_\w+|OBJC_CLASS_\$_NSURL\w*)(\$\w+)?$"
)
# Apple, "Describing use of required reason API": of each category the C functions that a Rust library could use, and
# the names by which Swift reaches the same.
FILE_TIMESTAMP = "NSPrivacyAccessedAPICategoryFileTimestamp"
REASONS = {
    FILE_TIMESTAMP: (
        r"_(f|l)?stat|_fstatat|_f?getattrlist|_getattrlistat|_getattrlistbulk",
        r"\.(creationDate|modificationDate|fileModificationDate)\b|(content|creation)(Modification)?DateKey|"
        r"attributesOfItem|\b[fl]?stat\(",
    ),
    "NSPrivacyAccessedAPICategorySystemBootTime": (r"_mach_absolute_time", r"systemUptime|mach_absolute_time"),
    "NSPrivacyAccessedAPICategoryDiskSpace": (r"_f?statv?fs", r"volume\w*Capacity|systemFreeSize|systemSize|statfs"),
    "NSPrivacyAccessedAPICategoryUserDefaults": (
        r"_CFPreferences\w+|_OBJC_CLASS_\$_NSUserDefaults", r"UserDefaults|AppStorage",
    ),
    "NSPrivacyAccessedAPICategoryActiveKeyboards": (r"_OBJC_CLASS_\$_UITextInputMode", r"activeInputModes"),
}
# Ours. C617.1: metadata of files inside the app's own containers; opening a model asks for its size.
DECLARED = {FILE_TIMESTAMP: {"C617.1"}}
TOLERANCE = 0.02
SOURCES = HERE / "Sources"

problems = []


def expect(condition, message):
    if not condition:
        problems.append(message)
    return bool(condition)


def tool(name):
    for candidate in (f"llvm-{name}-19", f"llvm-{name}", name):
        if shutil.which(candidate):
            return candidate
    sys.exit(f"SKIPPED: neither llvm-{name}-19 nor {name} is installed")


def output(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    # Rust's own objects carry bitcode of a newer LLVM beside their code, and some hold no code: the tool says so.
    harmless = ("Unknown attribute kind", ": no symbols")
    errors = [e for e in done.stderr.splitlines() if e.strip() and not any(h in e for h in harmless)]
    if done.returncode != 0 and errors:
        problems.append(f"`{' '.join(map(str, command))}`: {errors[0][:200]}")
    return done.stdout


def nm(binary, arch, *flags):
    lines = output([tool("nm"), f"--arch={arch}" if "llvm" in tool("nm") else f"-arch {arch}", *flags, binary])
    return {line.split()[-1] for line in lines.splitlines() if line.strip() and not line.rstrip().endswith(":")}


def check_objects(binary, archs, slice_name, where):
    """Every object of a library; how many of each architecture."""
    oldest = tuple(map(int, apple.MIN_OS[slice_name].split(".")))
    counts, wrong = dict.fromkeys(archs, 0), {}
    try:
        objects = list(macho.objects(binary))
    except (ValueError, struct.error) as error:
        problems.append(f"{where}: is no library: {error}")
        return counts
    for o in objects:
        counts[o.arch] = counts.get(o.arch, 0) + 1
        for bad, message in [
            (o.platform is None, "says no platform"),
            (o.platform is not None and o.platform != PLATFORM[slice_name], f"is for platform {o.platform}"),
            (o.oldest is not None and o.oldest > oldest, f"needs {slice_name} {o.oldest}"),
        ]:
            if bad:
                wrong.setdefault(message, []).append(o.name)
    for message, names in wrong.items():
        problems.append(f"{where}: an object {message}: {', '.join(names[:3])} ({len(names)} in all)")
    for arch, count in counts.items():
        expect(count, f"{where}: holds no code for {arch}")
        expect(arch in archs, f"{where}: holds {count} objects for {arch}, which it does not list")
    return counts


def check_exports(binary, arch, where, dynamic):
    exported = nm(binary, arch, "-g", "-U", "-j")
    missing = apple.called_by_swift() - exported
    expect(not missing, f"{where}: lacks {len(missing)} functions that Swift calls: {', '.join(sorted(missing)[:4])}")
    expect(not any(s.startswith("_pocketbert_") for s in exported), f"{where}: exports the C library's symbols")
    expect(not any("dangerous" in s for s in exported), f"{where}: holds the fault injection of test builds")
    if dynamic:
        others = {s for s in exported if not s.startswith(("_uniffi_", "_ffi_pocketbert_mobile_", "__mh_"))}
        expect(not others, f"{where}: exports more than Swift calls: {', '.join(sorted(others)[:8])}")


def check_needs(undefined, arch, slice_name, where):
    extra = undefined - apple.allowed_symbols(slice_name, arch) - {"dyld_stub_binder"}
    expect(not extra, f"{where}: needs symbols that are not on the list: {', '.join(sorted(extra)[:12])}")
    network = {s for s in undefined if NETWORK.match(s)}
    expect(not network, f"{where}: network symbols: {', '.join(sorted(network))}")


def link(library, arch, slice_name, where):
    """Links a static library against the listed symbols; the undefined symbols of the result."""
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        tbd = apple.write_tbd(scratch / "libSystem.tbd", slice_name, arch)
        command = apple.link_without_sdk(slice_name, arch, library, tbd, "@rpath/x", scratch / "x.dylib")
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        wanted = re.findall(r"undefined symbol: (\S+)", done.stderr)
        network = [s for s in wanted if NETWORK.match("_" + s.removeprefix("_"))]
        expect(not network, f"{where}: network symbols: {', '.join(network)}")
        named = ", ".join(wanted[:12]) or done.stderr.strip()[:300]
        if not expect(done.returncode == 0, f"{where}: does not link with the listed symbols of the system: {named}"):
            return None
        return nm(scratch / "x.dylib", arch, "-u", "-j")


def used_categories(undefined):
    """The required-reason categories that symbols and our Swift sources use."""
    symbols = {s.split("$INODE64")[0] for s in undefined}
    sources = "\n".join(p.read_text() for p in sorted(SOURCES.rglob("*.swift")))
    return {
        category
        for category, (names, swift) in REASONS.items()
        if any(re.fullmatch(names, s) for s in symbols) or re.search(swift, sources)
    }


def check_privacy(path, undefined, where):
    if not expect(path.is_file(), f"{where}: no privacy manifest at {path.name}"):
        return
    manifest = plistlib.loads(path.read_bytes())
    expect(manifest.get("NSPrivacyTracking") is False, f"{where}: tracking must be denied")
    expect(manifest.get("NSPrivacyTrackingDomains") == [], f"{where}: names tracking domains")
    expect(manifest.get("NSPrivacyCollectedDataTypes") == [], f"{where}: names collected data")
    listed = manifest.get("NSPrivacyAccessedAPITypes", [])
    declared = {a["NSPrivacyAccessedAPIType"]: set(a["NSPrivacyAccessedAPITypeReasons"]) for a in listed}
    used = used_categories(undefined)
    expect(set(declared) == used, f"{where}: declares {sorted(declared)}, the library uses {sorted(used)}")
    expect(declared == DECLARED, f"{where}: gives the reasons {declared}, not {DECLARED}")


def check_framework(top, slice_name, where):
    """Layout and Info.plist of one framework: its binary and its privacy manifest."""
    inner = top / "Versions" / "A" if slice_name == "macos" else top
    resources = inner / "Resources" if slice_name == "macos" else inner
    path = resources / "Info.plist"
    plist = plistlib.loads(path.read_bytes()) if expect(path.is_file(), f"{where}: no Info.plist") else {}
    oldest = "LSMinimumSystemVersion" if slice_name == "macos" else "MinimumOSVersion"
    for key in [
        "CFBundleExecutable", "CFBundleIdentifier", "CFBundleInfoDictionaryVersion", "CFBundleName",
        "CFBundlePackageType", "CFBundleShortVersionString", "CFBundleSupportedPlatforms", "CFBundleVersion", oldest,
    ]:
        expect(plist.get(key), f"{where}: Info.plist lacks {key}")
    expect(plist.get("CFBundlePackageType") == "FMWK", f"{where}: CFBundlePackageType is not FMWK")
    # An underscore in it is refused by the App Store.
    expect(re.fullmatch(r"[A-Za-z0-9.-]+", plist.get("CFBundleIdentifier", "")), f"{where}: bad CFBundleIdentifier")
    expect(re.fullmatch(r"\d+(\.\d+){0,2}", plist.get("CFBundleShortVersionString", "")), f"{where}: bad version")
    sdk = apple.SDK_PLATFORM[slice_name]
    expect(plist.get("CFBundleSupportedPlatforms") == [sdk], f"{where}: CFBundleSupportedPlatforms is not [{sdk}]")
    expect(plist.get(oldest) == apple.MIN_OS[slice_name], f"{where}: {oldest} is not {apple.MIN_OS[slice_name]}")
    expect(plist.get("CFBundleExecutable") == MODULE, f"{where}: CFBundleExecutable is not {MODULE}")
    expect((inner / "Modules" / "module.modulemap").is_file(), f"{where}: no module map")
    expect((inner / "Headers" / f"{MODULE}.h").is_file(), f"{where}: no header")
    return inner / MODULE, resources / "PrivacyInfo.xcprivacy"


def check_xcframework(root, dynamic, sizes):
    if not expect((root / "Info.plist").is_file(), f"{root.name}: no Info.plist"):
        return
    plist = plistlib.loads((root / "Info.plist").read_bytes())
    expect(plist.get("CFBundlePackageType") == "XFWK", f"{root.name}: CFBundlePackageType is not XFWK")
    expect(plist.get("XCFrameworkFormatVersion") == "1.0", f"{root.name}: XCFrameworkFormatVersion is not 1.0")
    notices = root / "THIRD-PARTY-NOTICES.txt"
    expect(notices.is_file() and notices.stat().st_size > 1000, f"{root.name}: no third-party notices")
    libraries = plist.get("AvailableLibraries", [])
    listed = {e.get("LibraryIdentifier") for e in libraries}
    present = {p.name for p in root.iterdir() if p.is_dir()}
    expect(listed == present, f"{root.name}: lists {sorted(map(str, listed))} and holds {sorted(present)}")
    for e in libraries:
        where = f"{root.name}/{e.get('LibraryIdentifier')}"
        needed = ["LibraryIdentifier", "LibraryPath", "SupportedArchitectures", "SupportedPlatform", "BinaryPath"]
        lacks = [k for k in needed + ["DebugSymbolsPath" if dynamic else "HeadersPath"] if not e.get(k)]
        if not expect(not lacks, f"{where}: Info.plist lacks {', '.join(lacks)}"):
            continue
        variant = e.get("SupportedPlatformVariant")
        slice_name = SLICE.get(e["SupportedPlatform"] + (f"-{variant}" if variant else ""))
        if not expect(slice_name, f"{where}: no such platform: {e['SupportedPlatform']} {variant or ''}"):
            continue
        check_slice(root / e["LibraryIdentifier"], e, slice_name, dynamic, where, sizes)


def check_debug_symbols(binary, folder, where):
    """The dSYM of a dynamic library is of this very build."""
    dwarf = folder / "dSYMs" / f"{MODULE}.framework.dSYM" / "Contents" / "Resources" / "DWARF" / MODULE
    if expect(dwarf.is_file(), f"{where}: no debug symbols"):
        ours, theirs = ({(o.arch, o.uuid) for o in macho.objects(path)} for path in (binary, dwarf))
        expect(ours == theirs, f"{where}: the debug symbols are of another build: {sorted(theirs)}, not {sorted(ours)}")


def check_slice(folder, e, slice_name, dynamic, where, sizes):
    if dynamic:
        binary, privacy = check_framework(folder / e["LibraryPath"], slice_name, where)
    else:
        binary = folder / e["LibraryPath"]
        maps = sorted(str(p.relative_to(folder / e["HeadersPath"])) for p in folder.rglob("module.modulemap"))
        # At the root of Headers it would collide with every other library's.
        expect(maps == [f"{MODULE}/module.modulemap"], f"{where}: module maps at {maps}, not in a folder of their own")
        privacy = SOURCES / "PocketBERT" / "PrivacyInfo.xcprivacy"
    if not expect((folder / e["BinaryPath"]).is_file() and binary.is_file(), f"{where}: BinaryPath names no file"):
        return
    if dynamic:
        check_debug_symbols(binary, folder, where)
    counts = check_objects(binary, e["SupportedArchitectures"], slice_name, where)
    for arch in e["SupportedArchitectures"]:
        one = f"{where} ({arch})"
        if not counts[arch]:
            continue
        check_exports(binary, arch, one, dynamic)
        if dynamic:
            undefined = nm(binary, arch, "-u", "-j")
            check_needs(undefined, arch, slice_name, one)
        else:
            # Of a static library the linker decides what is needed.
            undefined = link(binary, arch, slice_name, one) if shutil.which("ld64.lld-19") else None
        if undefined is not None:
            check_privacy(privacy, undefined, one)
            print(f"{one}: {counts[arch]} objects, {len(undefined)} symbols of the system")
    sizes[where] = binary.stat().st_size


def check_ledger(path, profile, sizes, bless):
    """Sizes beside the committed ones, by profile: as ci/ledger.py does for the C library."""
    ledger = tomllib.loads(path.read_text()) if path.is_file() else {}
    if bless:
        ledger[profile] = {**ledger.get(profile, {}), **sizes}
        lines = ["# Bytes of each slice's library by Cargo profile. check.py compares, with 2 % of tolerance; --bless writes.\n"]
        for name, entries in sorted(ledger.items()):
            lines.append(f"\n[{name}]\n" + "".join(f'"{k}" = {v}\n' for k, v in sorted(entries.items())))
        path.write_text("".join(lines))
    known = ledger.get(profile, {})
    for name, size in sizes.items():
        old = known.get(name)
        print(f"{name}: {size} bytes" + (f", {size / old - 1:+.1%}" if old else ""))
        if expect(old, f"{name}: {path.name} has no entry for profile `{profile}`"):
            expect(abs(size - old) <= old * TOLERANCE, f"{name}: {size} bytes, {old} in {path.name}")


def main():
    global SOURCES
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=HERE / "build")
    parser.add_argument("--ledger", type=pathlib.Path, default=HERE / "sizes.toml")
    parser.add_argument("--sources", type=pathlib.Path, default=SOURCES, help="the Swift sources and their privacy manifest")
    parser.add_argument("--bless", action="store_true", help="write the sizes into the ledger")
    args = parser.parse_args()
    SOURCES = args.sources
    build = json.loads((args.folder / "build.json").read_text())
    sizes = {}
    check_xcframework(args.folder / "PocketBERT.xcframework", False, sizes)
    check_xcframework(args.folder / "PocketBERTDynamic.xcframework", True, sizes)
    check_ledger(args.ledger, build["profile"], sizes, args.bless)
    for p in problems:
        print("WRONG:", p)
    print(f"{len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
