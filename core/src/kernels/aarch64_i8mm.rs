//! 64-bit ARM with the matrix extension: Cortex-A510, A710 and X2, Neoverse N2 and V1, Apple A15 and later.
//!
//! `USMMLA` multiplies two rows of eight unsigned bytes by two columns of eight signed ones: twice the
//! products of `SDOT`. It wants eight K of a column side by side, and the packed weights have four: two
//! groups are zipped into scratch once per chunk and panel and serve all rows of a tile, which is why this
//! tile is tall. On the fly the zips would take a fourth of the vector slots; here they take a sixteenth at 24
//! rows. One or two rows read the weights once only and use `SUDOT` on them as they lie.

use super::aarch64::{Line, V, prefetch, rows_by_panels, shares, stream, zip_rows};
use super::aarch64_float::finished_by_hand;
use super::pack::PANEL;
use super::quant::RowQuant;
use super::tile::{Channels, DotTile, Job, Sums, TILE_PANELS, TILE_ROWS, TileInput};
use std::arch::aarch64::{
    int32x4_t, vaddq_s32, vdupq_n_s32, vld1q_s32, vreinterpretq_s32_u64, vreinterpretq_u64_s32, vst1q_s32,
    vzip1q_u64, vzip2q_u64,
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

    finished_by_hand!();
}

stream!(stream, "neon,dotprod,i8mm", "sudot");

/// K of a chunk: with this the zipped weights (6 KiB) and the activations (24 KiB) share the first cache.
const CHUNK: usize = 384;
/// Pairs of rows that the registers hold the sums of: 3 x 8 vectors of 2 x 2.
const PAIRS: usize = 3;
const BLOCKS: usize = (TILE_ROWS / 2).div_ceil(PAIRS);

/// The sums of up to [`PAIRS`] pairs of rows and 8 of columns, as the instruction keeps them.
type PairSums = [[MaybeUninit<[i32; 4]>; 8]; PAIRS];

/// Memory of a tall tile.
struct Scratch {
    /// Of each pair of rows `[K/8][2][8]`, [`CHUNK`] apart; and what the loop loads ahead.
    a: [V; TILE_ROWS / 2 * CHUNK / 8 + 1],
    /// `[K/8][8 pairs of columns][2][8]`; and what the loop loads ahead.
    w: [V; CHUNK + 4],
    /// Per panel and block of pairs.
    acc: [[PairSums; BLOCKS]; TILE_PANELS],
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
    let mut soon = shares(tile, tile.k.div_ceil(chunk));
    let mut k0 = 0;
    while k0 < tile.k {
        let k = chunk.min(tile.k - k0);
        for pair in 0..pairs {
            // SAFETY: the pair's first row exists; `a` has CHUNK/8 vectors for each pair.
            unsafe { zip_rows(tile, k0, k, 2 * pair, scratch.a[pair * CHUNK / 8..][..k / 8].as_mut_ptr()) };
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
                let a = scratch.a[pair * CHUNK / 8..].as_ptr();
                let (w, acc) = (scratch.w.as_ptr(), &mut scratch.acc[p][b]);
                let (place, to) =
                    (Place { first: k0 == 0, last: k0 + k == tile.k, row: 2 * pair, panel: p }, &mut *sums);
                // SAFETY: the scratch was filled for k and these pairs, k is a multiple of 64.
                unsafe {
                    match height {
                        1 => pairs1(a, w, k / 32, place, acc, to),
                        2 => pairs2(a, w, k / 32, place, acc, to),
                        _ => pairs3(a, w, k / 32, place, acc, to),
                    }
                }
                pair += height;
            }
        }
        k0 += k;
    }
}

/// Where a block of pairs lies: in K, rows and panels.
#[derive(Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
    row: usize,
    panel: usize,
}

/// Copies `k` lines of four K as `[k/8][8][2][8]`: pairs of columns with eight K side by side.
///
/// # Safety
/// `w` points to `k` times 16 weights, `k` is a multiple of 64.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn zip_weights(w: *const i8, k: usize, to: &mut [V; CHUNK + 4]) {
    let to = to[..k].as_mut_ptr();
    // SAFETY: reads `k` times 16 weights and writes as many; names all registers that it writes.
    unsafe {
        asm!(
            "2:",
            "ldp q0, q2, [{w}]",
            "ldp q1, q3, [{w}, #64]",
            "ldp q4, q6, [{w}, #32]",
            "ldp q5, q7, [{w}, #96]",
            "add {w}, {w}, #128",
            "subs {n}, {n}, #1",
            "st2 {{v0.4s, v1.4s}}, [{to}], #32",
            "st2 {{v2.4s, v3.4s}}, [{to}], #32",
            "st2 {{v4.4s, v5.4s}}, [{to}], #32",
            "st2 {{v6.4s, v7.4s}}, [{to}], #32",
            "b.ne 2b",
            w = inout(reg) w => _, to = inout(reg) to => _, n = inout(reg) k / 8 => _,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            options(nostack)
        );
    }
}

/// Every pair of rows times a pair of columns.
macro_rules! blocks {
    ($w:literal $(, $a:tt $acc:tt)*) => {
        concat!($("usmmla ", $acc, ".4s, ", $a, ".16b, ", $w, ".16b\n"),*)
    };
}

/// Defines `$name(activations, weights, steps, place, acc, sums)`: pairs of rows times a panel, 32 K a step. Sums so far
/// are in `acc`, those of the last chunk go to `sums` row by row.
macro_rules! pairs {
    ($name:ident, $pairs:literal, [$(
        $q:literal $a:tt $r:tt
        ($s0:tt $s1:tt $s2:tt $s3:tt $s4:tt $s5:tt $s6:tt $s7:tt)
    )*]) => {
        /// # Safety
        /// `a` has `$pairs` pairs of rows, [`CHUNK`] apart, and they and `w` have `steps` of 32 K and can be read 8 K
        /// on; `steps` is not 0; `acc` is initialised unless this is the first chunk.
        #[target_feature(enable = "neon,dotprod,i8mm")]
        unsafe fn $name(a: *const V, w: *const V, steps: usize, place: Place, acc: &mut PairSums, to: &mut Sums) {
            let mut sums: [[int32x4_t; 8]; $pairs] = [[vdupq_n_s32(0); 8]; $pairs];
            if !place.first {
                for (sums, acc) in sums.iter_mut().zip(&*acc) {
                    for (sums, acc) in sums.iter_mut().zip(acc) {
                        // SAFETY: initialised by the chunk before.
                        *sums = unsafe { vld1q_s32(acc.as_ptr().cast()) };
                    }
                }
            }
            macro_rules! step {
                ($w:literal, $next:literal) => {
                    concat!(
                        blocks!("v4" $(, $a $s0)*), blocks!("v5" $(, $a $s1)*), "ldp q4, q5, [{w}, #", $w, "+64]\n",
                        blocks!("v6" $(, $a $s2)*), blocks!("v7" $(, $a $s3)*), "ldp q6, q7, [{w}, #", $w, "+96]\n",
                        blocks!("v4" $(, $a $s4)*), blocks!("v5" $(, $a $s5)*), "ldp q4, q5, [{w}, #", $w, "+128]\n",
                        blocks!("v6" $(, $a $s6)*),
                        $(blocks!("v7", $a $s7), "ldr ", $q, ", [{a}, #", $r, "*{pair}+", $next, "]\n",)*
                        "ldp q6, q7, [{w}, #", $w, "+160]"
                    )
                };
            }
            // SAFETY: reads what the caller promised and no more; names all registers that it writes.
            unsafe {
                asm!(
                    $(concat!("ldr ", $q, ", [{a}, #", $r, "*{pair}]"),)*
                    "ldp q4, q5, [{w}]",
                    "ldp q6, q7, [{w}, #32]",
                    "2:",
                    "subs {n}, {n}, #1",
                    step!(0, 16),
                    step!(128, 32),
                    step!(256, 48),
                    step!(384, 64),
                    "add {w}, {w}, #512",
                    "add {a}, {a}, #64",
                    "b.ne 2b",
                    a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                    pair = const 2 * CHUNK,
                    out("v0") _, out("v1") _, out("v2") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    $(inout($s0) sums[$r][0], inout($s1) sums[$r][1],
                      inout($s2) sums[$r][2], inout($s3) sums[$r][3],
                      inout($s4) sums[$r][4], inout($s5) sums[$r][5],
                      inout($s6) sums[$r][6], inout($s7) sums[$r][7],)*
                    options(nostack, readonly)
                );
            }
            if place.last {
                // Room for a second row that does not exist is there, since tiles have an even number of rows at most.
                let rows = &mut to.0[place.row..][..2 * $pairs];
                for (sums, rows) in sums.iter().zip(rows.as_chunks_mut::<2>().0) {
                    two_rows(sums, rows, place.panel);
                }
            } else {
                for (sums, acc) in sums.iter().zip(acc) {
                    for (sums, acc) in sums.iter().zip(acc) {
                        // SAFETY: room for four sums.
                        unsafe { vst1q_s32(acc.as_mut_ptr().cast(), *sums) };
                    }
                }
            }
        }
    };
}

/// Writes the sums of a pair of rows row by row.
#[target_feature(enable = "neon")]
#[inline]
fn two_rows(sums: &[int32x4_t; 8], rows: &mut [[[i32; PANEL]; TILE_PANELS]; 2], panel: usize) {
    let [first, second] = rows.each_mut().map(|row| row[panel].as_mut_ptr());
    for (c, sums) in sums.as_chunks::<2>().0.iter().enumerate() {
        let [left, right] = sums.map(|s| vreinterpretq_u64_s32(s));
        // SAFETY: each row has four sums at 4 c.
        unsafe {
            vst1q_s32(first.add(4 * c), vreinterpretq_s32_u64(vzip1q_u64(left, right)));
            vst1q_s32(second.add(4 * c), vreinterpretq_s32_u64(vzip2q_u64(left, right)));
        }
    }
}

pairs!(pairs1, 1, [
    "q0" "v0" 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
]);
pairs!(pairs2, 2, [
    "q0" "v0" 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
    "q1" "v1" 1 ("v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23")
]);
pairs!(pairs3, 3, [
    "q0" "v0" 0 ("v8" "v9" "v10" "v11" "v12" "v13" "v14" "v15")
    "q1" "v1" 1 ("v16" "v17" "v18" "v19" "v20" "v21" "v22" "v23")
    "q2" "v2" 2 ("v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31")
]);
