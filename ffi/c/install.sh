#!/usr/bin/env bash
# Builds the C library and installs it into a folder.
#
#   ffi/c/install.sh --prefix DIR [--target TRIPLE] [--glibc 2.28] [--profile ship] [--lib FILE]
#
# --target TRIPLE   default: this machine. Debian's cross compiler for it is used (gcc-aarch64-linux-gnu and so on).
# --glibc VERSION   links against that glibc with zig (in PATH, or `pip install ziglang`; ZIG names another command).
# --profile NAME    the Cargo profile; `ship` is what is meant to be shipped, `release` is quicker to build.
# --lib FILE        a libpocketbert_c.a that is built already.
# CC_LINK, NM, AR, LD and OBJCOPY name other tools. DIR afterwards:
#   include/          pocketbert.h, pocketbert.hpp
#   lib/              libpocketbert.so.VERSION and two links to it, libpocketbert.a, pkgconfig/, cmake/
#   lib/debug/        symbols, apart: libpocketbert.so.VERSION.debug
#   share/doc/        licences
# The folder may be moved: nothing in it names DIR.
set -euo pipefail
cd "$(dirname "$0")/../.."
prefix='' target='' glibc='' profile=ship archive=''
while [ $# -gt 0 ]; do
    case $1 in
    --prefix) prefix=$2 ;;
    --target) target=$2 ;;
    --glibc) glibc=$2 ;;
    --profile) profile=$2 ;;
    --lib) archive=$2 ;;
    *) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 2 ;;
    esac
    shift 2
done
[ -n "$prefix" ] || { echo "--prefix is missing"; exit 2; }
host=$(rustc -vV | sed -n 's/^host: //p')
target=${target:-$host}
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
soname=libpocketbert.so.${version%%.*}
shared=libpocketbert.so.$version

# Tools: Debian's names.
case $target in
"$host" | "${host%%-*}"-*-linux-musl) tools='' ;;
armv7-*) tools=arm-linux-gnueabihf- ;;
riscv64gc-*) tools=riscv64-linux-gnu- ;;
*) tools=${target%%-*}-linux-gnu- ;;
esac
NM=${NM:-${tools}nm} AR=${AR:-${tools}ar} LD=${LD:-${tools}ld} OBJCOPY=${OBJCOPY:-${tools}objcopy}
cc=${tools}gcc
unwinder=-lgcc_s
if [ -n "$glibc" ]; then
    ZIG=${ZIG:-$(command -v zig || command -v python-zig)} && [ -n "$ZIG" ] || { echo "zig is missing: pip install ziglang"; exit 1; }
    case $target in
    armv7-*) zig=arm-linux-gnueabihf ;;
    riscv64gc-*) zig=riscv64-linux-gnu ;;
    *) zig=${target%%-*}-linux-gnu ;;
    esac
    # zig has no shared libgcc; its own unwinder goes into the library, and stays hidden there.
    CC_LINK=${CC_LINK:-$ZIG cc -target $zig.$glibc} unwinder=-lunwind
fi

if [ -z "$archive" ]; then
    # The assembler of tract's kernels; nothing is linked by Cargo.
    [ "$target" = "$host" ] || export "CC_${target//-/_}=$cc"
    # Without --target for this machine, so that what other builds made is used again.
    for_target=(--target "$target") folder=${CARGO_TARGET_DIR:-target}/$target
    [ "$target" != "$host" ] || for_target=() folder=${CARGO_TARGET_DIR:-target}
    cargo rustc --locked --profile "$profile" ${for_target[@]+"${for_target[@]}"} -p pocketbert-c --lib --crate-type=staticlib
    archive=$folder/$profile/libpocketbert_c.a
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$prefix"/{include,lib/pkgconfig,lib/cmake/pocketbert,lib/debug,share/doc/pocketbert}

# One object, of which only `pocketbert_*` can be seen: no clash with another Rust library in the same program.
$NM -g --defined-only "$archive" 2>/dev/null | awk '$2 == "T" && $3 ~ /^pocketbert_/ { print $3 }' | sort -u >"$work/names"
[ -s "$work/names" ] || { echo "$archive exports nothing"; exit 1; }
if grep '^pocketbert_test_' "$work/names"; then echo "$archive was built for tests (dangerous-test-hooks)"; exit 1; fi
$LD -r -o "$work/pocketbert.o" $(sed 's/^/-u /' "$work/names") --whole-archive "$archive"
# Compilers' own notes (bitcode of the standard library) are not for users. An assembler file of tract lacks the note
# that the stack need not be executable.
$OBJCOPY --keep-global-symbols="$work/names" --remove-section=.llvmbc --remove-section=.llvmcmd \
    --remove-section=.note.GNU-stack "$work/pocketbert.o"
: >"$work/empty"
$OBJCOPY --add-section .note.GNU-stack="$work/empty" --set-section-flags .note.GNU-stack=contents,readonly "$work/pocketbert.o"

case $target in
*-musl) ;; # static programs only
*)
    { echo "{ global:"; sed 's/$/;/' "$work/names"; echo "local: *; };"; } >"$work/map"
    ${CC_LINK:-$cc} -shared -o "$work/$shared" "$work/pocketbert.o" -Wl,-soname,"$soname" \
        -Wl,--version-script="$work/map" -Wl,--gc-sections -Wl,-z,defs -Wl,-z,noexecstack -Wl,-z,relro -Wl,-z,now \
        $unwinder -lpthread -ldl -lm -lc
    $OBJCOPY --only-keep-debug "$work/$shared" "$prefix/lib/debug/$shared.debug"
    $OBJCOPY --strip-all "$work/$shared" "$prefix/lib/$shared"
    (cd "$prefix/lib/debug" && $OBJCOPY --add-gnu-debuglink="$shared.debug" ../"$shared")
    chmod 755 "$prefix/lib/$shared"
    ln -sf "$shared" "$prefix/lib/$soname"
    ln -sf "$soname" "$prefix/lib/libpocketbert.so"
    ;;
esac
$OBJCOPY --strip-debug "$work/pocketbert.o"
rm -f "$prefix/lib/libpocketbert.a"
$AR rcs "$prefix/lib/libpocketbert.a" "$work/pocketbert.o"

# Linking the static library takes what Rust's standard library calls.
case $target in
*-musl) static_libs='-lpthread -ldl -lm -lc' ;;
*) static_libs='-lgcc_s -lpthread -ldl -lm -lc' ;;
esac
fill() { sed -e "s/@VERSION@/$version/g" -e "s/@MAJOR@/${version%%.*}/g" -e "s/@STATIC_LIBS@/$static_libs/g" -e "s/@STATIC_LIST@/${static_libs// /;}/g" -e "s/@SHARED@/$shared/g" -e "s/@SONAME@/$soname/g" "$1"; }
fill ffi/c/package/pocketbert.pc.in >"$prefix/lib/pkgconfig/pocketbert.pc"
for file in pocketbert-config.cmake pocketbert-config-version.cmake; do
    fill "ffi/c/package/$file.in" >"$prefix/lib/cmake/pocketbert/$file"
done
cp ffi/c/include/* "$prefix/include/"
cp LICENSE-APACHE LICENSE-MIT ffi/c/THIRD-PARTY.txt "$prefix/share/doc/pocketbert/"
echo "installed for $target in $prefix; the static library links with: $static_libs"
