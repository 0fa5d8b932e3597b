//! `include/pocketbert.h` is what cbindgen makes of the sources. `POCKETBERT_BLESS=1` writes it.

use std::path::Path;

/// The chapters of the header: functions come in this order.
fn make() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).expect("cbindgen.toml");
    let bindings =
        cbindgen::Builder::new().with_src(folder.join("src/lib.rs")).with_config(config).generate();
    let mut header = vec![];
    bindings.expect("the sources").write(&mut header);
    let header = String::from_utf8(header).expect("UTF-8");
    // What a Rust reader needs to see is of no use to C.
    let unsafe_chapter = |h: &str| {
        let mut out = vec![];
        let mut skip = false;
        for line in h.lines() {
            match line.trim() {
                "# Safety" => {
                    skip = true;
                    while out.last().is_some_and(|l: &&str| l.trim().is_empty()) {
                        out.pop();
                    }
                }
                "*/" => skip = false,
                _ => {}
            }
            if !skip {
                out.push(line);
            }
        }
        out.join("\n") + "\n"
    };
    unsafe_chapter(&header)
}

#[test]
fn the_header_is_that_of_the_sources() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("include/pocketbert.h");
    let made = make();
    if std::env::var_os("POCKETBERT_BLESS").is_some() {
        std::fs::write(&path, &made).expect("write the header");
    }
    let committed = std::fs::read_to_string(&path).expect("include/pocketbert.h");
    let differs = committed.lines().zip(made.lines()).position(|(a, b)| a != b);
    assert!(
        committed == made,
        "include/pocketbert.h differs from the sources, first at line {differs:?}: run this test with POCKETBERT_BLESS=1"
    );
}

#[test]
fn every_exported_function_is_in_the_header() {
    let header = make();
    let mut missing = vec![];
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src") {
        let path = entry.expect("src").path();
        let source = std::fs::read_to_string(&path).expect("a source");
        for after in source.split("extern \"C\" fn ").skip(1) {
            let name = after.split('(').next().unwrap_or_default();
            let hooks = path.ends_with("hooks.rs");
            if name.starts_with("pocketbert_") && header.contains(&format!("{name}(")) == hooks {
                missing.push(name.to_string());
            }
        }
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn every_constant_is_in_the_header() {
    let header = make();
    let mut count = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).expect("src") {
        let source = std::fs::read_to_string(entry.expect("src").path()).expect("a source");
        for line in source.lines().filter(|l| l.trim_start().starts_with("POCKETBERT_") && l.contains(" = "))
        {
            assert!(header.contains(line.trim()), "`{}` is not in the header", line.trim());
            count += 1;
        }
    }
    assert!(count > 60, "only {count} constants were looked for");
}
