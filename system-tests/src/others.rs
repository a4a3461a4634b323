//! The lines of others on a console that several share: the hypervisor, other domains, the monitor of the guest whose console it is.
//!
//! Whoever writes a line there ends the line that another has begun, and that one then goes on behind it.

use std::ops::Range;

/// How the hypervisor's lines begin.
const HYPERVISOR: &[u8] = b"(xenolith) ";
/// How the lines of a guest's monitor begin.
const MONITOR: &[u8] = b"[lith: ";

/// Where `word` stands in `text`; the lines of others may stand within it.
pub fn find(text: &[u8], word: &[u8]) -> Option<Range<usize>> {
    (0..text.len()).find_map(|start| Some(start..start + length_of(&text[start..], word)?))
}

/// Output without the lines of others, and without its last newline.
pub fn left_out(output: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for line in output.split_inclusive('\n') {
        if line.as_bytes().starts_with(MONITOR) {
            // The monitor begins a line of its own, by ending whatever line there is.
            kept.pop_if(|before| *before == "\n");
        } else if !is_of_another(line.as_bytes()) {
            kept.push(line);
        }
    }
    kept.concat().trim_end_matches('\n').to_owned()
}

/// How much of `text` is the `word` that it begins with, the lines of others within it included.
fn length_of(text: &[u8], word: &[u8]) -> Option<usize> {
    let mut at = 0;
    for (index, byte) in word.iter().enumerate() {
        if index > 0 && text.get(at) != Some(byte) {
            at += length_of_others(&text[at..]);
        }
        if text.get(at) != Some(byte) {
            return None;
        }
        at += 1;
    }
    Some(at)
}

/// How much of `text` is the end of a line and whole lines of others after it; 0 if it does not begin so.
fn length_of_others(text: &[u8]) -> usize {
    let Some(lines) = text.strip_prefix(b"\n") else {
        return 0;
    };
    let others = lines
        .split_inclusive(|&byte| byte == b'\n')
        .take_while(|line| line.ends_with(b"\n") && is_of_another(line));
    match others.map(<[u8]>::len).sum() {
        0 => 0,
        length => 1 + length,
    }
}

/// Whether a line is the hypervisor's, a monitor's or another domain's.
fn is_of_another(line: &[u8]) -> bool {
    line.starts_with(HYPERVISOR) || line.starts_with(MONITOR) || is_of_domain(line)
}

/// Whether a line begins as one of a domain that is not the console's own: `(d12) `.
fn is_of_domain(line: &[u8]) -> bool {
    let Some(rest) = line.strip_prefix(b"(d") else {
        return false;
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    digits > 0 && rest[digits..].starts_with(b") ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found<'a>(text: &'a str, word: &str) -> Option<&'a str> {
        find(text.as_bytes(), word.as_bytes()).map(|at| &text[at])
    }

    #[test]
    fn words_are_found_with_the_lines_of_others_in_them() {
        let cut = "Left \n(xenolith) warning: d2: gone\n(d12) two\nguest; it ru\n[lith: lost]\nns on.";
        assert_eq!(found(&format!("Left\n{cut}\n"), "Left guest; it runs on."), Some(cut));
    }

    #[test]
    fn words_are_cut_by_whole_lines_of_others_alone() {
        for text in ["Left\nguest", "Left\n(xenolith) gone", "Left(d1) two\nguest", "Left\n(dx) two\nguest"] {
            assert_eq!(found(text, "Leftguest"), None, "{text:?}");
        }
    }

    #[test]
    fn lines_of_others_are_left_out() {
        let output = "one\n(d1) two\n(dx) three\n(d12) \n(xenolith) d1 has powered off\n\
                      \n[lith: guest has lost the backend of its disk]\n[four]\n\nfive\n\n";
        assert_eq!(left_out(output), "one\n(dx) three\n[four]\n\nfive");
    }
}
