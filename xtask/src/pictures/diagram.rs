//! Diagrams: boxes in a grid, groups around them, arrows between them, and steps below.
//!
//! The source is TOML: `[[group]]` with `id`, `title`, `kind`; `[[box]]` with `id`, `in`, `at = [column, row]`, `span` of
//! columns, `text`; `[[arrow]]` with `from`, `to` and a `number`; `steps`, one for each number. Rows and columns are as wide as
//! the groups around them need.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::canvas::{Area, Canvas, FONT, LINE, width};

/// The size of a box of one column.
const CELL: (f64, f64) = (136.0, 62.0);
/// Between boxes, within a group.
const GAP: (f64, f64) = (30.0, 40.0);
/// From a group's edge to its boxes, and above them, where its title stands.
const PADDING: f64 = 14.0;
const TITLE: f64 = 30.0;
/// Between groups.
const BETWEEN: f64 = 26.0;
/// Around it all.
const MARGIN: f64 = 12.0;
/// What an arrow keeps away from what it leads to.
const TIP: f64 = 2.0;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    title: String,
    group: Vec<GroupSource>,
    r#box: Vec<BoxSource>,
    #[serde(default)]
    arrow: Vec<ArrowSource>,
    #[serde(default)]
    steps: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupSource {
    id: String,
    title: String,
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BoxSource {
    id: String,
    r#in: String,
    at: [usize; 2],
    #[serde(default = "one")]
    span: usize,
    text: Vec<String>,
}

fn one() -> usize {
    1
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrowSource {
    from: String,
    to: String,
    #[serde(default)]
    number: String,
    /// Pixels beside the middle.
    #[serde(default)]
    shift: f64,
}

/// Draws what a source describes.
///
/// # Errors
/// A name is not known, a text has no room, or numbers and steps do not agree.
pub fn draw(text: &str) -> Result<String> {
    let source: Source = toml::from_str(text)?;
    let layout = Layout::of(&source)?;
    let mut canvas = Canvas::new(&source.title);
    for (group, area) in source.group.iter().zip(&layout.groups) {
        canvas.area(&group.kind, *area, 8.0);
        fits(&group.title, area.w)?;
        canvas.text("strong", area.x + PADDING, area.y + TITLE - 10.0, &group.title);
    }
    for (number, plain) in source.r#box.iter().enumerate() {
        let area = layout.boxes[number];
        canvas.area("box", area, 4.0);
        let (x, y) = area.middle();
        let top = y - LINE * (plain.text.len() as f64 - 1.0) / 2.0 + FONT * 0.36;
        ensure!(plain.text.len() as f64 * LINE <= area.h, "box {}: too many lines", plain.id);
        for (line, words) in plain.text.iter().enumerate() {
            fits(words, area.w)?;
            let class = if line == 0 { "strong middle" } else { "faint middle" };
            canvas.text(class, x, top + LINE * line as f64, words);
        }
    }
    for arrow in &source.arrow {
        let place = |id: &str| {
            let number = source.r#box.iter().position(|plain| plain.id == id);
            number.map(|number| layout.boxes[number]).with_context(|| format!("there is no box {id}"))
        };
        let points = route(&place(&arrow.from)?, &place(&arrow.to)?, arrow.shift)
            .with_context(|| format!("from {} to {}", arrow.from, arrow.to))?;
        canvas.path("arrow", &points, true);
        if !arrow.number.is_empty() {
            let ((x, y), (to_x, to_y)) = (points[0], points[1]);
            canvas.badge(((x + to_x) / 2.0, (y + to_y) / 2.0), &arrow.number);
        }
    }
    let mut bottom = layout.all.bottom() + MARGIN;
    for (number, step) in (1..).zip(&source.steps) {
        let number = number.to_string();
        ensure!(
            source.arrow.iter().any(|arrow| arrow.number == number),
            "no arrow has the number {number} of a step"
        );
        fits(step, layout.all.w - 30.0)?;
        bottom += LINE * 1.5;
        canvas.badge((MARGIN + 10.0, bottom - FONT * 0.36), &number);
        canvas.text("", MARGIN + 30.0, bottom, step);
    }
    Ok(canvas.finish(layout.all.right() + MARGIN, bottom + MARGIN))
}

fn fits(text: &str, room: f64) -> Result<()> {
    ensure!(width(text) <= room, "too long by {:.0} pixels: {text}", width(text) - room);
    Ok(())
}

/// Where everything is.
struct Layout {
    groups: Vec<Area>,
    boxes: Vec<Area>,
    all: Area,
}

impl Layout {
    fn of(source: &Source) -> Result<Layout> {
        let mut edges: BTreeMap<&str, [[usize; 2]; 2]> = BTreeMap::new();
        for plain in &source.r#box {
            ensure!(
                source.group.iter().any(|group| group.id == plain.r#in),
                "there is no group {}",
                plain.r#in
            );
            let [column, row] = plain.at;
            let last = column + plain.span - 1;
            let of = edges.entry(&plain.r#in).or_insert([[column, row], [last, row]]);
            *of = [[of[0][0].min(column), of[0][1].min(row)], [of[1][0].max(last), of[1][1].max(row)]];
        }
        for group in &source.group {
            ensure!(edges.contains_key(group.id.as_str()), "group {} has no box", group.id);
        }
        let lines = |axis: usize, size: f64, gap: f64, before: f64| {
            let last = edges.values().map(|edge| edge[1][axis]).max().unwrap_or(0);
            let mut starts = vec![MARGIN + before];
            for line in 1..=last {
                let parts = edges.values().any(|edge| edge[0][axis] == line || edge[1][axis] == line - 1);
                let room = if parts { PADDING + BETWEEN + before } else { gap };
                starts.push(starts[line - 1] + size + room);
            }
            starts
        };
        let (columns, rows) = (lines(0, CELL.0, GAP.0, PADDING), lines(1, CELL.1, GAP.1, TITLE));
        let place = |plain: &BoxSource| {
            let (x, last) = (columns[plain.at[0]], columns[plain.at[0] + plain.span - 1]);
            Area { x, y: rows[plain.at[1]], w: last + CELL.0 - x, h: CELL.1 }
        };
        let boxes: Vec<Area> = source.r#box.iter().map(place).collect();
        let around = |group: &GroupSource| {
            let inside = source.r#box.iter().zip(&boxes).filter(|(plain, _)| plain.r#in == group.id);
            let area = inside.map(|(_, area)| *area).reduce(|all, area| all.with(&area));
            let Area { x, y, w, h } = area.unwrap_or(Area { x: 0.0, y: 0.0, w: 0.0, h: 0.0 });
            Area { x: x - PADDING, y: y - TITLE, w: w + 2.0 * PADDING, h: h + TITLE + PADDING }
        };
        let groups: Vec<Area> = source.group.iter().map(around).collect();
        let all = groups.iter().copied().reduce(|all, area| all.with(&area)).context("there is no group")?;
        Ok(Layout { groups, boxes, all })
    }
}

/// The points of an arrow: straight, where the boxes have something in common in one direction.
fn route(from: &Area, to: &Area, shift: f64) -> Result<Vec<(f64, f64)>> {
    let (left, right) = (from.x.max(to.x), from.right().min(to.right()));
    let (top, bottom) = (from.y.max(to.y), from.bottom().min(to.bottom()));
    if left < right {
        let x = (left + right) / 2.0 + shift;
        return Ok(match from.y < to.y {
            true => vec![(x, from.bottom()), (x, to.y - TIP)],
            false => vec![(x, from.y), (x, to.bottom() + TIP)],
        });
    }
    if top < bottom {
        let y = (top + bottom) / 2.0 + shift;
        return Ok(match from.x < to.x {
            true => vec![(from.right(), y), (to.x - TIP, y)],
            false => vec![(from.x, y), (to.right() + TIP, y)],
        });
    }
    bail!("the boxes share neither a row nor a column, and arrows are straight")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = r#"
title = "two"
steps = ["goes down"]
[[group]]
id = "g"
title = "upper"
kind = "domain"
[[group]]
id = "h"
title = "lower"
kind = "hypervisor"
[[box]]
id = "a"
in = "g"
at = [0, 0]
span = 2
text = ["one", "more"]
[[box]]
id = "b"
in = "h"
at = [1, 1]
text = ["two"]
[[arrow]]
from = "a"
to = "b"
number = "1"
"#;

    #[test]
    fn groups_hold_their_boxes_and_nothing_else() {
        let layout = Layout::of(&toml::from_str(SOURCE).unwrap()).unwrap();
        let [upper, lower] = layout.groups[..] else { panic!("two groups") };
        let [one, two] = layout.boxes[..] else { panic!("two boxes") };
        assert_eq!(upper.with(&one), upper);
        assert_eq!(lower.with(&two), lower);
        assert!(upper.bottom() < lower.y && one.w > 2.0 * two.w && one.right() == two.right());
        let arrow = route(&one, &two, 0.0).unwrap();
        assert_eq!(arrow, [(two.middle().0, one.bottom()), (two.middle().0, two.y - TIP)]);
        assert_eq!(route(&two, &one, 3.0).unwrap()[1], (two.middle().0 + 3.0, one.bottom() + TIP));
        assert!(draw(SOURCE).unwrap().contains("goes down"));
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = |from: &str, to: &str| format!("{:#}", draw(&SOURCE.replace(from, to)).unwrap_err());
        assert!(wrong("to = \"b\"", "to = \"c\"").contains("no box c"));
        assert!(wrong("in = \"h\"", "in = \"i\"").contains("no group i"));
        assert!(wrong("[\"two\"]", "[\"far too long for a single column\"]").contains("too long by"));
        assert!(wrong("\"1\"", "\"2\"").contains("no arrow has the number 1"));
        assert!(wrong("span = 2", "span = 1").contains("neither a row nor a column"));
    }
}
