//! The integer tile: what each instruction set writes by hand, and the choice between them.

use super::generic;
use super::isa::Isa;
use super::pack::PANEL;
use super::quant::RowQuant;

/// Most rows and panels of a tile on any ISA.
pub(super) const TILE_ROWS: usize = if cfg!(target_arch = "aarch64") {
    64
} else if cfg!(target_arch = "arm") {
    24
} else {
    12
};
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
    /// Where the second segment of K starts, a multiple of 64; `k` if there is one segment.
    pub split: usize,
    /// Weights that are needed soon: the tile may ask for them to be brought nearer.
    pub soon: &'a [i8],
}

impl<'a> TileInput<'a> {
    /// Its segments of K, each as a tile of one.
    #[inline(always)]
    pub fn segments(&self) -> (TileInput<'a>, Option<TileInput<'a>>) {
        let first = TileInput { k: self.split, ..*self };
        let second = (self.split < self.k).then(|| TileInput {
            a: &self.a[self.split..],
            w: &self.w[self.split * PANEL..],
            k: self.k - self.split,
            split: self.k - self.split,
            soon: &[],
            ..*self
        });
        (first, second)
    }

    /// Panics unless all that the tile reads lies inside its slices: the check behind the pointers of the
    /// ISA kernels. It costs nothing beside a tile.
    #[inline(always)]
    pub fn assert_in_bounds(&self) {
        assert!(self.rows >= 1 && self.rows <= TILE_ROWS && self.panels >= 1 && self.panels <= TILE_PANELS);
        assert!(self.k.is_multiple_of(64) && self.split.is_multiple_of(64) && self.split <= self.k);
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
    /// Whether [`finish`](DotTile::finish) is written.
    const FINISHES: bool = false;
    /// Panels per tile for `rows` rows, up to [`TILE_PANELS`]: few rows leave registers for more.
    #[inline(always)]
    fn panels(_rows: usize) -> usize {
        Self::PANELS
    }

    /// `sums[r][c] = sum over k of (a[r][k] - BIAS) * w[k][c]`, wrapping; K is one segment.
    fn dot(self, tile: &TileInput, sums: &mut Sums);

    /// [`dot`](DotTile::dot) of each segment of K.
    #[inline(always)]
    fn dot_segments(self, tile: &TileInput, sums: &mut [Sums; 2]) {
        let (first, second) = tile.segments();
        self.dot(&first, &mut sums[0]);
        if let Some(second) = second {
            self.dot(&second, &mut sums[1]);
        }
    }

    /// Sums of one row and panel as floats: without the row's zero point (per segment: less `BIAS`, times the column
    /// sums), times the row's scale, the segments added if there are `TWO`, times the channel's scale, plus the bias.
    /// By hand where the compiler does not see that arrays are vectors.
    #[inline(always)]
    fn floats<const TWO: bool>(
        self,
        first: &[i32; PANEL],
        second: &[i32; PANEL],
        row: &[RowQuant],
        channels: &Channels,
    ) -> [f32; PANEL] {
        let mut y = [0.0; PANEL];
        let zero = row[0].zero.wrapping_sub(Self::BIAS);
        for l in 0..PANEL {
            y[l] = first[l].wrapping_sub(zero.wrapping_mul(channels.col_sum[0][l])) as f32 * row[0].scale;
        }
        if TWO {
            let zero = row[1].zero.wrapping_sub(Self::BIAS);
            for l in 0..PANEL {
                y[l] +=
                    second[l].wrapping_sub(zero.wrapping_mul(channels.col_sum[1][l])) as f32 * row[1].scale;
            }
        }
        for l in 0..PANEL {
            y[l] = y[l] * channels.scale[l] + channels.bias[l];
        }
        y
    }

    /// [`floats`](DotTile::floats) and then, if `gelu`, [`gelu_erf`](super::math::gelu_erf), for a panel and all
    /// `rows` (two each if there are `TWO` segments), whose values go to `out`, `stride` apart. Called where
    /// [`FINISHES`](DotTile::FINISHES) says that it is written.
    #[inline(always)]
    fn finish<const TWO: bool>(
        self,
        _sums: &[Sums; 2],
        _panel: usize,
        _rows: &[RowQuant],
        _channels: &Channels,
        _gelu: bool,
        _out: &mut [f32],
        _stride: usize,
    ) {
    }
}

/// What 16 output channels bring to the sums; channels that do not exist are zero.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Channels {
    pub col_sum: [[i32; PANEL]; 2],
    pub scale: [f32; PANEL],
    pub bias: [f32; PANEL],
    /// Zero points of the weights.
    pub zero: [i32; PANEL],
}

impl Channels {
    pub const NONE: Channels =
        Channels { col_sum: [[0; PANEL]; 2], scale: [0.0; PANEL], bias: [0.0; PANEL], zero: [0; PANEL] };
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
