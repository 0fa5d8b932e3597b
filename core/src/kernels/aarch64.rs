//! What the 64-bit ARM kernels share: activations laid out for a tile, and products that stream the weights.
//!
//! `vdotq_s32`, `vmmlaq_s32` and their kin are not stable in Rust 1.95, so the inner loops are `asm!`; what
//! surrounds them is intrinsics.

use super::pack::PANEL;
use super::tile::{Sums, TileInput};
use std::arch::aarch64::{
    int32x4_t, uint8x16_t, vdupq_n_s32, vdupq_n_u8, veorq_u8, vld1q_s32, vld1q_u8, vst1q_s32, vst1q_u8,
};
use std::arch::asm;
use std::mem::MaybeUninit;

/// K is worked off in pieces of at most this, so that a tile's activations stay in the first cache.
const CHUNK: usize = 1024;

/// Four vectors of four sums each: one row of one panel.
pub(super) type Line = [int32x4_t; 4];

/// A chunk of the activations of `R` rows as `[K/16][R][16]`, and room for one step more: the loops load a
/// step ahead.
struct Activations<const R: usize>([MaybeUninit<[[u8; 16]; R]>; CHUNK / 16 + 1]);

impl<const R: usize> Activations<R> {
    #[inline(always)]
    fn new() -> Self {
        Activations([MaybeUninit::uninit(); CHUNK / 16 + 1])
    }

    #[inline(always)]
    fn as_ptr(&self) -> *const u8 {
        self.0.as_ptr().cast()
    }

    /// Takes `k` bytes (a multiple of 16, at most [`CHUNK`]) of each row from `k0` on; bits in `flip` change.
    ///
    /// # Safety
    /// `tile` has at least `R` rows of `k0 + k` bytes inside its slices.
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn fill(&mut self, tile: &TileInput, k0: usize, k: usize, flip: uint8x16_t) {
        for (step, to) in self.0[..k / 16].iter_mut().enumerate() {
            let to = to.as_mut_ptr().cast::<u8>();
            for r in 0..R {
                // SAFETY: 16 bytes at k0 + 16 step < k0 + k of row r lie inside `a`; `to` has R times 16.
                unsafe {
                    let bytes = vld1q_u8(tile.a.as_ptr().add(r * tile.stride + k0 + step * 16));
                    vst1q_u8(to.add(r * 16), veorq_u8(bytes, flip));
                }
            }
        }
    }
}

/// The sums so far of the first `R` rows of a panel: zero before the first chunk.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn sums_so_far<const R: usize>(first: bool, sums: &Sums, panel: usize) -> [Line; R] {
    let mut acc = [[vdupq_n_s32(0); 4]; R];
    if !first {
        for (acc, row) in acc.iter_mut().zip(&sums.0) {
            for (acc, four) in acc.iter_mut().zip(row[panel].as_chunks::<4>().0) {
                // SAFETY: four sums.
                *acc = unsafe { vld1q_s32(four.as_ptr()) };
            }
        }
    }
    acc
}

/// Puts the sums of a panel where the driver reads them.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_sums<const R: usize>(acc: &[Line; R], sums: &mut Sums, panel: usize) {
    for (acc, row) in acc.iter().zip(&mut sums.0) {
        for (acc, four) in acc.iter().zip(row[panel].as_chunks_mut::<4>().0) {
            // SAFETY: room for four sums.
            unsafe { vst1q_s32(four.as_mut_ptr(), *acc) };
        }
    }
}

/// A vector in memory.
pub(super) type V = MaybeUninit<[u8; 16]>;

/// Defines `$name(tile, k0, k, row, to)`: copies `k` bytes (a multiple of 64) from `k0` on of two rows of a tile to
/// `[k/8][2][8]`. A second row that the tile lacks is the first again. `$each` is done to the vectors on the way.
macro_rules! zip_rows {
    ($name:ident, $($each:literal)*) => {
        /// # Safety
        /// The rows lie inside the tile's slice; `to` has room for `k/8` vectors; `k` is not 0.
        #[target_feature(enable = "neon")]
        #[inline]
        pub(super) unsafe fn $name(tile: &TileInput, k0: usize, k: usize, row: usize, to: *mut V) {
            let a = tile.a.as_ptr().wrapping_add(row * tile.stride + k0);
            let b = if row + 1 < tile.rows { a.wrapping_add(tile.stride) } else { a };
            // SAFETY: reads k bytes of either row and writes twice as many; names all registers that it writes.
            unsafe {
                asm!(
                    "movi v4.16b, #128",
                    "2:",
                    "ldp q0, q2, [{a}], #32",
                    "ldp q1, q3, [{b}], #32",
                    "subs {n}, {n}, #1",
                    $($each,)*
                    "st2 {{v0.2d, v1.2d}}, [{to}], #32",
                    "st2 {{v2.2d, v3.2d}}, [{to}], #32",
                    "b.ne 2b",
                    a = inout(reg) a => _, b = inout(reg) b => _, to = inout(reg) to => _,
                    n = inout(reg) k / 32 => _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _,
                    options(nostack)
                );
            }
        }
    };
}

zip_rows!(zip_rows,);
// Less 128.
zip_rows!(
    zip_signed,
    "eor v0.16b, v0.16b, v4.16b"
    "eor v1.16b, v1.16b, v4.16b"
    "eor v2.16b, v2.16b, v4.16b"
    "eor v3.16b, v3.16b, v4.16b"
);

/// What a tile should [`prefetch`], in a share for each panel of each of `chunks` chunks.
#[inline(always)]
pub(super) fn shares<'a>(tile: &TileInput<'a>, chunks: usize) -> std::slice::Chunks<'a, i8> {
    tile.soon.chunks(tile.soon.len().div_ceil(tile.panels * chunks).next_multiple_of(256).max(256))
}

/// Asks for `lines`, and up to three lines of 64 bytes after them, to be brought to the second cache.
#[inline(always)]
pub(super) fn prefetch(lines: &[i8]) {
    for four in lines.chunks(256) {
        // SAFETY: a prefetch changes no state that a program can see and never faults.
        unsafe {
            asm!(
                "prfm pldl2keep, [{0}]",
                "prfm pldl2keep, [{0}, #64]",
                "prfm pldl2keep, [{0}, #128]",
                "prfm pldl2keep, [{0}, #192]",
                in(reg) four.as_ptr(),
                options(nostack, readonly, preserves_flags)
            )
        }
    }
}

/// Sums of `R` rows and all panels of a tile by `panel(activations, weights, steps, acc)`, which multiplies
/// the rows by one panel, 16 K a step. It gets the activations with the bits in `flip` changed.
///
/// # Safety
/// `tile` has at least `R` rows and its panels inside its slices; the CPU has what `panel` needs.
#[target_feature(enable = "neon")]
pub(super) unsafe fn rows_by_panels<const R: usize>(
    tile: &TileInput,
    flip: u8,
    sums: &mut Sums,
    panel: unsafe fn(*const u8, *const i8, usize, &mut [Line; R]),
) {
    let mut a = Activations::<R>::new();
    let mut soon = shares(tile, tile.k.div_ceil(CHUNK));
    let mut k0 = 0;
    while k0 < tile.k {
        let k = CHUNK.min(tile.k - k0);
        // SAFETY: the caller's promise.
        unsafe { a.fill(tile, k0, k, vdupq_n_u8(flip)) };
        for p in 0..tile.panels {
            prefetch(soon.next().unwrap_or(&[]));
            let mut acc = sums_so_far(k0 == 0, sums, p);
            // SAFETY: k of every row are in `a`, and k times 16 weights lie from there on in panel p.
            unsafe {
                let w = tile.w.as_ptr().add(p * tile.panel_stride + k0 * PANEL);
                panel(a.as_ptr(), w, k / 16, &mut acc);
            }
            store_sums(&acc, sums, p);
        }
        k0 += k;
    }
}

/// Products of one or two rows with a panel, whose weights then pass by once: defines
/// `$name(activations, weights, steps, acc)` for steps of 16 K with the instruction `$op`.
///
/// Two sets of sums, for the odd and the even quads, so that no product waits for the one before it.
macro_rules! stream {
    ($name:ident, $features:literal, $op:literal) => {
        /// # Safety
        /// `a` has `steps` times 16 bytes per row, `w` `steps` times 256; the CPU has the features.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn $name<const R: usize>(a: *const u8, w: *const i8, steps: usize, acc: &mut [Line; R]) {
            const { assert!(R == 1 || R == 2) };
            macro_rules! quads {
                ($row:literal, $lane:literal, $w:literal, $acc:literal) => {
                    concat!($op, " v", $acc, ".4s, v", $w, ".16b, v", $row, ".4b[", $lane, "]\n")
                };
            }
            if R == 1 {
                let mut odd = [vdupq_n_s32(0); 4];
                // SAFETY: reads what the caller promised and no more; names all registers that it writes.
                unsafe {
                    asm!(
                        "2:",
                        "ldp q16, q17, [{w}]",
                        "ldp q18, q19, [{w}, #32]",
                        "ldr q0, [{a}], #16",
                        "ldp q20, q21, [{w}, #64]",
                        "ldp q22, q23, [{w}, #96]",
                        "subs {n}, {n}, #1",
                        "ldp q24, q25, [{w}, #128]",
                        "ldp q26, q27, [{w}, #160]",
                        quads!(0, 0, 16, 2), quads!(0, 0, 17, 3), quads!(0, 0, 18, 4), quads!(0, 0, 19, 5),
                        "ldp q28, q29, [{w}, #192]",
                        "ldp q30, q31, [{w}, #224]",
                        "add {w}, {w}, #256",
                        quads!(0, 1, 20, 6), quads!(0, 1, 21, 7), quads!(0, 1, 22, 8), quads!(0, 1, 23, 9),
                        quads!(0, 2, 24, 2), quads!(0, 2, 25, 3), quads!(0, 2, 26, 4), quads!(0, 2, 27, 5),
                        quads!(0, 3, 28, 6), quads!(0, 3, 29, 7), quads!(0, 3, 30, 8), quads!(0, 3, 31, 9),
                        "b.ne 2b",
                        a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                        out("v0") _,
                        inout("v2") acc[0][0], inout("v3") acc[0][1],
                        inout("v4") acc[0][2], inout("v5") acc[0][3],
                        inout("v6") odd[0], inout("v7") odd[1], inout("v8") odd[2], inout("v9") odd[3],
                        out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                        out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(nostack, readonly)
                    );
                }
                for (acc, odd) in acc[0].iter_mut().zip(odd) {
                    *acc = vaddq_s32(*acc, odd);
                }
            } else {
                // SAFETY: as above.
                unsafe {
                    asm!(
                        "2:",
                        "ldp q16, q17, [{w}]",
                        "ldp q18, q19, [{w}, #32]",
                        "ldp q0, q1, [{a}], #32",
                        "ldp q20, q21, [{w}, #64]",
                        "ldp q22, q23, [{w}, #96]",
                        "subs {n}, {n}, #1",
                        "ldp q24, q25, [{w}, #128]",
                        "ldp q26, q27, [{w}, #160]",
                        quads!(0, 0, 16, 2), quads!(0, 0, 17, 3), quads!(0, 0, 18, 4), quads!(0, 0, 19, 5),
                        quads!(1, 0, 16, 6), quads!(1, 0, 17, 7), quads!(1, 0, 18, 8), quads!(1, 0, 19, 9),
                        "ldp q28, q29, [{w}, #192]",
                        "ldp q30, q31, [{w}, #224]",
                        "add {w}, {w}, #256",
                        quads!(0, 1, 20, 2), quads!(0, 1, 21, 3), quads!(0, 1, 22, 4), quads!(0, 1, 23, 5),
                        quads!(1, 1, 20, 6), quads!(1, 1, 21, 7), quads!(1, 1, 22, 8), quads!(1, 1, 23, 9),
                        quads!(0, 2, 24, 2), quads!(0, 2, 25, 3), quads!(0, 2, 26, 4), quads!(0, 2, 27, 5),
                        quads!(1, 2, 24, 6), quads!(1, 2, 25, 7), quads!(1, 2, 26, 8), quads!(1, 2, 27, 9),
                        quads!(0, 3, 28, 2), quads!(0, 3, 29, 3), quads!(0, 3, 30, 4), quads!(0, 3, 31, 5),
                        quads!(1, 3, 28, 6), quads!(1, 3, 29, 7), quads!(1, 3, 30, 8), quads!(1, 3, 31, 9),
                        "b.ne 2b",
                        a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                        out("v0") _, out("v1") _,
                        inout("v2") acc[0][0], inout("v3") acc[0][1],
                        inout("v4") acc[0][2], inout("v5") acc[0][3],
                        inout("v6") acc[R - 1][0], inout("v7") acc[R - 1][1],
                        inout("v8") acc[R - 1][2], inout("v9") acc[R - 1][3],
                        out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _,
                        out("v22") _, out("v23") _, out("v24") _, out("v25") _, out("v26") _, out("v27") _,
                        out("v28") _, out("v29") _, out("v30") _, out("v31") _,
                        options(nostack, readonly)
                    );
                }
            }
        }
    };
}
pub(super) use stream;
