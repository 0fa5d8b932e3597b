#!/usr/bin/env python3
"""Makes PocketBERT.xcframework (static) and PocketBERTDynamic.xcframework.

    bindings-ios/build-xcframework.py [--profile ship] [--out bindings-ios/build] [--slices ios,simulator,macos]

On a Mac with Xcode this is the way that ships: Apple's SDKs and linker. On Linux it is a check build: clang
compiles for Apple's targets without their SDKs, and the dynamic variant is linked against a list of the system's
symbols (apple-symbols.txt). A check build proves formats, symbols and versions; it must not ship, and says so in the
file CHECK-BUILD beside the result.

Needs Rust with the targets below (`rustup target add`; where a target's standard library cannot be had, its source by
`rustup component add rust-src`) and, on Linux, clang-19, lld-19 and llvm-19 with dsymutil.
"""

import argparse
import json
import os
import pathlib
import plistlib
import shutil
import struct
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))
import apple  # noqa: E402
from apple import CPU, LIBRARY, MIN_OS, MODULE, ROOT, SDK_PLATFORM, SLICES, TRIPLE_OS  # noqa: E402

MAC = sys.platform == "darwin"
IDENTIFIER = "org.pocketbert.PocketBERTMobileFFI"


def version():
    """The library's version: the workspace's."""
    for line in (ROOT / "Cargo.toml").read_text().splitlines():
        if line.startswith("version = "):
            return line.split('"')[1]
    sys.exit("Cargo.toml names no version")


def run(command, **kwargs):
    print("$", " ".join(map(str, command)), flush=True)
    subprocess.run([str(c) for c in command], check=True, **kwargs)


def installed_targets():
    found = subprocess.run(["rustup", "target", "list", "--installed"], capture_output=True, text=True)
    return set(found.stdout.split())


def build_static(slice_name, target, arch, profile, installed):
    """Builds the static library for one target; its path."""
    env = dict(os.environ)
    env["IPHONEOS_DEPLOYMENT_TARGET"] = MIN_OS["ios"]
    env["MACOSX_DEPLOYMENT_TARGET"] = MIN_OS["macos"]
    if not MAC:
        # Without an SDK the C compiler's driver would ask for `xcrun`: an empty folder keeps it from that.
        sdk = ROOT / "target" / "no-sdk" / (SDK_PLATFORM[slice_name] + ".sdk")
        sdk.mkdir(parents=True, exist_ok=True)
        env["SDKROOT"] = str(sdk)
        name = target.replace("-", "_")
        triple = f"--target={arch}-apple-" + TRIPLE_OS[slice_name].format(MIN_OS[slice_name])
        env[f"CC_{name}"], env[f"AR_{name}"] = "clang-19", "llvm-ar-19"
        env[f"CFLAGS_{name}"] = triple
    command = ["cargo", "rustc", "-q", "--locked", "-p", "pocketbert-mobile", "--lib", "--crate-type", "staticlib"]
    command += ["--profile", profile, "--target", target]
    if target not in installed:
        # The standard library from its source: the same code, compiled here.
        env["RUSTC_BOOTSTRAP"] = "1"
        command += ["-Zbuild-std=std,panic_unwind"]
    run(command, cwd=ROOT, env=env)
    folder = {"dev": "debug", "test": "debug"}.get(profile, profile)
    base = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return base / target / folder / LIBRARY


def fat(out, parts):
    """Joins libraries of several architectures into one file, as `lipo -create` does.

    parts: (architecture, path). llvm-lipo 19 crashes on archives as large as these.
    """
    parts = [(arch, path.read_bytes()) for arch, path in parts]
    if len(parts) == 1:
        out.write_bytes(parts[0][1])
        return
    header, body, position = b"", b"", 8 + 20 * len(parts)
    for arch, data in sorted(parts, key=lambda p: CPU[p[0]][0]):
        pad = -position % 16384
        body += b"\0" * pad + data
        header += struct.pack(">IIIII", *CPU[arch], position + pad, len(data), 14)
        position += pad + len(data)
    out.write_bytes(struct.pack(">II", 0xCAFEBABE, len(parts)) + header + body)


def headers(folder, umbrella):
    """Writes the header that the generated Swift calls, and its module map."""
    folder.mkdir(parents=True)
    shutil.copy(HERE / "Sources" / MODULE / f"{MODULE}.h", folder)
    kind = "framework module" if umbrella else "module"
    (folder / "module.modulemap").write_text(f'{kind} {MODULE} {{\n    header "{MODULE}.h"\n    export *\n}}\n')


def framework_plist(slice_name):
    platform = SDK_PLATFORM[slice_name]
    plist = {
        "CFBundleDevelopmentRegion": "en",
        "CFBundleExecutable": MODULE,
        "CFBundleIdentifier": IDENTIFIER,
        "CFBundleInfoDictionaryVersion": "6.0",
        "CFBundleName": MODULE,
        "CFBundlePackageType": "FMWK",
        "CFBundleShortVersionString": version(),
        "CFBundleSupportedPlatforms": [platform],
        "CFBundleVersion": "1",
    }
    key = "LSMinimumSystemVersion" if slice_name == "macos" else "MinimumOSVersion"
    plist[key] = MIN_OS[slice_name]
    return plist


def link_dynamic(slice_name, arch, library, out):
    """Links one architecture's dynamic library; only what the generated Swift calls is exported."""
    install = f"@rpath/{MODULE}.framework/" + ("Versions/A/" if slice_name == "macos" else "") + MODULE
    exports = HERE / "tools" / "exports.txt"
    if MAC:
        sdk = {"ios": "iphoneos", "simulator": "iphonesimulator", "macos": "macosx"}[slice_name]
        triple = f"{arch}-apple-" + TRIPLE_OS[slice_name].format(MIN_OS[slice_name])
        command = ["xcrun", "--sdk", sdk, "clang", "-target", triple, "-dynamiclib", "-Wl,-all_load", library]
        command += ["-Wl,-dead_strip", f"-Wl,-exported_symbols_list,{exports}", "-install_name", install, "-o", out]
    else:
        tbd = apple.write_tbd(out.with_suffix(".tbd"), slice_name, arch)
        command = apple.link_without_sdk(slice_name, arch, library, tbd, install, out)
    run(command)


def debug_symbols(parts, folder):
    """Makes the slice's dSYM, which turns a crash report's addresses into lines, and strips the libraries.

    parts: (architecture, dynamic library). dsymutil joins architectures by `lipo`, which is not everywhere: so one by one.
    """
    bundle = folder / "dSYMs" / f"{MODULE}.framework.dSYM"
    dwarf = []
    for arch, library in parts:
        one = library.with_suffix(".dSYM")
        run([*(["xcrun", "dsymutil"] if MAC else ["dsymutil-19"]), library, "-o", one])
        dwarf.append((arch, one / "Contents" / "Resources" / "DWARF" / library.name))
        run([*(["xcrun", "strip"] if MAC else ["llvm-strip-19"]), "-S", library])
    (bundle / "Contents" / "Resources" / "DWARF").mkdir(parents=True)
    fat(bundle / "Contents" / "Resources" / "DWARF" / MODULE, dwarf)
    plist = {
        "CFBundleDevelopmentRegion": "English",
        "CFBundleIdentifier": f"com.apple.xcode.dsym.{IDENTIFIER}",
        "CFBundleInfoDictionaryVersion": "6.0",
        "CFBundlePackageType": "dSYM",
        "CFBundleShortVersionString": version(),
        "CFBundleSignature": "????",
        "CFBundleVersion": "1",
    }
    (bundle / "Contents" / "Info.plist").write_bytes(plistlib.dumps(plist))


def framework(slice_name, libraries, folder):
    """Lays out the dynamic framework of one slice."""
    top = folder / f"{MODULE}.framework"
    inner = top / "Versions" / "A" if slice_name == "macos" else top
    resources = inner / "Resources" if slice_name == "macos" else inner
    inner.mkdir(parents=True)
    resources.mkdir(exist_ok=True)
    parts = []
    for arch, library in libraries:
        part = folder / f"{MODULE}-{arch}"
        link_dynamic(slice_name, arch, library, part)
        parts.append((arch, part))
    debug_symbols(parts, folder)
    fat(inner / MODULE, parts)
    os.chmod(inner / MODULE, 0o755)
    for part in folder.glob(f"{MODULE}-*"):
        shutil.rmtree(part) if part.is_dir() else part.unlink()
    headers(inner / "Headers", True)
    (inner / "Modules").mkdir()
    shutil.move(inner / "Headers" / "module.modulemap", inner / "Modules")
    with open(resources / "Info.plist", "wb") as f:
        plistlib.dump(framework_plist(slice_name), f)
    shutil.copy(HERE / "Sources" / "PocketBERT" / "PrivacyInfo.xcprivacy", resources)
    if slice_name == "macos":
        (top / "Versions" / "Current").symlink_to("A")
        for name in [MODULE, "Headers", "Modules", "Resources"]:
            (top / name).symlink_to(f"Versions/Current/{name}")


def identifier(slice_name):
    platform, variant, targets = SLICES[slice_name]
    return f"{platform}-{'_'.join(arch for _, arch in targets)}" + (f"-{variant}" if variant else "")


def entry(slice_name, dynamic):
    platform, variant, targets = SLICES[slice_name]
    path = f"{MODULE}.framework" if dynamic else LIBRARY
    inner = "Versions/A/" if slice_name == "macos" else ""
    e = {
        "BinaryPath": f"{path}/{inner}{MODULE}" if dynamic else path,
        "LibraryIdentifier": identifier(slice_name),
        "LibraryPath": path,
        "SupportedArchitectures": [arch for _, arch in targets],
        "SupportedPlatform": platform,
    }
    if dynamic:
        e["DebugSymbolsPath"] = "dSYMs"
    else:
        e["HeadersPath"] = "Headers"
    if variant:
        e["SupportedPlatformVariant"] = variant
    return e


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="ship" if MAC else "cross", help="Cargo profile (a Mac: ship; Linux: cross)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "build")
    parser.add_argument("--slices", default="ios,simulator,macos")
    parser.add_argument("--without", default="", metavar="TARGETS", help="Rust targets to leave out, by comma")
    args = parser.parse_args()
    names = args.slices.split(",")
    for name in names:
        if name not in SLICES:
            parser.error(f"no slice `{name}`: choose of {', '.join(SLICES)}")
    without = set(filter(None, args.without.split(",")))
    for target in without - {t for name in names for t, _ in SLICES[name][2]}:
        parser.error(f"no target `{target}` in these slices")
    for name in names:
        SLICES[name] = (*SLICES[name][:2], [t for t in SLICES[name][2] if t[0] not in without])
        if not SLICES[name][2]:
            parser.error(f"nothing is left of the slice `{name}`")
    installed = installed_targets()
    built = {}
    for name in names:
        targets = SLICES[name][2]
        built[name] = [(arch, build_static(name, target, arch, args.profile, installed)) for target, arch in targets]
    assemble(args.out, built, args.profile)


def assemble(out, built, profile):
    """Lays out both XCFrameworks in `out`.

    built: slice: [(architecture, static library)], in the order of SLICES.
    """
    for dynamic in [False, True]:
        top = out / ("PocketBERTDynamic.xcframework" if dynamic else "PocketBERT.xcframework")
        shutil.rmtree(top, ignore_errors=True)
        for name, libraries in built.items():
            folder = top / identifier(name)
            folder.mkdir(parents=True)
            if dynamic:
                framework(name, libraries, folder)
            else:
                fat(folder / LIBRARY, libraries)
                headers(folder / "Headers" / MODULE, False)
        plist = {
            "AvailableLibraries": [entry(name, dynamic) for name in built],
            "CFBundlePackageType": "XFWK",
            "XCFrameworkFormatVersion": "1.0",
        }
        with open(top / "Info.plist", "wb") as f:
            plistlib.dump(plist, f)
        shutil.copy(HERE / "THIRD-PARTY-NOTICES.txt", top)
        print(top)
    # What check.py compares sizes by.
    (out / "build.json").write_text(json.dumps({"profile": profile, "ships": MAC}) + "\n")
    note = out / "CHECK-BUILD"
    note.unlink(missing_ok=True)
    if not MAC:
        note.write_text("Built without Apple's SDKs, to be checked and not to be shipped.\n")


if __name__ == "__main__":
    main()
