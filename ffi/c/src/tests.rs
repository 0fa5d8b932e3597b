//! The layer between C and the engine, with a stub behind it: what Miri can run.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pocketbert_status::{self, *};
use crate::*;

/// Tests here share the process's handles, its log function and its faults.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model() -> *mut pocketbert_model {
    let mut m = null_mut();
    // SAFETY: a place of ours.
    assert_eq!(unsafe { pocketbert_test_model(&mut m) }, POCKETBERT_OK);
    m
}

fn message() -> String {
    // SAFETY: a string that ends in NUL and lives until the next failure.
    unsafe { CStr::from_ptr(pocketbert_error_message()) }.to_string_lossy().into_owned()
}

fn string(p: *const c_char) -> String {
    // SAFETY: strings of results end in NUL.
    unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
}

/// Calls a function that writes one thing; its status, and the thing if it is there.
macro_rules! get {
    ($f:ident($($arg:expr),*)) => {{
        let mut out = std::mem::MaybeUninit::uninit();
        // SAFETY: arguments of a careful caller; the place is read only if the function wrote it.
        unsafe {
            match $f($($arg,)* out.as_mut_ptr()) {
                POCKETBERT_OK => Ok(out.assume_init()),
                status => Err(status),
            }
        }
    }};
}

fn text(s: &str) -> pocketbert_text {
    pocketbert_text { data: s.as_ptr().cast(), length: s.len() }
}

#[test]
fn results_are_read_and_freed() {
    let _alone = alone();
    let m = model();
    let r = get!(pocketbert_classify(m, c"good".as_ptr(), POCKETBERT_NUL_TERMINATED, null())).unwrap();
    let item: pocketbert_classification_item = get!(pocketbert_classification_get(r, 0)).unwrap();
    assert_eq!((item.labels, item.logit_count, item.tokens), (1, 2, 4));
    // SAFETY: the array is as long as it says, and the result is not freed.
    assert_eq!(unsafe { std::slice::from_raw_parts(item.logits, item.logit_count) }, [0.5, 1.5]);
    let label: pocketbert_label = get!(pocketbert_classification_label(r, 0, 0)).unwrap();
    assert_eq!((string(label.name).as_str(), label.index, label.probability), ("höher", 1, 0.75));
    assert_eq!(get!(pocketbert_classification_label(r, 0, 1)).err(), Some(POCKETBERT_NOT_FOUND));
    assert_eq!(get!(pocketbert_classification_label(r, 1, 0)).err(), Some(POCKETBERT_NOT_FOUND));
    // The result outlives its model.
    assert_eq!(pocketbert_model_close(m), POCKETBERT_OK);
    assert!(get!(pocketbert_classification_get(r, 0)).is_ok());
    assert_eq!(pocketbert_classification_free(r), POCKETBERT_OK);
    assert_eq!(pocketbert_classification_free(r), POCKETBERT_INVALID_ARGUMENT);
    assert_eq!(get!(pocketbert_classification_get(r, 0)).err(), Some(POCKETBERT_INVALID_ARGUMENT));
    assert!(message().contains("was freed"));
}

#[test]
fn texts_of_every_kind() {
    let _alone = alone();
    let m = model();
    let all = [text("one"), text(""), pocketbert_text { data: null(), length: 0 }, text("a\0b")];
    let r = get!(pocketbert_classify_batch(m, all.as_ptr(), null(), 4, null())).unwrap();
    let tokens =
        |i| get!(pocketbert_classification_get(r, i)).map(|x: pocketbert_classification_item| x.tokens);
    assert_eq!([tokens(0), tokens(1), tokens(2), tokens(3)], [Ok(3), Ok(0), Ok(0), Ok(3)]);
    assert_eq!(pocketbert_classification_free(r), POCKETBERT_OK);
    let none = get!(pocketbert_classify_batch(m, null(), null(), 0, null())).unwrap();
    assert_eq!(get!(pocketbert_classification_count(none)), Ok(0));
    assert_eq!(pocketbert_classification_free(none), POCKETBERT_OK);
    // Refused: NULL with a length, bytes that are not UTF-8, an array that is NULL or not aligned.
    let bad = |t: *const pocketbert_text, n| get!(pocketbert_classify_batch(m, t, null(), n, null())).err();
    let null_text = [text("x"), pocketbert_text { data: null(), length: 1 }];
    assert_eq!(bad(null_text.as_ptr(), 2), Some(POCKETBERT_INVALID_ARGUMENT));
    assert!(message().contains("element 1") && message().contains("NULL"), "{}", message());
    let latin = [pocketbert_text { data: [b'x', 0xE4].as_ptr().cast(), length: 2 }];
    assert_eq!(bad(latin.as_ptr(), 1), Some(POCKETBERT_INVALID_ARGUMENT));
    assert!(message().contains("byte 1"));
    assert_eq!(bad(null(), 1), Some(POCKETBERT_INVALID_ARGUMENT));
    assert_eq!(bad(all.as_ptr(), usize::MAX), Some(POCKETBERT_INVALID_ARGUMENT));
    assert_eq!(bad(all.as_ptr().wrapping_byte_add(1), 1), Some(POCKETBERT_INVALID_ARGUMENT));
    let long = [pocketbert_text { data: all[0].data, length: usize::MAX - 1 }];
    assert_eq!(bad(long.as_ptr(), 1), Some(POCKETBERT_INVALID_ARGUMENT));
    assert_eq!(pocketbert_model_close(m), POCKETBERT_OK);
}

#[test]
fn every_task_with_options_and_names() {
    let _alone = alone();
    let m = model();
    let (t, n) = (c"text".as_ptr(), POCKETBERT_NUL_TERMINATED);
    let words = [text("two"), text("words")];
    let names = [c"a".as_ptr(), c"b".as_ptr()];
    let token = get!(pocketbert_cancel_new()).unwrap();
    let mut call: pocketbert_call_options = get!(pocketbert_call_options_default()).unwrap();
    call.cancel = token;
    call.timeout_ms = 1 << 40;

    let mut o: pocketbert_classify_options = get!(pocketbert_classify_options_default()).unwrap();
    (o.allow, o.allow_count, o.head, o.call) = (names.as_ptr(), 2, c"stub".as_ptr(), &call);
    let r = get!(pocketbert_classify(m, t, n, &o)).unwrap();
    assert_eq!(pocketbert_classification_free(r), POCKETBERT_OK);
    o.head = c"other".as_ptr();
    assert_eq!(get!(pocketbert_classify(m, t, n, &o)).err(), Some(POCKETBERT_NOT_FOUND));
    o.allow_count = 3;
    o.allow = null();
    assert_eq!(get!(pocketbert_classify(m, t, n, &o)).err(), Some(POCKETBERT_INVALID_ARGUMENT));

    let r = get!(pocketbert_tag_words(m, words.as_ptr(), 2, null())).unwrap();
    let e: pocketbert_entity = get!(pocketbert_tags_entity(r, 0, 0)).unwrap();
    assert_eq!((string(e.label).as_str(), e.place.bytes.end), ("all", 9));
    assert_eq!(pocketbert_tags_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_answer(m, t, n, t, n, null())).unwrap();
    let a: pocketbert_answer_span = get!(pocketbert_answers_span(r, 0, 0)).unwrap();
    assert_eq!((a.place.utf16.end, a.logit), (4, 1.0));
    assert_eq!(pocketbert_answers_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_summarize(m, t, n, null())).unwrap();
    assert!(get!(pocketbert_summary_sentence(r, 0, 0)).is_ok());
    assert_eq!(pocketbert_summary_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_embed_batch(m, words.as_ptr(), 2, null())).unwrap();
    let cosine: f32 = get!(pocketbert_vectors_cosine(r, 0, r, 1)).unwrap();
    assert!((cosine - 1.0).abs() < 1e-6);
    let narrow = get!(pocketbert_vectors_convert(r, 1, 2)).unwrap();
    let v: pocketbert_vector = get!(pocketbert_vectors_get(narrow, 0)).unwrap();
    // SAFETY: one step, and the vectors are not freed.
    assert_eq!((v.dims, unsafe { *v.steps }), (1, 127));
    let size: usize = get!(pocketbert_vectors_store(narrow, 0, null_mut(), 0)).unwrap();
    let mut bytes = vec![0u8; size];
    assert_eq!(get!(pocketbert_vectors_store(narrow, 0, bytes.as_mut_ptr(), size)), Ok(size));
    let again = get!(pocketbert_vectors_load(bytes.as_ptr(), size, 1)).unwrap();
    let ranking = get!(pocketbert_vectors_nearest(again, 0, narrow, 1)).unwrap();
    assert_eq!(get!(pocketbert_ranking_count(ranking)), Ok(1));
    for v in [r, narrow, again] {
        assert_eq!(pocketbert_vectors_free(v), POCKETBERT_OK);
    }
    assert_eq!(pocketbert_ranking_free(ranking), POCKETBERT_OK);

    let r = get!(pocketbert_rerank(m, t, n, words.as_ptr(), 2, null())).unwrap();
    assert_eq!(get!(pocketbert_ranking_count(r)), Ok(2));
    assert_eq!(pocketbert_ranking_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_fill_mask(m, c"a\xC3\xA9".as_ptr(), n, null())).unwrap();
    let c: pocketbert_candidate = get!(pocketbert_mask_fill_candidate(r, 0, 0, 0)).unwrap();
    assert_eq!((string(c.token).as_str(), string(c.filled.data).as_str(), c.filled.length), ("x", "aé", 3));
    assert_eq!(pocketbert_mask_fill_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_zero_shot(m, t, n, words.as_ptr(), 2, null())).unwrap();
    let l: pocketbert_zero_shot_label = get!(pocketbert_zero_shot_labels_label(r, 0, 1)).unwrap();
    assert_eq!((string(l.name).as_str(), l.index), ("words", 1));
    assert_eq!(pocketbert_zero_shot_labels_free(r), POCKETBERT_OK);

    let r = get!(pocketbert_analyze(m, t, n, null())).unwrap();
    let part = get!(pocketbert_analysis_classification(r, 0, 0)).unwrap();
    assert_eq!(get!(pocketbert_analysis_tags(r, 0, 0)).err(), Some(POCKETBERT_INVALID_ARGUMENT));
    assert_eq!(pocketbert_analysis_free(r), POCKETBERT_OK);
    assert_eq!(get!(pocketbert_classification_count(part)), Ok(1));
    assert_eq!(pocketbert_classification_free(part), POCKETBERT_OK);

    let r = get!(pocketbert_tokenize(m, t, n, null(), 0, null())).unwrap();
    let view: pocketbert_tokens_view = get!(pocketbert_tokens_get(r)).unwrap();
    // SAFETY: arrays are as long as they say, and the tokens are not freed.
    assert_eq!(unsafe { (view.count, *view.ids, (*view.spans).end) }, (1, 5, 4));
    assert_eq!(pocketbert_tokens_free(r), POCKETBERT_OK);

    let (ids, lengths, mut values) = ([7u32, 8], [1usize, 1], [0f32; 2]);
    let (i, l, v) = (ids.as_ptr(), lengths.as_ptr(), values.as_mut_ptr());
    assert_eq!(get!(pocketbert_run_ids(m, i, i, 2, l, 2, 0, &call, v, 2)), Ok(2));
    assert_eq!(values, [0.5, 1.5]);
    let v = values.as_mut_ptr();
    let refused = Some(POCKETBERT_INVALID_ARGUMENT);
    assert_eq!(get!(pocketbert_run_ids(m, i, null(), 2, l, 2, 0, null(), v, 1)).err(), refused);
    assert_eq!(get!(pocketbert_run_ids(m, i, null(), 2, l, 1, 0, null(), v, 2)).err(), refused);
    assert_eq!(get!(pocketbert_run_ids(m, i, null(), 1, l, 2, 0, null(), v, 2)).err(), refused);

    assert_eq!(pocketbert_cancel_trip(token), POCKETBERT_OK);
    assert_eq!(
        get!(pocketbert_run_ids(m, i, null(), 2, l, 2, 0, &call, v, 2)).err(),
        Some(POCKETBERT_CANCELLED)
    );
    assert_eq!(pocketbert_cancel_free(token), POCKETBERT_OK);
    assert_eq!(pocketbert_model_close(m), POCKETBERT_OK);
}

#[test]
fn a_panic_is_a_status_and_changes_nothing() {
    let _alone = alone();
    let m = model();
    // SAFETY: static strings.
    unsafe { pocketbert_test_fault(c"pocketbert_classify".as_ptr()) };
    let mut r = null_mut();
    // SAFETY: arguments of a careful caller.
    let status = unsafe { pocketbert_classify(m, c"x".as_ptr(), 1, null(), &mut r) };
    // SAFETY: NULL is allowed.
    unsafe { pocketbert_test_fault(null()) };
    assert_eq!(
        (status, r.is_null(), pocketbert_error_status()),
        (POCKETBERT_INTERNAL, true, POCKETBERT_INTERNAL)
    );
    assert!(message().contains("a panic was caught"));
    let r = get!(pocketbert_classify(m, c"x".as_ptr(), 1, null())).unwrap();
    // A success left the message alone.
    assert!(message().contains("a panic was caught"));
    pocketbert_error_clear();
    assert_eq!((message().as_str(), pocketbert_error_depth()), ("", 0));
    assert_eq!(pocketbert_classification_free(r), POCKETBERT_OK);
    assert_eq!(pocketbert_model_close(m), POCKETBERT_OK);
}

#[test]
fn errors_belong_to_a_thread() {
    let _alone = alone();
    assert_eq!(pocketbert_model_close(null_mut()), POCKETBERT_INVALID_ARGUMENT);
    assert_eq!(pocketbert_error_depth(), 2);
    std::thread::spawn(|| assert_eq!(pocketbert_error_depth(), 0)).join().unwrap();
    assert_eq!(string(pocketbert_error_frame(0)), "pocketbert_model_close");
    assert!(pocketbert_error_frame(2).is_null());
}

#[test]
fn threads_share_a_model_that_one_of_them_closes() {
    let _alone = alone();
    let m = model().addr();
    let work = move || {
        let m = std::ptr::without_provenance_mut::<pocketbert_model>(m);
        for _ in 0..if cfg!(miri) { 5 } else { 200 } {
            match get!(pocketbert_classify(m, c"x".as_ptr(), 1, null())) {
                Ok(r) => assert_eq!(pocketbert_classification_free(r), POCKETBERT_OK),
                Err(status) => assert_eq!(status, POCKETBERT_INVALID_ARGUMENT),
            }
        }
        pocketbert_model_close(m)
    };
    let threads: Vec<_> = (0..3).map(|_| std::thread::spawn(work)).collect();
    let statuses: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
    assert_eq!(statuses.iter().filter(|s| **s == POCKETBERT_OK).count(), 1);
}

static LINES: AtomicUsize = AtomicUsize::new(0);

unsafe extern "C" fn count_lines(context: *mut c_void, level: i32, line: *const c_char) {
    assert!(context.is_null() && level == 3 && !string(line).is_empty());
    // SAFETY: NULL is allowed.
    let inside = unsafe { pocketbert_set_log(3, None, null_mut()) };
    assert_eq!(inside, POCKETBERT_FAILED_PRECONDITION);
    LINES.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn lines_go_to_the_log_function() {
    let _alone = alone();
    // SAFETY: a function of that type.
    unsafe {
        assert_eq!(pocketbert_set_log(3, Some(count_lines), null_mut()), POCKETBERT_OK);
        assert_eq!(pocketbert_model_close(model()), POCKETBERT_OK);
        assert_eq!(pocketbert_set_log(2, Some(count_lines), null_mut()), POCKETBERT_OK);
        assert_eq!(pocketbert_model_close(model()), POCKETBERT_OK);
        assert_eq!(pocketbert_set_log(3, None, null_mut()), POCKETBERT_OK);
    }
    assert_eq!(LINES.load(Ordering::SeqCst), 1);
}

#[test]
fn outputs_that_are_missing() {
    let _alone = alone();
    let m = model();
    // SAFETY: NULL is refused.
    let status: pocketbert_status = unsafe { pocketbert_classify(m, c"x".as_ptr(), 1, null(), null_mut()) };
    assert_eq!(status, POCKETBERT_INVALID_ARGUMENT);
    assert!(message().contains("`result`"));
    assert_eq!(pocketbert_model_close(m), POCKETBERT_OK);
}
