//! Links the kernel by its own script. On a host, where it is only checked, there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=image.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let script = format!("{}/image.ld", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
        for argument in [
            &format!("-T{script}"),
            "-pie",
            "--no-dynamic-linker",
            "-znotext",
            "-znorelro",
            "-zmax-page-size=4096",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
