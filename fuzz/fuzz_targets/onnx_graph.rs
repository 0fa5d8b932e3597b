//! A good ONNX graph with edits. The first byte chooses the graph, the second how it is read; the rest are
//! the edits.

#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pocketbert::model::{Model, OpenOptions};
use prost::Message;
use tract_onnx::pb::ModelProto;

static GRAPHS: LazyLock<Vec<ModelProto>> =
    LazyLock::new(|| common::GRAPHS.map(|g| ModelProto::decode(g).expect("a good graph")).to_vec());

fuzz_target!(|data: &[u8]| {
    common::watch_panics();
    let [graph, how, edits @ ..] = data else { return };
    let mut model = GRAPHS[usize::from(*graph) % GRAPHS.len()].clone();
    common::edit(&mut model, &mut common::Choices(edits));
    let options = OpenOptions { reference_semantics: how % 2 == 1, ..OpenOptions::default() };
    if let Ok(model) = Model::open_onnx_bytes(&model.encode_to_vec(), &options) {
        common::run(&model);
    }
});
