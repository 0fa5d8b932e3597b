//! Bytes that claim to be a `tokenizer.json`. Whatever is read must then encode hard texts within the rules.

#![no_main]

use libfuzzer_sys::fuzz_target;
use pocketbert::text::{EncodeOptions, Tokenizer, Truncation, model_max_length};

const TEXTS: [&str; 8] = [
    "",
    " ",
    "Hello, wörld! a ab abc the [MASK]",
    "e\u{301}\u{323}\u{345} \u{301} נְ한글\u{1112}\u{1161}\u{11AB}",
    "中文豈\u{2F800} ﷺ ﬁ \u{FDFA}",
    "👩‍👩‍👧😀\u{0}\u{1}\u{FFFD}\u{FEFF}\u{AD}",
    "İIıßẞ ΑΣ ǅ \u{1E9E}",
    "\t\n\r\u{2028}\u{3000}   x  ",
];

fuzz_target!(|data: &[u8]| {
    if let Ok(Some(n)) = model_max_length(data) {
        assert!((1..1_000_000).contains(&n));
    }
    let Ok(tok) = Tokenizer::from_bytes(data) else { return };
    assert!(tok.vocab_size() > 0);
    for id in [tok.unk_id(), tok.cls_id(), tok.sep_id(), tok.pad_id(), tok.mask_id()].into_iter().flatten() {
        assert!(tok.token(id).is_some_and(|t| tok.token_id(&t).is_some()), "token {id} of {tok:?}");
    }
    assert!(!tok.model_kind().is_empty());
    let _ = (tok.max_type_id(), tok.special_tokens(false), tok.special_tokens(true), tok.file_max_length());
    for text in TEXTS {
        for truncation in [Truncation::Head, Truncation::Tail, Truncation::HeadTail, Truncation::Refuse] {
            for max_length in [8, 4096] {
                let opts = EncodeOptions { max_length, truncation, add_special_tokens: max_length == 8 };
                for pair in [None, Some("b ab, é")] {
                    let Ok(e) = tok.encode(text, pair, &opts) else { continue };
                    assert!(e.len() <= max_length);
                    for (i, span) in e.offsets.iter().enumerate() {
                        let of = if e.sequence_ids[i] == Some(1) { pair.unwrap() } else { text };
                        assert!(span.of(of).is_some(), "{span:?} of {of:?}");
                        assert!((e.ids[i] as usize) < tok.vocab_size(), "id {}", e.ids[i]);
                    }
                }
            }
        }
        let _ = tok.encode_words(&[text, "", text], &EncodeOptions::default());
    }
});
