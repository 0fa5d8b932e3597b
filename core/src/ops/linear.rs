//! Linear layers: int8 weights with quantized rows, or f32.

use tract_onnx::tract_hir::internal::*;

use super::rows::rows;
use super::{Buffer, Operator, RunContext, Value, over_rows, with_channels};
use crate::kernels::pack::PANEL;
use crate::kernels::{self, ActQuant, Activation, LinearI8, PackedF32, PackedI8};
use crate::memory;
use crate::model::tensor::Tensor as Constant;

/// Int8 weights, packed as the kernels read them.
#[derive(Debug)]
pub struct Int8 {
    /// `[n/16][k/4][16][4]`; stays where it lies, mapped or owned.
    pub packed: Constant,
    /// Scale: one, or one per output.
    pub scale: Vec<f32>,
    /// Zero points of the weights: one, or one per output.
    pub zero: Option<Vec<i32>>,
    /// Sum of each output's weights, one segment of K after the other.
    pub col_sum: Vec<i32>,
    /// How rows are quantized.
    pub activation: ActQuant,
    /// Where the second segment of K starts, which has a scale of its own.
    pub split: Option<usize>,
    /// For each place of K the channel of the input that stands there; none: as they come.
    pub order: Option<Vec<u16>>,
}

/// A linear layer's weights.
#[derive(Debug)]
pub enum Weights {
    /// 8-bit.
    Int8(Int8),
    /// `[n/16][k][16]`.
    Float(Vec<f32>),
}

/// `activation(x * w + bias)`.
#[derive(Debug)]
pub struct Linear {
    /// Inputs per row.
    pub k: usize,
    /// Outputs per row.
    pub n: usize,
    /// The matrix.
    pub weights: Weights,
    /// One value per output.
    pub bias: Option<Vec<f32>>,
    /// Applied to every output.
    pub epilogue: Activation,
}

impl Linear {
    /// The layer that gives only the outputs `start..start + length`; `None` if they do not lie on whole panels.
    pub fn columns(&self, start: usize, length: usize) -> crate::Result<Option<Linear>> {
        let end = start.checked_add(length).filter(|&e| e <= self.n && length > 0);
        let Some(end) = end else { return Ok(None) };
        if !start.is_multiple_of(PANEL) || !(end.is_multiple_of(PANEL) || end == self.n) {
            return Ok(None);
        }
        fn some<T: Copy>(all: &[T], n: usize, start: usize, end: usize) -> crate::Result<Vec<T>> {
            memory::copied(if all.len() == n { &all[start..end] } else { all })
        }
        let panels = |row: usize| start / PANEL * row..end.div_ceil(PANEL) * row;
        let all_panels = self.n.div_ceil(PANEL);
        let weights = match &self.weights {
            Weights::Int8(w) => {
                let Some(packed) = w.packed.part(panels(w.packed.len() / all_panels)) else {
                    return Ok(None);
                };
                let segments = w.col_sum.len() / self.n;
                let mut col_sum = vec![];
                memory::reserve(&mut col_sum, segments * (end - start))?;
                col_sum.extend(w.col_sum.chunks(self.n).flat_map(|s| &s[start..end]));
                Weights::Int8(Int8 {
                    packed,
                    scale: some(&w.scale, self.n, start, end)?,
                    zero: w.zero.as_ref().map(|z| some(z, self.n, start, end)).transpose()?,
                    col_sum,
                    activation: w.activation,
                    split: w.split,
                    order: w.order.as_deref().map(memory::copied).transpose()?,
                })
            }
            Weights::Float(w) => {
                let Some(part) = w.get(panels(w.len() / all_panels)) else { return Ok(None) };
                Weights::Float(memory::copied(part)?)
            }
        };
        let bias = self.bias.as_ref().map(|b| some(b, self.n, start, end)).transpose()?;
        Ok(Some(Linear { k: self.k, n: length, weights, bias, epilogue: self.epilogue }))
    }

    /// The layer on rows of `k`, to rows of `n`.
    pub(super) fn apply(&self, ctx: &mut RunContext, x: &[f32], out: &mut [f32]) -> TractResult<()> {
        let m = x.len() / self.k;
        ensure!(
            x.len() == m * self.k && out.len() == m * self.n,
            "rows of another size than a linear layer's"
        );
        let isa = ctx.isa;
        match &self.weights {
            Weights::Int8(w) => {
                let layer = LinearI8 {
                    weights: PackedI8::from_bytes(self.n, self.k, w.packed.bytes())?,
                    scale: &w.scale,
                    zero: w.zero.as_deref(),
                    col_sum: &w.col_sum,
                    bias: self.bias.as_deref(),
                    activation: self.epilogue,
                };
                let q = &mut ctx.scratch.rows;
                kernels::quantize_rows_with(
                    isa,
                    ctx.team,
                    x,
                    m,
                    self.k,
                    w.split,
                    w.order.as_deref(),
                    &w.activation,
                    q,
                )?;
                layer.check(q.segments())?;
                let q = &*q;
                over_rows(ctx.team, 16, out, self.n, |first, part| {
                    kernels::linear_i8_rows(isa, q, first..first + part.len() / self.n, &layer, part)
                })
            }
            Weights::Float(packed) => {
                let weights = PackedF32::new(self.n, self.k, packed)?;
                let bias = self.bias.as_deref();
                over_rows(ctx.team, 16, out, self.n, |first, part| {
                    let rows = part.len() / self.n;
                    let x = &x[first * self.k..(first + rows) * self.k];
                    kernels::gemm_f32(isa, x, rows, &weights, bias, self.epilogue, part)
                })
            }
        }
    }
}

impl Operator for Linear {
    fn kind(&self) -> &'static str {
        "Linear"
    }

    fn row_wise(&self) -> bool {
        // One scale for all rows is what makes a row depend on the others.
        !matches!(&self.weights, Weights::Int8(w) if w.activation == ActQuant::PerTensor)
    }

    fn dtype(&self) -> &'static str {
        match self.weights {
            Weights::Int8(_) => "i8",
            Weights::Float(_) => "f32",
        }
    }

    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        with_channels(inputs, self.n)
    }

    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()> {
        let mut shape: TVec<usize> = inputs[0].shape().into();
        if let Some(last) = shape.last_mut() {
            *last = self.n;
        }
        let (x, c) = rows(inputs[0])?;
        ensure!(c == self.k, "a linear layer's weight does not fit its input");
        out.fill(&shape, |out| self.apply(ctx, x, out))
    }
}
