//! The test cases of a bundle, run where the library runs.

use pocketbert::bundle::manifest::SelfTest as Case;
use pocketbert::cancel::Stop;
use pocketbert::kernels::Isa;
use pocketbert::model::record::{mask_places, recorded};
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::{Error, ErrorKind, Result};

use crate::call::count;

/// What a self-test found.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct SelfTest {
    /// Every case has the recorded bits on every kernel.
    pub passed: bool,
    /// Cases in the bundle.
    pub cases: i32,
    /// Kernels that this CPU can run.
    pub kernels: Vec<String>,
    /// Values that were compared.
    pub values: i64,
    /// What differs, one sentence each; at most ten.
    pub failures: Vec<String>,
}

/// The most failures that are told.
const MAX_FAILURES: usize = 10;

/// Runs the cases of the bundle on every kernel of this CPU, and checks the weights' hash.
pub(crate) fn self_test(model: &Model) -> Result<SelfTest> {
    let Some(bundle) = model.bundle() else {
        return Err(Error::new(
            ErrorKind::FailedPrecondition,
            "only a bundle carries test cases: open a `.pbert` file",
        ));
    };
    let cases = &bundle.manifest().self_test;
    let mut failures = vec![];
    if let Err(e) = model.verify_weights() {
        failures.push(e.message().to_string());
    }
    if cases.is_empty() {
        failures.push("the bundle has no test cases, so its answers were not checked".to_string());
    }
    let kernels = Isa::available();
    let mut values = 0;
    for &isa in &kernels {
        for (i, case) in cases.iter().enumerate() {
            match compare(model, case, isa) {
                Ok(n) => values += n as i64,
                Err(e) if failures.len() < MAX_FAILURES => {
                    failures.push(format!("case {i} on kernel `{isa}`: {e}"));
                }
                Err(_) => {}
            }
        }
    }
    Ok(SelfTest {
        passed: failures.is_empty(),
        cases: count(cases.len()),
        kernels: kernels.iter().map(|k| k.name().to_string()).collect(),
        values,
        failures,
    })
}

/// Runs one case; the number of values that were compared.
fn compare(model: &Model, case: &Case, isa: Isa) -> Result<usize> {
    let options =
        pocketbert::text::EncodeOptions { max_length: model.info().max_length, ..Default::default() };
    let encoding = model.tokenizer()?.encode(&case.text, case.pair.as_deref(), &options)?;
    if encoding.ids != case.ids {
        return Err(Error::data_loss("the tokenizer gives other ids than recorded"));
    }
    if case.outputs.is_empty() {
        return Err(Error::data_loss("the case records no output"));
    }
    let masks = mask_places(model.tokenizer()?, &case.ids);
    let types: Vec<i64> = encoding.type_ids.iter().map(|&t| i64::from(t)).collect();
    let mut batch = Batch::new();
    batch.push(case.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
    batch.picks = Some(masks.clone());
    let heads = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
    let mut compared = 0;
    for (name, expected) in &case.outputs {
        let head = heads.iter().find(|h| h.name == *name);
        let head = head.ok_or_else(|| Error::data_loss(format!("the bundle has no head `{name}`")))?;
        let output = model.plan().outputs().iter().position(|o| o.name == head.output);
        let output = output.ok_or_else(|| Error::data_loss(format!("head `{name}` has no output")))?;
        let how = RunOptions { isa, threads: 1, stop: Stop::default(), stats: None };
        let answer = model.plan().run(&batch, &[output], how)?.pop();
        let answer = answer.ok_or_else(|| Error::internal("no answer"))?;
        let got = recorded(&answer, head.task, case.ids.len(), &masks);
        let got = got.ok_or_else(|| Error::data_loss(format!("head `{name}` has nothing to record")))?;
        if got != *expected {
            return Err(Error::data_loss(format!("head `{name}` has other bits than recorded")));
        }
        compared += expected.bits.len();
    }
    Ok(compared)
}
