//! What is built for, and what a build for it needs of the compiler.

/// Links programs for the domains.
pub const DOMAIN_LINKER: &str = "aarch64-linux-gnu-gcc";

/// What a build is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The hypervisor: bare metal, no floating-point registers.
    Hypervisor,
    /// Programs that run in a domain: Linux, statically linked.
    Domain,
    /// A 32-bit Arm machine, for which code is only checked.
    Arm,
    /// An x86 machine, for which code is only checked.
    X86,
}

impl Target {
    /// Machines that the hypervisor does not run on. Code without an architecture compiles for them, with `core` and `alloc`
    /// alone.
    pub const OTHERS: [Target; 2] = [Target::Arm, Target::X86];

    /// Rust's name for it.
    pub fn triple(self) -> &'static str {
        match self {
            Target::Hypervisor => "aarch64-unknown-none-softfloat",
            Target::Domain => "aarch64-unknown-linux-gnu",
            Target::Arm => "armv7a-none-eabi",
            Target::X86 => "x86_64-unknown-none",
        }
    }

    /// Compiler flags for every crate of a build, the standard library included.
    ///
    /// Those of one image only, such as its linker script, are in that crate's build script.
    pub(super) fn rust_flags(self) -> &'static [&'static str] {
        match self {
            // Without jump tables: a `match` on a number that a guest chose compares it, and no table is read beyond its end
            // by a CPU that guesses the bound.
            Target::Hypervisor => &[
                "-Cforce-frame-pointers=yes",
                "-Crelocation-model=pie",
                "-Cllvm-args=-inline-threshold=60",
                "-Cjump-tables=no",
            ],
            Target::Domain => &["-Ctarget-feature=+crt-static", "-Clinker=aarch64-linux-gnu-gcc"],
            Target::Arm | Target::X86 => &[],
        }
    }

    /// Cargo's flags that build the standard library along, where it comes as source.
    pub(super) fn library_flags(self) -> &'static [&'static str] {
        match self {
            Target::Hypervisor => {
                &["-Zbuild-std=core,alloc,compiler_builtins", "-Zbuild-std-features=compiler-builtins-mem"]
            }
            Target::Domain => &["-Zbuild-std=std,panic_abort"],
            Target::Arm | Target::X86 => &["-Zbuild-std=core,alloc"],
        }
    }
}
