//! Vectors, masks and pairs of the tiny model: the bits that are written down, on every kernel of this CPU.

use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert_tests::{model, root, tasks};

#[test]
fn answers_are_the_golden_bits_on_every_kernel() {
    let golden = std::fs::read_to_string(root().join("tests/golden/tiny-tasks.jsonl")).unwrap();
    let want: Vec<serde_json::Value> = golden.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(want.len() > 15);
    let m = Arc::new(model("tiny").unwrap());
    for isa in Isa::available() {
        let got = tasks::lines(&m, isa).unwrap();
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(&want) {
            assert_eq!(g, w, "kernel {isa}");
        }
    }
}
