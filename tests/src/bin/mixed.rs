//! What padding would cost: one sequence of 128 tokens with 31 of 16, beside 39 of 16 (the same number of
//! tokens), interleaved. `cargo run --release -p pocketbert-tests --bin mixed -- everyday`

use std::time::Instant;

use pocketbert::kernels::Isa;
use pocketbert::model::{Batch, Model};
use pocketbert::{Error, Result};
use pocketbert_tests::{model, options};

fn batch(lengths: &[usize]) -> Batch {
    let mut b = Batch::new();
    for (k, &n) in lengths.iter().enumerate() {
        b.push((0..n).map(|i| (1000 + (i * 37 + k * 101) % 4000) as i64), None, None);
    }
    b
}

fn time(m: &Model, b: &Batch) -> Result<f64> {
    let start = Instant::now();
    m.plan().run(b, &[0], options(Isa::best(), 1))?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

fn main() -> Result<()> {
    let name = std::env::args().nth(1).ok_or_else(|| Error::invalid("name a model of models/"))?;
    let m = model(&name)?;
    let mut mixed = vec![16; 31];
    mixed.insert(7, 128);
    let (mixed, even) = (batch(&mixed), batch(&[16; 39]));
    let mut rows: Vec<(f64, f64)> = vec![];
    for i in 0..34 {
        let row = (time(&m, &mixed)?, time(&m, &even)?);
        if i >= 4 {
            rows.push(row);
        }
    }
    let median = |mut v: Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let a = median(rows.iter().map(|r| r.0).collect());
    let b = median(rows.iter().map(|r| r.1).collect());
    let ratio = median(rows.iter().map(|r| r.0 / r.1).collect());
    println!("1x128 + 31x16: {a:.1} ms; 39x16: {b:.1} ms; ratio {ratio:.3}");
    Ok(())
}
