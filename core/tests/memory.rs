//! Memory: what fails when there is none, what a limit allows, what a warm call allocates, how much stack it takes.
//!
//! The allocator of this program counts, and can refuse one allocation. It refuses only those that the library marks
//! as fallible (`pocketbert::memory`): what tract and the tokenizer allocate for themselves ends the process where
//! memory ends, as any allocation in Rust does.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, OpenOptions, Output, RunOptions};
use pocketbert::{ErrorKind, TextClassifier};

const LARGE: usize = 4096;

thread_local! {
    /// Allocations of any size.
    static ALL: Cell<usize> = const { Cell::new(0) };
    /// Those over [`LARGE`] that may fail.
    static FALLIBLE: Cell<usize> = const { Cell::new(0) };
    /// Those over [`LARGE`] that may not.
    static ABORTING: Cell<usize> = const { Cell::new(0) };
    /// Which of them fails; 0: none.
    static REFUSED: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

/// Whether an allocation of `size` bytes is to fail.
fn refuse(size: usize) -> bool {
    ALL.set(ALL.get() + 1);
    if size <= LARGE {
        return false;
    }
    if !pocketbert::memory::fallible() {
        ABORTING.set(ABORTING.get() + 1);
        return false;
    }
    FALLIBLE.set(FALLIBLE.get() + 1);
    FALLIBLE.get() == REFUSED.get()
}

// SAFETY: every call goes to the system's allocator as it came, or gives null, which says that there is no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout`.
        if refuse(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        if refuse(layout.size()) { std::ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, p: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: `p` came from the system's allocator with `layout`.
        if refuse(size) { std::ptr::null_mut() } else { unsafe { System.realloc(p, layout, size) } }
    }

    unsafe fn dealloc(&self, p: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(p, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn path(name: &str) -> String {
    format!("{}/../models/{name}.pbert", env!("CARGO_MANIFEST_DIR"))
}

fn open(name: &str, memory_limit: Option<usize>) -> pocketbert::Result<Model> {
    let options = OpenOptions { copy_into_memory: true, memory_limit, ..OpenOptions::default() };
    Model::open(path(name), &options)
}

fn run(model: &Model, lengths: &[usize]) -> pocketbert::Result<Vec<Output>> {
    let mut batch = Batch::new();
    for &n in lengths {
        batch.push((0..n as i64).map(|i| 5 + i * 7 % 900), None, None);
    }
    model.plan().run(&batch, &[0], options())
}

fn options() -> RunOptions<'static> {
    RunOptions { isa: Isa::best(), threads: 1, stop: Default::default(), stats: None }
}

#[test]
fn each_large_buffer_may_be_refused() {
    let want = open("tiny", None).and_then(|m| run(&m, &[100, 30])).unwrap();
    let mut refused = 0;
    let got = loop {
        FALLIBLE.set(0);
        REFUSED.set(refused + 1);
        let result = open("tiny", None).and_then(|m| run(&m, &[100, 30]));
        REFUSED.set(0);
        match result {
            Ok(got) => break got,
            Err(e) => assert_eq!(e.kind(), ErrorKind::ResourceExhausted, "buffer {refused}: {e}"),
        }
        refused += 1;
    };
    assert_eq!(got, want);
    // At least: the file, the inputs or rows of each operator, queries to values, the wide rows, the answer.
    println!("{refused} buffers refused");
    assert!(refused >= 10, "only {refused} buffers over {LARGE} bytes");
}

#[test]
fn no_large_allocation_of_a_run_ends_the_process() {
    for name in ["tiny", "everyday"] {
        let model = open(name, None).unwrap();
        let outputs: Vec<usize> = (0..model.plan().outputs().len()).collect();
        let mut batch = Batch::new();
        for n in [200, 30, 250] {
            batch.push((0..n).map(|i| 5 + i * 7 % 900), None, None);
        }
        // The first run of an output plans it, which is tract's work.
        for &o in &outputs {
            let mut one = Batch::new();
            one.push([5], None, None);
            model.plan().run(&one, &[o], options()).unwrap();
        }
        ABORTING.set(0);
        FALLIBLE.set(0);
        for &o in &outputs {
            model.plan().run(&batch, &[o], options()).unwrap();
        }
        assert!(FALLIBLE.get() > 10 && ABORTING.get() == 0, "{name}: {} {}", FALLIBLE.get(), ABORTING.get());
    }
}

#[test]
fn a_model_that_was_refused_memory_still_answers() {
    let model = open("tiny", None).unwrap();
    let want = run(&model, &[100]).unwrap();
    for n in 1.. {
        FALLIBLE.set(0);
        REFUSED.set(n);
        let result = run(&model, &[100 + n]);
        REFUSED.set(0);
        assert_eq!(run(&model, &[100]).unwrap(), want);
        match result {
            Ok(_) => break,
            Err(e) => assert_eq!(e.kind(), ErrorKind::ResourceExhausted, "{e}"),
        }
    }
}

#[test]
fn a_limit_refuses_what_is_over_it() {
    let free = open("tiny", None).unwrap();
    let file = std::fs::metadata(path("tiny")).unwrap().len() as usize;
    let opened = free.memory_used();
    assert!(opened > file, "{opened} bytes for a file of {file}");
    run(&free, &[16]).unwrap();
    let short = free.memory_used();
    let want = run(&free, &[128]).unwrap();
    let long = free.memory_used();
    assert!(opened < short && short < long, "{opened} {short} {long}");
    // What ran stays, and is used again.
    run(&free, &[128]).unwrap();
    assert_eq!(free.memory_used(), long);

    let refused = |r: pocketbert::Result<Model>| {
        let e = r.expect_err("over the limit");
        assert_eq!(e.kind(), ErrorKind::ResourceExhausted);
        assert!(e.message().contains("memory_limit"), "{e}");
    };
    refused(open("tiny", Some(file - 1)));
    refused(open("tiny", Some(opened - 1)));
    let bytes = std::fs::read(path("tiny")).unwrap();
    let options = OpenOptions { memory_limit: Some(file - 1), ..OpenOptions::default() };
    refused(Model::open_bytes(bytes, &options));

    // Enough to open and for a short text, not for a long one; after the refusal the short one runs as before.
    let model = open("tiny", Some(short + (long - short) / 2)).unwrap();
    let first = run(&model, &[16]).unwrap();
    let e = run(&model, &[128]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::ResourceExhausted, "{e}");
    assert_eq!(run(&model, &[16]).unwrap(), first);
    // Twice as much as a run keeps is enough for its values, too.
    assert_eq!(run(&open("tiny", Some(long * 2)).unwrap(), &[128]).unwrap(), want);
}

/// Allocations of the second of two calls of `f`, with the sum of its answers.
fn warm(mut f: impl FnMut() -> f32) -> usize {
    let first = f();
    let before = ALL.get();
    let second = f();
    let after = ALL.get();
    assert_eq!(first, second);
    after - before
}

#[test]
fn a_warm_run_of_ids_allocates_nothing() {
    let ids: [u32; 100] = std::array::from_fn(|i| 5 + i as u32 * 7);
    for name in ["tiny", "everyday"] {
        let model = open(name, None).unwrap();
        for (o, info) in model.plan().outputs().iter().enumerate() {
            let mut batch = Batch::new();
            let mut run = |lengths: &[usize]| {
                warm(|| {
                    batch.clear();
                    for &n in lengths {
                        batch.try_push(&ids[..n], None).unwrap();
                    }
                    let sum = |x: &[pocketbert::model::OutputRef]| Ok(x[0].data.iter().sum());
                    model.plan().run_read(&batch, &[o], options(), sum).unwrap()
                })
            };
            // Scores of the whole vocabulary for each token are too much to keep.
            if info.picked {
                continue;
            }
            assert_eq!(run(&[100, 7]), 0, "{name}, output `{}`", info.name);
            // Shorter ones need no more.
            assert_eq!(run(&[32]), 0);
        }
    }
}

#[test]
fn a_warm_call_with_text_allocates_little() {
    let classifier = TextClassifier::open(path("tiny")).unwrap();
    let text = "book a table for two in Paris";
    let calls = warm(|| classifier.classify(text).unwrap().labels[0].probability);
    println!("{calls} allocations for `{text}`");
    assert!(calls <= WARM_TEXT, "{calls}");
}

/// Most allocations of a warm call with a sentence of seven words: the tokenizer's, and the answer.
const WARM_TEXT: usize = 220;

#[test]
fn half_a_megabyte_of_stack_is_enough() {
    for name in ["tiny", "everyday"] {
        let work = move || {
            let classifier = TextClassifier::open(path(name)).unwrap();
            let text = "the battery lasts two days and the screen is bright ".repeat(9);
            classifier.classify(&text).unwrap().labels.len()
        };
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(work).unwrap();
        assert!(thread.join().unwrap() > 0);
    }
}
