#!/usr/bin/env bash
# Lines of the code for untrusted bytes that the seeds in fuzz/corpus reach, each input run once by its target.
# Status 1 if a file is below the limit. ci/fuzz_coverage.sh [LIMIT (80)]
# Needs: rustup component add llvm-tools. Nothing but our own crate is instrumented; the compiler is the stable one.
set -euo pipefail
if [[ ${1:-} == *rustc ]]; then # called by cargo, as RUSTC_WRAPPER
    case ${CARGO_PKG_NAME:-} in
    pocketbert | pocketbert-fuzz) exec "$@" -Cinstrument-coverage ;;
    *) exec "$@" ;;
    esac
fi
limit=${1:-80}
cd "$(dirname "$0")/../fuzz"
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc --print sysroot)/lib/rustlib/$host/bin
[ -x "$llvm/llvm-cov" ] || { echo "SKIPPED: no llvm-cov (rustup component add llvm-tools)"; exit 0; }
target=${CARGO_TARGET_DIR:-$PWD/target}/coverage
RUSTC_WRAPPER=$PWD/../ci/fuzz_coverage.sh CARGO_INCREMENTAL=0 \
    cargo build --release --locked --quiet --bins --target-dir "$target"
raw=$(mktemp -d)
trap 'rm -rf "$raw"' EXIT
objects=()
for folder in corpus/*/; do
    name=$(basename "$folder")
    find "$folder" -type f | sort >"$raw/inputs"
    # A copy: a fuzzer that is given a folder may write to it.
    xargs env LLVM_PROFILE_FILE="$raw/$name-%p.profraw" "$target/release/$name" -rss_limit_mb=4096 \
        <"$raw/inputs" >"$raw/log" 2>&1 || { tail -20 "$raw/log"; echo "FAILED: $name"; exit 1; }
    objects+=(-object "$target/release/$name")
done
"$llvm/llvm-profdata" merge -sparse "$raw"/*.profraw -o "$raw/all.profdata"
[ -z "${FUZZ_COVERAGE_LINES:-}" ] || "$llvm/llvm-cov" show "${objects[@]}" -instr-profile "$raw/all.profdata" \
    -show-instantiations=false $(find ../core/src/{model,bundle,text} -name '*.rs') >"$FUZZ_COVERAGE_LINES"
# Columns of a report: file, then count, missed and share of regions, functions and lines.
"$llvm/llvm-cov" report "${objects[@]}" -instr-profile "$raw/all.profdata" | awk -v limit="$limit" '
    match($1, /(model|bundle|text)\/.*\.rs$/) && $1 !~ /fuzz_targets/ {
        share = 100 * ($8 - $9) / $8
        # The table of bundle/crc.rs is made by the compiler: those lines never run.
        low_here = share < limit && $1 !~ /bundle\/crc.rs$/
        printf "| `%s` | %d | %.0f %% |%s\n", substr($1, RSTART), $8, share, low_here ? " LOW" : ""
        low += low_here
    }
    END { exit low > 0 }'
