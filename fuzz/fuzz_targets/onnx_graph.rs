//! A good ONNX graph with edits. The first byte chooses the graph, the second how it is read (bit 0: with
//! ONNX's scales; bit 1: from a folder, its constants in a second file; bit 2: with a tokenizer that knows more
//! tokens than the model); the rest are the edits.

#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pocketbert::model::{Model, OpenOptions, lower_onnx_file};
use prost::Message;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

static GRAPHS: LazyLock<Vec<ModelProto>> =
    LazyLock::new(|| common::GRAPHS.map(|g| ModelProto::decode(g).expect("a good graph")).to_vec());

fuzz_target!(|data: &[u8]| {
    common::watch_panics();
    let [graph, how, edits @ ..] = data else { return };
    let mut model = GRAPHS[usize::from(*graph) % GRAPHS.len()].clone();
    common::edit(&mut model, &mut common::Choices(edits));
    let options = OpenOptions { reference_semantics: how % 2 == 1, ..OpenOptions::default() };
    let opened = match how & 2 {
        0 => Model::open_onnx_bytes(&model.encode_to_vec(), &options),
        _ => open_folder(model, how & 4 != 0, &options),
    };
    if let Ok(model) = opened {
        common::run(&model);
    }
});

fn open_folder(mut model: ModelProto, large: bool, options: &OpenOptions) -> pocketbert::Result<Model> {
    let mut weights = vec![];
    for t in model.graph.iter_mut().flat_map(|g| &mut g.initializer) {
        let entry = |key: &str, value: String| StringStringEntryProto { key: key.into(), value };
        if t.data_location.is_none() && !t.raw_data.is_empty() {
            t.data_location = Some(1);
            t.external_data = vec![
                entry("location", "w.bin".into()),
                entry("offset", weights.len().to_string()),
                entry("length", t.raw_data.len().to_string()),
            ];
            weights.append(&mut t.raw_data);
        }
    }
    let config = r#"{"max_position_embeddings": 8, "id2label": {"0": "a", "1": "b", "2": "c"}}"#;
    let tokenizer: &[u8] = match large {
        false => include_bytes!("../corpus/tokenizer_json/wordlevel"),
        true => include_bytes!("../corpus/tokenizer_json/roberta"),
    };
    let files = [("model.onnx", &model.encode_to_vec()[..]), ("w.bin", &weights[..])];
    for (name, bytes) in
        files.into_iter().chain([("config.json", config.as_bytes()), ("tokenizer.json", tokenizer)])
    {
        std::fs::write(common::folder().join(name), bytes).expect("a file in a temporary folder");
    }
    let file = common::folder().join("model.onnx");
    let lowered = lower_onnx_file(&file, options.reference_semantics);
    let model = Model::open(file, options);
    assert!(lowered.is_ok() || model.is_err());
    assert_eq!(Model::open(common::folder(), options).is_ok(), model.is_ok());
    model
}
