//! What a machine says when it comes to nothing: whoever waits for something else need not wait for it any longer.

/// Words of the hypervisor behind which the machine stands still, and does not even end.
pub const HALTS: [&str; 3] =
    ["nothing can be booted; halted", "the machine is halted", "halted; reset the machine"];

/// Words of Linux, of the hypervisor and of Xen that begin a report, behind which the machine ends or stands still.
pub const PANICS: [&str; 4] =
    ["Kernel panic - not syncing", "hypervisor panic", "hypervisor fault", "Xen BUG at"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths;
    use std::fs;
    use std::path::Path;

    /// The texts between quotes in code and comments of a folder's files in which `word` occurs.
    fn quoted_with(word: &str, folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if entry.file_type().unwrap().is_dir() {
                quoted_with(word, &path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let quoted = text.split('"').skip(1).step_by(2).filter(|text| text.contains(word));
                found.extend(quoted.map(str::to_owned));
            }
        }
    }

    #[test]
    fn they_are_the_hypervisor_s_own() {
        let mut said = Vec::new();
        for part in ["boot", "domain", "image"] {
            let folder = paths::workspace().join("hypervisor").join(part).join("src");
            quoted_with("halted", &folder, &mut said);
        }
        for words in HALTS {
            assert!(said.iter().any(|text| text.contains(words)), "nothing in the hypervisor says {words:?}");
        }
        for text in said {
            assert!(HALTS.iter().any(|words| text.contains(words)), "no test would end at {text:?}");
        }
    }
}
