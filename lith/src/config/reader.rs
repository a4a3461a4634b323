//! A TOML table with its places: values come out with the kind that was asked for, or as an error with its place.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Source, nearest};

/// The longest file that is read as a guest's.
const MAX_FILE: usize = 1 << 20;

/// Parses a text as a table.
///
/// # Errors
///
/// It is no TOML.
pub fn parse<'a>(file: &'a Path, text: &'a str) -> Result<(Source<'a>, Spanned<DeTable<'a>>), ConfigError> {
    let source = Source::new(file, text);
    if text.len() > MAX_FILE {
        return Err(source.error(None, None, "has more than 1 MiB, which no guest's file has"));
    }
    let table = DeTable::parse(text).map_err(|error| {
        let message = error.message().lines().next().unwrap_or("is no TOML").to_owned();
        source.error(error.span(), None, message)
    })?;
    Ok((source, table))
}

/// A table, all of whose keys are known.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    source: &'a Source<'a>,
    table: &'a DeTable<'a>,
    span: Option<(usize, usize)>,
    /// The table's own name, of which an element has its index.
    name: Option<(&'static str, usize)>,
}

impl<'a> Table<'a> {
    /// The whole file.
    ///
    /// # Errors
    ///
    /// A key is not one of `keys`.
    pub fn root(
        source: &'a Source<'a>,
        table: &'a Spanned<DeTable<'a>>,
        keys: &[&'static str],
    ) -> Result<Table<'a>, ConfigError> {
        let table = Table { source, table: table.get_ref(), span: None, name: None };
        table.check_keys(keys)?;
        Ok(table)
    }

    /// The tables of an array of tables; none if the key is not there.
    ///
    /// # Errors
    ///
    /// It is no such array, or a key in it is not one of `keys`.
    pub fn tables(&self, key: &'static str, keys: &[&'static str]) -> Result<Vec<Table<'a>>, ConfigError> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let list = value.get_ref().as_array();
        let list = list.ok_or_else(|| self.wrong_kind(key, "a list of tables", value))?;
        let mut tables = Vec::new();
        for (index, element) in list.iter().enumerate() {
            let table = element.get_ref().as_table();
            let table = table.ok_or_else(|| self.wrong_kind(key, "a list of tables", element))?;
            let span = element.span();
            let table = Table {
                source: self.source,
                table,
                span: Some((span.start, span.end)),
                name: Some((key, index)),
            };
            table.check_keys(keys)?;
            tables.push(table);
        }
        Ok(tables)
    }

    /// A text; none if the key is not there.
    ///
    /// # Errors
    ///
    /// It is no text.
    pub fn text(&self, key: &'static str) -> Result<Option<String>, ConfigError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let text = value.get_ref().as_str().ok_or_else(|| self.wrong_kind(key, "a text in quotes", value))?;
        Ok(Some(text.to_owned()))
    }

    /// Whether; none if the key is not there.
    ///
    /// # Errors
    ///
    /// It is neither `true` nor `false`.
    pub fn bool(&self, key: &'static str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let is_set = value.get_ref().as_bool();
        is_set.map(Some).ok_or_else(|| self.wrong_kind(key, "true or false", value))
    }

    /// A whole number in a range; none if the key is not there.
    ///
    /// # Errors
    ///
    /// It is no number, or out of the range.
    pub fn number(&self, key: &'static str, least: u16, most: u16) -> Result<Option<u16>, ConfigError> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let number = value.get_ref().as_integer();
        let number = number.ok_or_else(|| self.wrong_kind(key, "a whole number", value))?;
        let number = u16::from_str_radix(number.as_str(), number.radix());
        let number = number.ok().filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.bad(key, format!("must be from {least} to {most}")))
    }

    /// Whether the value of a key is a number.
    pub fn is_number(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_integer())
    }

    /// An error: the key must be there.
    pub fn missing(&self, key: &str) -> ConfigError {
        let span = self.span.map(|(start, end)| start..end);
        self.source.error(span, Some(self.full(key)), "is missing")
    }

    /// An error about the value of a key.
    pub fn bad(&self, key: &str, message: impl Into<String>) -> ConfigError {
        self.source.error(self.span_of(key), Some(self.full(key)), message)
    }

    /// An error: the value is none of those that there are.
    pub fn no_choice(&self, key: &str, word: &str, choices: &[&str]) -> ConfigError {
        let list = choices.iter().map(|choice| format!("\"{choice}\"")).collect::<Vec<_>>().join(", ");
        let message = match nearest(word, choices) {
            Some(choice) => format!("\"{word}\" is not known; did you mean \"{choice}\"? There are {list}"),
            None => format!("\"{word}\" is not known; there are {list}"),
        };
        self.bad(key, message)
    }

    fn wrong_kind(&self, key: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> ConfigError {
        let message = format!("must be {wanted}, and is {}", kind(value.get_ref()));
        self.source.error(Some(value.span()), Some(self.full(key)), message)
    }

    fn check_keys(&self, keys: &[&'static str]) -> Result<(), ConfigError> {
        let known = |key: &str| keys.contains(&key);
        let Some(unknown) = self.table.keys().find(|key| !known(key.get_ref())) else { return Ok(()) };
        let word: &str = unknown.get_ref();
        let message = match nearest(word, keys) {
            Some(key) => format!("is not known; did you mean \"{key}\"?"),
            None => format!("is not known; there are {}", keys.join(", ")),
        };
        Err(self.source.error(Some(unknown.span()), Some(self.full(word)), message))
    }

    fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.get(key).map(Spanned::span)
    }

    fn full(&self, key: &str) -> String {
        match self.name {
            Some((name, index)) => format!("{name}[{index}].{key}"),
            None => key.to_owned(),
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
