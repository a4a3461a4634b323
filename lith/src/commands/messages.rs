//! `lith dmesg`.

use anyhow::Result;

use crate::output::{self, print_json};
use crate::xen::Xen;

/// With what the hypervisor's lines begin: Xenolith's, and those of a Xen. What a domain that shares the console writes has
/// its number in front; the first domain's lines have nothing, and could be taken for messages if they begin so.
const MARKS: [&str; 2] = ["(xenolith) ", "(XEN) "];

/// Prints the hypervisor's messages, or all that its console keeps.
pub fn print(xen: &dyn Xen, all: bool, json: bool) -> Result<()> {
    let text = xen.console()?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = if all { text.lines().collect() } else { messages(&text) };
    if json {
        return print_json(&lines);
    }
    output::print(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// The lines that are the hypervisor's own.
fn messages(text: &str) -> Vec<&str> {
    text.lines().filter(|line| MARKS.iter().any(|mark| line.starts_with(mark))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_domains_write_is_no_message() {
        let text = "(xenolith) one\r\n[    0.1] Linux\r\n(d1) (xenolith) false\r\nlogin: \r\n(xenolith) two\n(XEN) three";
        assert_eq!(messages(text), ["(xenolith) one", "(xenolith) two", "(XEN) three"]);
    }
}
