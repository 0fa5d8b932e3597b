//! Every golden case, bit for bit.

use std::collections::BTreeSet;
use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert::tasks::{Analyzer, HeadAnswer, TextInput};
use pocketbert::{ClassifyOptions, TextClassifier};
use pocketbert_tests::{answer, cases, model, texts};

fn check(name: &str, isa: Isa, every: usize) {
    let m = model(name).unwrap();
    let texts = texts().unwrap();
    let cases = cases(name).unwrap();
    assert!(cases.len() >= 200, "only {} golden cases for `{name}`", cases.len());
    for c in cases.iter().step_by(every) {
        let t = texts.iter().find(|t| t.id == c.id).unwrap_or_else(|| panic!("no text `{}`", c.id));
        assert_eq!(&answer(&m, t, isa).unwrap(), c, "`{}` on kernel {isa}", c.id);
    }
}

#[test]
fn tiny_on_every_kernel() {
    // All of them natively; under an emulator, where the generic kernels take a second per text, a part.
    let native = cfg!(target_arch = "x86_64");
    for isa in Isa::available() {
        let every = match (native, isa) {
            (true, _) => 1,
            (false, Isa::Generic) => 24,
            (false, _) => 4,
        };
        check("tiny", isa, every);
    }
}

/// The default model takes minutes under an emulator, so only native runs answer all its cases.
#[cfg(target_arch = "x86_64")]
#[test]
fn everyday_on_the_best_kernel() {
    check("everyday", Isa::best(), 1);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn everyday_on_generic() {
    check("everyday", Isa::Generic, 12);
}

/// More than a hundred texts on each kernel, the generic one on a few: half an hour under an emulator (`ci/full.sh`,
/// step `arm`).
#[test]
#[ignore = "takes long under an emulator: `ci/full.sh ASSETS arm`"]
fn everyday_on_every_kernel() {
    for isa in Isa::available() {
        check("everyday", isa, if isa == Isa::Generic { 48 } else { 3 });
        println!("everyday on {isa}: the golden bits");
    }
}

/// What tasks answer is made of the golden bits: classification alone, and all heads in one run.
#[test]
fn tasks_answer_with_the_golden_bits() {
    let m = Arc::new(model("tiny").unwrap());
    let (texts, cases) = (texts().unwrap(), cases("tiny").unwrap());
    let analyzer = Analyzer::from_model(m.clone()).unwrap();
    let bits = |v: &[f32]| v.iter().map(|x| format!("{:08x}", x.to_bits())).collect::<Vec<_>>();
    let (mut compared, mut heads) = (0, BTreeSet::new());
    for c in &cases {
        let t = texts.iter().find(|t| t.id == c.id).unwrap();
        let input = TextInput { text: &t.text, pair: t.pair.as_deref() };
        for head in ["intent", "spam"] {
            let Some(golden) = c.outputs.get(head) else { continue };
            let alone = TextClassifier::from_model(m.clone(), Some(head)).unwrap();
            let answer = alone.classify_inputs(&[input], &ClassifyOptions::default()).unwrap().remove(0);
            assert_eq!(
                (bits(&answer.logits), answer.token_count),
                (golden.bits.clone(), c.ids.len()),
                "{}",
                c.id
            );
            compared += 1;
            heads.insert(head);
        }
        if t.pair.is_some() {
            continue;
        }
        for h in analyzer.analyze(&t.text).unwrap().heads {
            let (Some(golden), HeadAnswer::Labels(a)) = (c.outputs.get(&h.head), &h.answer) else { continue };
            assert_eq!(bits(&a.logits), golden.bits, "`{}` of `{}`", h.head, c.id);
            compared += 1;
        }
    }
    assert!(compared >= 200 && heads.len() == 2, "{compared} {heads:?}");
}
