//! Which output of a model a classifier reads, and how.

use crate::bundle::Head;
use crate::bundle::manifest::{ProblemType, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, OutputInfo};

/// A classification head of a model: an output with one row per text, and what its values mean.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassifierHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// The graph output that it reads.
    pub output: String,
    /// Index of that output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// One label per value; `LABEL_0` and so on where the model names none.
    pub labels: Vec<String>,
    /// Several labels may be true at once.
    pub multi_label: bool,
    /// The values are no class scores but numbers to be used as they are.
    pub regression: bool,
    /// Smallest probability that counts as a yes, per label; empty if the bundle has none.
    pub thresholds: Vec<f32>,
    /// What logits are divided by before they become probabilities.
    pub temperature: f32,
    /// Most tokens of a text, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl ClassifierHead {
    /// The head `name` of `model`. Without a name: the bundle's default head if it classifies texts, else its
    /// first head that does; of a plain ONNX model the output `logits`, else the first with one row per text.
    ///
    /// # Errors
    /// `NotFound` for a name that the model lacks (the message lists those it has), `InvalidArgument` for a
    /// head of another task, `FailedPrecondition` for a model without any classification head.
    pub fn find(model: &Model, name: Option<&str>) -> Result<ClassifierHead> {
        let heads = ClassifierHead::all(model)?;
        match name {
            Some(name) => {
                if let Some(h) = heads.iter().find(|h| h.name == name) {
                    return Ok(h.clone());
                }
                let names: Vec<_> = heads.iter().map(|h| format!("`{}`", h.name)).collect();
                let others = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
                if others.iter().any(|h| h.name == name) {
                    return Err(Error::invalid(format!(
                        "head `{name}` does not classify texts: choose one of {}",
                        names.join(", ")
                    )));
                }
                Err(Error::new(
                    ErrorKind::NotFound,
                    format!("the model has no head `{name}`: choose one of {}", names.join(", ")),
                ))
            }
            None => {
                let default = model.bundle().and_then(|b| b.manifest().default_head.as_deref());
                let chosen = heads.iter().find(|h| Some(h.name.as_str()) == default).or(heads.first());
                chosen.cloned().ok_or_else(|| {
                    Error::new(
                        ErrorKind::FailedPrecondition,
                        "the model has no classification head: no output has one row of class scores per text",
                    )
                })
            }
        }
    }

    /// Whether the head fits `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for an output that the model lacks or that has a row per token, another number of labels
    /// than values, thresholds for another number of labels, or a temperature that is not above 0.
    pub fn check(&self, model: &Model) -> Result<()> {
        let at = |m: String| Err(Error::invalid(format!("head `{}`: {m}", self.name)));
        let Some(o) = model.plan().outputs().get(self.index).filter(|o| o.name == self.output) else {
            return at(format!("the model has no output `{}` of index {}", self.output, self.index));
        };
        if o.per_token || o.flat {
            return at(format!("output `{}` does not have one row per text", o.name));
        }
        if self.labels.len() != o.channels {
            return at(format!(
                "{} labels for {} values: name one label per value",
                self.labels.len(),
                o.channels
            ));
        }
        if !self.thresholds.is_empty() && self.thresholds.len() != self.labels.len() {
            return at(format!("{} thresholds for {} labels", self.thresholds.len(), self.labels.len()));
        }
        if !(self.temperature.is_finite() && self.temperature > 0.0) {
            return at("the temperature must be a number above 0".into());
        }
        Ok(())
    }

    /// All classification heads of `model`, in the bundle's order.
    ///
    /// # Errors
    /// `DataLoss` for a bundle whose heads contradict its graph, or a `config.json` that names another number of
    /// labels than the model has values.
    pub fn all(model: &Model) -> Result<Vec<ClassifierHead>> {
        let outputs = model.plan().outputs();
        let mut heads = vec![];
        if let Some(b) = model.bundle() {
            for h in b.manifest().heads.iter().filter(|h| classifies(h)) {
                heads.push(from_manifest(h, outputs)?);
            }
            return Ok(heads);
        }
        let per_text = || outputs.iter().enumerate().filter(|(_, o)| !o.per_token && !o.flat);
        let alone = per_text().count() == 1;
        for (index, o) in per_text() {
            let named = &model.info().labels;
            // Of several outputs the one list of labels may belong to another.
            if !named.is_empty() && named.len() != o.channels && (alone || o.name == "logits") {
                return Err(Error::data_loss(format!(
                    "`config.json` names {} labels, but output `{}` has {} values: correct its `id2label`",
                    named.len(),
                    o.name,
                    o.channels
                )));
            }
            let labels = Some(named).filter(|l| l.len() == o.channels).cloned();
            heads.push(ClassifierHead {
                name: o.name.clone(),
                output: o.name.clone(),
                index,
                labels: labels.unwrap_or_else(|| numbered(o.channels)),
                multi_label: false,
                // As in Hugging Face: a single output is a number to be fitted.
                regression: o.channels == 1,
                thresholds: vec![],
                temperature: 1.0,
                max_length: None,
            });
        }
        heads.sort_by_key(|h| h.output != "logits");
        Ok(heads)
    }
}

fn numbered(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("LABEL_{i}")).collect()
}

fn classifies(h: &Head) -> bool {
    h.task == Task::TextClassification
}

fn from_manifest(h: &Head, outputs: &[OutputInfo]) -> Result<ClassifierHead> {
    let (index, o) = outputs.iter().enumerate().find(|(_, o)| o.name == h.output).ok_or_else(|| {
        Error::data_loss(format!("head `{}` reads output `{}`, which the graph lacks", h.name, h.output))
    })?;
    if o.per_token || o.flat {
        return Err(Error::data_loss(format!(
            "head `{}` classifies texts, but output `{}` has one row per token",
            h.name, h.output
        )));
    }
    if !h.labels.is_empty() && h.labels.len() != o.channels {
        return Err(Error::data_loss(format!(
            "head `{}` has {} labels for {} outputs",
            h.name,
            h.labels.len(),
            o.channels
        )));
    }
    let labels = if h.labels.is_empty() { numbered(o.channels) } else { h.labels.clone() };
    let thresholds = match h.thresholds.is_empty() {
        true => vec![],
        false => labels.iter().map(|l| h.thresholds.get(l).copied().unwrap_or(f32::NEG_INFINITY)).collect(),
    };
    Ok(ClassifierHead {
        name: h.name.clone(),
        output: h.output.clone(),
        index,
        labels,
        multi_label: h.problem_type == ProblemType::MultiLabel,
        regression: h.problem_type == ProblemType::Regression,
        thresholds,
        temperature: h.temperature,
        max_length: h.max_length,
    })
}

/// Why no head was found: `does` says what it would do, `name` is the one asked for, `names` are those that do it,
/// `others` all of the bundle.
pub(super) fn missing<'a>(
    does: &str,
    name: Option<&str>,
    names: impl Iterator<Item = &'a str>,
    others: &[Head],
) -> Error {
    let names: Vec<_> = names.map(|n| format!("`{n}`")).collect();
    let choose = match names.is_empty() {
        true => "the model has none that does".to_string(),
        false => format!("choose one of {}", names.join(", ")),
    };
    match name {
        Some(name) if others.iter().any(|h| h.name == name) => {
            Error::invalid(format!("head `{name}` does not {does}: {choose}"))
        }
        Some(name) => Error::new(ErrorKind::NotFound, format!("the model has no head `{name}`: {choose}")),
        None => Error::new(ErrorKind::FailedPrecondition, format!("the model has no head to {does}")),
    }
}
