//! Runs that must give the same bits: alone or in a batch, with padding or without, on every kernel that this CPU
//! has, on one thread or more.

use std::collections::HashSet;

use pocketbert::Result;
use pocketbert::bundle::Head;
use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Plan as Engine, RunOptions};
use pocketbert::text::Encoding;
use serde::Serialize;

use super::Plan;
use crate::eval::{picks, push};

/// Texts of a head that are run in every way: the generic kernels take many times as long as the best.
const EACH: usize = 3;

/// One way to run, beside a text alone on the best kernel and one thread.
#[derive(Clone, Debug, Serialize)]
pub struct Way {
    /// How.
    pub how: String,
    /// Values compared.
    pub values: usize,
    /// Values whose bits differ.
    pub other_bits: usize,
}

/// What was found for the model that is judged.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Invariance {
    /// Texts.
    pub texts: usize,
    /// The kernel of the runs that the others are beside.
    pub kernel: String,
    /// Each way.
    pub ways: Vec<Way>,
}

impl Invariance {
    /// Values whose bits differ, over all ways.
    pub fn other_bits(&self) -> usize {
        self.ways.iter().map(|w| w.other_bits).sum()
    }
}

/// A text, the number of its output, and its values.
struct Case {
    e: Encoding,
    output: usize,
    values: Vec<f32>,
}

/// Checks the model that is judged on the first texts of every head.
pub fn check(p: &Plan, sets: &[(&Head, Vec<Encoding>)]) -> Result<Invariance> {
    let (m, best) = (&p.model.model, p.how.isa);
    let mut result = Invariance { kernel: best.name().to_string(), ..Invariance::default() };
    let mut cases: Vec<Case> = vec![];
    let mut done: HashSet<&str> = HashSet::new();
    for (head, encodings) in sets {
        if !done.insert(head.name.as_str()) {
            continue;
        }
        let Some(output) = m.plan().outputs().iter().position(|o| o.name == head.output) else { continue };
        for e in encodings.iter().take(EACH) {
            let values = run(p, output, std::slice::from_ref(e), 0, best, 1)?.concat();
            cases.push(Case { e: e.clone(), output, values });
        }
    }
    result.texts = cases.len();
    let mut way = |how: String, of: &mut dyn FnMut(&Case) -> Result<Vec<f32>>| -> Result<()> {
        let mut w = Way { how, values: 0, other_bits: 0 };
        for c in &cases {
            crate::check_stop()?;
            let got = of(c)?;
            w.values += c.values.len();
            let same = c.values.iter().zip(&got).filter(|(x, y)| x.to_bits() == y.to_bits()).count();
            w.other_bits += c.values.len().max(got.len()) - same;
        }
        result.ways.push(w);
        Ok(())
    };
    way("in a batch with longer and shorter texts".into(), &mut |c| {
        let near: Vec<Encoding> = cases.iter().step_by(5).take(3).map(|c| c.e.clone()).collect();
        let mut batch = vec![c.e.clone()];
        batch.extend(near);
        batch.rotate_left(1);
        let at = batch.len() - 1;
        Ok(run(p, c.output, &batch, 0, best, 1)?.swap_remove(at))
    })?;
    way("with seven tokens of padding".into(), &mut |c| {
        Ok(run(p, c.output, std::slice::from_ref(&c.e), 7, best, 1)?.concat())
    })?;
    way("on two threads".into(), &mut |c| {
        Ok(run(p, c.output, std::slice::from_ref(&c.e), 0, best, 2)?.concat())
    })?;
    for isa in Isa::available().into_iter().filter(|&i| i != best) {
        way(format!("kernel {isa}"), &mut |c| {
            Ok(run(p, c.output, std::slice::from_ref(&c.e), 0, isa, 1)?.concat())
        })?;
    }
    Ok(result)
}

/// The values of each text, those of padding left out.
fn run(
    p: &Plan,
    output: usize,
    texts: &[Encoding],
    padding: usize,
    isa: Isa,
    threads: usize,
) -> Result<Vec<Vec<f32>>> {
    let m = &p.model.model;
    let engine: &Engine = m.plan();
    let pad = m.tokenizer()?.pad_id().unwrap_or(0);
    let mut batch = Batch::new();
    for e in texts {
        if padding == 0 {
            push(&mut batch, e);
            continue;
        }
        let long = e.ids.len() + padding;
        let ids = e.ids.iter().map(|&i| i64::from(i)).chain(std::iter::repeat(i64::from(pad))).take(long);
        let mut types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
        types.resize(long, 0);
        let mask: Vec<i64> = (0..long).map(|i| i64::from(i < e.ids.len())).collect();
        batch.push(ids, Some(&types), Some(&mask));
    }
    let (places, counts) = picks(m.tokenizer()?, texts, padding);
    batch.picks = Some(places);
    let options = RunOptions { isa, threads, stop: Default::default(), stats: None };
    let out = engine.run(&batch, &[output], options)?;
    let Some(o) = out.first() else { return Ok(vec![]) };
    let c = o.info.channels;
    let mut next = 0;
    let rows = texts.iter().zip(counts).map(|(e, picked)| {
        let (keep, skip) = match (o.info.picked, o.info.per_token) {
            (true, _) => (picked, 0),
            (false, true) => (e.ids.len(), padding),
            (false, false) => (1, 0),
        };
        let part = o.data.get(next * c..(next + keep) * c).unwrap_or(&[]).to_vec();
        next += keep + skip;
        part
    });
    Ok(rows.collect())
}
