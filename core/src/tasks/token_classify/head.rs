//! Which output of a model tags tokens, and what its values mean.

use super::{TagScheme, decode};
use crate::bundle::manifest::{Tagging, Task};
use crate::error::{Error, Result};
use crate::model::{Model, OutputInfo};
use crate::tasks::observe::TaskHead;

/// A tagging head of a model: an output with one row per token, and what its values mean.
#[derive(Clone, Debug, PartialEq)]
pub struct TagHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// The graph output that it reads.
    pub output: String,
    /// Index of that output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// One label per value.
    pub labels: Vec<String>,
    /// What their first letters mean.
    pub scheme: TagScheme,
    /// What logits are divided by before they become probabilities.
    pub temperature: f32,
    /// Most tokens of a text, where it is less than the model's.
    pub max_length: Option<usize>,
}

impl TaskHead for TagHead {
    const TASK: &'static str = "token-classification";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        self.labels.len()
    }
}

impl TagHead {
    /// The head `name` of `model`; without a name its default head if that tags, else the first that does. Of a
    /// plain ONNX model: an output with one row per token and as many values as `config.json` names labels.
    ///
    /// # Errors
    /// `NotFound` for a name that the model lacks (the message lists those it has), `InvalidArgument` for a head of
    /// another task, `FailedPrecondition` for a model that does not tag, `DataLoss` for a bundle or `config.json`
    /// that contradicts the graph.
    pub fn find(model: &Model, name: Option<&str>) -> Result<TagHead> {
        let heads = TagHead::all(model)?;
        let default = model.bundle().and_then(|b| b.manifest().default_head.as_deref());
        let wanted = name.or_else(|| default.filter(|d| heads.iter().any(|h| h.name == *d)));
        if let Some(h) = heads.iter().find(|h| wanted.is_none_or(|w| w == h.name)) {
            return Ok(h.clone());
        }
        let others = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
        Err(crate::tasks::head::missing("tag tokens", name, heads.iter().map(|h| h.name.as_str()), others))
    }

    /// All tagging heads of `model`, in the bundle's order.
    ///
    /// # Errors
    /// `DataLoss` for a bundle or `config.json` that contradicts the graph.
    pub fn all(model: &Model) -> Result<Vec<TagHead>> {
        let outputs = model.plan().outputs();
        let Some(bundle) = model.bundle() else {
            let named = &model.info().labels;
            let tokens = outputs.iter().enumerate().filter(|(_, o)| o.per_token && !o.flat);
            if let Some((_, o)) = tokens.clone().find(|(_, o)| o.name == "logits")
                && !named.is_empty()
                && named.len() != o.channels
            {
                return Err(Error::data_loss(format!(
                    "`config.json` names {} labels, but output `{}` has {} values: correct its `id2label`",
                    named.len(),
                    o.name,
                    o.channels
                )));
            }
            let fits =
                tokens.filter(|(_, o)| named.len() == o.channels || (named.is_empty() && o.name == "logits"));
            let head = |(index, o): (usize, &OutputInfo)| {
                let labels = match named.is_empty() {
                    true => (0..o.channels).map(|i| format!("LABEL_{i}")).collect(),
                    false => named.clone(),
                };
                TagHead {
                    name: o.name.clone(),
                    output: o.name.clone(),
                    index,
                    scheme: decode::guess(&labels),
                    labels,
                    temperature: 1.0,
                    max_length: None,
                }
            };
            return Ok(fits.map(head).collect());
        };
        let mut heads = vec![];
        for h in bundle.manifest().heads.iter().filter(|h| h.task == Task::TokenClassification) {
            let found = outputs.iter().enumerate().find(|(_, o)| o.name == h.output && o.per_token);
            let Some((index, o)) = found.filter(|(_, o)| o.channels == h.labels.len()) else {
                return Err(Error::data_loss(format!(
                    "head `{}` tags tokens with {} labels, but output `{}` has no such rows",
                    h.name,
                    h.labels.len(),
                    h.output
                )));
            };
            let scheme = match h.tagging {
                Some(Tagging::Bio) => TagScheme::Bio,
                Some(Tagging::Bilou) => TagScheme::Bilou,
                Some(Tagging::None) => TagScheme::None,
                None => decode::guess(&h.labels),
            };
            heads.push(TagHead {
                name: h.name.clone(),
                output: o.name.clone(),
                index,
                labels: h.labels.clone(),
                scheme,
                temperature: h.temperature,
                max_length: h.max_length,
            });
        }
        Ok(heads)
    }
}
