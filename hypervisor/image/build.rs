//! Passes the linker its script when the image itself is built.

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        let script =
            std::path::Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default()).join("image.ld");
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
        let arguments = [
            "-pie",
            "--no-dynamic-linker",
            "--pack-dyn-relocs=relr",
            "-z",
            "notext",
            "--build-id=none",
            "-z",
            "norelro",
        ];
        for argument in arguments {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
