//! `cargo xtask build`.

use anyhow::Result;
use testbed::image::{self, Sizes};
use testbed::paths;
use testbed::toolchain::{Cross, Target};

/// The most that code and data of the image may take, in bytes.
pub const LARGEST_IMAGE: usize = 560 << 10;

/// Builds the image, and says and returns how large it is.
pub fn build() -> Result<Sizes> {
    let sizes = image::build(&Cross::prepare(Target::Hypervisor)?)?;
    println!(
        "{}: {} KiB of code and data (at most {} KiB), symbols use {} of {} KiB",
        paths::image().display(),
        sizes.text_and_data().div_ceil(1024),
        LARGEST_IMAGE / 1024,
        sizes.symbols_used.div_ceil(1024),
        sizes.symbols / 1024,
    );
    Ok(sizes)
}
