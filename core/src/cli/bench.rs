//! `pocketbert bench`: time and memory.

use std::io::{BufWriter, Write};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::args::Bench;
use super::forward::wanted;
use super::gate::{Gate, Metric};
use super::io::{Lines, visible};
use super::measure::{Clock, Memory, Times, memory, percentile};
use super::profile::profile;
use super::progress::Progress;
use super::{Failure, Outcome, load};
use crate::cancel::Stop;
use crate::error::{Error, ErrorKind, Result};
use crate::kernels::{self, Isa};
use crate::model::{Batch, Model, NodeStats, Passes, RunOptions};
use crate::text::EncodeOptions;

/// Runs before the ones that count.
const WARM_UP: usize = 3;
/// Fewest runs that count, whatever the time.
const FEWEST: usize = 10;
/// Most tokens of one run.
const MAX_RUN_TOKENS: usize = 1 << 17;
/// Most tokens of one run on a file of texts, whatever `--batch` says.
const FILE_RUN_TOKENS: usize = 1 << 14;
/// Text that is read ahead for a batch, in bytes.
const GROUP_BYTES: usize = 64 << 20;

/// A model and how to run it.
pub struct Bed {
    pub model: Model,
    outputs: Vec<usize>,
    isa: Isa,
    threads: usize,
    seed: u64,
}

impl Bed {
    /// One timed run of what `--head` says.
    fn run(&self, batch: &Batch) -> Result<Times> {
        let clock = Clock::start();
        self.model.plan().run(batch, &self.outputs, self.options(None))?;
        Ok(clock.stop())
    }

    /// One run with the time of each node.
    pub fn stats(&self, batch: &Batch) -> Result<Vec<NodeStats>> {
        let mut nodes = vec![];
        self.model.plan().run(batch, &self.outputs, self.options(Some(&mut nodes)))?;
        Ok(nodes)
    }

    fn options<'a>(&self, stats: Option<&'a mut Vec<NodeStats>>) -> RunOptions<'a> {
        RunOptions { isa: self.isa, threads: self.threads, stop: Stop::default(), stats }
    }

    /// `sequences` sequences of `length` tokens drawn by the seed.
    pub fn batch(&self, sequences: usize, length: usize) -> Result<Batch> {
        let most = self.model.info().max_length;
        if length > most {
            return Err(Error::new(
                ErrorKind::OutOfRange,
                format!("length {length} is more than the model's {most} tokens"),
            ));
        }
        if sequences.saturating_mul(length) > MAX_RUN_TOKENS {
            return Err(Error::exhausted(format!(
                "{sequences} x {length} tokens are too many for one run (limit {MAX_RUN_TOKENS})"
            )));
        }
        let mut state = self.seed;
        let vocab = self.model.info().vocab.max(1) as u64;
        let mut batch = Batch::new();
        for _ in 0..sequences {
            let ids: Vec<i64> = (0..length).map(|_| (splitmix(&mut state) % vocab) as i64).collect();
            batch.push(ids, None, None);
        }
        Ok(batch)
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Figures of one length.
#[derive(Debug, Serialize)]
struct Row {
    length: usize,
    batch: usize,
    runs: usize,
    wall_ms: Spread,
    cpu_ms: Option<Spread>,
    tokens_per_s: f64,
}

#[derive(Debug, Serialize)]
struct Spread {
    mean: f64,
    min: f64,
    p50: f64,
    p95: f64,
    p99: f64,
}

impl Spread {
    fn of(mut v: Vec<f64>) -> Spread {
        v.sort_by(f64::total_cmp);
        let mean = v.iter().sum::<f64>() / v.len().max(1) as f64;
        let p = |x| percentile(&v, x);
        Spread { mean, min: p(0.0), p50: p(50.0), p95: p(95.0), p99: p(99.0) }
    }
}

/// What it costs to have the model.
#[derive(Debug, Serialize)]
struct LoadFigures {
    open: Times,
    first_answer: Times,
    open_to_first_answer: Times,
    memory: Memory,
}

/// Figures of a file of texts.
#[derive(Debug, Serialize)]
struct Texts {
    texts: usize,
    tokens: usize,
    truncated: usize,
    wall_s_per_1000: f64,
    cpu_s_per_1000: Option<f64>,
    texts_per_s: f64,
}

pub fn bench(a: &Bench) -> Outcome {
    let gate = a.gate.as_deref().map(Gate::parse).transpose()?;
    let texts = a.file.as_deref().map(|f| Lines::open(Some(f))).transpose()?;
    if let Some(g) = &gate {
        g.check_names(|name| match name.split_once('@') {
            Some((_, l)) => l.parse().is_ok_and(|l: usize| a.lengths.contains(&l)),
            None => name != "per1000" || a.file.is_some(),
        })?;
    }
    if !(0.0..=3600.0).contains(&a.seconds) {
        return Err(Error::invalid("`--seconds` must be from 0 to 3600").into());
    }
    let clock = Clock::start();
    let model = load::open(&a.model, &a.open, a.reference_semantics)?;
    // A profile names the operators inside a layer.
    model.plan().set_passes(Passes { first_rows: !a.all_rows, layers: !a.profile });
    let open = clock.stop();
    let bed = Bed {
        outputs: outputs(&model, a.head.as_deref())?,
        isa: a.engine.kernel.unwrap_or_else(Isa::best),
        threads: a.engine.threads,
        seed: a.seed,
        model,
    };
    // The first answer is that of a short text, as an app would ask; lengths come after.
    let first = bed.run(&bed.batch(1, bed.model.info().max_length.clamp(1, 16))?)?;
    let total = open.plus(first);
    let figures = LoadFigures { open, first_answer: first, open_to_first_answer: total, memory: memory() };
    if a.interactive {
        return interactive(&bed, a, &figures);
    }
    let mut out = BufWriter::new(std::io::stdout().lock());
    if a.profile {
        for &length in &a.lengths {
            profile(&bed, length, a, &mut out)?;
        }
        out.flush()?;
        return Ok(());
    }
    let rows = a.lengths.iter().map(|&l| measure(&bed, a, l)).collect::<Result<Vec<_>>>()?;
    let texts = texts.map(|lines| file(&bed, a, lines)).transpose()?;
    let after = memory();
    if a.json {
        let report = json!({
            "model": a.model.to_string_lossy(),
            "name": bed.model.info().name,
            "version": bed.model.info().version,
            "outputs": names(&bed),
            "kernel": bed.isa.name(),
            "threads": bed.threads,
            "load": figures,
            "lengths": rows,
            "memory": after,
            "file": texts,
        });
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        table(&mut out, &bed, &figures, &rows, after, texts.as_ref())?;
    }
    out.flush()?;
    let Some(gate) = gate else { return Ok(()) };
    let misses = gate.misses(&metrics(&figures, &rows, after, texts.as_ref()));
    match misses.is_empty() {
        true => Ok(()),
        false => Err(Failure::Check(format!("the gate was missed: {}", misses.join("; ")))),
    }
}

/// Indices of the outputs to compute.
fn outputs(model: &Model, head: Option<&str>) -> Result<Vec<usize>> {
    let default = model.bundle().and_then(|b| b.manifest().head(None)).map(|h| h.name.clone());
    let head = match head {
        Some("all") => None,
        Some(h) => Some(h.to_string()),
        None => default,
    };
    let mut indices: Vec<usize> = wanted(model, head.as_deref())?.iter().map(|w| w.index).collect();
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

fn names(bed: &Bed) -> Vec<&str> {
    let all = bed.model.plan().outputs();
    bed.outputs.iter().filter_map(|&i| all.get(i)).map(|o| o.name.as_str()).collect()
}

fn measure(bed: &Bed, a: &Bench, length: usize) -> Result<Row> {
    let progress = Progress::new(format!("length {length}, runs:"), a.repeats as u64);
    let batch = bed.batch(a.batch, length)?;
    for _ in 0..WARM_UP.min(a.repeats) {
        bed.run(&batch)?;
    }
    let start = Instant::now();
    let limit = Duration::from_secs_f64(a.seconds);
    let mut times = vec![];
    while times.len() < a.repeats && (times.len() < FEWEST || start.elapsed() < limit) {
        times.push(bed.run(&batch)?);
        progress.add(1);
    }
    let wall = Spread::of(times.iter().map(|t| t.wall_ms).collect());
    let cpu: Option<Vec<f64>> = times.iter().map(|t| t.cpu_ms).collect();
    Ok(Row {
        length,
        batch: a.batch,
        runs: times.len(),
        tokens_per_s: (length * a.batch) as f64 / wall.mean * 1e3,
        wall_ms: wall,
        cpu_ms: cpu.map(Spread::of),
    })
}

/// Tokenises and runs every line of a file.
fn file(bed: &Bed, a: &Bench, mut lines: Lines) -> Result<Texts> {
    let tokenizer = bed.model.tokenizer()?;
    let options = EncodeOptions { max_length: bed.model.info().max_length, ..EncodeOptions::default() };
    let progress = Progress::new("texts:", 0);
    let (mut texts, mut tokens, mut truncated) = (0, 0, 0);
    let (mut wall, mut cpu) = (0.0, Some(0.0));
    loop {
        // Reading the file does not count, tokenising does.
        let mut group = vec![];
        let mut bytes = 0;
        while group.len() < a.batch && bytes < GROUP_BYTES {
            match lines.next()? {
                Some(l) => {
                    bytes += l.len();
                    group.push(l);
                }
                None => break,
            }
        }
        if group.is_empty() {
            break;
        }
        let clock = Clock::start();
        let mut batch = Batch::new();
        for text in &group {
            let e = tokenizer.encode(text, None, &options).map_err(|e| lines.at(e))?;
            if batch.ids.len() + e.len() > FILE_RUN_TOKENS {
                bed.model.plan().run(&batch, &bed.outputs, bed.options(None))?;
                batch = Batch::new();
            }
            tokens += e.len();
            truncated += usize::from(e.truncated.is_some());
            let types: Vec<i64> = e.type_ids.iter().map(|&t| i64::from(t)).collect();
            batch.push(e.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
        }
        bed.model.plan().run(&batch, &bed.outputs, bed.options(None)).map_err(|e| lines.at(e))?;
        let t = clock.stop();
        wall += t.wall_ms;
        cpu = cpu.zip(t.cpu_ms).map(|(a, b)| a + b);
        texts += group.len();
        progress.add(group.len() as u64);
    }
    if texts == 0 {
        return Err(Error::invalid("the file of `--file` has no lines"));
    }
    // Milliseconds per text are seconds per 1,000 texts.
    let per = |ms: f64| ms / texts as f64;
    Ok(Texts {
        texts,
        tokens,
        truncated,
        wall_s_per_1000: per(wall),
        cpu_s_per_1000: cpu.map(per),
        texts_per_s: texts as f64 / wall * 1e3,
    })
}

fn metrics(f: &LoadFigures, rows: &[Row], m: Memory, texts: Option<&Texts>) -> Vec<Metric> {
    let mut all = vec![
        Metric::new("open", f.open.wall_ms),
        Metric::new("open_cpu", f.open.cpu_ms),
        Metric::new("first", f.open_to_first_answer.wall_ms),
        Metric::new("first_cpu", f.open_to_first_answer.cpu_ms),
        Metric::new("rss", m.resident.map(|b| b as f64)),
        Metric::new("dirty", m.private_dirty.map(|b| b as f64)),
        Metric::new("per1000", texts.and_then(|t| t.cpu_s_per_1000).map(|s| s * 1e3)),
    ];
    type Pick = fn(&Row) -> Option<f64>;
    let picks: [(&str, Pick); 7] = [
        ("p50", |r| Some(r.wall_ms.p50)),
        ("p95", |r| Some(r.wall_ms.p95)),
        ("p99", |r| Some(r.wall_ms.p99)),
        ("mean", |r| Some(r.wall_ms.mean)),
        ("cpu50", |r| r.cpu_ms.as_ref().map(|c| c.p50)),
        ("cpu95", |r| r.cpu_ms.as_ref().map(|c| c.p95)),
        ("cpu99", |r| r.cpu_ms.as_ref().map(|c| c.p99)),
    ];
    for (name, pick) in picks {
        all.extend(rows.iter().map(|r| Metric::new(format!("{name}@{}", r.length), pick(r))));
        // Without a length, a rule means all of them. One that is missing makes the sum missing.
        let worst = rows.iter().map(pick).try_fold(f64::NEG_INFINITY, |m, v| v.map(|v| m.max(v)));
        all.push(Metric::new(name, worst));
    }
    all
}

fn table(
    out: &mut impl Write,
    bed: &Bed,
    f: &LoadFigures,
    rows: &[Row],
    after: Memory,
    texts: Option<&Texts>,
) -> Outcome {
    let names: Vec<_> = names(bed).into_iter().map(visible).collect();
    writeln!(out, "{}: {}", visible(&bed.model.info().name), names.join(", "))?;
    writeln!(out, "kernel {}, {} thread(s)", bed.isa, bed.threads)?;
    let ms = |v: Option<f64>| v.map_or("-".to_string(), |v| format!("{v:.2}"));
    let both = |t: Times| format!("{:.1} ms ({} ms CPU)", t.wall_ms, ms(t.cpu_ms));
    writeln!(out, "open {}, first answer {}", both(f.open), both(f.first_answer))?;
    writeln!(out, "\n{:>9}  wall ms {:>30}  CPU ms {:>21}", "", "", "")?;
    writeln!(
        out,
        "{:>9} {:>8} {:>8} {:>8} {:>8} {:>9} {:>8} {:>8} {:>10} {:>6}",
        "batch x n", "mean", "p50", "p95", "p99", "p50", "p95", "p99", "tokens/s", "runs"
    )?;
    for r in rows {
        let w = &r.wall_ms;
        let c = r.cpu_ms.as_ref();
        writeln!(
            out,
            "{:>9} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>9} {:>8} {:>8} {:>10.0} {:>6}",
            format!("{}x{}", r.batch, r.length),
            w.mean,
            w.p50,
            w.p95,
            w.p99,
            ms(c.map(|c| c.p50)),
            ms(c.map(|c| c.p95)),
            ms(c.map(|c| c.p99)),
            r.tokens_per_s,
            r.runs
        )?;
    }
    let mb = |b: Option<u64>| b.map_or("unknown".to_string(), |b| format!("{:.1} MB", b as f64 / 1e6));
    writeln!(out, "\nmemory: {} resident, {} private dirty", mb(after.resident), mb(after.private_dirty))?;
    if let Some(t) = texts {
        writeln!(
            out,
            "{} texts, {} tokens, {} cut: {} CPU s and {:.3} wall s per 1,000 texts",
            t.texts,
            t.tokens,
            t.truncated,
            t.cpu_s_per_1000.map_or("-".into(), |s| format!("{s:.3}")),
            t.wall_s_per_1000
        )?;
    }
    Ok(())
}

/// One line of load figures, then an answer per line of standard input.
fn interactive(bed: &Bed, a: &Bench, figures: &LoadFigures) -> Outcome {
    let mut lines = Lines::open(None)?;
    let mut out = std::io::stdout().lock();
    let mut head = json!({
        "model": a.model.to_string_lossy(),
        "outputs": names(bed),
        "kernel": bed.isa.name(),
        "threads": bed.threads,
    });
    if let (Some(h), serde_json::Value::Object(f)) = (head.as_object_mut(), json!(figures)) {
        h.extend(f);
    }
    writeln!(out, "{head}")?;
    out.flush()?;
    while let Some(line) = lines.next()? {
        if line.trim() == "peak" {
            writeln!(out, "{}", json!({"peak_gmacs": peak(bed.isa)}))?;
            out.flush()?;
            continue;
        }
        let (sequences, length, repeats) = order(&line).map_err(|e| lines.at(e))?;
        let batch = bed.batch(sequences, length).map_err(|e| lines.at(e))?;
        let mut wall = vec![];
        let mut cpu = vec![];
        for _ in 0..repeats {
            let t = bed.run(&batch).map_err(|e| lines.at(e))?;
            wall.push(t.wall_ms);
            cpu.push(t.cpu_ms);
        }
        writeln!(out, "{}", json!({"wall_ms": wall, "cpu_ms": cpu}))?;
        out.flush()?;
    }
    Ok(())
}

/// Products of int8 per nanosecond on registers alone, one thread; `None` where that is not known.
fn peak(isa: Isa) -> Option<f64> {
    let clock = Clock::start();
    let products = kernels::register_products(isa, 1_000_000)?;
    clock.stop().cpu_ms.map(|ms| products as f64 / ms / 1e6)
}

/// Reads `<batch>x<length> <repeats>`.
fn order(line: &str) -> Result<(usize, usize, usize)> {
    let parse = || {
        let (size, repeats) = line.trim().split_once(char::is_whitespace)?;
        let (sequences, length) = size.split_once('x')?;
        let number = |s: &str| s.trim().parse::<usize>().ok().filter(|n| (1..=1 << 20).contains(n));
        Some((number(sequences)?, number(length)?, number(repeats)?))
    };
    parse().ok_or_else(|| Error::invalid("expected `<batch>x<length> <repeats>`, such as `1x64 20`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read() {
        assert_eq!(order("1x64 20"), Ok((1, 64, 20)));
        assert_eq!(order(" 8x16\t3 "), Ok((8, 16, 3)));
        for bad in ["", "1x64", "0x64 1", "1x0 1", "1x2 0", "ax2 1", "1x2 3 4", "1*2 3"] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_figure_is_not_a_passed_one() {
        let t = Times { wall_ms: 1.0, cpu_ms: None };
        let f = LoadFigures { open: t, first_answer: t, open_to_first_answer: t, memory: Memory::default() };
        let spread = || Spread { mean: 1.0, min: 1.0, p50: 1.0, p95: 1.0, p99: 1.0 };
        let row =
            |cpu| Row { length: 4, batch: 1, runs: 1, wall_ms: spread(), cpu_ms: cpu, tokens_per_s: 1.0 };
        let rows = [row(Some(spread())), row(None)];
        let m = metrics(&f, &rows, Memory::default(), None);
        let value = |n: &str| m.iter().find(|m| m.name == n).and_then(|m| m.value);
        assert_eq!(
            (value("p95"), value("cpu95"), value("rss"), value("open")),
            (Some(1.0), None, None, Some(1.0))
        );
    }
}
