//! `quantize --auto`: the cheapest method that passes the gate.
//!
//! Schemes that cost time at inference (how activations become integers, loud channels) are timed on this machine and
//! tried from the cheapest on; within one, the ways to round weights, which cost nothing at inference. Dev sets judge;
//! calibration texts are all that methods see besides. Test sets are hashed before the search and judged once, after it.

use std::path::Path;

use clap::ValueEnum;
use pocketbert::bundle::Head;
use pocketbert::kernels::Isa;
use pocketbert::model::graph::Graph;
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::{Error, Result};
use serde::{Deserialize, Serialize};

use super::quantize::{QuantizeArgs, Shell};
use crate::calibration::Calibration;
use crate::data::{Role, SetEntry, read_examples, read_sets};
use crate::eval::{How, Subject, encode, push};
use crate::gates::{self, Gate};
use crate::validate::{Plan, validate};
use crate::weights::{self, Activations, Method, Rounding};

/// Texts by which a scheme is timed, and how often; the best run counts.
const TIMED: usize = 48;
const REPEATS: usize = 5;
/// Schemes within this share of each other count as equally fast: the order of the list decides.
const ALIKE: f64 = 0.03;

/// How a method was found; part of the recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The gate.
    pub gate: String,
    /// Whether the method passed it on the dev sets.
    pub passed: bool,
    /// Why layers are in f16; empty if none is.
    pub why: String,
    /// Texts of each set, if not all.
    pub limit: Option<usize>,
    /// SHA-256 of the dev and of the test files, by name.
    pub dev: Vec<(String, String)>,
    /// Hashed before the search, judged after it.
    pub test: Vec<(String, String)>,
    /// What was tried, in order.
    pub tried: Vec<Trial>,
}

/// One method on the dev sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// What it is.
    pub method: String,
    /// Milliseconds of the timed texts on one thread of the machine that searched.
    pub milliseconds: f64,
    /// Flips and what could flip.
    pub flips: (usize, usize),
    /// Mean divergence.
    pub kl: f64,
    /// Whether all gates hold.
    pub passed: bool,
}

/// The sets that judge.
#[derive(Default)]
pub struct Sets {
    dev: Vec<SetEntry>,
    test: Vec<SetEntry>,
}

impl Sets {
    /// Reads the list and, so that nothing is found wrong after hours, every file in it.
    pub fn read(path: &Path, heads: &[Head], limit: Option<usize>) -> Result<Sets> {
        let mut s = Sets::default();
        for set in read_sets(path)? {
            let known = heads.iter().find(|h| h.name == set.head);
            match set.role {
                Role::Calibrate => continue,
                Role::Dev => s.dev.push(set.clone()),
                Role::Test => s.test.push(set.clone()),
            }
            let head = known.ok_or_else(|| {
                Error::invalid(format!("set `{}`: there is no head `{}`", set.name, set.head))
            })?;
            read_examples(&set.file, Some(head))?;
        }
        if s.dev.is_empty() {
            return Err(Error::invalid(format!(
                "`{}` names no dev set: `--auto` chooses by dev sets alone",
                path.display()
            )));
        }
        if limit == Some(0) {
            return Err(Error::invalid("`--limit 0` leaves no text to judge by"));
        }
        Ok(s)
    }

    fn hashes(sets: &[SetEntry]) -> Result<Vec<(String, String)>> {
        sets.iter().map(|s| Ok((s.name.clone(), crate::files::sha256(&s.file)?))).collect()
    }
}

/// What a search needs.
pub(super) struct Judge<'a> {
    pub shell: &'a Shell<'a>,
    pub graph: &'a Graph,
    pub calibration: &'a Calibration,
    pub reference: &'a Subject,
    pub gates: &'a [Gate],
    pub sets: &'a Sets,
}

impl Judge<'_> {
    /// The method, and how it was found.
    pub fn search(&self, a: &QuantizeArgs) -> Result<(Method, Record)> {
        let mut record = Record {
            gate: a.gate.clone().unwrap_or_default(),
            passed: false,
            why: String::new(),
            limit: a.limit,
            dev: Sets::hashes(&self.sets.dev)?,
            test: Sets::hashes(&self.sets.test)?,
            tried: vec![],
        };
        let base = Method { attention: a.attention.unwrap_or(true), ..Method::default() };
        let mut best: Option<(f64, Method)> = None;
        for (scheme, time) in self.schemes(&base, a.threads)? {
            for rounding in [Rounding::Nearest, Rounding::Gptq, Rounding::Adaround] {
                let method = Method { rounding, ..scheme.clone() };
                let trial = self.attempt(&method, time, a)?;
                let (passed, kl) = (trial.passed, trial.kl);
                record.tried.push(trial);
                if passed {
                    record.passed = true;
                    return Ok((method, record));
                }
                if best.as_ref().is_none_or(|(b, _)| kl < *b) {
                    best = Some((kl, method));
                }
            }
        }
        let (_, method) = best.ok_or_else(|| Error::internal("nothing was tried"))?;
        self.fall_back(method, record, a)
    }

    /// The ways to quantize activations, the fastest first, with their times.
    fn schemes(&self, base: &Method, threads: usize) -> Result<Vec<(Method, f64)>> {
        let with = |activations, loud| Method { activations, loud, ..base.clone() };
        let list = [
            with(Activations::Static, 0),
            with(Activations::PerTokenSymmetric, 0),
            with(Activations::PerToken, 0),
            with(Activations::PerToken, 64),
            with(Activations::PerToken, 128),
        ];
        let mut timed: Vec<(Method, f64)> = vec![];
        for method in list {
            let mut g = self.graph.clone();
            weights::quantize(&mut g, &method, Some(self.calibration), threads)?;
            let time = self.time(&self.shell.open(&g)?)?;
            let at = timed.iter().rposition(|(_, t)| time >= t * (1.0 - ALIKE)).map_or(0, |i| i + 1);
            timed.insert(at, (method, time));
        }
        Ok(timed)
    }

    /// Milliseconds for some dev texts, one by one.
    fn time(&self, model: &Model) -> Result<f64> {
        let tokenizer = model.tokenizer()?;
        let mut batches = vec![];
        for s in &self.sets.dev {
            for e in read_examples(&s.file, None)?.iter().take(TIMED.div_ceil(self.sets.dev.len())) {
                for e in encode(tokenizer, e, false, s.max_length)? {
                    let mut b = Batch { picks: Some(vec![]), ..Batch::new() };
                    push(&mut b, &e);
                    batches.push(b);
                }
            }
        }
        let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
        let mut best = f64::INFINITY;
        for _ in 0..REPEATS {
            crate::check_stop()?;
            let start = std::time::Instant::now();
            for b in &batches {
                let run = RunOptions { isa: Isa::best(), threads: 1, stop: Default::default(), stats: None };
                model.plan().run(b, &wanted, run)?;
            }
            best = best.min(start.elapsed().as_secs_f64() * 1e3);
        }
        Ok(best)
    }

    fn attempt(&self, method: &Method, milliseconds: f64, a: &QuantizeArgs) -> Result<Trial> {
        let mut g = self.graph.clone();
        weights::quantize(&mut g, method, Some(self.calibration), a.threads)?;
        let subject = Subject { model: self.shell.open(&g)?, sha256: String::new() };
        drop(g);
        let results = validate(&plan(self.reference, &subject, self.shell.heads, &self.sets.dev, a))?;
        let passed = gates::judge(self.gates, &results)?.iter().all(|v| v.passed);
        let p = &results.pooled;
        let name = name(method);
        eprintln!(
            "{} {name}: {} of {} flips, KL {:.2e}, {milliseconds:.0} ms",
            if passed { "PASS" } else { "fail" },
            p.flips,
            p.units,
            p.kl
        );
        Ok(Trial { method: name, milliseconds, flips: (p.flips, p.units), kl: p.kl, passed })
    }

    /// Takes layers out of int8, those that help most first, until the gate holds.
    fn fall_back(
        &self,
        mut method: Method,
        mut record: Record,
        a: &QuantizeArgs,
    ) -> Result<(Method, Record)> {
        let mut tied = self.graph.clone();
        crate::tie::tie(&mut tied)?;
        let known = weights::layers(&tied);
        let mut order = vec![];
        // In the graph's order, so that ties fall the same way every time.
        for n in tied.nodes.iter().filter(|n| known.contains_key(&n.name)) {
            let one = Method { half: vec![n.name.clone()], ..method.clone() };
            let trial = self.attempt(&one, 0.0, a)?;
            order.push((trial.kl, n.name.clone()));
        }
        order.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (_, layer) in order {
            method.half.push(layer);
            let mut g = self.graph.clone();
            weights::quantize(&mut g, &method, Some(self.calibration), a.threads)?;
            let time = self.time(&self.shell.open(&g)?)?;
            let trial = self.attempt(&method, time, a)?;
            record.passed = trial.passed;
            record.tried.push(trial);
            if record.passed {
                break;
            }
        }
        record.why = format!(
            "no method with every layer in int8 passes `{}` on the dev sets; in f16, the layers without which the \
             divergence is least: {}",
            record.gate,
            method.half.join(", ")
        );
        eprintln!("{}", record.why);
        Ok((method, record))
    }
}

fn plan<'a>(
    reference: &'a Subject,
    model: &'a Subject,
    heads: &'a [Head],
    sets: &[SetEntry],
    a: &QuantizeArgs,
) -> Plan<'a> {
    Plan {
        reference,
        model,
        heads,
        sets: sets.to_vec(),
        limit: a.limit,
        slices: vec![],
        slice_limit: None,
        identity: vec![],
        layers: 0,
        seed: 1,
        how: How { isa: Isa::best(), threads: a.threads, cache: a.cache.clone() },
    }
}

/// Judges the test sets, once, by the bundle that was written. True if dev and test pass.
pub(super) fn last_word(
    a: &QuantizeArgs,
    heads: &[Head],
    gates: &[Gate],
    sets: &Sets,
    passed: bool,
) -> Result<bool> {
    if !passed {
        eprintln!("FAIL: nothing passes `{}` on the dev sets", a.gate.as_deref().unwrap_or(""));
    }
    if sets.test.is_empty() {
        return Ok(passed);
    }
    let (reference, model) = (Subject::open(&a.model)?, Subject::open(&a.out)?);
    let results = validate(&plan(&reference, &model, heads, &sets.test, a))?;
    let verdicts = gates::judge(gates, &results)?;
    for v in &verdicts {
        eprintln!("test: {} {}: {:.3e} ({})", if v.passed { "PASS" } else { "FAIL" }, v.gate, v.value, v.at);
    }
    Ok(passed && verdicts.iter().all(|v| v.passed))
}

fn name(m: &Method) -> String {
    let mut s = format!("{}, {}", word(&m.activations), word(&m.rounding));
    if m.loud > 0 {
        s += &format!(", {} loud channels", m.loud);
    }
    if !m.half.is_empty() {
        s += &format!(", {} layers in f16", m.half.len());
    }
    s
}

/// A choice by its name in the recipe.
fn word(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map_or(String::new(), |v| v.get_name().to_string())
}
