//! What the check found, for a person.

use std::fmt;
use std::path::PathBuf;

/// All that was found.
#[derive(Debug)]
pub struct Report {
    /// What breaks the table, by file and line.
    pub breaches: Vec<Breach>,
    /// Circles, the largest first.
    pub circles: Vec<Circle>,
    /// Files that were looked at.
    pub files: usize,
}

/// A place that breaks the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// The file.
    pub file: PathBuf,
    /// The line.
    pub line: usize,
    /// What stands there, and the rule that it breaks.
    pub rule: String,
}

/// Files that use each other.
#[derive(Debug)]
pub struct Circle {
    /// All of them.
    pub files: Vec<PathBuf>,
    /// A shortest way from one of them back to itself.
    pub shortest: Vec<Step>,
    /// Every arrow between two of them.
    pub arrows: Vec<Step>,
}

/// An arrow between two files.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The file that uses the other.
    pub from: PathBuf,
    /// The line where it does.
    pub line: usize,
    /// The path that stands there.
    pub text: String,
    /// The file that defines what is used.
    pub to: PathBuf,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.breaches.is_empty() && self.circles.is_empty()
    }

    /// Everything, with all arrows of each circle.
    pub fn at_length(&self) -> String {
        let mut text = format!("{self}");
        for circle in &self.circles {
            text.push_str(&format!("\nAll arrows of the circle of {} files:\n", circle.files.len()));
            for step in &circle.arrows {
                text.push_str(&format!("  {step}\n"));
            }
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Breach { file, line, rule } in &self.breaches {
            writeln!(f, "{}:{line}: {rule}", file.display())?;
        }
        for circle in &self.circles {
            writeln!(f, "{} files use each other in a circle:", circle.files.len())?;
            for file in &circle.files {
                writeln!(f, "  {}", file.display())?;
            }
            writeln!(f, "  a shortest way round:")?;
            for step in &circle.shortest {
                writeln!(f, "    {step}")?;
            }
        }
        let (breaches, circles) = (self.breaches.len(), self.circles.len());
        writeln!(f, "{} files: {breaches} breaches of the layers, {circles} circles", self.files)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {} is in {}", self.from.display(), self.line, self.text, self.to.display())
    }
}
