//! 64-bit ARM without the dot-product extension: Cortex-A53, A57, A72 and A73, Apple A7 to A12.
//!
//! `SMULL` and `SMLAL` add two products of signed bytes in 16 bits, `SADALP` adds pairs of those to 32-bit
//! sums: three instructions for 16 products. Two products fit 16 bits unless all four factors are -128, so
//! a look at the weights (once per chunk of a panel, for all rows of the tile) says whether they have a -128;
//! such a chunk takes four instructions, adding every product to the sums at once.

use super::aarch64::{V, prefetch, shares, zip_signed};
use super::aarch64_float::finished_by_hand;
use super::pack::PANEL;
use super::quant::RowQuant;
use super::tile::{Channels, DotTile, Job, Sums, TileInput};
use std::arch::aarch64::{
    int32x4_t, vaddq_s32, vdupq_n_s8, vdupq_n_s32, vld1q_s8, vld1q_s32, vminq_s8, vminvq_s8, vpaddq_s32,
    vst1q_s32,
};
use std::arch::asm;
use std::mem::MaybeUninit;

/// Rows of a tile.
const ROWS: usize = 24;

/// Does `job` with this tile.
pub(super) fn with_neon(job: impl Job) {
    job.run(Neon);
}

/// Works on every 64-bit ARM.
#[derive(Clone, Copy)]
struct Neon;

impl DotTile for Neon {
    const ROWS: usize = ROWS;
    const PANELS: usize = 4;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted).
        unsafe { dot(tile, sums) }
    }

    finished_by_hand!();
}

/// K of a chunk: a panel's part (8 KiB) and the activations (12 KiB) share the first cache.
const CHUNK: usize = 512;

/// # Safety
/// `tile`'s rows and panels lie inside its slices.
#[target_feature(enable = "neon")]
unsafe fn dot(tile: &TileInput, sums: &mut Sums) {
    let mut a: [V; ROWS / 2 * CHUNK / 8] = [const { MaybeUninit::uninit() }; _];
    let pairs = tile.rows.div_ceil(2);
    let chunk = tile.k.div_ceil(tile.k.div_ceil(CHUNK).max(1)).next_multiple_of(64);
    let mut soon = shares(tile, tile.k.div_ceil(chunk));
    let mut k0 = 0;
    while k0 < tile.k {
        let k = chunk.min(tile.k - k0);
        for pair in 0..pairs {
            // SAFETY: the rows of the pair exist (an odd last one is taken twice).
            unsafe { zip_signed(tile, k0, k, 2 * pair, a[pair * CHUNK / 8..][..k / 8].as_mut_ptr()) };
        }
        for p in 0..tile.panels {
            prefetch(soon.next().unwrap_or(&[]));
            let w = &tile.w[p * tile.panel_stride + k0 * PANEL..][..k * PANEL];
            // With a pair of rows or less the look costs more than it saves.
            let exact = pairs == 1 || has_lowest(w);
            for pair in 0..pairs {
                let a = a[pair * CHUNK / 8..].as_ptr().cast();
                let mut acc = [vdupq_n_s32(0); 16];
                // SAFETY: k of both rows are in `a`, and k times 16 weights in `w`.
                unsafe {
                    if exact {
                        two_rows_exact(a, w.as_ptr(), k / 8, &mut acc);
                    } else {
                        two_rows(a, w.as_ptr(), k / 8, &mut acc);
                    }
                }
                let (first, second) = acc.split_at(8);
                add_sums(first, k0 == 0, &mut sums.0[2 * pair][p]);
                if 2 * pair + 1 < tile.rows {
                    add_sums(second, k0 == 0, &mut sums.0[2 * pair + 1][p]);
                }
            }
        }
        k0 += k;
    }
}

/// Whether -128 is among the weights.
#[target_feature(enable = "neon")]
#[inline]
fn has_lowest(w: &[i8]) -> bool {
    let mut least = [vdupq_n_s8(0); 4];
    for line in w.as_chunks::<64>().0 {
        for (least, part) in least.iter_mut().zip(line.as_chunks::<16>().0) {
            // SAFETY: 16 bytes.
            *least = vminq_s8(*least, unsafe { vld1q_s8(part.as_ptr()) });
        }
    }
    vminvq_s8(vminq_s8(vminq_s8(least[0], least[1]), vminq_s8(least[2], least[3]))) == i8::MIN
}

/// Adds the two halves of every column's sum, and that to the sums of the chunks before.
#[target_feature(enable = "neon")]
#[inline]
fn add_sums(acc: &[int32x4_t], first: bool, sums: &mut [i32; PANEL]) {
    for (acc, four) in acc.as_chunks::<2>().0.iter().zip(sums.as_chunks_mut::<4>().0) {
        let mut sum = vpaddq_s32(acc[0], acc[1]);
        // SAFETY: four sums.
        unsafe {
            if !first {
                sum = vaddq_s32(sum, vld1q_s32(four.as_ptr()));
            }
            vst1q_s32(four.as_mut_ptr(), sum);
        }
    }
}

/// Four columns of two rows and two groups of K: v8 and v9 are the first row's groups, v10 and v11 the
/// second's.
macro_rules! columns {
    (paired, $w0:literal, $w1:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(columns!(first, $w0), columns!(then, "smlal", $w1), columns!(add, $a, $b, $c, $d),)
    };
    (exact, $w0:literal, $w1:literal, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            columns!(first, $w0),
            columns!(add, $a, $b, $c, $d),
            columns!(then, "smull", $w1),
            columns!(add, $a, $b, $c, $d),
        )
    };
    (first, $w:literal) => {
        concat!(
            "smull v12.8h, ",
            $w,
            ".8b, v8.8b\n",
            "smull2 v13.8h, ",
            $w,
            ".16b, v8.16b\n",
            "smull v14.8h, ",
            $w,
            ".8b, v10.8b\n",
            "smull2 v15.8h, ",
            $w,
            ".16b, v10.16b\n",
        )
    };
    (then, $op:literal, $w:literal) => {
        concat!(
            $op,
            " v12.8h, ",
            $w,
            ".8b, v9.8b\n",
            $op,
            "2 v13.8h, ",
            $w,
            ".16b, v9.16b\n",
            $op,
            " v14.8h, ",
            $w,
            ".8b, v11.8b\n",
            $op,
            "2 v15.8h, ",
            $w,
            ".16b, v11.16b\n",
        )
    };
    (add, $a:literal, $b:literal, $c:literal, $d:literal) => {
        concat!(
            "sadalp ",
            $a,
            ".4s, v12.8h\n",
            "sadalp ",
            $b,
            ".4s, v13.8h\n",
            "sadalp ",
            $c,
            ".4s, v14.8h\n",
            "sadalp ",
            $d,
            ".4s, v15.8h\n",
        )
    };
}

/// Defines `$name(activations, weights, steps, acc)`: two rows times a panel, 8 K a step. Sums of a row are
/// eight vectors of two columns, each in two halves.
macro_rules! two_rows {
    ($name:ident, $how:tt) => {
        /// # Safety
        /// `a` has `steps` times 16 bytes, `w` `steps` times 128; `steps` is not 0.
        #[target_feature(enable = "neon")]
        unsafe fn $name(a: *const u8, w: *const i8, steps: usize, acc: &mut [int32x4_t; 16]) {
            // SAFETY: reads what the caller promised and no more; names all registers that it writes.
            unsafe {
                asm!(
                    "2:",
                    "ldr q15, [{a}], #16",
                    "ldp q0, q1, [{w}]",
                    "ldp q4, q5, [{w}, #64]",
                    "dup v8.4s, v15.s[0]",
                    "dup v9.4s, v15.s[1]",
                    "ldp q2, q3, [{w}, #32]",
                    "dup v10.4s, v15.s[2]",
                    "dup v11.4s, v15.s[3]",
                    "ldp q6, q7, [{w}, #96]",
                    "subs {n}, {n}, #1",
                    columns!($how, "v0", "v4", "v16", "v17", "v24", "v25"),
                    columns!($how, "v1", "v5", "v18", "v19", "v26", "v27"),
                    "add {w}, {w}, #128",
                    columns!($how, "v2", "v6", "v20", "v21", "v28", "v29"),
                    columns!($how, "v3", "v7", "v22", "v23", "v30", "v31"),
                    "b.ne 2b",
                    a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v6") _, out("v7") _, out("v8") _, out("v9") _, out("v10") _, out("v11") _,
                    out("v12") _, out("v13") _, out("v14") _, out("v15") _,
                    inout("v16") acc[0], inout("v17") acc[1], inout("v18") acc[2], inout("v19") acc[3],
                    inout("v20") acc[4], inout("v21") acc[5], inout("v22") acc[6], inout("v23") acc[7],
                    inout("v24") acc[8], inout("v25") acc[9], inout("v26") acc[10], inout("v27") acc[11],
                    inout("v28") acc[12], inout("v29") acc[13], inout("v30") acc[14], inout("v31") acc[15],
                    options(nostack, readonly)
                );
            }
        }
    };
}

two_rows!(two_rows, paired);
two_rows!(two_rows_exact, exact);
