//! `pocketbert self-test`: hashes and bits.

use std::io::Write;

use serde_json::json;

use super::args::{Open, SelfTest};
use super::forward::{Input, wanted};
use super::progress::Progress;
use super::{Failure, Outcome, load};
use crate::bundle::manifest::SelfTest as Case;
use crate::cancel::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::Isa;
use crate::model::record::{mask_places, recorded};
use crate::model::{Batch, Model, RunOptions, bundle_graph, constants_sha256};

pub fn self_test(a: &SelfTest) -> Outcome {
    // Opening checks every hash. Damage is what this command looks for, so it is a failed check, not bad
    // input; a missing file is bad input.
    let open = Open { defer_hash: false, copy: false };
    let model = load::open(&a.model, &open, false).map_err(|e| match e.kind() {
        ErrorKind::DataLoss => Failure::Check(e.to_string()),
        _ => e.into(),
    })?;
    let Some(bundle) = model.bundle() else {
        return Err(Failure::Check(format!(
            "`{}` is not a bundle: it carries neither hashes nor test cases",
            a.model.display()
        )));
    };
    let cases = &bundle.manifest().self_test;
    let kernels = Isa::available();
    let entries = bundle.entries().count();
    let progress = Progress::new("self-test: cases run:", (cases.len() * kernels.len()) as u64);
    let mut wrong = vec![];
    let mut values = 0;
    for &isa in &kernels {
        for (number, case) in cases.iter().enumerate() {
            match compare(&model, case, isa) {
                Ok(n) => values += n,
                Err(e) => wrong.push(format!("case {number} on kernel `{isa}`: {e}")),
            }
            progress.add(1);
        }
    }
    drop(progress);
    if let Some(expected) = &bundle.manifest().constants_sha256
        && *expected != constants_sha256(&bundle_graph(bundle)?)
    {
        wrong.push("the weights are not those that the bundle was made with (`constants_sha256`)".into());
    }
    if cases.is_empty() {
        wrong.push("the bundle has no test cases, so its answers were not checked".into());
    }
    let mut out = std::io::stdout().lock();
    let names: Vec<_> = kernels.iter().map(|k| k.name()).collect();
    if a.json {
        let report = json!({
            "passed": wrong.is_empty(),
            "entries": entries,
            "cases": cases.len(),
            "kernels": names,
            "values": values,
            "failures": wrong,
        });
        writeln!(out, "{report}")?;
    } else {
        writeln!(out, "hashes of {entries} entries: good")?;
        writeln!(
            out,
            "{} cases on kernels {}: {values} values equal bit for bit",
            cases.len(),
            names.join(", ")
        )?;
    }
    match wrong.len() {
        0 => Ok(()),
        n => {
            let more = if n > 5 { format!("; and {} more", n - 5) } else { String::new() };
            wrong.truncate(5);
            Err(Failure::Check(format!("{}{more}", wrong.join("; "))))
        }
    }
}

/// Runs one case; gives the number of values that were compared.
fn compare(model: &Model, case: &Case, isa: Isa) -> Result<usize> {
    let input =
        Input::text(model.tokenizer()?, model.info().max_length, &case.text, case.pair.as_deref(), true)?;
    let ids: Vec<i64> = case.ids.iter().map(|&i| i64::from(i)).collect();
    if input.ids != [ids] {
        return Err(Error::data_loss("other token ids than recorded"));
    }
    if case.outputs.is_empty() {
        return Err(Error::data_loss("the case records no output"));
    }
    let masks = mask_places(model.tokenizer()?, &case.ids);
    let mut batch = Batch::new();
    batch.push(case.ids.iter().map(|&i| i64::from(i)), input.types(), None);
    batch.picks = Some(masks.clone());
    let heads = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
    let mut compared = 0;
    for (head, expected) in &case.outputs {
        let task = heads.iter().find(|h| h.name == *head).map(|h| h.task);
        let task = task.ok_or_else(|| Error::data_loss(format!("the bundle has no head `{head}`")))?;
        let wanted: Vec<usize> = wanted(model, Some(head))?.iter().map(|w| w.index).collect();
        let how = RunOptions { isa, threads: 1, stop: Stop::default(), stats: None };
        let answer = model.plan().run(&batch, &wanted, how)?.pop();
        let answer = answer.ok_or_else(|| Error::internal("no answer"))?;
        let got = recorded(&answer, task, case.ids.len(), &masks);
        let got = got.ok_or_else(|| Error::data_loss(format!("head `{head}` has nothing to record")))?;
        if got.shape != expected.shape {
            return Err(Error::data_loss(format!(
                "head `{head}` has shape {:?}, recorded was {:?}",
                got.shape, expected.shape
            )));
        }
        let differ = got.bits.iter().zip(&expected.bits).filter(|(g, e)| g != e).count();
        if differ > 0 || got.bits.len() != expected.bits.len() {
            return Err(Error::data_loss(format!(
                "{differ} of {} values of head `{head}` have other bits than recorded",
                expected.bits.len()
            )));
        }
        compared += expected.bits.len();
    }
    Ok(compared)
}
