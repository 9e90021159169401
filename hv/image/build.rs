//! Gives the linker its script when the image is built for bare metal; the host's checks need none.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=image.ld");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=XENOLITH_COMPILER={}", compiler());
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("none") {
        return;
    }
    let script = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default()).join("image.ld");
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    // Segments begin at pages of 4 KiB in the file too, so that file offset minus load address is one constant.
    println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    println!("cargo:rustc-link-arg-bins=--build-id=sha1");
}

/// Returns the compiler's name and version, as guests may ask for it.
fn compiler() -> String {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().ok();
    said.and_then(|said| String::from_utf8(said.stdout).ok()).map_or_else(|| "rustc".into(), |text| text.trim().into())
}
