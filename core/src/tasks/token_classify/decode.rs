//! From a row of scores per token to labelled spans, token by token, so that a text of any length needs memory
//! for one word and one span only.
//!
//! Aggregation follows Hugging Face's `TokenClassificationPipeline` (transformers 5): words are formed first
//! (`first`, `average`, `max`), then neighbours of one kind are joined, and a span's score is the mean of its
//! parts'. Unlike there, a token goes on with a word if the tokenizer says so, not if its spelling differs from
//! the text's.

use super::{Aggregation, TagScheme};
use crate::text::Span;

/// A label taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prefix {
    /// Begins a span.
    Begin,
    /// Goes on, or begins where nothing of its kind is open.
    Inside,
    /// Goes on and ends it.
    Last,
    /// Is one by itself.
    Unit,
}

/// What a decoder needs to know of a head.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    /// Of each label its prefix and where its kind is in `kinds`; `None`: outside of every span.
    parts: Vec<Option<(Prefix, usize)>>,
    kinds: Vec<String>,
    scheme: TagScheme,
}

impl Labels {
    /// `ignore`: labels and kinds that make no span.
    pub(super) fn new(labels: &[String], scheme: TagScheme, ignore: &[String]) -> Labels {
        let mut kinds: Vec<String> = vec![];
        let parts = labels.iter().map(|label| {
            let (prefix, kind) = split(label, scheme);
            if ignore.iter().any(|i| i == label || i == kind) {
                return None;
            }
            let at = kinds.iter().position(|k| k == kind).unwrap_or_else(|| {
                kinds.push(kind.to_string());
                kinds.len() - 1
            });
            Some((prefix, at))
        });
        let parts = parts.collect();
        Labels { parts, kinds, scheme }
    }
}

fn split(label: &str, scheme: TagScheme) -> (Prefix, &str) {
    let prefixes: &[(&str, Prefix)] = match scheme {
        TagScheme::None => &[],
        TagScheme::Bio | TagScheme::Iob2 => &[("B-", Prefix::Begin), ("I-", Prefix::Inside)],
        // E- and S- are other letters for L- and U-.
        TagScheme::Bilou => &[
            ("B-", Prefix::Begin),
            ("I-", Prefix::Inside),
            ("L-", Prefix::Last),
            ("E-", Prefix::Last),
            ("U-", Prefix::Unit),
            ("S-", Prefix::Unit),
        ],
    };
    let found = prefixes.iter().find_map(|&(p, kind)| Some((kind, label.strip_prefix(p)?)));
    found.filter(|(_, rest)| !rest.is_empty()).unwrap_or((Prefix::Inside, label))
}

/// The scheme that labels show: BILOU if one begins with `L-`, `U-`, `E-` or `S-` and all fit, BIO if all fit it.
pub(super) fn guess(labels: &[String]) -> TagScheme {
    let all = |prefixes: &[&str]| {
        labels.iter().all(|l| l == "O" || prefixes.iter().any(|p| l.len() > p.len() && l.starts_with(p)))
    };
    let any = |prefixes: &[&str]| labels.iter().any(|l| prefixes.iter().any(|p| l.starts_with(p)));
    if all(&["B-", "I-"]) && any(&["B-", "I-"]) {
        TagScheme::Bio
    } else if all(&["B-", "I-", "L-", "U-", "E-", "S-"]) && any(&["L-", "U-", "E-", "S-"]) {
        TagScheme::Bilou
    } else {
        TagScheme::None
    }
}

/// Where a token or word stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub bytes: Span,
    /// Number of the word.
    pub word: usize,
}

/// A labelled stretch before its bytes are turned into anything else.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub label: String,
    pub score: f32,
    pub bytes: Span,
    /// First and last word.
    pub words: (usize, usize),
}

/// A token or word with its label.
#[derive(Clone, Copy, Debug)]
struct Unit {
    place: Place,
    end_word: usize,
    label: usize,
    score: f32,
}

/// A span that may go on.
#[derive(Debug)]
struct Open {
    kind: usize,
    bytes: Span,
    words: (usize, usize),
    sum: f64,
    parts: usize,
    closed: bool,
}

pub(super) struct Decoder<'a> {
    labels: &'a Labels,
    names: &'a [String],
    how: Aggregation,
    /// Probabilities of the tokens of the word that is being read.
    word: Vec<(Place, Vec<f32>)>,
    open: Option<Open>,
    found: Vec<Found>,
}

/// The first of the largest.
fn best(p: &[f32]) -> (usize, f32) {
    let mut best = (0, p.first().copied().unwrap_or(0.0));
    for (i, &x) in p.iter().enumerate() {
        if x > best.1 {
            best = (i, x);
        }
    }
    best
}

impl<'a> Decoder<'a> {
    pub(super) fn new(labels: &'a Labels, names: &'a [String], how: Aggregation) -> Decoder<'a> {
        Decoder { labels, names, how, word: vec![], open: None, found: vec![] }
    }

    /// The next token and its probabilities.
    pub(super) fn push(&mut self, place: Place, probabilities: Vec<f32>) {
        if matches!(self.how, Aggregation::None | Aggregation::Simple) {
            let (label, score) = best(&probabilities);
            self.unit(Unit { place, end_word: place.word, label, score });
            return;
        }
        if self.word.last().is_some_and(|(p, _)| p.word != place.word) {
            self.end_word();
        }
        self.word.push((place, probabilities));
    }

    /// All spans.
    pub(super) fn finish(mut self) -> Vec<Found> {
        self.end_word();
        self.close();
        self.found
    }

    fn end_word(&mut self) {
        let tokens = std::mem::take(&mut self.word);
        let (Some((first, p)), Some((last, _))) = (tokens.first(), tokens.last()) else { return };
        let (label, score) = match self.how {
            Aggregation::Max => {
                let mut top = best(p);
                for (_, p) in &tokens {
                    let b = best(p);
                    if b.1 > top.1 {
                        top = b;
                    }
                }
                top
            }
            Aggregation::Average => {
                let mean = |label: usize| {
                    let sum: f64 =
                        tokens.iter().map(|(_, p)| p.get(label).map_or(0.0, |&x| f64::from(x))).sum();
                    (sum / tokens.len() as f64) as f32
                };
                best(&(0..p.len()).map(mean).collect::<Vec<_>>())
            }
            _ => best(p),
        };
        let bytes = Span::new(first.bytes.start, last.bytes.end.max(first.bytes.start));
        self.unit(Unit { place: Place { bytes, word: first.word }, end_word: last.word, label, score });
    }

    fn unit(&mut self, u: Unit) {
        let part = self.labels.parts.get(u.label).copied().flatten();
        if self.how == Aggregation::None {
            if part.is_some() {
                let label = self.names.get(u.label).cloned().unwrap_or_default();
                let words = (u.place.word, u.end_word);
                self.found.push(Found { label, score: u.score, bytes: u.place.bytes, words });
            }
            return;
        }
        let Some((prefix, kind)) = part else {
            self.close();
            return;
        };
        let goes_on = self.open.as_ref().is_some_and(|o| o.kind == kind && !o.closed)
            && matches!(prefix, Prefix::Inside | Prefix::Last);
        if !goes_on {
            self.close();
            if self.labels.scheme == TagScheme::Iob2 && prefix != Prefix::Begin {
                return;
            }
            let words = (u.place.word, u.end_word);
            self.open = Some(Open { kind, bytes: u.place.bytes, words, sum: 0.0, parts: 0, closed: false });
        }
        if let Some(o) = &mut self.open {
            o.bytes.end = o.bytes.end.max(u.place.bytes.end);
            o.words.1 = u.end_word;
            o.sum += f64::from(u.score);
            o.parts += 1;
            o.closed = matches!(prefix, Prefix::Last | Prefix::Unit);
        }
    }

    fn close(&mut self) {
        if let Some(o) = self.open.take() {
            let label = self.labels.kinds.get(o.kind).cloned().unwrap_or_default();
            let score = (o.sum / o.parts.max(1) as f64) as f32;
            self.found.push(Found { label, score, bytes: o.bytes, words: o.words });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| s.to_string()).collect()
    }

    /// Tokens of three bytes and a space, each with its word and the label that wins.
    fn spans(scheme: TagScheme, how: Aggregation, tokens: &[(usize, &str)]) -> Vec<(String, usize, usize)> {
        let all = names(&["O", "B-X", "I-X", "L-X", "U-X", "B-Y", "I-Y", "Z"]);
        let labels = Labels::new(&all, scheme, &names(&["O"]));
        let mut d = Decoder::new(&labels, &all, how);
        for (i, (word, label)) in tokens.iter().enumerate() {
            let p = all.iter().map(|l| if l == label { 0.9 } else { 0.1 / 7.0 }).collect();
            d.push(Place { bytes: Span::new(4 * i, 4 * i + 3), word: *word }, p);
        }
        d.finish().into_iter().map(|f| (f.label, f.bytes.start / 4, f.bytes.end / 4)).collect()
    }

    fn words(scheme: TagScheme, labels: &[&str]) -> Vec<(String, usize, usize)> {
        let tokens: Vec<(usize, &str)> = labels.iter().copied().enumerate().collect();
        spans(scheme, Aggregation::First, &tokens)
    }

    fn at(label: &str, start: usize, end: usize) -> (String, usize, usize) {
        (label.into(), start, end)
    }

    #[test]
    fn each_scheme_begins_and_ends_spans_by_its_rules() {
        use TagScheme::*;
        assert_eq!(
            words(Bio, &["B-X", "I-X", "O", "B-X", "B-X"]),
            [at("X", 0, 1), at("X", 3, 3), at("X", 4, 4)]
        );
        // An inside without a beginning begins, unless the scheme is strict.
        assert_eq!(words(Bio, &["I-X", "I-X", "I-Y"]), [at("X", 0, 1), at("Y", 2, 2)]);
        assert_eq!(words(Iob2, &["I-X", "B-X", "I-X", "I-Y", "O", "I-X"]), [at("X", 1, 2)]);
        let bilou = ["U-X", "I-X", "L-X", "L-X", "B-X", "I-Y", "L-X"];
        let want = [at("X", 0, 0), at("X", 1, 2), at("X", 3, 3), at("X", 4, 4), at("Y", 5, 5), at("X", 6, 6)];
        assert_eq!(words(Bilou, &bilou), want);
        assert_eq!(
            words(None, &["Z", "Z", "B-X", "I-X", "O"]),
            [at("Z", 0, 1), at("B-X", 2, 2), at("I-X", 3, 3)]
        );
        assert_eq!(words(Bio, &[]), []);
    }

    #[test]
    fn simple_splits_words_and_the_others_do_not() {
        use Aggregation::*;
        // The example in Hugging Face's documentation: micro|soft| com|pany|.
        let tokens = [(0, "B-X"), (0, "I-Y"), (1, "I-X"), (1, "I-X")];
        assert_eq!(spans(TagScheme::Bio, First, &tokens), [at("X", 0, 3)]);
        assert_eq!(spans(TagScheme::Bio, Simple, &tokens), [at("X", 0, 0), at("Y", 1, 1), at("X", 2, 3)]);
        let none = [at("B-X", 0, 0), at("I-Y", 1, 1), at("I-X", 2, 2), at("I-X", 3, 3)];
        assert_eq!(spans(TagScheme::Bio, None, &tokens), none);
    }

    #[test]
    fn words_take_the_first_the_mean_or_the_surest_token() {
        let all = names(&["O", "B-X", "B-Y"]);
        let labels = Labels::new(&all, TagScheme::Bio, &names(&["O"]));
        let rows = [vec![0.4f32, 0.35, 0.25], vec![0.1, 0.5, 0.4], vec![0.0, 0.1, 0.9]];
        let decode = |how| {
            let mut d = Decoder::new(&labels, &all, how);
            for (i, r) in rows.iter().enumerate() {
                d.push(Place { bytes: Span::new(i, i + 1), word: 0 }, r.clone());
            }
            d.finish()
        };
        assert_eq!(decode(Aggregation::First), []);
        let found =
            |label: &str, score| Found { label: label.into(), score, bytes: Span::new(0, 3), words: (0, 0) };
        assert_eq!(decode(Aggregation::Max), [found("Y", 0.9)]);
        let mean = ((f64::from(0.25f32) + f64::from(0.4f32) + f64::from(0.9f32)) / 3.0) as f32;
        assert_eq!(decode(Aggregation::Average), [found("Y", mean)]);
    }

    #[test]
    fn schemes_are_guessed_from_labels() {
        assert_eq!(guess(&names(&["O", "B-PER", "I-PER"])), TagScheme::Bio);
        assert_eq!(guess(&names(&["O", "I-PER"])), TagScheme::Bio);
        assert_eq!(guess(&names(&["O", "B-A", "I-A", "E-A", "S-A"])), TagScheme::Bilou);
        assert_eq!(guess(&names(&["O", "B-A", "U-A"])), TagScheme::Bilou);
        assert_eq!(guess(&names(&["NOUN", "VERB", "B-A"])), TagScheme::None);
        assert_eq!(guess(&names(&["LABEL_0", "LABEL_1"])), TagScheme::None);
        assert_eq!(guess(&[]), TagScheme::None);
    }
}
