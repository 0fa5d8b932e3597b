//! x86-64: AVX-512 with VNNI.
//!
//! `VPDPBUSD` multiplies unsigned activations by signed weights, four products per 32-bit lane, without
//! saturation. The tile holds 12 rows x 32 columns in 24 registers and leaves 8 for operands. Beside 6 x 64,
//! which does as many products per step, it reads half the weights, and those of 768 input channels stay in the
//! first cache from one tile of rows to the next. Up to 6 rows, a single tile, take 64 columns.

use super::tile::{DotTile, Job, Nothing, Pieces, Sums, TileInput, UsualSums};
use std::arch::x86_64::{
    _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_set1_epi32, _mm512_set1_ps,
    _mm512_setzero_si512, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi32,
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
    const ROWS: usize = 12;
    const PANELS: usize = 2;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn panels(rows: usize) -> usize {
        if rows <= 6 { 4 } else { 2 }
    }

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        macro_rules! few {
            ($panels:literal) => {
                match tile.rows {
                    1 => dot::<1, $panels>(tile, sums, &mut Nothing),
                    2 => dot::<2, $panels>(tile, sums, &mut Nothing),
                    3 => dot::<3, $panels>(tile, sums, &mut Nothing),
                    4 => dot::<4, $panels>(tile, sums, &mut Nothing),
                    5 => dot::<5, $panels>(tile, sums, &mut Nothing),
                    _ => dot::<6, $panels>(tile, sums, &mut Nothing),
                }
            };
        }
        macro_rules! rows {
            ($panels:literal) => {
                match tile.rows {
                    7 => dot::<7, $panels>(tile, sums, &mut Nothing),
                    8 => dot::<8, $panels>(tile, sums, &mut Nothing),
                    9 => dot::<9, $panels>(tile, sums, &mut Nothing),
                    10 => dot::<10, $panels>(tile, sums, &mut Nothing),
                    11 => dot::<11, $panels>(tile, sums, &mut Nothing),
                    12 => dot::<12, $panels>(tile, sums, &mut Nothing),
                    _ => few!($panels),
                }
            };
        }
        // SAFETY: the tile lies inside its slices (asserted); `Vnni` exists only inside `with_avx512vnni`, which
        // has the CPU features.
        unsafe {
            match tile.panels {
                1 => rows!(1),
                2 => rows!(2),
                3 => few!(3),
                _ => few!(4),
            }
        }
    }

    #[inline(always)]
    fn dot_and(self, tile: &TileInput, sums: &mut Sums, other: &mut impl Pieces) {
        if tile.rows <= 6 || tile.panels != 2 {
            return self.dot(tile, sums);
        }
        tile.assert_in_bounds();
        // SAFETY: as in `dot`; there are two panels.
        unsafe {
            match tile.rows {
                7 => dot::<7, 2>(tile, sums, other),
                8 => dot::<8, 2>(tile, sums, other),
                9 => dot::<9, 2>(tile, sums, other),
                10 => dot::<10, 2>(tile, sums, other),
                11 => dot::<11, 2>(tile, sums, other),
                _ => dot::<12, 2>(tile, sums, other),
            }
        }
    }

    #[inline(always)]
    fn finish(self, sums: &UsualSums) -> [f32; 16] {
        // SAFETY: `Vnni` exists only inside `with_avx512vnni`, which has the CPU features.
        unsafe { finish(sums) }
    }
}

/// [`UsualSums::finish`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn finish(sums: &UsualSums) -> [f32; 16] {
    let mut y = _mm512_set1_ps(0.0);
    for (i, (sums, zero, scale, col_sum)) in sums.segments.iter().enumerate().take(1 + usize::from(sums.two))
    {
        // SAFETY: both are arrays of 16 numbers of 32 bits.
        let (sums, col_sum) = unsafe {
            (_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_si512(col_sum.as_ptr().cast()))
        };
        let exact = _mm512_sub_epi32(sums, _mm512_mullo_epi32(_mm512_set1_epi32(*zero), col_sum));
        let part = _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_set1_ps(*scale));
        y = if i == 0 { part } else { _mm512_add_ps(y, part) };
    }
    let scale = match sums.scale {
        // SAFETY: an array of 16 floats.
        Ok(scale) => unsafe { _mm512_loadu_ps(scale.as_ptr()) },
        Err(one) => _mm512_set1_ps(one),
    };
    y = _mm512_mul_ps(y, scale);
    if let Some(bias) = sums.bias {
        // SAFETY: an array of 16 floats.
        y = _mm512_add_ps(y, unsafe { _mm512_loadu_ps(bias.as_ptr()) });
    }
    let mut out = [0.0; 16];
    // SAFETY: an array of 16 floats.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), y) };
    out
}

/// Sums of `R` rows and `P` panels.
///
/// # Safety
/// `tile` has at least `R` rows and `P` panels inside its slices.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
unsafe fn dot<const R: usize, const P: usize>(tile: &TileInput, sums: &mut Sums, other: &mut impl Pieces) {
    let mut acc = [[_mm512_setzero_si512(); P]; R];
    let (a, w) = (tile.a.as_ptr(), tile.w.as_ptr());
    // Sixteen quads make 64 bytes of K, and K is a multiple of that.
    let blocks = tile.k / 64;
    let mut soon = tile.soon.chunks(64);
    let lines = soon.len().div_ceil(blocks.max(1));
    let steps = other.left().div_ceil(blocks.max(1));
    for block in 0..blocks {
        for line in soon.by_ref().take(lines) {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr());
        }
        for _ in 0..steps {
            other.step();
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

/// Products on registers alone: nothing that reads memory can be faster. Returns how many there were. Call only
/// where [`Isa::Avx512Vnni`](super::Isa::Avx512Vnni) is available.
pub(super) fn register_products(steps: u32) -> u64 {
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn with(steps: u32) -> [i32; 16] {
        let four = _mm512_set1_epi32(std::hint::black_box(0x0101_0101));
        let line = _mm512_set1_epi32(std::hint::black_box(0x0201_0201));
        let mut acc = [_mm512_setzero_si512(); 24];
        for _ in 0..steps {
            for acc in &mut acc {
                *acc = _mm512_dpbusd_epi32(*acc, four, line);
            }
        }
        let mut sum = [0; 16];
        for acc in acc {
            let mut part = [0i32; 16];
            // SAFETY: an array of 16 numbers of 32 bits.
            unsafe { _mm512_storeu_si512(part.as_mut_ptr().cast(), acc) };
            for (sum, part) in sum.iter_mut().zip(part) {
                *sum = part.wrapping_add(*sum);
            }
        }
        sum
    }
    // SAFETY: the caller checked for these features.
    std::hint::black_box(unsafe { with(steps) });
    u64::from(steps) * 24 * 64
}
