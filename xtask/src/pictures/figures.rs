//! What of `docs/benchmark.md` is drawn: its tables are the source.

use anyhow::{Result, ensure};

use super::chart::{self, Bar, Mark};

/// A row of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    what: String,
    value: f64,
    /// The least and the largest of several rounds.
    spread: Option<(f64, f64)>,
    /// What it should be at most, or at least.
    aim: Option<f64>,
}

/// Reads all tables of a page.
pub fn read(page: &str) -> Vec<Figure> {
    let mut head: Vec<&str> = Vec::new();
    let mut figures = Vec::new();
    for line in page.lines() {
        let Some(line) = line.strip_prefix('|').and_then(|line| line.trim_end().strip_suffix('|')) else {
            head.clear();
            continue;
        };
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if head.is_empty() {
            head = cells;
            continue;
        }
        let cell = |name: &str| {
            let column = head.iter().position(|column| *column == name)?;
            cells.get(column).copied()
        };
        let Some(value) = cell("value").and_then(|text| numbers(text).first().copied()) else { continue };
        let spread = match cell("spread").map(numbers).as_deref() {
            Some([least, most]) => Some((*least, *most)),
            _ => None,
        };
        let aim = cell("aim").and_then(|text| numbers(text).first().copied());
        figures.push(Figure { what: cell("measured").unwrap_or_default().to_owned(), value, spread, aim });
    }
    figures
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// The plots by their names.
pub fn plots(figures: &[Figure]) -> Result<[(&'static str, String); 3]> {
    Ok([
        ("benchmark-ratios", ratios(figures)?),
        ("benchmark-growth", growth(figures)?),
        ("benchmark-disk", disk(figures)?),
    ])
}

impl Figure {
    fn mark(&self) -> Mark {
        Mark { value: self.value, spread: self.spread, aim: self.aim }
    }
}

/// What the hypervisor adds to a boot, and servers and ranges to a forwarded read.
fn ratios(figures: &[Figure]) -> Result<String> {
    let bars = figures.iter().filter_map(|figure| {
        let label = match figure.what.strip_suffix(", ratio") {
            Some(boot) if boot.starts_with("boot of ") => format!("{boot}, first domain"),
            _ => figure
                .what
                .strip_prefix("forwarded read, ")?
                .split_once(" against the first: ")
                .map(|(many, where_)| format!("read with {many}, {where_}"))?,
        };
        Some(Bar { label, first: figure.mark(), second: None })
    });
    let bars: Vec<Bar> = bars.collect();
    ensure!(!bars.is_empty(), "the table has no ratios");
    let title = "Instructions, as a multiple of those without hypervisor, or with 1 server and 1 range";
    Ok(chart::bars(title, ["measured", ""], &bars))
}

/// A forwarded read among more and more servers and ranges.
fn growth(figures: &[Figure]) -> Result<String> {
    let points: Vec<(String, f64)> = figures
        .iter()
        .filter_map(|figure| {
            let label = figure.what.strip_prefix("forwarded read, ")?.strip_suffix(": altogether")?;
            (!label.contains("against")).then(|| (label.to_owned(), figure.value))
        })
        .collect();
    ensure!(points.len() > 1, "the table has no growth of a forwarded read");
    Ok(chart::curve("Instructions of one forwarded read, from the load to the value", &points))
}

/// A guest's disk against a bare machine's.
fn disk(figures: &[Figure]) -> Result<String> {
    const OTHER: &str = " to Linux without KASLR";
    let named = |name: &str| figures.iter().find(|figure| figure.what == name);
    let bars = figures.iter().filter_map(|figure| {
        let label = figure.what.strip_prefix("disk of a guest, ")?.strip_suffix(", ratio")?;
        let second = named(&format!("{}{OTHER}", figure.what)).map(Figure::mark);
        Some(Bar { label: label.to_owned(), first: figure.mark(), second })
    });
    let bars: Vec<Bar> = bars.collect();
    ensure!(!bars.is_empty(), "the table has no disk");
    let title = "Throughput of a guest's disk, as a multiple of that with no hypervisor";
    Ok(chart::bars(title, ["to Linux as it boots", "to Linux without KASLR"], &bars))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
Words | that are no table

| measured | value | spread | aim | verdict |
| --- | --- | --- | --- | --- |
| boot of Linux 6.1, ratio | 1.108 | | at most 1.3 | kept |
| disk of a guest, reads, ratio | 0.46 | 0.44 to 0.48 | at least 0.25 | kept |
| disk of a guest, reads, ratio to Linux without KASLR | 0.24 | | | |

| measured | value |
| --- | --- |
| forwarded read, 1 server, 1 range: altogether | 22658.0 instructions |
| forwarded read, 8 servers, 2000 ranges: altogether | 22700.0 instructions |
";

    #[test]
    fn tables_are_read_by_the_names_of_their_columns() {
        let figures = read(PAGE);
        assert_eq!(figures.len(), 5);
        assert_eq!((figures[0].value, figures[0].aim, figures[0].spread), (1.108, Some(1.3), None));
        assert_eq!((figures[1].aim, figures[1].spread), (Some(0.25), Some((0.44, 0.48))));
        assert_eq!(figures[3].value, 22658.0);
    }

    #[test]
    fn each_plot_shows_what_its_rows_say() {
        let [ratios, growth, disk] = plots(&read(PAGE)).unwrap().map(|(_, text)| text);
        assert!(ratios.contains("boot of Linux 6.1, first domain") && ratios.contains("1.108"));
        assert!(growth.contains("8 servers, 2000 ranges") && growth.contains("22,700"));
        assert!(disk.contains("class=\"first spread\"") && disk.contains("class=\"second\""));
        assert_eq!(ratios.matches("class=\"arrow aim\"").count(), 2, "one, and that of the legend");
        assert!(plots(&read("")).unwrap_err().to_string().contains("no ratios"));
    }
}
