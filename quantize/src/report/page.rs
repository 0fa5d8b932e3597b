//! One page without anything from outside: verdict first, then what it rests on.

use pocketbert::Result;

use super::facts::Facts;
use super::plots::{self, Whisker};
use super::{change, esc, number, power, tables};
use crate::validate::layers::LayerNoise;
use crate::validate::{Pool, SetResult, Validation};

const STYLE: &str = include_str!("style.css");

/// Bytes as people read them.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A section; empty without a body.
fn section(title: &str, lead: &str, body: String) -> String {
    match body.is_empty() {
        true => body,
        false => format!("<section><h2>{}</h2><p>{}</p>{body}</section>", esc(title), esc(lead)),
    }
}

/// The page.
pub fn html(v: &Validation, facts: &Facts) -> Result<String> {
    let plain: Vec<&SetResult> = v.sets.iter().filter(|r| r.slice.is_empty()).collect();
    let mut o = head(facts);
    o += &cards(v, facts);
    o += &gates(facts);
    o += &section(
        "Flips",
        "Answers that differ from FP32's, in percent with 95 % intervals. A red line is the gate on all texts together.",
        flips(v, &plain, facts)?,
    );
    o += &section(
        "Sets",
        "Small print: 95 % intervals (Wilson for rates, 1,000 bootstrap resamples of texts otherwise). Change and macro F1: int8 less FP32. ECE at T: int8 at the temperature of the bundle.",
        tables::sets(&plain),
    );
    if !v.slices.is_empty() {
        let mut body = tables::slices(&v.slices);
        let sliced: Vec<&SetResult> = v.sets.iter().filter(|r| !r.slice.is_empty()).collect();
        body += &format!("<details><summary>Each slice of each set <span>{}</span></summary>", sliced.len());
        body += &tables::sets(&sliced);
        body += "</details>";
        o += &section(
            "As people type and dictate",
            "The same texts changed by seeded rules, each slice over all sets that have labels of texts.",
            body,
        );
    }
    if plain.iter().any(|r| !r.operating.is_empty()) {
        o += &section(
            "At the thresholds",
            "Chosen on held-out texts and stored in the bundle. FP32 → int8; small print: int8's 95 % interval.",
            tables::operating(&plain),
        );
    }
    o += &people(v);
    o += &reliability(&plain)?;
    let matrices: String =
        plain.iter().filter(|r| !r.confusion.is_empty()).map(|r| tables::confusion(r)).collect();
    if !matrices.is_empty() {
        o +=
            &section("Confusion", "Rows: right. Columns: int8.", format!("<div class=grid>{matrices}</div>"));
    }
    o += &examples(&plain);
    o += &layers(v, facts)?;
    o += &census(v, facts);
    o += &sources(&plain, facts);
    Ok(o + "</main></html>\n")
}

fn head(facts: &Facts) -> String {
    let failed = facts.verdicts.iter().filter(|v| !v.passed).count();
    let (class, verdict) = match (facts.verdicts.len(), failed) {
        (0, _) => ("none", "Measured, not judged".to_string()),
        (1, 0) => ("pass", "Passes its gate".to_string()),
        (n, 0) => ("pass", format!("Passes all {n} gates")),
        (n, f) => ("fail", format!("Fails {f} of {n} gates")),
    };
    let name = format!("{} {}", facts.model.0, facts.model.1);
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width,initial-scale=1'>\
         <title>{}: {verdict}</title><style>{STYLE}</style><main><header class={class}><h1>{verdict}</h1>\
         <p><b>{}</b> in int8 beside {}, measured with the engine that ships.</p></header>",
        esc(name.trim()),
        esc(name.trim()),
        esc(&facts.sources.reference.0.file_name().map_or("FP32".into(), |n| n.to_string_lossy())),
    )
}

fn cards(v: &Validation, facts: &Facts) -> String {
    let mut o = String::from("<section class=cards>");
    let mut card = |value: String, what: &str, more: String| {
        o += &format!("<div class=card><b>{value}</b><strong>{what}</strong><span>{more}</span></div>");
    };
    let p: &Pool = &v.pooled;
    if p.units > 0 {
        let (a, b) = p.flips_interval;
        card(
            format!("{:.2} %", 100.0 * p.flips as f64 / p.units as f64),
            "flips",
            format!("{} of {} texts; 95 %: {:.2} to {:.2}", p.flips, p.units, 100.0 * a, 100.0 * b),
        );
        let range =
            p.kl_interval.map_or(String::new(), |(a, b)| format!("; 95 %: {} to {}", power(a), power(b)));
        card(power(p.kl), "mean KL", format!("nats, of the probabilities{range}"));
        let range = p
            .drop_interval
            .map_or(String::new(), |(a, b)| format!("; change {} to {}", change(-b), change(-a)));
        card(format!("{:.2}", p.quality.1), "accuracy, %", format!("FP32 {:.2}{range}", p.quality.0));
    }
    let share = match facts.sizes.1 {
        0 => String::new(),
        fp32 => format!("{:.0} % of FP32's {}", 100.0 * facts.sizes.0 as f64 / fp32 as f64, size(fp32)),
    };
    card(size(facts.sizes.0), "size", share);
    if let Some(i) = &v.invariance {
        let what = format!("of {} texts run {} other ways", i.texts, i.ways.len());
        card(i.other_bits().to_string(), "other bits", what);
    }
    o + "</section>"
}

fn gates(facts: &Facts) -> String {
    let mut rows = String::new();
    for v in facts.verdicts {
        let (class, text) = if v.passed { ("pass", "holds") } else { ("fail", "fails") };
        let interval = v
            .interval
            .map_or(String::new(), |(a, b)| format!("<small>{} … {}</small>", number(a), number(b)));
        rows += &format!(
            "<tr><td><span class='tag {class}'>{text}</span><td class=n>{}{interval}<td><code>{}</code><td>{}",
            number(v.value),
            esc(&v.gate),
            esc(&v.at)
        );
    }
    match rows.is_empty() {
        true => rows,
        false => section(
            "Gates",
            "What the model must hold. Small print: 95 % intervals.",
            tables::table(&["", "#found", "gate", "where"], &rows),
        ),
    }
}

fn flips(v: &Validation, plain: &[&SetResult], facts: &Facts) -> Result<String> {
    let goal = facts
        .verdicts
        .iter()
        .find_map(|v| v.gate.strip_prefix("flips<=")?.trim().trim_end_matches('%').trim().parse().ok());
    let share = |flips: usize, units: usize| 100.0 * flips as f64 / units.max(1) as f64;
    let hundred = |(a, b): (f64, f64)| (100.0 * a, 100.0 * b);
    let sets: Vec<Whisker> = plain
        .iter()
        .map(|r| Whisker {
            name: format!("{} · {} ({})", r.head, r.name, r.units),
            at: share(r.flips, r.units),
            interval: hundred(r.flips_interval),
        })
        .collect();
    let slices: Vec<Whisker> = std::iter::once(("as they are", &v.pooled))
        .chain(v.slices.iter().map(|(s, p)| (s.as_str(), p)))
        .filter(|(_, p)| p.units > 0)
        .map(|(s, p)| Whisker {
            name: format!("{s} ({})", p.units),
            at: share(p.flips, p.units),
            interval: hundred(p.flips_interval),
        })
        .collect();
    let mut o = format!(
        "<div class=two><figure>{}<figcaption>by set (units)</figcaption></figure>",
        plots::whiskers(&sets, "%", goal)?
    );
    if slices.len() > 1 {
        o += &format!(
            "<figure>{}<figcaption>texts with labels by slice (texts)</figcaption></figure>",
            plots::whiskers(&slices, "%", goal)?
        );
    }
    Ok(o + "</div>")
}

fn people(v: &Validation) -> String {
    let mut o = String::new();
    for i in &v.identity {
        let range = |(a, b): (f64, f64)| format!("95 %: {a:.1} to {b:.1}");
        let lead = format!(
            "The same harmless sentences about different people, by the {}: how often {} calls them something else than “{}”. The gap between the worst and the best is {:.1} points in FP32 ({}) and {:.1} in int8 ({}); change {}.",
            i.by,
            i.head,
            i.harmless,
            i.reference_gap,
            range(i.reference_gap_interval),
            i.model_gap,
            range(i.model_gap_interval),
            range(i.rise_interval),
        );
        o += &section("False positives by who is named", &lead, tables::identity(i));
    }
    o
}

fn reliability(plain: &[&SetResult]) -> Result<String> {
    let mut o = String::new();
    for r in plain.iter().filter(|r| !r.reliability.is_empty()) {
        let ece = r.ece.map_or(String::new(), |e| format!("ECE {:.3}", e[2].value));
        o += &format!(
            "<figure>{}<figcaption><b>{}</b> · {} · {ece}</figcaption></figure>",
            plots::reliability(&r.reliability)?,
            esc(&r.name),
            esc(&r.head)
        );
    }
    let body = if o.is_empty() { o } else { format!("<div class=grid>{o}</div>") };
    Ok(section(
        "Reliability",
        "How often an int8 answer of a given confidence is right, at the temperature of the bundle. Stronger bars hold more texts; on the red line confidence is honest.",
        body,
    ))
}

fn examples(plain: &[&SetResult]) -> String {
    let mut o = String::new();
    for r in plain {
        if !r.examples.is_empty() {
            o += &format!(
                "<details><summary>{} <span>{} · {} flips</span></summary>{}</details>",
                esc(&r.name),
                esc(&r.head),
                r.flips,
                tables::texts(&r.examples)
            );
        }
        if !r.nearest.is_empty() {
            o += &format!(
                "<details><summary>{} <span>{} · nearest the margin</span></summary>{}</details>",
                esc(&r.name),
                esc(&r.head),
                tables::texts(&r.nearest)
            );
        }
    }
    section(
        "Texts that flipped, and texts near it",
        "Least margin first: probability of FP32's answer less the next (score for spans, likeness for vectors).",
        o,
    )
}

fn layers(v: &Validation, facts: &Facts) -> Result<String> {
    if v.layers.is_empty() {
        return Ok(String::new());
    }
    let mut o =
        format!("<div class=wide><div style='min-width:560px'>{}</div></div>", plots::noise(&v.layers)?);
    let linear: Vec<&LayerNoise> = v.layers.iter().filter(|l| l.op == "Linear").collect();
    o += "<h3>Inputs of the linear layers</h3><p><span class=key style='background:var(--blue);opacity:.45'></span>FP32 <span class=key style='background:var(--orange);margin-left:1em'></span>int8. Counts in powers of ten.</p><div class=grid>";
    for l in linear {
        let seen = facts.calibration.and_then(|c| c.layer(&l.name));
        let loud =
            seen.map_or(String::new(), |l| format!(", loudest channel {:.0}× the median", l.loudness()));
        o += &format!(
            "<figure>{}<figcaption><b>{:.1} dB</b> · {}<br>{:.2} to {:.2} → {:.2} to {:.2}{loud}</figcaption></figure>",
            plots::histogram(l)?,
            l.sqnr,
            esc(&l.name),
            l.reference_range.0,
            l.reference_range.1,
            l.model_range.0,
            l.model_range.1,
        );
    }
    o += "</div><details><summary>Every node <span>SQNR and ranges of what it reads</span></summary>";
    let mut rows = String::new();
    for (i, l) in v.layers.iter().enumerate() {
        rows += &format!(
            "<tr><td class=n>{i}<td>{}<td>{}<td class=n>{:.1}<td class=n>{:.3} … {:.3}<td class=n>{:.3} … {:.3}",
            esc(&l.name),
            esc(&l.op),
            l.sqnr,
            l.reference_range.0,
            l.reference_range.1,
            l.model_range.0,
            l.model_range.1
        );
    }
    o += &tables::table(&["#", "node", "operator", "#SQNR dB", "#FP32 range", "#int8 range"], &rows);
    Ok(section(
        "Layers",
        "Signal to noise of what each node reads, int8 beside FP32, on the same texts: noise of all layers before it. Dots are linear layers.",
        o + "</details>",
    ))
}

fn census(v: &Validation, facts: &Facts) -> String {
    let mut rows = String::new();
    for c in &facts.census {
        rows += &format!(
            "<tr><td>{}<td>{}<td class=n>{}<td>{}",
            esc(&c.op),
            c.dtype,
            c.count,
            esc(&c.kernels.join(", "))
        );
    }
    let mut o = tables::table(&["operator", "type", "#nodes", "kernels"], &rows);
    if let Some(i) = &v.invariance {
        let mut rows = String::new();
        for w in &i.ways {
            let (class, text) =
                if w.other_bits == 0 { ("pass", "same bits") } else { ("fail", "other bits") };
            rows += &format!(
                "<tr><td><span class='tag {class}'>{text}</span><td>{}<td class=n>{}<td class=n>{}",
                esc(&w.how),
                w.values,
                w.other_bits
            );
        }
        o += &format!(
            "<h3>Runs that must agree</h3><p>{} texts, beside each alone on {} and one thread.</p>{}",
            i.texts,
            esc(&i.kernel),
            tables::table(&["", "way", "#values", "#other bits"], &rows)
        );
    }
    if !facts.entries.is_empty() {
        let rows: String = facts
            .entries
            .iter()
            .map(|(n, b)| format!("<tr><td>{}<td class=n>{}", esc(n), size(*b)))
            .collect();
        o += &format!("<h3>Sizes</h3>{}", tables::table(&["entry", "#size"], &rows));
    }
    section("What ran", "Operators and kernels of one real run, counted by the engine.", o)
}

fn sources(plain: &[&SetResult], facts: &Facts) -> String {
    let mut o = String::from("<dl>");
    for (what, (path, sha)) in [("FP32", &facts.sources.reference), ("int8", &facts.sources.model)] {
        o += &format!("<dt>{what}<dd>{}<br><code>{sha}</code>", esc(&path.display().to_string()));
    }
    for r in plain {
        o += &format!("<dt>{}<dd>{}<br><code>{}</code>", esc(&r.name), r.role, r.sha256);
    }
    if let Some(recipe) = &facts.recipe {
        let text = serde_json::to_string_pretty(recipe).unwrap_or_default();
        o += &format!("<dt>Recipe<dd><pre>{}</pre>", esc(&text));
    }
    section("Sources", "Files by SHA-256. Nothing was chosen by a test set.", o + "</dl>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::Verdict;
    use crate::validate::{Flip, Sources};

    #[test]
    fn a_page_is_whole_and_needs_no_network() {
        let flip = Flip {
            text: "<script>alert(1)</script>".into(),
            reference: "no".into(),
            model: "yes".into(),
            gold: None,
            margin: 0.1,
        };
        let set = SetResult {
            head: "h".into(),
            name: "set <1>".into(),
            texts: 10,
            units: 10,
            flips: 1,
            flips_interval: (0.01, 0.4),
            mcnemar: Some(1.0),
            reliability: vec![crate::stats::Bin { n: 3, confidence: 0.9, accuracy: 1.0 }; 10],
            confusion: vec![vec![5, 1], vec![0, 4]],
            labels: vec!["no".into(), "yes".into()],
            examples: vec![flip.clone()],
            nearest: vec![flip],
            ..SetResult::default()
        };
        let verdicts = [Verdict {
            gate: "flips<=0.3%".into(),
            value: 10.0,
            interval: Some((1.0, 40.0)),
            at: "1 of 10".into(),
            passed: false,
        }];
        let sources =
            Sources { reference: ("a.onnx".into(), "00".into()), model: ("b.pbert".into(), "11".into()) };
        let facts = Facts {
            verdicts: &verdicts,
            sources: &sources,
            model: ("m<".into(), "1".into()),
            sizes: (1, 4),
            entries: vec![("weights.bin".into(), 3)],
            recipe: Some(serde_json::json!({"activations": "per-token"})),
            census: vec![],
            calibration: None,
        };
        let v = Validation { sets: vec![set], ..Validation::default() };
        let page = html(&v, &facts).unwrap();
        assert!(page.contains("Fails 1 of 1") && page.contains("set &lt;1&gt;") && page.contains("<svg"));
        assert!(
            page.contains("class='tag fail'>fails") && page.contains("per-token") && page.contains("m&lt;")
        );
        for bad in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(bad), "{bad}");
        }
    }
}
