#!/usr/bin/env python3
"""Shows that check.py bites: test-checks.py [--make FOLDER]

Makes a small XCFramework of every slice from a C file, by the functions of build-xcframework.py: it has the functions
that Swift calls and asks the system for a file's size, as the library does. check.py must pass it, and must name what
is wrong after each of the changes below. Takes seconds; needs clang-19, lld-19 and llvm-19.

--make only writes the small XCFrameworks: for test-linux.sh --package.
"""

import argparse
import contextlib
import importlib.util
import io
import pathlib
import plistlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "tools"))
import apple  # noqa: E402
from apple import LIBRARY, MODULE  # noqa: E402

STATIC, DYNAMIC = "PocketBERT.xcframework", "PocketBERTDynamic.xcframework"


def load(name):
    spec = importlib.util.spec_from_file_location(name.replace("-", "_"), HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def source(arch, calls=(), lacks=None, more=""):
    """C code with the functions that Swift calls; the first asks for a file's size."""
    stat = "fstat$INODE64" if arch == "x86_64" else "fstat"
    lines = [f'int size(int, void *) __asm("_{stat}");', "void *malloc(unsigned long);"]
    names = sorted(n[1:] for n in apple.called_by_swift() if n != lacks)
    lines += [f"int {name}(void);" for name in calls]
    called = "".join(f" + {name}()" for name in calls)
    lines.append(f"int {names[0]}(void) {{ return size(0, malloc(99)){called}; }}")
    lines += [f"int {name}(void) {{ return 1; }}" for name in names[1:]]
    return "\n".join([*lines, more, ""])


def compile_library(folder, slice_name, arch, code, minimum=None):
    """A static library with one object."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x.c").write_text(code)
    triple = f"{arch}-apple-" + apple.TRIPLE_OS[slice_name].format(minimum or apple.MIN_OS[slice_name])
    command = ["clang-19", f"--target={triple}", "-O1", "-g", "-w", "-c", folder / "x.c", "-o", folder / "x.o"]
    subprocess.run([str(c) for c in command], check=True)
    library = folder / LIBRARY
    library.unlink(missing_ok=True)
    subprocess.run(["llvm-ar-19", "qcs", str(library), str(folder / "x.o")], check=True)
    return library


def make(out, build):
    scratch = out / "objects"
    built = {
        name: [(arch, compile_library(scratch / name / arch, name, arch, source(arch))) for _, arch in targets]
        for name, (_, _, targets) in apple.SLICES.items()
    }
    with contextlib.redirect_stdout(io.StringIO()):
        build.assemble(out, built, "small")
    shutil.rmtree(scratch)


def check(folder, bless=False):
    """What check.py prints, and its exit status."""
    command = [sys.executable, HERE / "check.py", folder, "--ledger", folder / "sizes.toml"]
    command += ["--sources", folder / "Sources"] + ["--bless"] * bless
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    return done.stdout + done.stderr, done.returncode


def edit_plist(path, change):
    plist = plistlib.loads(path.read_bytes())
    change(plist)
    path.write_bytes(plistlib.dumps(plist))


def remove(key):
    return lambda plist: plist.pop(key)


def put(key, value):
    return lambda plist: plist.update({key: value})


def library_from(slice_name="ios", arch="arm64", at="ios-arm64", compiled_for=None, minimum=None, **code):
    """A change: the slice's static library is another one."""

    def change(out):
        scratch = out / "other"
        library = compile_library(scratch, compiled_for or slice_name, arch, source(arch, **code), minimum)
        shutil.move(library, out / STATIC / at / LIBRARY)
        shutil.rmtree(scratch)

    return change


def dynamic_from(build, code, keep=None):
    """A change: the device's dynamic library is another one; `keep` lists what it exports."""

    def change(out):
        scratch = out / "other"
        library = compile_library(scratch, "ios", "arm64", code)
        names = apple.allowed_symbols("ios", "arm64") | {"_connect", "_sin", "_mach_absolute_time"}
        tbd = apple.write_tbd(scratch / "x.tbd", "ios", "arm64", names)
        binary = out / DYNAMIC / "ios-arm64" / f"{MODULE}.framework" / MODULE
        command = apple.link_without_sdk("ios", "arm64", library, tbd, "@rpath/x", binary)
        if keep:
            exports = scratch / "exports.txt"
            exports.write_text((HERE / "tools" / "exports.txt").read_text() + keep)
            command[command.index("-exported_symbols_list") + 1] = exports
        subprocess.run([str(c) for c in command], check=True)
        shutil.rmtree(scratch)

    return change


def manifest(change):
    """A change of the privacy manifest in the device's framework."""
    return lambda out: edit_plist(
        out / DYNAMIC / "ios-arm64" / f"{MODULE}.framework" / "PrivacyInfo.xcprivacy", change
    )


def source_manifest(change):
    """A change of the manifest that goes with the static variant."""
    return lambda out: edit_plist(out / "Sources" / "PocketBERT" / "PrivacyInfo.xcprivacy", change)


def swift(line):
    """A change: the Swift sources have another line."""

    def change(out):
        with open(out / "Sources" / "PocketBERT" / "Library.swift", "a") as f:
            f.write(line + "\n")

    return change


def framework_plist(change):
    return lambda out: edit_plist(out / DYNAMIC / "ios-arm64" / f"{MODULE}.framework" / "Info.plist", change)


def top_plist(change):
    return lambda out: edit_plist(out / STATIC / "Info.plist", change)


def move_module_map(out):
    headers = out / STATIC / "ios-arm64" / "Headers"
    shutil.move(headers / MODULE / "module.modulemap", headers / "module.modulemap")


def damage(out):
    with open(out / STATIC / "ios-arm64" / LIBRARY, "ab") as f:
        f.write(b"?" * 100)


def reason(category, *codes):
    return {"NSPrivacyAccessedAPIType": f"NSPrivacyAccessedAPICategory{category}", "NSPrivacyAccessedAPITypeReasons": list(codes)}


def changes(build):
    """name of the change: (the change, what check.py must say)"""
    types = "NSPrivacyAccessedAPITypes"
    boot = source("arm64", calls=["mach_absolute_time"])
    nothing = source("arm64").replace('size(0, malloc(99))', "1")
    return {
        "a top key is missing": (top_plist(remove("XCFrameworkFormatVersion")), "XCFrameworkFormatVersion is not 1.0"),
        "an entry lacks its platform": (
            top_plist(lambda p: p["AvailableLibraries"][0].pop("SupportedPlatform")), "lacks SupportedPlatform"),
        "an entry is for no platform": (
            top_plist(lambda p: p["AvailableLibraries"][0].update(SupportedPlatform="nokia")), "no such platform: nokia"),
        "an entry is missing": (top_plist(lambda p: p["AvailableLibraries"].pop()), "and holds"),
        "no Info.plist": (lambda out: (out / STATIC / "Info.plist").unlink(), "no Info.plist"),
        "no notices": (lambda out: (out / STATIC / "THIRD-PARTY-NOTICES.txt").unlink(), "no third-party notices"),
        "the module map is at the root": (move_module_map, "not in a folder of their own"),
        "no library": (lambda out: (out / STATIC / "ios-arm64" / LIBRARY).unlink(), "BinaryPath names no file"),
        "a framework lacks its platforms": (
            framework_plist(remove("CFBundleSupportedPlatforms")), "lacks CFBundleSupportedPlatforms"),
        "a framework lacks its oldest system": (framework_plist(remove("MinimumOSVersion")), "lacks MinimumOSVersion"),
        "a framework's identifier has an underscore": (
            framework_plist(put("CFBundleIdentifier", "org.pocket_bert.x")), "bad CFBundleIdentifier"),
        "objects of the wrong platform": (library_from(compiled_for="simulator"), "an object is for platform"),
        "objects of the wrong architecture": (library_from(arch="x86_64"), "holds no code for arm64"),
        "objects that need a newer system": (library_from(minimum="16.1"), "an object needs ios (16, 1)"),
        "one of two architectures is missing": (
            library_from("simulator", "arm64", at="ios-arm64_x86_64-simulator"), "holds no code for x86_64"),
        "a symbol that the system is not asked for": (library_from(calls=["sin"]), "does not link with the listed symbols"),
        "a network symbol": (library_from(calls=["connect"]), "network symbols: _connect"),
        "a network symbol, dynamic": (dynamic_from(build, source("arm64", calls=["connect"])), "network symbols: _connect"),
        "a symbol that is not listed, dynamic": (dynamic_from(build, source("arm64", calls=["sin"])), "not on the list: _sin"),
        "a function that Swift calls is missing": (
            library_from(lacks=sorted(apple.called_by_swift())[5]), "lacks 1 functions that Swift calls"),
        "the C library's symbols": (
            library_from(more="int pocketbert_version(void) { return 1; }"), "exports the C library's symbols"),
        "the fault injection": (
            library_from(more="int uniffi_dangerous_panic(void) { return 1; }"), "fault injection"),
        "an export too many, dynamic": (
            dynamic_from(build, source("arm64", more="int leak(void) { return 1; }"), "_leak\n"),
            "exports more than Swift calls: _leak"),
        "no privacy manifest": (
            lambda out: (out / DYNAMIC / "ios-arm64" / f"{MODULE}.framework" / "PrivacyInfo.xcprivacy").unlink(),
            "no privacy manifest"),
        "a category is not declared": (manifest(put(types, [])), "declares []"),
        "a category is declared and not used": (
            manifest(lambda p: p[types].append(reason("SystemBootTime", "35F9.1"))), "SystemBootTime'], the library uses"),
        "a category is used and not declared": (
            dynamic_from(build, boot), "the library uses ['NSPrivacyAccessedAPICategoryFileTimestamp', 'NSPrivacyAccessedAPICategorySystemBootTime']"),
        "a category is declared and no longer used": (dynamic_from(build, nothing), "the library uses []"),
        "Swift uses a category that is not declared": (
            swift("let started = ProcessInfo.processInfo.systemUptime"), "NSPrivacyAccessedAPICategorySystemBootTime']"),
        "a category is not declared, static": (source_manifest(put(types, [])), "PocketBERT.xcframework/ios-arm64 (arm64): declares []"),
        "a category is declared and not used, static": (
            source_manifest(lambda p: p[types].append(reason("DiskSpace", "E174.1"))),
            "DiskSpace', 'NSPrivacyAccessedAPICategoryFileTimestamp'], the library uses"),
        "a reason too many": (
            manifest(lambda p: p[types][0]["NSPrivacyAccessedAPITypeReasons"].append("DDA9.1")), "gives the reasons"),
        "no reason": (manifest(lambda p: p[types][0].update(NSPrivacyAccessedAPITypeReasons=[])), "gives the reasons"),
        "tracking": (manifest(put("NSPrivacyTracking", True)), "tracking must be denied"),
        "a damaged library": (damage, "is no library"),
        "no debug symbols": (lambda out: shutil.rmtree(out / DYNAMIC / "ios-arm64" / "dSYMs" / f"{MODULE}.framework.dSYM"), "no debug symbols"),
        "debug symbols of another build": (
            dynamic_from(build, source("arm64", more="int leak(void) { return 1; }"), "_leak\n"), "of another build"),
        "a size": (library_from(more="char more[9999] = {1};"), "in sizes.toml"),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", type=pathlib.Path)
    args = parser.parse_args()
    missing = [t for t in ["clang-19", "ld64.lld-19", "llvm-ar-19", "llvm-nm-19"] if not shutil.which(t)]
    if missing:
        print(f"SKIPPED: {', '.join(missing)} not installed")
        return
    build = load("build-xcframework")
    if args.make:
        make(args.make, build)
        return
    with tempfile.TemporaryDirectory() as folder:
        good, broken = pathlib.Path(folder) / "good", pathlib.Path(folder) / "broken"
        make(good, build)
        shutil.copytree(HERE / "Sources", good / "Sources")
        said, status = check(good, bless=True)
        if status:
            sys.exit(f"check.py refuses what is right:\n{said}")
        print(said.splitlines()[-1], "in the XCFramework as it should be")
        wrong = 0
        for name, (change, expected) in changes(build).items():
            shutil.copytree(good, broken, symlinks=True)
            change(broken)
            said, status = check(broken)
            bites = status == 1 and any(expected in line for line in said.splitlines() if line.startswith("WRONG:"))
            print(f"{'refused' if bites else 'NOT REFUSED'}: {name}")
            if not bites:
                wrong += 1
                print(f"  expected `{expected}`:\n{said}")
            shutil.rmtree(broken)
        print(f"{len(changes(build))} changes, {wrong} not refused")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
