//! A lowered graph as the two entries of a bundle: `model.onnx` and `weights.bin`.

use pocketbert::model::graph::Graph;
use pocketbert::model::proto::{Stored, to_model};
use prost::Message;

/// Constants smaller than this stay in the protobuf.
const INLINE: usize = 64;
/// Alignment of each constant in `weights.bin`: a cache line.
const ALIGN: usize = 64;

/// The ONNX bytes and the weights that they refer to as external data in `entry`.
///
/// The same graph gives the same bytes.
pub fn serialize(g: &Graph, entry: &str) -> (Vec<u8>, Vec<u8>) {
    let mut weights = vec![];
    let model = to_model(g, |_, t| {
        if t.bytes().len() < INLINE {
            return Stored::Inline;
        }
        weights.resize(usize::next_multiple_of(weights.len(), ALIGN), 0);
        let offset = weights.len() as u64;
        weights.extend_from_slice(t.bytes());
        Stored::External { location: entry.to_string(), offset }
    });
    (model.encode_to_vec(), weights)
}
