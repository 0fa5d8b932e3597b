//! Any text through small tokenizers of three kinds. The first byte chooses the file, the second the length.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pocketbert::text::{EncodeOptions, Encoding, Span, SpanMapper, Tokenizer, Truncation};

static FILES: LazyLock<[Tokenizer; 4]> = LazyLock::new(|| {
    [
        &include_bytes!("../corpus/tokenizer_json/bert-cased")[..],
        include_bytes!("../corpus/tokenizer_json/bert-uncased"),
        include_bytes!("../corpus/tokenizer_json/roberta"),
        include_bytes!("../corpus/tokenizer_json/chain"),
    ]
    .map(|f| Tokenizer::from_bytes(f).expect("a good file"))
});

fuzz_target!(|data: &[u8]| {
    let [file, max_length, text @ ..] = data else { return };
    let tok = &FILES[usize::from(file % 4)];
    let text = String::from_utf8_lossy(text);
    let all = encode(tok, &text, usize::MAX, Truncation::Head);
    // UTF-16 units before each byte; counted once, since a long text has thousands of spans.
    let mut units = vec![0; text.len() + 1];
    for (at, c) in text.char_indices() {
        let next = at + c.len_utf8();
        let after = units[at] + c.len_utf16();
        units[at + 1..=next].fill(after);
    }
    let mapper = SpanMapper::new(&text);
    for span in &all.offsets {
        assert!(span.of(&text).is_some(), "a span between characters");
        assert_eq!(mapper.utf16(*span), Span::new(units[span.start], units[span.end]));
    }
    let n = usize::from(*max_length);
    let keep = n.min(all.len());
    let head = encode(tok, &text, n, Truncation::Head);
    assert_eq!((&head.ids[..], &head.offsets[..]), (&all.ids[..keep], &all.offsets[..keep]));
    let tail = encode(tok, &text, n, Truncation::Tail);
    assert_eq!(
        (&tail.ids[..], &tail.offsets[..]),
        (&all.ids[all.len() - keep..], &all.offsets[all.len() - keep..])
    );
    assert_eq!(head.truncated.is_some(), all.len() > n);

    // A text may be cut before a space or a mark: `core/src/text/chunk.rs`. True of the two BERT files.
    if file % 4 < 2 {
        for (at, _) in text.match_indices([' ', '!', '-', '。', '中']).take(4) {
            let left = encode(tok, &text[..at], usize::MAX, Truncation::Head);
            let right = encode(tok, &text[at..], usize::MAX, Truncation::Head);
            assert_eq!([left.ids, right.ids].concat(), all.ids);
            let shifted = right.offsets.iter().map(|s| Span::new(s.start + at, s.end + at));
            assert_eq!(left.offsets.into_iter().chain(shifted).collect::<Vec<_>>(), all.offsets);
        }
    }
    let words: Vec<&str> = text.split(',').collect();
    let by_word = tok.encode_words(&words, &EncodeOptions::default()).expect("words");
    for (i, word) in by_word.word_ids.iter().enumerate() {
        let word = word.map_or("", |w| words[w as usize]);
        assert!(by_word.offsets[i].of(word).is_some());
    }
});

fn encode(tok: &Tokenizer, text: &str, max_length: usize, truncation: Truncation) -> Encoding {
    let opts = EncodeOptions { max_length, truncation, add_special_tokens: false };
    tok.encode(text, None, &opts).expect("any text encodes")
}
