#!/usr/bin/env bash
# Runs the Swift package on Linux against the library of this machine.
#
#   bindings-ios/test-linux.sh [ARGUMENTS OF swift test]   all tests
#   bindings-ios/test-linux.sh --example                   the command-line app
#   bindings-ios/test-linux.sh --quick-start               the code of the quick start, word by word
#   bindings-ios/test-linux.sh --api | --write-api         compares or writes api.txt
#   bindings-ios/test-linux.sh --docs                      builds the DocC archive; a warning fails
#   bindings-ios/test-linux.sh --hook                      the hook for memory warnings, with a stand-in for UIKit
#   bindings-ios/test-linux.sh --all                       all of these
#
# Where there is no `swift` it makes a Debian 13 root with Swift 6 (tools/in-swift.sh) in POCKETBERT_SWIFT_ROOT.
# POCKETBERT_ROUNDS=10000 opens and lets go that often. POCKETBERT_LIBRARY=FILE takes that library instead of building one.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
libs=$target/swift-libs
work=$target/swift-work
mode=test
case ${1:-} in
--example | --quick-start | --api | --write-api | --docs | --hook | --all) mode=${1#--} && shift ;;
esac
rm -rf "$work" && mkdir -p "$work" "$libs"

library() {
    if [ -n "${POCKETBERT_LIBRARY:-}" ]; then
        cp "$POCKETBERT_LIBRARY" "$libs/"
        return
    fi
    cargo build -q --locked --release -p pocketbert-mobile --lib --manifest-path "$root/Cargo.toml"
    cp "$target/release/libpocketbert_mobile.so" "$libs/"
    # The committed sources must be those that this library's surface gives.
    "$root/ffi/mobile/generate.sh" swift "$work/generated" "$libs/libpocketbert_mobile.so"
    for pair in PocketBERTMobile.swift:PocketBERTMobile PocketBERTMobileFFI.h:PocketBERTMobileFFI; do
        cmp "$work/generated/${pair%%:*}" "$here/Sources/${pair##*:}/${pair%%:*}" || {
            echo "the generated sources are old: run bindings-ios/generate.sh" >&2
            exit 1
        }
    done
}

# swift_package COMMAND…: SwiftPM on this package, or on another that comes as --package-path.
swift_package() {
    local command=$1
    shift
    LD_LIBRARY_PATH=$libs "$here/tools/in-swift.sh" \
        swift "$command" --package-path "$here" --scratch-path "$target/swift" -Xlinker "-L$libs" "$@"
}

symbol_graph() {
    swift_package package dump-symbol-graph --minimum-access-level public >/dev/null
    mkdir -p "$work/graph"
    cp "$(find "$target/swift" -name PocketBERT.symbols.json | head -1)" "$work/graph/"
}

api() {
    symbol_graph
    python3 "$here/tools/api.py" "$work/graph/PocketBERT.symbols.json" | diff -u "$here/api.txt" -
    echo "the public API is as in api.txt: $(wc -l <"$here/api.txt") lines"
}

docs() {
    symbol_graph
    "$here/tools/in-swift.sh" docc convert "$here/Sources/PocketBERT/PocketBERT.docc" --additional-symbol-graph-dir "$work/graph" \
        --output-path "$work/PocketBERT.doccarchive" --warnings-as-errors
    echo "DocC: $(find "$work/PocketBERT.doccarchive/data" -name '*.json' | wc -l) pages, no warnings"
}

# The Swift of the guide as one function of a program, which runs with the bundle beside it as an app's resource.
quick_start() {
    local program=$work/quick-start
    mkdir -p "$program/Sources/QuickStart"
    {
        echo 'import Foundation'
        echo 'import PocketBERT'
        echo 'func quickStart(draft: String) async throws {'
        sed -n '/^```swift/,/^```/{/^```/d;/^import /d;p}' "$here/Sources/PocketBERT/PocketBERT.docc/FiveMinuteQuickStart.md"
        echo '    print("the end")'
        echo '}'
        echo 'try await quickStart(draft: "not bad")'
    } >"$program/Sources/QuickStart/main.swift"
    cat >"$program/Package.swift" <<EOF
// swift-tools-version: 6.0
import PackageDescription
let package = Package(
    name: "QuickStart", platforms: [.iOS(.v15), .macOS(.v12)], dependencies: [.package(path: "$here")],
    targets: [.executableTarget(name: "QuickStart", dependencies: [.product(name: "PocketBERT", package: "bindings-ios")])])
EOF
    local scratch=$target/swift-quick-start
    swift_package build --package-path "$program" --scratch-path "$scratch"
    local folder
    folder=$(dirname "$(find "$scratch" -name QuickStart -type f -perm -u+x | head -1)")
    cp "$root/models/everyday.pbert" "$folder/"
    LD_LIBRARY_PATH=$libs "$here/tools/in-swift.sh" "$folder/QuickStart" | tee "$work/said"
    local line
    for line in '\["positive .*' 'person John Smith' 'location Berlin' London 'the end'; do
        grep -qx "$line" "$work/said" || { echo "the quick start does not say \`$line\`" >&2 && return 1; }
    done
}

# UIKit is not here: a module of its name makes the compiler take the branch for iOS. It is checked under Swift 6 and
# run with the system's notification.
hook() {
    mkdir -p "$work/hook"
    echo 'public final class UIApplication {}' >"$work/hook/UIKit.swift"
    cat >"$work/hook/main.swift" <<'EOF'
import Foundation

final class Counter: @unchecked Sendable {
    private let lock = NSLock()
    private var count = 0
    func add() { lock.withLock { count += 1 } }
    var value: Int { lock.withLock { count } }
}

let counter = Counter()
let warning = Notification.Name("UIApplicationDidReceiveMemoryWarningNotification")
var hook: MemoryWarnings? = MemoryWarnings { counter.add() }
NotificationCenter.default.post(name: warning, object: nil)
guard counter.value == 1 else { fatalError("a warning came \(counter.value) times") }
hook = nil
NotificationCenter.default.post(name: warning, object: nil)
guard counter.value == 1 else { fatalError("a warning came after the end") }
print("hook: one warning heard while it lived, none after; \(hook == nil ? "gone" : "there")")
EOF
    "$here/tools/in-swift.sh" sh -euc "
        cd '$work/hook'
        swiftc -emit-module -parse-as-library -module-name UIKit UIKit.swift
        swiftc -swift-version 6 -warnings-as-errors -I . -o hook '$here/Sources/PocketBERT/MemoryWarnings.swift' main.swift
        ./hook
        swiftc -frontend -parse '$here/Sample.swiftpm/App.swift'
        echo 'Sample.swiftpm: its syntax is right; not built here'"
}

example() {
    swift_package run classify "$root/models/everyday.pbert" "What a wonderful film!" "I want my money back."
}

# A function a line: in a list with && a failing command inside would not end it.
[ "$mode" = hook ] || library
case $mode in
test) swift_package test "$@" ;;
example) example ;;
quick-start) quick_start ;;
api) api ;;
write-api)
    symbol_graph
    python3 "$here/tools/api.py" "$work/graph/PocketBERT.symbols.json" >"$here/api.txt"
    ;;
docs) docs ;;
hook) hook ;;
all)
    swift_package test "$@"
    example
    quick_start
    api
    docs
    hook
    ;;
esac
