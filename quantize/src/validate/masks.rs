//! Tokens for masks.

use pocketbert::bundle::Head;
use pocketbert::{Error, Result};

use super::{Flip, Plan, SetResult, divergence, judge_hits, margin};
use crate::data::{Example, Gold};
use crate::stats;

/// Judges the best token for the first mask of every text. What is right is the first of its `answers`.
pub fn judge(
    r: &mut SetResult,
    p: &Plan,
    head: &Head,
    rows: &[Example],
    a: &[Vec<f32>],
    b: &[Vec<f32>],
) -> Result<()> {
    let t = p.model.model.tokenizer()?;
    let outputs = p.model.model.plan().outputs();
    let c = outputs.iter().find(|o| o.name == head.output).map_or(0, |o| o.channels);
    let first = |x: &[f32]| x.get(..c).filter(|x| !x.is_empty()).map(<[f32]>::to_vec);
    let token = |i: usize| t.token(i as u32).unwrap_or_else(|| i.to_string());
    r.units = rows.len();
    let (mut kls, mut right) = (vec![], vec![]);
    for ((e, x), y) in rows.iter().zip(a).zip(b) {
        let Some((x, y)) = first(x).zip(first(y)) else {
            return Err(Error::invalid(format!(
                "set `{}`: no mask in `{}` as far as it is read",
                r.name, e.text
            )));
        };
        kls.push(stats::kl(&x, &y));
        let (m, n) = (stats::argmax(&x), stats::argmax(&y));
        let gold = match &e.gold {
            Gold::Answers(g) => g.first().cloned(),
            _ => None,
        };
        let id = gold.as_deref().and_then(|g| t.token_id(g)).map(|i| i as usize);
        right.push((Some(m) == id, Some(n) == id));
        let flip =
            Flip { text: e.text.clone(), reference: token(m), model: token(n), gold, margin: margin(&x) };
        if m != n {
            r.flips += 1;
            r.examples.push(flip.clone());
        }
        r.nearest.push(flip);
    }
    divergence(r, p.seed, kls);
    judge_hits(&mut r.quality, "first token right", &right, p.seed);
    // A token is no label: these texts are not pooled with those that have one.
    r.kls.clear();
    Ok(())
}
