//! A USB stick in the machine, for the job that gives it to a guest.

use std::fs;

use anyhow::{Context, Result};
use xenolith_tests::places;

/// The job that wants one.
pub const JOB: &str = "hvm-hotplug";

const BYTES: usize = 4 << 20;

/// Returns a USB controller with a stick in it, as the emulator's arguments. What it holds tells its sectors apart.
///
/// **Errors:** its image cannot be written.
pub fn devices() -> Result<Vec<String>> {
    let place = places::target().join("tmp");
    fs::create_dir_all(&place).context("cannot make a directory for the stick")?;
    let image = place.join("stick.img");
    let bytes: Vec<u8> = (0..BYTES).map(|at| (at / 512 * 31 + at).to_le_bytes()[0]).collect();
    fs::write(&image, bytes).context("cannot write the stick")?;
    let image = image.display().to_string().replace(',', ",,");
    let drive = format!("if=none,id=stick,format=raw,snapshot=on,file={image}");
    Ok(["-device", "qemu-xhci", "-drive", &drive, "-device", "usb-storage,drive=stick"].map(str::to_owned).into())
}
