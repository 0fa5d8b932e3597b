//! From a lowered graph, through tract, to something that runs.

use std::any::Any;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tract_onnx::Onnx;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::expand;

use super::graph::Graph as Lowered;
use super::passes::{self, Passes};
use super::proto::{Stored, to_model};
use super::run::{Program, State};
use crate::cancel::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, with_default_float_env};
use crate::memory::{self, Budget, Charge};
use crate::ops::{Operator, PocketOp, build::build};

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

    /// Forgets all sequences and keeps the memory.
    pub fn clear(&mut self) {
        for v in [&mut self.ids, &mut self.types, &mut self.mask, &mut self.offsets] {
            v.clear();
        }
        self.offsets.push(0);
        self.picks = None;
    }

    /// Appends a sequence of `ids`, with a type each or all of type 0.
    ///
    /// # Errors
    /// `ResourceExhausted`: no memory; `InvalidArgument`: another number of types. Nothing was appended.
    pub fn try_push(&mut self, ids: &[u32], types: Option<&[u32]>) -> Result<()> {
        if types.is_some_and(|t| t.len() != ids.len()) {
            return Err(Error::invalid("a sequence has another number of types than of ids"));
        }
        for v in [&mut self.ids, &mut self.types, &mut self.mask] {
            memory::reserve_some(v, ids.len())?;
        }
        memory::reserve_some(&mut self.offsets, 1)?;
        self.ids.extend(ids.iter().map(|&i| i64::from(i)));
        match types {
            Some(t) => self.types.extend(t.iter().map(|&t| i64::from(t))),
            None => self.types.resize(self.ids.len(), 0),
        }
        self.mask.resize(self.ids.len(), 1);
        self.offsets.push(self.ids.len() as i64);
        Ok(())
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

/// [`Output`] where a run left it.
#[derive(Clone, Copy, Debug)]
pub struct OutputRef<'a> {
    /// What it is.
    pub info: &'a OutputInfo,
    /// `rows * channels` values.
    pub data: &'a [f32],
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

/// Working memory of a run that is over, with what it is charged.
struct Idle {
    program: Arc<Program>,
    state: State,
    charge: Charge,
}

/// The outputs that a program gives and how the graph was rewritten for it.
type Key = (Vec<usize>, Passes);

/// A runnable graph, shared by all threads.
pub struct Plan {
    typed: TypedModel,
    outputs: Vec<OutputInfo>,
    programs: Mutex<Vec<(Key, Arc<Program>)>>,
    idle: Mutex<Vec<Idle>>,
    budget: Budget,
    names: HashMap<String, String>,
    passes: Mutex<Passes>,
}

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
    pub fn new(graph: Lowered) -> Result<Plan> {
        Self::within(graph, Budget::default())
    }

    /// [`new`](Self::new), whose runs take their memory from `budget`.
    pub fn within(mut graph: Lowered, budget: Budget) -> Result<Plan> {
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
            programs: Mutex::default(),
            idle: Mutex::default(),
            budget,
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

    /// The program for some of the outputs alone; what only the others need is not computed.
    fn program(&self, wanted: &[usize], passes: Passes) -> Result<Arc<Program>> {
        let mut programs = self.programs.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((_, p)) = programs.iter().find(|(k, _)| k.0 == wanted && k.1 == passes) {
            return Ok(p.clone());
        }
        if let Some(w) = wanted.iter().find(|w| **w >= self.outputs.len()) {
            return Err(Error::invalid(format!("the graph has no output {w}")));
        }
        let program = guard("tract could not plan the graph", || {
            let mut model = self.typed.clone();
            let all: Vec<OutletId> = model.output_outlets()?.to_vec();
            let some: Vec<OutletId> = wanted.iter().filter_map(|&w| all.get(w).copied()).collect();
            model.select_output_outlets(&some)?;
            let mut model = passes::apply(model, passes)?;
            model.compact()?;
            Program::new(model)
        })?;
        let program = Arc::new(program);
        programs.push(((wanted.to_vec(), passes), program.clone()));
        Ok(program)
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
        self.run_to(batch, wanted, options, tap, |outputs| {
            let copy = |o: &OutputRef| Ok(Output { info: o.info.clone(), data: memory::copied(o.data)? });
            outputs.iter().map(copy).collect()
        })
    }

    /// [`Plan::run`] that shows `read` the outputs where they lie. Memory is kept from run to run: a further run of no
    /// more tokens and sequences allocates nothing, up to 512 tokens of 1,024 channels.
    pub fn run_read<R>(
        &self,
        batch: &Batch,
        wanted: &[usize],
        options: RunOptions,
        read: impl FnOnce(&[OutputRef<'_>]) -> Result<R>,
    ) -> Result<R> {
        self.run_to(batch, wanted, options, None, read)
    }

    fn run_to<R>(
        &self,
        batch: &Batch,
        wanted: &[usize],
        options: RunOptions,
        tap: Option<Tap<'_>>,
        read: impl FnOnce(&[OutputRef<'_>]) -> Result<R>,
    ) -> Result<R> {
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
            let infos = wanted.iter().filter_map(|&w| self.outputs.get(w));
            let outputs: TVec<OutputRef> = infos.map(|info| OutputRef { info, data: &[] }).collect();
            return read(&outputs);
        }
        // Who taps wants to see every small operator.
        let passes = match tap {
            Some(_) => Passes::NONE,
            None => *self.passes.lock().unwrap_or_else(|e| e.into_inner()),
        };
        let mut own = self.take_idle(self.program(wanted, passes)?);
        let Idle { program, state, charge } = &mut own;
        let entered = self.budget.enter(false);
        let given = |name: &str| self.given_name(name);
        let run = || guard("the run failed", || program.run(state, batch, options, tap, given));
        let result = with_default_float_env(run);
        charge.absorb(entered.leave());
        // A state that failed half-way is dropped, and its memory with it.
        result?;
        let outputs: TVec<OutputRef> = wanted
            .iter()
            .enumerate()
            .map(|(i, &w)| OutputRef { info: &self.outputs[w], data: program.output(state, i) })
            .collect();
        let result = read(&outputs);
        drop(outputs);
        let entered = self.budget.enter(false);
        state.trim();
        charge.absorb(entered.leave());
        self.idle.lock().unwrap_or_else(|e| e.into_inner()).push(own);
        result
    }

    /// What runs take their memory from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Gives back the memory that finished runs keep for the next ones; a later run takes it anew.
    pub fn trim(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(|e| e.into_inner()));
        drop(idle);
    }

    fn take_idle(&self, program: Arc<Program>) -> Idle {
        let mut idle = self.idle.lock().unwrap_or_else(|e| e.into_inner());
        match idle.iter().position(|i| Arc::ptr_eq(&i.program, &program)) {
            Some(i) => idle.swap_remove(i),
            None => Idle { program, state: State::default(), charge: Charge::of(&self.budget) },
        }
    }
}
