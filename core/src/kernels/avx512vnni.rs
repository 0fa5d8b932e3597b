//! x86-64: AVX-512 with VNNI.
//!
//! `VPDPBUSD` multiplies unsigned activations by signed weights, four products per 32-bit lane, without
//! saturation. The tile holds 12 rows x 32 columns in 24 registers and leaves 8 for operands. Beside 6 x 64,
//! which does as many products per step, it reads half the weights, and those of 768 input channels stay in the
//! first cache from one tile of rows to the next. Up to 6 rows, a single tile, take 64 columns.

use super::quant::RowQuant;
use super::tile::{Channels, DotTile, Job, Sums, TileInput};
use std::arch::asm;
use std::arch::x86_64::{
    __m512i, _MM_HINT_T1, _mm_prefetch, _mm512_add_ps, _mm512_cvtepi32_ps, _mm512_dpbusd_epi32,
    _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_mullo_epi32, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_si512, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_sub_epi32,
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
                    1 => dot::<1, $panels>(tile, sums),
                    2 => dot::<2, $panels>(tile, sums),
                    3 => dot::<3, $panels>(tile, sums),
                    4 => dot::<4, $panels>(tile, sums),
                    5 => dot::<5, $panels>(tile, sums),
                    _ => dot::<6, $panels>(tile, sums),
                }
            };
        }
        macro_rules! rows {
            ($panels:literal) => {
                match tile.rows {
                    7 => dot::<7, $panels>(tile, sums),
                    8 => dot::<8, $panels>(tile, sums),
                    9 => dot::<9, $panels>(tile, sums),
                    10 => dot::<10, $panels>(tile, sums),
                    11 => dot::<11, $panels>(tile, sums),
                    12 => dot::<12, $panels>(tile, sums),
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
    fn dot_segments(self, tile: &TileInput, sums: &mut [Sums; 2]) {
        if tile.rows <= 6 || tile.panels != 2 {
            let (first, second) = tile.segments();
            self.dot(&first, &mut sums[0]);
            if let Some(second) = second {
                self.dot(&second, &mut sums[1]);
            }
            return;
        }
        tile.assert_in_bounds();
        // SAFETY: as in `dot`; there are two panels.
        unsafe {
            match tile.rows {
                7 => tall7(tile, sums),
                8 => tall8(tile, sums),
                9 => tall9(tile, sums),
                10 => tall10(tile, sums),
                11 => tall11(tile, sums),
                _ => tall12(tile, sums),
            }
        }
    }

    #[inline(always)]
    fn floats<const TWO: bool>(
        self,
        first: &[i32; 16],
        second: &[i32; 16],
        row: &[RowQuant],
        channels: &Channels,
    ) -> [f32; 16] {
        // SAFETY: `Vnni` exists only inside `with_avx512vnni`, which has the CPU features.
        unsafe { floats::<TWO>(first, second, row, channels) }
    }
}

/// [`DotTile::floats`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
#[inline]
fn floats<const TWO: bool>(
    first: &[i32; 16],
    second: &[i32; 16],
    row: &[RowQuant],
    channels: &Channels,
) -> [f32; 16] {
    let part = |sums: &[i32; 16], row: &RowQuant, col_sum: &[i32; 16]| {
        // SAFETY: both are arrays of 16 numbers of 32 bits.
        let (sums, col_sum) = unsafe {
            (_mm512_loadu_si512(sums.as_ptr().cast()), _mm512_loadu_si512(col_sum.as_ptr().cast()))
        };
        let exact = _mm512_sub_epi32(sums, _mm512_mullo_epi32(_mm512_set1_epi32(row.zero), col_sum));
        _mm512_mul_ps(_mm512_cvtepi32_ps(exact), _mm512_set1_ps(row.scale))
    };
    let mut y = part(first, &row[0], &channels.col_sum[0]);
    if TWO {
        y = _mm512_add_ps(y, part(second, &row[1], &channels.col_sum[1]));
    }
    // SAFETY: both are arrays of 16 floats.
    let (scale, bias) =
        unsafe { (_mm512_loadu_ps(channels.scale.as_ptr()), _mm512_loadu_ps(channels.bias.as_ptr())) };
    let y = _mm512_add_ps(_mm512_mul_ps(y, scale), bias);
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

/// Defines `$name`: sums of 7 to 12 rows and two panels. The loop is written by hand, so that all sums stay in
/// registers and a quad takes nothing but its 24 multiplications, 14 loads and one or two instructions that count:
/// where two threads share a core, each gets half of its instructions. Rows are reached from four pointers and
/// multiples 1, 2, 4 and 8 of the stride.
macro_rules! tall {
    ($name:ident, $rows:literal, $($r:literal $place:literal $left:tt $right:tt),*) => {
        /// # Safety
        /// `tile` has that many rows and two panels inside its slices.
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
        unsafe fn $name(tile: &TileInput, sums: &mut [Sums; 2]) {
            let (mut a0, stride) = (tile.a.as_ptr(), tile.stride);
            let [mut a3, mut a6, mut a9] = [3, 6, 9].map(|r| a0.wrapping_add(r * stride));
            let mut w = tile.w.as_ptr();
            // Sixteen quads make 64 bytes of K, and K and its segments are multiples of that.
            let blocks = tile.k / 64;
            let mut soon = tile.soon.chunks(64);
            let lines = soon.len().div_ceil(blocks.max(1));
            let mut acc = [[_mm512_setzero_si512(); 2]; $rows];
            let mut segment = 0;
            for block in 0..blocks {
                if block * 64 == tile.split {
                    store(&acc, &mut sums[0]);
                    acc = [[_mm512_setzero_si512(); 2]; $rows];
                    segment = 1;
                }
                for line in soon.by_ref().take(lines) {
                    _mm_prefetch::<_MM_HINT_T1>(line.as_ptr());
                }
                // SAFETY: reads 64 bytes of each row and 1024 of each panel, at the place in K that the loop has
                // come to; they lie inside the tile's slices.
                unsafe {
                    asm!(
                        "/* {a0} {a3} {a6} {a9} {s} */",
                        "mov {count:e}, 4",
                        "2:",
                        ".irp quad, 0, 1, 2, 3",
                        "vmovdqu64 zmm24, [{w} + 64*\\quad]",
                        "vmovdqu64 zmm25, [{w} + {panel} + 64*\\quad]",
                        $(concat!("vpbroadcastd zmm26, [", $place, " + 4*\\quad]"),
                        concat!("vpdpbusd ", $left, ", zmm26, zmm24"),
                        concat!("vpdpbusd ", $right, ", zmm26, zmm25"),)*
                        ".endr",
                        "add {w}, 256",
                        "add {a0}, 16",
                        "add {a3}, 16",
                        "add {a6}, 16",
                        "add {a9}, 16",
                        "dec {count:e}",
                        "jnz 2b",
                        a0 = inout(reg) a0,
                        a3 = inout(reg) a3,
                        a6 = inout(reg) a6,
                        a9 = inout(reg) a9,
                        w = inout(reg) w,
                        s = in(reg) stride,
                        panel = in(reg) tile.panel_stride,
                        count = out(reg) _,
                        $(inout($left) acc[$r][0], inout($right) acc[$r][1],)*
                        out("zmm24") _,
                        out("zmm25") _,
                        out("zmm26") _,
                        options(readonly, nostack)
                    );
                }
            }
            store(&acc, &mut sums[segment]);
        }
    };
}

/// Writes the sums of rows with two panels.
#[target_feature(enable = "avx512f")]
#[inline]
fn store<const R: usize>(acc: &[[__m512i; 2]; R], sums: &mut Sums) {
    for (acc, to) in acc.iter().zip(&mut sums.0) {
        for (acc, to) in acc.iter().zip(to) {
            // SAFETY: `to` is 16 sums.
            unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), *acc) };
        }
    }
}

tall!(
    tall7,
    7,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13"
);
tall!(
    tall8,
    8,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13",
    7 "{a3} + 4*{s}" "zmm14" "zmm15"
);
tall!(
    tall9,
    9,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13",
    7 "{a3} + 4*{s}" "zmm14" "zmm15",
    8 "{a0} + 8*{s}" "zmm16" "zmm17"
);
tall!(
    tall10,
    10,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13",
    7 "{a3} + 4*{s}" "zmm14" "zmm15",
    8 "{a0} + 8*{s}" "zmm16" "zmm17",
    9 "{a9}" "zmm18" "zmm19"
);
tall!(
    tall11,
    11,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13",
    7 "{a3} + 4*{s}" "zmm14" "zmm15",
    8 "{a0} + 8*{s}" "zmm16" "zmm17",
    9 "{a9}" "zmm18" "zmm19",
    10 "{a6} + 4*{s}" "zmm20" "zmm21"
);
tall!(
    tall12,
    12,
    0 "{a0}" "zmm0" "zmm1",
    1 "{a0} + {s}" "zmm2" "zmm3",
    2 "{a0} + 2*{s}" "zmm4" "zmm5",
    3 "{a3}" "zmm6" "zmm7",
    4 "{a0} + 4*{s}" "zmm8" "zmm9",
    5 "{a3} + 2*{s}" "zmm10" "zmm11",
    6 "{a6}" "zmm12" "zmm13",
    7 "{a3} + 4*{s}" "zmm14" "zmm15",
    8 "{a0} + 8*{s}" "zmm16" "zmm17",
    9 "{a9}" "zmm18" "zmm19",
    10 "{a6} + 4*{s}" "zmm20" "zmm21",
    11 "{a3} + 8*{s}" "zmm22" "zmm23"
);

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
