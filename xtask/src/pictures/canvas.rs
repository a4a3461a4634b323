//! A sheet that things are drawn on, and what they look like: on a light page and on a dark one.

use std::fmt::Write;

use svg::Document;
use svg::node::element::{Circle, Definitions, Group, Line, Marker, Path, Rectangle, Style, Text, Title};

/// Pixels of a letter's height, and about how wide one is: whatever font the reader has, text must find room.
pub const FONT: f64 = 13.0;
const LETTER: f64 = 7.3;
/// From one line of text to the next.
pub const LINE: f64 = 17.0;

/// The looks of each class, on a light and on a dark page.
const LOOKS: [(&str, &str, &str); 13] = [
    (".page", "fill:#ffffff", "fill:#0d1117"),
    ("text", "fill:#1f2328", "fill:#e6edf3"),
    (".faint", "fill:#59636e", "fill:#9198a1"),
    (".box", "fill:#ffffff;stroke:#59636e", "fill:#0d1117;stroke:#9198a1"),
    (".domain", "fill:#ddf4ff;stroke:#54aeff", "fill:#0c2d4a;stroke:#388bfd"),
    (".hypervisor", "fill:#fff1e5;stroke:#fb8f44", "fill:#3d2410;stroke:#db6d28"),
    (".machine", "fill:#f6f8fa;stroke:#8c959f", "fill:#151b23;stroke:#656c76"),
    (".arrow", "stroke:#cf222e", "stroke:#ff7b72"),
    (".head,.badge", "fill:#cf222e", "fill:#ff7b72"),
    (".number", "fill:#ffffff", "fill:#0d1117"),
    (".axis", "stroke:#d1d9e0", "stroke:#3d444d"),
    (".first,.line", "fill:#0969da;stroke:#0969da", "fill:#4493f8;stroke:#4493f8"),
    (".second", "fill:#9a6700;stroke:#9a6700", "fill:#d29922;stroke:#d29922"),
];

/// What is the same on both.
const FORM: &str = "text{font:13px \"DejaVu Sans\",Verdana,Helvetica,sans-serif}\
.strong{font-weight:bold}.end{text-anchor:end}.middle{text-anchor:middle}\
.arrow,.line{fill:none;stroke-width:2}.number{font-weight:bold}.spread{stroke-width:2}.aim{stroke-width:2;stroke-dasharray:4 3}";

/// About how many pixels a line of text takes.
pub fn width(text: &str) -> f64 {
    text.chars().count() as f64 * LETTER
}

/// A rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Area {
    /// Its middle.
    pub fn middle(&self) -> (f64, f64) {
        (self.x + self.w / 2.0, self.y + self.h / 2.0)
    }

    /// Its right edge.
    pub fn right(&self) -> f64 {
        self.x + self.w
    }

    /// Its lower edge.
    pub fn bottom(&self) -> f64 {
        self.y + self.h
    }

    /// The smallest that holds both.
    pub fn with(&self, other: &Area) -> Area {
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Area { x, y, w: self.right().max(other.right()) - x, h: self.bottom().max(other.bottom()) - y }
    }
}

/// A picture in the making.
pub struct Canvas {
    title: String,
    group: Group,
}

impl Canvas {
    /// An empty one; the title is for those who do not see it.
    pub fn new(title: &str) -> Self {
        Canvas { title: title.to_owned(), group: Group::new() }
    }

    fn add(&mut self, node: impl svg::Node) {
        let group = std::mem::take(&mut self.group);
        self.group = group.add(node);
    }

    /// A rectangle; `round` is the radius of its corners.
    pub fn area(&mut self, class: &str, area: Area, round: f64) {
        let Area { x, y, w, h } = area;
        let node = Rectangle::new().set("x", tidy(x)).set("y", tidy(y)).set("width", tidy(w));
        self.add(node.set("height", tidy(h)).set("rx", tidy(round)).set("class", class));
    }

    /// A line of text whose base begins at this point, or as the class says.
    pub fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.add(Text::new(text).set("x", tidy(x)).set("y", tidy(y)).set("class", class));
    }

    /// A straight line.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let node = Line::new().set("x1", tidy(from.0)).set("y1", tidy(from.1));
        self.add(node.set("x2", tidy(to.0)).set("y2", tidy(to.1)).set("class", class));
    }

    /// A line through these points, which ends in a head if it is an arrow.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)], is_arrow: bool) {
        let mut data = String::new();
        for (number, (x, y)) in points.iter().enumerate() {
            let _ = write!(data, "{}{} {}", if number == 0 { "M" } else { " L" }, tidy(*x), tidy(*y));
        }
        let node = Path::new().set("d", data).set("class", class);
        self.add(if is_arrow { node.set("marker-end", "url(#head)") } else { node });
    }

    /// A disc.
    pub fn disc(&mut self, class: &str, at: (f64, f64), radius: f64) {
        let node = Circle::new().set("cx", tidy(at.0)).set("cy", tidy(at.1));
        self.add(node.set("r", tidy(radius)).set("class", class));
    }

    /// A number in a disc.
    pub fn badge(&mut self, at: (f64, f64), number: &str) {
        self.disc("badge", at, 10.0);
        self.text("number middle", at.0, at.1 + FONT * 0.36, number);
    }

    /// The picture, of this size.
    pub fn finish(self, w: f64, h: f64) -> String {
        let (mut light, mut dark) = (FORM.to_owned(), String::new());
        for (class, on_light, on_dark) in LOOKS {
            let _ = write!(light, "{class}{{{on_light}}}");
            let _ = write!(dark, "{class}{{{on_dark}}}");
        }
        let head = Marker::new()
            .set("id", "head")
            .set("viewBox", "0 0 8 8")
            .set("refX", 7)
            .set("refY", 4)
            .set("markerWidth", 5)
            .set("markerHeight", 5)
            .set("orient", "auto-start-reverse")
            .add(Path::new().set("d", "M0 0 L8 4 L0 8 z").set("class", "head"));
        let page = Rectangle::new().set("width", tidy(w)).set("height", tidy(h)).set("class", "page");
        let document = Document::new()
            .set("viewBox", format!("0 0 {} {}", tidy(w), tidy(h)))
            .set("width", tidy(w))
            .set("height", tidy(h))
            .set("role", "img")
            .add(Title::new(self.title))
            .add(Style::new(format!("{light}@media(prefers-color-scheme:dark){{{dark}}}")))
            .add(Definitions::new().add(head))
            .add(page)
            .add(self.group);
        format!("{document}\n")
    }
}

/// A coordinate in tenths of a pixel, so that the text is short and the same everywhere.
fn tidy(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_and_the_same_every_time() {
        let draw = || {
            let mut canvas = Canvas::new("a < b");
            canvas.text("strong", 1.0, 2.04, "x & <y>");
            canvas.path("arrow", &[(0.0, 0.0), (1.25, 3.0)], true);
            canvas.finish(10.0, 20.0)
        };
        let text = draw();
        assert_eq!(text, draw());
        for part in ["a &lt; b", "x &amp; &lt;y&gt;", "y=\"2\"", "M0 0 L1.3 3", "prefers-color-scheme:dark"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn areas_join() {
        let one = Area { x: 1.0, y: 1.0, w: 2.0, h: 2.0 };
        let other = Area { x: 2.0, y: 0.0, w: 5.0, h: 1.0 };
        assert_eq!(one.with(&other), Area { x: 1.0, y: 0.0, w: 6.0, h: 3.0 });
    }
}
