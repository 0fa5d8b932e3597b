//! 64-bit ARM with the dot-product extension: Cortex-A55 and A75, Neoverse N1, Apple A13 and later.
//!
//! `SDOT` multiplies signed bytes only, so 128 is taken from the activations; the driver puts it back by
//! the column sums. The tile holds 6 rows x 16 columns in 24 registers, as Arm Compute Library's hybrid
//! kernels do. The rows of a tile are copied once per four panels, sign bit flipped and four K of four rows
//! side by side: `SDOT` takes any four bytes of a vector, so a vector of activations is done with after one
//! or two quads, and eight registers are enough to load weights in pairs while others are multiplied. 96
//! products take 12 loads.

use super::aarch64::{Line, V, prefetch, rows_by_panels, shares, store_sums, stream, sums_so_far};
use super::aarch64_float::finished_by_hand;
use super::pack::PANEL;
use super::quant::RowQuant;
use super::tile::{Channels, DotTile, Job, Sums, TileInput};
use std::arch::aarch64::{
    int32x4_t, int32x4x2_t, int32x4x4_t, uint8x16x2_t, vaddq_s32, vdupq_n_s32, vdupq_n_u8, veorq_u8,
    vld1q_u8_x2, vreinterpretq_s32_u8, vst2q_s32, vst4q_s32,
};
use std::arch::asm;
use std::mem::MaybeUninit;

/// Does `job` with this tile. Call only where [`Isa::NeonDotprod`](super::Isa::NeonDotprod) is available.
pub(super) fn with_dotprod(job: impl Job) {
    #[target_feature(enable = "neon,dotprod")]
    fn with(job: impl Job) {
        job.run(Dotprod);
    }
    // SAFETY: the caller checked for these features.
    unsafe { with(job) }
}

/// Make one only where the CPU has the dot-product extension.
#[derive(Clone, Copy)]
struct Dotprod;

impl DotTile for Dotprod {
    const ROWS: usize = 6;
    const PANELS: usize = 4;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        // SAFETY: the tile lies inside its slices (asserted); a `Dotprod` exists only where the CPU has the
        // features.
        unsafe {
            match tile.rows {
                1 => rows_by_panels(tile, 0x80, sums, stream::<1>),
                2 => rows_by_panels(tile, 0x80, sums, stream::<2>),
                3 => tall::<4>(tile, sums, rows3),
                4 => tall::<4>(tile, sums, rows4),
                5 => tall::<6>(tile, sums, rows5),
                _ => tall::<6>(tile, sums, rows6),
            }
        }
    }

    finished_by_hand!();
}

stream!(stream, "neon,dotprod", "sdot");

/// K is worked off in pieces of at most this, so that a tile's activations stay in the first cache.
const CHUNK: usize = 1024;

/// Sums of three rows or more by `panel`, which multiplies the rows by one panel.
///
/// # Safety
/// `tile`'s rows, at least as many as `panel` takes, and its panels lie inside its slices; `R` is 4 for `panel`s of
/// three or four rows, else 6.
#[target_feature(enable = "neon,dotprod")]
unsafe fn tall<const R: usize>(
    tile: &TileInput,
    sums: &mut Sums,
    panel: unsafe fn(*const V, *const i8, usize, bool, &mut Sums, usize),
) {
    let mut a = [const { MaybeUninit::uninit() }; CHUNK / 16 * 6];
    let mut soon = shares(tile, tile.k.div_ceil(CHUNK));
    let mut k0 = 0;
    while k0 < tile.k {
        let k = CHUNK.min(tile.k - k0);
        // SAFETY: the caller's promise.
        unsafe { fill::<R>(tile, k0, k, &mut a) };
        for p in 0..tile.panels {
            prefetch(soon.next().unwrap_or(&[]));
            // SAFETY: k (a multiple of 64) of every row are in `a`, and k times 16 weights lie from there on in
            // panel p.
            unsafe {
                let w = tile.w.as_ptr().add(p * tile.panel_stride + k0 * PANEL);
                panel(a.as_ptr(), w, k / 32, k0 == 0, sums, p);
            }
        }
        k0 += k;
    }
}

/// Copies `k` bytes from `k0` on of `R` rows (the last one for those that are missing), less 128, as `[k/16]` times
/// `[4][4][4]`: quad, row, K; and then the same `[4][2][4]` of the fifth and sixth row.
///
/// # Safety
/// The tile's rows lie inside its slice, `k` is a multiple of 64 up to [`CHUNK`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn fill<const R: usize>(tile: &TileInput, k0: usize, k: usize, to: &mut [V; CHUNK / 16 * 6]) {
    const { assert!(R == 4 || R == 6) };
    let flip = vdupq_n_u8(0x80);
    let mut rows: [*const u8; R] =
        std::array::from_fn(|r| tile.a.as_ptr().wrapping_add(r.min(tile.rows - 1) * tile.stride + k0));
    let mut to = to.as_mut_ptr().cast::<i32>();
    for _ in 0..k / 32 {
        let two: [[int32x4_t; 2]; R] = std::array::from_fn(|r| {
            // SAFETY: 32 bytes of row r below k.
            let uint8x16x2_t(low, high) = unsafe { vld1q_u8_x2(rows[r]) };
            rows[r] = rows[r].wrapping_add(32);
            let signed = |bytes| vreinterpretq_s32_u8(veorq_u8(bytes, flip));
            [signed(low), signed(high)]
        });
        for i in 0..2 {
            // SAFETY: a step takes R vectors of `to`, which has six for each.
            unsafe {
                vst4q_s32(to, int32x4x4_t(two[0][i], two[1][i], two[2][i], two[3][i]));
                if R == 6 {
                    vst2q_s32(to.add(16), int32x4x2_t(two[R - 2][i], two[R - 1][i]));
                }
                to = to.add(4 * R);
            }
        }
    }
}

/// A vector of weights, four columns by a quad, times every row.
macro_rules! columns {
    ($w:literal $(, $a:tt $lane:tt $acc:tt)*) => {
        concat!($("sdot ", $acc, ".4s, ", $w, ".16b, ", $a, ".4b[", $lane, "]\n"),*)
    };
}

/// Defines `$name(activations, weights, steps, first, sums, panel)`: rows times a panel, 32 K a step.
///
/// What a quad needs is loaded while others are multiplied, so the last step, which has none after it, stands by itself.
/// In-order cores want loads apart from each other, scalar instructions beside loads, and addresses that no load moves:
/// for Cortex-A55 that is the difference between 141 and 119 cycles per 16 K of six rows (llvm-mca).
///
/// Half a step has `$half` bytes of activations; loads of them, register and place in the half: those of the second and
/// third quad, then those of the next half, before and after the products of the later rows. Of each row: register and
/// lane of its bytes in each quad, sums; the later rows last.
macro_rules! rows {
    ($name:ident, $rows:literal, $half:literal, $first:literal,
    ($($load1:literal $at1:literal)*) ($($load2:literal $at2:literal)*)
    ($load3:literal $at3:literal) ($($late:literal $at4:literal)*) ($end:literal $at5:literal),
    [$($r:tt ($a0:tt $l0:tt $a1:tt $l1:tt $a2:tt $l2:tt $a3:tt $l3:tt) ($s0:tt $s1:tt $s2:tt $s3:tt))*]
    [$($e:tt ($b0:tt $m0:tt $b1:tt $m1:tt $b2:tt $m2:tt $b3:tt $m3:tt) ($t0:tt $t1:tt $t2:tt $t3:tt))*]) => {
        /// # Safety
        /// `a` has `steps` times the vectors of [`fill`] for 32 K, `w` `steps` times 512 bytes; `steps` is not 0.
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn $name(a: *const V, w: *const i8, steps: usize, first: bool, sums: &mut Sums, panel: usize) {
            let mut acc: [Line; $rows] = sums_so_far(first, sums, panel);
            // Three quads and a quarter, from weights and activations that start that many bytes from the pointers.
            macro_rules! quads {
                ($w:tt, $a:tt, $count:tt) => {
                    concat!(
                        columns!("v4" $(, $a0 $l0 $s0)* $(, $b0 $m0 $t0)*),
                        "ldp q6, q7, [{w}, #", $w, "+32]\n",
                        columns!("v5" $(, $a0 $l0 $s1)* $(, $b0 $m0 $t1)*),
                        "ldp q4, q5, [{w}, #", $w, "+64]\n",
                        columns!("v6" $(, $a0 $l0 $s2)* $(, $b0 $m0 $t2)*),
                        columns!("v7" $(, $a0 $l0 $s3)* $(, $b0 $m0 $t3)*),
                        "ldp q6, q7, [{w}, #", $w, "+96]\n",
                        columns!("v4" $(, $a1 $l1 $s0)* $(, $b1 $m1 $t0)*),
                        $($load1, ", [{a}, #", $a, "+", $at1, "]\n",)*
                        $count,
                        columns!("v5" $(, $a1 $l1 $s1)* $(, $b1 $m1 $t1)*),
                        "ldp q4, q5, [{w}, #", $w, "+128]\n",
                        columns!("v6" $(, $a1 $l1 $s2)* $(, $b1 $m1 $t2)*),
                        columns!("v7" $(, $a1 $l1 $s3)* $(, $b1 $m1 $t3)*),
                        "ldp q6, q7, [{w}, #", $w, "+160]\n",
                        columns!("v4" $(, $a2 $l2 $s0)* $(, $b2 $m2 $t0)*),
                        $($load2, ", [{a}, #", $a, "+", $at2, "]\n",)*
                        columns!("v5" $(, $a2 $l2 $s1)* $(, $b2 $m2 $t1)*),
                        "ldp q4, q5, [{w}, #", $w, "+192]\n",
                        columns!("v6" $(, $a2 $l2 $s2)* $(, $b2 $m2 $t2)*),
                        columns!("v7" $(, $a2 $l2 $s3)* $(, $b2 $m2 $t3)*),
                        "ldp q6, q7, [{w}, #", $w, "+224]\n",
                        columns!("v4" $(, $a3 $l3 $s0)* $(, $b3 $m3 $t0)*),
                    )
                };
            }
            // The rest, and what the next half needs first.
            macro_rules! rest {
                ($w:tt, $a:tt, $moved:tt) => {
                    concat!(
                        $load3, ", [{a}, #", $a, "+", $at3, "]\n",
                        columns!("v5" $(, $a3 $l3 $s1)* $(, $b3 $m3 $t1)*),
                        "ldp q4, q5, [{w}, #", $w, "+256]\n",
                        columns!("v6" $(, $a3 $l3 $s2)* $(, $b3 $m3 $t2)*),
                        columns!("v7" $(, $a3 $l3 $s3)*),
                        $($late, ", [{a}, #", $a, "+", $at4, "]\n",)*
                        $moved,
                        columns!("v7" $(, $b3 $m3 $t3)*),
                        $end, ", [{a}, #", $a, "+", $at5, "]\n",
                    )
                };
            }
            macro_rules! last {
                () => {
                    concat!(
                        columns!("v5" $(, $a3 $l3 $s1)* $(, $b3 $m3 $t1)*),
                        columns!("v6" $(, $a3 $l3 $s2)* $(, $b3 $m3 $t2)*),
                        columns!("v7" $(, $a3 $l3 $s3)* $(, $b3 $m3 $t3)*),
                    )
                };
            }
            // SAFETY: reads what the caller promised and no more; names all registers that it writes.
            unsafe {
                asm!(
                    "ldp q0, q1, [{a}]",
                    concat!("ldp q2, q3, [{a}, #", $first, "]"),
                    "ldp q4, q5, [{w}]",
                    "cbz {n}, 3f",
                    "2:",
                    quads!(0, 0, "subs {n}, {n}, #1\n"),
                    rest!(0, 0, ""),
                    quads!(256, $half, ""),
                    rest!(256, $half, "add {w}, {w}, #512\n"),
                    concat!("add {a}, {a}, #2*", $half),
                    "b.ne 2b",
                    "3:",
                    quads!(0, 0, ""),
                    rest!(0, 0, ""),
                    quads!(256, $half, ""),
                    last!(),
                    a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps - 1 => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _,
                    out("v4") _, out("v5") _, out("v6") _, out("v7") _,
                    $(inout($s0) acc[$r][0], inout($s1) acc[$r][1],
                      inout($s2) acc[$r][2], inout($s3) acc[$r][3],)*
                    $(inout($t0) acc[$e][0], inout($t1) acc[$e][1],
                      inout($t2) acc[$e][2], inout($t3) acc[$e][3],)*
                    options(nostack, readonly)
                );
            }
            store_sums(&acc, sums, panel);
        }
    };
}

rows!(rows3, 3, 64, 32, () () ("ldp q0, q1" 64) ("ldr q2" 96) ("ldr q3" 112), [
    0 ("v0" 0 "v1" 0 "v2" 0 "v3" 0) ("v8" "v9" "v10" "v11")
    1 ("v0" 1 "v1" 1 "v2" 1 "v3" 1) ("v12" "v13" "v14" "v15")
    2 ("v0" 2 "v1" 2 "v2" 2 "v3" 2) ("v16" "v17" "v18" "v19")
] []);
rows!(rows4, 4, 64, 32, () () ("ldp q0, q1" 64) ("ldr q2" 96) ("ldr q3" 112), [
    0 ("v0" 0 "v1" 0 "v2" 0 "v3" 0) ("v8" "v9" "v10" "v11")
    1 ("v0" 1 "v1" 1 "v2" 1 "v3" 1) ("v12" "v13" "v14" "v15")
    2 ("v0" 2 "v1" 2 "v2" 2 "v3" 2) ("v16" "v17" "v18" "v19")
    3 ("v0" 3 "v1" 3 "v2" 3 "v3" 3) ("v20" "v21" "v22" "v23")
] []);
rows!(rows5, 5, 96, 64, ("ldr q0" 32) ("ldr q2" 48) ("ldp q0, q1" 96) ("ldr q2" 160) ("ldr q3" 176), [
    0 ("v0" 0 "v1" 0 "v0" 0 "v2" 0) ("v8" "v9" "v10" "v11")
    1 ("v0" 1 "v1" 1 "v0" 1 "v2" 1) ("v12" "v13" "v14" "v15")
    2 ("v0" 2 "v1" 2 "v0" 2 "v2" 2) ("v16" "v17" "v18" "v19")
    3 ("v0" 3 "v1" 3 "v0" 3 "v2" 3) ("v20" "v21" "v22" "v23")
] [
    4 ("v2" 0 "v2" 2 "v3" 0 "v3" 2) ("v24" "v25" "v26" "v27")
]);
rows!(rows6, 6, 96, 64, ("ldr q0" 32) ("ldr q2" 48) ("ldp q0, q1" 96) ("ldr q2" 160) ("ldr q3" 176), [
    0 ("v0" 0 "v1" 0 "v0" 0 "v2" 0) ("v8" "v9" "v10" "v11")
    1 ("v0" 1 "v1" 1 "v0" 1 "v2" 1) ("v12" "v13" "v14" "v15")
    2 ("v0" 2 "v1" 2 "v0" 2 "v2" 2) ("v16" "v17" "v18" "v19")
    3 ("v0" 3 "v1" 3 "v0" 3 "v2" 3) ("v20" "v21" "v22" "v23")
] [
    4 ("v2" 0 "v2" 2 "v3" 0 "v3" 2) ("v24" "v25" "v26" "v27")
    5 ("v2" 1 "v2" 3 "v3" 1 "v3" 3) ("v28" "v29" "v30" "v31")
]);
