//! Every golden case, bit for bit.

use pocketbert::kernels::Isa;
use pocketbert_tests::{answer, cases, model, texts};

fn check(name: &str, isa: Isa, every: usize) {
    let m = model(name).unwrap();
    let texts = texts().unwrap();
    let cases = cases(name).unwrap();
    assert!(cases.len() >= 200, "only {} golden cases for `{name}`", cases.len());
    for c in cases.iter().step_by(every) {
        let t = texts.iter().find(|t| t.id == c.id).unwrap_or_else(|| panic!("no text `{}`", c.id));
        assert_eq!(&answer(&m, t, isa).unwrap(), c, "`{}` on kernel {isa}", c.id);
    }
}

#[test]
fn tiny_on_every_kernel() {
    for isa in Isa::available() {
        check("tiny", isa, 1);
    }
}

/// The default model takes minutes under an emulator, so only native runs answer all its cases.
#[cfg(target_arch = "x86_64")]
#[test]
fn everyday_on_the_best_kernel() {
    check("everyday", Isa::best(), 1);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn everyday_on_generic() {
    check("everyday", Isa::Generic, 12);
}
