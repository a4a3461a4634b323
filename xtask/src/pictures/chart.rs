//! Plots: bars with their spread and aims, and a curve.

use super::canvas::{Area, Canvas, FONT, LINE, width};

const MARGIN: f64 = 16.0;
/// Width of what is plotted, and height of a curve's.
const PLOT: (f64, f64) = (420.0, 220.0);
/// Height of a bar.
const BAR: f64 = 13.0;
/// From one row of bars to the next.
const SPACE: f64 = 14.0;
/// The most marks on an axis.
const TICKS: f64 = 7.0;

/// A value, and what belongs to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The value.
    pub value: f64,
    /// The least and the largest of several rounds.
    pub spread: Option<(f64, f64)>,
    /// What it should be at most, or at least.
    pub aim: Option<f64>,
}

/// A row of one bar or two.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What it is about.
    pub label: String,
    /// The upper bar.
    pub first: Mark,
    /// The lower one.
    pub second: Option<Mark>,
}

/// From values to pixels, with marks at round numbers.
struct Axis {
    step: f64,
    end: f64,
    pixels: f64,
}

impl Axis {
    /// One from zero to `most` or a little more.
    fn to(most: f64, pixels: f64) -> Axis {
        let rough = (most / TICKS).max(f64::MIN_POSITIVE);
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        Axis { step, end: (most / step).ceil() * step, pixels }
    }

    fn place(&self, value: f64) -> f64 {
        value / self.end * self.pixels
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let count = (self.end / self.step).round() as u32;
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        (0..=count)
            .map(|number| self.step * f64::from(number))
            .map(|value| (self.place(value), grouped(&format!("{value:.decimals$}"))))
            .collect()
    }
}

/// Bars, row by row; the legend names the upper and the lower ones.
pub fn bars(title: &str, legend: [&str; 2], rows: &[Bar]) -> String {
    let mut canvas = Canvas::new(title);
    let marks = || rows.iter().flat_map(|row| [Some(row.first), row.second]).flatten();
    let ends = marks().flat_map(|mark| [Some(mark.value), mark.aim, mark.spread.map(|spread| spread.1)]);
    let axis = Axis::to(ends.flatten().fold(0.0, f64::max), PLOT.0);
    let left = MARGIN + rows.iter().map(|row| width(&row.label)).fold(0.0, f64::max) + 10.0;
    let top = MARGIN + LINE * 2.5;
    canvas.text("strong", MARGIN, MARGIN + FONT, title);
    let height = |row: &Bar| SPACE + BAR * if row.second.is_some() { 2.0 } else { 1.0 };
    let bottom = top + SPACE + rows.iter().map(height).sum::<f64>();
    for (x, label) in axis.ticks() {
        canvas.line("axis", (left + x, top), (left + x, bottom));
        canvas.text("faint middle", left + x, bottom + LINE, &label);
    }
    let mut y = top + SPACE;
    for row in rows {
        let middle = y + (height(row) - SPACE) / 2.0 + FONT * 0.36;
        canvas.text("end", left - 10.0, middle, &row.label);
        for (class, mark) in [("first", Some(row.first)), ("second", row.second)] {
            let Some(mark) = mark else { continue };
            bar(&mut canvas, class, mark, &axis, (left, y));
            y += BAR;
        }
        y += SPACE;
    }
    let y = bottom + LINE * 2.6;
    let mut x = left;
    let mut explain = |text: &str, draw: &dyn Fn(&mut Canvas, f64)| {
        draw(&mut canvas, x);
        canvas.text("faint", x + 26.0, y, text);
        x += 26.0 + width(text) + 24.0;
    };
    let is_used = [true, rows.iter().any(|row| row.second.is_some())];
    for ((class, text), _) in
        ["first", "second"].into_iter().zip(legend).zip(is_used).filter(|(_, used)| *used)
    {
        explain(text, &|canvas, x| {
            canvas.area(class, Area { x, y: y - FONT * 0.7, w: 18.0, h: FONT * 0.7 }, 0.0);
        });
    }
    if marks().any(|mark| mark.aim.is_some()) {
        explain("the aim", &|canvas, x| canvas.line("arrow aim", (x + 9.0, y - FONT), (x + 9.0, y + 3.0)));
    }
    let room = (left + PLOT.0 + 90.0).max(x).max(MARGIN * 2.0 + width(title));
    canvas.finish(room, y + MARGIN)
}

fn bar(canvas: &mut Canvas, class: &str, mark: Mark, axis: &Axis, (left, y): (f64, f64)) {
    let end = axis.place(mark.value);
    canvas.area(class, Area { x: left, y: y + 1.0, w: end, h: BAR - 2.0 }, 0.0);
    let middle = y + BAR / 2.0;
    let mut label = end;
    if let Some((least, most)) = mark.spread {
        let (from, to) = (left + axis.place(least), left + axis.place(most));
        let class = format!("{class} spread");
        // Half of it lies over the bar, where only its ends are seen.
        canvas.line(&class, (from, middle), (to, middle));
        for x in [from, to] {
            canvas.line(&class, (x, middle - BAR * 0.7), (x, middle + BAR * 0.7));
        }
        label = label.max(to - left);
    }
    if let Some(aim) = mark.aim {
        let x = left + axis.place(aim);
        canvas.line("arrow aim", (x, y - SPACE / 3.0), (x, y + BAR + SPACE / 3.0));
        if aim > mark.value && axis.place(aim) < label + 50.0 {
            label = axis.place(aim);
        }
    }
    canvas.text("faint", left + label + 6.0, middle + FONT * 0.36, &trimmed(mark.value));
}

/// A curve over steps that have names, from zero on.
pub fn curve(title: &str, points: &[(String, f64)]) -> String {
    let mut canvas = Canvas::new(title);
    let axis = Axis::to(points.iter().map(|(_, value)| *value).fold(0.0, f64::max), PLOT.1);
    let room = points.iter().map(|(label, _)| width(label)).fold(0.0, f64::max) + 24.0;
    let left = MARGIN + axis.ticks().iter().map(|(_, label)| width(label)).fold(0.0, f64::max) + 10.0;
    let (top, right) = (MARGIN + LINE * 3.0, left + room * points.len() as f64);
    let bottom = top + PLOT.1;
    canvas.text("strong", MARGIN, MARGIN + FONT, title);
    for (height, label) in axis.ticks() {
        let y = bottom - height;
        canvas.line("axis", (left, y), (right, y));
        canvas.text("faint end", left - 8.0, y + FONT * 0.36, &label);
    }
    let place = |number: usize, value: f64| (left + room * (number as f64 + 0.5), bottom - axis.place(value));
    let line: Vec<(f64, f64)> =
        points.iter().enumerate().map(|(number, (_, value))| place(number, *value)).collect();
    canvas.path("line", &line, false);
    for ((x, y), (label, value)) in line.into_iter().zip(points) {
        canvas.disc("first", (x, y), 4.0);
        canvas.text("faint middle", x, y + LINE * 1.3, &grouped(&format!("{value:.0}")));
        canvas.text("middle", x, bottom + LINE * 1.2, label);
    }
    canvas.finish(right.max(MARGIN + width(title)) + MARGIN, bottom + LINE * 1.2 + MARGIN)
}

/// A number with two digits behind the point, or three.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.strip_suffix('0').unwrap_or(&text).to_owned()
}

/// A number with a comma between thousands.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_round_numbers() {
        let labels =
            |most| Axis::to(most, 100.0).ticks().into_iter().map(|(_, label)| label).collect::<Vec<_>>();
        assert_eq!(labels(1.3), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4"]);
        assert_eq!(labels(22694.1), ["0", "5,000", "10,000", "15,000", "20,000", "25,000"]);
        assert_eq!(Axis::to(2.0, 100.0).place(1.0), 50.0);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.25, 1.108, 2.0].map(trimmed), ["0.25", "1.108", "2.00"]);
        assert_eq!(["1234567", "123", "0.05"].map(grouped), ["1,234,567", "123", "0.05"]);
    }
}
