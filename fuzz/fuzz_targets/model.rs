//! A good bundle whose graph has edits. The first byte chooses the graph, the second where its constants
//! lie (bit 0), which kind of head the manifest names (bit 1) and how often it has labels (bits 2 and 3); the
//! rest are the edits. Hashes are right, as an attacker's would be.

#![no_main]

mod common;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pocketbert::bundle::{BundleWriter, Manifest};
use pocketbert::model::proto::{NoExternal, Stored, to_model};
use pocketbert::model::{Model, OpenOptions, bundle_graph, constants_sha256, lower_onnx};
use prost::Message;
use serde_json::json;
use tract_onnx::pb::ModelProto;

const TOKENIZER: &[u8] = br#"{"version":"1.0","added_tokens":null,"normalizer":null,"pre_tokenizer":{"type":
"Whitespace"},"post_processor":null,"model":{"type":"WordLevel","unk_token":"u","vocab":{"u":0,"a":1}}}"#;

/// Lowered graphs with their constants inside, the same with them in an entry, and that entry.
static GRAPHS: LazyLock<Vec<(ModelProto, ModelProto, Vec<u8>)>> = LazyLock::new(|| {
    let lowered = common::GRAPHS.iter().filter_map(|g| lower_onnx(g, &NoExternal, false).ok());
    let all = lowered.map(|l| {
        let mut weights = vec![];
        let entry = to_model(&l.graph, |_, t| {
            let offset = weights.len() as u64;
            weights.extend(t.bytes());
            weights.resize(weights.len().next_multiple_of(64), 0);
            Stored::External { location: "weights.bin".into(), offset }
        });
        (to_model(&l.graph, |_, _| Stored::Inline), entry, weights)
    });
    all.collect()
});

fuzz_target!(|data: &[u8]| {
    common::watch_panics();
    let [graph, how, edits @ ..] = data else { return };
    let (inline, external, weights) = &GRAPHS[usize::from(*graph) % GRAPHS.len()];
    let mut model = if how % 2 == 0 { external.clone() } else { inline.clone() };
    common::edit(&mut model, &mut common::Choices(edits));
    let Some(output) = model.graph.as_ref().and_then(|g| g.output.first()).map(|o| o.name.clone()) else {
        return;
    };
    let labels = &["a", "b", "c", "d"][..usize::from(how >> 2 & 3) + 1];
    let head = match how & 2 {
        0 => json!({"name": "h", "task": "embedding", "output": output}),
        _ => json!({"name": "h", "task": "text-classification", "output": output, "labels": labels}),
    };
    let manifest = json!({
        "format_version": 1,
        "model": {"name": "fuzz", "version": "1"},
        "graph": {"entry": "model.onnx"},
        "weights": {"entry": "weights.bin"},
        "tokenizer": {"entry": "tokenizer.json", "max_length": 8},
        "heads": [head],
        "entries": {},
    });
    let Ok(manifest) = serde_json::from_value::<Manifest>(manifest) else { return };
    let mut writer = BundleWriter::new(manifest);
    writer.add("model.onnx", model.encode_to_vec()).add("weights.bin", &weights[..]);
    let Ok(bytes) = writer.add("tokenizer.json", TOKENIZER).to_vec() else { return };
    if let Ok(model) = Model::open_bytes(bytes, &OpenOptions::default()) {
        let bundle = model.bundle().expect("opened from a bundle");
        let graph = bundle_graph(bundle).expect("what was read can be read again");
        assert_eq!(constants_sha256(&graph).len(), 64);
        assert!(model.info().max_length <= 8);
        common::run(&model);
    }
});
