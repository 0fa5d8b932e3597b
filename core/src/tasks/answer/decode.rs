//! Start and end scores of one window to candidate answers.

use super::AnswerOptions;
use crate::error::{Error, ErrorKind, Result};
use crate::tasks::score::probabilities;
use crate::text::{Span, Window};

/// A candidate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Found {
    pub bytes: Span,
    pub logit: f32,
    pub score: f32,
}

/// Scores of the context's tokens in one window.
pub(super) struct Scores {
    start: Vec<f32>,
    end: Vec<f32>,
    /// Softmax over the null token and the context's.
    start_p: Vec<f32>,
    end_p: Vec<f32>,
    pub null_logit: f32,
    pub null_score: f32,
}

impl Scores {
    /// Of `rows`: one output with two values per token, or two with one.
    pub(super) fn new(head: &str, rows: &[&[f32]], w: &Window) -> Result<Scores> {
        let n = w.encoding.len();
        let (start, end): (Vec<f32>, Vec<f32>) = match rows {
            [both] => both.chunks_exact(2).map(|p| (p[0], p[1])).unzip(),
            [s, e] => (s.to_vec(), e.to_vec()),
            _ => (vec![], vec![]),
        };
        if start.len() != n || end.len() != n {
            return Err(Error::internal(format!("head `{head}` gave another number of scores than tokens")));
        }
        if start.iter().chain(&end).any(|x| !x.is_finite()) {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("head `{head}` gave a score that is not finite: the model's weights overflow"),
            ));
        }
        // The null answer is the special token in front.
        let null = w.encoding.special.first().copied().unwrap_or(false).then_some(0);
        let pick = |scores: &[f32]| {
            let own: Vec<f32> = scores.get(w.tokens.clone()).unwrap_or_default().to_vec();
            let all: Vec<f32> =
                null.and_then(|i| scores.get(i)).copied().into_iter().chain(own.iter().copied()).collect();
            let mut p = probabilities(&all, 1.0, false);
            let null_p = null.map(|_| p.remove(0));
            (own, p, null_p.unwrap_or(0.0))
        };
        let (own_start, start_p, null_start) = pick(&start);
        let (own_end, end_p, null_end) = pick(&end);
        let null_logit = null.map_or(f32::NEG_INFINITY, |i| start[i] + end[i]);
        Ok(Scores {
            start: own_start,
            end: own_end,
            start_p,
            end_p,
            null_logit,
            null_score: null_start * null_end,
        })
    }

    /// The best candidates that do not overlap, at most `top_k`.
    pub(super) fn best(&self, w: &Window, o: &AnswerOptions) -> Vec<Found> {
        let words = w.encoding.word_ids.get(w.tokens.clone()).unwrap_or_default();
        let spans = w.encoding.offsets.get(w.tokens.clone()).unwrap_or_default();
        let n = self.start.len().min(words.len()).min(spans.len());
        // Of each token, where its word starts and ends.
        let (mut first, mut last): (Vec<usize>, Vec<usize>) = ((0..n).collect(), (0..n).collect());
        if o.whole_words {
            for i in 1..n {
                if words[i] == words[i - 1] {
                    first[i] = first[i - 1];
                }
            }
            for i in (1..n).rev() {
                if words[i] == words[i - 1] {
                    last[i - 1] = last[i];
                }
            }
        }
        let mut found = vec![];
        let mut taken = vec![false; n];
        for _ in 0..o.top_k {
            let mut best: Option<(f32, usize, usize)> = None;
            for (s, &from) in first.iter().enumerate() {
                // Widened to words, neither end may be taken; nor anything between them.
                if (from..=s).any(|i| taken[i]) {
                    continue;
                }
                let most = n.min(s.saturating_add(o.max_tokens));
                for (e, &to) in last.iter().enumerate().take(most).skip(s) {
                    if taken[e] {
                        break;
                    }
                    let logit = self.start[s] + self.end[e];
                    if best.is_none_or(|b| logit > b.0) && !(e..=to).any(|i| taken[i]) {
                        best = Some((logit, s, e));
                    }
                }
            }
            let Some((logit, s, e)) = best else { break };
            taken[first[s]..=last[e]].fill(true);
            let bytes = Span::new(spans[first[s]].start, spans[last[e]].end.max(spans[first[s]].start));
            found.push(Found { bytes, logit, score: self.start_p[s] * self.end_p[e] });
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Encoding;

    /// `[CLS] q [SEP] a bb b c [SEP]`: tokens of one byte, `bb` and `b` one word.
    fn window() -> Window {
        let context = 3..7;
        let encoding = Encoding {
            ids: vec![0; 8],
            type_ids: vec![0; 8],
            offsets: (0..8)
                .map(|i: usize| if context.contains(&i) { Span::new(i - 3, i - 2) } else { Span::default() })
                .collect(),
            special: vec![true, false, true, false, false, false, false, true],
            word_ids: vec![None, Some(0), None, Some(0), Some(1), Some(1), Some(2), None],
            sequence_ids: vec![],
            unknown: 0,
            truncated: None,
        };
        Window { encoding, index: 0, first: 0, tokens: context.clone(), own: context, last: true }
    }

    fn scores(start: [f32; 8], end: [f32; 8]) -> Scores {
        Scores::new("h", &[&start, &end], &window()).unwrap()
    }

    fn spans(s: &Scores, o: AnswerOptions) -> Vec<(usize, usize)> {
        s.best(&window(), &o).iter().map(|f| (f.bytes.start, f.bytes.end)).collect()
    }

    #[test]
    fn answers_do_not_overlap_and_never_end_before_they_start() {
        // The question's token and [SEP] are the best of all and do not count.
        let s =
            scores([0.0, 99.0, 99.0, 1.0, 2.0, 3.0, 0.5, 99.0], [0.0, 99.0, 99.0, 4.0, 0.0, 1.0, 0.0, 99.0]);
        let o = |top_k, max_tokens, whole_words| AnswerOptions {
            top_k,
            max_tokens,
            whole_words,
            ..Default::default()
        };
        assert_eq!(spans(&s, o(1, 30, false)), [(0, 1)]);
        assert_eq!(spans(&s, o(9, 30, false)), [(0, 1), (2, 3), (1, 2), (3, 4)]);
        assert_eq!(spans(&s, o(9, 30, true)), [(0, 1), (1, 3), (3, 4)]);
        let late = scores([0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0]);
        assert_eq!(spans(&late, o(1, 4, false)), [(0, 4)]);
        assert_ne!(spans(&late, o(1, 3, false)), [(0, 4)]);
    }

    #[test]
    fn scores_are_shares_of_context_and_null() {
        let s = scores([1.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 9.0], [0.0; 8]);
        assert_eq!(s.null_logit, 1.0);
        assert!((s.null_score - 0.04).abs() < 1e-6);
        assert!(s.best(&window(), &AnswerOptions::default()).iter().all(|f| (f.score - 0.04).abs() < 1e-6));
        let both: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let one = Scores::new("h", &[&both], &window()).unwrap();
        assert_eq!((one.start, one.end), (vec![6.0, 8.0, 10.0, 12.0], vec![7.0, 9.0, 11.0, 13.0]));
        assert!(Scores::new("h", &[&both[..8]], &window()).is_err());
        let bad = [f32::NAN; 8];
        assert_eq!(
            Scores::new("h", &[&bad, &bad], &window()).err().map(|e| e.kind()),
            Some(ErrorKind::OutOfRange)
        );
    }
}
