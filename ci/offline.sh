#!/usr/bin/env bash
# PocketBERT never uses the network: it imports no network symbol and makes no network call.
# ci/offline.sh [PROGRAM [ARGUMENT...]]   default: the command `pocketbert` with `classify`
# ci/offline.sh --symbols FILE            only the symbols, of a library for instance
set -euo pipefail
cd "$(dirname "$0")/.."
symbols_only=
[ "${1:-}" != --symbols ] || { symbols_only=1; shift; }
[ $# -gt 0 ] || set -- target/release/pocketbert classify --model models/tiny.pbert "play some jazz"
bin=$1
[ -e "$bin" ] || { echo "build it first: cargo build --release"; exit 1; }
names='socket|socketpair|connect|bind|listen|accept|accept4|getaddrinfo|gethostbyname|gethostbyname_r|send|sendto|sendmsg|recv|recvfrom|recvmsg'
imports() { nm -D --undefined-only "$1" | awk '{print $NF}' | sed 's/@.*//'; }
# An unreadable or static file imports nothing either: that must not pass.
all=$(imports "$bin") && [ -n "$all" ] || { echo "the imported symbols of $bin cannot be read"; exit 1; }
# Nor may a check that sees no import anywhere: bash imports connect for its /dev/tcp.
control=$(imports "$(command -v bash)")
grep -qx connect <<<"$control" || { echo "SKIPPED: no program here shows that the symbol check works"; exit 0; }
found=$(grep -Ex "$names" <<<"$all" || true)
if [ -n "$found" ]; then
    echo "network symbols are imported:" $found
    exit 1
fi
echo "no network symbol is imported by $bin"
[ -z "$symbols_only" ] || exit 0
if ! command -v strace >/dev/null; then
    apt-get -o Acquire::Retries=5 update -qq && apt-get install -y -qq --no-install-recommends strace >/dev/null
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! strace -o "$log" true 2>/dev/null; then
    echo "SKIPPED: processes cannot be traced here; only the symbols were checked"
    exit 0
fi
strace -f -e trace=network -o "$log" "$@" >/dev/null
if grep -v -e '+++ exited' -e '--- SIG' "$log"; then
    echo "network calls were made"
    exit 1
fi
echo "no network call was made by a run of ${bin##*/}"
# This check can fail too: a program that does connect is seen.
cat >"$log.py" <<'P'
import socket
socket.socket().connect_ex(("127.0.0.1", 9))
P
strace -f -e trace=network -o "$log" python3 "$log.py" && rm -f "$log.py"
grep -q 'connect(' "$log" || { echo "the check itself does not work"; exit 1; }
