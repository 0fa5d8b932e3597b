//! A light graph over ONNX nodes: what the checks and the normaliser work on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tensor::Tensor;
use crate::error::{Error, Result};

/// Index of a value (an edge) in a [`Graph`].
pub type ValueId = usize;
/// Index of a node in a [`Graph`].
pub type NodeId = usize;

/// An attribute of a node.
#[derive(Clone, Debug)]
pub enum Attr {
    /// Integer.
    Int(i64),
    /// Float.
    Float(f32),
    /// Byte string, as text.
    Str(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Strings.
    Strs(Vec<String>),
    /// A tensor.
    Tensor(Arc<Tensor>),
}

/// One operator.
#[derive(Clone, Debug, Default)]
pub struct Node {
    /// Operator type, as in ONNX.
    pub op: String,
    /// Operator domain; empty for ONNX's own.
    pub domain: String,
    /// The node's name, for messages.
    pub name: String,
    /// Inputs; `None` where an optional one is left out.
    pub inputs: Vec<Option<ValueId>>,
    /// Outputs; a `None` output is not wanted by anybody.
    pub outputs: Vec<Option<ValueId>>,
    /// Attributes by name; in order, so that whatever walks them does the same every time.
    pub attrs: BTreeMap<String, Attr>,
}

impl Node {
    /// What a `Constant` node makes, if it is of a kind that models use.
    pub fn constant_value(&self) -> Option<&Attr> {
        ["value", "value_int", "value_float", "value_ints", "value_floats"]
            .iter()
            .find_map(|name| self.attrs.get(*name))
    }

    /// Input `i`, if the node has it.
    pub fn input(&self, i: usize) -> Option<ValueId> {
        self.inputs.get(i).copied().flatten()
    }

    /// Integer attribute `name`.
    pub fn int(&self, name: &str) -> Option<i64> {
        match self.attrs.get(name) {
            Some(Attr::Int(i)) => Some(*i),
            _ => None,
        }
    }

    /// Float attribute `name`.
    pub fn float(&self, name: &str) -> Option<f32> {
        match self.attrs.get(name) {
            Some(Attr::Float(f)) => Some(*f),
            _ => None,
        }
    }

    /// Integer list attribute `name`.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        match self.attrs.get(name) {
            Some(Attr::Ints(v)) => Some(v),
            _ => None,
        }
    }

    /// String attribute `name`.
    pub fn str(&self, name: &str) -> Option<&str> {
        match self.attrs.get(name) {
            Some(Attr::Str(s)) => Some(s),
            _ => None,
        }
    }

    /// How messages name this node.
    pub fn label(&self) -> String {
        format!("node `{}` (operator `{}`)", self.name, self.op)
    }
}

/// A dimension of a graph input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Chosen at run time.
    Symbolic(String),
}

/// A graph input that is not a constant.
#[derive(Clone, Debug)]
pub struct Input {
    /// The value.
    pub value: ValueId,
    /// ONNX element type number.
    pub elem_type: i32,
    /// Declared dimensions.
    pub dims: Vec<Dim>,
}

/// A graph: nodes in topological order over named values.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of every value.
    pub names: Vec<String>,
    /// Nodes, producers before consumers.
    pub nodes: Vec<Node>,
    /// Inputs that a caller feeds.
    pub inputs: Vec<Input>,
    /// Outputs, in order.
    pub outputs: Vec<ValueId>,
    /// Constants.
    pub consts: BTreeMap<ValueId, Arc<Tensor>>,
    /// Version of ONNX's own operator set.
    pub opset: i64,
    producer: Vec<Option<NodeId>>,
    consumers: Vec<Vec<NodeId>>,
}

impl Graph {
    /// A new value called `name`.
    pub fn add_value(&mut self, name: impl Into<String>) -> ValueId {
        self.names.push(name.into());
        self.names.len() - 1
    }

    /// A new constant called `name`.
    pub fn add_const(&mut self, name: impl Into<String>, t: Tensor) -> ValueId {
        let v = self.add_value(name);
        self.consts.insert(v, Arc::new(t));
        v
    }

    /// Appends a node with one output called like the node; returns that output.
    pub fn add_node(
        &mut self,
        op: &str,
        domain: &str,
        name: &str,
        inputs: Vec<Option<ValueId>>,
        attrs: Vec<(&str, Attr)>,
    ) -> ValueId {
        let out = self.add_value(name);
        self.nodes.push(Node {
            op: op.to_string(),
            domain: domain.to_string(),
            name: name.to_string(),
            inputs,
            outputs: vec![Some(out)],
            attrs: attrs.into_iter().map(|(k, v)| (k.to_string(), v)).collect(),
        });
        out
    }

    /// Recomputes who makes and who reads each value, and checks that nodes are in topological order
    /// and that no value is made twice.
    pub fn index(&mut self) -> Result<()> {
        let n = self.names.len();
        self.producer = vec![None; n];
        self.consumers = vec![vec![]; n];
        let mut known = vec![false; n];
        for v in self.consts.keys().copied().chain(self.inputs.iter().map(|i| i.value)) {
            known[v] = true;
        }
        for (id, node) in self.nodes.iter().enumerate() {
            for v in node.inputs.iter().flatten().copied() {
                if !known[v] {
                    return Err(Error::data_loss(format!(
                        "{} reads `{}`, which no earlier node, input or constant makes",
                        node.label(),
                        self.names[v]
                    )));
                }
                if self.consumers[v].last() != Some(&id) {
                    self.consumers[v].push(id);
                }
            }
            for v in node.outputs.iter().flatten().copied() {
                if known[v] {
                    return Err(Error::data_loss(format!(
                        "{} makes `{}`, which already exists",
                        node.label(),
                        self.names[v]
                    )));
                }
                known[v] = true;
                self.producer[v] = Some(id);
            }
        }
        for &v in &self.outputs {
            if !known[v] {
                return Err(Error::data_loss(format!("graph output `{}` is never made", self.names[v])));
            }
        }
        Ok(())
    }

    /// The node that makes `v`, if it is not an input or constant.
    pub fn producer(&self, v: ValueId) -> Option<NodeId> {
        self.producer.get(v).copied().flatten()
    }

    /// The producing node itself.
    pub fn producer_node(&self, v: ValueId) -> Option<&Node> {
        self.producer(v).map(|n| &self.nodes[n])
    }

    /// The nodes that read `v`.
    pub fn consumers(&self, v: ValueId) -> &[NodeId] {
        self.consumers.get(v).map_or(&[], |c| c)
    }

    /// The constant behind `v`.
    pub fn constant(&self, v: ValueId) -> Option<&Arc<Tensor>> {
        self.consts.get(&v)
    }

    /// The scalar constant behind `v`.
    pub fn scalar(&self, v: ValueId) -> Option<f64> {
        self.constant(v).and_then(|t| t.scalar())
    }

    /// The graph input called `name`.
    pub fn input(&self, name: &str) -> Option<&Input> {
        self.inputs.iter().find(|i| self.names[i.value] == name)
    }

    /// Drops nodes that no output needs.
    pub fn prune(&mut self) -> Result<()> {
        self.index()?;
        let mut needed = vec![false; self.nodes.len()];
        let mut stack: Vec<ValueId> = self.outputs.clone();
        while let Some(v) = stack.pop() {
            if let Some(n) = self.producer(v)
                && !std::mem::replace(&mut needed[n], true)
            {
                stack.extend(self.nodes[n].inputs.iter().flatten());
            }
        }
        let mut keep = needed.into_iter();
        self.nodes.retain(|_| keep.next().unwrap_or(false));
        self.index()
    }
}
