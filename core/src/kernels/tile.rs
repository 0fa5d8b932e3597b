//! The integer tile: what each instruction set writes by hand, and the choice between them.

use super::generic;
use super::isa::Isa;
use super::pack::PANEL;

/// Most rows and panels of a tile on any ISA.
pub(super) const TILE_ROWS: usize =
    if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 24 } else { 12 };
pub(super) const TILE_PANELS: usize = 4;

/// The integer sums of a tile: row, panel, column.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Sums(pub [[[i32; PANEL]; TILE_PANELS]; TILE_ROWS]);

impl Sums {
    pub const ZERO: Sums = Sums([[[0; PANEL]; TILE_PANELS]; TILE_ROWS]);
}

/// A tile's operands: `rows` rows of `k` bytes (a multiple of 64), `stride` apart, and `panels` panels of
/// weights, `panel_stride` apart.
pub(super) struct TileInput<'a> {
    pub a: &'a [u8],
    pub stride: usize,
    pub rows: usize,
    pub w: &'a [i8],
    pub panel_stride: usize,
    pub panels: usize,
    pub k: usize,
    /// Weights that are needed soon: the tile may ask for them to be brought nearer.
    pub soon: &'a [i8],
}

impl TileInput<'_> {
    /// Panics unless all that the tile reads lies inside its slices: the check behind the pointers of the
    /// ISA kernels. It costs nothing beside a tile.
    #[inline(always)]
    pub fn assert_in_bounds(&self) {
        assert!(self.rows >= 1 && self.rows <= TILE_ROWS && self.panels >= 1 && self.panels <= TILE_PANELS);
        assert!(self.k.is_multiple_of(64));
        assert!((self.rows - 1) * self.stride + self.k <= self.a.len());
        assert!((self.panels - 1) * self.panel_stride + self.k * PANEL <= self.w.len());
    }
}

/// The part of the linear layer that an ISA writes by hand.
pub(super) trait DotTile: Copy {
    /// Rows per tile at most, up to [`TILE_ROWS`].
    const ROWS: usize;
    /// Panels per tile at most, up to [`TILE_PANELS`].
    const PANELS: usize;
    /// What the tile takes from every activation: 0, or 128 where both operands must be signed.
    const BIAS: i32;
    /// Panels per tile for `rows` rows, up to [`TILE_PANELS`]: few rows leave registers for more.
    #[inline(always)]
    fn panels(_rows: usize) -> usize {
        Self::PANELS
    }

    /// `sums[r][c] = sum over k of (a[r][k] - BIAS) * w[k][c]`, wrapping.
    fn dot(self, tile: &TileInput, sums: &mut Sums);

    /// [`dot`](DotTile::dot) that does pieces of other work on the way, in the shadow of its products: as many as
    /// it likes, down to none.
    #[inline(always)]
    fn dot_and(self, tile: &TileInput, sums: &mut Sums, _other: &mut impl Pieces) {
        self.dot(tile, sums);
    }

    /// [`UsualSums::finish`], by hand where the compiler does not see that its arrays are vectors.
    #[inline(always)]
    fn finish(self, sums: &UsualSums) -> [f32; PANEL] {
        sums.finish()
    }
}

/// A row's sums of one panel of a linear layer whose weights have no zero points, and all that makes them floats.
pub(super) struct UsualSums<'a> {
    /// Sums, zero point (less the tile's bias), scale of the row and column sums, per segment.
    pub segments: [(&'a [i32; PANEL], i32, f32, &'a [i32; PANEL]); 2],
    /// Whether the second segment counts.
    pub two: bool,
    /// Scale per channel; `Err` is one for all.
    pub scale: Result<&'a [f32; PANEL], f32>,
    pub bias: Option<&'a [f32; PANEL]>,
}

impl UsualSums<'_> {
    /// Without zero points, times the row's scale, the segments added, times the channel's scale, plus the bias.
    #[inline(always)]
    pub fn finish(&self) -> [f32; PANEL] {
        let mut y = [0.0; PANEL];
        let (sums, zero, scale, col_sum) = self.segments[0];
        for l in 0..PANEL {
            y[l] = sums[l].wrapping_sub(zero.wrapping_mul(col_sum[l])) as f32 * scale;
        }
        if self.two {
            let (sums, zero, scale, col_sum) = self.segments[1];
            for l in 0..PANEL {
                y[l] += sums[l].wrapping_sub(zero.wrapping_mul(col_sum[l])) as f32 * scale;
            }
        }
        let scale = match self.scale {
            Ok(scale) => *scale,
            Err(one) => [one; PANEL],
        };
        for l in 0..PANEL {
            y[l] *= scale[l];
        }
        if let Some(bias) = self.bias {
            for l in 0..PANEL {
                y[l] += bias[l];
            }
        }
        y
    }
}

/// Work in small pieces: compiled into tiles, so it must be `#[inline(always)]` and small.
pub(super) trait Pieces {
    /// Pieces left.
    fn left(&self) -> usize;
    /// Does one; nothing if none is left.
    fn step(&mut self);
}

/// No work.
pub(super) struct Nothing;

impl Pieces for Nothing {
    #[inline(always)]
    fn left(&self) -> usize {
        0
    }

    #[inline(always)]
    fn step(&mut self) {}
}

/// Work on integer tiles: compiled once for every instruction set, so it must be `#[inline(always)]`.
pub(super) trait Job {
    /// Does it with the tile of one instruction set.
    fn run<D: DotTile>(self, dot: D);
}

/// Does `job` with the tile of `isa`.
pub(super) fn run(isa: Isa, job: impl Job) {
    match isa.usable() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => super::avx2::with_avx2(job),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => super::avxvnni::with_avxvnni(job),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => super::avx512vnni::with_avx512vnni(job),
        #[cfg(target_arch = "arm")]
        Isa::Armv7Neon => super::armv7_neon::with_armv7_neon(job),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => super::aarch64_neon::with_neon(job),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => super::aarch64_dotprod::with_dotprod(job),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => super::aarch64_i8mm::with_i8mm(job),
        _ => job.run(generic::Tile),
    }
}

/// Does int8 products on registers alone, `steps` times what fills the registers, and says how many; `None` where
/// no such loop is written. Their rate is the limit that figures of speed are compared with.
pub fn register_products(isa: Isa, steps: u32) -> Option<u64> {
    match isa.usable() {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => Some(super::avx512vnni::register_products(steps)),
        _ => {
            let _ = steps;
            None
        }
    }
}
