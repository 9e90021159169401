//! The I/O and MSR permission maps: the ports and MSRs that a guest accesses without an exit.
//!
//! **Source:** AMD manual volume 2, 15.10 (I/O permission map) and 15.11 (MSR permission map).

use core::sync::atomic::Ordering;
use xenolith_hal::{Mpa, PageWords};

/// One bit for each port; the CPU reads up to three bits past the last.
pub const IO_PAGES: usize = 3;
/// Two bits for each MSR of the three ranges that have them: reads, writes.
pub const MSR_PAGES: usize = 2;

/// Where the two maps lie, each in frames that follow each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PermissionMaps {
    /// Makes every port exit.
    pub ports: Mpa,
    /// The ports of the control domain do not exit.
    pub opened_ports: Mpa,
    pub msrs: Mpa,
}

/// MSRs that the CPU switches with the guest (by VMLOAD and VMSAVE, and the page attribute table with nested paging), so
/// that the guest may have them for itself. Not those of SYSENTER: not every CPU refuses a bad address there.
const GUEST_OWNED: [u32; 8] = [
    0x277,       // PAT
    0xc000_0081, // STAR
    0xc000_0082, // LSTAR
    0xc000_0083, // CSTAR
    0xc000_0084, // SFMASK
    0xc000_0100, // FS_BASE
    0xc000_0101, // GS_BASE
    0xc000_0102, // KERNEL_GS_BASE
];

fn fill(pages: &[PageWords]) {
    for word in pages.iter().flat_map(PageWords::words) {
        word.store(u64::MAX, Ordering::Relaxed);
    }
}

/// Makes every port exit.
pub fn forbid_all_ports(map: &[PageWords; IO_PAGES]) {
    fill(map);
}

/// Makes only ports that are not `open` exit. The map is not in use, or forbids all.
pub fn open_ports(map: &[PageWords; IO_PAGES], open: impl Fn(u16) -> bool) {
    let words = map.iter().flat_map(PageWords::words);
    for (word, first) in words.zip((0..=u16::MAX).step_by(64)) {
        let bits = (0..64).filter(|bit| open(first | bit)).fold(0, |bits, bit| bits | 1 << bit);
        word.store(!bits, Ordering::Relaxed);
    }
}

/// Returns byte and bit of an MSR's first bit; None for MSRs that always exit.
const fn place(msr: u32) -> Option<(usize, u32)> {
    let start = match msr >> 13 {
        0 => 0,
        0x6_0000 => 0x800,
        0x6_0008 => 0x1000,
        _ => return None,
    };
    let index = msr & 0x1fff;
    Some((start + (index / 4) as usize, (index % 4) * 2))
}

/// Makes every MSR exit, except the ones that the guest owns.
pub fn forbid_all_but_owned_msrs(map: &[PageWords; MSR_PAGES]) {
    fill(map);
    for (byte, bit) in GUEST_OWNED.into_iter().filter_map(place) {
        let page = map.get(byte / xenolith_hal::PAGE_SIZE);
        let word = page.and_then(|page| page.words().get(byte % xenolith_hal::PAGE_SIZE / 8));
        if let Some(word) = word {
            word.fetch_and(!(3 << (bit + 8 * (byte as u32 % 8))), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns whether reads and writes exit, as the CPU reads the map.
    fn exits(map: &[PageWords; MSR_PAGES], msr: u32) -> (bool, bool) {
        let Some((byte, bit)) = place(msr) else { return (true, true) };
        let value = map[byte / 4096].load_u8(byte % 4096).unwrap() >> bit;
        (value & 1 != 0, value & 2 != 0)
    }

    #[test]
    fn a_guest_reaches_exactly_the_msrs_that_are_switched_with_it() {
        let map = [PageWords::new(), PageWords::new()];
        forbid_all_but_owned_msrs(&map);
        let all = (0..0x2000).chain(0xc000_0000..0xc000_2000).chain(0xc001_0000..0xc001_2000);
        for msr in all {
            let expected = !GUEST_OWNED.contains(&msr);
            assert_eq!(exits(&map, msr), (expected, expected), "{msr:#x}");
        }
    }

    #[test]
    fn an_msr_lies_where_the_manual_says() {
        assert_eq!(place(0x1b), Some((6, 6)));
        assert_eq!(place(0xc000_0080), Some((0x820, 0)));
        assert_eq!(place(0xc001_1fff), Some((0x17ff, 6)));
        assert_eq!(place(0x4000_0000), None);
    }

    fn port_exits(map: &[PageWords; IO_PAGES], port: usize) -> bool {
        map[port / 8 / 4096].load_u8(port / 8 % 4096).unwrap() & (1 << (port % 8)) != 0
    }

    #[test]
    fn every_port_exits() {
        let map = [PageWords::new(), PageWords::new(), PageWords::new()];
        forbid_all_ports(&map);
        assert!((0..0x10003).all(|port| port_exits(&map, port)));
    }

    #[test]
    fn of_the_control_domains_ports_those_that_are_open_and_no_others_do_not_exit() {
        let map = [PageWords::new(), PageWords::new(), PageWords::new()];
        forbid_all_ports(&map);
        let open = |port: u16| matches!(port, 0 | 0x60 | 0xcf8..=0xcfb | 0x8000 | 0xffff);
        open_ports(&map, open);
        for port in 0..=u16::MAX {
            assert_eq!(port_exits(&map, port.into()), !open(port), "{port:#x}");
        }
        assert!((0x10000..0x10003).all(|port| port_exits(&map, port)), "past the last port");
    }
}
