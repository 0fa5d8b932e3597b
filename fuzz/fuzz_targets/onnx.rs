//! Bytes that claim to be an ONNX model. What opens is run.

#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use pocketbert::model::{Model, OpenOptions};

fuzz_target!(|data: &[u8]| {
    common::watch_panics();
    if let Ok(model) = Model::open_onnx_bytes(data, &OpenOptions::default()) {
        common::run(&model);
    }
});
