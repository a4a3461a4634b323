//! Debian's headers of a version, and what a C compiler makes of them.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection};
use testbed::debian::{PrivateApt, Release};
use testbed::paths;
use testbed::process::capture;
use testbed::toolchain::DOMAIN_LINKER;

/// The package with the headers.
const PACKAGE: &str = "libxen-dev";
/// Where the compiler puts the answers.
const SECTION: &str = ".answers";
/// All headers that the types and numbers come from.
const INCLUDES: &[&str] = &[
    "errno.h",
    "xen.h",
    "memory.h",
    "domctl.h",
    "sysctl.h",
    "platform.h",
    "physdev.h",
    "event_channel.h",
    "grant_table.h",
    "hvm/hvm_op.h",
    "hvm/params.h",
    "hvm/dm_op.h",
    "hvm/ioreq.h",
    "io/console.h",
    "version.h",
    "features.h",
    "sched.h",
    "vcpu.h",
    "argo.h",
    "hypfs.h",
    "pmu.h",
    "nmi.h",
    "callback.h",
    "kexec.h",
    "xsm/flask_op.h",
];

/// A version of Xen that Debian ships.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 4.17, of Debian 12.
    V4_17,
    /// 4.20, of Debian 13.
    V4_20,
}

impl Version {
    /// Both.
    pub const ALL: [Version; 2] = [Version::V4_17, Version::V4_20];

    fn release(self) -> Release {
        match self {
            Version::V4_17 => Release::Bookworm,
            Version::V4_20 => Release::Trixie,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Version::V4_17 => "4.17",
            Version::V4_20 => "4.20",
        })
    }
}

/// The unpacked headers of a version.
pub struct Headers {
    version: Version,
    folder: PathBuf,
}

impl Headers {
    /// Fetches them, unless they are there.
    pub fn fetch(version: Version) -> Result<Self> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        let folder = paths::cache().join(format!("{PACKAGE}-{version}"));
        if !folder.exists() {
            let fresh = folder.with_extension("new");
            if fresh.exists() {
                fs::remove_dir_all(&fresh)?;
            }
            let wanted = version.to_string();
            let apt = PrivateApt::of_release(version.release());
            apt.unpack(PACKAGE, |offered| offered.starts_with(&wanted), &fresh)?;
            fs::rename(&fresh, &folder)?;
        }
        Ok(Self { version, folder })
    }

    /// The values of C expressions. The files that are made on the way have the name.
    pub fn values(&self, name: &str, expressions: &[&str]) -> Result<Vec<i64>> {
        let list: String = expressions.iter().map(|c| format!("    (long long)({c}),\n")).collect();
        let array = format!(
            "const long long answers[] __attribute__((section(\"{SECTION}\"), used)) = {{\n{list}}};\n"
        );
        let object = self.compile(name, &["-c"], &array)?;
        let object = fs::read(object)?;
        let file = object::File::parse(&*object)?;
        let section = file.section_by_name(SECTION).context("the object has no answers")?;
        let words = section.data()?.chunks_exact(8);
        let values: Vec<i64> =
            words.map(|word| word.try_into().map(i64::from_le_bytes)).collect::<Result<_, _>>()?;
        ensure!(values.len() == expressions.len(), "{} answers to {}", values.len(), expressions.len());
        Ok(values)
    }

    /// The text of a header.
    pub fn text(&self, header: &str) -> Result<String> {
        Ok(fs::read_to_string(self.include().join("xen").join(header))?)
    }

    /// The names of all macros that the headers define, with their definitions.
    pub fn macros(&self) -> Result<Vec<(String, String)>> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock();
        let text = fs::read_to_string(self.compile("macros", &["-E", "-dM"], "")?)?;
        let pair = |line: &str| {
            let (name, value) = line.strip_prefix("#define ")?.split_once(' ')?;
            Some((name.to_owned(), value.to_owned()))
        };
        Ok(text.lines().filter_map(pair).collect())
    }

    /// Has the compiler make a file of the headers with something behind them.
    fn compile(&self, name: &str, options: &[&str], text: &str) -> Result<PathBuf> {
        let folder = paths::target().join("headers");
        fs::create_dir_all(&folder)?;
        let file = |kind: &str| folder.join(format!("{name}-{}.{kind}", self.version));
        let (source, output) = (file("c"), file("out"));
        let includes: String = INCLUDES.iter().map(|header| format!("#include <xen/{header}>\n")).collect();
        fs::write(&source, format!("#include <stddef.h>\n#include <stdint.h>\n{includes}{text}"))?;
        let mut command = Command::new(DOMAIN_LINKER);
        command.args(["-D__XEN_TOOLS__", "-I"]).arg(self.include()).args(options);
        capture(command.arg("-o").arg(&output).arg(&source))?;
        Ok(output)
    }

    fn include(&self) -> PathBuf {
        self.folder.join(Path::new("usr/include"))
    }
}
