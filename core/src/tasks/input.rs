//! One text, or two that the model reads together.

use crate::error::{Error, Result};

/// What a model reads at once: a text, or a pair of texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TextInput<'a> {
    /// The text.
    pub text: &'a str,
    /// The second text of a pair.
    pub pair: Option<&'a str>,
}

impl<'a> From<&'a str> for TextInput<'a> {
    fn from(text: &'a str) -> Self {
        TextInput { text, pair: None }
    }
}

impl<'a> From<(&'a str, &'a str)> for TextInput<'a> {
    fn from((text, pair): (&'a str, &'a str)) -> Self {
        TextInput { text, pair: Some(pair) }
    }
}

impl TextInput<'_> {
    /// # Errors
    /// `InvalidArgument` for pairs and single texts together: a head was trained on one of them, so a mixture is
    /// a mistake of the caller.
    pub(super) fn check_alike(inputs: &[TextInput]) -> Result<()> {
        let Some(first) = inputs.first() else { return Ok(()) };
        match inputs.iter().position(|i| i.pair.is_some() != first.pair.is_some()) {
            Some(i) => {
                let (a, b) =
                    if first.pair.is_some() { ("pair", "single text") } else { ("single text", "pair") };
                Err(Error::invalid(format!(
                    "input 0 is a {a} and input {i} a {b}: give either pairs or single texts in one call"
                )))
            }
            None => Ok(()),
        }
    }
}
