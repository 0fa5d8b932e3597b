//! Tests of the kernels: every instruction set against the generic one and against plain references.

mod attention;
mod floats;
mod integers;
mod pinned;

use super::*;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// From -1 to 1, in steps of 2^-23, so exact on every CPU.
    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// Roughly bell-shaped, deviation about 1.
    pub fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.unit()).sum::<f32>() * 0.707
    }

    pub fn i8(&mut self) -> i8 {
        self.next() as i8
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

/// Rounds of a property test: few under Miri.
pub fn rounds(n: usize) -> usize {
    if cfg!(miri) { n.min(3) } else { n }
}

/// Bits, with every NaN the same.
pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| if v.is_nan() { 0x7FC0_0000 } else { v.to_bits() }).collect()
}

/// The instruction sets to compare with the generic one.
pub fn others() -> Vec<Isa> {
    Isa::available().into_iter().filter(|isa| *isa != Isa::Generic).collect()
}

#[test]
fn names_are_parsed_and_errors_list_them() {
    for isa in Isa::ALL {
        assert_eq!(Isa::parse(isa.name()).unwrap(), isa);
    }
    let e = Isa::parse("sse").unwrap_err();
    assert!(e.message().contains("`generic`") && e.message().contains("`neon-dotprod`"), "{e}");
    assert!(Isa::available().contains(&Isa::Generic));
    assert!(Isa::best().is_available());
}

/// Under an emulator CI says what the CPU is that it plays.
#[test]
#[ignore = "needs POCKETBERT_BEST_KERNEL: the name of the fastest kernel that this CPU has"]
fn the_fastest_kernel_is_found() {
    assert_eq!(Isa::best().name(), std::env::var("POCKETBERT_BEST_KERNEL").unwrap());
}

#[test]
fn calls_are_counted_for_what_really_ran() {
    let before = kernel_counts();
    for isa in Isa::ALL {
        activate(isa, &mut [1.0; 20], Activation::Relu);
    }
    let ran = kernel_counts().since(&before);
    let total: u64 = ran.iter().map(|(_, _, calls)| calls).sum();
    assert_eq!(total, Isa::ALL.len() as u64);
    let missing = Isa::ALL.iter().filter(|isa| !isa.is_available()).count() as u64;
    assert_eq!(ran.get(Kernel::Elementwise, Isa::Generic), 1 + missing);
    for isa in others() {
        assert_eq!(ran.get(Kernel::Elementwise, isa), 1);
    }
}
