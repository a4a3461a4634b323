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
    /// The most that it may be, where there is such a limit.
    pub limit: Option<f64>,
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

impl Row {
    fn cells(&self) -> [String; 4] {
        let (limit, verdict) = match self.limit {
            None => (String::new(), ""),
            Some(limit) => (figure(limit, self.unit), if self.value <= limit { "kept" } else { "EXCEEDED" }),
        };
        [self.what.clone(), figure(self.value, self.unit), limit, verdict.to_owned()]
    }
}

fn figure(value: f64, unit: &str) -> String {
    format!("{value:.2} {unit}").trim_end().to_owned()
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["measured", "value", "limit", ""].map(str::to_owned);
        let body: Vec<[String; 4]> = self.rows.iter().map(Row::cells).collect();
        let mut widths = [3; 4];
        for cells in body.iter().chain([&head]) {
            for (width, cell) in widths.iter_mut().zip(cells) {
                *width = cell.chars().count().max(*width);
            }
        }
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String; 4]| {
            for (cell, width) in cells.iter().zip(widths) {
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
        let mut table = Table::default();
        table.push(Row { what: "size".into(), value: 600.0, unit: "KiB", limit: Some(512.0) });
        table.push(Row { what: "boot ratio".into(), value: 1.25, unit: "", limit: Some(1.3) });
        table.push(Row { what: "boot".into(), value: 2.0, unit: "s", limit: None });
        let expected = "\
| measured   | value      | limit      |          |
| ---------- | ---------- | ---------- | -------- |
| size       | 600.00 KiB | 512.00 KiB | EXCEEDED |
| boot ratio | 1.25       | 1.30       | kept     |
| boot       | 2.00 s     |            |          |
";
        assert_eq!(table.to_string(), expected);
    }
}
