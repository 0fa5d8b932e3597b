//! Instruction sets that the kernels are written for, and the choice between them.

use crate::error::{Error, Result};

/// An instruction set for which there is a set of kernels.
///
/// Every one of them gives the same bits; they differ in speed alone. A new one is a variant here, an arm
/// in the `multiversion!` macro and a file of its own for the integer tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust for any CPU. It defines what the right bits are.
    Generic,
    /// x86-64 with AVX2.
    Avx2,
    /// x86-64 with AVX2 and AVX-VNNI: CPUs without AVX-512.
    AvxVnni,
    /// x86-64 with AVX-512 F, BW, DQ, VL and VNNI.
    Avx512Vnni,
    /// 32-bit ARM with NEON. Only integers use it: its floats are not those of IEEE 754.
    Armv7Neon,
    /// Any 64-bit ARM.
    Neon,
    /// 64-bit ARM with the dot-product extension (`SDOT`), as in Cortex-A55, A76 and later.
    NeonDotprod,
    /// 64-bit ARM with the int8 matrix extension (`USMMLA`), as in Cortex-A510, A710 and later.
    NeonI8mm,
}

impl Isa {
    /// Every instruction set this version knows, available here or not, slowest first.
    pub const ALL: [Isa; 8] = [
        Isa::Generic,
        Isa::Avx2,
        Isa::AvxVnni,
        Isa::Avx512Vnni,
        Isa::Armv7Neon,
        Isa::Neon,
        Isa::NeonDotprod,
        Isa::NeonI8mm,
    ];

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Generic => "generic",
            Isa::Avx2 => "avx2",
            Isa::AvxVnni => "avxvnni",
            Isa::Avx512Vnni => "avx512vnni",
            Isa::Armv7Neon => "armv7-neon",
            Isa::Neon => "neon",
            Isa::NeonDotprod => "neon-dotprod",
            Isa::NeonI8mm => "neon-i8mm",
        }
    }

    /// The instruction set of that [name](Isa::name), available here or not.
    pub fn parse(name: &str) -> Result<Isa> {
        Isa::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| {
            let names: Vec<_> = Isa::ALL.iter().map(|isa| format!("`{}`", isa.name())).collect();
            Error::invalid(format!("unknown kernel `{name}`: use one of {}", names.join(", ")))
        })
    }

    /// Whether the CPU that runs this can run it. Cheap: the answer of the CPU is cached.
    ///
    /// On ARM the operating system is asked, never the model of the device: the capabilities that Linux and
    /// Android hand to a process, Apple's `sysctl` by the name of the feature. A system too old to know the
    /// name gets [`Neon`](Isa::Neon). tract's own detection plays no part, since none of its operators runs.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Generic => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => std::arch::is_x86_feature_detected!("avx2"),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("avxvnni")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni => {
                use std::arch::is_x86_feature_detected as has;
                has!("avx512f")
                    && has!("avx512bw")
                    && has!("avx512dq")
                    && has!("avx512vl")
                    && has!("avx512vnni")
            }
            #[cfg(target_arch = "arm")]
            Isa::Armv7Neon => super::armv7_neon::has_neon(),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => std::arch::is_aarch64_feature_detected!("neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonDotprod => std::arch::is_aarch64_feature_detected!("dotprod"),
            #[cfg(target_arch = "aarch64")]
            Isa::NeonI8mm => {
                Isa::NeonDotprod.is_available() && std::arch::is_aarch64_feature_detected!("i8mm")
            }
            #[allow(unreachable_patterns, reason = "which arms are left depends on the target")]
            _ => false,
        }
    }

    /// The fastest one that is available here.
    pub fn best() -> Isa {
        Isa::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Isa::Generic)
    }

    /// All that are available here, slowest first; never empty.
    pub fn available() -> Vec<Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// This one if the CPU can run it, else [`Isa::Generic`]: what keeps the safe functions of this module
    /// sound for any argument.
    #[inline]
    pub(super) fn usable(self) -> Isa {
        if self.is_available() { self } else { Isa::Generic }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Defines a safe function `name(isa, args)` that runs `body(args)` compiled for `isa`.
///
/// `body` is `#[inline(always)]` plain Rust, so each copy is compiled with the instructions of its ISA and
/// vectorised by the compiler. The bits stay the same because the code fixes the order of every float
/// operation and rustc never fuses a multiplication with an addition.
macro_rules! multiversion {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $body:expr) => {
        multiversion! { $(#[$meta])* $vis fn $name($($arg: $ty),*) = $body, wide $body }
    };
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?)
        = $body:expr, wide $wide:expr) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name(isa: $crate::kernels::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
            fn avx512($($arg: $ty),*) {
                $wide($($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn avx2($($arg: $ty),*) {
                $body($($arg),*)
            }
            match isa.usable() {
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Isa::Avx2 | $crate::kernels::Isa::AvxVnni => {
                    // SAFETY: `usable` gives these variants only if the CPU has AVX2.
                    unsafe { avx2($($arg),*) }
                }
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::Isa::Avx512Vnni => {
                    // SAFETY: `usable` gives this variant only if the CPU has these features.
                    unsafe { avx512($($arg),*) }
                }
                _ => $body($($arg),*),
            }
        }
    };
}
pub(super) use multiversion;
