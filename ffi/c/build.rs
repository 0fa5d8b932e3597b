//! Facts of the build for `pocketbert_build_info`. The header is not made here but by a test that compares it
//! (`tests/header.rs`), so that building needs no generator.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let rustc = Command::new(of("RUSTC")).arg("--version").output();
    let rustc = rustc.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();
    println!("cargo:rustc-env=POCKETBERT_TARGET={}", of("TARGET"));
    println!("cargo:rustc-env=POCKETBERT_OPT_LEVEL={}", of("OPT_LEVEL"));
    println!("cargo:rustc-env=POCKETBERT_RUSTC={rustc}");
}
