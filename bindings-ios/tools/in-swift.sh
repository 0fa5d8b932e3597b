#!/usr/bin/env bash
# Runs a command where there is Swift: in-swift.sh COMMAND…
# Here, if `swift` is; otherwise in a Debian 13 root with Swift 6 (swift-toolchain.sh), in the folder
# POCKETBERT_SWIFT_ROOT, which sees the repository and its build folder under their own names. Needs root for that.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
command -v swift >/dev/null && exec "$@"
swift_root=${POCKETBERT_SWIFT_ROOT:-$target/swift-root}
"$root/bindings-ios/tools/swift-toolchain.sh" "$swift_root" >/dev/null
mkdir -p "$target"
unshare --mount bash -euo pipefail -c '
    swift_root=$1 root=$2 target=$3
    shift 3
    mount -t proc proc "$swift_root/proc"
    mount --bind /dev "$swift_root/dev"
    for folder in "$root" "$target"; do
        mkdir -p "$swift_root$folder"
        mount --bind "$folder" "$swift_root$folder"
    done
    exec chroot "$swift_root" /usr/bin/env HOME=/root LANG=C.UTF-8 LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}" \
        PATH=/usr/bin:/bin:/usr/libexec/swift/bin POCKETBERT_ROUNDS="${POCKETBERT_ROUNDS:-}" \
        POCKETBERT_XCFRAMEWORK="${POCKETBERT_XCFRAMEWORK:-}" "$@"
' - "$swift_root" "$root" "$target" "$@"
