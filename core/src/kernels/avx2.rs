//! x86-64: AVX2.
//!
//! `VPMADDUBSW` would saturate on full bytes, so both operands are widened to 16 bits and multiplied by
//! `VPMADDWD`, whose sums of two products are exact. The tile holds 3 rows x 16 columns in 12 registers: each
//! column's even and odd pairs apart until the end. Rows are widened 64 bytes at a time into a buffer from
//! which quads are broadcast by loads, which keeps the one shuffle port free for the weights.

use super::tile::{DotTile, Job, Sums, TileInput};
use std::arch::x86_64::{
    _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_add_epi32, _mm256_cvtepi8_epi16, _mm256_cvtepu8_epi16,
    _mm256_hadd_epi32, _mm256_madd_epi16, _mm256_permute4x64_epi64, _mm256_set1_epi64x, _mm256_setzero_si256,
    _mm256_storeu_si256,
};

/// Does `job` with this tile. Call only where [`Isa::Avx2`](super::Isa::Avx2) is available.
pub(super) fn with_avx2(job: impl Job) {
    #[target_feature(enable = "avx2")]
    fn with(job: impl Job) {
        job.run(Avx2);
    }
    // SAFETY: the caller checked for the feature.
    unsafe { with(job) }
}

#[derive(Clone, Copy)]
struct Avx2;

impl DotTile for Avx2 {
    const ROWS: usize = 3;
    const PANELS: usize = 1;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted); `Avx2` exists only inside `with_avx2`, which has
        // the CPU feature.
        unsafe {
            match tile.rows {
                1 => dot::<1>(tile, sums),
                2 => dot::<2>(tile, sums),
                _ => dot::<3>(tile, sums),
            }
        }
    }
}

/// A row's 64 bytes of K as 16-bit numbers.
#[repr(C, align(64))]
struct Wide([u64; 16]);

/// Sums of `R` rows and one panel.
///
/// # Safety
/// `tile` has at least `R` rows and one panel inside its slices.
#[target_feature(enable = "avx2")]
unsafe fn dot<const R: usize>(tile: &TileInput, sums: &mut Sums) {
    let mut acc = [[_mm256_setzero_si256(); 4]; R];
    let mut wide = [const { Wide([0; 16]) }; R];
    let (a, w) = (tile.a.as_ptr(), tile.w.as_ptr());
    let blocks = tile.k / 64;
    let mut soon = tile.soon.chunks(64);
    let lines = soon.len().div_ceil(blocks.max(1));
    for block in 0..blocks {
        for line in soon.by_ref().take(lines) {
            _mm_prefetch::<_MM_HINT_T0>(line.as_ptr());
        }
        for (r, wide) in wide.iter_mut().enumerate() {
            for part in 0..4 {
                // SAFETY: 16 bytes at block * 64 + part * 16 < k of row r lie inside `a`; four of the 16
                // numbers of 64 bits start at 4 * part.
                unsafe {
                    let bytes = _mm_loadu_si128(a.add(r * tile.stride + block * 64 + part * 16).cast());
                    let to = wide.0.as_mut_ptr().add(4 * part);
                    _mm256_storeu_si256(to.cast(), _mm256_cvtepu8_epi16(bytes));
                }
            }
        }
        for quad in 0..16 {
            let mut four = [_mm256_setzero_si256(); R];
            for (four, wide) in four.iter_mut().zip(&wide) {
                *four = _mm256_set1_epi64x(wide.0[quad] as i64);
            }
            for c in 0..4 {
                // SAFETY: 16 bytes at line 16 * block + quad of the panel, of 64 bytes, lie inside `w`.
                let line = unsafe { _mm_loadu_si128(w.add((block * 16 + quad) * 64 + c * 16).cast()) };
                let line = _mm256_cvtepi8_epi16(line);
                for r in 0..R {
                    acc[r][c] = _mm256_add_epi32(acc[r][c], _mm256_madd_epi16(four[r], line));
                }
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        for c in 0..2 {
            // Columns 0 1 4 5 2 3 6 7 of eight.
            let eight = _mm256_hadd_epi32(acc[2 * c], acc[2 * c + 1]);
            let to = &mut sums.0[r][0][8 * c..][..8];
            // SAFETY: `to` has room for eight sums.
            unsafe {
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(eight));
            }
        }
    }
}
