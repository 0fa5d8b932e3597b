//! What a validation found: a page for people, and the part that a bundle carries.

mod plots;

use pocketbert::Result;
use serde_json::{Value, json};

use crate::calibration::Calibration;
use crate::gates::Verdict;
use crate::validate::{Operating, SetResult, Sources, pool};

/// The part of a validation's result that a bundle carries: figures and hashes, no texts.
pub fn for_bundle(all: &Value) -> Value {
    let keep = [
        "head",
        "name",
        "slice",
        "role",
        "sha256",
        "texts",
        "units",
        "flips",
        "flips_interval",
        "quality",
        "kl_mean",
        "kl_max",
        "error_mean",
        "error_max",
        "ece",
        "mcnemar",
        "cosine",
        "operating",
    ];
    let empty = vec![];
    let sets: Vec<Value> = all["sets"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|s| {
            let kept = keep.iter().filter(|k| !s[**k].is_null()).map(|k| (k.to_string(), s[*k].clone()));
            Value::Object(kept.collect())
        })
        .collect();
    json!({
        "reference_sha256": all["sources"]["reference"][1],
        "model_sha256": all["sources"]["model"][1],
        "gates": all["gates"],
        "sets": sets,
    })
}

/// What a report shows besides the sets.
pub struct Facts<'a> {
    /// Gates.
    pub verdicts: &'a [Verdict],
    /// Files and hashes.
    pub sources: &'a Sources,
    /// Bytes of the model's file.
    pub size: u64,
    /// The bundle's recipe.
    pub recipe: Option<String>,
    /// Ranges and histograms of layers.
    pub calibration: Option<&'a Calibration>,
}

/// Text as HTML shows it.
fn esc(t: &str) -> String {
    t.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Three digits after the point, or powers of ten where that would say nothing.
pub fn number(x: f64) -> String {
    if x != 0.0 && x.abs() < 0.01 { format!("{x:.1e}") } else { format!("{x:.3}") }
}

fn percent(flips: usize, of: usize) -> String {
    format!("{:.2}", 100.0 * flips as f64 / of.max(1) as f64)
}

/// One page without anything from outside.
pub fn html(sets: &[SetResult], facts: &Facts) -> Result<String> {
    let mut o = String::new();
    let failed = facts.verdicts.iter().filter(|v| !v.passed).count();
    let (class, verdict) = match (facts.verdicts.len(), failed) {
        (0, _) => ("none", "Measured, not judged".to_string()),
        (n, 0) => ("pass", format!("Passes all {n} gates")),
        (n, f) => ("fail", format!("Fails {f} of {n} gates")),
    };
    let plain: Vec<&SetResult> = sets.iter().filter(|r| r.slice.is_empty()).collect();
    let p = pool(plain.iter().copied().filter(|r| r.mcnemar.is_some()));
    o += &format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>\
         <title>Validation: {}</title><style>{STYLE}</style><main><header class={class}><h1>{verdict}</h1>\
         <p>{} beside {}, on the engine that ships.</p></header>",
        esc(&facts.sources.model.0.display().to_string()),
        esc(&facts.sources.model.0.display().to_string()),
        esc(&facts.sources.reference.0.display().to_string()),
    );
    o += "<section class=cards>";
    let mut card = |value: String, what: String| {
        o += &format!("<div class=card><b>{value}</b><span>{what}</span></div>");
    };
    if p.units > 0 {
        card(
            format!("{} %", percent(p.flips, p.units)),
            format!(
                "flips: {} of {} texts with labels (95 %: {:.2} to {:.2})",
                p.flips,
                p.units,
                100.0 * p.flips_interval.0,
                100.0 * p.flips_interval.1
            ),
        );
        card(format!("{:.1e}", p.kl), "mean KL of the probabilities, in nats".into());
        card(format!("{:.2}", p.quality.1), format!("accuracy in %; FP32 {:.2}", p.quality.0));
    }
    card(format!("{:.1} MB", facts.size as f64 / 1e6), "size of the model".into());
    o += "</section>";
    if !facts.verdicts.is_empty() {
        o += "<section><h2>Gates</h2><div class=wide><table><tr><th>gate<th>found<th>where<th></tr>";
        for v in facts.verdicts {
            let (c, t) = if v.passed { ("pass", "holds") } else { ("fail", "FAILS") };
            o += &format!(
                "<tr><td><code>{}</code><td class=n>{}<td>{}<td class={c}>{t}",
                esc(&v.gate),
                number(v.value),
                esc(&v.at)
            );
        }
        o += "</table></div></section>";
    }
    let goal = facts
        .verdicts
        .iter()
        .find_map(|v| v.gate.strip_prefix("flips<=")?.trim().trim_end_matches('%').trim().parse().ok());
    o += &format!(
        "<section><h2>Flips</h2><p>Answers that differ from FP32's, with 95 % intervals.{}</p><div class=wide>{}</div></section>",
        if goal.is_some() { " The red line is the gate on all texts together." } else { "" },
        plots::flips(&plain, goal)?
    );
    o += "<section><h2>Sets</h2><div class=wide><table><tr><th>head<th>set<th>texts<th>measure<th>FP32<th>int8<th>change, 95 %<th>flips<th>%<th>KL mean<th>KL max<th>SQNR dB<th>McNemar p<th>ECE at T</tr>";
    for r in sets {
        let opt = |x: Option<f64>, f: fn(f64) -> String| x.map_or("–".to_string(), f);
        o += &format!(
            "<tr><td>{}<td>{}{}<td class=n>{}<td>{}<td class=n>{:.2}<td class=n>{:.2}<td class=n>{:+.2} … {:+.2}<td class=n>{}/{}<td class=n>{}<td class=n>{}<td class=n>{}<td class=n>{:.1}<td class=n>{}<td class=n>{}",
            esc(&r.head),
            esc(&r.name),
            if r.slice.is_empty() { String::new() } else { format!(" <i>{}</i>", esc(&r.slice)) },
            r.texts,
            r.quality.measure,
            r.quality.reference,
            r.quality.model,
            -r.quality.drop_interval.1,
            -r.quality.drop_interval.0,
            r.flips,
            r.units,
            percent(r.flips, r.units),
            opt(r.kl_mean, |x| format!("{x:.1e}")),
            opt(r.kl_max, |x| format!("{x:.1e}")),
            r.sqnr,
            opt(r.mcnemar, |x| format!("{x:.2}")),
            opt(r.ece.map(|e| e.2), |x| format!("{x:.3}")),
        );
    }
    o += "</table></div></section>";
    o += "<section><h2>Reliability</h2><p>How often an answer of a given confidence is right, at the bundle's temperature; darker bars hold more texts.</p><div class=grid>";
    for r in plain.iter().filter(|r| !r.reliability.is_empty()) {
        o += &format!(
            "<figure>{}<figcaption>{} · {}</figcaption></figure>",
            plots::reliability(&r.reliability)?,
            esc(&r.head),
            esc(&r.name)
        );
    }
    o += "</div></section>";
    confusion(&mut o, &plain);
    operating(&mut o, &plain);
    o += "<section><h2>Texts that flipped</h2><p>Nearest to FP32's own doubt first.</p>";
    for r in plain.iter().filter(|r| !r.examples.is_empty()) {
        o += &format!(
            "<details><summary>{} · {} ({})</summary><div class=wide><table><tr><th>text<th>FP32<th>int8<th>right<th>margin</tr>",
            esc(&r.head),
            esc(&r.name),
            r.flips
        );
        for f in &r.examples {
            o += &format!(
                "<tr><td class=t>{}<td>{}<td>{}<td>{}<td class=n>{:.3}",
                esc(&f.text),
                esc(&f.reference),
                esc(&f.model),
                esc(f.gold.as_deref().unwrap_or("–")),
                f.margin
            );
        }
        o += "</table></div></details>";
    }
    o += "</section>";
    if let Some(c) = facts.calibration {
        o += &format!(
            "<section><h2>Layers</h2><p>Inputs of the linear layers on {} calibration texts ({} tokens); bars count in powers of ten. “Loud” is the loudest channel beside the median one.</p><div class=grid>",
            c.texts, c.tokens
        );
        for l in c.layers.iter().filter(|l| l.rows > 1) {
            o += &format!(
                "<figure>{}<figcaption>{}<br>{:.2} to {:.2}, loud {:.0}×</figcaption></figure>",
                plots::histogram(l)?,
                esc(&l.name),
                l.min.0,
                l.max.0,
                l.loudness()
            );
        }
        o += "</div></section>";
    }
    o += "<section><h2>Sources</h2><dl>";
    for (what, (path, sha)) in [("FP32", &facts.sources.reference), ("int8", &facts.sources.model)] {
        o += &format!("<dt>{what}<dd>{}<br><code>{sha}</code>", esc(&path.display().to_string()));
    }
    for r in &plain {
        o += &format!("<dt>{}<dd>{}<br><code>{}</code>", esc(&r.name), r.role, r.sha256);
    }
    if let Some(recipe) = &facts.recipe {
        o += &format!("<dt>Recipe<dd><pre>{}</pre>", esc(recipe));
    }
    o += "</dl></section></main></html>";
    Ok(o)
}

fn confusion(o: &mut String, sets: &[&SetResult]) {
    *o += "<section><h2>Confusion</h2><p>Rows: right. Columns: int8.</p><div class=grid>";
    for r in sets.iter().filter(|r| !r.confusion.is_empty()) {
        *o += &format!("<figure><table class=confusion><tr><th>{}", esc(&r.name));
        r.labels.iter().for_each(|l| *o += &format!("<th>{}", esc(l)));
        for (l, row) in r.labels.iter().zip(&r.confusion) {
            let sum = row.iter().sum::<usize>().max(1);
            *o += &format!("<tr><th>{}", esc(l));
            for n in row {
                let share = *n as f64 / sum as f64;
                *o += &format!("<td class=n style='background:rgba(37,99,235,{:.2})'>{n}", 0.55 * share);
            }
        }
        *o += "</table></figure>";
    }
    *o += "</div></section>";
}

fn operating(o: &mut String, sets: &[&SetResult]) {
    let rows: Vec<(&SetResult, &Operating)> =
        sets.iter().flat_map(|r| r.operating.iter().map(move |p| (*r, p))).collect();
    if rows.is_empty() {
        return;
    }
    *o += "<section><h2>At the thresholds</h2><div class=wide><table><tr><th>set<th>label<th>from<th>precision<th>recall<th>false positives<th>false negatives<th>flips</tr>";
    for (r, p) in rows {
        *o += &format!("<tr><td>{}<td>{}<td class=n>{:.3}", esc(&r.name), esc(&p.label), p.threshold);
        for (a, b) in p.reference.iter().zip(&p.model) {
            *o += &format!("<td class=n>{:.2} → {:.2} %", 100.0 * a, 100.0 * b);
        }
        *o += &format!("<td class=n>{}", p.flips);
    }
    *o += "</table></div></section>";
}

const STYLE: &str = "\
:root{--ink:#0f172a;--soft:#64748b;--line:#e2e8f0;--paper:#fff;--back:#f8fafc;--pass:#15803d;--fail:#b91c1c}\
@media(prefers-color-scheme:dark){:root{--ink:#e2e8f0;--soft:#94a3b8;--line:#334155;--paper:#1e293b;--back:#0f172a;--pass:#4ade80;--fail:#f87171}}\
*{box-sizing:border-box}body{margin:0;background:var(--back);color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
main{max-width:1080px;margin:0 auto;padding:16px}h1{margin:0;font-size:1.7rem}h2{margin:0 0 8px;font-size:1.15rem}p{margin:4px 0 12px;color:var(--soft)}\
header,section{background:var(--paper);border:1px solid var(--line);border-radius:12px;padding:20px;margin:0 0 16px}\
header{border-left:8px solid var(--soft)}header.pass{border-color:var(--pass)}header.fail{border-color:var(--fail)}header p{margin:6px 0 0;overflow-wrap:anywhere}\
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:16px}.card b{display:block;font-size:1.7rem}.card span{color:var(--soft);font-size:.85rem}\
.wide{overflow-x:auto}.wide svg{max-width:none}td:nth-child(-n+2){white-space:nowrap}td.t{white-space:normal}.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,300px),1fr));gap:16px}\
figure{margin:0;overflow-x:auto}figcaption{font-size:.8rem;color:var(--soft);overflow-wrap:anywhere}svg{max-width:100%;height:auto;background:#fff;border-radius:8px}\
table{border-collapse:collapse;font-size:.85rem}th,td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}th{color:var(--soft);font-weight:600}\
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.t{min-width:240px}td.pass{color:var(--pass);font-weight:600}td.fail{color:var(--fail);font-weight:600}\
details{border-top:1px solid var(--line);padding:8px 0}summary{cursor:pointer}dt{font-weight:600;margin-top:8px}dd{margin:0;overflow-wrap:anywhere}code,pre{font-size:.8rem}pre{overflow-x:auto}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_stay_out_of_bundles() {
        let all = json!({
            "sources": {"reference": ["a.onnx", "00"], "model": ["b.pbert", "11"]},
            "gates": [],
            "sets": [{"head": "h", "flips": 1, "examples": [{"text": "secret"}]}],
        });
        let kept = for_bundle(&all);
        assert!(!kept.to_string().contains("secret"));
        assert_eq!((&kept["sets"][0]["flips"], &kept["reference_sha256"]), (&json!(1), &json!("00")));
    }

    #[test]
    fn a_page_is_whole_and_needs_no_network() {
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
            examples: vec![crate::validate::Flip {
                text: "<script>alert(1)</script>".into(),
                reference: "no".into(),
                model: "yes".into(),
                gold: None,
                margin: 0.1,
            }],
            ..SetResult::default()
        };
        let verdicts =
            [Verdict { gate: "flips<=0.3%".into(), value: 10.0, at: "1 of 10".into(), passed: false }];
        let sources =
            Sources { reference: ("a.onnx".into(), "00".into()), model: ("b.pbert".into(), "11".into()) };
        let facts =
            Facts { verdicts: &verdicts, sources: &sources, size: 1, recipe: None, calibration: None };
        let page = html(&[set], &facts).unwrap();
        assert!(page.contains("Fails 1 of 1") && page.contains("set &lt;1&gt;") && page.contains("<svg"));
        assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("href="));
    }
}
