//! The bundle's recorded cases, on every kernel that the CPU has.

use pocketbert::bundle::manifest::SelfTest;
use pocketbert::cancel::Stop;
use pocketbert::error::{Error, ErrorKind, Result};
use pocketbert::kernels::Isa;
use pocketbert::model::record::{mask_places, recorded};
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::text::EncodeOptions;

use crate::error::Failure;
use crate::log::{self, pocketbert_log_level};

pub(crate) fn run(model: &Model) -> Result<(), Failure> {
    let cases = model.bundle().map_or(&[][..], |b| &b.manifest().self_test);
    if cases.is_empty() {
        let why =
            "the model carries no test cases: only bundles that were made with some can test themselves";
        return Err(Error::new(ErrorKind::FailedPrecondition, why).into());
    }
    model.verify_weights()?;
    for isa in Isa::available() {
        for (i, case) in cases.iter().enumerate() {
            one(model, case, isa).map_err(|e| {
                log::say(pocketbert_log_level::POCKETBERT_LOG_WARN, "a self-test failed");
                Failure::from(e).within(format!("case {i} on kernel `{isa}`"))
            })?;
        }
    }
    Ok(())
}

fn one(model: &Model, case: &SelfTest, isa: Isa) -> Result<()> {
    let tokenizer = model.tokenizer()?;
    let encode = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
    let e = tokenizer.encode(&case.text, case.pair.as_deref(), &encode)?;
    if e.ids != case.ids {
        return Err(Error::data_loss("other token ids than recorded"));
    }
    let masks = mask_places(tokenizer, &case.ids);
    let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
    let mut batch = Batch::new();
    batch.push(case.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
    batch.picks = Some(masks.clone());
    let heads = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
    for (name, expected) in &case.outputs {
        let head = heads.iter().find(|h| h.name == *name);
        let head = head.ok_or_else(|| Error::data_loss(format!("the bundle has no head `{name}`")))?;
        let index = model.plan().outputs().iter().position(|o| o.name == head.output);
        let index = index.ok_or_else(|| Error::data_loss(format!("head `{name}` has no output")))?;
        let how = RunOptions { isa, threads: 1, stop: Stop::default(), stats: None };
        let answer = model.plan().run(&batch, &[index], how)?.pop();
        let answer = answer.ok_or_else(|| Error::internal("a run without an answer"))?;
        match recorded(&answer, head.task, case.ids.len(), &masks) {
            Some(got) if got == *expected => {}
            _ => return Err(Error::data_loss(format!("head `{name}` gives other bits than recorded"))),
        }
    }
    Ok(())
}
