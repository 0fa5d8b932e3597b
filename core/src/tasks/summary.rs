//! [`Summarizer`]: the sentences that say most of a text, picked, not written.

use std::path::Path;
use std::sync::Arc;

use super::embed::{EmbedOptions, TextEmbedder};
use super::session::CallOptions;
use super::vector::Embedding;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::text::{Span, SpanMapper, sentences};

/// The most sentences of a text: every one is compared with every other.
pub const MAX_SENTENCES: usize = 1000;

/// How sentences are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Centrality {
    /// Those nearest to the mean of all sentence vectors (Radev et al. 2000).
    #[default]
    Centroid,
    /// Those that a random walk over similar sentences visits most often: continuous LexRank (Erkan and Radev 2004)
    /// with a damping of 0.85.
    LexRank,
    /// The first ones: the baseline that news is written for. Runs no model.
    Lead,
}

impl Centrality {
    /// All of them, by name.
    pub const ALL: [(&'static str, Centrality); 3] =
        [("centroid", Centrality::Centroid), ("lexrank", Centrality::LexRank), ("lead", Centrality::Lead)];
}

/// How to summarize.
#[derive(Clone, Debug)]
pub struct SummaryOptions {
    /// How many sentences to keep, at least 1.
    pub sentences: usize,
    /// How they are chosen.
    pub centrality: Centrality,
    /// Threads, kernels, cancellation, deadline.
    pub call: CallOptions,
}

impl Default for SummaryOptions {
    /// Three sentences.
    fn default() -> Self {
        SummaryOptions { sentences: 3, centrality: Centrality::default(), call: CallOptions::default() }
    }
}

/// A sentence of a summary.
#[derive(Clone, Debug, PartialEq)]
pub struct SummarySentence {
    /// Its number in the text, from 0.
    pub index: usize,
    /// How central it is; comparable within one text only.
    pub score: f32,
    /// Where it is, in bytes.
    pub bytes: Span,
    /// The same in characters (code points).
    pub chars: Span,
    /// The same in UTF-16 code units.
    pub utf16: Span,
}

/// The chosen sentences, in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The sentences.
    pub sentences: Vec<SummarySentence>,
    /// How many the text has.
    pub of: usize,
}

/// Picks the sentences of a text that stand for it best, by their vectors.
///
/// ```
/// use pocketbert::tasks::{Summarizer, SummaryOptions};
/// # fn main() -> pocketbert::Result<()> {
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");
/// let summarizer = Summarizer::open(path)?;
/// let text = "It rains in Rome. It rains a lot in Rome today. My cat sleeps.";
/// let summary = summarizer.summarize(text, &SummaryOptions { sentences: 1, ..SummaryOptions::default() })?;
/// assert_eq!(summary.of, 3);
/// println!("{:?}", summary.sentences[0].bytes.of(text));
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Summarizer {
    embedder: TextEmbedder,
}

impl Summarizer {
    /// Opens the model at `path` and takes its default embedding head.
    ///
    /// # Errors
    /// Those of [`TextEmbedder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Summarizer> {
        Ok(Summarizer { embedder: TextEmbedder::open(path)? })
    }

    /// One on a model that is open already.
    pub fn from_model(model: Arc<Model>, head: Option<&str>) -> Result<Summarizer> {
        Ok(Summarizer { embedder: TextEmbedder::from_model(model, head)? })
    }

    /// What makes the vectors: its state and metrics are this object's.
    pub fn embedder(&self) -> &TextEmbedder {
        &self.embedder
    }

    /// Picks `options.sentences` sentences, or all where there are no more. A sentence that is too long for the
    /// model is judged by its start. A text without sentences has an empty summary.
    ///
    /// # Errors
    /// `InvalidArgument` for 0 sentences, `ResourceExhausted` for a text of more than [`MAX_SENTENCES`], those of
    /// [`TextEmbedder::embed_with`].
    pub fn summarize(&self, text: &str, options: &SummaryOptions) -> Result<Summary> {
        if options.sentences == 0 {
            return Err(Error::invalid("`sentences` is 0: ask for at least one"));
        }
        let spans = sentences(text);
        if spans.len() > MAX_SENTENCES {
            return Err(Error::exhausted(format!(
                "the text has {} sentences, and at most {MAX_SENTENCES} are compared: summarize its chapters",
                spans.len()
            )));
        }
        let scores = match options.centrality {
            Centrality::Lead => (0..spans.len()).map(|i| 1.0 / (i + 1) as f64).collect(),
            how => {
                let parts: Vec<&str> = spans.iter().filter_map(|s| s.of(text)).collect();
                let embed = EmbedOptions { call: options.call.clone(), ..EmbedOptions::default() };
                let vectors = self.embedder.embed_batch_with(&parts, &embed)?;
                let rows: Vec<Vec<f64>> = vectors.iter().map(unit).collect();
                if how == Centrality::LexRank { lexrank(&rows) } else { centroid(&rows) }
            }
        };
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
        order.truncate(options.sentences);
        order.sort_unstable();
        let map = SpanMapper::new(text);
        let pick = |i: usize| SummarySentence {
            index: i,
            score: scores[i] as f32,
            bytes: spans[i],
            chars: map.chars(spans[i]),
            utf16: map.utf16(spans[i]),
        };
        Ok(Summary { sentences: order.into_iter().map(pick).collect(), of: spans.len() })
    }
}

/// Sums and square roots of f64 in a fixed order: the same bits on every CPU.
fn unit(e: &Embedding) -> Vec<f64> {
    let mut v: Vec<f64> = e.values().into_iter().map(f64::from).collect();
    let length = v.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 {
        v.iter_mut().for_each(|x| *x /= length);
    }
    v
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn centroid(rows: &[Vec<f64>]) -> Vec<f64> {
    let mut mean = vec![0.0; rows.first().map_or(0, Vec::len)];
    for row in rows {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x / rows.len() as f64);
    }
    rows.iter().map(|r| dot(r, &mean)).collect()
}

fn lexrank(rows: &[Vec<f64>]) -> Vec<f64> {
    const DAMPING: f64 = 0.85;
    let n = rows.len();
    let mut links = vec![0.0; n * n];
    for i in 0..n {
        for j in 0..n {
            links[i * n + j] = if i == j { 0.0 } else { dot(&rows[i], &rows[j]).max(0.0) };
        }
        let row = &mut links[i * n..(i + 1) * n];
        let sum: f64 = row.iter().sum();
        // A sentence like no other leads everywhere alike.
        row.iter_mut().for_each(|x| *x = if sum > 0.0 { *x / sum } else { 1.0 / n as f64 });
    }
    let mut rank = vec![1.0 / n.max(1) as f64; n];
    for _ in 0..100 {
        let mut next = vec![(1.0 - DAMPING) / n as f64; n];
        for i in 0..n {
            for j in 0..n {
                next[j] += DAMPING * rank[i] * links[i * n + j];
            }
        }
        let change: f64 = next.iter().zip(&rank).map(|(a, b)| (a - b).abs()).sum();
        rank = next;
        if change < 1e-9 {
            break;
        }
    }
    rank
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn central_rows_rank_first() {
        // Three alike, one across.
        let rows = vec![vec![1.0, 0.0], vec![0.8, 0.6], vec![0.96, 0.28], vec![0.0, 1.0]];
        for scores in [centroid(&rows), lexrank(&rows)] {
            assert!(scores[3] < scores[0] && scores[2] > scores[0], "{scores:?}");
        }
        assert!((lexrank(&rows).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        assert!(lexrank(&[]).is_empty() && centroid(&[]).is_empty());
        assert_eq!(lexrank(&[vec![1.0]]).len(), 1);
    }

    #[test]
    fn summaries_are_sentences_in_order() {
        let s = Summarizer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap();
        let text = "Play some jazz 😀. Book a table in Rome! Will it rain? Add this song to my list.";
        for (name, centrality) in Centrality::ALL {
            let options = SummaryOptions { sentences: 2, centrality, ..SummaryOptions::default() };
            let got = s.summarize(text, &options).unwrap();
            assert_eq!((got.of, got.sentences.len()), (4, 2), "{name}");
            assert!(got.sentences[0].index < got.sentences[1].index);
            for part in &got.sentences {
                let slice = part.bytes.of(text).unwrap();
                assert!(slice.ends_with(['.', '!', '?']));
                let chars: String = text.chars().skip(part.chars.start).take(part.chars.len()).collect();
                assert_eq!(chars, slice);
            }
            if centrality == Centrality::Lead {
                assert_eq!(got.sentences[1].index, 1);
            }
            assert!(s.summarize("", &options).unwrap().sentences.is_empty());
        }
        let none = SummaryOptions { sentences: 0, ..SummaryOptions::default() };
        assert_eq!(s.summarize(text, &none).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let many = "It rains. ".repeat(MAX_SENTENCES + 1);
        let e = s.summarize(&many, &SummaryOptions::default()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ResourceExhausted);
    }
}
