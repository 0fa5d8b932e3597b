//! What tasks answer and refuse: the bits that are written down, on every kernel of this CPU.

use std::collections::BTreeSet;
use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert_tests::{model, tasks};

fn check(name: &str, isas: &[Isa], every: usize) {
    let m = Arc::new(model(name).unwrap());
    let cases = tasks::cases(name).unwrap();
    let ids: BTreeSet<_> = cases.iter().map(|c| &c.request.id).collect();
    assert_eq!(ids.len(), cases.len(), "an id stands there twice");
    for &isa in isas {
        for c in cases.iter().step_by(every) {
            assert_eq!(&tasks::answer(&m, &c.request, isa), c, "`{}` on kernel {isa}", c.request.id);
        }
    }
}

#[test]
fn tiny_on_every_kernel() {
    let all = Isa::available();
    match cfg!(target_arch = "x86_64") {
        true => check("tiny", &all, 1),
        false => check("tiny", &all, 4),
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn everyday_on_the_best_kernel() {
    check("everyday", &[Isa::best()], 1);
}

/// The files hold what they are for: every task, and answers as well as errors of each.
#[test]
fn every_task_has_answers_and_errors() {
    let all: Vec<_> = ["tiny", "everyday"].into_iter().flat_map(|m| tasks::cases(m).unwrap()).collect();
    for task in
        ["classify", "tag", "answer", "summarize", "embed", "rerank", "fill-mask", "zero-shot", "analyze"]
    {
        let of = || all.iter().filter(|c| c.request.task == task);
        assert!(of().any(|c| c.answers.as_ref().is_some_and(|a| a[0].is_object())), "{task}: no answer");
        assert!(of().any(|c| c.error.is_some()), "{task}: no error");
        assert!(
            of().any(|c| c.answers.as_ref().is_some_and(|a| a == &serde_json::json!([]))),
            "{task}: no batch of none"
        );
    }
}
