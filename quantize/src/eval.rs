//! Running a model over a set: token ids in, raw outputs out, kept on disk by hash.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pocketbert::kernels::Isa;
use pocketbert::model::record::mask_places;
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::text::{EncodeOptions, Encoding, Tokenizer};
use pocketbert::{Error, Result};
use sha2::{Digest, Sha256};

use crate::data::Example;
use crate::files::write_whole;

/// Tokens that run together; answers do not depend on it.
const TOKENS_PER_RUN: usize = 384;

/// How to run.
#[derive(Clone, Debug)]
pub struct How {
    /// Kernels.
    pub isa: Isa,
    /// Runs at a time.
    pub threads: usize,
    /// Where raw outputs are kept.
    pub cache: Option<PathBuf>,
}

/// A model with the hash of its file, for the cache.
pub struct Subject {
    /// The model.
    pub model: Model,
    /// SHA-256 of the file.
    pub sha256: String,
}

impl Subject {
    /// Opens a bundle, an ONNX file or a hub folder.
    pub fn open(path: &Path) -> Result<Subject> {
        let model = Model::open(path, &Default::default())?;
        let sha256 = if path.is_dir() { String::new() } else { crate::files::sha256(path)? };
        Ok(Subject { model, sha256 })
    }
}

/// The encodings of an example: one, or two for a pair whose vectors are compared.
pub fn encode(t: &Tokenizer, e: &Example, apart: bool, max_length: usize) -> Result<Vec<Encoding>> {
    let o = EncodeOptions { max_length, ..EncodeOptions::default() };
    match (&e.words, &e.pair) {
        (Some(words), _) => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            Ok(vec![t.encode_words(&words, &o)?])
        }
        (None, Some(pair)) if apart => Ok(vec![t.encode(&e.text, None, &o)?, t.encode(pair, None, &o)?]),
        (None, pair) => Ok(vec![t.encode(&e.text, pair.as_deref(), &o)?]),
    }
}

/// Appends an encoding to a batch.
pub fn push(batch: &mut Batch, e: &Encoding) {
    let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
    batch.push(e.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
}

/// The places of mask tokens in a batch of `texts`, each followed by `padding` more tokens, and how many each has.
pub fn picks(t: &Tokenizer, texts: &[Encoding], padding: usize) -> (Vec<i64>, Vec<usize>) {
    let (mut all, mut counts, mut start) = (vec![], vec![], 0);
    for e in texts {
        let own = mask_places(t, &e.ids);
        counts.push(own.len());
        all.extend(own.into_iter().map(|p| start + p));
        start += (e.ids.len() + padding) as i64;
    }
    (all, counts)
}

/// Texts whose raw outputs are kept in one file: an interrupted run goes on where it was, and a longer one uses
/// what a shorter one found.
const CHUNK: usize = 256;

/// The raw values of `output` for every encoding.
pub fn outputs(
    s: &Subject,
    output: &str,
    encodings: &[Encoding],
    how: &How,
    what: &str,
) -> Result<Vec<Vec<f32>>> {
    let bar = crate::progress::bar(what, encodings.len());
    let mut all = Vec::with_capacity(encodings.len());
    for chunk in encodings.chunks(CHUNK) {
        all.extend(chunk_outputs(s, output, chunk, how)?);
        bar.add(chunk.len());
    }
    Ok(all)
}

fn chunk_outputs(s: &Subject, output: &str, encodings: &[Encoding], how: &How) -> Result<Vec<Vec<f32>>> {
    let index = s
        .model
        .plan()
        .outputs()
        .iter()
        .position(|o| o.name == output)
        .ok_or_else(|| Error::invalid(format!("the model has no output `{output}`")))?;
    let info = &s.model.plan().outputs()[index];
    let picked = info.picked;
    // A decoder of its own, as FP32 models have, scores every token; one that reads a table scores picked ones.
    let masks_alone = !picked && info.per_token && info.channels >= s.model.tokenizer()?.vocab_size();
    let key = {
        let mut h = Sha256::new();
        h.update(env!("CARGO_PKG_VERSION"));
        h.update(&s.sha256);
        h.update(output);
        if masks_alone {
            h.update("masks");
        }
        for e in encodings {
            h.update((e.ids.len() as u64).to_le_bytes());
            for (i, t) in e.ids.iter().zip(&e.type_ids) {
                h.update(i.to_le_bytes());
                h.update(t.to_le_bytes());
            }
        }
        crate::files::hex(&h.finalize())
    };
    let file = how.cache.as_ref().filter(|_| !s.sha256.is_empty()).map(|c| c.join(format!("{key}.f32")));
    if let Some(f) = &file
        && let Ok(bytes) = std::fs::read(f)
        && let Some(rows) = decode(&bytes, encodings.len())
    {
        return Ok(rows);
    }
    // Runs of whole sequences, in order.
    let mut runs: Vec<std::ops::Range<usize>> = vec![];
    let (mut start, mut tokens) = (0, 0);
    for (i, e) in encodings.iter().enumerate() {
        if i > start && tokens + e.len() > TOKENS_PER_RUN {
            runs.push(start..i);
            (start, tokens) = (i, 0);
        }
        tokens += e.len();
    }
    runs.push(start..encodings.len());
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Vec<Vec<f32>>)>> = Mutex::default();
    let work = || -> Result<()> {
        while let Some(r) = runs.get(next.fetch_add(1, Ordering::Relaxed)).filter(|r| !r.is_empty()) {
            crate::check_stop()?;
            let mut batch = Batch::new();
            encodings[r.clone()].iter().for_each(|e| push(&mut batch, e));
            // Of a vocabulary of scores per token only the masks' are wanted.
            let (places, counts) = picks(s.model.tokenizer()?, &encodings[r.clone()], 0);
            if picked {
                batch.picks = Some(places.clone());
            }
            let run = RunOptions { isa: how.isa, threads: 1, stop: Default::default(), stats: None };
            let out = s.model.plan().run(&batch, &[index], run)?;
            let Some(o) = out.first() else { return Err(Error::internal("a run without outputs")) };
            let c = o.info.channels;
            let mut next = 0;
            let rows = (0..batch.len())
                .map(|i| {
                    let from = next;
                    next += counts[i];
                    if masks_alone {
                        return places[from..next]
                            .iter()
                            .flat_map(|&p| &o.data[p as usize * c..][..c])
                            .copied()
                            .collect();
                    }
                    let (a, b) = if picked {
                        (from, next)
                    } else if o.info.per_token {
                        (batch.offsets[i] as usize, batch.offsets[i + 1] as usize)
                    } else {
                        (i, i + 1)
                    };
                    o.data[a * c..b * c].to_vec()
                })
                .collect();
            results.lock().unwrap_or_else(|e| e.into_inner()).push((r.start, rows));
        }
        Ok(())
    };
    crate::threads::each(how.threads, work)?;
    let mut parts = results.into_inner().unwrap_or_else(|e| e.into_inner());
    parts.sort_by_key(|(start, _)| *start);
    let rows: Vec<Vec<f32>> = parts.into_iter().flat_map(|(_, r)| r).collect();
    if let Some(f) = &file {
        let mut bytes = (rows.len() as u64).to_le_bytes().to_vec();
        for r in &rows {
            bytes.extend((r.len() as u64).to_le_bytes());
            bytes.extend(r.iter().flat_map(|x| x.to_le_bytes()));
        }
        write_whole(f, &bytes)?;
    }
    Ok(rows)
}

/// What the cache holds; `None` if it is damaged.
fn decode(mut b: &[u8], rows: usize) -> Option<Vec<Vec<f32>>> {
    let word = |b: &mut &[u8]| -> Option<usize> {
        let (head, rest) = b.split_first_chunk::<8>()?;
        *b = rest;
        usize::try_from(u64::from_le_bytes(*head)).ok()
    };
    if word(&mut b)? != rows {
        return None;
    }
    let mut out = Vec::with_capacity(rows);
    for _ in 0..rows {
        let n = word(&mut b)?;
        let (data, rest) = b.split_at_checked(n.checked_mul(4)?)?;
        out.push(data.chunks_exact(4).map(|c| f32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect());
        b = rest;
    }
    b.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_cache_is_no_answer() {
        let mut bytes = 1u64.to_le_bytes().to_vec();
        bytes.extend(2u64.to_le_bytes());
        bytes.extend(1.5f32.to_le_bytes());
        bytes.extend((-2.0f32).to_le_bytes());
        assert_eq!(decode(&bytes, 1), Some(vec![vec![1.5, -2.0]]));
        assert_eq!(decode(&bytes, 2), None);
        assert_eq!(decode(&bytes[..bytes.len() - 1], 1), None);
    }
}
