//! 32-bit ARM with NEON: integer products only.
//!
//! Here NEON flushes denormal numbers whatever the control register says, so float code stays on the scalar
//! unit: this file has integers alone, and the crate is built without the `neon` feature. NEON intrinsics
//! and its registers in `asm!` are unstable in Rust 1.95, hence naked functions.
//!
//! As on 64-bit ARM without dot product: `VMULL` and `VMLAL` add two products in 16 bits, `VPADAL` adds pairs
//! of them to 32-bit sums; chunks of weights with a -128 take one instruction more. The 16 registers hold 2
//! rows x 8 columns.

use super::pack::PANEL;
use super::tile::{DotTile, Job, Sums, TILE_ROWS, TileInput};
use std::arch::naked_asm;

/// Whether this CPU has NEON: bit 12 of the hardware capabilities that the kernel hands to every process.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn has_neon() -> bool {
    use std::ffi::c_ulong;
    const AT_HWCAP: c_ulong = 16;
    const HWCAP_NEON: c_ulong = 1 << 12;
    unsafe extern "C" {
        safe fn getauxval(kind: c_ulong) -> c_ulong;
    }
    getauxval(AT_HWCAP) & HWCAP_NEON != 0
}

/// Not known how to ask.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn has_neon() -> bool {
    false
}

/// Does `job` with this tile. Call only where [`Isa::Armv7Neon`](super::Isa::Armv7Neon) is available.
pub(super) fn with_armv7_neon(job: impl Job) {
    job.run(Neon);
}

/// Make one only where the CPU has NEON.
#[derive(Clone, Copy)]
struct Neon;

impl DotTile for Neon {
    const ROWS: usize = TILE_ROWS;
    const PANELS: usize = 4;
    const BIAS: i32 = 128;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        dot(tile, sums);
    }
}

/// K of a chunk: a panel's part (4 KiB) and the activations (6 KiB) share the first cache.
const CHUNK: usize = 256;

fn dot(tile: &TileInput, sums: &mut Sums) {
    // For every pair of rows `[K/8][2][8]`, as signed bytes.
    let mut a = [[[0u8; 16]; CHUNK / 8]; TILE_ROWS / 2];
    let pairs = tile.rows.div_ceil(2);
    let mut k0 = 0;
    while k0 < tile.k {
        let k = CHUNK.min(tile.k - k0);
        for (pair, a) in a.iter_mut().enumerate().take(pairs) {
            for (half, row) in [2 * pair, (2 * pair + 1).min(tile.rows - 1)].into_iter().enumerate() {
                let from = &tile.a[row * tile.stride + k0..][..k];
                for (to, from) in a.iter_mut().zip(from.as_chunks::<8>().0) {
                    let signed = u64::from_ne_bytes(*from) ^ 0x8080_8080_8080_8080;
                    to[8 * half..8 * half + 8].copy_from_slice(&signed.to_ne_bytes());
                }
            }
        }
        for p in 0..tile.panels {
            let w = &tile.w[p * tile.panel_stride + k0 * PANEL..][..k * PANEL];
            // SAFETY: a multiple of 64 weights, not none; the CPU has NEON.
            let exact = pairs == 1 || unsafe { least(w.as_ptr(), w.len() / 64) } == i32::from(i8::MIN);
            let product = if exact { two_rows_exact } else { two_rows };
            for (pair, a) in a.iter().enumerate().take(pairs) {
                for half in 0..2 {
                    let mut acc = [[0; PANEL / 2]; 2];
                    // SAFETY: k of both rows are in `a`; the half of every line of `w` lies inside it.
                    unsafe { product(a.as_ptr().cast(), w.as_ptr().add(half * 32), k / 8, &mut acc) };
                    for (acc, row) in acc.iter().zip(2 * pair..tile.rows) {
                        let to = &mut sums.0[row][p][half * 8..][..8];
                        for (to, acc) in to.iter_mut().zip(acc) {
                            *to = if k0 == 0 { *acc } else { to.wrapping_add(*acc) };
                        }
                    }
                }
            }
        }
        k0 += k;
    }
}

/// The least of `lines` times 64 weights.
///
/// # Safety
/// They exist and are not none; the CPU has NEON.
#[unsafe(naked)]
unsafe extern "C" fn least(w: *const i8, lines: usize) -> i32 {
    naked_asm!(
        ".fpu neon",
        "vmov.i8 q8, #0",
        "vmov.i8 q9, #0",
        "vmov.i8 q10, #0",
        "vmov.i8 q11, #0",
        "2:",
        "vld1.8 {{d0-d3}}, [r0]!",
        "subs r1, r1, #1",
        "vld1.8 {{d4-d7}}, [r0]!",
        "vmin.s8 q8, q8, q0",
        "vmin.s8 q9, q9, q1",
        "vmin.s8 q10, q10, q2",
        "vmin.s8 q11, q11, q3",
        "bne 2b",
        "vmin.s8 q8, q8, q9",
        "vmin.s8 q10, q10, q11",
        "vmin.s8 q8, q8, q10",
        "vpmin.s8 d16, d16, d17",
        "vpmin.s8 d16, d16, d16",
        "vpmin.s8 d16, d16, d16",
        "vpmin.s8 d16, d16, d16",
        "vmov.s8 r0, d16[0]",
        "bx lr",
    )
}

/// Two columns of two rows and two groups of K: d8 and d9 are the first row's groups, d10 and d11 the
/// second's.
macro_rules! columns {
    (paired, $w0:literal, $w1:literal, $a:literal, $b:literal) => {
        concat!(
            "vmull.s8 q6, ",
            $w0,
            ", d8\n",
            "vmull.s8 q7, ",
            $w0,
            ", d10\n",
            "vmlal.s8 q6, ",
            $w1,
            ", d9\n",
            "vmlal.s8 q7, ",
            $w1,
            ", d11\n",
            "vpadal.s16 ",
            $a,
            ", q6\n",
            "vpadal.s16 ",
            $b,
            ", q7\n",
        )
    };
    (exact, $w0:literal, $w1:literal, $a:literal, $b:literal) => {
        concat!(
            "vmull.s8 q6, ",
            $w0,
            ", d8\n",
            "vmull.s8 q7, ",
            $w0,
            ", d10\n",
            "vpadal.s16 ",
            $a,
            ", q6\n",
            "vpadal.s16 ",
            $b,
            ", q7\n",
            "vmull.s8 q6, ",
            $w1,
            ", d9\n",
            "vmull.s8 q7, ",
            $w1,
            ", d11\n",
            "vpadal.s16 ",
            $a,
            ", q6\n",
            "vpadal.s16 ",
            $b,
            ", q7\n",
        )
    };
}

/// Defines `$name(activations, weights, steps, sums)`: two rows times half a panel, 8 K a step.
macro_rules! two_rows {
    ($name:ident, $how:tt) => {
        /// # Safety
        /// `a` has `steps` times 16 bytes; `w` has 32 bytes in each of twice `steps` lines of 64; `steps` is
        /// not 0; the CPU has NEON.
        #[unsafe(naked)]
        unsafe extern "C" fn $name(a: *const u8, w: *const i8, steps: usize, sums: &mut [[i32; 8]; 2]) {
            naked_asm!(
                ".fpu neon",
                "vpush {{d8-d15}}",
                "mov r12, #64",
                "vmov.i32 q8, #0",
                "vmov.i32 q9, #0",
                "vmov.i32 q10, #0",
                "vmov.i32 q11, #0",
                "vmov.i32 q12, #0",
                "vmov.i32 q13, #0",
                "vmov.i32 q14, #0",
                "vmov.i32 q15, #0",
                "2:",
                "vld4.32 {{d8[], d9[], d10[], d11[]}}, [r0]!",
                "vld1.8 {{d0-d3}}, [r1], r12",
                "subs r2, r2, #1",
                "vld1.8 {{d4-d7}}, [r1], r12",
                columns!($how, "d0", "d4", "q8", "q12"),
                columns!($how, "d1", "d5", "q9", "q13"),
                columns!($how, "d2", "d6", "q10", "q14"),
                columns!($how, "d3", "d7", "q11", "q15"),
                "bne 2b",
                // The two halves of every column.
                "vpadd.i32 d0, d16, d17",
                "vpadd.i32 d1, d18, d19",
                "vpadd.i32 d2, d20, d21",
                "vpadd.i32 d3, d22, d23",
                "vpadd.i32 d4, d24, d25",
                "vpadd.i32 d5, d26, d27",
                "vpadd.i32 d6, d28, d29",
                "vpadd.i32 d7, d30, d31",
                "vst1.32 {{d0-d3}}, [r3]!",
                "vst1.32 {{d4-d7}}, [r3]",
                "vpop {{d8-d15}}",
                "bx lr",
            )
        }
    };
}

two_rows!(two_rows, paired);
two_rows!(two_rows_exact, exact);
