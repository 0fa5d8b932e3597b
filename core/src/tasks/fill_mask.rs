//! [`MaskFiller`]: which tokens fit where a text has a mask.

use std::path::Path;
use std::sync::Arc;

use super::load::LoadState;
use super::locate::{self, Located};
use super::observe::{StageClock, TaskHead};
use super::session::{CallOptions, Session};
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{Isa, math, with_default_float_env};
use crate::metrics::{Metrics, Seen};
use crate::model::record::mask_places;
use crate::model::{Batch, Model, OpenOptions, OutputInfo, RunOptions};
use crate::text::{EncodeOptions, Encoding, Span, Tokenizer, Truncation};

/// Scores that one run computes at most (64 MiB), where texts can be split over runs.
const VALUES_PER_RUN: usize = 1 << 24;

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
    /// The text with this mask replaced; other masks stay.
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
    /// ask; those of [`Tokenizer::encode`].
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
        let targets = targets(tokenizer, head, &options.targets)?;
        let length = [options.max_length, head.max_length].into_iter().flatten();
        let encode = EncodeOptions {
            max_length: length.fold(model.info().max_length, usize::min),
            truncation: options.truncation,
            ..EncodeOptions::default()
        };
        let mut encodings: Vec<(Encoding, Vec<i64>)> = vec![];
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
                    None => Error::invalid(format!(
                        "{which} has no mask: write `{}` where a token is missing",
                        mask_token(tokenizer)?
                    )),
                });
            }
            encodings.push((e, masks));
        }
        let mut answers = vec![];
        let mut next = 0;
        while next < texts.len() {
            stop.check()?;
            let (count, batch) = pack(&encodings[next..], head);
            let run = RunOptions {
                isa: options.call.kernel.unwrap_or_else(Isa::best),
                threads: options.call.threads.max(1),
                stop: stop.clone(),
                stats: None,
            };
            let mut clock = StageClock::start();
            let outputs = model.plan().run(&batch, &[head.index], run)?;
            clock.ran();
            let output = outputs.first().ok_or_else(|| Error::internal("a run without an output"))?;
            let picks = batch.picks.unwrap_or_default();
            // The row of each mask: its place among the picks, or its token.
            let mut rows = picks.iter().enumerate().map(|(i, &p)| if head.picked { i } else { p as usize });
            for (text, (e, masks)) in texts[next..next + count].iter().zip(&encodings[next..]) {
                let mut filled = vec![];
                for &m in masks {
                    let row = rows.next().and_then(|r| output.data.chunks_exact(head.vocab).nth(r));
                    let row = row.ok_or_else(|| Error::internal("fewer rows than masks"))?;
                    let span = e.offsets.get(m as usize).copied().unwrap_or_default();
                    let candidates = candidates(row, head, tokenizer, &targets, options.top_k, text, span)?;
                    filled.push(FilledMask { span, candidates });
                }
                let best = filled.first().and_then(|m| Some(m.candidates.first()?.probability));
                self.session.saw(&Seen::of(e, best, &[]));
                answers.push(MaskFill {
                    masks: filled,
                    token_count: e.len(),
                    truncated: e.truncated.is_some(),
                    model_version: model.info().version.clone(),
                });
            }
            clock.decoded();
            next += count;
        }
        Ok(answers)
    }
}

fn mask_token(t: &Tokenizer) -> Result<String> {
    t.mask_id()
        .and_then(|id| t.token(id))
        .ok_or_else(|| Error::internal("the mask token was checked to exist"))
}

/// The first encodings, as many as go into one run, and the run's input with the masks picked.
fn pack(encodings: &[(Encoding, Vec<i64>)], head: &FillMaskHead) -> (usize, Batch) {
    let mut batch = Batch::new();
    let (mut picks, mut rows, mut count) = (vec![], 0, 0);
    for (e, masks) in encodings {
        let more = if head.picked { masks.len() } else { e.len() };
        let tokens = batch.ids.len() + e.len();
        let full = tokens > super::session::TOKENS_PER_RUN
            || (rows + more).saturating_mul(head.vocab) > VALUES_PER_RUN;
        if count > 0 && full {
            break;
        }
        let first = batch.ids.len() as i64;
        picks.extend(masks.iter().map(|m| first + m));
        let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
        batch.push(e.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
        rows += more;
        count += 1;
    }
    batch.picks = Some(picks);
    (count, batch)
}

/// The ids of the targets.
fn targets(t: &Tokenizer, head: &FillMaskHead, wanted: &[String]) -> Result<Vec<u32>> {
    let id = |w: &String| {
        t.token_id(w).filter(|&id| (id as usize) < head.vocab).ok_or_else(|| {
            Error::invalid(format!(
                "target `{w}` is no token of the vocabulary: `tokenize` shows how a word is split"
            ))
        })
    };
    wanted.iter().map(id).collect()
}

fn candidates(
    logits: &[f32],
    head: &FillMaskHead,
    tokenizer: &Tokenizer,
    targets: &[u32],
    top_k: usize,
    text: &str,
    span: Span,
) -> Result<Vec<Candidate>> {
    let mut max = f32::NEG_INFINITY;
    for &x in logits {
        if !x.is_finite() {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("head `{}` gave a score that is not finite: the model's weights overflow", head.name),
            ));
        }
        max = max.max(x);
    }
    let mut best: Vec<u32> = match targets {
        [] => (0..logits.len() as u32).filter(|&id| tokenizer.token(id).is_some()).collect(),
        t => t.to_vec(),
    };
    let order = |a: &u32, b: &u32| {
        let at = |id: &u32| logits.get(*id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        at(b).total_cmp(&at(a)).then(a.cmp(b))
    };
    if best.len() > top_k {
        best.select_nth_unstable_by(top_k, order);
        best.truncate(top_k);
    }
    best.sort_by(order);
    best.dedup();
    // Exponentials in f32 by our own function, summed in f64 from the first to the last: 30,000 addends in f32 would
    // cost two digits.
    let exp = |x: f32| math::exp((x - max) / head.temperature);
    let sum: f64 = with_default_float_env(|| logits.iter().map(|&x| f64::from(exp(x))).sum());
    let one = |id: u32| {
        let logit = logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
        let probability = with_default_float_env(|| (f64::from(exp(logit)) / sum) as f32);
        let token = tokenizer.token(id).unwrap_or_default();
        Candidate { filled: fill(text, span, &token), token, id, probability, logit }
    };
    Ok(best.into_iter().map(one).collect())
}

/// `text` with `token` in place of `span`; what WordPiece marks as going on a word is joined to it.
fn fill(text: &str, span: Span, token: &str) -> String {
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.end..).unwrap_or_default();
    match token.strip_prefix("##") {
        Some(rest) => format!("{}{rest}{after}", before.trim_end()),
        // Byte-level BPE writes a space before a word as `Ġ`, SentencePiece as `▁`.
        None => format!("{before}{}{after}", token.trim_start_matches(['Ġ', '▁'])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

    #[test]
    fn tokens_take_the_place_of_the_mask() {
        let text = "naïve [MASK] end";
        let span = Span::new(7, 13);
        assert_eq!(fill(text, span, "word"), "naïve word end");
        assert_eq!(fill(text, span, "##ly"), "naïvely end");
        assert_eq!(fill(text, span, "Ġword"), "naïve word end");
    }

    #[test]
    fn masks_are_filled_from_the_whole_vocabulary() {
        let f = MaskFiller::open(TINY).unwrap();
        let text = "what will the [MASK] be like in 東京 [MASK] tomorrow";
        let a = f.fill(text).unwrap();
        let spans: Vec<&str> = a.masks.iter().filter_map(|m| m.span.of(text)).collect();
        assert_eq!(spans, ["[MASK]", "[MASK]"]);
        for m in &a.masks {
            assert!(m.candidates.is_sorted_by(|a, b| a.probability >= b.probability));
            assert!(m.candidates.iter().map(|c| c.probability).sum::<f32>() <= 1.0);
        }
        assert_eq!(a.masks[0].candidates[0].token, "weather");
        assert!(a.masks[0].candidates[0].filled.starts_with("what will the weather be like in 東京 [MASK]"));
        let all = FillMaskOptions { top_k: 100_000, ..FillMaskOptions::default() };
        let all = f.fill_with("play [MASK]", &all).unwrap();
        let sum: f64 = all.masks[0].candidates.iter().map(|c| f64::from(c.probability)).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        let some =
            FillMaskOptions { targets: vec!["rain".into(), "music".into()], ..FillMaskOptions::default() };
        let some = f.fill_with("play [MASK]", &some).unwrap();
        assert_eq!(some.masks[0].candidates.len(), 2);
        for c in &some.masks[0].candidates {
            assert!(all.masks[0].candidates.contains(c));
        }
    }

    #[test]
    fn batches_equal_single_calls_whatever_is_packed_together() {
        let f = MaskFiller::open(TINY).unwrap();
        let text = |i: usize| {
            format!("{} [MASK] {} [MASK]", "play some music ".repeat(i % 9), "by me".repeat(i % 4))
        };
        let texts: Vec<String> = (0..40).map(text).collect();
        let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
        for threads in [1, 3] {
            let call = CallOptions { threads, ..CallOptions::default() };
            let options = FillMaskOptions { call, ..FillMaskOptions::default() };
            let all = f.fill_batch_with(&refs, &options).unwrap();
            for (text, a) in refs.iter().zip(&all) {
                assert_eq!(a, &f.fill(text).unwrap());
            }
        }
        assert!(f.fill_batch_with(&[], &FillMaskOptions::default()).unwrap().is_empty());
    }

    #[test]
    fn every_kernel_gives_the_same_candidates() {
        let f = MaskFiller::open(TINY).unwrap();
        let with = |kernel| {
            let call = CallOptions { kernel: Some(kernel), ..CallOptions::default() };
            f.fill_with("add it to my [MASK]", &FillMaskOptions { call, ..FillMaskOptions::default() })
                .unwrap()
        };
        let first = with(Isa::Generic);
        assert!(Isa::available().into_iter().all(|isa| with(isa) == first));
    }

    #[test]
    fn texts_without_a_mask_and_bad_options_are_errors() {
        let f = MaskFiller::open(TINY).unwrap();
        let default = FillMaskOptions::default;
        let kind = |text: &str, o: &FillMaskOptions| f.fill_with(text, o).unwrap_err().kind();
        assert_eq!(kind("nothing is missing", &default()), ErrorKind::InvalidArgument);
        assert_eq!(kind("", &default()), ErrorKind::InvalidArgument);
        let far = format!("{}[MASK]", "word ".repeat(600));
        assert_eq!(kind(&far, &default()), ErrorKind::OutOfRange);
        assert_eq!(kind("[MASK]", &FillMaskOptions { top_k: 0, ..default() }), ErrorKind::InvalidArgument);
        let target = FillMaskOptions { targets: vec!["no such token".into()], ..default() };
        assert_eq!(kind("[MASK]", &target), ErrorKind::InvalidArgument);
        let cancel = CancelToken::new();
        cancel.cancel();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        assert_eq!(kind("[MASK]", &FillMaskOptions { call, ..default() }), ErrorKind::Cancelled);
        let e = MaskFiller::from_model(f.model().unwrap().clone(), Some("intent")).unwrap_err();
        assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains("`fill_mask`"), "{e}");
    }
}
