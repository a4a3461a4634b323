//! Links the kernels by their own script. On a host, where they are only checked, there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=traps.ld");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        let script = format!("-T{}/traps.ld", std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default());
        for argument in [&script, "-pie", "--no-dynamic-linker", "-znorelro", "-zmax-page-size=4096"] {
            for kernel in ["bench-traps", "bench-switch", "bench-forward", "bench-neighbour"] {
                println!("cargo::rustc-link-arg-bin={kernel}={argument}");
            }
        }
    }
}
