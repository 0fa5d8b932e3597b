use super::*;
use crate::error::ErrorKind;

fn everyday() -> QuestionAnswerer {
    QuestionAnswerer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/everyday.pbert")).unwrap()
}

const CONTEXT: &str =
    "The tower 🗼 was finished in 1889. Its architect was Stephen Sauvestre, and it stands in Paris.";

#[test]
fn answers_are_slices_of_the_context() {
    let q = everyday();
    let options = AnswerOptions { top_k: 4, ..AnswerOptions::default() };
    let found = q.answer_with("When was the tower finished?", CONTEXT, &options).unwrap();
    assert_eq!(found.best().map(|a| a.of(CONTEXT)), Some("1889"));
    assert_eq!(found.answers.len(), 4);
    assert!(!found.no_answer && found.windows == 1);
    let units: Vec<u16> = CONTEXT.encode_utf16().collect();
    for (i, a) in found.answers.iter().enumerate() {
        assert_eq!(String::from_utf16(&units[a.utf16.start..a.utf16.end]).unwrap(), a.of(CONTEXT));
        assert_eq!(
            CONTEXT.chars().skip(a.chars.start).take(a.chars.len()).collect::<String>(),
            a.of(CONTEXT)
        );
        assert!(
            found.answers[..i].iter().all(|b| b.bytes.end <= a.bytes.start || a.bytes.end <= b.bytes.start)
        );
        assert!(found.answers[..i].iter().all(|b| b.logit >= a.logit));
    }
    // The threshold is the margin itself: not above it, and above anything less.
    let at = |t: f32| AnswerOptions { no_answer: Some(t), ..AnswerOptions::default() };
    let margin = found.null_margin;
    assert!(!q.answer_with("When was the tower finished?", CONTEXT, &at(margin)).unwrap().no_answer);
    let none = q.answer_with("When was the tower finished?", CONTEXT, &at(margin - 1e-3)).unwrap();
    assert!(none.no_answer && none.best().is_none() && none.answers.len() == 1);
}

#[test]
fn a_long_context_is_searched_to_its_end_and_batches_equal_single_calls() {
    let q = everyday();
    let filler = "Nothing of interest is said in this sentence. ".repeat(120);
    let context = format!("{filler}{CONTEXT}");
    let question = "When was the tower finished?";
    let long = LongOptions { window: Some(128), stride: Some(64), ..LongOptions::default() };
    let options = AnswerOptions { long, ..AnswerOptions::default() };
    let found = q.answer_with(question, &context, &options).unwrap();
    assert!(found.windows > 10);
    assert_eq!(found.best().map(|a| a.of(&context)), Some("1889"));
    let pairs =
        [(question, CONTEXT), ("Who was its architect?", context.as_str()), (question, context.as_str())];
    let all = q.answer_batch_with(&pairs, &options).unwrap();
    for (pair, a) in pairs.iter().zip(&all) {
        assert_eq!(a, &q.answer_with(pair.0, pair.1, &options).unwrap());
    }
    assert!(q.answer_batch_with(&[], &options).unwrap().is_empty());
}

#[test]
fn what_cannot_be_asked_is_told() {
    let q = everyday();
    let error = |question: &str, context: &str, o: &AnswerOptions| {
        let e = q.answer_with(question, context, o).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::InvalidArgument, "{e}");
        e.message().to_string()
    };
    let fine = AnswerOptions::default();
    assert!(error("", CONTEXT, &fine).contains("question is empty"));
    assert!(error(" \n", CONTEXT, &fine).contains("question is empty"));
    assert!(error("When?", "", &fine).contains("context is empty"));
    assert!(error(&"why ".repeat(600), CONTEXT, &fine).contains("shorter question"));
    let with = |top_k, max_tokens| AnswerOptions { top_k, max_tokens, ..AnswerOptions::default() };
    assert!(error("When?", CONTEXT, &with(0, 9)).contains("top_k"));
    assert!(error("When?", CONTEXT, &with(1, 0)).contains("max_tokens"));
    let e = q.answer_batch_with(&[("When?", CONTEXT), ("", CONTEXT)], &fine).unwrap_err();
    assert!(e.message().starts_with("pair 1:"), "{e}");
    let e = QuestionAnswerer::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tiny.pbert")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::FailedPrecondition);
}

#[test]
fn two_outputs_of_a_plain_onnx_file_are_start_and_end() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/forms/answer-ts-17.onnx");
    let model = Model::open(folder, &OpenOptions::default()).unwrap();
    let head = AnswerHead::find(&model, None).unwrap();
    let names: Vec<&str> = head.outputs.iter().map(|&i| model.plan().outputs()[i].name.as_str()).collect();
    assert_eq!(names, ["start_logits", "end_logits"]);
    assert_eq!(AnswerHead::find(&model, Some("x")).unwrap_err().kind(), ErrorKind::NotFound);
}
