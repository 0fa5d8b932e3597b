use super::*;
use crate::error::ErrorKind;

fn tiny() -> TokenClassifier {
    TokenClassifier::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap()
}

fn found<'t>(text: &'t str, answer: &Tagged) -> Vec<(String, &'t str)> {
    answer.entities.iter().map(|e| (e.label.clone(), e.of(text))).collect()
}

#[test]
fn spans_are_slices_in_every_unit_whatever_stands_before() {
    let t = tiny();
    assert_eq!(t.head().unwrap().scheme, TagScheme::Bio);
    let plain = "will it rain in Paris France on friday";
    let want = found(plain, &t.tag(plain).unwrap());
    assert!(
        want.contains(&("city".into(), "Paris")) && want.contains(&("timeRange".into(), "friday")),
        "{want:?}"
    );
    for before in ["", "😀 ", "e\u{301}\u{301} ", "中文 ", "👩\u{200d}👩\u{200d}👧 ", "  \u{3000}"]
    {
        let text = format!("{before}{plain}");
        let answer = t.tag(&text).unwrap();
        assert!(!answer.entities.is_empty(), "{before:?}");
        let chars: Vec<char> = text.chars().collect();
        let units: Vec<u16> = text.encode_utf16().collect();
        for e in &answer.entities {
            let slice = e.of(&text);
            assert_eq!(chars[e.chars.start..e.chars.end].iter().collect::<String>(), slice);
            assert_eq!(String::from_utf16(&units[e.utf16.start..e.utf16.end]).unwrap(), slice);
        }
        assert!(found(&text, &answer).contains(&("city".into(), "Paris")), "{before:?}");
    }
}

#[test]
fn words_of_the_caller_give_the_same_spans_and_their_numbers() {
    let t = tiny();
    let text = "will it rain in Paris France on friday";
    let words: Vec<&str> = text.split(' ').collect();
    let (a, b) = (t.tag(text).unwrap(), t.tag_words(&words, &TagOptions::default()).unwrap());
    assert_eq!(found(text, &a), found(text, &b));
    for (a, b) in a.entities.iter().zip(&b.entities) {
        assert_eq!((a.bytes, a.chars, a.utf16, a.score), (b.bytes, b.chars, b.utf16, b.score));
        let which = b.words.unwrap();
        assert_eq!(words[which.start..which.end].join(" "), b.of(text));
    }
    assert!(t.tag_words(&[], &TagOptions::default()).unwrap().entities.is_empty());
}

#[test]
fn a_long_text_in_windows_is_tagged_like_its_sentences() {
    let t = tiny();
    let sentence = "play some jazz by Miles Davis on spotify and ";
    let text = sentence.repeat(60);
    let long = LongOptions { window: Some(120), stride: Some(60), ..LongOptions::default() };
    let options = TagOptions::default();
    let answer = t.tag_long(&text, &options, &long).unwrap();
    assert!(!answer.truncated && answer.token_count > 600);
    // In order, apart, and of every sentence something.
    assert!(answer.entities.windows(2).all(|e| e[0].bytes.end <= e[1].bytes.start));
    for i in 0..60 {
        let here = Span::new(i * sentence.len(), (i + 1) * sentence.len());
        assert!(
            answer.entities.iter().any(|e| e.bytes.start >= here.start && e.bytes.end <= here.end),
            "{i}"
        );
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let by_words = t.tag_words_long(&words, &options, &long).unwrap();
    assert_eq!(found(text.trim_end(), &answer), found(text.trim_end(), &by_words));
    // What fits is what it was.
    for text in ["", sentence] {
        let (a, b) = (t.tag(text).unwrap(), t.tag_long(text, &options, &LongOptions::default()).unwrap());
        assert_eq!(a.entities, b.entities);
    }
}

#[test]
fn batches_equal_single_calls_and_options_are_checked() {
    let t = tiny();
    let texts = ["", "rain in Rome", "add this song to my rock playlist", "中文"];
    for (_, aggregation) in Aggregation::ALL {
        let options = TagOptions { aggregation, ..TagOptions::default() };
        let all = t.tag_batch_with(&texts, &options).unwrap();
        for (text, a) in texts.iter().zip(&all) {
            assert_eq!(a, &t.tag_with(text, &options).unwrap());
        }
    }
    assert!(t.tag_batch(&[]).unwrap().is_empty());
    let all = t.tag("will it rain in Rome").unwrap().entities;
    let without = TagOptions { ignore: vec!["O".into(), "city".into()], ..TagOptions::default() };
    let rest = t.tag_with("will it rain in Rome", &without).unwrap().entities;
    assert!(rest.len() < all.len() && rest.iter().all(|e| e.label != "city"));
    let sure = TagOptions { threshold: Some(1.0), ..TagOptions::default() };
    assert!(t.tag_with("will it rain in Rome", &sure).unwrap().entities.len() < all.len());
    for bad in [
        TagOptions { ignore: vec!["nope".into()], ..TagOptions::default() },
        TagOptions { threshold: Some(2.0), ..TagOptions::default() },
        TagOptions { threshold: Some(f32::NAN), ..TagOptions::default() },
    ] {
        assert_eq!(t.tag_with("x", &bad).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    let model = t.model().unwrap();
    let e = TokenClassifier::from_model(model.clone(), Some("intent")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::InvalidArgument);
    assert!(e.message().contains("`slots`"), "{e}");
    let e = TokenClassifier::from_model(model.clone(), Some("nope")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}
