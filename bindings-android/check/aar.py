#!/usr/bin/env python3
"""Looks at a built AAR: check/aar.py [--work FOLDER] [--abi ABI]…

After `bindings-android/build.sh aar`. Checks what is in the AAR, its manifest, every native library (JNA's too), what R8
makes of it in full mode, and an APK of the sample app. Needs aapt, apksigner, readelf and a JDK.
"""

import argparse
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import apk  # noqa: E402
import bites  # noqa: E402
from apk import run  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent.parent
ROOT = HERE.parent
JARS = HERE / "apk/target/jars"
NAME = "libpocketbert_mobile.so"
SYSTEM = {"libc.so", "libm.so", "libdl.so", "liblog.so"}
NETWORK = {"socket", "connect", "bind", "listen", "accept", "accept4", "getaddrinfo", "gethostbyname", "send", "sendto",
           "sendmsg", "recv", "recvfrom", "recvmsg", "android_getaddrinfofornet"}
checks = 0


def check(ok: bool, what: str) -> None:
    global checks
    checks += 1
    if not ok:
        sys.exit(f"check/aar.py: {what}")


def structure(aar: pathlib.Path, abis: list) -> None:
    with zipfile.ZipFile(aar) as z:
        names = z.namelist()
        expected = {"AndroidManifest.xml", "proguard.txt", "R.txt", "classes.jar", "THIRD-PARTY-NOTICES.txt", "LICENSE-MIT",
                    "LICENSE-APACHE", "META-INF/com/android/build/gradle/aar-metadata.properties"}
        expected |= {f"jni/{abi}/{NAME}" for abi in abis}
        if "-check" in aar.name:
            expected.add("CHECK-BUILD-DO-NOT-SHIP.txt")
        check(set(names) == expected, f"entries differ: {set(names) ^ expected}")
        check(names == sorted(names) and len({i.date_time for i in z.infolist()}) == 1, "entries are not in order, or times differ")
        check("com.sun.jna" in z.read("proguard.txt").decode(), "the consumer rules say nothing of JNA")
        with z.open("classes.jar") as jar, zipfile.ZipFile(jar) as classes:
            listed = classes.namelist()
        for wanted in ("TextClassifier", "AndroidAssets", "MemoryTrimmer", "internal/NativeLibrary"):
            check(f"org/pocketbert/{wanted}.class" in listed, f"no class {wanted}")
        foreign = [n for n in listed if not n.startswith("org/pocketbert/") and not n.endswith(".kotlin_module")]
        check(not foreign, f"others' classes are inside: {foreign[:3]}")


def manifest(aar: pathlib.Path, work: pathlib.Path) -> None:
    """The manifest as Android's own tool reads it: no permission of any kind, and the oldest Android."""
    with zipfile.ZipFile(aar) as z:
        z.extract("AndroidManifest.xml", work)
    run("aapt2", "link", "--static-lib", "-I", JARS / "android-all.jar", "--manifest", work / "AndroidManifest.xml", "-o",
        work / "library.apk")
    run("aapt2", "link", "-I", JARS / "android-all.jar", "--manifest", work / "AndroidManifest.xml", "-o", work / "manifest.apk")
    said = run("aapt2", "dump", "badging", work / "manifest.apk")
    check("permission" not in said, f"the library asks for a permission:\n{said}")
    check("sdkVersion:'23'" in said, f"minSdk is not 23:\n{said}")
    check("permission" not in (work / "AndroidManifest.xml").read_text().replace("No permission", ""), "a permission is mentioned")


def elf(file: pathlib.Path, abi: str, ours: bool) -> set:
    """One native library; returns what it exports."""
    name = f"{abi}/{file.name}"
    head = run("readelf", "-hW", file)
    machine = {"arm64-v8a": "AArch64", "armeabi-v7a": "ARM", "x86_64": "X86-64"}[abi]
    check(machine in head, f"{name} is not for {abi}")
    segments, dynamic = run("readelf", "-lW", file), run("readelf", "-dW", file)
    loads = re.findall(r"^\s+LOAD\s.*\s(0x[0-9a-f]+)$", segments, re.M)
    check(loads and all(int(a, 16) % 16384 == 0 for a in loads), f"{name}: pages of 16 KiB need larger alignment: {loads}")
    check("TEXTREL" not in dynamic, f"{name} has text relocations")
    check("RWE" not in segments, f"{name} has memory that can be written and executed")
    needed = set(re.findall(r"\(NEEDED\).*\[(.*)\]", dynamic))
    check(needed <= SYSTEM, f"{name} needs {needed - SYSTEM}")
    symbols = [line.split() for line in run("readelf", "--dyn-syms", "-W", file).splitlines()]
    symbols = [s for s in symbols if len(s) == 8 and s[0] != "Num:"]
    undefined = {s[7].split("@")[0] for s in symbols if s[6] == "UND"}
    check(not undefined & NETWORK, f"{name} uses the network: {undefined & NETWORK}")
    exported = {s[7].split("@")[0] for s in symbols if s[6] != "UND" and s[4] in ("GLOBAL", "WEAK")}
    if ours:
        check(f"[{NAME}]" in dynamic and "SONAME" in dynamic, f"{name} does not name itself")
        check("BIND_NOW" in dynamic or " NOW" in dynamic, f"{name} is not bound at loading")
        check("GNU_RELRO" in segments, f"{name} has no read-only relocations")
        check("Android" in run("readelf", "-nW", file), f"{name} does not say its Android version")
        check(not re.search(r"\.symtab|\.debug_", run("readelf", "-SW", file)), f"{name} is not stripped")
    return exported


def libraries(work: pathlib.Path, aar: pathlib.Path, abis: list) -> dict:
    """Every native library of an app: ABI/file -> bytes."""
    found = {}
    generated = (HERE / "internal/src/main/generated/org/pocketbert/internal/pocketbert_mobile.kt").read_text()
    called = set(re.findall(r"external fun ((?:uniffi|ffi)_\w+)", generated)) | {
        "JNI_OnLoad", "Java_org_pocketbert_internal_Descriptors_number"}
    for archive, ours in ((aar, True), (JARS / "jna.aar", False)):
        with zipfile.ZipFile(archive) as z:
            for name in z.namelist():
                parts = name.split("/")
                if parts[0] == "jni" and parts[-1].endswith(".so") and parts[1] in abis:
                    found[f"{parts[1]}/{parts[2]}"] = z.read(name)
                    file = work / z.extract(name, work)
                    exported = elf(file, parts[1], ours)
                    if ours:
                        check(called <= exported, f"{name} lacks {sorted(called - exported)[:5]}")
                        odd = {s for s in exported - called if not s.startswith(("uniffi_", "ffi_", "UNIFFI_META_"))}
                        check(not odd, f"{name} exports {sorted(odd)[:5]}")
                        check(not any("dangerous" in s for s in exported), f"{name} was built for tests")
    check(len(found) == 2 * len(abis), f"libraries: {sorted(found)}")
    return found


def symbols(aar: pathlib.Path, work: pathlib.Path, abis: list) -> None:
    """The symbols are those of the stripped libraries: the build's id is the same."""
    def build_id(file: pathlib.Path) -> str:
        found = re.search(r"Build ID: ([0-9a-f]{16,})", run("readelf", "-nW", file))
        return found.group(1) if found else ""

    with zipfile.ZipFile(aar.with_name(aar.stem + "-symbols.zip")) as z:
        for abi in abis:
            whole = pathlib.Path(z.extract(f"{abi}/{NAME}", work / "symbols"))
            check(".symtab" in run("readelf", "-SW", whole), f"{abi}: no symbols")
            check(build_id(whole) == build_id(work / f"jni/{abi}/{NAME}") != "", f"{abi}: the symbols are another build's")


def java_home() -> str:
    """The JDK: the jar with Android's classes lacks `java.lang`."""
    return re.search(r"java\.home = (.*)", run("java", "-XshowSettings:properties", "-version")).group(1).strip()


def r8(work: pathlib.Path, aar: pathlib.Path, mode: list, rules: list, inputs: list, more: list,
       out: pathlib.Path) -> str:
    """R8 in full mode, with the rules that the AAR brings and those of an app."""
    with zipfile.ZipFile(aar) as z:
        (work / "consumer.pro").write_bytes(z.read("proguard.txt"))
        (work / "classes.jar").write_bytes(z.read("classes.jar"))
    (work / "app.pro").write_text("\n".join(rules))
    with zipfile.ZipFile(JARS / "jna.aar") as z:
        (work / "jna.jar").write_bytes(z.read("classes.jar"))
    out.mkdir(exist_ok=True)
    jars = ["kotlin-stdlib", "annotations", "kotlinx-coroutines-core-jvm", *more]
    return run("java", "-Xmx1g", "-cp", JARS / "r8.jar", "com.android.tools.r8.R8", "--release", *mode, "--lib",
               java_home(), "--lib", JARS / "android-all.jar", "--pg-conf", work / "consumer.pro", "--pg-conf", work / "app.pro", "--pg-map-output",
               out / "mapping.txt", "--output", out, *inputs, work / "classes.jar", work / "jna.jar",
               *(JARS / f"{j}.jar" for j in jars))


def jna_classes(work: pathlib.Path) -> set:
    with zipfile.ZipFile(work / "jna.jar") as z:
        return {n[:-6].replace("/", ".") for n in z.namelist() if n.endswith(".class") and not n.startswith("META-INF")}


def shrunk_runs(work: pathlib.Path, aar: pathlib.Path) -> None:
    """The shrunk classes, kept as class files, classify on this machine's JVM: what JNA looks up by name is there."""
    classes = work / "main"
    run("javac", "-d", classes, "-cp", f"{HERE / 'android/target/classes'}:{JARS / 'kotlin-stdlib.jar'}:{JARS / 'kotlinx-coroutines-core-jvm.jar'}", "--release", "8",
        "-Xlint:-options", HERE / "check/ShrunkMain.java")
    shutil.make_archive(str(work / "main"), "zip", classes)
    rules = ["-keep class ShrunkMain { public static void main(java.lang.String[]); }"]
    r8(work, aar, ["--classfile"], rules, [work / "main.zip"], [], work / "shrunk")
    kept = {str(p.relative_to(work / "shrunk"))[:-6].replace("/", ".") for p in (work / "shrunk").rglob("*.class")}
    check(jna_classes(work) <= kept, f"R8 removed {sorted(jna_classes(work) - kept)[:5]}")
    check("org.pocketbert.Reranker" not in kept and "org.pocketbert.TextClassifier" not in kept, "R8 shrank nothing")
    with zipfile.ZipFile(JARS / "jna.jar") as z:
        native = work / z.extract("com/sun/jna/linux-x86-64/libjnidispatch.so", work)
    target = pathlib.Path(run("cargo", "metadata", "--format-version", "1", "--no-deps").split('"target_directory":"')[1].split('"')[0])
    said = run("java", "-Dorg.pocketbert.library=" + str(target / f"release/{NAME}"), f"-Djna.boot.library.path={native.parent}",
               "-cp", work / "shrunk", "ShrunkMain", ROOT / "models/everyday.pbert")
    check(said == "positive Paris\nerror 5\nlogged true\n", f"the shrunk program said: {said}")


def application(work: pathlib.Path, aar: pathlib.Path, found: dict, out: pathlib.Path) -> None:
    """The sample: shrunk to dex, made an APK twice, with the asset stored and compressed."""
    shutil.make_archive(str(work / "sample"), "zip", HERE / "apk/target/classes")
    # The annotation's library is on a server that is not reached here; coroutines only mention it.
    rules = ["-keep class org.pocketbert.sample.MainActivity { <init>(); }", "-dontwarn androidx.annotation.VisibleForTesting"]
    r8(work, aar, ["--min-api", "24"], rules, [work / "sample.zip"], ["kotlinx-coroutines-android"], work / "dex")
    dex = sorted((work / "dex").glob("*.dex"))
    defined = set().union(*(apk.dex_classes(d.read_bytes()) for d in dex))
    check(jna_classes(work) <= defined, f"R8 removed {sorted(jna_classes(work) - defined)[:5]}")
    check("org.pocketbert.internal.RustBuffer$ByValue" in defined, "R8 renamed a structure")
    check("org.pocketbert.sample.MainActivity" in defined, "no activity")
    source = HERE / "sample/app/src/main/AndroidManifest.xml"
    text = source.read_text().replace("<manifest ", '<manifest package="org.pocketbert.sample" ', 1)
    (work / "sample.xml").write_text(text)
    out.mkdir(parents=True, exist_ok=True)
    for stored in (True, False):
        file = out / ("stored.apk" if stored else "compressed.apk")
        apk.make(work / "sample.xml", JARS / "android-all.jar", ROOT / "models/tiny.pbert", dex, found, stored, file)
        said = run("aapt2", "dump", "badging", file)
        check("uses-permission" not in said, f"the app asks for a permission:\n{said}")
        check("launchable-activity: name='org.pocketbert.sample.MainActivity'" in said, said)
        for abi in {n.split("/")[0] for n in found}:
            check(f"'{abi}'" in said, f"no {abi} in {said}")
        places = apk.offsets(file)
        for name in found:
            check(places.get(f"lib/{name}", 1) % 16384 == 0, f"{name} is not on a page of 16 KiB")
        check(("assets/tiny.pbert" in places) == stored, f"{file.name}: the asset's compression is not as asked")
        print(f"{file}: {file.stat().st_size:,} bytes, {len(dex)} dex with {len(defined)} classes")


def refused(work: pathlib.Path, aar: pathlib.Path, abis: list) -> None:
    """What is broken on purpose is refused."""
    known = {"structure": lambda a, w: structure(a, abis), "manifest": manifest, "libraries": lambda a, w: libraries(w, a, abis)}
    for i, (what, by, change) in enumerate(bites.broken(abis[0])):
        folder = work / f"broken{i}"
        folder.mkdir()
        bad = bites.rewritten(aar, folder / aar.name, change)
        try:
            known[by](bad, folder)
        except SystemExit as said:
            print(f"refused: {what}: {str(said).splitlines()[0][:110]}")
        else:
            check(False, f"{by} lets an AAR through of which is true: {what}")


def main() -> None:
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--abi", action="append", help="the ABIs that there must be; all three if none is named")
    args.add_argument("--apks", type=pathlib.Path, default=HERE / "target/apks", help="where APKs go")
    args = args.parse_args()
    abis = args.abi or ["arm64-v8a", "armeabi-v7a", "x86_64"]
    (aar,) = (HERE / "target/aar").glob("*.aar")
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        structure(aar, abis)
        manifest(aar, work)
        found = libraries(work, aar, abis)
        symbols(aar, work, abis)
        refused(work, aar, abis)
        shrunk_runs(work, aar)
        application(work, aar, found, args.apks)
    print(f"{aar.name}: {checks} checks passed")


if __name__ == "__main__":
    main()
