use super::decode::fill;
use super::*;
use crate::cancel::CancelToken;
use crate::kernels::Isa;

const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert");

#[test]
fn tokens_take_the_place_of_the_mask() {
    let text = "naïve [MASK] end";
    let span = Span::new(7, 13);
    assert_eq!(fill(text, span, "word"), "naïve word end");
    assert_eq!(fill(text, span, "##ly"), "naïvely end");
    assert_eq!(fill(text, span, "Ġword"), "naïve word end");
}

#[test]
fn masks_are_filled_from_the_whole_vocabulary() {
    let f = MaskFiller::open(TINY).unwrap();
    let text = "what will the [MASK] be like in 東京 [MASK] tomorrow";
    let a = f.fill(text).unwrap();
    let spans: Vec<&str> = a.masks.iter().filter_map(|m| m.span.of(text)).collect();
    assert_eq!(spans, ["[MASK]", "[MASK]"]);
    for m in &a.masks {
        assert!(m.candidates.is_sorted_by(|a, b| a.probability >= b.probability));
        assert!(m.candidates.iter().map(|c| c.probability).sum::<f32>() <= 1.0);
    }
    assert_eq!(a.masks[0].candidates[0].token, "weather");
    assert!(a.masks[0].candidates[0].filled.starts_with("what will the weather be like in 東京 [MASK]"));
    let all = FillMaskOptions { top_k: 100_000, ..FillMaskOptions::default() };
    let all = f.fill_with("play [MASK]", &all).unwrap();
    let sum: f64 = all.masks[0].candidates.iter().map(|c| f64::from(c.probability)).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    let some = FillMaskOptions { targets: vec!["rain".into(), "music".into()], ..FillMaskOptions::default() };
    let some = f.fill_with("play [MASK]", &some).unwrap();
    assert_eq!(some.masks[0].candidates.len(), 2);
    for c in &some.masks[0].candidates {
        assert!(all.masks[0].candidates.contains(c));
    }
}

#[test]
fn batches_equal_single_calls_whatever_is_packed_together() {
    let f = MaskFiller::open(TINY).unwrap();
    let text =
        |i: usize| format!("{} [MASK] {} [MASK]", "play some music ".repeat(i % 9), "by me".repeat(i % 4));
    let texts: Vec<String> = (0..40).map(text).collect();
    let refs: Vec<&str> = texts.iter().map(String::as_str).collect();
    for threads in [1, 3] {
        let call = CallOptions { threads, ..CallOptions::default() };
        let options = FillMaskOptions { call, ..FillMaskOptions::default() };
        let all = f.fill_batch_with(&refs, &options).unwrap();
        for (text, a) in refs.iter().zip(&all) {
            assert_eq!(a, &f.fill(text).unwrap());
        }
    }
    assert!(f.fill_batch_with(&[], &FillMaskOptions::default()).unwrap().is_empty());
}

#[test]
fn every_kernel_gives_the_same_candidates() {
    let f = MaskFiller::open(TINY).unwrap();
    let with = |kernel| {
        let call = CallOptions { kernel: Some(kernel), ..CallOptions::default() };
        f.fill_with("add it to my [MASK]", &FillMaskOptions { call, ..FillMaskOptions::default() }).unwrap()
    };
    let first = with(Isa::Generic);
    assert!(Isa::available().into_iter().all(|isa| with(isa) == first));
}

#[test]
fn texts_without_a_mask_and_bad_options_are_errors() {
    let f = MaskFiller::open(TINY).unwrap();
    let default = FillMaskOptions::default;
    let kind = |text: &str, o: &FillMaskOptions| f.fill_with(text, o).unwrap_err().kind();
    assert_eq!(kind("nothing is missing", &default()), ErrorKind::InvalidArgument);
    assert_eq!(kind("", &default()), ErrorKind::InvalidArgument);
    let far = format!("{}[MASK]", "word ".repeat(600));
    assert_eq!(kind(&far, &default()), ErrorKind::OutOfRange);
    assert_eq!(kind("[MASK]", &FillMaskOptions { top_k: 0, ..default() }), ErrorKind::InvalidArgument);
    let target = FillMaskOptions { targets: vec!["no such token".into()], ..default() };
    assert_eq!(kind("[MASK]", &target), ErrorKind::InvalidArgument);
    let cancel = CancelToken::new();
    cancel.cancel();
    let call = CallOptions { cancel: Some(cancel), ..CallOptions::default() };
    assert_eq!(kind("[MASK]", &FillMaskOptions { call, ..default() }), ErrorKind::Cancelled);
    let e = MaskFiller::from_model(f.model().unwrap().clone(), Some("intent")).unwrap_err();
    assert!(e.kind() == ErrorKind::InvalidArgument && e.message().contains("`fill_mask`"), "{e}");
}
