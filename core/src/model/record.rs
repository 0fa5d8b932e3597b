//! What a bundle's self-test records of an output.

use super::plan::Output;
use crate::bundle::manifest::{SelfTestOutput, Task};
use crate::text::Tokenizer;

/// The places of mask tokens in `ids`: what a self-test, and a call that fills masks, has scored.
pub fn mask_places(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<i64> {
    let Some(mask) = tokenizer.mask_id() else { return vec![] };
    ids.iter().enumerate().filter(|(_, id)| **id == mask).map(|(i, _)| i as i64).collect()
}

/// Output `o` of a run of one sequence of `tokens` tokens, as a self-test case has it for a head of `task`.
///
/// A head that fills masks has a vocabulary of values per token; of those only the rows of `masks` are
/// recorded, and nothing (`None`) where there are none. If `o` has rows for picked tokens alone, these must be
/// the ones that the run picked.
pub fn recorded(o: &Output, task: Task, tokens: usize, masks: &[i64]) -> Option<SelfTestOutput> {
    let c = o.info.channels;
    let bits = |data: &[f32]| data.iter().map(|x| x.to_bits()).collect();
    if task == Task::FillMask && o.info.per_token {
        let shape = vec![1, masks.len(), c];
        let bits = match o.info.picked {
            true => bits(&o.data),
            false => {
                let rows = masks.iter().filter_map(|&m| o.data.chunks_exact(c).nth(usize::try_from(m).ok()?));
                rows.flatten().map(|x| x.to_bits()).collect()
            }
        };
        return (!masks.is_empty()).then_some(SelfTestOutput { shape, bits });
    }
    let shape = match (o.info.per_token, o.info.flat) {
        (true, true) => vec![1, tokens],
        (true, false) => vec![1, tokens, c],
        (false, _) => vec![1, c],
    };
    Some(SelfTestOutput { shape, bits: bits(&o.data) })
}
