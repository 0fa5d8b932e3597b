//! The only test of this binary, so that nothing but the tokenizer can start a thread: `tokenizers` brings
//! rayon, which must stay asleep on a host's behalf.
#![cfg(target_os = "linux")]

use pocketbert::text::{EncodeOptions, Tokenizer};

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn no_thread_is_started() {
    let file = r###"{"version": "1.0",
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": {"[UNK]": 0, "a": 1, "##b": 2}}}"###;
    let before = threads();
    let tok = Tokenizer::from_bytes(file.as_bytes()).unwrap();
    let text = "ab a b ".repeat(100_000);
    let opts = EncodeOptions { max_length: usize::MAX, ..Default::default() };
    let n = tok.encode(&text, Some(&text), &opts).unwrap().len();
    assert_eq!(n, 800_000);
    assert_eq!(threads(), before, "a call into the tokenizer left threads behind");
}
