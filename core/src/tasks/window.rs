//! Long documents, one idea for every task: the text is read in overlapping windows, each window is answered
//! like a short text, and the answers are merged.
//!
//! Windows are tokenised, packed into runs and answered while the text is being read, so memory does not grow
//! with it (what grows is the answer, where it is a list of spans).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::session::{CallOptions, run_stream};
use crate::error::{Error, Result};
use crate::metrics::Seen;
use crate::model::Model;
use crate::text::{Afters, Encoding, Tokenizer, Window, Windows};

/// Tokens of one run over windows: it bounds scratch memory, and changes no answer.
pub(super) const TOKENS_PER_LONG_RUN: usize = 1024;

/// How a text longer than the model is read.
///
/// ```
/// use pocketbert::tasks::{LongOptions, WindowMerge};
/// use pocketbert::{ClassifyOptions, TextClassifier};
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let classifier = TextClassifier::open(path)?;
/// let book = "Call me Ishmael. ".repeat(1000);
/// let long = LongOptions { window: Some(128), merge: WindowMerge::Weighted, ..LongOptions::default() };
/// let answer = classifier.classify_long(&book, &ClassifyOptions::default(), &long)?;
/// assert!(answer.token_count > 4000 && !answer.truncated);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct LongOptions {
    /// Tokens of one window, special tokens (and a question) included. `None`: as the bundle says for the head,
    /// else the longest input that the head takes.
    pub window: Option<usize>,
    /// Tokens of the text from the start of one window to the start of the next, from 1 to what a window holds of
    /// the text. `None`: as the bundle says, if it also chose the window, else half of what a window holds.
    pub stride: Option<usize>,
    /// How one answer is made of the windows'. Tags and spans are not merged by it: of an overlap, each token is
    /// judged by the window that shows more of its surroundings, and answers of all windows compete.
    pub merge: WindowMerge,
    /// Called after each window.
    pub progress: Option<Progress>,
}

/// How class probabilities or vectors of windows become those of the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WindowMerge {
    /// The mean over the windows.
    Mean,
    /// The mean, each window weighing as many tokens as belong to it (those of an overlap belong half to either
    /// side), so that a short last window does not count for too much.
    #[default]
    Weighted,
    /// Of each label the largest value: has any part of the text this label? Probabilities do not add up to 1.
    Max,
    /// The share of windows in which the label wins (with several labels at once: passes its threshold, or one
    /// half). Not for vectors.
    Vote,
}

impl WindowMerge {
    /// All of them, by name.
    pub const ALL: [(&'static str, WindowMerge); 4] = [
        ("mean", WindowMerge::Mean),
        ("weighted", WindowMerge::Weighted),
        ("max", WindowMerge::Max),
        ("vote", WindowMerge::Vote),
    ];
}

/// How far a long text is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongProgress {
    /// Windows answered.
    pub windows: usize,
    /// Bytes of the text up to the end of the last of them (of words: how many words).
    pub done: usize,
    /// Bytes of the text (of words: how many words).
    pub total: usize,
}

/// A function that is told how far a long text is read. It runs on the calling thread, between windows, and should
/// return soon.
#[derive(Clone)]
pub struct Progress(Arc<dyn Fn(LongProgress) -> Result<()> + Send + Sync>);

impl Progress {
    /// Wraps `f`. To stop the call it trips the call's [`CancelToken`](crate::CancelToken).
    pub fn new(f: impl Fn(LongProgress) + Send + Sync + 'static) -> Progress {
        Progress::or_stop(move |p| {
            f(p);
            Ok(())
        })
    }

    /// Wraps `f`, whose error ends the call: the call fails with it.
    pub fn or_stop(f: impl Fn(LongProgress) -> Result<()> + Send + Sync + 'static) -> Progress {
        Progress(Arc::new(f))
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Progress")
    }
}

/// What is read in windows.
pub(super) enum Long<'a> {
    Text(&'a str),
    /// A question and the text that may answer it.
    Pair(&'a str, &'a str),
    /// A text and what may follow it, one of them at a time.
    Before(&'a str, &'a Afters),
    Words(&'a [&'a str]),
}

impl Long<'_> {
    fn total(&self) -> usize {
        match self {
            Long::Text(t) | Long::Pair(_, t) | Long::Before(t, _) => t.len(),
            Long::Words(w) => w.len(),
        }
    }
}

/// Of windows the size in tokens and the stride; `None`: half of what a window holds.
pub(super) type Shape = (usize, Option<usize>);

impl LongOptions {
    /// What the windows of `text` are like, as these options and the head named `head` say; `most` is the longest
    /// input.
    ///
    /// # Errors
    /// `InvalidArgument` for a window that is longer than `most`.
    pub(super) fn shape(&self, model: &Model, head: &str, most: usize, text: &Long) -> Result<Shape> {
        let heads = model.bundle().map_or(&[][..], |b| &b.manifest().heads[..]);
        let bundled = heads.iter().find(|h| h.name == head).and_then(|h| h.windowing);
        let size = self.window.or(bundled.map(|w| w.size)).unwrap_or(most);
        if size > most {
            return Err(Error::invalid(format!(
                "a window of {size} tokens is longer than head `{head}` takes: use {most} at most"
            )));
        }
        // The bundle counts the stride in tokens of the whole window; of it, special tokens may take a few.
        let pair = matches!(text, Long::Pair(..) | Long::Before(..));
        let specials = model.tokenizer()?.special_tokens(pair).unwrap_or(0);
        let bundled = bundled.filter(|_| self.window.is_none() && !pair);
        Ok((size, self.stride.or(bundled.map(|w| w.stride.min(size.saturating_sub(specials))))))
    }

    /// The windows of `text`, as these options and the head named `head` say; `most` is the longest input.
    ///
    /// # Errors
    /// `InvalidArgument` for a window that is longer than `most`, has no room, or is smaller than its stride.
    pub(super) fn windows<'a>(
        &self,
        model: &'a Model,
        head: &str,
        most: usize,
        text: &Long<'a>,
    ) -> Result<Windows<'a>> {
        open(model.tokenizer()?, self.shape(model, head, most, text)?, text)
    }

    /// Tells whoever wants to know how far the call is.
    ///
    /// # Errors
    /// That of the function that is told, which ends the call.
    pub(super) fn tell(&self, how_far: LongProgress) -> Result<()> {
        self.progress.as_ref().map_or(Ok(()), |progress| (progress.0)(how_far))
    }
}

fn open<'a>(tokenizer: &'a Tokenizer, (size, stride): Shape, text: &Long<'a>) -> Result<Windows<'a>> {
    match *text {
        Long::Text(t) => tokenizer.windows(t, None, size, stride),
        Long::Pair(q, t) => tokenizer.windows(t, Some(q), size, stride),
        Long::Before(t, afters) => tokenizer.windows_before(t, afters, size, stride),
        Long::Words(w) => tokenizer.word_windows(w, size, stride),
    }
}

impl LongOptions {
    /// Tells whoever wants to know that the `windows`th window, `w`, is answered.
    ///
    /// # Errors
    /// That of [`tell`](Self::tell).
    pub(super) fn report(&self, windows: usize, w: &Window, text: &Long) -> Result<()> {
        let total = text.total();
        let done = match (text, w.last) {
            (_, true) => total,
            (Long::Words(_), _) => w.words().end,
            _ => w.span().end,
        };
        self.tell(LongProgress { windows, done, total })
    }
}

/// What the windows of a text were.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Read {
    pub windows: usize,
    /// Tokens of the text, without special ones.
    pub text_tokens: usize,
    /// Tokens that the model read, with overlaps and special ones.
    pub run_tokens: usize,
    /// Unknown tokens of the text.
    pub unknown: usize,
}

impl Read {
    fn add(&mut self, w: &Window, tokenizer: &Tokenizer) {
        self.windows += 1;
        self.run_tokens += w.encoding.len();
        let unknown = tokenizer.unk_id();
        let own = w.encoding.ids.get(w.own.clone()).unwrap_or_default();
        self.unknown += own.iter().filter(|&&id| Some(id) == unknown).count();
        self.text_tokens = w.first + w.tokens.len();
    }

    /// What metrics may know of it.
    pub(super) fn seen<'l>(&self, confidence: Option<f32>, labels: &'l [usize]) -> Seen<'l> {
        Seen { tokens: self.run_tokens, unknown: self.unknown, truncated: false, confidence, labels }
    }
}

/// Runs `outputs` over all windows of `text`; `sink` gets each with its rows, in order.
///
/// # Errors
/// Those of [`LongOptions::windows`], [`run_stream`] and `sink`; `Cancelled` and `DeadlineExceeded` between
/// operators and between windows.
pub(super) fn run_windows(
    model: &Model,
    (head, most): (&str, usize),
    outputs: &[usize],
    text: Long<'_>,
    long: &LongOptions,
    call: &CallOptions,
    sink: impl FnMut(&Window, &[&[f32]]) -> Result<()>,
) -> Result<Read> {
    let shape = long.shape(model, head, most, &text)?;
    run_shaped(model, shape, outputs, text, long, call, sink)
}

/// [`run_windows`] with windows whose shape is known: [`LongOptions::shape`].
pub(super) fn run_shaped(
    model: &Model,
    shape: Shape,
    outputs: &[usize],
    text: Long<'_>,
    long: &LongOptions,
    call: &CallOptions,
    mut sink: impl FnMut(&Window, &[&[f32]]) -> Result<()>,
) -> Result<Read> {
    let stop = call.stop();
    let tokenizer = model.tokenizer()?;
    let checked = open(tokenizer, shape, &text)?.map(|w| {
        stop.check()?;
        w
    });
    let mut seen = Read::default();
    run_stream(model, outputs, checked, call, TOKENS_PER_LONG_RUN, |w: Window, rows| {
        sink(&w, rows)?;
        seen.add(&w, tokenizer);
        long.report(seen.windows, &w, &text)?;
        stop.check()
    })?;
    Ok(seen)
}

/// A window of one of several texts.
pub(super) struct Of {
    /// Which text.
    pub text: usize,
    pub window: Window,
}

impl Borrow<Encoding> for Of {
    fn borrow(&self) -> &Encoding {
        &self.window.encoding
    }
}

/// Runs `outputs` over the windows of several texts, packed together; `sink` gets each with its rows: text by text,
/// and of a text in order. What is read of each text comes back.
///
/// # Errors
/// As [`run_windows`].
pub(super) fn run_windows_of_all(
    model: &Model,
    (head, most): (&str, usize),
    outputs: &[usize],
    texts: &[Long<'_>],
    long: &LongOptions,
    call: &CallOptions,
    mut sink: impl FnMut(&Of, &[&[f32]]) -> Result<()>,
) -> Result<Vec<Read>> {
    let (stop, tokenizer) = (call.stop(), model.tokenizer()?);
    let windows = texts.iter().enumerate().flat_map(|(i, text)| {
        let (windows, error) = match long.windows(model, head, most, text) {
            Ok(w) => (Some(w), None),
            Err(e) => (None, Some(Err(e))),
        };
        let windows = windows.into_iter().flatten().map(move |w| w.map(|window| Of { text: i, window }));
        error.into_iter().chain(windows)
    });
    let checked = windows.map(|w| {
        stop.check()?;
        w
    });
    let mut seen = vec![Read::default(); texts.len()];
    let total = texts.iter().fold(0, |sum: usize, t| sum.saturating_add(t.total()));
    let (mut before, mut count) = (0, 0);
    run_stream(model, outputs, checked, call, TOKENS_PER_LONG_RUN, |of: Of, rows| {
        sink(&of, rows)?;
        let (w, size) = (&of.window, texts.get(of.text).map_or(0, Long::total));
        if let Some(read) = seen.get_mut(of.text) {
            read.add(w, tokenizer);
        }
        count += 1;
        let done = before + if w.last { size } else { w.span().end };
        if w.last {
            before += size;
        }
        long.tell(LongProgress { windows: count, done, total })?;
        stop.check()
    })?;
    Ok(seen)
}

/// Adds up rows of windows as a [`WindowMerge`] says: probabilities or vectors, all of one length.
///
/// Sums are in f64 from the first window to the last, so the bits are the same everywhere.
#[derive(Clone, Debug)]
pub(super) struct Merger {
    merge: WindowMerge,
    sums: Vec<f64>,
    weight: f64,
}

impl Merger {
    pub(super) fn new(merge: WindowMerge, values: usize) -> Merger {
        let start = if merge == WindowMerge::Max { f64::NEG_INFINITY } else { 0.0 };
        Merger { merge, sums: vec![start; values], weight: 0.0 }
    }

    /// The values of a window that owns `tokens` tokens; for a vote they are 0 or 1.
    pub(super) fn add(&mut self, values: impl IntoIterator<Item = f32>, tokens: usize) {
        // A text without tokens still has an answer.
        let weight = if self.merge == WindowMerge::Weighted { tokens.max(1) as f64 } else { 1.0 };
        for (sum, v) in self.sums.iter_mut().zip(values) {
            match self.merge {
                WindowMerge::Max => *sum = sum.max(f64::from(v)),
                _ => *sum += f64::from(v) * weight,
            }
        }
        self.weight += weight;
    }

    pub(super) fn finish(self) -> Vec<f32> {
        let Merger { merge, sums, weight } = self;
        let scale = if merge == WindowMerge::Max || weight == 0.0 { 1.0 } else { weight };
        sums.into_iter().map(|s| (s / scale) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_merge_as_named() {
        let rows = [([0.5f32, 0.25], 10), ([1.0, 0.0], 30)];
        let merged = |merge| {
            let mut m = Merger::new(merge, 2);
            for (r, n) in rows {
                m.add(r, n);
            }
            m.finish()
        };
        assert_eq!(merged(WindowMerge::Mean), [0.75, 0.125]);
        assert_eq!(merged(WindowMerge::Vote), [0.75, 0.125]);
        assert_eq!(merged(WindowMerge::Weighted), [0.875, 0.0625]);
        assert_eq!(merged(WindowMerge::Max), [1.0, 0.25]);
        let mut one = Merger::new(WindowMerge::Weighted, 1);
        one.add([0.5], 0);
        assert_eq!(one.finish(), [0.5]);
    }
}
