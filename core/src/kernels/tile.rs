//! The integer tile: what each instruction set writes by hand, and the choice between them.

use super::generic;
use super::isa::Isa;
use super::pack::PANEL;

/// Most rows and panels of a tile on any ISA.
pub(super) const TILE_ROWS: usize =
    if cfg!(any(target_arch = "aarch64", target_arch = "arm")) { 24 } else { 8 };
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
    /// `sums[r][c] = sum over k of (a[r][k] - BIAS) * w[k][c]`, wrapping.
    fn dot(self, tile: &TileInput, sums: &mut Sums);
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
