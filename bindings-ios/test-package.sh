#!/usr/bin/env bash
# SwiftPM itself reads the XCFramework: test-package.sh [FOLDER]
#
# FOLDER: what build-xcframework.py made; without it the small one of test-checks.py, of the same layout. Runs on Linux
# (tools/in-swift.sh): SwiftPM resolves the package, names the slice that it takes for each of Apple's systems, and
# refuses the XCFramework after each of the changes below. There is no Swift library of Apple's here: nothing is compiled.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../target}
mkdir -p "$target"
package=$(mktemp -d -p "$(cd "$target" && pwd)")
trap 'rm -rf "$package"' EXIT
cp -R "$here/Package.swift" "$here/Sources" "$here/Examples" "$here/Tests" "$package/"
if [ $# -gt 0 ]; then
    mkdir "$package/build" && cp -R "$1/PocketBERT.xcframework" "$package/build/"
else
    python3 "$here/test-checks.py" --make "$package/build"
    [ -d "$package/build" ] || exit 0 # it has said SKIPPED
fi
framework=$package/build/PocketBERT.xcframework
# SwiftPM looks for two of Apple's tools before it plans, and runs neither.
mkdir "$package/tools"
printf '#!/bin/sh\n' | tee "$package/tools/libtool" >"$package/tools/xcrun"
chmod +x "$package"/tools/*
export POCKETBERT_XCFRAMEWORK=1

in_swift() { "$here/tools/in-swift.sh" "$@"; }
describe() { in_swift swift package --package-path "$package" describe 2>&1; }
# The folder of the XCFramework whose headers SwiftPM gives to the compiler for a system; nothing where it takes none.
slice() {
    rm -rf "$package/.build"
    in_swift env PATH="/usr/bin:/bin:$package/tools" \
        swift build --package-path "$package" --triple "$1" --target PocketBERTMobile -v 2>&1 |
        grep -o 'PocketBERT.xcframework/[^/]*/Headers' | sort -u | cut -d/ -f2 || true
}
failed=0
expect() { # NAME WANTED FOUND
    [ "$2" = "$3" ] && echo "ok: $1: $3" || { failed=1 && echo "WRONG: $1: \`$3\`, not \`$2\`"; }
}

said=$(describe || true)
grep -q 'Name: PocketBERTMobileFFI' <<<"$said" && echo "ok: resolved" || { failed=1 && echo "WRONG: not resolved: $said"; }
for entry in "$framework"/*/; do
    name=$(basename "$entry")
    case $name in
    *-simulator) triples=(arm64-apple-ios15.0-simulator x86_64-apple-ios15.0-simulator) ;;
    ios-*) triples=(arm64-apple-ios15.0) ;;
    macos-*) triples=(arm64-apple-macosx12.0) ;;
    esac
    for triple in "${triples[@]}"; do expect "$triple" "$name" "$(slice "$triple")"; done
done
expect "arm64-apple-tvos15.0" "" "$(slice arm64-apple-tvos15.0)"

# A change of Info.plist as Python code: `d` is all of it, `first` its entry for the device.
edit() {
    python3 - "$framework/Info.plist" "$1" <<'PYTHON'
import pathlib, plistlib, sys
path = pathlib.Path(sys.argv[1])
d = plistlib.loads(path.read_bytes())
first = d["AvailableLibraries"][0]
exec(sys.argv[2])
path.write_bytes(plistlib.dumps(d))
PYTHON
}
cp "$framework/Info.plist" "$package/Info.plist"
refused() { # NAME: after the change SwiftPM finds no binary in the XCFramework
    local said
    said=$(describe || true)
    if grep -q 'does not contain .*binary artifact' <<<"$said"; then echo "refused: $1"; else failed=1 && echo "NOT REFUSED: $1"; fi
    cp "$package/Info.plist" "$framework/Info.plist"
}
rm "$framework/Info.plist" && refused "no Info.plist"
edit 'del first["SupportedPlatform"]' && refused "an entry without its platform"
edit 'del first["LibraryIdentifier"]' && refused "an entry without its folder"
edit 'first["SupportedArchitectures"] = "arm64"' && refused "architectures that are no list"
edit 'del d["AvailableLibraries"]' && refused "no list of libraries"
edit 'first["SupportedPlatform"] = "tvos"'
expect "an entry for another platform: not taken" "" "$(slice arm64-apple-ios15.0)"
cp "$package/Info.plist" "$framework/Info.plist"
edit 'first["SupportedPlatformVariant"] = "simulator"'
expect "an entry for the simulator: not taken" "" "$(slice arm64-apple-ios15.0)"
cp "$package/Info.plist" "$framework/Info.plist"

# A release by URL and checksum, as README.md says to make it.
(cd "$package/build" && python3 -m zipfile -c release.zip PocketBERT.xcframework)
sum=$(in_swift swift package --package-path "$package" compute-checksum "$package/build/release.zip")
expect "checksum" "$(sha256sum "$package/build/release.zip" | cut -d' ' -f1)" "$sum"
sed -i "s|^let release: .*|let release: (url: String, checksum: String)? = (\"https://example.org/1.zip\", \"$sum\")|" "$package/Package.swift"
url=$(in_swift swift package --package-path "$package" dump-package | grep -c -e '"url" : "https://example.org/1.zip"' -e "\"checksum\" : \"$sum\"")
expect "a release: URL and checksum in the manifest" 2 "$url"
exit $failed
