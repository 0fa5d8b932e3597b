//! 64-bit ARM with the dot-product extension: Cortex-A55 and A75, Neoverse N1, Apple A13 and later.
//!
//! `SDOT` multiplies signed bytes only, so 128 is taken from the activations; the driver puts it back by
//! the column sums. The tile holds 6 rows x 16 columns in 24 registers, as Arm Compute Library's hybrid
//! kernels do: 96 products for 22 loads. The rows of a tile are copied once per four panels, sign bit
//! flipped, into the order in which the loop reads them.

use super::aarch64::{Line, rows_by_panels, stream};
use super::tile::{DotTile, Job, Sums, TileInput};
use std::arch::aarch64::{vaddq_s32, vdupq_n_s32};
use std::arch::asm;

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
                3 => rows_by_panels(tile, 0x80, sums, rows3),
                4 => rows_by_panels(tile, 0x80, sums, rows4),
                5 => rows_by_panels(tile, 0x80, sums, rows5),
                _ => rows_by_panels(tile, 0x80, sums, rows6),
            }
        }
    }
}

stream!(stream, "neon,dotprod", "sdot");

/// One quad of every row times four columns.
macro_rules! quads {
    ($w:literal, $lane:literal $(, $a:tt $acc:tt)*) => {
        concat!($("sdot ", $acc, ".4s, ", $w, ".16b, ", $a, ".4b[", $lane, "]\n"),*)
    };
}

/// Defines `$name(activations, weights, steps, acc)`: rows times a panel, 16 K a step.
///
/// A vector of weights is loaded while the rows are multiplied by the one before, and the last step loads
/// from the panel's start what it will not use, so that nothing outside is read. Scalar instructions stand
/// beside loads, with which an in-order core pairs them.
macro_rules! rows {
    ($name:ident, $rows:literal, [$($q:literal $a:tt $off:literal $r:tt ($s0:tt $s1:tt $s2:tt $s3:tt))*]) => {
        /// # Safety
        /// `a` has a step more than `steps` of 16 bytes per row, `w` `steps` times 256; `steps` is not 0.
        #[target_feature(enable = "neon,dotprod")]
        unsafe fn $name(a: *const u8, w: *const i8, steps: usize, acc: &mut [Line; $rows]) {
            // SAFETY: reads what the caller promised and no more; names all registers that it writes.
            unsafe {
                asm!(
                    $(concat!("ldr ", $q, ", [{a}, #", $off, "]"),)*
                    "ldp q6, q7, [{w}]",
                    "2:",
                    quads!("v6", 0 $(, $a $s0)*), "ldr q6, [{w}, #32]", "subs {n}, {n}, #1",
                    quads!("v7", 0 $(, $a $s1)*), "ldr q7, [{w}, #48]", "add {next}, {w}, #256",
                    quads!("v6", 0 $(, $a $s2)*), "ldr q6, [{w}, #64]", "csel {next}, {start}, {next}, eq",
                    quads!("v7", 0 $(, $a $s3)*), "ldr q7, [{w}, #80]", concat!("add {a}, {a}, #", $rows, "*16"),
                    quads!("v6", 1 $(, $a $s0)*), "ldr q6, [{w}, #96]",
                    quads!("v7", 1 $(, $a $s1)*), "ldr q7, [{w}, #112]",
                    quads!("v6", 1 $(, $a $s2)*), "ldr q6, [{w}, #128]",
                    quads!("v7", 1 $(, $a $s3)*), "ldr q7, [{w}, #144]",
                    quads!("v6", 2 $(, $a $s0)*), "ldr q6, [{w}, #160]",
                    quads!("v7", 2 $(, $a $s1)*), "ldr q7, [{w}, #176]",
                    quads!("v6", 2 $(, $a $s2)*), "ldr q6, [{w}, #192]",
                    quads!("v7", 2 $(, $a $s3)*), "ldr q7, [{w}, #208]",
                    quads!("v6", 3 $(, $a $s0)*), "ldr q6, [{w}, #224]",
                    quads!("v7", 3 $(, $a $s1)*), "ldr q7, [{w}, #240]", "mov {w}, {next}",
                    quads!("v6", 3 $(, $a $s2)*), "ldr q6, [{w}]",
                    $(quads!("v7", 3, $a $s3), concat!("ldr ", $q, ", [{a}, #", $off, "]"),)*
                    "ldr q7, [{w}, #16]",
                    "b.ne 2b",
                    a = inout(reg) a => _, w = inout(reg) w => _, n = inout(reg) steps => _,
                    start = in(reg) w, next = out(reg) _,
                    out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
                    out("v6") _, out("v7") _,
                    $(inout($s0) acc[$r][0], inout($s1) acc[$r][1],
                      inout($s2) acc[$r][2], inout($s3) acc[$r][3],)*
                    options(nostack, readonly)
                );
            }
        }
    };
}

rows!(rows3, 3, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11")
    "q1" "v1" 16 1 ("v12" "v13" "v14" "v15")
    "q2" "v2" 32 2 ("v16" "v17" "v18" "v19")
]);
rows!(rows4, 4, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11")
    "q1" "v1" 16 1 ("v12" "v13" "v14" "v15")
    "q2" "v2" 32 2 ("v16" "v17" "v18" "v19")
    "q3" "v3" 48 3 ("v20" "v21" "v22" "v23")
]);
rows!(rows5, 5, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11")
    "q1" "v1" 16 1 ("v12" "v13" "v14" "v15")
    "q2" "v2" 32 2 ("v16" "v17" "v18" "v19")
    "q3" "v3" 48 3 ("v20" "v21" "v22" "v23")
    "q4" "v4" 64 4 ("v24" "v25" "v26" "v27")
]);
rows!(rows6, 6, [
    "q0" "v0" 0 0 ("v8" "v9" "v10" "v11")
    "q1" "v1" 16 1 ("v12" "v13" "v14" "v15")
    "q2" "v2" 32 2 ("v16" "v17" "v18" "v19")
    "q3" "v3" 48 3 ("v20" "v21" "v22" "v23")
    "q4" "v4" 64 4 ("v24" "v25" "v26" "v27")
    "q5" "v5" 80 5 ("v28" "v29" "v30" "v31")
]);
