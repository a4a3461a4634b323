//! A table of figures, in the form that Markdown takes too.

use std::fmt;

/// One figure.
#[derive(Clone, Debug)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit; empty for a ratio.
    pub unit: &'static str,
    /// Digits behind the point.
    pub decimals: usize,
    /// The least and the largest of several rounds, where the figure is that of all of them.
    pub spread: Option<(f64, f64)>,
    /// What it should be, where there is such an aim.
    pub limit: Option<Limit>,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

/// Figures in the order in which they were measured.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Vec<Row>,
}

impl Table {
    /// Adds a figure.
    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }
}

/// The columns.
const HEAD: [&str; 5] = ["measured", "value", SPREAD, "aim", "verdict"];
const SPREAD: &str = "spread";

impl Row {
    fn cells(&self) -> [String; 5] {
        let (limit, verdict) = match self.limit {
            None => (String::new(), ""),
            Some(limit) => {
                let (kept, word, bound, missed) = match limit {
                    Limit::AtMost(bound) => (self.value <= bound, "at most", bound, "EXCEEDED"),
                    Limit::AtLeast(bound) => (self.value >= bound, "at least", bound, "MISSED"),
                };
                let verdict = if kept { "kept" } else { missed };
                (format!("{word} {bound} {}", self.unit).trim_end().to_owned(), verdict)
            }
        };
        let value = format!("{:.*} {}", self.decimals, self.value, self.unit).trim_end().to_owned();
        let spread = self.spread.map(|(least, most)| format!("{least:.0$} to {most:.0$}", self.decimals));
        [self.what.clone(), value, spread.unwrap_or_default(), limit, verdict.to_owned()]
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = HEAD.map(str::to_owned);
        let body: Vec<[String; 5]> = self.rows.iter().map(Row::cells).collect();
        // A table of figures that were measured once has no column for their spread.
        let has_spread = self.rows.iter().any(|row| row.spread.is_some());
        let mut widths = [3; 5];
        for cells in body.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String; 5]| {
            let shown = cells.iter().zip(widths).zip(HEAD);
            for ((cell, width), _) in shown.filter(|(_, name)| has_spread || *name != SPREAD) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")
        };
        line(f, &head)?;
        line(f, &widths.map(|width| "-".repeat(width)))?;
        body.iter().try_for_each(|cells| line(f, cells))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_limits_judged() {
        let row = |what: &str, value, unit, decimals, limit| Row {
            what: what.into(),
            value,
            unit,
            decimals,
            spread: None,
            limit,
        };
        let mut table = Table::default();
        table.push(row("size", 600.0, "KiB", 0, Some(Limit::AtMost(512.0))));
        table.push(row("boot ratio", 1.25, "", 2, Some(Limit::AtMost(1.3))));
        table.push(row("disk", 0.2, "", 2, Some(Limit::AtLeast(0.25))));
        table.push(row("boot", 2.0, "s", 1, None));
        let expected = "\
| measured   | value   | aim             | verdict  |
| ---------- | ------- | --------------- | -------- |
| size       | 600 KiB | at most 512 KiB | EXCEEDED |
| boot ratio | 1.25    | at most 1.3     | kept     |
| disk       | 0.20    | at least 0.25   | MISSED   |
| boot       | 2.0 s   |                 |          |
";
        assert_eq!(table.to_string(), expected);
        let mut table = Table::default();
        table.push(Row { spread: Some((1.2, 1.34)), ..row("boot ratio", 1.25, "", 2, None) });
        table.push(row("disk", 0.2, "", 2, None));
        let expected = "\
| measured   | value | spread       | aim | verdict |
| ---------- | ----- | ------------ | --- | ------- |
| boot ratio | 1.25  | 1.20 to 1.34 |     |         |
| disk       | 0.20  |              |     |         |
";
        assert_eq!(table.to_string(), expected);
    }
}
