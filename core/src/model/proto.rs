//! ONNX protobuf to [`Graph`] and back, with every size checked before it is used.

use std::collections::HashMap;
use std::path::{Component, Path};
use std::sync::Arc;

use prost::Message;
use tract_onnx::pb;

use super::graph::{Attr, Dim, Graph, Input, Node, ValueId};
use super::tensor::{Bytes, DType, Tensor, elements};
use crate::error::{Error, Result};

/// Most nodes that a graph may have.
pub const MAX_NODES: usize = 50_000;
/// Highest tensor rank.
pub const MAX_RANK: usize = 8;
/// Most bytes of one ONNX file (protobuf's own limit is 2 GiB).
pub const MAX_FILE: u64 = 2 << 30;

/// Where the bytes of an external tensor come from.
pub trait ExternalData {
    /// `length` bytes (or all to the end) of `location` from `offset`.
    fn read(&self, location: &str, offset: usize, length: Option<usize>) -> Result<Bytes>;
}

/// No external data allowed.
pub struct NoExternal;

impl ExternalData for NoExternal {
    fn read(&self, location: &str, _: usize, _: Option<usize>) -> Result<Bytes> {
        Err(Error::invalid(format!(
            "the model keeps weights in `{location}`, but was given as bytes without a folder: open it from a path"
        )))
    }
}

/// External data inside one folder; nothing outside it is ever read.
pub struct FolderExternal<'a>(pub &'a Path);

impl ExternalData for FolderExternal<'_> {
    fn read(&self, location: &str, offset: usize, length: Option<usize>) -> Result<Bytes> {
        let rel = Path::new(location);
        let plain = rel.components().all(|c| matches!(c, Component::Normal(_) | Component::CurDir));
        if !plain || location.is_empty() {
            return Err(Error::invalid(format!(
                "the model asks for external data at `{location}`: only files in the model's own folder are read"
            )));
        }
        let path = self.0.join(rel);
        // A symbolic link inside the folder may point out of it: compare the resolved paths.
        let real = path.canonicalize().map_err(|e| Error::io(path.display(), &e))?;
        let root = self.0.canonicalize().map_err(|e| Error::io(self.0.display(), &e))?;
        if !real.starts_with(&root) {
            return Err(Error::invalid(format!(
                "external data `{location}` leads out of the model's folder"
            )));
        }
        let map = crate::bundle::source::map_file(&real)?;
        let end = match length {
            Some(l) => offset.checked_add(l),
            None => Some((*map).as_ref().len()),
        };
        let end =
            end.ok_or_else(|| Error::data_loss(format!("external data `{location}`: offset overflows")))?;
        Bytes::shared(map, offset..end).map_err(|e| e.context(format!("external data `{location}`")))
    }
}

/// Decodes ONNX bytes and checks the graph.
pub fn parse(bytes: &[u8], external: &dyn ExternalData) -> Result<Graph> {
    super::wire::check(bytes)?;
    let model = pb::ModelProto::decode(bytes)
        .map_err(|e| Error::data_loss(format!("these bytes are no ONNX model: {e}")))?;
    from_model(model, external)
}

fn from_model(model: pb::ModelProto, external: &dyn ExternalData) -> Result<Graph> {
    let g = model.graph.ok_or_else(|| Error::data_loss("the ONNX model has no graph"))?;
    if !model.functions.is_empty() {
        return Err(Error::unimplemented(format!(
            "the ONNX model defines {} local functions: inline them first (onnx.inliner.inline_local_functions)",
            model.functions.len()
        )));
    }
    if !g.sparse_initializer.is_empty() {
        return Err(Error::unimplemented("sparse initializers are not supported: store dense tensors"));
    }
    if g.node.len() > MAX_NODES {
        return Err(Error::exhausted(format!(
            "the graph has {} nodes; the limit is {MAX_NODES}",
            g.node.len()
        )));
    }
    let mut opset = 0;
    for o in &model.opset_import {
        if o.domain.is_empty() || o.domain == "ai.onnx" {
            opset = o.version;
        }
    }
    let mut out = Graph::default();
    out.opset = opset;
    let mut ids: HashMap<String, ValueId> = HashMap::new();
    for t in g.initializer {
        let name = t.name.clone();
        let tensor = tensor(t, external).map_err(|e| e.context(format!("initializer `{name}`")))?;
        if ids.contains_key(&name) {
            return Err(Error::data_loss(format!("initializer `{name}` is defined twice")));
        }
        let v = out.add_const(name.clone(), tensor);
        ids.insert(name, v);
    }
    for i in &g.input {
        if ids.contains_key(&i.name) {
            continue; // old exporters list initializers as inputs too
        }
        let v = out.add_value(i.name.clone());
        ids.insert(i.name.clone(), v);
        out.inputs.push(input(v, i)?);
    }
    for n in g.node {
        let label = format!("node `{}` (operator `{}`)", n.name, n.op_type);
        let mut node = Node {
            op: n.op_type,
            domain: if n.domain == "ai.onnx" { String::new() } else { n.domain },
            name: n.name,
            ..Node::default()
        };
        for a in n.attribute {
            let name = a.name.clone();
            if let Some(a) = attr(a).map_err(|e| e.context(&label))? {
                node.attrs.insert(name, a);
            }
        }
        for i in n.input {
            node.inputs.push(if i.is_empty() {
                None
            } else {
                Some(*ids.get(&i).ok_or_else(|| {
                    Error::data_loss(format!("{label} reads `{i}`, which nothing before it makes"))
                })?)
            });
        }
        for o in n.output {
            if o.is_empty() {
                node.outputs.push(None);
                continue;
            }
            if ids.contains_key(&o) {
                return Err(Error::data_loss(format!("{label} makes `{o}`, which already exists")));
            }
            let v = out.add_value(o.clone());
            ids.insert(o, v);
            node.outputs.push(Some(v));
        }
        if node.name.is_empty() {
            node.name = node.outputs.iter().flatten().next().map_or(String::new(), |&v| out.names[v].clone());
        }
        out.nodes.push(node);
    }
    for o in &g.output {
        let v = *ids
            .get(&o.name)
            .ok_or_else(|| Error::data_loss(format!("graph output `{}` is never made", o.name)))?;
        out.outputs.push(v);
    }
    if out.outputs.is_empty() {
        return Err(Error::data_loss("the graph has no outputs"));
    }
    out.index()?;
    Ok(out)
}

fn input(value: ValueId, i: &pb::ValueInfoProto) -> Result<Input> {
    let bad = || Error::data_loss(format!("graph input `{}` has no tensor type", i.name));
    let t = i.r#type.as_ref().and_then(|t| t.value.as_ref()).ok_or_else(bad)?;
    let pb::type_proto::Value::TensorType(t) = t;
    let mut dims = vec![];
    if let Some(shape) = &t.shape {
        for (k, d) in shape.dim.iter().enumerate() {
            use pb::tensor_shape_proto::dimension::Value;
            dims.push(match &d.value {
                Some(Value::DimValue(v)) if *v > 0 && *v < (1 << 31) => Dim::Fixed(*v as usize),
                Some(Value::DimParam(p)) => Dim::Symbolic(p.clone()),
                _ => Dim::Symbolic(format!("{}_{k}", i.name)),
            });
        }
    }
    if dims.len() > MAX_RANK {
        return Err(Error::exhausted(format!("graph input `{}` has rank {}", i.name, dims.len())));
    }
    Ok(Input { value, elem_type: t.elem_type, dims })
}

fn attr(a: pb::AttributeProto) -> Result<Option<Attr>> {
    use pb::attribute_proto::AttributeType as T;
    let text = |b: Vec<u8>| String::from_utf8_lossy(&b).into_owned();
    Ok(Some(match T::try_from(a.r#type) {
        Ok(T::Int) => Attr::Int(a.i),
        Ok(T::Float) => Attr::Float(a.f),
        Ok(T::String) => Attr::Str(text(a.s)),
        Ok(T::Ints) => Attr::Ints(a.ints),
        Ok(T::Floats) => Attr::Floats(a.floats),
        Ok(T::Strings) => Attr::Strs(a.strings.into_iter().map(text).collect()),
        Ok(T::Tensor) => match a.t {
            Some(t) => Attr::Tensor(Arc::new(tensor(t, &NoExternal)?)),
            None => return Ok(None),
        },
        _ => {
            return Err(Error::unimplemented(format!(
                "attribute `{}` holds a subgraph or another kind of value that is not supported: \
                 export the model without control flow",
                a.name
            )));
        }
    }))
}

fn tensor(t: pb::TensorProto, external: &dyn ExternalData) -> Result<Tensor> {
    let dtype = DType::from_onnx(t.data_type)?;
    if t.dims.len() > MAX_RANK {
        return Err(Error::exhausted(format!("rank {} is above {MAX_RANK}", t.dims.len())));
    }
    let shape: Vec<usize> = t
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| Error::data_loss(format!("dimension {d} is negative"))))
        .collect::<Result<_>>()?;
    // An empty tensor has no bytes to bound its other dimensions with, and loops run over those too.
    let spread: Vec<usize> = shape.iter().map(|&d| d.max(1)).collect();
    let bytes = elements(&spread)
        .and_then(|n| n.checked_mul(dtype.size()))
        .filter(|&n| n as u64 <= MAX_FILE)
        .and_then(|_| elements(&shape)?.checked_mul(dtype.size()))
        .ok_or_else(|| Error::exhausted(format!("shape {shape:?} is too large")))?;
    if t.data_location == Some(1) {
        let get = |k: &str| t.external_data.iter().find(|e| e.key == k).map(|e| e.value.as_str());
        let number = |k: &str| -> Result<Option<usize>> {
            get(k)
                .map(|v| v.parse().map_err(|_| Error::data_loss(format!("external data `{k}` is no number"))))
                .transpose()
        };
        let location = get("location").ok_or_else(|| Error::data_loss("external data has no location"))?;
        let data = external.read(
            location,
            number("offset")?.unwrap_or(0),
            Some(number("length")?.unwrap_or(bytes)),
        )?;
        return Tensor::new(dtype, shape, data);
    }
    let data = if !t.raw_data.is_empty() || bytes == 0 {
        t.raw_data
    } else {
        match dtype {
            DType::F32 => le(&t.float_data, |x| x.to_le_bytes()),
            DType::F64 => le(&t.double_data, |x| x.to_le_bytes()),
            DType::I64 => le(&t.int64_data, |x| x.to_le_bytes()),
            DType::U64 => le(&t.uint64_data, |x| x.to_le_bytes()),
            DType::U32 => le(&t.uint64_data, |x| (x as u32).to_le_bytes()),
            DType::I32 => le(&t.int32_data, |x| x.to_le_bytes()),
            DType::I8 | DType::U8 | DType::Bool => le(&t.int32_data, |x| [x as u8]),
            DType::I16 | DType::U16 | DType::F16 | DType::BF16 => {
                le(&t.int32_data, |x| (x as u16).to_le_bytes())
            }
        }
    };
    Tensor::new(dtype, shape, Bytes::from_vec(data))
}

fn le<T: Copy, const N: usize>(v: &[T], f: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    v.iter().flat_map(|&x| f(x)).collect()
}

/// How [`to_model`] stores a constant.
pub enum Stored {
    /// In the protobuf itself.
    Inline,
    /// At this offset of the external file `location`.
    External {
        /// File or bundle entry.
        location: String,
        /// Offset in it.
        offset: u64,
    },
    /// Not at all: the reader gets it some other way.
    Omit,
}

/// Writes `g` as an ONNX model; `place` says where each constant goes.
pub fn to_model(g: &Graph, mut place: impl FnMut(ValueId, &Tensor) -> Stored) -> pb::ModelProto {
    let mut used = vec![false; g.names.len()];
    for v in g.nodes.iter().flat_map(|n| n.inputs.iter().chain(&n.outputs).flatten()).chain(&g.outputs) {
        used[*v] = true;
    }
    // Names are edges in ONNX, so no two values may share one. Inputs and outputs keep theirs.
    let mut names = g.names.clone();
    let mut taken: std::collections::HashSet<String> =
        g.inputs.iter().map(|i| i.value).chain(g.outputs.iter().copied()).map(|v| names[v].clone()).collect();
    let fixed: std::collections::HashSet<ValueId> =
        g.inputs.iter().map(|i| i.value).chain(g.outputs.iter().copied()).collect();
    for (v, name) in names.iter_mut().enumerate() {
        if used[v] && !fixed.contains(&v) && !taken.insert(name.clone()) {
            *name = format!("{name}#{v}");
            taken.insert(name.clone());
        }
    }
    let consts = g.consts.iter().filter(|(v, _)| used[**v]);
    let mut omitted = std::collections::HashSet::new();
    let mut initializer = vec![];
    for (&v, t) in consts {
        let mut p = tensor_proto(&names[v], t);
        match place(v, t) {
            Stored::Inline => p.raw_data = t.bytes().to_vec(),
            Stored::External { location, offset } => {
                let entry = |key: &str, value: String| pb::StringStringEntryProto { key: key.into(), value };
                p.data_location = Some(1);
                p.external_data = vec![
                    entry("location", location),
                    entry("offset", offset.to_string()),
                    entry("length", t.bytes().len().to_string()),
                ];
            }
            Stored::Omit => {
                omitted.insert(v);
                continue;
            }
        }
        initializer.push(p);
    }
    let name = |v: &Option<ValueId>| match v {
        Some(v) if !omitted.contains(v) => names[*v].clone(),
        _ => String::new(),
    };
    let node = |n: &Node| {
        let mut input: Vec<String> = n.inputs.iter().map(name).collect();
        while input.last().is_some_and(|s| s.is_empty()) {
            input.pop();
        }
        pb::NodeProto {
            input,
            output: n.outputs.iter().map(name).collect(),
            name: n.name.clone(),
            op_type: n.op.clone(),
            domain: n.domain.clone(),
            attribute: n.attrs.iter().map(|(k, a)| attr_proto(k, a)).collect(),
            doc_string: String::new(),
        }
    };
    let opset = |domain: &str, version: i64| pb::OperatorSetIdProto { domain: domain.into(), version };
    pb::ModelProto {
        ir_version: 8,
        opset_import: vec![opset("", g.opset), opset(super::DOMAIN, 1)],
        producer_name: "pocketbert".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(pb::GraphProto {
            node: g.nodes.iter().map(node).collect(),
            name: "pocketbert".into(),
            initializer,
            input: g.inputs.iter().map(|i| value_info(&names[i.value], i.elem_type, Some(&i.dims))).collect(),
            output: g.outputs.iter().map(|&v| value_info(&names[v], DType::F32 as i32, None)).collect(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Declares the shapes of the outputs of `model`, f32 tensors all, in their order.
pub fn declare_outputs(model: &mut pb::ModelProto, shapes: &[Vec<Dim>]) {
    for (o, dims) in model.graph.iter_mut().flat_map(|g| &mut g.output).zip(shapes) {
        *o = value_info(&o.name, DType::F32 as i32, Some(dims));
    }
}

fn value_info(name: &str, elem: i32, dims: Option<&[Dim]>) -> pb::ValueInfoProto {
    pb::ValueInfoProto {
        name: name.to_string(),
        r#type: Some(pb::TypeProto {
            denotation: String::new(),
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: elem,
                shape: dims.map(|dims| pb::TensorShapeProto {
                    dim: dims
                        .iter()
                        .map(|d| pb::tensor_shape_proto::Dimension {
                            denotation: String::new(),
                            value: Some(match d {
                                Dim::Fixed(n) => {
                                    pb::tensor_shape_proto::dimension::Value::DimValue(*n as i64)
                                }
                                Dim::Symbolic(s) => {
                                    pb::tensor_shape_proto::dimension::Value::DimParam(s.clone())
                                }
                            }),
                        })
                        .collect(),
                }),
            })),
        }),
        doc_string: String::new(),
    }
}

fn tensor_proto(name: &str, t: &Tensor) -> pb::TensorProto {
    pb::TensorProto {
        name: name.to_string(),
        dims: t.shape.iter().map(|&d| d as i64).collect(),
        data_type: t.dtype as i32,
        ..Default::default()
    }
}

fn attr_proto(name: &str, a: &Attr) -> pb::AttributeProto {
    use pb::attribute_proto::AttributeType as T;
    let mut p = pb::AttributeProto { name: name.to_string(), ..Default::default() };
    let mut kind = |t: T| p.r#type = t as i32;
    match a {
        Attr::Int(i) => {
            kind(T::Int);
            p.i = *i;
        }
        Attr::Float(f) => {
            kind(T::Float);
            p.f = *f;
        }
        Attr::Str(s) => {
            kind(T::String);
            p.s = s.as_bytes().to_vec();
        }
        Attr::Ints(v) => {
            kind(T::Ints);
            p.ints = v.clone();
        }
        Attr::Floats(v) => {
            kind(T::Floats);
            p.floats = v.clone();
        }
        Attr::Strs(v) => {
            kind(T::Strings);
            p.strings = v.iter().map(|s| s.as_bytes().to_vec()).collect();
        }
        Attr::Tensor(t) => {
            kind(T::Tensor);
            let mut tp = tensor_proto(name, t);
            tp.raw_data = t.bytes().to_vec();
            p.t = Some(tp);
        }
    }
    p
}
