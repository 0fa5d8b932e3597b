//! An answer's bits do not depend on the batch, its order, padding, threads or the host's float modes.

use std::collections::BTreeMap;
use std::sync::Arc;

use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model, Passes, RunOptions};
use pocketbert_tests::{encode, model, run, split, texts};

type Answers = Vec<BTreeMap<String, (Vec<usize>, Vec<u32>)>>;

fn sequences(m: &Model) -> Vec<(Vec<i64>, Vec<i64>)> {
    let all = texts().unwrap();
    all.iter()
        .map(|t| {
            let (ids, types) = encode(m, t).unwrap();
            (ids.iter().map(|&i| i64::from(i)).collect(), types)
        })
        .collect()
}

fn bits(m: &Model, batch: &Batch, threads: usize) -> Answers {
    let out = run(m, batch, Isa::best(), threads).unwrap();
    (0..batch.len())
        .map(|i| {
            split(&out, batch, i)
                .into_iter()
                .map(|(k, (s, d))| (k, (s, d.iter().map(|x| x.to_bits()).collect())))
                .collect()
        })
        .collect()
}

fn singly(m: &Model, seqs: &[(Vec<i64>, Vec<i64>)]) -> Answers {
    seqs.iter()
        .map(|(ids, types)| {
            let mut b = Batch::new();
            b.push(ids.iter().copied(), Some(types), None);
            bits(m, &b, 1).remove(0)
        })
        .collect()
}

#[test]
fn in_any_batch_on_any_number_of_threads() {
    let m = model("tiny").unwrap();
    let seqs = sequences(&m);
    assert!(seqs.len() >= 100);
    let single = singly(&m, &seqs);
    for (size, threads) in [(2, 1), (7, 2), (32, 3), (seqs.len(), 2)] {
        for (chunk, want) in seqs.chunks(size).zip(single.chunks(size)) {
            let mut b = Batch::new();
            for (ids, types) in chunk {
                b.push(ids.iter().copied(), Some(types), None);
            }
            assert_eq!(bits(&m, &b, threads), want, "batch of {size} on {threads} threads");
        }
    }
    // The other way round, and the longest next to the shortest.
    let mut order: Vec<usize> = (0..seqs.len()).rev().collect();
    order.sort_by_key(|i| seqs[*i].0.len() % 5);
    let mut b = Batch::new();
    for &i in &order {
        b.push(seqs[i].0.iter().copied(), Some(&seqs[i].1), None);
    }
    for (got, i) in bits(&m, &b, 1).iter().zip(&order) {
        assert_eq!(got, &single[*i]);
    }
}

#[test]
fn with_padding_behind_a_mask() {
    let m = model("tiny").unwrap();
    let seqs = sequences(&m);
    let single = singly(&m, &seqs);
    for ((ids, types), want) in seqs.iter().zip(&single).filter(|((ids, _), _)| ids.len() < 200) {
        let n = ids.len();
        let (mut ids, mut types) = (ids.clone(), types.clone());
        ids.resize(n + 9, 3);
        types.resize(n + 9, 0);
        let mask: Vec<i64> = (0..n + 9).map(|i| i64::from(i < n)).collect();
        let mut b = Batch::new();
        b.push(ids, Some(&types), Some(&mask));
        let got = bits(&m, &b, 1).remove(0);
        for (head, (shape, bits)) in want {
            // Per-token outputs have rows for the padding too; those of real tokens are the same.
            assert_eq!(&got[head].1[..bits.len()], &bits[..], "head `{head}` of shape {shape:?}");
        }
    }
}

#[test]
fn with_and_without_each_rewrite() {
    let m = model("tiny").unwrap();
    let mut batch = Batch::new();
    for (i, (ids, types)) in sequences(&m)[..60].iter().enumerate() {
        // Some with a masked tail, so that keys are left out.
        let mask: Vec<i64> =
            (0..ids.len()).map(|t| i64::from(t == 0 || i % 3 > 0 || t + 2 < ids.len())).collect();
        batch.push(ids.iter().copied(), Some(types), Some(&mask));
    }
    for (wanted, o) in m.plan().outputs().iter().enumerate() {
        let bits = |passes: Passes| {
            m.plan().set_passes(passes);
            let mut stats = vec![];
            let options = RunOptions {
                isa: Isa::best(),
                threads: 1,
                stop: Default::default(),
                stats: Some(&mut stats),
            };
            let data = m.plan().run(&batch, &[wanted], options).unwrap().remove(0).data;
            let count =
                |op: &str, part: &str| stats.iter().filter(|s| s.op == op && s.name.ends_with(part)).count();
            let of = [count("Attention", "(first)"), count("SelfAttention", ""), count("FeedForward", "")];
            (data.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), of)
        };
        let small = bits(Passes::NONE);
        assert_eq!(small.1, [0; 3]);
        let narrows = usize::from(!o.per_token && !["embed", "entail"].contains(&o.name.as_str()));
        for (passes, of) in [
            (Passes { first_rows: true, layers: false }, [narrows, 0, 0]),
            (Passes { first_rows: false, layers: true }, [0, 2, 2]),
            (Passes::ALL, [narrows, 2 - narrows, 2]),
        ] {
            let got = bits(passes);
            assert!(got.0 == small.0, "output `{}` after {passes:?}", o.name);
            assert_eq!(got.1, of, "output `{}` after {passes:?}", o.name);
        }
    }
}

#[test]
fn from_many_threads_at_once() {
    let m = Arc::new(model("tiny").unwrap());
    let seqs = Arc::new(sequences(&m)[..40].to_vec());
    let single = Arc::new(singly(&m, &seqs));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (m, seqs, single) = (m.clone(), seqs.clone(), single.clone());
            std::thread::spawn(move || assert_eq!(singly(&m, &seqs), *single))
        })
        .collect();
    for t in threads {
        t.join().unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_thread_is_left_behind() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let m = model("tiny").unwrap();
    let seqs = sequences(&m);
    let before = count();
    singly(&m, &seqs[..5]);
    let mut b = Batch::new();
    b.push(seqs[0].0.iter().copied(), None, None);
    bits(&m, &b, 2);
    // Other tests of this process come and go; a pool of ours would stay.
    for _ in 0..200 {
        if count() <= before {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(count() <= before + 4, "{before} threads before, {} after", count());
}
