//! Answers to texts that come one by one: read ahead a little, run together, given back in order.

use std::collections::VecDeque;

use super::analyze::{Analysis, AnalyzeOptions, Analyzer};
use super::answer::{AnswerOptions, Answers, QuestionAnswerer};
use super::classify::{Classification, ClassifyOptions, TextClassifier};
use super::embed::{EmbedOptions, TextEmbedder};
use super::fill_mask::{FillMaskOptions, MaskFill, MaskFiller};
use super::token_classify::{TagOptions, Tagged, TokenClassifier};
use super::vector::Embedding;
use super::zero_shot::{ZeroShot, ZeroShotClassifier, ZeroShotOptions};
use crate::error::{ErrorKind, Result};

/// Texts that are read ahead at most.
const TEXTS: usize = 64;
/// Bytes of them at most; a text that is longer runs alone.
const BYTES: usize = 16 << 10;

type Run<'a, T, A> = Box<dyn FnMut(&[T]) -> Result<Vec<A>> + 'a>;

/// Iterates over the answers to the texts of another iterator, in their order; see [`TextClassifier::stream`].
///
/// Up to 64 texts are read ahead and answered in one call; each answer is what the text gets alone, bit for bit. An
/// error belongs to one text, and those after it are still answered; only a call that was cancelled or ran out of
/// time ends the iterator (with that error).
pub struct Stream<'a, I: Iterator, A> {
    items: Option<I>,
    run: Run<'a, I::Item, A>,
    size: fn(&I::Item) -> usize,
    ahead: usize,
    /// Whether the next text is there already; where there is none, it is.
    there: Option<Box<dyn FnMut() -> bool + 'a>>,
    ready: VecDeque<Result<A>>,
}

impl<I: Iterator, A> std::fmt::Debug for Stream<'_, I, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream({} answers ready)", self.ready.len())
    }
}

impl<'a, I: Iterator, A> Stream<'a, I, A> {
    pub(crate) fn new(items: I, size: fn(&I::Item) -> usize, run: Run<'a, I::Item, A>) -> Stream<'a, I, A> {
        Stream { items: Some(items), run, size, ahead: TEXTS, there: None, ready: VecDeque::new() }
    }

    /// Reads at most `texts` ahead (at least one): 1 answers each text as soon as it comes, for a source that waits
    /// for answers, such as a chat.
    pub fn at_most(mut self, texts: usize) -> Self {
        self.ahead = texts.max(1);
        self
    }

    /// Does not wait for a text while others could be answered: `there` says whether the next one is there.
    #[cfg(feature = "cli")]
    pub(crate) fn while_there(mut self, there: impl FnMut() -> bool + 'a) -> Self {
        self.there = Some(Box::new(there));
        self
    }

    fn fill(&mut self) {
        let Some(items) = &mut self.items else { return };
        let mut batch = vec![];
        let mut bytes = 0usize;
        while batch.len() < self.ahead && bytes < BYTES {
            if !batch.is_empty() && self.there.as_mut().is_some_and(|there| !there()) {
                break;
            }
            let Some(item) = items.next() else {
                self.items = None;
                break;
            };
            bytes = bytes.saturating_add((self.size)(&item));
            batch.push(item);
        }
        if batch.is_empty() {
            return;
        }
        match (self.run)(&batch) {
            Ok(answers) => self.ready.extend(answers.into_iter().map(Ok)),
            Err(e) if batch.len() == 1 => self.push_error(e),
            // One of them is at fault: the others have answers.
            Err(_) => {
                for item in batch.chunks(1) {
                    match (self.run)(item) {
                        Ok(answers) => self.ready.extend(answers.into_iter().map(Ok)),
                        Err(e) => self.push_error(e),
                    }
                    if self.items.is_none() && self.ready.back().is_some_and(stops) {
                        break;
                    }
                }
            }
        }
    }

    fn push_error(&mut self, e: crate::error::Error) {
        let e = Err(e);
        if stops(&e) {
            self.items = None;
        }
        self.ready.push_back(e);
    }
}

fn stops<A>(r: &Result<A>) -> bool {
    r.as_ref().err().is_some_and(|e| matches!(e.kind(), ErrorKind::Cancelled | ErrorKind::DeadlineExceeded))
}

impl<I: Iterator, A> Iterator for Stream<'_, I, A> {
    type Item = Result<A>;

    fn next(&mut self) -> Option<Result<A>> {
        if self.ready.is_empty() {
            self.fill();
        }
        self.ready.pop_front()
    }
}

fn strs<T: AsRef<str>>(items: &[T]) -> Vec<&str> {
    items.iter().map(AsRef::as_ref).collect()
}

impl TextClassifier {
    /// Classifies texts as they come from an iterator, such as the lines of a file.
    ///
    /// ```
    /// use pocketbert::{ClassifyOptions, TextClassifier};
    /// # fn main() -> pocketbert::Result<()> {
    /// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
    /// let classifier = TextClassifier::open(path)?;
    /// let lines = "play some jazz\nwill it rain".lines();
    /// for answer in classifier.stream(lines, &ClassifyOptions::default()) {
    ///     println!("{}", answer?.labels[0].label);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn stream<'a, I>(
        &'a self,
        texts: I,
        options: &'a ClassifyOptions,
    ) -> Stream<'a, I::IntoIter, Classification>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.classify_batch_with(&strs(items), options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl TokenClassifier {
    /// Tags texts as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I>(&'a self, texts: I, options: &'a TagOptions) -> Stream<'a, I::IntoIter, Tagged>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.tag_batch_with(&strs(items), options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl TextEmbedder {
    /// Embeds texts as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I>(&'a self, texts: I, options: &'a EmbedOptions) -> Stream<'a, I::IntoIter, Embedding>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.embed_batch_with(&strs(items), options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl MaskFiller {
    /// Fills the masks of texts as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I>(
        &'a self,
        texts: I,
        options: &'a FillMaskOptions,
    ) -> Stream<'a, I::IntoIter, MaskFill>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.fill_batch_with(&strs(items), options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl ZeroShotClassifier {
    /// Classifies texts as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I>(
        &'a self,
        texts: I,
        labels: &'a [&'a str],
        options: &'a ZeroShotOptions,
    ) -> Stream<'a, I::IntoIter, ZeroShot>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.classify_batch_with(&strs(items), labels, options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl Analyzer {
    /// Analyzes texts as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I>(&'a self, texts: I, options: &'a AnalyzeOptions) -> Stream<'a, I::IntoIter, Analysis>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let run = move |items: &[I::Item]| self.analyze_batch_with(&strs(items), options);
        Stream::new(texts.into_iter(), |t| t.as_ref().len(), Box::new(run))
    }
}

impl QuestionAnswerer {
    /// Answers pairs of question and context as they come from an iterator: see [`TextClassifier::stream`].
    pub fn stream<'a, I, Q, C>(
        &'a self,
        pairs: I,
        options: &'a AnswerOptions,
    ) -> Stream<'a, I::IntoIter, Answers>
    where
        I: IntoIterator<Item = (Q, C)>,
        Q: AsRef<str>,
        C: AsRef<str>,
    {
        let run = move |items: &[(Q, C)]| {
            let pairs: Vec<(&str, &str)> = items.iter().map(|(q, c)| (q.as_ref(), c.as_ref())).collect();
            self.answer_batch_with(&pairs, options)
        };
        Stream::new(pairs.into_iter(), |(q, c)| q.as_ref().len() + c.as_ref().len(), Box::new(run))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::CancelToken;
    use crate::error::Error;
    use crate::tasks::CallOptions;
    use std::cell::Cell;

    #[test]
    fn answers_come_in_order_and_little_is_read_ahead() {
        let read = Cell::new(0);
        let calls = Cell::new(0);
        let items = (0..200usize).inspect(|i| read.set(i + 1));
        let run = |batch: &[usize]| {
            calls.set(calls.get() + 1);
            Ok(batch.to_vec())
        };
        let mut s = Stream::new(items, |_| 100, Box::new(run));
        assert_eq!(s.next().unwrap().unwrap(), 0);
        assert_eq!(read.get(), TEXTS);
        let rest: Vec<usize> = s.map(|a| a.unwrap()).collect();
        assert_eq!(rest, (1..200).collect::<Vec<_>>());
        assert_eq!(calls.get(), 4);
        // By bytes, and one by one.
        let run = |batch: &[usize]| Ok(vec![batch.len(); batch.len()]);
        let mut s = Stream::new(0..9usize, |_| BYTES / 2, Box::new(run));
        assert_eq!(s.next().unwrap().unwrap(), 2);
        let mut s = Stream::new(0..9usize, |_| 1, Box::new(run)).at_most(0);
        assert_eq!(s.next().unwrap().unwrap(), 1);
    }

    #[cfg(feature = "cli")]
    #[test]
    fn nobody_waits_for_a_text_that_is_not_there() {
        let read = Cell::new(0);
        let items = (0..10usize).inspect(|i| read.set(i + 1));
        let run = |batch: &[usize]| Ok(vec![batch.len(); batch.len()]);
        let s = Stream::new(items, |_| 1, Box::new(run)).while_there(|| !read.get().is_multiple_of(4));
        assert_eq!(s.map(|a| a.unwrap()).collect::<Vec<_>>(), [4, 4, 4, 4, 4, 4, 4, 4, 2, 2]);
    }

    #[test]
    fn an_error_belongs_to_its_text_and_a_stop_to_all() {
        let run = |kind: ErrorKind| {
            move |batch: &[usize]| match batch.contains(&3) {
                true => Err(Error::new(kind, "three")),
                false => Ok(batch.to_vec()),
            }
        };
        let all = |kind| {
            let s = Stream::new(0..6usize, |_| 1, Box::new(run(kind)));
            s.map(|r| r.map_err(|e| e.kind())).collect::<Vec<_>>()
        };
        let bad = ErrorKind::OutOfRange;
        assert_eq!(all(bad), [Ok(0), Ok(1), Ok(2), Err(bad), Ok(4), Ok(5)]);
        let stop = ErrorKind::Cancelled;
        assert_eq!(all(stop), [Ok(0), Ok(1), Ok(2), Err(stop)]);
    }

    #[test]
    fn a_stream_of_texts_is_their_single_answers() {
        let c = TextClassifier::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap();
        let texts: Vec<String> = (0..70).map(|i| "play some jazz ".repeat(i % 9)).collect();
        let options = ClassifyOptions::default();
        for (text, answer) in texts.iter().zip(c.stream(&texts, &options)) {
            assert_eq!(answer.unwrap(), c.classify(text).unwrap());
        }
        assert_eq!(c.stream(&texts, &options).count(), 70);
        let m = c.model().unwrap();
        let z = ZeroShotClassifier::from_model(m.clone(), None).unwrap();
        let (labels, options) = (["music", "weather"], ZeroShotOptions::default());
        for (text, answer) in texts.iter().zip(z.stream(&texts[..12], &labels, &options)) {
            assert_eq!(answer.unwrap(), z.classify(text, &labels).unwrap());
        }
        let a = Analyzer::from_model(m.clone()).unwrap();
        let options = AnalyzeOptions::default();
        for (text, answer) in texts.iter().zip(a.stream(&texts, &options)) {
            assert_eq!(answer.unwrap(), a.analyze(text).unwrap());
        }
        // The fifth text has no mask: an error of its own.
        let f = MaskFiller::from_model(m.clone(), None).unwrap();
        let masks: Vec<String> = texts
            .iter()
            .enumerate()
            .map(|(i, t)| if i == 4 { t.clone() } else { format!("{t}[MASK]") })
            .collect();
        for (i, answer) in f.stream(&masks, &FillMaskOptions::default()).enumerate() {
            assert_eq!(answer.ok(), f.fill(&masks[i]).ok());
        }
        let cancel = CancelToken::new();
        cancel.cancel();
        let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
        let stopped = ClassifyOptions { call, ..ClassifyOptions::default() };
        let all: Vec<_> = c.stream(["a", "b", "c"], &stopped).collect();
        assert_eq!(all.len(), 1);
    }
}
