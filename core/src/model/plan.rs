//! From a lowered graph, through tract, to something that runs.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::expand;

use super::graph::Graph as Lowered;
use super::normalize::PICKS;
use super::passes::{self, Passes};
use super::proto::{Stored, to_model};
use crate::cancel::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, KernelCounts, Team, kernel_counts, with_default_float_env};
use crate::ops::{Operator, PocketOp, RunContext, Scratch, build::build};

/// Sequences packed one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Token ids of all sequences.
    pub ids: Vec<i64>,
    /// Token types (segments), as long as `ids`.
    pub types: Vec<i64>,
    /// 1 for tokens that others may attend to, as long as `ids`.
    pub mask: Vec<i64>,
    /// Where each sequence starts, and the end of the last: one more entry than there are sequences.
    pub offsets: Vec<i64>,
    /// Tokens (indices into `ids`) whose scores over the vocabulary are computed, where the graph has an output
    /// of such scores that can be had for some tokens alone; `None`: all tokens. Other outputs do not care.
    pub picks: Option<Vec<i64>>,
}

impl Batch {
    /// A batch without sequences.
    pub fn new() -> Batch {
        Batch { offsets: vec![0], ..Batch::default() }
    }

    /// Appends one sequence.
    pub fn push(&mut self, ids: impl IntoIterator<Item = i64>, types: Option<&[i64]>, mask: Option<&[i64]>) {
        let start = self.ids.len();
        self.ids.extend(ids);
        let n = self.ids.len() - start;
        match types {
            Some(t) => self.types.extend(t),
            None => self.types.extend(std::iter::repeat_n(0, n)),
        }
        match mask {
            Some(m) => self.mask.extend(m),
            None => self.mask.extend(std::iter::repeat_n(1, n)),
        }
        self.offsets.push(self.ids.len() as i64);
    }

    /// Number of sequences.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// True without sequences.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An output of a plan: what it is called and how its rows are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputInfo {
    /// The graph output's name.
    pub name: String,
    /// One row per token, or else one per sequence.
    pub per_token: bool,
    /// Values per row.
    pub channels: usize,
    /// The row axis is all there is: `[batch, sequence]` in the original graph.
    pub flat: bool,
    /// Only the tokens of [`Batch::picks`] have rows; implies `per_token`.
    pub picked: bool,
}

/// Values of an output, rows of all sequences one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// What it is.
    pub info: OutputInfo,
    /// `rows * channels` values.
    pub data: Vec<f32>,
}

/// What one node did in a run, for the census and the profile.
#[derive(Clone, Debug)]
pub struct NodeStats {
    /// Node name.
    pub name: String,
    /// Operator.
    pub op: String,
    /// `i8` or `f32`.
    pub dtype: &'static str,
    /// True if the operator is ours, not tract's.
    pub ours: bool,
    /// Kernels that ran in it, with how often.
    pub kernels: Vec<(String, u64)>,
    /// Wall time.
    pub time: Duration,
}

/// How to run.
pub struct RunOptions<'a> {
    /// Kernels.
    pub isa: Isa,
    /// Threads, at least 1.
    pub threads: usize,
    /// When to stop early.
    pub stop: Stop,
    /// Filled with one entry per node, if given.
    pub stats: Option<&'a mut Vec<NodeStats>>,
}

/// What [`Plan::run_tapped`] calls for each node with its name, its operator and its first input, where that is
/// of floats.
pub type Tap<'a> = &'a mut dyn FnMut(&str, &str, &[f32]);

/// A run of fewer tokens stays on one thread.
const FEWEST_TOKENS_PER_TEAM: usize = 32;

type State = TypedSimpleState;
type TractPlan = Arc<TypedSimplePlan>;

/// A runnable graph, shared by all threads.
pub struct Plan {
    typed: TypedModel,
    outputs: Vec<OutputInfo>,
    plans: Mutex<HashMap<Key, TractPlan>>,
    idle: Mutex<Vec<(Key, State, Scratch)>>,
    names: HashMap<String, String>,
    passes: Mutex<Passes>,
}

/// The outputs of a plan and how it was rewritten.
type Key = (Vec<usize>, Passes);

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Plan({} nodes)", self.typed.nodes.len())
    }
}

/// Runs `f`; a panic inside (tract's, on input that our checks let through) is an error.
fn guard<T>(what: &str, f: impl FnOnce() -> TractResult<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(Ok(v)) => Ok(v),
        Ok(Err(e)) => {
            // Our own errors travel through tract's error type and come out as they went in.
            if let Some(ours) = e.chain().find_map(|c| c.downcast_ref::<Error>()) {
                return Err(ours.clone());
            }
            Err(Error::new(ErrorKind::Unimplemented, format!("{what}: {e:#}")))
        }
        Err(panic) => Err(Error::internal(format!("{what}: panic: {}", panic_text(&*panic)))),
    }
}

fn panic_text(p: &(dyn Any + Send)) -> String {
    p.downcast_ref::<&str>()
        .map(|s| s.to_string())
        .or_else(|| p.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".into())
}

impl Plan {
    /// Has tract parse and type `graph`.
    pub fn new(mut graph: Lowered) -> Result<Plan> {
        // tract wants unique names, and ours come from files.
        let mut names = HashMap::new();
        let mut ops: HashMap<String, Arc<dyn Operator>> = HashMap::new();
        graph.index()?;
        for id in 0..graph.nodes.len() {
            let (op, inputs) = build(&graph, &graph.nodes[id])?;
            let unique = format!("{id}");
            let node = &mut graph.nodes[id];
            names.insert(unique.clone(), std::mem::replace(&mut node.name, unique.clone()));
            let slots: Vec<_> = inputs.iter().map(|&i| node.inputs.get(i).copied().flatten()).collect();
            if slots.iter().any(|s| s.is_none()) {
                return Err(Error::data_loss(format!("node `{}` lacks an input", names[&unique])));
            }
            node.inputs = slots;
            ops.insert(unique, op);
        }
        for n in &graph.nodes {
            if let Some(v) = n.inputs.iter().flatten().find(|v| graph.consts.contains_key(v)) {
                return Err(Error::data_loss(format!(
                    "constant `{}` stands where activations are expected",
                    graph.names[*v]
                )));
            }
        }
        if let Some(v) = graph.outputs.iter().find(|v| graph.consts.contains_key(v)) {
            return Err(Error::data_loss(format!("output `{}` is a constant", graph.names[*v])));
        }
        let proto = to_model(&graph, |_, _| Stored::Omit);
        drop(graph);
        let typed = guard("tract could not build the graph", || {
            // No operator of tract's own is registered: every node is ours.
            let onnx = Onnx::default();
            let mut parsed = onnx.parse(&proto, None)?.model;
            for node in &mut parsed.nodes {
                if let Some(op) = ops.get(&node.name) {
                    node.op = expand(PocketOp(op.clone()));
                }
            }
            // tract's own optimiser has nothing to say about operators of ours, and would bring its operators along.
            parsed.into_typed()
        })?;
        let outputs = Self::describe(&typed, &proto)?;
        Ok(Plan {
            typed,
            outputs,
            plans: Mutex::default(),
            idle: Mutex::default(),
            names,
            passes: Mutex::new(Passes::ALL),
        })
    }

    fn describe(typed: &TypedModel, proto: &tract_onnx::pb::ModelProto) -> Result<Vec<OutputInfo>> {
        let names = proto.graph.iter().flat_map(|g| &g.output).map(|o| o.name.clone());
        let mut infos = vec![];
        for (outlet, name) in typed.output_outlets().unwrap_or_default().iter().zip(names) {
            let fact = typed.outlet_fact(*outlet).map_err(|e| Error::internal(e.to_string()))?;
            let dims: Vec<String> = fact.shape.iter().map(|d| d.to_string()).collect();
            let picked = dims.first().is_some_and(|d| d == "picks");
            let per_token = picked || dims.first().is_some_and(|d| d == "tokens");
            let channels = match fact.shape.get(1) {
                None => 1,
                Some(c) => c.to_usize().map_err(|_| {
                    Error::data_loss(format!("output `{name}` has no fixed number of channels"))
                })?,
            };
            if dims.is_empty() || dims.len() > 2 || dims[0] == "offsets" {
                return Err(Error::data_loss(format!("output `{name}` is not rows of channels")));
            }
            infos.push(OutputInfo { name, per_token, channels, flat: dims.len() == 1, picked });
        }
        Ok(infos)
    }

    /// The outputs, in the graph's order.
    pub fn outputs(&self) -> &[OutputInfo] {
        &self.outputs
    }

    /// What runs from now on rewrite; all passes unless this says otherwise. No answer depends on it: it serves
    /// measurements that show what a pass saves.
    pub fn set_passes(&self, passes: Passes) {
        *self.passes.lock().unwrap_or_else(|e| e.into_inner()) = passes;
    }

    /// The name that the file gives to the node of a plan.
    fn given_name(&self, name: &str) -> String {
        let (id, part) = name.split_once('.').map_or((name, ""), |(id, part)| (id, part));
        let given = self.names.get(id).map_or(id, String::as_str);
        if part.is_empty() { given.to_string() } else { format!("{given} ({part})") }
    }

    /// The plan for some of the outputs alone; what only the others need is not computed.
    fn plan_for(&self, key: &Key) -> Result<TractPlan> {
        let mut plans = self.plans.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(p) = plans.get(key) {
            return Ok(p.clone());
        }
        let plan = guard("tract could not plan the graph", || {
            let mut model = self.typed.clone();
            let all: Vec<OutletId> = model.output_outlets()?.to_vec();
            let some: Vec<OutletId> = key.0.iter().filter_map(|&w| all.get(w).copied()).collect();
            model.select_output_outlets(&some)?;
            let mut model = passes::apply(model, key.1)?;
            model.compact()?;
            model.into_runnable()
        })?;
        plans.insert(key.clone(), plan.clone());
        Ok(plan)
    }

    /// Runs the outputs `wanted` (indices into [`Plan::outputs`]) on `batch`.
    ///
    /// The calling thread's floating-point mode (rounding, flushing) is set to the standard one for the
    /// run and restored after it.
    pub fn run(&self, batch: &Batch, wanted: &[usize], options: RunOptions) -> Result<Vec<Output>> {
        self.run_tapped(batch, wanted, options, None)
    }

    /// [`Plan::run`] that shows `tap` the first input of every node, in the order in which they run.
    pub fn run_tapped(
        &self,
        batch: &Batch,
        wanted: &[usize],
        options: RunOptions,
        tap: Option<Tap<'_>>,
    ) -> Result<Vec<Output>> {
        let n = batch.ids.len();
        if batch.types.len() != n || batch.mask.len() != n || batch.offsets.last() != Some(&(n as i64)) {
            return Err(Error::invalid("a batch's ids, types, mask and offsets do not fit each other"));
        }
        if batch.offsets.windows(2).any(|w| w[0] >= w[1]) {
            return Err(Error::invalid("a batch holds a sequence without tokens"));
        }
        if batch.picks.iter().flatten().any(|p| !(0..n as i64).contains(p)) {
            return Err(Error::invalid("a batch picks a token that it does not have"));
        }
        if batch.is_empty() {
            let empty = |i: &usize| self.outputs.get(*i).map(|o| Output { info: o.clone(), data: vec![] });
            return Ok(wanted.iter().filter_map(empty).collect());
        }
        // Who taps wants to see every small operator.
        let passes = match tap {
            Some(_) => Passes::NONE,
            None => *self.passes.lock().unwrap_or_else(|e| e.into_inner()),
        };
        let key = (wanted.to_vec(), passes);
        let (mut state, mut scratch) = self.take_idle(&key)?;
        let result = with_default_float_env(|| self.run_state(&mut state, &mut scratch, batch, options, tap));
        let tensors = result?;
        let mut outputs = vec![];
        for (&w, t) in wanted.iter().zip(tensors) {
            let data = guard("reading an output", || Ok(crate::ops::f32s(&t)?.to_vec()))?;
            outputs.push(Output { info: self.outputs[w].clone(), data });
        }
        // A state that failed half-way is dropped instead.
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).push((key, state, scratch));
        Ok(outputs)
    }

    /// Gives back the memory that finished runs keep for the next ones; a later run takes it anew.
    pub fn trim(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(|e| e.into_inner()));
        drop(idle);
    }

    fn take_idle(&self, key: &Key) -> Result<(State, Scratch)> {
        {
            let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
            if let Some(i) = idle.iter().position(|(k, ..)| k == key) {
                let (_, state, scratch) = idle.swap_remove(i);
                return Ok((state, scratch));
            }
        }
        let plan = self.plan_for(key)?;
        Ok((guard("tract could not start a run", || plan.spawn())?, Scratch::default()))
    }

    fn run_state(
        &self,
        state: &mut State,
        scratch: &mut Scratch,
        batch: &Batch,
        mut options: RunOptions,
        mut tap: Option<Tap<'_>>,
    ) -> Result<TVec<TValue>> {
        let mut inputs: TVec<TValue> = tvec!();
        let all: Vec<i64> = match batch.picks {
            Some(_) => vec![],
            None => (0..batch.ids.len() as i64).collect(),
        };
        for outlet in state.model().input_outlets().map_err(|e| Error::internal(e.to_string()))? {
            let name = &state.model().nodes[outlet.node].name;
            let data = match name.as_str() {
                "input_ids" => &batch.ids,
                "token_type_ids" => &batch.types,
                "mask" => &batch.mask,
                "offsets" => &batch.offsets,
                PICKS => batch.picks.as_ref().unwrap_or(&all),
                other => return Err(Error::data_loss(format!("the graph has an unknown input `{other}`"))),
            };
            inputs.push(tensor1(data).into_tvalue());
        }
        // Starting a thread costs more than a few tokens do.
        let threads = if batch.ids.len() < FEWEST_TOKENS_PER_TEAM { 1 } else { options.threads.max(1) };
        let mut team = Team::new(threads);
        guard("the run failed", || {
            state.run_plan_with_eval(inputs, |ctx, op_state, node, inputs| -> TractResult<TVec<TValue>> {
                options.stop.check().map_err(anyhow_error)?;
                let ours = node.op.downcast_ref::<PocketOp>();
                if let (Some(tap), Some(op), Some(Ok(x))) =
                    (&mut tap, ours, inputs.first().map(|x| crate::ops::f32s(x)))
                {
                    tap(&self.given_name(&node.name), op.0.kind(), x);
                }
                let (before, start) = match options.stats {
                    Some(_) => (kernel_counts(), Instant::now()),
                    None => (KernelCounts::default(), Instant::now()),
                };
                let out = match ours {
                    Some(op) => {
                        let mut run =
                            RunContext { isa: options.isa, team: &mut team, scratch: &mut *scratch };
                        let refs: TVec<&Tensor> = inputs.iter().map(|v| &**v).collect();
                        tvec!(op.0.run(&mut run, &refs)?.into_tvalue())
                    }
                    None => tract_onnx::tract_core::plan::eval(ctx, op_state, node, inputs)?,
                };
                if let Some(stats) = options.stats.as_deref_mut()
                    && !node.inputs.is_empty()
                {
                    let time = start.elapsed();
                    let kernels = kernel_counts()
                        .since(&before)
                        .iter()
                        .map(|(k, isa, n)| (format!("{}/{}", k.name(), isa.name()), n))
                        .collect();
                    stats.push(NodeStats {
                        name: self.given_name(&node.name),
                        op: node.op.name().to_string(),
                        dtype: ours.map_or("f32", |o| o.0.dtype()),
                        ours: ours.is_some(),
                        kernels,
                        time,
                    });
                }
                Ok(out)
            })
        })
    }
}

fn anyhow_error(e: Error) -> TractError {
    TractError::new(e)
}
