//! `run`: any head on texts or token ids.

use super::*;

#[test]
fn run_gives_every_head_with_the_librarys_bits() {
    let model = Model::open(MODEL, &OpenOptions::default()).unwrap();
    let line = |t: &str| serde_json::json!({ "text": t }).to_string() + "\n";
    let answers = run(&TEXTS.map(line).concat(), &[]);
    let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
    for (text, answer) in TEXTS.iter().zip(&answers) {
        let options = EncodeOptions { max_length: model.info().max_length, ..EncodeOptions::default() };
        let e = model.tokenizer().unwrap().encode(text, None, &options).unwrap();
        assert_eq!(answer["ids"], serde_json::json!([e.ids]));
        let mut batch = Batch::new();
        batch.push(e.ids.iter().map(|&i| i64::from(i)), None, None);
        let run = RunOptions { isa: Isa::Generic, threads: 1, stop: Stop::default(), stats: None };
        let outputs = model.plan().run(&batch, &wanted, run).unwrap();
        // A head that fills masks answers where there is a mask only.
        let heads = &model.bundle().unwrap().manifest().heads;
        let heads: Vec<_> = heads.iter().filter(|h| h.task != Task::FillMask).collect();
        assert_eq!(answer["outputs"].as_object().unwrap().len(), heads.len());
        for h in heads {
            let o = outputs.iter().find(|o| o.info.name == h.output).unwrap();
            let mut shape = vec![1];
            shape.extend(o.info.per_token.then_some(e.len()));
            shape.extend((!o.info.flat).then_some(o.info.channels));
            let got = &answer["outputs"][&h.name];
            assert_eq!(got["shape"], serde_json::json!(shape), "{}", h.name);
            assert_eq!(bits(&f32s(&got["data"])), bits(&o.data), "{} of {text:?}", h.name);
        }
    }
}

/// Rows of several lengths, padded and not, for one model.
fn rows() -> (String, Vec<Vec<i64>>) {
    let vocab = Model::open(MODEL, &OpenOptions::default()).unwrap().info().vocab as i64;
    let rows: Vec<Vec<i64>> =
        [3, 7, 1].iter().map(|&n| (0..n).map(|i| (i * 37 + n * 11 + 5) % vocab).collect()).collect();
    (serde_json::json!({ "ids": rows }).to_string() + "\n", rows)
}

#[test]
fn batches_padding_and_kernels_change_no_bit() {
    let (line, rows) = rows();
    let together = run(&line, &[]);
    let longest = rows.iter().map(Vec::len).max().unwrap();
    // Each row alone.
    for (i, row) in rows.iter().enumerate() {
        let alone = &run(&serde_json::json!({ "ids": [row] }).to_string(), &[])[0];
        for (name, one) in alone["outputs"].as_object().unwrap() {
            let all = &together[0]["outputs"][name];
            let data = f32s(&all["data"]);
            let width = data.len() / rows.len();
            let mine = &data[i * width..(i + 1) * width];
            let one = f32s(&one["data"]);
            assert_eq!(bits(&mine[..one.len()]), bits(&one), "{name}, row {i}");
            assert!(mine[one.len()..].iter().all(|x| x.to_bits() == 0), "{name}, row {i}: padding is zero");
        }
    }
    // The same with padding that is masked.
    let pad = |row: &Vec<i64>, with: i64| [row.clone(), vec![with; longest - row.len()]].concat();
    let ids: Vec<_> = rows.iter().map(|r| pad(r, 1)).collect();
    let mask: Vec<_> = rows.iter().map(|r| pad(&vec![1; r.len()], 0)).collect();
    let padded = run(&serde_json::json!({ "ids": ids, "mask": mask }).to_string(), &[]);
    assert_eq!(padded[0]["outputs"], together[0]["outputs"]);
    assert_eq!(padded[0]["ids"], serde_json::json!(ids));
    // Many lines, packed and split in every way.
    let many = format!("{line}{{\"text\": \"good\"}}\n{{\"text\": \"is it\", \"pair\": \"yes\"}}\n{line}");
    let plain = good(&["run", MODEL], &many);
    assert_eq!(plain.lines().count(), 4);
    for isa in Isa::available() {
        for (batch, threads) in [("1", "2"), ("2", "1"), ("100", "3")] {
            let args = ["run", MODEL, "--batch", batch, "--threads", threads, "--kernel", isa.name()];
            assert_eq!(good(&args, &many), plain, "{args:?}");
        }
    }
}

#[test]
fn a_masked_token_in_the_middle_counts_for_nobody_else() {
    let with = |id: i64| {
        let line = serde_json::json!({"ids": [[2, id, 3, 4]], "mask": [[1, 0, 1, 1]]});
        run(&line.to_string(), &[])[0]["outputs"].clone()
    };
    let (a, b) = (with(5), with(6));
    let head = TextClassifier::open(MODEL).unwrap().head().unwrap().name.clone();
    assert_eq!(a[&head], b[&head]);
    let open = run("{\"ids\": [[2, 5, 3, 4]]}", &[])[0]["outputs"].clone();
    assert_ne!(a[&head], open[&head]);
}

#[test]
fn a_text_that_was_cut_says_so() {
    let text = "word ".repeat(2000);
    let answer = &run(&serde_json::json!({ "text": text }).to_string(), &[])[0];
    let longest = Model::open(MODEL, &OpenOptions::default()).unwrap().info().max_length;
    assert_eq!(
        (answer["ids"][0].as_array().unwrap().len(), &answer["truncated"]),
        (longest, &Value::Bool(true))
    );
    let short = &run("{\"text\": \"word\"}", &[])[0];
    assert!(short.get("truncated").is_none());
    let d = pocketbert(&["classify", &text, "--model", MODEL], "");
    assert!(d.code == 0 && d.err.contains("cut to"), "{}", d.err);
}

#[test]
fn one_head_can_be_chosen() {
    let head = TextClassifier::open(MODEL).unwrap().head().unwrap().name.clone();
    let (all, one) = (run("{\"text\": \"hm\"}", &[]), run("{\"text\": \"hm\"}", &["--head", &head]));
    assert_eq!(one[0]["outputs"].as_object().unwrap().len(), 1);
    assert_eq!(one[0]["outputs"][&head], all[0]["outputs"][&head]);
}
