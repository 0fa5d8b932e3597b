#!/usr/bin/env python3
"""Puts the AAR together: aar.py CLASSES_FOLDER NATIVE_FOLDER OUT_FOLDER

CLASSES_FOLDER is what Maven compiled in `android`, NATIVE_FOLDER what native.sh made. OUT_FOLDER gets, for version V:

    pocketbert-android-V.aar            the library; `-check` in its name if it was built without the NDK: never ship that
    pocketbert-android-V.pom            what Maven and Gradle read
    pocketbert-android-V-symbols.zip    the native libraries with symbols, for stack traces and the Play console

Entries are sorted and have one fixed time, so the same input gives the same bytes.
"""

import io
import pathlib
import re
import sys
import xml.etree.ElementTree as ET
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
TIME = (2026, 1, 1, 0, 0, 0)
METADATA = """aarFormatVersion=1.0
aarMetadataVersion=1.0
minCompileSdk=23
minCompileSdkExtension=0
minAndroidGradlePluginVersion=1.0.0
coreLibraryDesugaringEnabled=false
"""
CHECK = """This is a check build: its native libraries were linked without the NDK, against stand-ins of Android's libraries, and
cannot run. Never ship it. Build with ANDROID_NDK_HOME set and cargo-ndk installed: bindings-android/build.sh aar
"""


def pack(entries: dict) -> bytes:
    """A zip of name -> bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        for name, data in sorted(entries.items()):
            info = zipfile.ZipInfo(name, TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o100644 << 16
            z.writestr(info, data, compresslevel=9)
    return out.getvalue()


def files(folder: pathlib.Path) -> dict:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def properties() -> dict:
    """Versions, as the parent's POM has them."""
    ns = {"m": "http://maven.apache.org/POM/4.0.0"}
    root = ET.parse(HERE / "pom.xml").getroot()
    kotlin = root.find("m:properties/m:kotlin.version", ns).text
    found = {"version": root.find("m:version", ns).text}
    for d in root.findall("m:dependencyManagement/m:dependencies/m:dependency", ns):
        found[d.find("m:artifactId", ns).text] = d.find("m:version", ns).text.replace("${kotlin.version}", kotlin)
    return found


def pom(v: dict) -> str:
    def dependency(group: str, artifact: str, kind: str = "") -> str:
        version = v[artifact]
        kind = f"\n      <type>{kind}</type>" if kind else ""
        return (f"    <dependency>\n      <groupId>{group}</groupId>\n      <artifactId>{artifact}</artifactId>\n"
                f"      <version>{version}</version>{kind}\n      <scope>compile</scope>\n    </dependency>\n")

    return f"""<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.pocketbert</groupId>
  <artifactId>pocketbert-android</artifactId>
  <version>{v["version"]}</version>
  <packaging>aar</packaging>
  <name>PocketBERT for Android</name>
  <description>On-device NLP: text in, labels out, offline.</description>
  <licenses>
    <license><name>MIT</name><url>https://opensource.org/license/mit</url></license>
    <license><name>Apache-2.0</name><url>https://www.apache.org/licenses/LICENSE-2.0.txt</url></license>
  </licenses>
  <dependencies>
{dependency("org.jetbrains.kotlin", "kotlin-stdlib")}{dependency("org.jetbrains.kotlinx", "kotlinx-coroutines-core-jvm")}{
        dependency("net.java.dev.jna", "jna", "aar")}  </dependencies>
</project>
"""


def main() -> None:
    classes, native, out = map(pathlib.Path, sys.argv[1:])
    v = properties()
    cargo = re.search(r'^version = "(.*)"', (HERE.parent / "Cargo.toml").read_text(), re.M).group(1)
    if cargo != v["version"]:
        sys.exit(f"aar.py: Cargo.toml says {cargo}, bindings-android/pom.xml {v['version']}: make them equal")
    check = (native / "kind").read_text().strip() != "ndk"
    name = f"pocketbert-android-{v['version']}"
    entries = {
        "AndroidManifest.xml": (HERE / "android/aar/AndroidManifest.xml").read_bytes(),
        # What Gradle calls consumer rules has this name inside.
        "proguard.txt": (HERE / "android/aar/consumer-rules.pro").read_bytes(),
        "R.txt": b"",
        "classes.jar": pack({n: d for n, d in files(classes).items() if n.endswith((".class", ".kotlin_module"))}),
        "META-INF/com/android/build/gradle/aar-metadata.properties": METADATA.encode(),
        "THIRD-PARTY-NOTICES.txt": (HERE / "THIRD-PARTY-NOTICES.txt").read_bytes(),
        **{f: (HERE.parent / f).read_bytes() for f in ("LICENSE-MIT", "LICENSE-APACHE")},
        **{f"jni/{n}": d for n, d in files(native / "jni").items()},
    }
    if check:
        entries["CHECK-BUILD-DO-NOT-SHIP.txt"] = CHECK.encode()
    out.mkdir(parents=True, exist_ok=True)
    for old in out.glob("pocketbert-android-*"):
        old.unlink()
    suffix = "-check" if check else ""
    made = {f"{name}{suffix}.aar": pack(entries), f"{name}{suffix}-symbols.zip": pack(files(native / "symbols")),
            f"{name}.pom": pom(v).encode()}
    for file, data in made.items():
        (out / file).write_bytes(data)
        print(f"{out / file}: {len(data):,} bytes" + (", a CHECK BUILD: do not ship" if check and file.endswith(".aar") else ""))


if __name__ == "__main__":
    main()
