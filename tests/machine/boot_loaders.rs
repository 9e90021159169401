//! Every way in that boot loaders take.

use xenolith_tests::{Machine, MachineSpec, Media};

use crate::boot_disc;
use crate::image;

/// Boots and waits for the hypervisor's first line.
fn says_its_name(test: &str, media: Media) {
    let mut machine = Machine::start(&MachineSpec::new(test, media)).unwrap();
    if let Err(error) = machine.expect("Xenolith") {
        panic!("{error:#}");
    }
}

#[test]
fn it_boots_by_multiboot1_from_the_emulator() {
    says_its_name("multiboot1", image::alone(""));
}

#[test]
fn it_boots_by_multiboot2_from_grub_under_bios() {
    let iso = boot_disc::disc("multiboot2-bios", "", &[]);
    says_its_name("multiboot2-bios", Media::BiosDisc { iso });
}

#[test]
fn it_boots_by_multiboot2_from_grub_under_uefi() {
    let iso = boot_disc::disc("multiboot2-uefi", "", &[]);
    says_its_name("multiboot2-uefi", boot_disc::under_uefi(iso));
}

#[test]
fn it_boots_by_the_pvh_entry_when_there_is_no_multiboot1_header() {
    let image = image::without_multiboot1("pvh");
    says_its_name("pvh", Media::Kernel { image, options: image::OPTIONS.into(), modules: vec![] });
}
