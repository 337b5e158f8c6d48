//! `driver,key=value,key=value`: the form of `-device`, `-drive` and `-chardev`.

use crate::{OptionError, Value};

/// The keys of one option. Each is taken once; what is left at the end is not supported.
pub struct Properties<'a> {
    value: Value<'a>,
    pairs: Vec<(String, String)>,
    /// What was asked for, for messages.
    known: Vec<&'static str>,
}

impl<'a> Properties<'a> {
    /// Splits at commas; two commas stand for one within a value, as in QEMU. The first element may omit its key, which is
    /// then `first_key`; a later key without a value is `key=on`.
    pub fn new(value: Value<'a>, first_key: &'static str) -> Self {
        Self { value, pairs: pairs(value.text, first_key), known: Vec::new() }
    }

    /// The value of `key`, the last one if it is given several times.
    pub fn take(&mut self, key: &'static str) -> Option<String> {
        self.take_all(key).pop()
    }

    /// All values of a key that may be given several times.
    pub fn take_all(&mut self, key: &'static str) -> Vec<String> {
        self.known.push(key);
        self.pairs.extract_if(.., |(k, _)| k == key).map(|(_, value)| value).collect()
    }

    /// The same for a key that must be there.
    pub fn need(&mut self, key: &'static str) -> Result<String, OptionError> {
        match self.take(key) {
            Some(v) if !v.is_empty() => Ok(v),
            _ => Err(self.bad(format!("give `{key}=`"))),
        }
    }

    /// `on` or `off`.
    pub fn switch(&mut self, key: &'static str) -> Result<Option<bool>, OptionError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("on" | "yes" | "true") => Ok(Some(true)),
            Some("off" | "no" | "false") => Ok(Some(false)),
            Some(other) => Err(self.bad(format!("`{key}={other}`: give on or off"))),
        }
    }

    /// One of a few words.
    pub fn choice(
        &mut self,
        key: &'static str,
        supported: &[&'static str],
    ) -> Result<Option<&'static str>, OptionError> {
        match self.take(key) {
            None => Ok(None),
            Some(v) => match supported.iter().find(|s| **s == v) {
                Some(s) => Ok(Some(s)),
                None => Err(self.value.unsupported(&v, supported)),
            },
        }
    }

    /// A number in decimal, or in hexadecimal with `0x`.
    pub fn number(&mut self, key: &'static str) -> Result<Option<u64>, OptionError> {
        let Some(v) = self.take(key) else { return Ok(None) };
        let parsed = match v.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => v.parse(),
        };
        parsed.map(Some).map_err(|_| self.bad(format!("`{key}={v}` is not a number")))
    }

    pub fn bad(&self, reason: impl Into<String>) -> OptionError {
        self.value.bad(reason)
    }

    /// The end: what nobody has asked for is not supported.
    pub fn finish(self) -> Result<(), OptionError> {
        match self.pairs.first() {
            Some((key, _)) => Err(self.value.unsupported(key, &self.known)),
            None => Ok(()),
        }
    }
}

/// `key=value` between commas, in their order.
pub fn pairs(text: &str, first_key: &str) -> Vec<(String, String)> {
    let pair = |(i, part): (usize, String)| match part.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None if i == 0 && !first_key.is_empty() => (first_key.to_owned(), part),
        None => (part, "on".to_owned()),
    };
    split(text).into_iter().enumerate().map(pair).collect()
}

/// The text that [`pairs`] reads so, whatever the first key is.
pub fn join(pairs: &[(String, String)]) -> String {
    let part = |(key, value): &(String, String)| format!("{key}={value}").replace(',', ",,");
    pairs.iter().map(part).collect::<Vec<_>>().join(",")
}

/// The elements between commas, with `,,` as one comma within an element.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == ',' && chars.next_if_eq(&',').is_none() {
            parts.push(String::new());
        } else if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_commas_are_one() {
        assert_eq!(split("file=a,,b.img,if=none"), ["file=a,b.img", "if=none"]);
        assert_eq!(split("a,,,b"), ["a,", "b"]);
        assert_eq!(split(""), [""]);
    }
}
