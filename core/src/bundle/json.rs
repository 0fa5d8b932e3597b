//! JSON from untrusted bytes in bounded memory.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most values (of any kind) in a manifest: bounds the memory it takes once parsed, since a value can be
/// two bytes of text and many of memory.
pub(super) const MAX_VALUES: usize = 1 << 18;
/// The deepest nesting of a manifest.
const MAX_DEPTH: usize = 64;

/// Counts values and nesting without parsing: one pass, no memory.
pub(super) fn check_size(json: &[u8]) -> Result<()> {
    let (mut values, mut depth, mut in_string, mut escaped) = (1usize, 0usize, false, false);
    for &b in json {
        if in_string {
            match b {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match b {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(Error::data_loss(format!("nests deeper than {MAX_DEPTH} levels")));
        }
        if values > MAX_VALUES {
            return Err(Error::data_loss(format!("holds more than {MAX_VALUES} values")));
        }
    }
    Ok(())
}

/// Any JSON value, kept as compact text, so that what nobody looks at costs its bytes and no tree.
#[derive(Clone, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// The JSON text of `value`.
    pub fn new(value: &impl Serialize) -> Result<JsonText> {
        let invalid = |e: serde_json::Error| Error::invalid(format!("not expressible as JSON: {e}"));
        let text = serde_json::to_string(value).map_err(invalid)?;
        serde_json::from_str(&text).map_err(invalid)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value as a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.0).map_err(|e| Error::data_loss(format!("not of the expected form: {e}")))
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for JsonText {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let value: serde_json::Value = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        value.serialize(s)
    }
}

impl<'de> Deserialize<'de> for JsonText {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
        let mut text = String::new();
        Compact(&mut text).deserialize(d)?;
        Ok(JsonText(text))
    }
}

/// Appends a value's compact text to a string.
struct Compact<'a>(&'a mut String);

impl Compact<'_> {
    fn push<E: serde::de::Error>(&mut self, value: &impl Serialize) -> std::result::Result<(), E> {
        self.0.push_str(&serde_json::to_string(value).map_err(E::custom)?);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Compact<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> std::result::Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Compact<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> std::result::Result<(), E> {
        self.0.push_str("null");
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(mut self, v: bool) -> std::result::Result<(), E> {
        self.push(&v)
    }

    fn visit_u64<E: serde::de::Error>(mut self, v: u64) -> std::result::Result<(), E> {
        self.push(&v)
    }

    fn visit_i64<E: serde::de::Error>(mut self, v: i64) -> std::result::Result<(), E> {
        self.push(&v)
    }

    fn visit_f64<E: serde::de::Error>(mut self, v: f64) -> std::result::Result<(), E> {
        self.push(&v)
    }

    fn visit_str<E: serde::de::Error>(mut self, v: &str) -> std::result::Result<(), E> {
        self.push(&v)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<(), A::Error> {
        self.0.push('[');
        let mut first = true;
        loop {
            let before = self.0.len();
            if !first {
                self.0.push(',');
            }
            if seq.next_element_seed(Compact(self.0))?.is_none() {
                self.0.truncate(before);
                break;
            }
            first = false;
        }
        self.0.push(']');
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> std::result::Result<(), A::Error> {
        self.0.push('{');
        let mut first = true;
        while let Some(key) = map.next_key::<String>()? {
            if !first {
                self.0.push(',');
            }
            first = false;
            self.push(&key)?;
            self.0.push(':');
            map.next_value_seed(Compact(self.0))?;
        }
        self.0.push('}');
        Ok(())
    }
}

/// A map whose keys are all different: JSON itself lets a key come twice, and readers then disagree.
pub(super) fn unique_map<'de, D, V>(d: D) -> std::result::Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Self::Value, A::Error> {
            let mut out = BTreeMap::new();
            while let Some((key, value)) = map.next_entry::<String, V>()? {
                if out.contains_key(&key) {
                    return Err(A::Error::custom(format!("key `{key}` is there twice")));
                }
                out.insert(key, value);
            }
            Ok(out)
        }
    }

    d.deserialize_map(Unique(PhantomData))
}

/// Vectors of 32-bit patterns as arrays of eight-digit hexadecimal strings.
pub(super) mod bits {
    use super::*;

    pub(in crate::bundle) fn serialize<S: Serializer>(
        bits: &[u32],
        s: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(8);
        s.collect_seq(bits.iter().map(|b| {
            text.clear();
            // Writing to a string cannot fail.
            let _ = write!(text, "{b:08x}");
            text.clone()
        }))
    }

    pub(in crate::bundle) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> std::result::Result<Vec<u32>, D::Error> {
        struct Bits;

        impl<'de> Visitor<'de> for Bits {
            type Value = Vec<u32>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of strings of eight lower-case hexadecimal digits")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Vec<u32>, A::Error> {
                let mut out = Vec::new();
                while let Some(Word(bits)) = seq.next_element()? {
                    out.push(bits);
                }
                Ok(out)
            }
        }

        d.deserialize_seq(Bits)
    }

    struct Word(u32);

    impl<'de> Deserialize<'de> for Word {
        fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Self, D::Error> {
            struct Hex;

            impl Visitor<'_> for Hex {
                type Value = Word;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a string of eight lower-case hexadecimal digits")
                }

                fn visit_str<E: serde::de::Error>(self, v: &str) -> std::result::Result<Word, E> {
                    let digits = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
                    if v.len() != 8 || !v.bytes().all(digits) {
                        return Err(E::invalid_value(serde::de::Unexpected::Str(v), &self));
                    }
                    u32::from_str_radix(v, 16).map(Word).map_err(E::custom)
                }
            }

            d.deserialize_str(Hex)
        }
    }
}
