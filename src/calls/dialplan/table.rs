//! Tables of TOML, read key by key. Whatever is wrong is told with its line, and keys that nobody asked for are, too.

use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{DialplanError, Fault};
use super::target::Target;
use crate::ids::{Number, Text};

/// One table, and where it stands.
pub(super) struct Table<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    pub(super) line: usize,
}

/// A value, and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Value<'a> {
    key: &'a str,
    value: &'a DeValue<'a>,
    pub(super) line: usize,
}

impl<'a> Table<'a> {
    pub(super) fn root(text: &'a str, table: &'a DeTable<'a>) -> Self {
        Self { text, table, line: 1 }
    }

    /// Nothing else may stand here.
    pub(super) fn check_keys(&self, known: &[&str]) -> Result<(), DialplanError> {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if !known.contains(&name) {
                return Err(DialplanError {
                    line: Some(line_of(self.text, key.span().start)),
                    fault: Fault::UnknownKey {
                        key: Text::new(name).to_string(),
                        known: known.join(", "),
                    },
                });
            }
        }
        Ok(())
    }

    pub(super) fn get(&self, key: &'a str) -> Option<Value<'a>> {
        let value = self.table.get(key)?;
        Some(self.value(key, value))
    }

    fn value(&self, key: &'a str, value: &'a Spanned<DeValue<'a>>) -> Value<'a> {
        Value {
            key,
            value: value.get_ref(),
            line: line_of(self.text, value.span().start),
        }
    }

    /// The tables `[key.name]`, with their names.
    pub(super) fn named(&self, key: &'a str, max: usize) -> Result<Vec<(Text, Table<'a>)>, DialplanError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let tables = value.value.as_table().ok_or_else(|| value.kind("a table of tables"))?;
        if tables.len() > max {
            return Err(value.too_many(max));
        }
        let mut named = Vec::new();
        for (name, table) in tables {
            let line = line_of(self.text, name.span().start);
            let table = table
                .get_ref()
                .as_table()
                .ok_or_else(|| value.kind("a table of tables"))?;
            let text = self.text;
            named.push((Text::new(name.get_ref()), Table { text, table, line }));
        }
        Ok(named)
    }

    /// The tables `[[key]]`.
    pub(super) fn each(&self, key: &'a str, max: usize) -> Result<Vec<Table<'a>>, DialplanError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let items = value.value.as_array().ok_or_else(|| value.kind("an array of tables"))?;
        if items.len() > max {
            return Err(value.too_many(max));
        }
        let mut tables = Vec::new();
        for item in items {
            let line = line_of(self.text, item.span().start);
            let table = item
                .get_ref()
                .as_table()
                .ok_or_else(|| value.kind("an array of tables"))?;
            let text = self.text;
            tables.push(Table { text, table, line });
        }
        Ok(tables)
    }

    /// The strings of a list; one string is a list of one.
    pub(super) fn list(&self, key: &'a str, max: usize) -> Result<Vec<Value<'a>>, DialplanError> {
        let Some(value) = self.get(key) else {
            return Ok(Vec::new());
        };
        let Some(items) = value.value.as_array() else {
            return Ok(vec![value]);
        };
        if items.len() > max {
            return Err(value.too_many(max));
        }
        Ok(items.iter().map(|item| self.value(key, item)).collect())
    }

    pub(super) fn numbers(&self, key: &'a str, max: usize) -> Result<Vec<Number>, DialplanError> {
        let numbers = self.list(key, max)?.into_iter();
        numbers.map(|value| value.read(Number::new)).collect()
    }

    pub(super) fn name(&self, key: &'a str) -> Result<Option<Text>, DialplanError> {
        self.get(key).map(|value| value.string().map(Text::new)).transpose()
    }

    pub(super) fn target(&self, key: &'a str) -> Result<Option<Target>, DialplanError> {
        self.get(key).map(|value| value.read(str::parse)).transpose()
    }

    pub(super) fn flag(&self, key: &'a str) -> Result<Option<bool>, DialplanError> {
        let flag = |value: Value<'a>| value.value.as_bool().ok_or_else(|| value.kind("true or false"));
        self.get(key).map(flag).transpose()
    }

    pub(super) fn count(&self, key: &'a str) -> Result<Option<usize>, DialplanError> {
        self.get(key).map(|value| value.count()).transpose()
    }

    pub(super) fn seconds(&self, key: &'a str) -> Result<Option<Duration>, DialplanError> {
        let seconds = self.count(key)?.map(|count| u64::try_from(count).unwrap_or(u64::MAX));
        Ok(seconds.map(|seconds| Duration::from_secs(seconds.min(SECONDS_MAX))))
    }

    pub(super) fn missing(&self, key: &'static str) -> DialplanError {
        DialplanError {
            line: Some(self.line),
            fault: Fault::Missing(key),
        }
    }
}

impl<'a> Value<'a> {
    pub(super) fn string(self) -> Result<&'a str, DialplanError> {
        self.value.as_str().ok_or_else(|| self.kind("a string"))
    }

    /// A string that something is made of.
    pub(super) fn read<T, E: Into<Fault>>(
        self,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Result<T, DialplanError> {
        read(self.string()?).map_err(|fault| self.fault(fault.into()))
    }

    fn count(self) -> Result<usize, DialplanError> {
        let count = self.value.as_integer().and_then(|integer| {
            let digits: &str = integer.as_str();
            usize::from_str_radix(digits, integer.radix()).ok()
        });
        count.ok_or_else(|| self.kind("a number, 0 or more"))
    }

    pub(super) fn fault(self, fault: Fault) -> DialplanError {
        DialplanError {
            line: Some(self.line),
            fault,
        }
    }

    fn kind(self, expected: &'static str) -> DialplanError {
        self.fault(Fault::Kind {
            key: Text::new(self.key).to_string(),
            expected,
        })
    }

    fn too_many(self, max: usize) -> DialplanError {
        self.fault(Fault::TooMany {
            key: Text::new(self.key).to_string(),
            max,
        })
    }
}

/// The line that a byte stands in.
pub(super) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// A year: no time of a dialplan is longer.
const SECONDS_MAX: u64 = 366 * 86_400;
