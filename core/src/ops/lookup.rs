//! Embedding tables.

use tract_onnx::tract_hir::internal::*;

use super::{Buffer, Operator, RunContext, Value, boundaries, i64s};
use crate::kernels;
use crate::model::tensor::{DType, Tensor as Constant};

/// What selects a table's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The token's id (or type): the first input.
    Value,
    /// The token's position in its sequence plus this.
    Position(usize),
    /// Always this row.
    Row(usize),
}

/// One row of a table per token.
#[derive(Debug)]
pub struct Lookup {
    /// What selects the row.
    pub by: By,
    /// `[rows, hidden]`, f32 or int8. It stays where it lies; only rows that are asked for are read.
    pub table: Constant,
    /// Scale of int8 rows: one, or one per row.
    pub scale: Vec<f32>,
    /// Zero points of int8 rows: none, one, or one per row.
    pub zero: Vec<i32>,
}

impl Operator for Lookup {
    fn kind(&self) -> &'static str {
        "Lookup"
    }

    fn dtype(&self) -> &'static str {
        if self.table.dtype == DType::I8 { "i8" } else { "f32" }
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        let n = inputs[0].first().context("ids must be a vector")?.clone();
        Ok(tvec!(n, self.table.shape[1].to_dim()))
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let ids = i64s(inputs[0])?;
        let offsets = boundaries(inputs[1], ids.len())?;
        let (rows, c) = (self.table.shape[0], self.table.shape[1]);
        let bytes = self.table.bytes();
        out.fill(&[ids.len(), c], |out| {
            for w in offsets.windows(2) {
                for t in w[0]..w[1] {
                    let row = match self.by {
                        By::Value => usize::try_from(ids[t]).ok(),
                        By::Position(p) => (t - w[0]).checked_add(p),
                        By::Row(r) => Some(r),
                    };
                    let row = row.filter(|&r| r < rows);
                    let Some(row) = row else {
                        bail!("a token id, type or position is outside the table of {rows} rows")
                    };
                    let out = &mut out[t * c..(t + 1) * c];
                    if self.table.dtype == DType::I8 {
                        let one = |n: usize| if n == 1 { 0 } else { row };
                        let zero = self.zero.get(one(self.zero.len())).copied().unwrap_or(0);
                        let scale = self.scale[one(self.scale.len())];
                        let row = kernels::pack::as_i8(&bytes[row * c..(row + 1) * c]);
                        kernels::dequantize_embedding(ctx.isa, row, scale, zero, out);
                    } else {
                        for (o, b) in
                            out.iter_mut().zip(bytes[row * c * 4..(row + 1) * c * 4].chunks_exact(4))
                        {
                            *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                        }
                    }
                }
            }
            Ok(())
        })
    }
}
