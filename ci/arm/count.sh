#!/usr/bin/env bash
# Instructions of our kernels and of ONNX Runtime's aarch64 wheel under the same emulator and CPU model.
#     ci/arm/count.sh MODEL.onnx [TOKENS]
# MODEL: a dynamically quantized DistilBERT of two layers (ci/forms/make.py, cell dynamic@ts-17), since our side
# (tests/kernels-miri/examples/encoder.rs) computes two layers. What is counted is the difference of two runs and one,
# so that loading cancels out. Needs qemu-user (with plugins), gcc, gcc-aarch64-linux-gnu, Rust's aarch64 target, pip.
set -euo pipefail
cd "$(dirname "$0")/../.."
model=$(realpath "${1:?usage: ci/arm/count.sh MODEL.onnx [TOKENS]}")
tokens=${2:-128}
here=$PWD/ci/arm work=$PWD/target/arm
mkdir -p "$work"
gcc -O2 -fPIC -shared -o "$work/count.so" "$here/count.c"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_DIR=$PWD/target/kernels
(cd tests/kernels-miri && cargo build -q --release --target aarch64-unknown-linux-gnu --example encoder)
encoder=$CARGO_TARGET_DIR/aarch64-unknown-linux-gnu/release/examples/encoder

# Python for arm64 from Debian and the wheels from PyPI, unpacked beside each other: nothing is installed.
if [ ! -d "$work/site/onnxruntime" ]; then
    mkdir -p "$work"/{root,debs,wheels,apt/state/lists/partial,apt/cache/archives/partial}
    touch "$work/apt/status"
    # From where this machine gets its own packages.
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Codename: bookworm' | head -1)
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?no source of bookworm packages} bookworm main" >"$work/apt/sources.list"
    cat >"$work/apt/conf" <<C
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Sandbox::User "root";
Dir::State "$work/apt/state";
Dir::State::status "$work/apt/status";
Dir::Cache "$work/apt/cache";
Dir::Etc::sourcelist "$work/apt/sources.list";
Dir::Etc::sourceparts "-";
C
    export APT_CONFIG="$work/apt/conf"
    apt-get -qq -o Acquire::Retries=5 update
    (cd "$work/debs" && apt-get -qq download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 \
        libstdc++6 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5)
    for deb in "$work"/debs/*.deb; do dpkg -x "$deb" "$work/root"; done
    pip download -q --no-deps --only-binary=:all: --python-version 3.11 --platform manylinux_2_28_aarch64 \
        --platform manylinux_2_27_aarch64 -d "$work/wheels" onnxruntime==1.31.1 numpy==2.3.5
    for wheel in "$work"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$work/site"; done
    # ONNX Runtime asks these files what the CPU is and crashes on an x86 machine's; qemu looks here first.
    mkdir -p "$work/root/proc" "$work/root/sys/devices/system/cpu"
    printf '%s\n' 'processor	: 0' 'Features	: fp asimd asimddp' 'CPU implementer	: 0x41' 'CPU architecture: 8' \
        'CPU variant	: 0x3' 'CPU part	: 0xd0c' 'CPU revision	: 1' '' >"$work/root/proc/cpuinfo"
    for f in possible present kernel_max; do echo 0 >"$work/root/sys/devices/system/cpu/$f"; done
fi

count() { # CPU COMMAND...: instructions
    local cpu=$1
    shift
    qemu-aarch64 -cpu "$cpu" -plugin "$work/count.so" -d plugin "$@" 2>&1 | sed -n 's/^instructions //p'
}
ours() { count "$1" -L /usr/aarch64-linux-gnu -E LD_LIBRARY_PATH=/usr/aarch64-linux-gnu/lib "$encoder" "$2" "$tokens" "$3"; }
theirs() {
    local root=$work/root
    count "$1" -L "$root" -E LD_LIBRARY_PATH="$root/lib/aarch64-linux-gnu:$root/usr/lib/aarch64-linux-gnu" \
        -E PYTHONPATH="$work/site" -E PYTHONHOME="$root/usr" "$root/usr/bin/python3.11" "$here/ort.py" "$model" "$tokens" "$2"
}
echo "| CPU model | kernel | ours, instructions per token and layer | ONNX Runtime | ours / ONNX Runtime |"
echo "|---|---|---|---|---|"
for pair in "neoverse-n1 neon-dotprod" "max,sve=off,sme=off neon-i8mm" "cortex-a72 neon"; do
    read -r cpu kernel <<<"$pair"
    a=$(($(ours "$cpu" "$kernel" 2) - $(ours "$cpu" "$kernel" 1)))
    b=$(($(theirs "$cpu" 2) - $(theirs "$cpu" 1)))
    awk -v c="$cpu" -v k="$kernel" -v a="$a" -v b="$b" -v n=$((tokens * 2)) \
        'BEGIN { printf "| %s | %s | %d | %d | %.2f |\n", c, k, a / n, b / n, a / b }'
done
