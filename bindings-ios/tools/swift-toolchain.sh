#!/usr/bin/env bash
# Swift for Linux from Debian's packages, in a folder of its own: swift-toolchain.sh [FOLDER]
# Debian 12 has no Swift; Debian 13 has Swift 6. This makes a Debian 13 root in FOLDER (default target/swift-root,
# about 3.5 GB, some minutes and 770 MB of packages), once: a finished one is taken as it is. Needs root and debootstrap.
# Run in it with: chroot FOLDER …
set -euo pipefail
root=${1:-$(cd "$(dirname "$0")/../.." && pwd)/target/swift-root}
[ -f "$root/.finished" ] && { echo "$root"; exit 0; }
[ "$(id -u)" = 0 ] || { echo "SKIPPED: making a Debian root needs the root user" >&2; exit 3; }
command -v debootstrap >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null; }
mirror=$(sed -n 's/^URIs: *\([^ ]*debian\)$/\1/p; s/^deb \([^ ]*debian\) .*/\1/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1 || true)
mkdir -p "$root"
# A mirror that drops a package fails the whole bootstrap: try again.
for attempt in 1 2 3; do
    debootstrap --variant=minbase trixie "$root" ${mirror:+"$mirror"} >&2 && break
    [ "$attempt" -lt 3 ] || exit 1
done
echo 'Acquire::Retries "5";' >"$root/etc/apt/apt.conf.d/80retries"
chroot "$root" apt-get update -qq
# Swift's package names neither its C library's headers nor a linker, and uses both.
chroot "$root" apt-get install -y -qq --no-install-recommends \
    swiftlang libc6-dev libstdc++-14-dev libgcc-14-dev binutils git ca-certificates valgrind >/dev/null
chroot "$root" apt-get clean
touch "$root/.finished"
echo "$root"
