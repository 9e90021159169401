//! The image under test, and variants of it.

use std::fs;
use std::path::PathBuf;

use xenolith_tests::{Media, places};

/// What is told to every image, so that something is seen of it.
pub const OPTIONS: &str = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all";

/// Returns a file of `target/image/`, which must be there.
pub fn built(name: &str) -> PathBuf {
    let path = places::images().join(name);
    assert!(path.is_file(), "there is no {}; run: cargo xtask build", path.display());
    path
}

/// Returns a directory for what one test makes, empty.
pub fn scratch(test: &str) -> PathBuf {
    let place = places::target().join("machine-tests").join(test);
    // It may not be there yet.
    let _ = fs::remove_dir_all(&place);
    fs::create_dir_all(&place).unwrap();
    place
}

/// Returns the image as the emulator loads it, without modules.
pub fn alone(options: &str) -> Media {
    Media::Kernel { image: built("xenolith"), options: format!("{OPTIONS} {options}"), modules: vec![] }
}

/// Returns a copy whose multiboot1 magic is broken, so that the emulator takes the PVH note instead.
pub fn without_multiboot1(test: &str) -> PathBuf {
    let mut bytes = fs::read(built("xenolith")).unwrap();
    let at = multiboot1_header(&bytes).expect("the image has a multiboot1 header");
    bytes[at..at + 4].fill(0);
    let copy = scratch(test).join("xenolith-without-multiboot1");
    fs::write(&copy, bytes).unwrap();
    copy
}

/// Returns where the multiboot1 header begins: in the first 8 KiB, 4-aligned, its first three words adding up to zero.
fn multiboot1_header(bytes: &[u8]) -> Option<usize> {
    let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    (0..8192).step_by(4).find(|&at| {
        let words = [word(at), word(at + 4), word(at + 8)];
        words[0] == Some(0x1bad_b002) && words.iter().flatten().fold(0_u32, |sum, word| sum.wrapping_add(*word)) == 0
    })
}
