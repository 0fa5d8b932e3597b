//! PocketBERT's operators as tract [`TypedOp`]s.
//!
//! Each operator is an [`Operator`]: how its output's shape follows from its inputs', and how it runs on
//! packed rows. [`PocketOp`] makes tract type and order them. A plan runs them in that order, and gives them a
//! [`RunContext`] with the kernel to use, and buffers that are kept from run to run.

pub mod attention;
pub mod build;
pub mod layer;
pub mod linear;
pub mod lookup;
pub mod map;
pub mod norm;
pub mod rows;
pub mod unembed;

use std::fmt::Debug;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::*;

use crate::kernels::{Isa, QuantRows, Team};
use crate::memory;

/// Scratch memory that operators reuse from node to node and from run to run.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Quantized activations of the linear layer that is running.
    pub rows: QuantRows,
    /// Attention's packed keys, scores and the like.
    pub attention: crate::kernels::AttentionScratch,
    /// What each thread needs where attention is split by heads.
    helpers: Vec<Helper>,
    /// Rows between the operators of a layer.
    buffers: [Vec<f32>; 2],
    /// Boundaries of the sequences of a block.
    boundaries: Vec<usize>,
    /// Which rows count in a mean.
    keep: Vec<u8>,
    /// Rows whose scores over the vocabulary are wanted.
    picked: Vec<f32>,
    /// Values of a [`map::Map`] on a row.
    registers: Vec<Vec<f32>>,
}

/// One thread's share of attention.
#[derive(Debug, Default)]
struct Helper {
    attention: crate::kernels::AttentionScratch,
    /// Rows of its heads.
    out: Vec<f32>,
}

impl Scratch {
    /// Two buffers of at least these sizes, which hold anything; [`give`](Self::give) them back. They grow only: what
    /// a buffer grows by is zeroed, and it changes hands many times a run.
    fn take(&mut self, sizes: [usize; 2]) -> crate::Result<[Vec<f32>; 2]> {
        let mut buffers = std::mem::take(&mut self.buffers);
        for (b, size) in buffers.iter_mut().zip(sizes) {
            if b.len() < size {
                memory::resize(b, size, 0.0)?;
            }
        }
        Ok(buffers)
    }

    fn give(&mut self, buffers: [Vec<f32>; 2]) {
        self.buffers = buffers;
    }
}

/// What a run gives to its operators.
pub struct RunContext<'a> {
    /// The kernels to use.
    pub isa: Isa,
    /// The threads that an operator may use.
    pub team: &'a mut Team,
    /// Reused memory.
    pub scratch: &'a mut Scratch,
}

/// What an operator reads: rows of floats that another one wrote, or a vector of the batch.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    shape: &'a [usize],
    data: Data<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Data<'a> {
    Floats(&'a [f32]),
    Integers(&'a [i64]),
    /// Where each sequence starts, and the end of the last.
    Boundaries(&'a [usize]),
}

impl<'a> Value<'a> {
    /// A vector of the batch: ids, types, mask, picks. `shape` is its length.
    pub fn integers(shape: &'a [usize; 1], data: &'a [i64]) -> Value<'a> {
        Value { shape, data: Data::Integers(data) }
    }

    /// Where each sequence starts, and the end of the last: from 0 on, not falling. `shape` is their number.
    pub fn boundaries(shape: &'a [usize; 1], data: &'a [usize]) -> Value<'a> {
        Value { shape, data: Data::Boundaries(data) }
    }

    /// Rows, then channels.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }
}

/// What an operator writes: rows of floats, in memory that grows only.
#[derive(Debug, Default)]
pub struct Buffer {
    shape: TVec<usize>,
    data: Vec<f32>,
}

impl Buffer {
    /// Becomes a tensor of `shape`, which holds anything until `f` has written it.
    ///
    /// # Errors
    /// `ResourceExhausted`; those of `f`.
    pub fn fill(
        &mut self,
        shape: &[usize],
        f: impl FnOnce(&mut [f32]) -> TractResult<()>,
    ) -> TractResult<()> {
        let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).context("a tensor is too large")?;
        if self.data.len() < n {
            memory::resize(&mut self.data, n, 0.0)?;
        }
        self.shape.clear();
        self.shape.extend_from_slice(shape);
        f(&mut self.data[..n])
    }

    /// What it holds.
    pub fn value(&self) -> Value<'_> {
        let n = self.shape.iter().product();
        Value { shape: &self.shape, data: Data::Floats(self.data.get(..n).unwrap_or_default()) }
    }

    /// Gives back the memory beyond `most` bytes.
    pub fn trim(&mut self, most: usize) {
        if self.data.capacity() > most / size_of::<f32>() {
            memory::release(&mut self.data);
            self.shape.clear();
        }
    }
}

/// An operator over packed rows. Immutable and shared by all threads.
pub trait Operator: std::any::Any + Debug + Send + Sync + 'static {
    /// The operator's name, as in the graph.
    fn kind(&self) -> &'static str;

    /// What its heavy arithmetic works on: `i8` or `f32`.
    fn dtype(&self) -> &'static str {
        "f32"
    }

    /// Whether row `i` of the output depends on row `i` of the inputs alone, and all inputs have rows.
    fn row_wise(&self) -> bool {
        false
    }

    /// The output's shape: the first input's, unless the operator says otherwise.
    fn shape(&self, inputs: &[&[TDim]]) -> TractResult<TVec<TDim>> {
        Ok(inputs[0].iter().cloned().collect())
    }

    /// Computes the output.
    fn run(&self, ctx: &mut RunContext, inputs: &[Value], out: &mut Buffer) -> TractResult<()>;
}

/// An [`Operator`] inside a tract graph.
#[derive(Clone, Debug)]
pub struct PocketOp(pub Arc<dyn Operator>);

impl PartialEq for PocketOp {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for PocketOp {}

impl Op for PocketOp {
    fn name(&self) -> StaticName {
        self.0.kind().into()
    }

    op_as_typed_op!();
}

impl EvalOp for PocketOp {
    not_out_of_plan!();

    fn eval(&self, _ctx: &EvalContext, _inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        bail!("operators of PocketBERT run in a plan of PocketBERT")
    }
}

impl TypedOp for PocketOp {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let shapes: TVec<TVec<TDim>> = inputs.iter().map(|f| f.shape.iter().cloned().collect()).collect();
        let refs: TVec<&[TDim]> = shapes.iter().map(|s| &**s).collect();
        Ok(tvec!(f32::fact(&*self.0.shape(&refs)?)))
    }

    as_op!();
}

/// [`PocketOp`] before the graph is typed.
impl tract_onnx::tract_hir::ops::expandable::Expansion for PocketOp {
    fn name(&self) -> StaticName {
        self.0.kind().into()
    }

    fn runs_out_of_plan(&self) -> bool {
        false
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        model.wire_node(prefix, self.clone(), inputs)
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.given_all(inputs.iter().map(|i| &i.shape), move |s, shapes| {
            let refs: TVec<&[TDim]> = shapes.iter().map(|s| &**s).collect();
            s.equals(&outputs[0].shape, self.0.shape(&refs)?)
        })
    }
}

/// The elements of floats.
pub(crate) fn f32s(t: Value<'_>) -> TractResult<&[f32]> {
    match t.data {
        Data::Floats(x) => Ok(x),
        _ => bail!("integers where floats are expected"),
    }
}

/// The elements of a vector of the batch.
pub(crate) fn i64s(t: Value<'_>) -> TractResult<&[i64]> {
    match t.data {
        Data::Integers(x) => Ok(x),
        _ => bail!("something else where ids, types, a mask or picks are expected"),
    }
}

/// The first input's shape with `channels` as its last dimension.
pub(crate) fn with_channels(inputs: &[&[TDim]], channels: usize) -> TractResult<TVec<TDim>> {
    let mut shape: TVec<TDim> =
        inputs.first().context("an operator without inputs")?.iter().cloned().collect();
    *shape.last_mut().context("a scalar where rows are expected")? = channels.to_dim();
    Ok(shape)
}

/// Sequence boundaries, checked: they end at `rows`.
pub(crate) fn boundaries(offsets: Value<'_>, rows: usize) -> TractResult<&[usize]> {
    let Data::Boundaries(o) = offsets.data else {
        bail!("something else where sequence offsets are expected")
    };
    ensure!(
        o.first() == Some(&0) && o.last() == Some(&rows) && o.is_sorted(),
        "sequence offsets must rise from 0 to the number of rows"
    );
    Ok(o)
}

/// Splits `out` (rows of `width`) over the threads of `team`; `f(first_row, part)` fills each part, of at least
/// `min_rows` rows.
pub(crate) fn over_rows(
    team: &mut Team,
    min_rows: usize,
    out: &mut [f32],
    width: usize,
    f: impl Fn(usize, &mut [f32]) -> crate::Result<()> + Sync,
) -> TractResult<()> {
    let rows = out.len() / width.max(1);
    let parts = team.threads().min(rows / min_rows.max(1)).max(1);
    if parts == 1 {
        return Ok(f(0, out)?);
    }
    let per = rows.div_ceil(parts);
    let items = out.chunks_mut(per * width).enumerate().collect();
    Ok(team.each(items, |(i, part)| f(i * per, part))?)
}
