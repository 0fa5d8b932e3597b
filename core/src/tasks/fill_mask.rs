//! [`MaskFiller`]: which tokens fit where a text has a mask.

mod decode;
mod long;

use std::path::Path;
use std::sync::Arc;

use self::decode::{Fill, Masked, mask_token, no_mask, sureness};
use super::load::LoadState;
use super::locate::{self, Located};
use super::observe::TaskHead;
use super::session::{CallOptions, Session};
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, Seen};
use crate::model::record::mask_places;
use crate::model::{Model, OpenOptions, OutputInfo};
use crate::text::{EncodeOptions, Span, Truncation};

/// How to fill masks. The default: five candidates, any token of the vocabulary, one thread.
#[derive(Clone, Debug)]
pub struct FillMaskOptions {
    /// Candidates per mask. Zero is an error.
    pub top_k: usize,
    /// Only these tokens, spelled as in the vocabulary. Probabilities stay those over the whole vocabulary.
    pub targets: Vec<String>,
    /// What to keep of a text that is too long. A mask that is cut off has no answer.
    pub truncation: Truncation,
    /// Most tokens of a text, special tokens included; never more than the model takes. `None`: the model's.
    pub max_length: Option<usize>,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for FillMaskOptions {
    fn default() -> Self {
        FillMaskOptions {
            top_k: 5,
            targets: vec![],
            truncation: Truncation::Head,
            max_length: None,
            call: CallOptions::default(),
        }
    }
}

/// A token that may stand where the mask is.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The token as the vocabulary spells it; WordPiece writes `##` before what goes on a word.
    pub token: String,
    /// Its id.
    pub id: u32,
    /// 0 to 1, over the whole vocabulary.
    pub probability: f32,
    /// What the model gave, before softmax.
    pub logit: f32,
    /// The text (of a long one: the window) with this mask replaced; other masks stay.
    pub filled: String,
}

/// The answer for one mask.
#[derive(Clone, Debug, PartialEq)]
pub struct FilledMask {
    /// The bytes of the mask in the text.
    pub span: Span,
    /// The most probable first; of equals the one with the smaller id.
    pub candidates: Vec<Candidate>,
}

/// The answer for one text.
#[derive(Clone, Debug, PartialEq)]
pub struct MaskFill {
    /// The masks in the order of the text.
    pub masks: Vec<FilledMask>,
    /// Tokens that the model saw, special tokens included.
    pub token_count: usize,
    /// The text was cut to fit; masks in what was cut off are not among `masks`.
    pub truncated: bool,
    /// The model's version; empty where it has none.
    pub model_version: String,
}

/// An output with a score per entry of the vocabulary for each token.
#[derive(Clone, Debug, PartialEq)]
pub struct FillMaskHead {
    /// The head's name; the output's where the model is not a bundle.
    pub name: String,
    /// Index of the output in [`Plan::outputs`](crate::model::Plan::outputs).
    pub index: usize,
    /// What logits are divided by before they become probabilities.
    pub temperature: f32,
    /// Most tokens of a text, where it is less than the model's.
    pub max_length: Option<usize>,
    /// Scores can be had for the masks alone.
    pub picked: bool,
    /// Scores per token.
    pub vocab: usize,
}

impl TaskHead for FillMaskHead {
    const TASK: &'static str = "fill-mask";

    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> usize {
        0
    }
}

impl FillMaskHead {
    /// The fill-mask head `name` of a bundle, or its first; of a plain ONNX model the output of that name, else
    /// `logits`, if it has as many values per token as the vocabulary.
    ///
    /// # Errors
    /// `NotFound` and `InvalidArgument` for a name that does not fit, `FailedPrecondition` for a model that cannot
    /// fill masks or whose tokenizer has no mask token.
    pub fn find(model: &Model, name: Option<&str>) -> Result<FillMaskHead> {
        let fits = |o: &OutputInfo| o.per_token && !o.flat && o.channels == model.info().vocab;
        let head = match locate::head(model, name, Task::FillMask, "fill masks")? {
            Some(Located { head, index, output }) => {
                if !fits(output) {
                    return Err(Error::data_loss(format!(
                        "head `{}` fills masks, but output `{}` has no score per token and entry of the vocabulary",
                        head.name, output.name
                    )));
                }
                FillMaskHead {
                    name: head.name.clone(),
                    index,
                    temperature: head.temperature,
                    max_length: head.max_length,
                    picked: output.picked,
                    vocab: output.channels,
                }
            }
            None => {
                let (index, o) = locate::output(model, name.unwrap_or("logits"))?;
                if !fits(o) {
                    return Err(Error::new(
                        ErrorKind::FailedPrecondition,
                        format!(
                            "output `{}` has no score per token and entry of the vocabulary: filling masks needs a \
                             model with a masked-language head",
                            o.name
                        ),
                    ));
                }
                FillMaskHead {
                    name: o.name.clone(),
                    index,
                    temperature: 1.0,
                    max_length: None,
                    picked: o.picked,
                    vocab: o.channels,
                }
            }
        };
        match model.tokenizer()?.mask_id() {
            Some(_) => Ok(head),
            None => Err(Error::new(
                ErrorKind::FailedPrecondition,
                "the tokenizer has no mask token (`[MASK]` or `<mask>`)",
            )),
        }
    }
}

/// Fills masks with one head of a model. Of the wide scores over the vocabulary only those of the masks are
/// computed where the bundle can (its decoder is tied to the embedding table).
///
/// `Send + Sync`. Answers are the same bits on every CPU, kernel, number of threads and batch.
///
/// ```
/// use pocketbert::MaskFiller;
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let filler = MaskFiller::open(path)?;
/// let answer = filler.fill("will it [MASK] in Paris tomorrow")?;
/// for c in &answer.masks[0].candidates {
///     println!("{:.3} {}", c.probability, c.filled);
/// }
/// assert_eq!(answer.masks[0].candidates.len(), 5);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct MaskFiller {
    session: Session<FillMaskHead>,
}

impl MaskFiller {
    /// Opens the model at `path`; the head as in [`FillMaskHead::find`].
    pub fn open(path: impl AsRef<Path>) -> Result<MaskFiller> {
        let f = MaskFiller::deferred(path, &OpenOptions::default(), None);
        f.load()?;
        Ok(f)
    }

    /// A filler that opens `path` at its first call, or at [`load`](Self::load) or [`prewarm`](Self::prewarm).
    pub fn deferred(path: impl AsRef<Path>, options: &OpenOptions, head: Option<&str>) -> MaskFiller {
        MaskFiller { session: Session::deferred(path.as_ref(), options, head, FillMaskHead::find) }
    }

    /// A filler on a model that is open already.
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<MaskFiller> {
        Ok(MaskFiller { session: Session::from_model(model, head, FillMaskHead::find)? })
    }

    /// Opens the model if it is not open yet.
    pub fn load(&self) -> Result<()> {
        self.session.ready().map(|_| ())
    }

    /// Opens the model if need be and fills one mask, so that the next call is a warm one.
    pub fn prewarm(&self) -> Result<()> {
        if self.state() == LoadState::Prewarmed {
            return self.load();
        }
        self.fill(&self.mask_token()?).map(|_| ())
    }

    /// How far the filler is from answering at full speed.
    pub fn state(&self) -> LoadState {
        self.session.state()
    }

    /// The numbers of this object: times by stage, the cold first call apart, sizes, errors.
    pub fn metrics(&self) -> Metrics {
        self.session.metrics().clone()
    }

    /// The model, opened now if it was not yet.
    pub fn model(&self) -> Result<&Arc<Model>> {
        self.session.model()
    }

    /// The head.
    pub fn head(&self) -> Result<&FillMaskHead> {
        self.session.ready().map(|(_, h)| h)
    }

    /// What to write where a token is missing: `[MASK]` in models of the BERT family.
    pub fn mask_token(&self) -> Result<String> {
        let (model, _) = self.session.ready()?;
        mask_token(model.tokenizer()?)
    }

    /// Fills the masks of `text` with the default options.
    pub fn fill(&self, text: &str) -> Result<MaskFill> {
        self.fill_with(text, &FillMaskOptions::default())
    }

    /// Fills the masks of `text`, each for itself, seeing the others as masks.
    ///
    /// # Errors
    /// `InvalidArgument` for a text without a mask, `top_k` of 0, or a target that is no token of the vocabulary;
    /// `OutOfRange` where every mask is in what was cut off; `Cancelled` and `DeadlineExceeded` as the options
    /// ask; those of `Tokenizer::encode`.
    pub fn fill_with(&self, text: &str, options: &FillMaskOptions) -> Result<MaskFill> {
        self.fill_batch_with(&[text], options)?
            .pop()
            .ok_or_else(|| Error::internal("a run without an answer"))
    }

    /// Fills the masks of all of `texts`, in their order; each answer is, bit for bit, the one that the text gets
    /// alone.
    ///
    /// # Errors
    /// As [`fill_with`](Self::fill_with); there are no partial results.
    pub fn fill_batch_with(&self, texts: &[&str], options: &FillMaskOptions) -> Result<Vec<MaskFill>> {
        self.session.observe(texts.len(), |model, head| self.answer(model, head, texts, options))
    }

    fn answer(
        &self,
        model: &Model,
        head: &FillMaskHead,
        texts: &[&str],
        options: &FillMaskOptions,
    ) -> Result<Vec<MaskFill>> {
        options.call.check()?;
        let (stop, tokenizer) = (options.call.stop(), model.tokenizer()?);
        if options.top_k == 0 {
            return Err(Error::invalid("`top_k` is 0: ask for at least one candidate"));
        }
        let targets = decode::targets(tokenizer, head, &options.targets)?;
        let length = [options.max_length, head.max_length].into_iter().flatten();
        let encode = EncodeOptions {
            max_length: length.fold(model.info().max_length, usize::min),
            truncation: options.truncation,
            ..EncodeOptions::default()
        };
        let mut encodings: Vec<Masked> = vec![];
        for (i, text) in texts.iter().enumerate() {
            stop.check()?;
            let e = tokenizer.encode(text, None, &encode)?;
            let masks = mask_places(tokenizer, &e.ids);
            if masks.is_empty() {
                let which = if texts.len() > 1 { format!("text {i}") } else { "the text".into() };
                return Err(match e.truncated {
                    Some(_) => Error::new(
                        ErrorKind::OutOfRange,
                        format!("{which} has no mask among the {} tokens that fit: shorten it", e.len()),
                    ),
                    None => no_mask(&which, tokenizer)?,
                });
            }
            encodings.push(Masked { encoding: e, masks, shown: Span::new(0, text.len()) });
        }
        let mut answers = vec![];
        let fill = Fill { model, head, tokenizer, targets, options };
        fill.run_each(encodings.into_iter().map(Ok), |seen, masks| {
            let text = texts.get(answers.len()).copied().unwrap_or_default();
            let filled = masks.map(|m| fill.answer(text, &seen, m?)).collect::<Result<Vec<_>>>()?;
            let e = &seen.encoding;
            self.session.saw(&Seen::of(e, sureness(&filled), &[]));
            answers.push(MaskFill {
                masks: filled,
                token_count: e.len(),
                truncated: e.truncated.is_some(),
                model_version: model.info().version.clone(),
            });
            Ok(())
        })?;
        Ok(answers)
    }
}

#[cfg(test)]
mod tests;
