//! `cargo xtask build`.

use anyhow::Result;
use testbed::toolchain::{Cross, Target};
use testbed::{image, paths};

/// The most that code and data of the image may take.
const LARGEST_IMAGE: usize = 512 << 10;

/// Builds the image and says how large it is.
pub fn build() -> Result<()> {
    let sizes = image::build(&Cross::prepare(Target::Hypervisor)?)?;
    println!(
        "{}: {} KiB of code and data (at most {} KiB), symbols use {} of {} KiB",
        paths::image().display(),
        sizes.text_and_data().div_ceil(1024),
        LARGEST_IMAGE / 1024,
        sizes.symbols_used.div_ceil(1024),
        sizes.symbols / 1024,
    );
    Ok(())
}
