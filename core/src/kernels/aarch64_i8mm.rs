//! 64-bit ARM with the matrix extension: Cortex-A510, A710 and X2, Neoverse N2 and V1, Apple A15 and later.
//!
//! `USMMLA` multiplies two rows of eight unsigned bytes by two columns of eight signed ones: twice the
//! products of `SDOT`. It wants eight K of a column side by side, and the packed weights have four: two
//! groups are zipped into scratch once per chunk and panel and serve all rows of a tile, which is why this
//! tile is tall. On the fly the zips would take a fourth of the vector slots; here they take a sixteenth at 24
//! rows. One or two rows read the weights once only and use `SUDOT` on them as they lie.

use super::aarch64::{Line, V, prefetch, rows_by_panels, stream, zip_rows};
use super::pack::PANEL;
use super::tile::{DotTile, Job, Sums, TILE_ROWS, TileInput};
use std::arch::aarch64::{
    int32x4_t, vaddq_s32, vdupq_n_s32, vld1q_s32, vreinterpretq_s32_u64, vreinterpretq_u64_s32, vst1q_s32,
    vzip1q_s32, vzip1q_u64, vzip2q_s32, vzip2q_u64,
};
use std::arch::asm;
use std::mem::MaybeUninit;

/// Does `job` with this tile. Call only where [`Isa::NeonI8mm`](super::Isa::NeonI8mm) is available.
pub(super) fn with_i8mm(job: impl Job) {
    #[target_feature(enable = "neon,dotprod,i8mm")]
    fn with(job: impl Job) {
        job.run(I8mm);
    }
    // SAFETY: the caller checked for these features.
    unsafe { with(job) }
}

/// Make one only where the CPU has the matrix extension.
#[derive(Clone, Copy)]
struct I8mm;

impl DotTile for I8mm {
    const ROWS: usize = TILE_ROWS;
    const PANELS: usize = 4;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted); an `I8mm` exists only where the CPU has the
        // features.
        unsafe {
            match tile.rows {
                1 => rows_by_panels(tile, 0, sums, stream::<1>),
                2 => rows_by_panels(tile, 0, sums, stream::<2>),
                _ => many(tile, sums),
            }
        }
    }
}

stream!(stream, "neon,dotprod,i8mm", "sudot");

/// K of a chunk: with this the zipped weights (8 KiB) and the activations (12 KiB) share the first cache.
const CHUNK: usize = 512;
/// Pairs of rows that the registers hold the sums of: 3 x 8 vectors of 2 x 2.
const PAIRS: usize = 3;
const BLOCKS: usize = TILE_ROWS / (2 * PAIRS);

/// The sums of up to [`PAIRS`] pairs of rows and 8 of columns, as the instruction keeps them.
type PairSums = [[MaybeUninit<[i32; 4]>; 8]; PAIRS];

/// Memory of a tall tile.
struct Scratch {
    /// For each block of pairs of rows `[K/8][pairs][2][8]`; and what the loop loads ahead.
    a: [V; TILE_ROWS / 2 * CHUNK / 8 + PAIRS],
    /// `[K/8][8 pairs of columns][2][8]`; and what the loop loads ahead.
    w: [V; CHUNK + 4],
    /// Per panel and block of pairs.
    acc: [[PairSums; BLOCKS]; super::tile::TILE_PANELS],
}

/// Sums of three rows or more.
///
/// # Safety
/// `tile`'s rows and panels lie inside its slices.
#[target_feature(enable = "neon,dotprod,i8mm")]
unsafe fn many(tile: &TileInput, sums: &mut Sums) {
    let mut scratch = MaybeUninit::<Scratch>::uninit();
    // SAFETY: every field is made of `MaybeUninit`.
    let scratch = unsafe { scratch.assume_init_mut() };
    let pairs = tile.rows.div_ceil(2);
    let blocks = pairs.div_ceil(PAIRS);
    // Chunks and blocks of nearly the same size.
    let chunk = tile.k.div_ceil(tile.k.div_ceil(CHUNK).max(1)).next_multiple_of(64);
    let mut soon = tile.soon.chunks(tile.soon.len().div_ceil(tile.panels * tile.k.div_ceil(chunk)).max(1));
    let mut k0 = 0;
    while k0 < tile.k {
        let k = chunk.min(tile.k - k0);
        let mut pair = 0;
        for b in 0..blocks {
            let height = (pairs - pair).div_ceil(blocks - b);
            // SAFETY: the rows of these pairs exist (an odd last one is taken twice).
            unsafe { zip_rows(tile, k0, k, pair, height, 0, &mut scratch.a[pair * CHUNK / 8..]) };
            pair += height;
        }
        for p in 0..tile.panels {
            prefetch(soon.next().unwrap_or(&[]));
            // SAFETY: k times 16 weights lie from k0 on in panel p.
            unsafe {
                zip_weights(tile.w.as_ptr().add(p * tile.panel_stride + k0 * PANEL), k, &mut scratch.w)
            };
            let mut pair = 0;
            for b in 0..blocks {
                let height = (pairs - pair).div_ceil(blocks - b);
                let a = scratch.a[pair * CHUNK / 8..].as_ptr().cast();
                let (w, acc) = (scratch.w.as_ptr().cast(), &mut scratch.acc[p][b]);
                // SAFETY: the scratch was filled for k and this height.
                unsafe {
                    match height {
                        1 => pairs1(a, w, k / 8, k0 == 0, acc),
                        2 => pairs2(a, w, k / 8, k0 == 0, acc),
                        _ => pairs3(a, w, k / 8, k0 == 0, acc),
                    }
                }
                if k0 + k == tile.k {
                    for (i, acc) in acc.iter().enumerate().take(height) {
                        let row = 2 * (pair + i);
                        // SAFETY: all sums of these pairs have been stored.
                        let [first, second] = unsafe { two_rows(acc) };
                        sums.0[row][p] = first;
                        if row + 1 < tile.rows {
                            sums.0[row + 1][p] = second;
                        }
                    }
                }
                pair += height;
            }
        }
        k0 += k;
    }
}

/// Copies `k` lines of four K as `[k/8][8][2][8]`: pairs of columns with eight K side by side.
///
/// # Safety
/// `w` points to `k` times 16 weights.
#[target_feature(enable = "neon")]
unsafe fn zip_weights(w: *const i8, k: usize, to: &mut [V]) {
    for (step, to) in to[..k].as_chunks_mut::<8>().0.iter_mut().enumerate() {
        for c in 0..4 {
            // SAFETY: the step's 128 weights exist; `to` has room for them.
            unsafe {
                let from = w.add(step * 128 + c * 16);
                let (low, high) = (vld1q_s32(from.cast()), vld1q_s32(from.add(64).cast()));
                vst1q_s32(to[2 * c].as_mut_ptr().cast(), vzip1q_s32(low, high));
                vst1q_s32(to[2 * c + 1].as_mut_ptr().cast(), vzip2q_s32(low, high));
            }
        }
    }
}

/// The sums of a pair of rows, row by row.
///
/// # Safety
/// All of `acc` is initialised.
#[target_feature(enable = "neon")]
unsafe fn two_rows(acc: &[MaybeUninit<[i32; 4]>; 8]) -> [[i32; PANEL]; 2] {
    let mut rows = [[0; PANEL]; 2];
    for c in 0..4 {
        // SAFETY: the caller's promise; each row has four sums at 4 c.
        unsafe {
            let left = vreinterpretq_u64_s32(vld1q_s32(acc[2 * c].as_ptr().cast()));
            let right = vreinterpretq_u64_s32(vld1q_s32(acc[2 * c + 1].as_ptr().cast()));
            vst1q_s32(rows[0][4 * c..].as_mut_ptr(), vreinterpretq_s32_u64(vzip1q_u64(left, right)));
            vst1q_s32(rows[1][4 * c..].as_mut_ptr(), vreinterpretq_s32_u64(vzip2q_u64(left, right)));
        }
    }
    rows
}

/// Every pair of rows times a pair of columns.
macro_rules! blocks {
    ($w:literal $(, $a:tt $acc:tt)*) => {
        concat!($("usmmla ", $acc, ".4s, ", $a, ".16b, ", $w, ".16b\n"),*)
    };
}

/// Defines `$name(activations, weights, steps, first, acc)`: pairs of rows times a panel, 8 K a step.
macro_rules! pairs {
    ($name:ident, $pairs:literal, [$(
        $q:literal $a:tt $off:literal $r:tt
        ($s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt)
    )*]) => {
        /// # Safety
        /// `a` and `w` have `steps` of `$pairs` and 8 vectors and can be read one step on; `steps` is not 0;
        /// `acc` is initialised unless this is the first chunk.
        #[target_feature(enable = "neon,dotprod,i8mm")]
        unsafe fn $name(
            a: *const u8,
            w: *const i8,
            steps: usize,
            first: bool,
            acc: &mut PairSums,
        ) {
            let mut sums: [[int32x4_t; 8]; $pairs] = [[vdupq_n_s32(0); 8]; $pairs];
            if !first {
                for (sums, acc) in sums.iter_mut().zip(&*acc) {
                    for (sums, acc) in sums.iter_mut().zip(acc) {
                        // SAFETY: initialised by the chunk before.
                        *sums = unsafe { vld1q_s32(acc.as_ptr().cast()) };
                    }
                }
            }
            // SAFETY: reads what the caller promised and no more; names all registers that it writes.
            unsafe {
                asm!(
                    $(concat!("ldr ", $q, ", [{a}, #", $off, "]"),)*
                    "ldp q4, q5, [{w}]",
                    "ldp q6, q7, [{w}, #32]",
                    "2:",
                    blocks!("v4" $(, $a $s0)*), blocks!("v5" $(, $a $s1)*),
                    "ldp q4, q5, [{w}, #64]", "subs {n}, {n}, #1",
                    blocks!("v6" $(, $a $s2)*), blocks!("v7" $(, $a $s3)*),
                    "ldp q6, q7, [{w}, #96]", concat!("add {a}, {a}, #", $pairs, "*16"),
                    blocks!("v4" $(, $a $s4)*), blocks!("v5" $(, $a $s5)*),
                    "ldp q4, q5, [{w}, #128]", "add {w}, {w}, #128",
                    blocks!("v6" $(, $a $s6)*),
                    $(blocks!("v7", $a $s7), concat!("ldr ", $q, ", [{a}, #", $off, "]"),)*
                    "ldp q6, q7, [{w}, #32]",
                    "b.ne 2b",
                    a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                    out("v0") _, out("v1") _, out("v2") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    $(inout($s0) sums[$r][0], inout($s1) sums[$r][1],
                      inout($s2) sums[$r][2], inout($s3) sums[$r][3],
                      inout($s4) sums[$r][4], inout($s5) sums[$r][5],
                      inout($s6) sums[$r][6], inout($s7) sums[$r][7],)*
                    options(nostack, readonly)
                );
            }
            for (sums, acc) in sums.iter().zip(acc) {
                for (sums, acc) in sums.iter().zip(acc) {
                    // SAFETY: room for four sums.
                    unsafe { vst1q_s32(acc.as_mut_ptr().cast(), *sums) };
                }
            }
        }
    };
}

pairs!(pairs1, 1, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
]);
pairs!(pairs2, 2, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
    "q1" "v1" 16 1 ("v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23")
]);
pairs!(pairs3, 3, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
    "q1" "v1" 16 1 ("v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23")
    "q2" "v2" 32 2 ("v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31")
]);
