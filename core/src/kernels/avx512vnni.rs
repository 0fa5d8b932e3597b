//! x86-64: AVX-512 with VNNI.
//!
//! `VPDPBUSD` multiplies unsigned activations by signed weights, four products per 32-bit lane, without
//! saturation. The tile holds 6 rows x 64 columns in 24 registers and leaves 8 for operands.

use super::tile::{DotTile, Job, Sums, TileInput};
use std::arch::x86_64::{
    _MM_HINT_T1, _mm_prefetch, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

/// Does `job` with this tile. Call only where [`Isa::Avx512Vnni`](super::Isa::Avx512Vnni) is available.
pub(super) fn with_avx512vnni(job: impl Job) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn with(job: impl Job) {
        job.run(Vnni);
    }
    // SAFETY: the caller checked for these features.
    unsafe { with(job) }
}

#[derive(Clone, Copy)]
struct Vnni;

impl DotTile for Vnni {
    const ROWS: usize = 6;
    const PANELS: usize = 4;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        macro_rules! rows {
            ($panels:literal) => {
                match tile.rows {
                    1 => dot::<1, $panels>(tile, sums),
                    2 => dot::<2, $panels>(tile, sums),
                    3 => dot::<3, $panels>(tile, sums),
                    4 => dot::<4, $panels>(tile, sums),
                    5 => dot::<5, $panels>(tile, sums),
                    _ => dot::<6, $panels>(tile, sums),
                }
            };
        }
        // SAFETY: the tile lies inside its slices (asserted); `Vnni` exists only inside `with`, which
        // has the CPU features.
        unsafe {
            match tile.panels {
                1 => rows!(1),
                2 => rows!(2),
                3 => rows!(3),
                _ => rows!(4),
            }
        }
    }
}

/// Sums of `R` rows and `P` panels.
///
/// # Safety
/// `tile` has at least `R` rows and `P` panels inside its slices.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<const R: usize, const P: usize>(tile: &TileInput, sums: &mut Sums) {
    let mut acc = [[_mm512_setzero_si512(); P]; R];
    let (a, w) = (tile.a.as_ptr(), tile.w.as_ptr());
    // Sixteen quads make 64 bytes of K, and K is a multiple of that.
    let blocks = tile.k / 64;
    let mut soon = tile.soon.chunks(64);
    let lines = soon.len().div_ceil(blocks.max(1));
    for block in 0..blocks {
        for line in soon.by_ref().take(lines) {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr());
        }
        for quad in block * 16..block * 16 + 16 {
            let mut line = [_mm512_setzero_si512(); P];
            for (p, line) in line.iter_mut().enumerate() {
                // SAFETY: 64 bytes at quad * 64 of panel p lie inside `w`: quad * 64 < k * 16.
                *line = unsafe { _mm512_loadu_si512(w.add(p * tile.panel_stride + quad * 64).cast()) };
            }
            for (r, acc) in acc.iter_mut().enumerate() {
                // SAFETY: four bytes at quad * 4 < k of row r lie inside `a`.
                let four = unsafe { a.add(r * tile.stride + quad * 4).cast::<i32>().read_unaligned() };
                let four = _mm512_set1_epi32(four);
                for p in 0..P {
                    acc[p] = _mm512_dpbusd_epi32(acc[p], four, line[p]);
                }
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        for (p, acc) in acc.iter().enumerate() {
            let to = &mut sums.0[r][p];
            // SAFETY: `to` is 16 sums.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *acc) };
        }
    }
}
