//! The tables of the page.

use super::{change, esc, fixed, number, power};
use crate::stats::Rate;
use crate::validate::identity::Identity;
use crate::validate::{Flip, Operating, Pool, SetResult};

/// A table that scrolls by itself where it is too wide. A head that begins with `#` stands over numbers.
pub fn table(heads: &[&str], rows: &str) -> String {
    let heads: String = heads
        .iter()
        .map(|h| match h.strip_prefix('#') {
            Some(h) => format!("<th class=n>{}", esc(h)),
            None => format!("<th>{}", esc(h)),
        })
        .collect();
    format!("<div class=wide tabindex=0><table><thead><tr>{heads}<tbody>{rows}</table></div>")
}

/// A number with something small below.
fn n(value: impl std::fmt::Display, below: impl std::fmt::Display) -> String {
    format!("<td class=n>{value}<small>{below}</small>")
}

fn span((a, b): (f64, f64), digits: usize) -> String {
    format!("{} … {}", fixed(a, digits), fixed(b, digits))
}

fn name(r: &SetResult) -> String {
    let slice = if r.slice.is_empty() { String::new() } else { format!(" · {}", esc(&r.slice)) };
    format!("<tr><td class=name>{}{slice}<small>{} · {}</small>", esc(&r.name), esc(&r.head), r.role)
}

/// A share in percent with its interval.
fn rate(r: &Rate) -> String {
    let (a, b) = r.interval;
    n(format!("{:.2} %", 100.0 * r.value), span((100.0 * a, 100.0 * b), 2))
}

/// Every set or slice with every figure.
pub fn sets(all: &[&SetResult]) -> String {
    const NONE: &str = "<td class=n>–";
    let mut o = String::new();
    for r in all {
        let q = &r.quality;
        o += &name(r);
        o += &n(r.texts, format!("{} units", r.units));
        if q.measure.is_empty() {
            o += &format!("<td>no labels{NONE}{NONE}{NONE}");
        } else {
            o += &format!("<td>{}", q.measure);
            o += &n(format!("{:.2}", q.reference), span(q.reference_interval, 1));
            o += &n(format!("{:.2}", q.model), span(q.interval, 1));
            o += &n(change(q.model - q.reference), span((-q.drop_interval.1, -q.drop_interval.0), 2));
        }
        let share = 100.0 * r.flips as f64 / r.units.max(1) as f64;
        let (a, b) = r.flips_interval;
        o += &n(format!("{} <b>{share:.2} %</b>", r.flips), span((100.0 * a, 100.0 * b), 2));
        o += &match (r.kl_mean, r.kl_interval) {
            (Some(k), Some((a, b))) => n(power(k), format!("{} … {}", power(a), power(b))),
            _ => NONE.into(),
        };
        o += &r.kl_max.map_or(NONE.into(), |k| format!("<td class=n>{}", power(k)));
        o += &n(number(r.error_mean), format!("{}; max {}", span(r.error_interval, 4), number(r.error_max)));
        o += &n(format!("{:.1}", r.sqnr), span(r.sqnr_interval, 1));
        o += &match (r.macro_f1, r.macro_f1_drop_interval) {
            (Some((a, b)), Some(d)) => n(format!("{a:.2} → {b:.2}"), span((-d.1, -d.0), 2)),
            _ => NONE.into(),
        };
        o += &r.mcnemar.map_or(NONE.into(), |p| format!("<td class=n>{p:.2}"));
        for i in 0..3 {
            o += &r.ece.map_or(NONE.into(), |e| n(format!("{:.3}", e[i].value), span(e[i].interval, 3)));
        }
        o += &match (r.cosine, r.cosine_interval) {
            (Some((mean, least)), Some(i)) => {
                n(format!("{mean:.5}"), format!("{}; min {least:.4}", span(i, 5)))
            }
            _ => NONE.into(),
        };
    }
    let heads = [
        "set",
        "#texts",
        "measure",
        "#FP32",
        "#int8",
        "#change",
        "#flips",
        "#KL mean",
        "#KL max",
        "#output error",
        "#SQNR dB",
        "#macro F1",
        "#McNemar p",
        "#ECE FP32",
        "#ECE int8",
        "#ECE at T",
        "#cosine",
    ];
    table(&heads, &o)
}

/// Every slice over all its sets.
pub fn slices(all: &[(String, Pool)]) -> String {
    let mut o = String::new();
    for (name, p) in all {
        o += &format!("<tr><td class=name>{}", esc(name));
        o += &format!("<td class=n>{}<td class=n>{:.2}<td class=n>{:.2}", p.texts, p.quality.0, p.quality.1);
        let moved = change(p.quality.1 - p.quality.0);
        o += &match p.drop_interval {
            Some((a, b)) => n(moved, span((-b, -a), 2)),
            None => format!("<td class=n>{moved}"),
        };
        o += &rate(&Rate::new(p.flips, p.units));
        o += &match p.kl_interval {
            Some((a, b)) => n(power(p.kl), format!("{} … {}", power(a), power(b))),
            None => format!("<td class=n>{}", power(p.kl)),
        };
        o += &p.mcnemar.map_or("<td class=n>–".into(), |p| format!("<td class=n>{p:.2}"));
    }
    let heads = ["slice", "#texts", "#FP32", "#int8", "#change", "#flips", "#KL mean", "#McNemar p"];
    table(&heads, &o)
}

/// Right labels by row, answers by column.
pub fn confusion(r: &SetResult) -> String {
    let mut o = format!(
        "<figure><figcaption><b>{}</b> · {}</figcaption><div class=wide><table class=confusion><tr><th>",
        esc(&r.name),
        esc(&r.head)
    );
    // Labels break between their words.
    let label = |l: &str| esc(l).replace('_', "_<wbr>");
    r.labels.iter().for_each(|l| o += &format!("<th>{}", label(l)));
    for (l, row) in r.labels.iter().zip(&r.confusion) {
        let sum = row.iter().sum::<usize>().max(1);
        o += &format!("<tr><th>{}", label(l));
        row.iter().for_each(|n| o += &format!("<td style='--share:{:.2}'>{n}", *n as f64 / sum as f64));
    }
    o + "</table></div></figure>"
}

/// Every label at its threshold, FP32 above int8.
pub fn operating(sets: &[&SetResult]) -> String {
    let mut o = String::new();
    let all: Vec<(&SetResult, &Operating)> =
        sets.iter().flat_map(|r| r.operating.iter().map(move |p| (*r, p))).collect();
    for (r, p) in all {
        o += &format!(
            "<tr><td class=name>{}<small>{} · {} from {:.3}</small>",
            esc(&p.label),
            esc(&r.name),
            r.role,
            p.threshold
        );
        let both = [
            (p.reference.precision, p.model.precision),
            (p.reference.recall, p.model.recall),
            (p.reference.fpr, p.model.fpr),
            (p.reference.fnr, p.model.fnr),
        ];
        for (a, b) in both {
            o += &n(
                format!("{:.2} → {:.2} %", 100.0 * a.value, 100.0 * b.value),
                span((100.0 * b.interval.0, 100.0 * b.interval.1), 1),
            );
        }
        o += &rate(&p.flips);
    }
    let heads = ["label", "#precision", "#recall", "#false positives", "#false negatives", "#flips"];
    table(&heads, &o)
}

/// Every kind of people.
pub fn identity(i: &Identity) -> String {
    let mut o = String::new();
    for t in &i.terms {
        o += &format!(
            "<tr><td class=name>{}{}{}{}",
            esc(&t.term),
            rate(&t.reference),
            rate(&t.model),
            rate(&t.flips)
        );
    }
    table(&["who", "#FP32", "#int8", "#other answers"], &o)
}

/// Texts and what both say.
pub fn texts(all: &[Flip]) -> String {
    let mut o = String::new();
    for f in all {
        let mark = if f.reference == f.model { "" } else { "<span class='tag fail'>flips</span>" };
        o += &format!(
            "<tr><td class=t>{}<td>{}<td>{} {mark}<td>{}<td class=n>{:.3}",
            esc(&f.text),
            esc(&f.reference),
            esc(&f.model),
            esc(f.gold.as_deref().unwrap_or("–")),
            f.margin
        );
    }
    table(&["text", "FP32", "int8", "right", "#margin"], &o)
}
