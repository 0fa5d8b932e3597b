//! `bundle`: put one together from its parts, check it, take it apart.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use pocketbert::bundle::{Bundle, BundleWriter, JsonText, Manifest, OpenOptions};
use pocketbert::kernels::Isa;
use pocketbert::model::record::{mask_places, recorded};
use pocketbert::model::{Batch, Model, RunOptions};
use pocketbert::{Error, Result};

use crate::files::write_whole;

/// Arguments of `bundle`.
#[derive(Args)]
pub struct BundleArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Write a bundle from a folder that `unpack` made, or from another bundle with changes.
    Make {
        /// A bundle, or a folder with manifest.json and the entries that it names.
        from: PathBuf,
        /// The result of `validate --json`, to be kept in the bundle.
        #[arg(long)]
        validation: Option<PathBuf>,
        /// The bundle to write.
        #[arg(long)]
        out: PathBuf,
    },
    /// Check structure, hashes, graph, tokenizer and the self-test's bits.
    Verify {
        /// The bundle.
        bundle: PathBuf,
    },
    /// Write a bundle's entries into a new folder.
    Unpack {
        /// The bundle.
        bundle: PathBuf,
        /// The folder, which must not exist yet.
        out: PathBuf,
    },
}

/// Runs it; false if a self-test failed.
pub fn run(a: &BundleArgs) -> Result<bool> {
    match &a.action {
        Action::Make { from, validation, out } => make(from, validation.as_deref(), out).map(|()| true),
        Action::Verify { bundle } => verify(bundle),
        Action::Unpack { bundle, out } => unpack(bundle, out).map(|()| true),
    }
}

fn make(from: &Path, validation: Option<&Path>, out: &Path) -> Result<()> {
    let result = match validation {
        None => None,
        Some(v) => {
            let json: serde_json::Value = serde_json::from_slice(&crate::read(v)?)
                .map_err(|e| Error::invalid(format!("`{}`: {e}", v.display())))?;
            Some(JsonText::new(&crate::report::for_bundle(&json))?)
        }
    };
    if from.is_dir() {
        let mut manifest: Manifest = serde_json::from_slice(&crate::read(&from.join("manifest.json"))?)
            .map_err(|e| Error::invalid(format!("`{}`: {e}", from.join("manifest.json").display())))?;
        let names: Vec<String> = manifest.entries.keys().cloned().collect();
        if let Some(r) = result {
            manifest.validation = Some(r);
        }
        let mut w = BundleWriter::new(manifest.clone());
        for n in order(&manifest, names) {
            // Names come from a file that anybody may have edited: none may lead out of the folder.
            if Path::new(&n).components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
                return Err(Error::invalid(format!("entry `{n}` of the manifest leads out of the folder")));
            }
            w.add_file(n.clone(), from.join(&n));
        }
        w.write_to(out)?;
    } else {
        let bundle = Bundle::open_path(from, &OpenOptions::default())?;
        rewrite(&bundle, out, |m| {
            if let Some(r) = result {
                m.validation = Some(r);
            }
        })?;
    }
    eprintln!("wrote {}", out.display());
    Ok(())
}

/// The graph, the weights, the tokenizer, then the rest.
fn order(m: &Manifest, names: Vec<String>) -> Vec<String> {
    let first = [&m.graph.entry, &m.weights.entry, &m.tokenizer.entry];
    let rest: Vec<String> = names.into_iter().filter(|n| !first.contains(&n)).collect();
    first.into_iter().cloned().chain(rest).collect()
}

/// Writes `bundle` to `out` with its manifest changed.
pub fn rewrite(bundle: &Bundle, out: &Path, change: impl FnOnce(&mut Manifest)) -> Result<()> {
    let mut manifest = bundle.manifest().clone();
    change(&mut manifest);
    let mut w = BundleWriter::new(manifest);
    for e in bundle.entries().filter(|e| e.name() != "manifest.json") {
        w.add(e.name().to_string(), e.bytes());
    }
    w.write_to(out)
}

fn verify(path: &Path) -> Result<bool> {
    let model = Model::open(path, &Default::default())?;
    let Some(bundle) = model.bundle() else {
        return Err(Error::invalid(format!("`{}` is no bundle", path.display())));
    };
    let m = bundle.manifest();
    println!("structure, hashes, graph and tokenizer are right: {} {}", m.model.name, m.model.version);
    let (mut right, mut wrong) = (0, 0);
    let wanted: Vec<usize> = (0..model.plan().outputs().len()).collect();
    for (i, case) in m.self_test.iter().enumerate() {
        crate::check_stop()?;
        let masks = mask_places(model.tokenizer()?, &case.ids);
        let mut batch = Batch { picks: Some(masks.clone()), ..Batch::new() };
        let types = {
            let o =
                pocketbert::text::EncodeOptions { max_length: model.info().max_length, ..Default::default() };
            let e = model.tokenizer()?.encode(&case.text, case.pair.as_deref(), &o)?;
            if e.ids != case.ids {
                println!("self-test {i}: the tokenizer gives other ids");
                wrong += 1;
            }
            e.type_ids.iter().map(|&t| i64::from(t)).collect::<Vec<_>>()
        };
        if types.len() != case.ids.len() {
            continue;
        }
        batch.push(case.ids.iter().map(|&i| i64::from(i)), Some(&types), None);
        let run = RunOptions { isa: Isa::best(), threads: 1, stop: Default::default(), stats: None };
        for o in model.plan().run(&batch, &wanted, run)? {
            let head = m.heads.iter().find(|h| h.output == o.info.name);
            let Some((head, want)) = head.and_then(|h| Some((h, case.outputs.get(&h.name)?))) else {
                continue;
            };
            if recorded(&o, head.task, case.ids.len(), &masks).is_some_and(|got| got == *want) {
                right += 1;
            } else {
                println!("self-test {i}: output `{}` has other bits", o.info.name);
                wrong += 1;
            }
        }
    }
    println!("self-test: {right} answers right, {wrong} wrong");
    Ok(wrong == 0)
}

fn unpack(path: &Path, out: &Path) -> Result<()> {
    let bundle = Bundle::open_path(path, &OpenOptions::default())?;
    if out.exists() {
        return Err(Error::invalid(format!("`{}` exists already: name a new folder", out.display())));
    }
    for e in bundle.entries() {
        crate::check_stop()?;
        write_whole(&out.join(e.name()), e.bytes())?;
    }
    eprintln!("wrote {} entries to {}", bundle.entries().count(), out.display());
    Ok(())
}
