//! Xen's hypercall page: a stub for each hypercall, so that a guest need not know how this machine calls.

use xenolith_hal::{PAGE_SIZE, PageWords};

const STUB: usize = 32;
/// INT3, where nothing should run.
const FILL: u8 = 0xcc;
/// HYPERVISOR_iret is for paravirtualised guests; others get an invalid opcode there. **Source:** `xen.h`.
const IRET: u32 = 23;

/// Fills a page with the stubs: `mov eax, number; vmmcall; ret`.
pub fn write(page: &PageWords) {
    for (number, offset) in (0..).zip((0..PAGE_SIZE).step_by(STUB)) {
        let mut stub = [FILL; STUB];
        let [a, b, c, d] = u32::to_le_bytes(number);
        let code = [0xb8, a, b, c, d, 0x0f, 0x01, 0xd9, 0xc3];
        let code: &[u8] = if number == IRET { &[0x0f, 0x0b] } else { &code };
        for (to, from) in stub.iter_mut().zip(code) {
            *to = *from;
        }
        // The stubs fill the page and no more.
        let _ = page.write_bytes(offset, &stub);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stub_makes_its_own_hypercall() {
        let page = PageWords::new();
        write(&page);
        let mut stub = [0; 10];
        assert!(page.read_bytes(17 * 32, &mut stub));
        assert_eq!(stub, [0xb8, 17, 0, 0, 0, 0x0f, 0x01, 0xd9, 0xc3, 0xcc]);
        assert!(page.read_bytes(127 * 32, &mut stub));
        assert_eq!(stub.get(..2), Some(&[0xb8, 127][..]));
    }

    #[test]
    fn the_stub_for_iret_is_an_invalid_opcode() {
        let page = PageWords::new();
        write(&page);
        assert_eq!(page.load_u16(23 * 32), Some(0x0b0f));
    }
}
