//! A look at protobuf bytes before they are decoded.
//!
//! A repeated message of two bytes becomes a structure of some hundred in memory, so a file of a few megabytes
//! could ask for gigabytes. Messages, strings and byte fields are counted here, at no cost in memory, along the
//! fields of `onnx.proto` that hold messages; what is not known here is one item.

use crate::error::{Error, Result};

/// Most messages, strings and byte fields of one model: ten for each node that a graph may have.
const MAX_ITEMS: usize = 10 * super::proto::MAX_NODES;
/// Deepest nesting, as in prost.
const MAX_DEPTH: usize = 100;

#[derive(Clone, Copy)]
enum Kind {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Sparse,
    Value,
    Type,
    TensorType,
    OfType,
    Shape,
}

/// The kind of message in `field` of a message; `None` for what is counted as it is.
fn inner(of: Kind, field: u64) -> Option<Kind> {
    use Kind::*;
    Some(match (of, field) {
        (Model, 7) | (Training, 1 | 2) | (Attribute, 6 | 11) => Graph,
        (Model, 20) => Training,
        (Model, 25) => Function,
        (Graph, 1) | (Function, 7) => Node,
        (Node, 5) | (Function, 11) => Attribute,
        (Graph, 5) | (Attribute, 5 | 10) | (Sparse, 1 | 2) => Tensor,
        (Graph, 15) | (Attribute, 22 | 23) => Sparse,
        (Graph, 11..=13) | (Function, 12) => Value,
        (Value, 2) | (Attribute, 14 | 15) | (OfType, 1 | 2) => Type,
        (Type, 1 | 8) => TensorType,
        (Type, 4 | 5 | 9) => OfType,
        (TensorType, 2) => Shape,
        _ => return None,
    })
}

/// Refuses a model of more than [`MAX_ITEMS`] items.
pub(super) fn check(bytes: &[u8]) -> Result<()> {
    let mut left = MAX_ITEMS;
    walk(bytes, Kind::Model, &mut left, 0)
}

fn walk(mut bytes: &[u8], kind: Kind, left: &mut usize, depth: usize) -> Result<()> {
    let bad =
        || Error::data_loss("these bytes are no ONNX model: a field is cut short or of an unknown kind");
    if depth > MAX_DEPTH {
        return Err(Error::exhausted(format!("the ONNX model nests deeper than {MAX_DEPTH} levels")));
    }
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(bad)?;
        let skip = match tag & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            _ => None, // groups, which ONNX has none of
        };
        let skip = skip.and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        let (field, rest) = bytes.split_at_checked(skip).ok_or_else(bad)?;
        bytes = rest;
        if tag & 7 != 2 {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| {
            Error::exhausted(format!("the ONNX model has more than {MAX_ITEMS} messages and strings"))
        })?;
        if let Some(inner) = inner(kind, tag >> 3) {
            walk(field, inner, left, depth + 1)?;
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use tract_onnx::pb;

    use super::*;
    use crate::ErrorKind;

    #[test]
    fn messages_are_counted_at_every_level() {
        let model = |graph| pb::ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec();
        let with_nodes =
            |n| model(pb::GraphProto { node: vec![Default::default(); n], ..Default::default() });
        check(&with_nodes(MAX_ITEMS - 1)).unwrap();
        assert_eq!(check(&with_nodes(MAX_ITEMS)).unwrap_err().kind(), ErrorKind::ResourceExhausted);

        let node = pb::NodeProto { attribute: vec![Default::default(); MAX_ITEMS], ..Default::default() };
        let e = check(&model(pb::GraphProto { node: vec![node], ..Default::default() })).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ResourceExhausted);

        let shape = pb::TensorShapeProto { dim: vec![Default::default(); MAX_ITEMS] };
        let tensor = pb::type_proto::Tensor { elem_type: 1, shape: Some(shape) };
        let value = Some(pb::type_proto::Value::TensorType(tensor));
        let input = pb::ValueInfoProto {
            r#type: Some(pb::TypeProto { value, ..Default::default() }),
            ..Default::default()
        };
        let e = check(&model(pb::GraphProto { input: vec![input], ..Default::default() })).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ResourceExhausted);
    }

    #[test]
    fn cut_fields_and_deep_nests_are_refused() {
        for bytes in [
            &b"\x3a"[..],
            b"\x3a\x05\x0a",
            b"\x80",
            b"\x3b",
            b"\x09\0",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(check(bytes).unwrap_err().kind(), ErrorKind::DataLoss, "{bytes:x?}");
        }
        // A graph in an attribute of a node of a graph, and so on.
        let mut bytes = vec![];
        for field in [6u8, 5, 1].iter().cycle().take(3 * 60) {
            let mut outer = vec![field << 3 | 2];
            prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
            outer.extend(&bytes);
            bytes = outer;
        }
        let mut outer = vec![7 << 3 | 2];
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(&bytes);
        assert_eq!(check(&outer).unwrap_err().kind(), ErrorKind::ResourceExhausted);
        check(b"\x08\x08:\x00").unwrap();
    }
}
