//! `inspect`, `tokenize`, `bench`, `self-test`.

use super::*;

#[test]
fn inspect_counts_what_ran() {
    let report = json(&good(&["inspect", MODEL, "--json"], ""));
    assert_eq!(report["bit_exact"], true);
    assert_eq!(report["kernel"], Isa::best().name());
    assert_eq!(report["file_bytes"], std::fs::metadata(MODEL).unwrap().len());
    let census = report["census"].as_array().unwrap();
    let count = |op: &str| census.iter().filter(|n| n["operator"] == op).count();
    assert!(count("SelfAttention") == 2 && count("FeedForward") == 2 && count("Linear") > 0);
    for n in census.iter().filter(|n| n["dtype"] == "i8" && n["operator"] != "Lookup") {
        let kernels = n["kernels"].as_object().unwrap();
        assert!(kernels.values().all(|c| c.as_u64() > Some(0)) && !kernels.is_empty(), "{n}");
        assert!(kernels.keys().all(|k| k.contains(Isa::best().name())), "{n}");
    }
    let counted: u64 =
        report["operators"].as_array().unwrap().iter().map(|o| o["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, census.len() as u64);

    let text = pocketbert(&["inspect", MODEL], "");
    assert!(text.code == 0 && text.out.contains("bit_exact: yes"));
    // The generic kernel is slow, and that is said loudly.
    let slow = pocketbert(&["inspect", MODEL, "--kernel", "generic"], "");
    assert!(slow.code == 0 && slow.err.contains("WARNING") && slow.err.contains("generic"), "{}", slow.err);
}

#[test]
fn tokenize_shows_ids_spans_and_cuts() {
    let text = "Zürich isn't \u{1F600}\u{1F600}, zyzzyvas";
    let v = json(&good(&["tokenize", MODEL, text, "--json"], ""));
    let ids = run(&serde_json::json!({ "text": text }).to_string(), &[])[0]["ids"][0].clone();
    assert_eq!(v["ids"], ids);
    let spans = v["spans"].as_array().unwrap();
    let mut last = 0;
    for (i, s) in spans.iter().enumerate() {
        if v["special"][i] == true {
            continue;
        }
        let (from, to) = (s[0].as_u64().unwrap() as usize, s[1].as_u64().unwrap() as usize);
        assert!(from >= last && to > from && text.get(from..to).is_some(), "token {i}: {from}..{to}");
        last = from;
    }
    assert_eq!(v["truncated"], Value::Null);

    let words = ["one", "two", "three", "four", "five", "six"];
    let cut = json(&good(&["tokenize", MODEL, &words.join(" "), "--json", "--max-length", "5"], ""));
    assert_eq!(cut["ids"].as_array().unwrap().len(), 5);
    let gap = &cut["truncated"]["cuts"][0];
    assert_eq!(gap["end"], words.join(" ").len());
    let table = good(&["tokenize", MODEL, "--max-length", "5", "--truncation", "tail"], words.join(" "));
    assert!(table.contains("bytes 0.."), "{table}");
    // Nothing in a text may drive the terminal.
    assert!(!good(&["tokenize", MODEL, "a\u{1b}[31mb"], "").contains('\u{1b}'));
}

#[test]
fn bench_reports_and_gates() {
    let few = ["--lengths", "4,8", "--repeats", "12", "--batch", "2"];
    let ask = |more: &[&str]| pocketbert(&[&["bench", MODEL], &few[..], more].concat(), "");
    let report = json(&ask(&["--json"]).out);
    for (row, length) in report["lengths"].as_array().unwrap().iter().zip([4, 8]) {
        assert_eq!((&row["length"], &row["batch"], &row["runs"]), (&length.into(), &2.into(), &12.into()));
        let w = &row["wall_ms"];
        let order = ["min", "p50", "p95", "p99"].map(|k| w[k].as_f64().unwrap());
        assert!(order[0] > 0.0 && order.is_sorted(), "{w}");
    }
    assert_eq!(report["lengths"].as_array().unwrap().len(), 2);
    let wide = "p99<=1000s, mean@4<=1000s, open<=1000s, first<1000s";
    assert_eq!(ask(&["--gate", wide]).code, 0);
    let missed = ask(&["--gate", &format!("{wide}, p50@8<=0us")]);
    assert_eq!(missed.code, 1);
    assert!(missed.err.contains("p50@8<=0us") && !missed.err.contains("p99"), "{}", missed.err);
    if cfg!(target_os = "linux") {
        assert_eq!(ask(&["--gate", "rss<=1TB"]).code, 2, "no such unit");
        assert_eq!(ask(&["--gate", "rss<=1000GB, dirty<=1000GB, cpu95<=1000s"]).code, 0);
        assert_eq!(ask(&["--gate", "rss<=1KB"]).code, 1);
    }
    let file = temp("bench.txt", TEXTS.join("\n").as_bytes());
    let with = json(&ask(&["--json", "--file", str(&file)]).out);
    assert_eq!(with["file"]["texts"], TEXTS.len());
    let profile = json(ask(&["--json", "--profile"]).out.lines().next().unwrap());
    let sum = |part: &str, field: &str| {
        profile[part].as_array().unwrap().iter().map(|p| p[field].as_f64().unwrap()).sum::<f64>()
    };
    let nodes = profile["nodes"].as_array().unwrap().len() as f64;
    assert_eq!((sum("operators", "nodes"), sum("layers", "nodes")), (nodes, nodes));
}

#[test]
fn bench_answers_orders_in_turn() {
    let d = pocketbert(&["bench", MODEL, "--interactive"], "1x4 3\n2x8 1\npeak\n");
    assert_eq!(d.code, 0, "{}", d.err);
    let lines: Vec<_> = d.out.lines().map(json).collect();
    assert_eq!(lines.len(), 4);
    let peak = lines[3]["peak_gmacs"].as_f64();
    assert_eq!(peak.is_some_and(|p| p > 0.0), Isa::best() == Isa::Avx512Vnni, "{peak:?}");
    assert!(lines[0]["open"]["wall_ms"].as_f64() > Some(0.0) && lines[0]["memory"].is_object());
    for (line, n) in lines[1..3].iter().zip([3, 1]) {
        let times = ["wall_ms", "cpu_ms"].map(|k| line[k].as_array().unwrap().len());
        assert_eq!(times, [n, n]);
    }
    let bad = pocketbert(&["bench", MODEL, "--interactive"], "1x4 1\n1x4\n");
    assert!(bad.code == 2 && bad.out.lines().count() == 2 && bad.err.contains("line 2"), "{}", bad.err);
}

/// The tiny bundle written anew, with hashes that fit, after `change` has altered its weights.
fn remade(name: &str, change: impl Fn(&mut Vec<u8>, &ModelProto)) -> PathBuf {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let m = bundle.manifest().clone();
    let graph = ModelProto::decode(bundle.entry(&m.graph.entry).unwrap().bytes()).unwrap();
    let mut writer = BundleWriter::new(m.clone());
    for e in bundle.entries().skip(1) {
        let mut bytes = e.bytes().to_vec();
        if e.name() == m.weights.entry {
            change(&mut bytes, &graph);
        }
        writer.add(e.name(), bytes);
    }
    temp(name, &writer.to_vec().unwrap())
}

#[test]
fn self_test_finds_every_kind_of_change() {
    let fine = pocketbert(&["self-test", MODEL, "--json"], "");
    assert_eq!(fine.code, 0, "{}", fine.err);
    let report = json(&fine.out);
    assert!(
        report["passed"] == true && report["cases"].as_u64() > Some(0) && report["values"].as_u64() > Some(0)
    );
    assert_eq!(report["kernels"].as_array().unwrap().len(), Isa::available().len());

    let same = remade("same.pbert", |_, _| ());
    assert_eq!(pocketbert(&["self-test", str(&same)], "").code, 0);

    // One byte of the weights, hash and all else put right: only the answers tell.
    let changed = remade("rehashed.pbert", |weights, graph| {
        let graph = graph.graph.as_ref().unwrap();
        let linear = graph.node.iter().find(|n| n.op_type == "Linear").unwrap();
        let packed = graph.initializer.iter().find(|t| t.name == linear.input[1]).unwrap();
        let offset =
            packed.external_data.iter().find(|e| e.key == "offset").map_or("0", |e| e.value.as_str());
        weights[offset.parse::<usize>().unwrap()] ^= 0x40;
    });
    let d = pocketbert(&["self-test", str(&changed)], "");
    assert!(d.code == 1 && d.err.contains("other bits"), "{}: {}", d.code, d.err);
    assert_eq!(
        pocketbert(&["classify", "x", "--model", str(&changed)], "").code,
        0,
        "the file itself is sound"
    );

    // The same byte without a new hash, and a file cut short.
    let bytes = std::fs::read(MODEL).unwrap();
    let mut altered = bytes.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    for (name, bytes) in [("altered.pbert", &altered[..]), ("short.pbert", &bytes[..bytes.len() - 100])] {
        let path = temp(name, bytes);
        assert_eq!(pocketbert(&["self-test", str(&path)], "").code, 1, "{name}");
        assert_eq!(pocketbert(&["classify", "x", "--model", str(&path)], "").code, 2, "{name}");
    }
}

#[test]
fn a_bundle_without_cases_is_not_passed() {
    let bundle = Bundle::open_path(MODEL, &BundleOptions::default()).unwrap();
    let mut m = bundle.manifest().clone();
    m.self_test.clear();
    let mut writer = BundleWriter::new(m);
    for e in bundle.entries().skip(1) {
        writer.add(e.name(), e.bytes());
    }
    let path = temp("no-cases.pbert", &writer.to_vec().unwrap());
    let d = pocketbert(&["self-test", str(&path)], "");
    assert!(d.code == 1 && d.err.contains("no test cases"), "{}", d.err);
}
