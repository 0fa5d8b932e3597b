//! PocketBERT's operators as tract [`TypedOp`]s.
//!
//! Each operator is an [`Operator`]: how its output's shape follows from its inputs', and how it runs on
//! packed rows. [`PocketOp`] makes tract type, order and run them. They never run outside a plan: a plan
//! gives them a [`RunContext`] with the kernel to use and scratch memory to reuse.

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
    fn take(&mut self, sizes: [usize; 2]) -> [Vec<f32>; 2] {
        let mut buffers = std::mem::take(&mut self.buffers);
        for (b, size) in buffers.iter_mut().zip(sizes) {
            if b.len() < size {
                b.resize(size, 0.0);
            }
        }
        buffers
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
    fn run(&self, ctx: &mut RunContext, inputs: &[&Tensor]) -> TractResult<Tensor>;
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

    fn eval(&self, _ctx: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        // Only a run of tract's own reaches this; ours go through `Operator::run` with a shared scratch.
        let mut scratch = Scratch::default();
        let mut ctx = RunContext { isa: Isa::best(), team: &mut Team::new(1), scratch: &mut scratch };
        let refs: TVec<&Tensor> = inputs.iter().map(|v| &**v).collect();
        Ok(tvec!(self.0.run(&mut ctx, &refs)?.into_tvalue()))
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

/// The elements of an f32 tensor.
pub(crate) fn f32s(t: &Tensor) -> TractResult<&[f32]> {
    t.try_as_plain_ram()?.as_slice::<f32>()
}

/// The elements of an i64 tensor.
pub(crate) fn i64s(t: &Tensor) -> TractResult<&[i64]> {
    t.try_as_plain_ram()?.as_slice::<i64>()
}

/// A new f32 tensor filled by `f`.
pub(crate) fn new_f32(shape: &[usize], f: impl FnOnce(&mut [f32]) -> TractResult<()>) -> TractResult<Tensor> {
    let mut t = Tensor::zero::<f32>(shape)?;
    f(t.try_as_plain_ram_mut()?.as_slice_mut::<f32>()?)?;
    Ok(t)
}

/// The first input's shape with `channels` as its last dimension.
pub(crate) fn with_channels(inputs: &[&[TDim]], channels: usize) -> TractResult<TVec<TDim>> {
    let mut shape: TVec<TDim> =
        inputs.first().context("an operator without inputs")?.iter().cloned().collect();
    *shape.last_mut().context("a scalar where rows are expected")? = channels.to_dim();
    Ok(shape)
}

/// Sequence boundaries as sizes, checked: they start at 0, do not decrease and end at `rows`.
pub(crate) fn boundaries(offsets: &Tensor, rows: usize) -> TractResult<Vec<usize>> {
    let o: Vec<usize> = i64s(offsets)?
        .iter()
        .map(|&x| usize::try_from(x).context("a negative offset"))
        .collect::<TractResult<_>>()?;
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
