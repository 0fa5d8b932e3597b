//! A bundle's file that is replaced while it is in use.

use std::sync::atomic::{AtomicBool, Ordering};

use pocketbert::TextClassifier;
use pocketbert_tests::root;

/// An app's update writes the new bundle beside the old one and renames it over. What is open goes on with the bytes
/// that it opened, to the bit; what opens later sees the new file.
#[test]
#[cfg(unix)]
fn a_file_replaced_by_rename_during_runs_changes_no_answer() {
    let folder = std::path::PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("replaced");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let (path, next) = (folder.join("model.pbert"), folder.join("next"));
    std::fs::copy(root().join("models/tiny.pbert"), &path).unwrap();
    let open = TextClassifier::open(&path).unwrap();
    let texts = ["play some jazz", "will it rain in Zürich", "book a table for two"];
    let before = open.classify_batch(&texts).unwrap();

    let (replaced, started) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|s| {
        let runs = s.spawn(|| {
            let mut after = 0;
            // At least 50 runs that begin after the file is another one.
            while after < 50 {
                if replaced.load(Ordering::Acquire) {
                    after += 1;
                }
                assert_eq!(open.classify_batch(&texts).unwrap(), before);
                started.store(true, Ordering::Release);
            }
        });
        while !started.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // Not even a bundle, and shorter than the pages that are mapped.
        std::fs::write(&next, b"something else").unwrap();
        std::fs::rename(&next, &path).unwrap();
        replaced.store(true, Ordering::Release);
        runs.join().unwrap();
    });
    assert!(TextClassifier::open(&path).is_err(), "the new file is what opens now");
}
