//! Links the guest by its own script, and as the bytes that stand in memory: what Cargo leaves is the arm64 `Image`. On a
//! host, where it is only checked and its library tested, there is nothing to do.

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
            "--build-id=none",
            "--oformat=binary",
        ] {
            println!("cargo::rustc-link-arg-bins={argument}");
        }
    }
}
