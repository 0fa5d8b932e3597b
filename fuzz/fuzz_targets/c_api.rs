//! The C ABI in any order: a program of calls, made of the input's bytes, with handles that are good, freed, of another
//! kind or made up, with texts that are cut anywhere, and with options that hold anything but bad pointers.
//!
//! Nothing may crash or be undefined; a status must be one of the documented ones, never `POCKETBERT_INTERNAL`; an
//! output is written only with `POCKETBERT_OK`; and when all is freed, no handle is left.

#![no_main]

use std::ffi::CString;
use std::ptr::{null, null_mut, without_provenance_mut};
use std::sync::LazyLock;

use arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use pocketbert_c::pocketbert_status::{self, *};
use pocketbert_c::*;

static TINY: LazyLock<Vec<u8>> =
    LazyLock::new(|| std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).expect("tiny.pbert"));

/// Handles of every kind ever seen, live and freed, as addresses: any of them may be given for any kind.
#[derive(Default)]
struct Seen {
    all: Vec<usize>,
    live: Vec<(usize, fn(usize) -> pocketbert_status)>,
}

impl Seen {
    fn pick(&self, u: &mut Unstructured) -> Result<usize> {
        Ok(match u.int_in_range(0..=9)? {
            0 => 0,
            1 => u.arbitrary()?,
            _ if self.all.is_empty() => 0,
            // The latest ones are most interesting.
            2..=6 => self.all[self.all.len() - 1 - u.choose_index(self.all.len().min(4))?],
            _ => *u.choose(&self.all)?,
        })
    }

    fn took(&mut self, status: pocketbert_status, address: usize, free: fn(usize) -> pocketbert_status) {
        fine(status);
        assert_eq!(status == POCKETBERT_OK, address != 0, "an output and {status:?}");
        if address != 0 {
            self.all.push(address);
            self.live.push((address, free));
        }
    }
}

fn fine(status: pocketbert_status) {
    assert_ne!(status, POCKETBERT_INTERNAL);
}

macro_rules! free {
    ($f:ident) => {
        |address| $f(without_provenance_mut(address))
    };
}

/// Some text, seldom UTF-8 at its ends.
fn text(u: &mut Unstructured) -> Result<(Vec<u8>, usize)> {
    let words: [&[u8]; 8] =
        [b"play some jazz ", "Zürich 🌧 ".as_bytes(), b"[MASK] ", b"\0", b"", b". It rains. ", b"\xff", b"book a table "];
    let mut all = vec![];
    for _ in 0..u.int_in_range(0..=6)? {
        all.extend_from_slice(words[u.choose_index(words.len())?]);
    }
    all.extend_from_slice(u.bytes(u.len().min(3))?);
    let length = if u.ratio(1, 8)? { all.len() / 2 } else { all.len() };
    all.push(0);
    Ok((all, if u.ratio(1, 4)? { POCKETBERT_NUL_TERMINATED } else { length }))
}

fn program(u: &mut Unstructured, seen: &mut Seen) -> Result<()> {
    let heads = ["intent", "slots", "spam", "embed", "fill_mask", "entail", "other"];
    for _ in 0..24 {
        if u.is_empty() {
            return Ok(());
        }
        let head = CString::new(*u.choose(&heads)?).expect("a name");
        let head = if u.ratio(1, 2)? { null() } else { head.as_ptr() };
        let ((a, an), (b, bn)) = (text(u)?, text(u)?);
        let both = [
            pocketbert_text { data: a.as_ptr().cast(), length: an },
            pocketbert_text { data: b.as_ptr().cast(), length: bn },
        ];
        let (ap, bp, n) = (a.as_ptr().cast(), b.as_ptr().cast(), u.int_in_range(0..=2)?);
        let h = seen.pick(u)?;
        let (i, j, k): (usize, usize, usize) =
            (u.int_in_range(0..=3)?, u.int_in_range(0..=3)?, u.int_in_range(0..=2)?);
        let mut call = std::mem::MaybeUninit::uninit();
        let mut window = std::mem::MaybeUninit::uninit();
        // SAFETY: places of ours.
        let (mut call, mut window) = unsafe {
            fine(pocketbert_call_options_default(call.as_mut_ptr()));
            fine(pocketbert_window_options_default(window.as_mut_ptr()));
            (call.assume_init(), window.assume_init())
        };
        if u.ratio(1, 4)? {
            (call.threads, call.kernel) = (u.int_in_range(0..=3)?, u.int_in_range(-1..=9)?);
            call.cancel = without_provenance_mut(seen.pick(u)?);
        }
        if u.ratio(1, 4)? {
            (window.window, window.stride) = (u.int_in_range(0..=80)?, u.int_in_range(0..=80)?);
            window.merge = u.int_in_range(-1..=4)?;
        }
        let window: *const _ = if u.ratio(1, 2)? { null() } else { &window };
        macro_rules! h {
            () => {
                without_provenance_mut(h)
            };
        }
        macro_rules! options {
            ($default:ident) => {{
                let mut o = std::mem::MaybeUninit::uninit();
                // SAFETY: a place of ours, read after it was filled.
                unsafe {
                    fine($default(o.as_mut_ptr()));
                    o.assume_init()
                }
            }};
        }
        macro_rules! make {
            ($free:ident, $f:ident($($arg:expr),*)) => {{
                let mut out = null_mut();
                // SAFETY: texts and options are good; handles may be anything.
                let status = unsafe { $f($($arg,)* &mut out) };
                seen.took(status, out.addr(), free!($free));
            }};
        }
        macro_rules! read {
            ($f:ident($($arg:expr),*)) => {{
                let mut out = std::mem::MaybeUninit::uninit();
                // SAFETY: a place of ours; handles may be anything.
                fine(unsafe { $f($($arg,)* out.as_mut_ptr()) });
            }};
        }
        match u.int_in_range(0..=31)? {
            0 | 1 => {
                let open: pocketbert_open_options = options!(pocketbert_open_options_default);
                let bytes = &*TINY;
                let length = if u.ratio(1, 16)? { u.choose_index(bytes.len())? } else { bytes.len() };
                make!(pocketbert_model_close,
                    pocketbert_model_open_borrowed(bytes.as_ptr(), length, None, null_mut(), &open));
            }
            2 => make!(pocketbert_cancel_free, pocketbert_cancel_new()),
            3 => fine(pocketbert_cancel_trip(h!())),
            4 => fine(pocketbert_cancel_reset(h!())),
            5..=7 => {
                let mut o: pocketbert_classify_options = options!(pocketbert_classify_options_default);
                (o.head, o.call, o.window) = (head, &call, window);
                (o.top_k, o.truncation, o.max_length) = (k as u32, i as i32, 4 * j as u32);
                o.threshold = if u.ratio(1, 2)? { f32::NAN } else { u.arbitrary()? };
                let pairs = if u.ratio(1, 3)? { both.as_ptr() } else { null() };
                make!(pocketbert_classification_free,
                    pocketbert_classify_batch(h!(), both.as_ptr(), pairs, n, &o));
            }
            8 => {
                let mut o: pocketbert_tag_options = options!(pocketbert_tag_options_default);
                (o.head, o.call, o.window) = (head, &call, window);
                (o.aggregation, o.scheme) = (i as i32 - 1, j as i32);
                make!(pocketbert_tags_free, pocketbert_tag_batch(h!(), both.as_ptr(), n, &o));
            }
            9 => make!(pocketbert_tags_free, pocketbert_tag_words(h!(), both.as_ptr(), n, null())),
            10 => make!(pocketbert_answers_free, pocketbert_answer(h!(), ap, an, bp, bn, null())),
            11 => {
                let mut o: pocketbert_summary_options = options!(pocketbert_summary_options_default);
                (o.call, o.sentences, o.centrality) = (&call, i as u32, j as i32);
                make!(pocketbert_summary_free, pocketbert_summarize(h!(), ap, an, &o));
            }
            12 | 13 => {
                let mut o: pocketbert_embed_options = options!(pocketbert_embed_options_default);
                (o.head, o.call, o.window) = (head, &call, window);
                (o.format, o.dims, o.pooling, o.role) = (i as i32, 50 * j as u32, k as i32 - 1, j as i32);
                make!(pocketbert_vectors_free, pocketbert_embed_batch(h!(), both.as_ptr(), n, &o));
            }
            14 => {
                let mut o: pocketbert_rerank_options = options!(pocketbert_rerank_options_default);
                (o.head, o.call, o.top_k) = (head, &call, k as u32);
                make!(pocketbert_ranking_free, pocketbert_rerank(h!(), ap, an, both.as_ptr(), n, &o));
            }
            15 => make!(pocketbert_mask_fill_free, pocketbert_fill_mask(h!(), ap, an, null())),
            16 => make!(pocketbert_zero_shot_labels_free,
                pocketbert_zero_shot(h!(), ap, an, both.as_ptr(), n, null())),
            17 => make!(pocketbert_analysis_free, pocketbert_analyze(h!(), ap, an, null())),
            18 => make!(pocketbert_tokens_free, pocketbert_tokenize(h!(), ap, an, bp, bn, null())),
            19 => {
                let ids: [u32; 4] = u.arbitrary()?;
                let ids = ids.map(|id| if id & 1 == 0 { id % 500 } else { id });
                let (lengths, mut values, mut count) = ([i, j], [0f32; 256], 0);
                // SAFETY: arrays are as long as they say.
                fine(unsafe {
                    pocketbert_run_ids(h!(), ids.as_ptr(), null(), 4, lengths.as_ptr(), n, k, &call,
                        values.as_mut_ptr(), 256, &mut count)
                });
            }
            20 => make!(pocketbert_vectors_free, pocketbert_vectors_convert(h!(), 16 * i, j as i32)),
            21 => make!(pocketbert_ranking_free, pocketbert_vectors_nearest(h!(), i, h!(), k)),
            22 => make!(pocketbert_vectors_free, pocketbert_vectors_load(ap.cast(), a.len(), k)),
            23 => make!(pocketbert_string_free, pocketbert_model_metrics(h!(), k as i32)),
            24 => make!(pocketbert_classification_free, pocketbert_analysis_classification(h!(), i, j)),
            25 => make!(pocketbert_tags_free, pocketbert_analysis_tags(h!(), i, j)),
            26 => make!(pocketbert_vectors_free, pocketbert_analysis_vectors(h!(), i, j)),
            27 => {
                read!(pocketbert_classification_get(h!(), i));
                read!(pocketbert_classification_label(h!(), i, j));
                read!(pocketbert_tags_get(h!(), i));
                read!(pocketbert_tags_entity(h!(), i, j));
                read!(pocketbert_answers_span(h!(), i, j));
                read!(pocketbert_summary_sentence(h!(), i, j));
            }
            28 => {
                read!(pocketbert_vectors_get(h!(), i));
                read!(pocketbert_mask_fill_candidate(h!(), i, j, k));
                read!(pocketbert_zero_shot_labels_label(h!(), i, j));
                read!(pocketbert_tokens_get(h!()));
                read!(pocketbert_string_get(h!()));
                read!(pocketbert_vectors_cosine(h!(), i, h!(), j));
            }
            29 => {
                read!(pocketbert_model_get_facts(h!()));
                read!(pocketbert_model_get_head(h!(), i));
                read!(pocketbert_model_get_label(h!(), i, j));
                read!(pocketbert_model_get_output(h!(), i));
                // SAFETY: a name that ends in NUL, or NULL.
                fine(unsafe { pocketbert_model_prewarm(h!(), i as i32, head) });
                fine(pocketbert_model_trim(h!()));
            }
            // Freed by whatever frees it, or by what does not.
            _ if !seen.live.is_empty() => {
                let (at, wrong) = (u.choose_index(seen.live.len())?, u.choose_index(seen.live.len())?);
                let (address, right) = seen.live[at];
                let status = (seen.live[wrong].1)(address);
                match status {
                    POCKETBERT_OK => drop(seen.live.swap_remove(at)),
                    status => {
                        assert_eq!(status, POCKETBERT_INVALID_ARGUMENT);
                        assert_ne!(seen.live[wrong].1 as usize, right as usize, "what is live can be freed");
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let mut seen = Seen::default();
    let _ = program(&mut Unstructured::new(data), &mut seen);
    for (address, free) in seen.live {
        assert_eq!(free(address), POCKETBERT_OK);
        assert_eq!(free(address), POCKETBERT_INVALID_ARGUMENT);
    }
    assert_eq!(pocketbert_handle_count(), 0);
});
