#!/usr/bin/env bash
# The C ABI: its Rust tests, the header in every language version, the tests in C and C++ under sanitizers and Valgrind.
# ci/c.sh [SECONDS_OF_THREADS]   Needs gcc, g++, clang, valgrind, python3.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-8}
model=models/tiny.pbert
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-Wall -Wextra -Wpedantic -Werror -Iffi/c/include -Iffi/c/tests/c"
libs="-lpthread -ldl -lm -lgcc_s"
tests=ffi/c/tests/c

echo "--- Rust tests: the header is that of the sources; golden cases; handles, options, faults"
cargo test -q --locked --release -p pocketbert-c

echo "--- the library with faults on purpose"
cargo build -q --locked --release -p pocketbert-c --features dangerous-test-hooks
cp target/release/libpocketbert_c.a "$out/hooks.a"

echo "--- the header: C99 to C17, C++17 and C++20, two translation units"
for compiler in gcc clang; do
    for std in c99 c11 c17 c++17 c++20; do
        language=c linker=$compiler
        case $std in c++*) language=c++ linker=${compiler/gcc/g++} linker=${linker/%clang/clang++} ;; esac
        $compiler -x $language -std=$std $flags -c $tests/header.c -o "$out/first.o"
        $compiler -x $language -std=$std $flags -DSECOND -c $tests/header.c -o "$out/second.o"
        $linker -o "$out/header" "$out/first.o" "$out/second.o" "$out/hooks.a" $libs
        "$out/header"
    done
done
# A status that is not looked at is a warning.
printf '#include <pocketbert.h>\nint main(void) { pocketbert_model_load(0); return 0; }\n' >"$out/unused.c"
if gcc -std=c99 $flags -c "$out/unused.c" -o "$out/unused.o" 2>/dev/null; then echo "an unused status is not noticed"; exit 1; fi

echo "--- address and undefined-behaviour sanitizers"
python3 $tests/misuse.py ffi/c/include/pocketbert.h >"$out/misuse.c"
sanitize="-g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
export ASAN_OPTIONS=detect_leaks=1
for name in api threads bite misuse; do
    source=$tests/$name.c
    [ -f "$source" ] || source=$out/$name.c
    clang -std=c99 $flags $sanitize "$source" -o "$out/$name-asan" "$out/hooks.a" $libs &
    gcc -std=c99 $flags -g -O1 "$source" -o "$out/$name" "$out/hooks.a" $libs
    wait $!
done
clang++ -std=c++17 $flags $sanitize $tests/wrapper.cpp $tests/wrapper_second.cpp -o "$out/wrapper-asan" "$out/hooks.a" $libs
g++ -std=c++20 $flags -O1 $tests/wrapper.cpp $tests/wrapper_second.cpp -o "$out/wrapper" "$out/hooks.a" $libs
# They bite: a result that is read after it was freed.
if "$out/bite-asan" $model >"$out/bite" 2>&1; then cat "$out/bite"; echo "the sanitizer noticed nothing"; exit 1; fi
grep -q heap-use-after-free "$out/bite" || { cat "$out/bite"; exit 1; }
"$out/api-asan" $model
"$out/misuse-asan" 2>/dev/null
"$out/wrapper-asan" $model
"$out/wrapper" $model
"$out/threads-asan" $model 2

echo "--- sixteen threads for $seconds s"
"$out/threads" $model "$seconds"

echo "--- what calls cost: no allocation from ids, a ceiling from text"
gcc -O2 -Iffi/c/include -o "$out/cost" ffi/c/examples/cost.c "$out/hooks.a" $libs
"$out/cost" $model "book a table for two in Paris" 220

echo "--- Valgrind"
check="valgrind -q --leak-check=full --show-leak-kinds=definite,indirect,possible --errors-for-leak-kinds=definite,indirect,possible --error-exitcode=1"
# Valgrind has no flush modes, so the test of them is left out.
NO_FLUSH_MODES=1 $check "$out/api" $model
$check "$out/misuse" 2>"$out/misuse.log" || { grep -v panicked "$out/misuse.log" | tail -30; exit 1; }
# Valgrind bites, too.
if $check "$out/bite" $model >/dev/null 2>&1; then echo "Valgrind noticed nothing"; exit 1; fi
echo "0 errors, 0 leaks"
