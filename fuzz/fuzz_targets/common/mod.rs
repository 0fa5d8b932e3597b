//! What the targets share: which panics count, how a model is run, and edits of ONNX graphs.

#![allow(dead_code)]

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, Once};

use pocketbert::Result;
use pocketbert::cancel::Stop;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, NodeStats, Output, Passes, Plan, RunOptions};
use tract_onnx::pb;

/// Seeds on which the structure-aware targets work: `corpus/onnx`.
pub const GRAPHS: [&[u8]; 21] = [
    include_bytes!("../../corpus/onnx/distil"),
    include_bytes!("../../corpus/onnx/qa_fixed"),
    include_bytes!("../../corpus/onnx/bert11"),
    include_bytes!("../../corpus/onnx/bert_sdpa"),
    include_bytes!("../../corpus/onnx/dynamic"),
    include_bytes!("../../corpus/onnx/dynamic_ch"),
    include_bytes!("../../corpus/onnx/qdq"),
    include_bytes!("../../corpus/onnx/qdq16"),
    include_bytes!("../../corpus/onnx/qop"),
    include_bytes!("../../corpus/onnx/fused"),
    include_bytes!("../../corpus/onnx/fused_dynamic"),
    include_bytes!("../../corpus/onnx/fused_qop"),
    include_bytes!("../../corpus/onnx/runtime_int8"),
    include_bytes!("../../corpus/onnx/half"),
    include_bytes!("../../corpus/onnx/zoo17"),
    include_bytes!("../../corpus/onnx/zoo11"),
    include_bytes!("../../corpus/onnx/types"),
    include_bytes!("../../corpus/onnx/chain_static"),
    include_bytes!("../../corpus/onnx/chain_dynamic"),
    include_bytes!("../../corpus/onnx/runtime_qdq"),
    include_bytes!("../../corpus/onnx/dynamo"),
];

/// Lets panics inside tract and tokenizers reach our `catch_unwind`, and counts them by place; every other
/// panic is a finding, also one in a thread or behind a `catch_unwind`.
pub fn watch_panics() {
    static ONCE: Once = Once::new();
    static SEEN: LazyLock<Mutex<HashMap<String, u64>>> = LazyLock::new(Mutex::default);
    ONCE.call_once(|| {
        let finding = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let place = info.location().map_or(String::new(), |l| format!("{}:{}", l.file(), l.line()));
            if !["/tract-", "/tokenizers-"].iter().any(|d| place.contains(d)) {
                return finding(info);
            }
            let mut seen = SEEN.lock().unwrap_or_else(|e| e.into_inner());
            let n = seen.entry(place.clone()).or_default();
            *n += 1;
            if n.is_power_of_two() {
                eprintln!("caught {n} times: {place}: {info}");
            }
        }));
    });
}

/// Runs all outputs on two short sequences, on each kind of kernel that this CPU has: the same bits, also with
/// every row of the last layer computed.
pub fn run(model: &Model) {
    let mut batch = Batch::new();
    batch.push([2, 5, 7], None, Some(&[1, 1, 0]));
    batch.push([1, 3], Some(&[0, 1]), None);
    let plan = model.plan();
    assert!(model.verify_weights().is_ok());
    assert!(model.tokenizer().is_ok() || model.bundle().is_none());
    fn on(plan: &Plan, batch: &Batch, isa: Isa, stats: Option<&mut Vec<NodeStats>>) -> Result<Vec<Output>> {
        let wanted: Vec<usize> = (0..plan.outputs().len()).collect();
        plan.run(batch, &wanted, RunOptions { isa, threads: 1, stop: Stop::default(), stats })
    }
    let Ok(first) = on(plan, &batch, Isa::Generic, None) else { return };
    for o in &first {
        let rows = if o.info.per_token { 5 } else { 2 };
        assert_eq!(o.data.len(), rows * o.info.channels, "output `{}`", o.info.name);
    }
    let empty = on(plan, &Batch::new(), Isa::Generic, None);
    assert!(empty.is_ok_and(|o| o.iter().all(|o| o.data.is_empty())));
    if first.iter().any(|o| o.data.iter().any(|x| !x.is_finite())) {
        return;
    }
    for (first_rows, layers) in [(true, true), (true, false), (false, true), (false, false)] {
        plan.set_passes(Passes { first_rows, layers });
        for isa in Isa::available() {
            let mut stats = vec![];
            let again = on(plan, &batch, isa, Some(&mut stats)).expect("what ran once runs again");
            assert!(!stats.is_empty());
            for (a, b) in first.iter().zip(&again) {
                let bits = |o: &[f32]| o.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&a.data), bits(&b.data), "output `{}` on {}", a.info.name, isa.name());
            }
        }
    }
}

/// A folder of this process's own, in which a target may write.
pub fn folder() -> &'static std::path::Path {
    static FOLDER: LazyLock<std::path::PathBuf> = LazyLock::new(|| {
        let path = std::env::temp_dir().join(format!("pocketbert-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a temporary folder");
        path
    });
    &FOLDER
}

/// Choices read from the input; zeros after its end.
pub struct Choices<'a>(pub &'a [u8]);

impl Choices<'_> {
    pub fn byte(&mut self) -> usize {
        let Some((&b, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        b.into()
    }

    /// Below `n`; two bytes where one does not reach.
    fn below(&mut self, n: usize) -> usize {
        let b = if n > 256 { self.byte() << 8 | self.byte() } else { self.byte() };
        b % n.max(1)
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn int(&mut self) -> i64 {
        const ODD: [i64; 24] = [
            0,
            1,
            -1,
            2,
            -2,
            3,
            5,
            7,
            8,
            10,
            16,
            32,
            127,
            128,
            255,
            256,
            -128,
            1 << 16,
            1 << 20,
            1 << 24,
            i32::MAX as i64,
            1 << 40,
            i64::MAX,
            i64::MIN,
        ];
        self.of(&ODD)
    }

    fn float(&mut self) -> f32 {
        self.of(&[0.0, 1.0, -1.0, 0.5, 1e-12, 1e-40, -0.0, 1e30, f32::MAX, f32::INFINITY, f32::NAN])
    }
}

const OPS: &str = "Abs Add AddChannels And Attention BiasGelu Cast CastLike Ceil Clip Columns Concat Constant \
ConstantOfShape CumSum DequantizeLinear Div Dropout DynamicQuantizeLinear DynamicQuantizeMatMul \
EmbedLayerNormalization Equal Erf Exp Expand FakeQuant FastGelu Flatten Floor FusedMatMul Gather GatherElements \
GatherND Gelu Gemm Greater GreaterOrEqual Identity IsInf IsNaN L2Normalize LayerNorm LayerNormalization Less \
LessOrEqual Linear Log LogSoftmax Lookup LpNormalization Map MatMul MatMulInteger MatMulIntegerToFloat Max MeanPool \
Min Mod Mul MulChannels Neg Not Or Pow QAttention QEmbedLayerNormalization QGemm QLinearAdd QLinearConcat \
QLinearLeakyRelu QLinearMatMul QLinearMul QLinearSigmoid QLinearSoftmax QuantizeLinear Range Reciprocal ReduceL2 \
ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Relu Reshape Round SelectFirst Shape Sigmoid Sign \
SimplifiedLayerNormalization Size SkipLayerNormalization Slice Softmax Split Sqrt Squeeze Sub Tanh Tile Transpose \
Trilu Unary Unsqueeze Where Xor";

const ATTRIBUTES: &str = "activation allowzero alpha approximate axes axis batch_dims beta by code columns constants \
end ends epsilon epilogue exclusive function head_size heads hidden high k keepdims length low masked n \
noop_with_empty_axes num_heads offset perm prob_quant qkv_hidden_sizes reverse rows scale score_quant score_step split start \
starts steps to transA transB unidirectional value value_int value_ints value_size zero";

const WORDS: [&str; 20] = [
    "per_token",
    "per_token_symmetric",
    "per_tensor",
    "static",
    "relu",
    "gelu",
    "gelu_tanh",
    "tanh",
    "sigmoid",
    "id",
    "type",
    "position",
    "row",
    "none",
    "",
    "weights.bin",
    "input_ids",
    "mask",
    "offsets",
    "\u{0}ü",
];

/// Changes `model` as `c` says: nodes, their inputs and attributes, constants, inputs and outputs.
pub fn edit(model: &mut pb::ModelProto, c: &mut Choices) {
    for _ in 0..24 {
        if c.0.is_empty() {
            return;
        }
        let Some(g) = &mut model.graph else { return };
        let values: Vec<String> = g
            .input
            .iter()
            .map(|i| i.name.clone())
            .chain(g.initializer.iter().map(|t| t.name.clone()))
            .chain(g.node.iter().flat_map(|n| n.output.clone()))
            .collect();
        let (nodes, tensors) = (g.node.len(), g.initializer.len());
        if nodes == 0 || values.is_empty() {
            return;
        }
        let at = c.byte();
        match at % 16 {
            0 => {
                // Without the node, its readers read what it read.
                let n = g.node.remove(c.below(nodes));
                if let (Some(i), Some(o)) = (n.input.first().cloned(), n.output.first()) {
                    for x in g.node.iter_mut().flat_map(|n| &mut n.input).filter(|x| *x == o) {
                        *x = i.clone();
                    }
                }
            }
            1 => {
                let n = c.below(nodes);
                let n = &mut g.node[n];
                let (slot, v) = (c.below(n.input.len() + 1), &values[c.below(values.len())]);
                n.input.resize(n.input.len().max(slot + 1), String::new());
                n.input[slot] = v.clone();
            }
            2 => {
                let n = c.below(nodes);
                let inputs = &mut g.node[n].input;
                match c.below(3) {
                    0 => _ = inputs.pop(),
                    1 => inputs.reverse(),
                    _ if inputs.is_empty() => {}
                    _ => inputs[0].clear(),
                }
            }
            3 => {
                let ops: Vec<&str> = OPS.split(' ').collect();
                let n = c.below(nodes);
                g.node[n].op_type = c.of(&ops).into();
            }
            4 | 5 => {
                let n = c.below(nodes);
                let n = &mut g.node[n];
                let known: Vec<&str> = ATTRIBUTES.split(' ').collect();
                let mut a = match c.below(3) {
                    0 => pb::AttributeProto { name: c.of(&known).into(), ..Default::default() },
                    _ if n.attribute.is_empty() => continue,
                    _ => {
                        let k = c.below(n.attribute.len());
                        n.attribute.remove(k)
                    }
                };
                change_attribute(&mut a, c);
                n.attribute.retain(|b| b.name != a.name);
                n.attribute.push(a);
            }
            6 => {
                let n = c.below(nodes);
                if let Some(k) = g.node[n].attribute.len().checked_sub(1) {
                    g.node[n].attribute.remove(c.below(k + 1));
                }
            }
            7..=9 if tensors > 0 => {
                let t = c.below(tensors);
                change_tensor(&mut g.initializer[t], c);
            }
            10 => {
                let dim = match c.below(3) {
                    0 => None,
                    1 => Some(pb::tensor_shape_proto::dimension::Value::DimParam("x".into())),
                    _ => Some(pb::tensor_shape_proto::dimension::Value::DimValue(c.int())),
                };
                let dim = pb::tensor_shape_proto::Dimension { denotation: String::new(), value: dim };
                let i = c.below(g.input.len());
                let shape = g.input.get_mut(i).and_then(|i| i.r#type.as_mut()).and_then(|t| t.value.as_mut());
                if let Some(pb::type_proto::Value::TensorType(t)) = shape {
                    let dims = &mut t.shape.get_or_insert_default().dim;
                    let d = c.below(dims.len() + 1);
                    dims.truncate(d.max(1));
                    dims.push(dim);
                    if c.byte() % 8 == 7 {
                        t.elem_type = c.below(17) as i32;
                    }
                }
            }
            11 => {
                let v =
                    pb::ValueInfoProto { name: values[c.below(values.len())].clone(), ..Default::default() };
                if c.byte() % 2 == 0 { g.output.push(v) } else { g.output = vec![v] }
            }
            12 => {
                // A node more, and somebody who reads it.
                let ops: Vec<&str> = OPS.split(' ').collect();
                let at = c.below(nodes);
                let mut n = pb::NodeProto { op_type: c.of(&ops).into(), ..g.node[at].clone() };
                if c.byte() % 2 == 0 {
                    n.attribute.clear();
                }
                let name = format!("new{}", values.len());
                n.output = vec![name.clone()];
                n.input = (0..c.below(4) + 1).map(|_| values[c.below(values.len())].clone()).collect();
                let reader = &mut g.node[at].input;
                match c.below(reader.len() + 1) {
                    k if k < reader.len() => reader[k] = name,
                    _ => reader.push(name),
                }
                g.node.insert(at, n);
            }
            13 => {
                let (a, b) = (c.below(nodes), c.below(nodes));
                g.node.swap(a, b);
            }
            14 if tensors > 0 => {
                let t = c.below(tensors);
                match c.below(3) {
                    0 => _ = g.initializer.remove(t),
                    1 => {
                        let t = g.initializer[t].clone();
                        g.initializer.push(t);
                    }
                    _ => {
                        let name = values[c.below(values.len())].clone();
                        g.initializer[t].name = name;
                    }
                }
            }
            _ => {
                for o in &mut model.opset_import {
                    o.version = c.int();
                }
            }
        }
    }
}

fn change_attribute(a: &mut pb::AttributeProto, c: &mut Choices) {
    use pb::attribute_proto::AttributeType as T;
    match c.below(8) {
        0 | 1 => {
            a.r#type = T::Int as i32;
            a.i = c.int();
        }
        2 => {
            a.r#type = T::Float as i32;
            a.f = c.float();
        }
        3 => {
            a.r#type = T::String as i32;
            a.s = c.of(&WORDS).as_bytes().to_vec();
        }
        4 => {
            a.r#type = T::Ints as i32;
            match c.below(a.ints.len() + 2) {
                k if k < a.ints.len() => a.ints[k] = c.int(),
                k if k == a.ints.len() => a.ints.push(c.int()),
                _ => _ = a.ints.pop(),
            }
        }
        5 => {
            a.r#type = T::Floats as i32;
            match c.below(a.floats.len() + 2) {
                k if k < a.floats.len() => a.floats[k] = c.float(),
                k if k == a.floats.len() => a.floats.push(c.float()),
                _ => _ = a.floats.pop(),
            }
        }
        6 => {
            let t = a.t.get_or_insert_default();
            a.r#type = T::Tensor as i32;
            change_tensor(t, c);
        }
        _ => a.r#type = c.below(12) as i32,
    }
}

fn change_tensor(t: &mut pb::TensorProto, c: &mut Choices) {
    match c.below(9) {
        0 => match c.below(t.dims.len() + 2) {
            k if k < t.dims.len() => t.dims[k] = c.int(),
            k if k == t.dims.len() => t.dims.push(c.int()),
            _ => _ = t.dims.pop(),
        },
        1 => t.data_type = c.below(17) as i32,
        2 => t.raw_data.truncate(c.below(t.raw_data.len() + 1)),
        3 => t.raw_data.extend(std::iter::repeat_n(c.byte() as u8, 64)),
        4 => {
            // One f32 in the place of another, 0 to 255 of them.
            let (x, at) = (c.float().to_le_bytes(), c.below(t.raw_data.len() / 4 + 1) * 4);
            let n = c.byte().min((t.raw_data.len() - at) / 4);
            for part in t.raw_data[at..].chunks_exact_mut(4).take(n + 1) {
                part.copy_from_slice(&x);
            }
        }
        5 => {
            // An integer constant, as axes, shapes and indices are.
            let v: Vec<i64> = (0..c.below(4)).map(|_| c.int()).collect();
            *t = pb::TensorProto {
                name: t.name.clone(),
                data_type: 7,
                dims: if v.len() == 1 { vec![] } else { vec![v.len() as i64] },
                raw_data: v.iter().flat_map(|x| x.to_le_bytes()).collect(),
                ..Default::default()
            };
        }
        6 => {
            // Empty, and large in its other dimensions.
            t.raw_data.clear();
            t.external_data.clear();
            t.data_location = None;
            t.dims = vec![0, c.int()];
            if c.byte() % 2 == 0 {
                t.dims.reverse();
            }
        }
        7 => t.dims.reverse(),
        _ => {
            t.data_location = Some(1);
            let key = c.of(&["location", "offset", "length"]);
            let value = if c.byte() % 4 == 0 { c.of(&WORDS).into() } else { c.int().to_string() };
            match t.external_data.iter_mut().find(|e| e.key == key) {
                Some(e) => e.value = value,
                None => t.external_data.push(pb::StringStringEntryProto { key: key.into(), value }),
            }
        }
    }
}
