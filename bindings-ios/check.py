#!/usr/bin/env python3
"""Checks what build-xcframework.py made: check.py [FOLDER] [--ledger tools/sizes.toml] [--write-ledger]

* Info.plist of the XCFrameworks and of every framework: the keys that Xcode and the App Store ask for.
* Every object: architecture, platform, oldest system.
* Undefined symbols: all on the list of the system's symbols, none of a network; exported ones: what Swift calls.
* The privacy manifest names exactly the required-reason APIs that are used.
* Headers and module maps are namespaced; notices are there; sizes are as in the ledger.

Needs llvm-19 (on a Mac: Xcode's tools). Exit status 1 when anything is wrong; every problem is printed.
"""

import argparse
import pathlib
import plistlib
import re
import shutil
import subprocess
import sys
import tomllib

HERE = pathlib.Path(__file__).resolve().parent
MODULE = "PocketBERTMobileFFI"
PLATFORMS = {"ios": 2, "ios-simulator": 7, "macos": 1}  # <mach-o/loader.h>: PLATFORM_IOS, _IOSSIMULATOR, _MACOS
# LLVM and Rust raise the oldest system of a target where the processor came later.
OLDEST = {"ios": (15, 0), "ios-simulator": (15, 0), "macos": (12, 0)}
NETWORK = re.compile(
    r"^_(socket|connect|bind|listen|accept|send|sendto|sendmsg|recv|recvfrom|recvmsg|getaddrinfo|gethostby\w+|"
    r"nw_\w+|CFSocket\w+|CFNetwork\w+|CFHost\w+|SecTrust\w+|res_\w+|OBJC_CLASS_\$_NSURL\w*)$"
)
# Apple, "Describing use of required reason API": the C functions of each category that a Rust library could use.
REASONS = {
    "NSPrivacyAccessedAPICategoryFileTimestamp": {
        "_stat", "_fstat", "_fstatat", "_lstat", "_getattrlist", "_getattrlistat", "_fgetattrlist", "_getattrlistbulk",
        "_stat$INODE64", "_fstat$INODE64", "_lstat$INODE64", "_fstatat$INODE64",
    },
    "NSPrivacyAccessedAPICategorySystemBootTime": {"_mach_absolute_time"},
    "NSPrivacyAccessedAPICategoryDiskSpace": {
        "_statfs", "_fstatfs", "_statvfs", "_fstatvfs", "_statfs$INODE64", "_fstatfs$INODE64",
    },
    "NSPrivacyAccessedAPICategoryUserDefaults": {"_CFPreferencesCopyAppValue", "_OBJC_CLASS_$_NSUserDefaults"},
    "NSPrivacyAccessedAPICategoryActiveKeyboards": {"_OBJC_CLASS_$_UITextInputMode"},
}

problems = []


def expect(condition, message):
    if not condition:
        problems.append(message)


def tool(name):
    for candidate in (f"llvm-{name}-19", f"llvm-{name}", name):
        if shutil.which(candidate):
            return candidate
    sys.exit(f"SKIPPED: neither llvm-{name}-19 nor {name} is installed")


def output(command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    # Rust's own objects carry bitcode of a newer LLVM beside their code: the tool skips them and says so.
    errors = [e for e in done.stderr.splitlines() if e.strip() and "Unknown attribute kind" not in e]
    if done.returncode != 0 and errors:
        problems.append(f"`{' '.join(map(str, command))}`: {done.stderr.strip()[:200]}")
    return done.stdout


def nm(binary, arch, *flags):
    lines = output([tool("nm"), f"--arch={arch}" if "llvm" in tool("nm") else f"-arch {arch}", *flags, binary])
    return {line.split()[-1] for line in lines.splitlines() if line.strip() and not line.rstrip().endswith(":")}


def check_objects(binary, arch, platform, where):
    text = output([tool("otool"), "-arch", arch, "-l", binary])
    found = re.findall(r"cmd LC_BUILD_VERSION.*?platform (\S+).*?minos (\d+)\.(\d+)", text, re.S)
    old = len(re.findall(r"cmd LC_VERSION_MIN_", text))
    expect(found, f"{where}: no object says its platform")
    expect(old == 0, f"{where}: {old} objects name their platform in the old way")
    numbers = {"MACOS": 1, "IOS": 2, "IOSSIMULATOR": 7}
    for name, major, minor in found:
        number = numbers.get(name.upper(), int(name) if name.isdigit() else -1)
        expect(number == PLATFORMS[platform], f"{where}: an object is for platform {name}, not {platform}")
        expect((int(major), int(minor)) <= OLDEST[platform], f"{where}: an object needs {platform} {major}.{minor}")
    return len(found)


def check_symbols(binary, arch, where, dynamic):
    undefined = nm(binary, arch, "-u", "-j")
    allowed = {
        line.strip()
        for line in (HERE / "tools" / "apple-symbols.txt").read_text().splitlines()
        if line.strip() and not line.startswith("#")
    } | {"dyld_stub_binder"}
    # Of a static library the linker decides what is needed: the dynamic variant is linked from it.
    extra = undefined - allowed if dynamic else set()
    expect(not extra, f"{where}: needs symbols that are not on the list: {', '.join(sorted(extra)[:12])}")
    network = {s for s in undefined if NETWORK.match(s)}
    expect(not network, f"{where}: network symbols: {', '.join(sorted(network))}")
    exported = nm(binary, arch, "-g", "-U", "-j")
    ours = {s for s in exported if s.startswith(("_uniffi_", "_ffi_pocketbert_mobile_"))}
    expect(len(ours) > 50, f"{where}: only {len(ours)} of the symbols that Swift calls")
    expect(not any(s.startswith("_pocketbert_") for s in exported), f"{where}: exports the C library's symbols")
    expect(not any("dangerous" in s for s in exported), f"{where}: holds the fault injection of test builds")
    if dynamic:
        others = {s for s in exported - ours if not s.startswith("__mh_")}
        expect(not others, f"{where}: exports more than Swift calls: {', '.join(sorted(others)[:8])}")
    return undefined


def check_privacy(path, undefined, where):
    manifest = plistlib.loads(path.read_bytes())
    expect(manifest.get("NSPrivacyTracking") is False, f"{where}: tracking must be denied")
    expect(manifest.get("NSPrivacyTrackingDomains") == [], f"{where}: names tracking domains")
    expect(manifest.get("NSPrivacyCollectedDataTypes") == [], f"{where}: names collected data")
    declared = {a["NSPrivacyAccessedAPIType"] for a in manifest.get("NSPrivacyAccessedAPITypes", [])}
    for a in manifest.get("NSPrivacyAccessedAPITypes", []):
        expect(a.get("NSPrivacyAccessedAPITypeReasons"), f"{where}: {a['NSPrivacyAccessedAPIType']} without a reason")
    used = {category for category, names in REASONS.items() if names & undefined}
    expect(declared == used, f"{where}: declares {sorted(declared)}, the library uses {sorted(used)}")


def check_framework_plist(top, platform, where):
    inner = top / "Versions" / "A" if platform == "macos" else top
    path = (inner / "Resources" if platform == "macos" else inner) / "Info.plist"
    plist = plistlib.loads(path.read_bytes())
    oldest = "LSMinimumSystemVersion" if platform == "macos" else "MinimumOSVersion"
    for key in [
        "CFBundleExecutable", "CFBundleIdentifier", "CFBundleInfoDictionaryVersion", "CFBundleName",
        "CFBundlePackageType", "CFBundleShortVersionString", "CFBundleSupportedPlatforms", "CFBundleVersion", oldest,
    ]:
        expect(plist.get(key), f"{where}: Info.plist lacks {key}")
    expect(plist.get("CFBundlePackageType") == "FMWK", f"{where}: CFBundlePackageType is not FMWK")
    expect(re.fullmatch(r"[A-Za-z0-9.-]+", plist.get("CFBundleIdentifier", "")), f"{where}: bad CFBundleIdentifier")
    sdk = {"ios": "iPhoneOS", "ios-simulator": "iPhoneSimulator", "macos": "MacOSX"}[platform]
    expect(plist.get("CFBundleSupportedPlatforms") == [sdk], f"{where}: CFBundleSupportedPlatforms is not [{sdk}]")
    expect((inner / "Modules" / "module.modulemap").is_file(), f"{where}: no module map")
    expect((inner / "Headers" / f"{MODULE}.h").is_file(), f"{where}: no header")
    return inner / MODULE, (inner / "Resources" if platform == "macos" else inner) / "PrivacyInfo.xcprivacy"


def check_xcframework(root, dynamic, sizes):
    plist = plistlib.loads((root / "Info.plist").read_bytes())
    expect(plist.get("CFBundlePackageType") == "XFWK", f"{root.name}: CFBundlePackageType is not XFWK")
    expect(plist.get("XCFrameworkFormatVersion") == "1.0", f"{root.name}: XCFrameworkFormatVersion is not 1.0")
    expect((root / "THIRD-PARTY-NOTICES.txt").stat().st_size > 1000, f"{root.name}: no third-party notices")
    listed = {e["LibraryIdentifier"] for e in plist["AvailableLibraries"]}
    present = {p.name for p in root.iterdir() if p.is_dir()}
    expect(listed == present, f"{root.name}: lists {sorted(listed)} and holds {sorted(present)}")
    for e in plist["AvailableLibraries"]:
        platform = e["SupportedPlatform"] + ("-" + e["SupportedPlatformVariant"] if "SupportedPlatformVariant" in e else "")
        folder = root / e["LibraryIdentifier"]
        where = f"{root.name}/{e['LibraryIdentifier']}"
        if dynamic:
            binary, privacy = check_framework_plist(folder / e["LibraryPath"], platform, where)
        else:
            binary = folder / e["LibraryPath"]
            maps = sorted(str(p.relative_to(folder / e["HeadersPath"])) for p in folder.rglob("module.modulemap"))
            expect(maps == [f"{MODULE}/module.modulemap"], f"{where}: module maps at {maps}, not in a folder of their own")
            privacy = HERE / "Sources" / "PocketBERT" / "PrivacyInfo.xcprivacy"
        expect((folder / e["BinaryPath"]).is_file(), f"{where}: BinaryPath names no file")
        for arch in e["SupportedArchitectures"]:
            objects = check_objects(binary, arch, platform, f"{where} ({arch})")
            undefined = check_symbols(binary, arch, f"{where} ({arch})", dynamic)
            if dynamic:
                check_privacy(privacy, undefined, f"{where} ({arch})")
            print(f"{where}: {arch}, {objects} objects, {len(undefined)} symbols of the system")
        sizes[where] = binary.stat().st_size


def check_ledger(path, sizes, write):
    if write:
        lines = ["# Bytes of each slice's library. Written by check.py --write-ledger; a change of more than 5 % fails.\n"]
        path.write_text("".join(lines + [f'"{k}" = {v}\n' for k, v in sorted(sizes.items())]))
        return
    ledger = tomllib.loads(path.read_text())
    for name, size in sizes.items():
        known = ledger.get(name)
        expect(known, f"{name}: not in {path.name}")
        if known:
            expect(abs(size - known) <= known * 0.05, f"{name}: {size} bytes, {known} in {path.name}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path, nargs="?", default=HERE / "build")
    parser.add_argument("--ledger", type=pathlib.Path, default=HERE / "tools" / "sizes.toml")
    parser.add_argument("--write-ledger", action="store_true")
    args = parser.parse_args()
    sizes = {}
    check_xcframework(args.folder / "PocketBERT.xcframework", False, sizes)
    check_xcframework(args.folder / "PocketBERTDynamic.xcframework", True, sizes)
    check_ledger(args.ledger, sizes, args.write_ledger)
    for p in problems:
        print("WRONG:", p)
    print(f"{len(problems)} problems")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
