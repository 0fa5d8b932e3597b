#!/usr/bin/env bash
# The Swift API and the XCFramework: ci/ios.sh checks | swift | full
#
# checks: what check.py and SwiftPM must refuse, on a small XCFramework made here; the generated sources are today's.
# swift: all of bindings-ios/test-linux.sh, where Swift is: as `swift`, or in a Debian root that is made already.
# full: makes that root if it has to, builds the whole XCFramework without Apple's SDKs, checks it, opens a bundle
# 10,000 times. Half an hour of one core and 8 GB.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
swift_root=${POCKETBERT_SWIFT_ROOT:-$target/swift-root}
has_swift() { command -v swift >/dev/null || [ -f "$swift_root/.finished" ]; }

case ${1:-checks} in
checks)
    bindings-ios/test-checks.py
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    ffi/mobile/generate.sh swift "$out/swift"
    for file in PocketBERTMobile/PocketBERTMobile.swift PocketBERTMobileFFI/PocketBERTMobileFFI.h; do
        cmp "$out/swift/${file#*/}" "bindings-ios/Sources/$file" ||
            { echo "the generated sources are old: run bindings-ios/generate.sh"; exit 1; }
    done
    echo "the generated sources are today's"
    ;;
swift)
    has_swift || { echo "SKIPPED: no Swift here, and its toolchain takes 3.5 GB: bindings-ios/tools/swift-toolchain.sh makes it"; exit 0; }
    bindings-ios/test-linux.sh --all
    bindings-ios/test-package.sh
    ;;
full)
    bindings-ios/build-xcframework.py
    bindings-ios/check.py
    bindings-ios/test-package.sh bindings-ios/build
    POCKETBERT_ROUNDS=10000 bindings-ios/test-linux.sh --all
    ;;
*) echo "usage: ci/ios.sh checks | swift | full" && exit 2 ;;
esac
