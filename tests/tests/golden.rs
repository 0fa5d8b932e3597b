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
    // All of them natively; under an emulator, where the generic kernels take a second per text, a part.
    let native = cfg!(target_arch = "x86_64");
    for isa in Isa::available() {
        let every = match (native, isa) {
            (true, _) => 1,
            (false, Isa::Generic) => 24,
            (false, _) => 4,
        };
        check("tiny", isa, every);
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
