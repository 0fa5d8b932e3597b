//! Which head of a bundle does a task, and which output it reads.

use crate::bundle::Head;
use crate::bundle::manifest::Task;
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Model, OutputInfo};

/// A bundle's head with its output.
pub(super) struct Located<'m> {
    pub head: &'m Head,
    pub index: usize,
    pub output: &'m OutputInfo,
}

/// The head `name` of `model` if its task is `task`, or without a name the default head if that is its task,
/// else the first head that has it. `None` if the model is no bundle.
///
/// # Errors
/// `NotFound` for a name that the bundle lacks and `InvalidArgument` for a head of another task (both messages
/// list what there is), `FailedPrecondition` for a bundle without any head of the task.
pub(super) fn head<'m>(
    model: &'m Model,
    name: Option<&str>,
    task: Task,
    does: &str,
) -> Result<Option<Located<'m>>> {
    let Some(bundle) = model.bundle() else { return Ok(None) };
    let m = bundle.manifest();
    let list = |only: bool| {
        let names: Vec<_> =
            m.heads.iter().filter(|h| !only || h.task == task).map(|h| format!("`{}`", h.name)).collect();
        names.join(", ")
    };
    let found = match name {
        Some(name) => match m.heads.iter().find(|h| h.name == name) {
            Some(h) if h.task == task => h,
            Some(_) if m.heads.iter().any(|h| h.task == task) => {
                return Err(Error::invalid(format!(
                    "head `{name}` does not {does}: choose one of {}",
                    list(true)
                )));
            }
            Some(_) => {
                return Err(Error::invalid(format!("head `{name}` does not {does}, nor does another")));
            }
            None => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!("the model has no head `{name}`: it has {}", list(false)),
                ));
            }
        },
        None => {
            let default = m.head(None).filter(|h| h.task == task);
            default.or_else(|| m.heads.iter().find(|h| h.task == task)).ok_or_else(|| {
                Error::new(
                    ErrorKind::FailedPrecondition,
                    format!("the model has no head to {does}: it has {}", list(false)),
                )
            })?
        }
    };
    let outputs = model.plan().outputs();
    let index = outputs.iter().position(|o| o.name == found.output);
    index
        .and_then(|index| Some(Located { head: found, index, output: outputs.get(index)? }))
        .map(Some)
        .ok_or_else(|| {
            Error::data_loss(format!(
                "head `{}` reads output `{}`, which the graph lacks",
                found.name, found.output
            ))
        })
}

/// The output `name` of a plain ONNX model.
///
/// # Errors
/// `NotFound`, naming the outputs there are.
pub(super) fn output<'m>(model: &'m Model, name: &str) -> Result<(usize, &'m OutputInfo)> {
    let outputs = model.plan().outputs();
    outputs.iter().enumerate().find(|(_, o)| o.name == name).ok_or_else(|| {
        let names: Vec<_> = outputs.iter().map(|o| format!("`{}`", o.name)).collect();
        Error::new(
            ErrorKind::NotFound,
            format!("the model has no output `{name}`: choose one of {}", names.join(", ")),
        )
    })
}
