//! Hands the linker the kit's linker script when the kernel is built for bare metal.

fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../kit/kernel.ld");
    println!("cargo::rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo::rustc-link-arg-bins=-T{script}");
        println!("cargo::rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
