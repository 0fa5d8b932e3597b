//! `bench --profile`: where the time goes, by operator and by layer.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::Outcome;
use super::args::Bench;
use super::bench::Bed;
use super::progress::Progress;
use crate::error::Result;
use crate::model::NodeStats;

/// A line of the profile: milliseconds of one run, and nodes.
type Share = (String, f64, usize);

/// Averages runs of one length and writes them.
pub fn profile(bed: &Bed, length: usize, a: &Bench, out: &mut impl Write) -> Outcome {
    let runs = a.repeats.min(20);
    let nodes = average(bed, length, a.batch, runs)?;
    let total: f64 = nodes.iter().map(ms).sum();
    let by_operator = sorted(group(nodes.iter().map(|n| (format!("{} ({})", n.op, n.dtype), n))));
    let layers = layers(&nodes);
    let by_layer = group(layers.iter().cloned().zip(&nodes));
    if a.json {
        let list = |shares: &[Share]| {
            shares.iter().map(|(n, t, c)| json!({"name": n, "ms": t, "nodes": c})).collect::<Vec<_>>()
        };
        let each: Vec<_> = nodes
            .iter()
            .zip(&layers)
            .map(
                |(n, l)| json!({"node": n.name, "operator": n.op, "dtype": n.dtype, "layer": l, "ms": ms(n)}),
            )
            .collect();
        let report = json!({
            "length": length, "batch": a.batch, "runs": runs, "total_ms": total,
            "operators": list(&by_operator), "layers": list(&by_layer), "nodes": each,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{} x {length} tokens, mean of {runs} runs: {total:.3} ms in operators", a.batch)?;
    for (title, shares) in [("by operator", &by_operator), ("by layer", &by_layer)] {
        writeln!(out, "\n  {title}")?;
        for (name, t, count) in shares {
            writeln!(
                out,
                "    {name:<28} {t:>9.3} ms {:>5.1} %  {count:>4} nodes",
                t / total.max(1e-9) * 100.0
            )?;
        }
    }
    writeln!(out)?;
    Ok(())
}

fn ms(n: &NodeStats) -> f64 {
    n.time.as_secs_f64() * 1e3
}

/// The nodes of one run with their mean time over `runs`.
fn average(bed: &Bed, length: usize, sequences: usize, runs: usize) -> Result<Vec<NodeStats>> {
    let batch = bed.batch(sequences, length)?;
    let progress = Progress::new("profiling, runs:", runs as u64);
    // The first run has pages to fault in.
    let mut nodes = bed.stats(&batch)?;
    nodes.iter_mut().for_each(|n| n.time = Duration::ZERO);
    for _ in 0..runs {
        for (sum, n) in nodes.iter_mut().zip(bed.stats(&batch)?) {
            sum.time += n.time;
        }
        progress.add(1);
    }
    nodes.iter_mut().for_each(|n| n.time /= runs.max(1) as u32);
    Ok(nodes)
}

/// Sums by name, in the order of first appearance.
fn group<'a>(named: impl Iterator<Item = (String, &'a NodeStats)>) -> Vec<Share> {
    let mut shares: Vec<Share> = vec![];
    for (name, n) in named {
        match shares.iter_mut().find(|s| s.0 == name) {
            Some(s) => {
                s.1 += ms(n);
                s.2 += 1;
            }
            None => shares.push((name, ms(n), 1)),
        }
    }
    shares
}

fn sorted(mut shares: Vec<Share>) -> Vec<Share> {
    shares.sort_by(|a, b| b.1.total_cmp(&a.1));
    shares
}

/// Which part of the model each node is in. Names say little (exporters number nodes as they like), the
/// order of a post-norm encoder says all: embeddings end at the first layer norm, and each layer at its
/// second after its attention; what follows the last layer are the heads.
fn layers(nodes: &[NodeStats]) -> Vec<String> {
    let attentions = nodes.iter().filter(|n| n.op == "Attention").count();
    let mut layer: Option<usize> = None;
    let mut norms = 0;
    let mut attended = false;
    nodes
        .iter()
        .map(|n| {
            let name = match layer {
                None if attentions > 0 => "embeddings".to_string(),
                Some(l) if l < attentions => format!("layer {l}"),
                _ => "heads".to_string(),
            };
            attended |= n.op == "Attention";
            if n.op == "LayerNorm" {
                match layer {
                    None => layer = Some(0),
                    Some(l) if attended => {
                        norms += 1;
                        if norms == 2 {
                            (layer, norms, attended) = (Some(l + 1), 0, false);
                        }
                    }
                    _ => {}
                }
            }
            name
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_follow_from_the_order_of_nodes() {
        let ops = "Lookup Lookup Add LayerNorm Linear Attention Linear LayerNorm Linear Linear LayerNorm \
                   Linear Attention Linear LayerNorm Linear Linear LayerNorm SelectFirst Linear LayerNorm Linear";
        let nodes: Vec<_> = ops
            .split_whitespace()
            .map(|op| NodeStats {
                name: String::new(),
                op: op.into(),
                dtype: "f32",
                ours: true,
                kernels: vec![],
                time: Duration::from_millis(1),
            })
            .collect();
        let got = group(layers(&nodes).into_iter().zip(&nodes));
        let counts: Vec<_> = got.iter().map(|s| (s.0.as_str(), s.2)).collect();
        assert_eq!(counts, [("embeddings", 4), ("layer 0", 7), ("layer 1", 7), ("heads", 4)]);
    }
}
