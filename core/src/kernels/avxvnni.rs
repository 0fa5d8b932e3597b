//! x86-64: AVX-VNNI, the 256-bit `VPDPBUSD` of CPUs without AVX-512.
//!
//! The tile holds 6 rows x 16 columns in 12 registers and leaves 4 for operands.

use super::tile::{DotTile, Job, Sums, TileInput};
use std::arch::x86_64::{
    _MM_HINT_T0, _mm_prefetch, _mm256_dpbusd_avx_epi32, _mm256_loadu_si256, _mm256_set1_epi32,
    _mm256_setzero_si256, _mm256_storeu_si256,
};

/// Does `job` with this tile. Call only where [`Isa::AvxVnni`](super::Isa::AvxVnni) is available.
pub(super) fn with_avxvnni(job: impl Job) {
    #[target_feature(enable = "avx2,avxvnni")]
    fn with(job: impl Job) {
        job.run(AvxVnni);
    }
    // SAFETY: the caller checked for these features.
    unsafe { with(job) }
}

#[derive(Clone, Copy)]
struct AvxVnni;

impl DotTile for AvxVnni {
    const ROWS: usize = 6;
    const PANELS: usize = 1;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted); `AvxVnni` exists only inside `with_avxvnni`, which
        // has the CPU features.
        unsafe {
            match tile.rows {
                1 => dot::<1>(tile, sums),
                2 => dot::<2>(tile, sums),
                3 => dot::<3>(tile, sums),
                4 => dot::<4>(tile, sums),
                5 => dot::<5>(tile, sums),
                _ => dot::<6>(tile, sums),
            }
        }
    }
}

/// Sums of `R` rows and one panel.
///
/// # Safety
/// `tile` has at least `R` rows and one panel inside its slices.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn dot<const R: usize>(tile: &TileInput, sums: &mut Sums) {
    let mut acc = [[_mm256_setzero_si256(); 2]; R];
    let (a, w) = (tile.a.as_ptr(), tile.w.as_ptr());
    let blocks = tile.k / 64;
    let mut soon = tile.soon.chunks(64);
    let lines = soon.len().div_ceil(blocks.max(1));
    for block in 0..blocks {
        for line in soon.by_ref().take(lines) {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr());
        }
        for quad in block * 16..block * 16 + 16 {
            // SAFETY: 64 bytes at quad * 64 < k * 16 of the panel lie inside `w`.
            let (low, high) = unsafe {
                let line = w.add(quad * 64);
                (_mm256_loadu_si256(line.cast()), _mm256_loadu_si256(line.add(32).cast()))
            };
            for (r, acc) in acc.iter_mut().enumerate() {
                // SAFETY: four bytes at quad * 4 < k of row r lie inside `a`.
                let four = unsafe { a.add(r * tile.stride + quad * 4).cast::<i32>().read_unaligned() };
                let four = _mm256_set1_epi32(four);
                acc[0] = _mm256_dpbusd_avx_epi32(acc[0], four, low);
                acc[1] = _mm256_dpbusd_avx_epi32(acc[1], four, high);
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        for (c, acc) in acc.iter().enumerate() {
            let to = &mut sums.0[r][0][8 * c..][..8];
            // SAFETY: `to` has room for eight sums.
            unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), *acc) };
        }
    }
}
