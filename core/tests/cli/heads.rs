//! `classify` with pairs and metrics, `analyze`, and what is bad input to them.

use super::*;
use pocketbert::ClassifyOptions;
use pocketbert::tasks::{Analyzer, HeadAnswer, TextInput};

#[test]
fn pairs_are_read_together() {
    let c = TextClassifier::open(MODEL).unwrap();
    let (a, b) = ("play some jazz", "in the kitchen");
    let expected = c.classify_pair(a, b, &ClassifyOptions::default()).unwrap();
    assert_ne!(expected.logits, c.classify(a).unwrap().logits);
    assert_eq!(
        expected.token_count,
        c.classify(a).unwrap().token_count + c.classify(b).unwrap().token_count - 1
    );
    let one = good(&["classify", a, "--pair", b, "--model", MODEL, "--json"], "");
    assert_eq!(bits(&f32s(&json(&one)["logits"])), bits(&expected.logits));
    // As lines, with a tab.
    let lines = good(&["classify", "-", "--pairs", "--model", MODEL, "--json"], format!("{a}\t{b}\n\t\n"));
    assert_eq!(lines.lines().next().unwrap(), one.trim_end());
    assert_eq!(lines.lines().count(), 2);
    let inputs: Vec<TextInput> = vec![(a, b).into(), ("", "").into()];
    let both = c.classify_inputs(&inputs, &ClassifyOptions::default()).unwrap();
    assert_eq!(both[0], expected);
}

#[test]
fn pairs_and_single_texts_do_not_mix() {
    let c = TextClassifier::open(MODEL).unwrap();
    for mixed in [[TextInput::from("a"), ("a", "b").into()], [("a", "b").into(), "a".into()]] {
        let e = c.classify_inputs(&mixed, &ClassifyOptions::default()).unwrap_err();
        assert_eq!(e.kind(), pocketbert::ErrorKind::InvalidArgument);
        assert!(e.message().contains("input 1") && e.message().contains("pair"), "{e}");
    }
    // A good line is answered before the bad one ends the command.
    let d = pocketbert(&["classify", "-", "--pairs", "--model", MODEL], "a\tb\nsecret alone\n");
    assert!(d.code == 2 && d.out.lines().count() == 1, "{}", d.err);
    assert!(d.err.contains("line 2") && d.err.contains("tab") && !d.err.contains("secret"), "{}", d.err);
    assert_eq!(pocketbert(&["classify", "-", "--pairs", "--model", MODEL], "a\tb\tc\n").code, 2);
    assert_eq!(pocketbert(&["classify", "-", "--pair", "b", "--model", MODEL], "a\n").code, 2);
}

#[test]
fn a_head_that_the_bundle_lacks_is_named_with_those_it_has() {
    for args in [["classify", "x", "--head", "nope"], ["analyze", "x", "--heads", "spam,nope"]] {
        let d = pocketbert(&[&args[..], &["--model", MODEL]].concat(), "");
        assert_eq!(d.code, 2);
        assert!(
            d.err.contains("`nope`") && d.err.contains("`intent`") && d.err.contains("`spam`"),
            "{}",
            d.err
        );
    }
    // One of another task is told apart.
    let d = pocketbert(&["classify", "x", "--head", "embed", "--model", MODEL], "");
    assert!(d.code == 2 && d.err.contains("does not classify"), "{}", d.err);
}

#[test]
fn labels_of_another_number_than_values_are_refused() {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let mut m = bundle.manifest().clone();
    m.heads.iter_mut().find(|h| h.name == "spam").unwrap().labels.push("neither".into());
    let mut writer = BundleWriter::new(m);
    for e in bundle.entries().skip(1) {
        writer.add(e.name(), e.bytes());
    }
    let path = temp("three-labels.pbert", &writer.to_vec().unwrap());
    for command in ["classify", "analyze"] {
        let d = pocketbert(&[command, "x", "--model", str(&path)], "");
        assert!(d.code == 2 && d.err.contains("`spam`") && d.err.contains("3 labels"), "{}", d.err);
    }
    let model = std::sync::Arc::new(Model::open(MODEL, &OpenOptions::default()).unwrap());
    let fit = pocketbert::tasks::ClassifierHead::find(&model, Some("spam")).unwrap();
    assert!(TextClassifier::with_head(model.clone(), fit.clone()).is_ok());
    type Change = fn(&mut pocketbert::tasks::ClassifierHead);
    let changes: [Change; 6] = [
        |h| drop(h.labels.pop()),
        |h| h.labels.push("more".into()),
        |h| h.temperature = 0.0,
        |h| h.thresholds = vec![0.5],
        |h| h.index += 100,
        |h| h.output = "slots".into(),
    ];
    for change in changes {
        let mut h = fit.clone();
        change(&mut h);
        let e = TextClassifier::with_head(model.clone(), h).unwrap_err();
        assert_eq!(e.kind(), pocketbert::ErrorKind::InvalidArgument, "{e}");
        assert!(e.message().contains("`spam`"), "{e}");
    }
}

#[test]
fn no_text_is_no_answer() {
    for command in ["classify", "analyze"] {
        assert_eq!(good(&[command, "-", "--model", MODEL, "--json"], ""), "");
        assert_eq!(good(&[command, "-", "--model", MODEL], ""), "");
    }
}

#[test]
fn a_bundles_temperature_and_thresholds_decide() {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let mut m = bundle.manifest().clone();
    let head = m.heads.iter_mut().find(|h| h.name == "intent").unwrap();
    head.temperature = 4.0;
    head.thresholds = [("PlayMusic".to_string(), 1.0)].into();
    let mut writer = BundleWriter::new(m);
    for e in bundle.entries().skip(1) {
        writer.add(e.name(), e.bytes());
    }
    let tuned = TextClassifier::from_model(
        std::sync::Arc::new(Model::open_bytes(writer.to_vec().unwrap(), &OpenOptions::default()).unwrap()),
        None,
    )
    .unwrap();
    let plain = TextClassifier::open(MODEL).unwrap();
    let (t, p) = (tuned.classify("play some jazz").unwrap(), plain.classify("play some jazz").unwrap());
    assert_eq!(t.logits, p.logits);
    assert_eq!(p.labels[0].label, "PlayMusic");
    // The label that its threshold rules out is gone; the others are as sure as the temperature says.
    assert!(t.labels.len() == p.labels.len() - 1 && t.labels.iter().all(|l| l.label != "PlayMusic"));
    let exact: Vec<f64> = p.logits.iter().map(|x| (f64::from(*x) / 4.0).exp()).collect();
    let sum: f64 = exact.iter().sum();
    for l in &t.labels {
        assert!((f64::from(l.probability) - exact[l.index] / sum).abs() < 1e-6);
    }
    let all = ClassifyOptions { threshold: Some(0.0), ..ClassifyOptions::default() };
    assert_eq!(tuned.classify_with("play some jazz", &all).unwrap().labels.len(), p.labels.len());
}

#[test]
fn analyze_shows_what_the_library_says() {
    let analyzer = Analyzer::open(MODEL).unwrap();
    let lines = good(&["analyze", "-", "--model", MODEL, "--json"], TEXTS.join("\n") + "\n");
    assert_eq!(lines.lines().count(), TEXTS.len());
    for (text, line) in TEXTS.iter().zip(lines.lines()) {
        let (v, expected) = (json(line), analyzer.analyze(text).unwrap());
        assert_eq!(v["heads"].as_object().unwrap().len(), expected.heads.len());
        for h in &expected.heads {
            let part = &v["heads"][&h.head];
            if let HeadAnswer::Labels(c) = &h.answer {
                assert_eq!(bits(&f32s(&part["logits"])), bits(&c.logits));
                let own = good(&["classify", text, "--head", &h.head, "--model", MODEL, "--json"], "");
                assert_eq!(part, &json(&own));
            }
        }
        assert_eq!(good(&["analyze", text, "--model", MODEL, "--json"], "").trim_end(), line);
    }
    let file = temp("analyze.txt", TEXTS.join("\n").as_bytes());
    assert_eq!(good(&["analyze", "--file", str(&file), "--model", MODEL, "--json"], ""), lines);
}

#[test]
fn the_picture_is_plain_off_a_terminal_and_fits_its_columns() {
    let text = "book a table for two in Paris \u{1b}[31mred";
    let picture = |columns: &str| {
        let d = Command::new(env!("CARGO_BIN_EXE_pocketbert"))
            .args(["analyze", text, "--model", MODEL])
            .env("COLUMNS", columns)
            .output()
            .unwrap();
        assert!(d.status.success());
        String::from_utf8(d.stdout).unwrap()
    };
    let wide = picture("100");
    assert!(!wide.contains('\u{1b}') && wide.contains("\\u{1b}[31mred"), "{wide}");
    assert!(wide.contains("BookRestaurant") && wide.contains('█') && wide.contains("spam"), "{wide}");
    for columns in [100, 60, 34] {
        for line in picture(&columns.to_string()).lines() {
            assert!(line.chars().count() <= columns, "{columns}: {line:?}");
        }
    }
    // Several texts have a blank line between them.
    let two = good(&["analyze", "-", "--heads", "spam", "--model", MODEL], "one\ntwo\n");
    assert_eq!(two.matches("\n\n").count(), 1, "{two}");
}

#[test]
fn metrics_are_written_at_the_end_and_hold_no_text() {
    let file = |name: &str| Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (prom, plain) = (file("m.prom"), file("m.json"));
    let input = "Kreuzotter one\nKreuzotter two\nKreuzotter three\n";
    good(&["classify", "-", "--model", MODEL, "--metrics", str(&prom)], input);
    let page = std::fs::read_to_string(&prom).unwrap();
    assert!(page.contains("# TYPE pocketbert_calls_total counter"), "{page}");
    assert!(page.lines().any(|l| l.starts_with("pocketbert_texts_total{") && l.ends_with("} 3")), "{page}");
    good(&["analyze", "-", "--model", MODEL, "--metrics", str(&plain)], input);
    let all = json(&std::fs::read_to_string(&plain).unwrap());
    assert_eq!((&all[0]["task"], &all[0]["texts"]), (&"analyze".into(), &3.into()));
    assert!(all.as_array().unwrap().iter().any(|s| s["head"] == "spam" && s["judged"] == 3), "{all}");
    assert!(!page.contains("Kreuzotter") && !all.to_string().contains("Kreuzotter"));
    // Also of a command that ends with an error; a file that cannot be written is one.
    let bad = [&b"fine\n"[..], b"\xff\n"].concat();
    assert_eq!(pocketbert(&["classify", "-", "--model", MODEL, "--metrics", str(&plain)], bad).code, 2);
    let all = json(&std::fs::read_to_string(&plain).unwrap());
    assert_eq!(all[0]["texts"], 1);
    let d = pocketbert(&["classify", "x", "--model", MODEL, "--metrics", "/no/such/folder/m.prom"], "");
    assert_eq!(d.code, 2);
}
