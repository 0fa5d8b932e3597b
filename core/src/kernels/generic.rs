//! The integer tile in plain Rust: the definition that every other one must equal.

use super::pack::PANEL;
use super::tile::{DotTile, Sums, TileInput};

/// Two rows of one panel at a time: few enough sums to stay in 16 vector registers.
#[derive(Clone, Copy)]
pub(super) struct Tile;

impl DotTile for Tile {
    const ROWS: usize = 4;
    const PANELS: usize = 1;
    const BIAS: i32 = 0;

    #[inline(always)]
    fn dot(self, tile: &TileInput, sums: &mut Sums) {
        tile.assert_in_bounds();
        let w = &tile.w[..tile.k * PANEL];
        for r in 0..tile.rows {
            let a = &tile.a[r * tile.stride..][..tile.k];
            let mut acc = [0i32; PANEL];
            for (quad, line) in a.as_chunks::<4>().0.iter().zip(w.as_chunks::<64>().0) {
                let quad = quad.map(i16::from);
                for l in 0..PANEL {
                    // Pairs of 16-bit products summed in 32 bits: the shape of PMADDWD and SMLAL.
                    let low = i32::from(quad[0]) * i32::from(line[4 * l])
                        + i32::from(quad[1]) * i32::from(line[4 * l + 1]);
                    let high = i32::from(quad[2]) * i32::from(line[4 * l + 2])
                        + i32::from(quad[3]) * i32::from(line[4 * l + 3]);
                    acc[l] = acc[l].wrapping_add(low).wrapping_add(high);
                }
            }
            sums.0[r][0] = acc;
        }
    }
}
