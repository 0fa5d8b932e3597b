//! Answers that a paragraph gives to a question.

use pocketbert::text::Encoding;

use super::{Flip, Plan, SetResult, judge_hits};
use crate::data::{Example, Gold};

/// Longest answer in tokens.
const LONGEST_ANSWER: usize = 30;

/// The best answer: first and last token, and the sum of their scores less that of the next best.
struct Best {
    first: usize,
    last: usize,
    margin: f64,
}

/// The best answer inside the second text.
fn best_span(logits: &[f32], e: &Encoding) -> Best {
    let inside: Vec<usize> = (0..e.ids.len()).filter(|&i| e.sequence_ids[i] == Some(1)).collect();
    let (mut best, mut second, mut at) = (f32::NEG_INFINITY, f32::NEG_INFINITY, (0, 0));
    let Some((&lo, &hi)) = inside.first().zip(inside.last()) else {
        return Best { first: 0, last: 0, margin: 0.0 };
    };
    for i in lo..=hi {
        for j in i..=hi.min(i + LONGEST_ANSWER - 1) {
            let s = logits[2 * i] + logits[2 * j + 1];
            if s > best {
                (second, best, at) = (best, s, (i, j));
            } else if s > second {
                second = s;
            }
        }
    }
    let margin = if second.is_finite() { f64::from(best - second) } else { 0.0 };
    Best { first: at.0, last: at.1, margin }
}

/// As SQuAD's own script compares: lower case, no punctuation, no articles, single spaces.
fn plain(text: &str) -> String {
    let text: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    let words: Vec<&str> = text.split_whitespace().filter(|w| !["a", "an", "the"].contains(w)).collect();
    words.join(" ")
}

/// Judges the answer strings that the raw outputs `a` and `b` give to the questions `rows`.
pub fn judge(
    r: &mut SetResult,
    p: &Plan,
    rows: &[Example],
    encodings: &[Encoding],
    a: &[Vec<f32>],
    b: &[Vec<f32>],
) {
    r.units = rows.len();
    let mut right: Vec<(bool, bool)> = vec![];
    for ((row, e), (x, y)) in rows.iter().zip(encodings).zip(a.iter().zip(b)) {
        let context = row.pair.as_deref().unwrap_or("");
        let text = |best: &Best| -> String {
            let (from, to) = (e.offsets[best.first].start, e.offsets[best.last].end);
            context.get(from..to).unwrap_or("").to_string()
        };
        let (best, other) = (best_span(x, e), best_span(y, e));
        let gold = match &row.gold {
            Gold::Answers(g) => g.clone(),
            _ => vec![],
        };
        let hit = |s: &str| gold.iter().any(|g| plain(g) == plain(s));
        let flip = Flip {
            text: row.text.clone(),
            reference: text(&best),
            model: text(&other),
            gold: gold.first().cloned(),
            margin: best.margin,
        };
        right.push((hit(&flip.reference), hit(&flip.model)));
        if flip.reference != flip.model {
            r.flips += 1;
            r.examples.push(flip.clone());
        }
        r.nearest.push(flip);
    }
    judge_hits(&mut r.quality, "exact match", &right, p.seed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_compared_as_in_squad() {
        assert_eq!(plain("The  Eiffel Tower, a  view!"), "eiffel tower view");
        assert_ne!(plain("42"), plain("24"));
    }
}
