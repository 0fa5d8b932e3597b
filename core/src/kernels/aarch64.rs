//! 64-bit ARM with the dot-product extension.
//!
//! `SDOT` multiplies signed bytes only, so 128 is taken from the activations; the driver puts it back by
//! the column sums. The tile holds 4 rows x 16 columns in 16 registers. `vdotq_s32` is not stable in Rust
//! 1.95, hence `asm!` for this one instruction.

use super::tile::{DotTile, Job, Sums, TileInput};
use std::arch::aarch64::{
    int8x16_t, int32x4_t, vdupq_n_s32, vdupq_n_u8, veorq_u8, vld1q_s8, vld1q_u8, vreinterpretq_s8_u8,
    vst1q_s32,
};
use std::arch::asm;

/// Does `job` with this tile. Call only where [`Isa::NeonDotprod`](super::Isa::NeonDotprod) is available.
pub(super) fn with_dotprod(job: impl Job) {
    #[target_feature(enable = "neon,dotprod")]
    fn with(job: impl Job) {
        job.run(Dotprod);
    }
    // SAFETY: the caller checked for these features.
    unsafe { with(job) }
}

#[derive(Clone, Copy)]
struct Dotprod;

impl DotTile for Dotprod {
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted); `Dotprod` exists only inside `with`, which
        // has the CPU features.
        unsafe {
            match tile.rows {
                1 => dot::<1>(tile, sums),
                2 => dot::<2>(tile, sums),
                3 => dot::<3>(tile, sums),
                _ => dot::<4>(tile, sums),
            }
        }
    }
}

/// `acc[i] += w[4i..4i + 4] . a[4 LANE..4 LANE + 4]`.
macro_rules! sdot {
    ($acc:expr, $w:expr, $a:expr, $lane:literal) => {
        // SAFETY: reads and writes only the named registers; the function has the feature.
        unsafe {
            asm!(
                concat!("sdot {acc:v}.4s, {w:v}.16b, {a:v}.4b[", $lane, "]"),
                acc = inout(vreg) $acc,
                w = in(vreg) $w,
                a = in(vreg_low16) $a,
                options(pure, nomem, nostack, preserves_flags)
            )
        }
    };
}

/// Sums of `R` rows and one panel.
///
/// # Safety
/// `tile` has at least `R` rows and one panel inside its slices.
#[target_feature(enable = "neon,dotprod")]
unsafe fn dot<const R: usize>(tile: &TileInput, sums: &mut Sums) {
    let mut acc: [[int32x4_t; 4]; R] = [[vdupq_n_s32(0); 4]; R];
    let (a, w) = (tile.a.as_ptr(), tile.w.as_ptr());
    let flip = vdupq_n_u8(0x80);
    let steps = tile.k / 16;
    let mut soon = tile.soon.chunks(64);
    let lines = soon.len().div_ceil(steps.max(1));
    for step in 0..steps {
        for line in soon.by_ref().take(lines) {
            // SAFETY: a prefetch changes no state that a program can see and never faults.
            unsafe {
                asm!("prfm pldl2keep, [{}]", in(reg) line.as_ptr(), options(nostack, readonly, preserves_flags))
            }
        }
        let mut four: [int8x16_t; R] = [vreinterpretq_s8_u8(flip); R];
        for (r, four) in four.iter_mut().enumerate() {
            // SAFETY: 16 bytes at step * 16 < k of row r lie inside `a`.
            let bytes = unsafe { vld1q_u8(a.add(r * tile.stride + step * 16)) };
            *four = vreinterpretq_s8_u8(veorq_u8(bytes, flip));
        }
        macro_rules! quad {
            ($lane:literal) => {
                for c in 0..4 {
                    // SAFETY: 16 bytes at (4 step + lane) * 64 + 16 c < 16 k lie inside `w`.
                    let line = unsafe { vld1q_s8(w.add(step * 256 + $lane * 64 + c * 16)) };
                    for r in 0..R {
                        sdot!(acc[r][c], line, four[r], $lane);
                    }
                }
            };
        }
        quad!(0);
        quad!(1);
        quad!(2);
        quad!(3);
    }
    for (r, acc) in acc.iter().enumerate() {
        for (c, acc) in acc.iter().enumerate() {
            let to = &mut sums.0[r][0][c * 4..][..4];
            // SAFETY: `to` has room for four sums.
            unsafe { vst1q_s32(to.as_mut_ptr(), *acc) };
        }
    }
}
