use super::*;

const LINT0: u32 = 0x350;

#[test]
fn interrupts_of_an_8259_pass_as_lint0_says() {
    let mut lapic = Lapic::new(VcpuId(0));
    assert!(!lapic.accepts_external(), "masked after reset");
    lapic.write_page(0xf0, 4, 0x1ff, at(0));
    for (entry, passes) in [(0x700, true), (0x1_0700, false), (0x30, false), (0x400, false), (0x8700, true)] {
        lapic.write_page(LINT0, 4, entry, at(0));
        assert_eq!(lapic.accepts_external(), passes, "{entry:#x}");
    }
    lapic.write_page(0xf0, 4, 0xff, at(0));
    assert!(!lapic.accepts_external(), "disabled by software: its entries are masked");
}

#[test]
fn they_pass_a_local_apic_that_is_disabled_by_its_base() {
    let mut lapic = Lapic::new(VcpuId(0));
    lapic.write_base_msr(0xfee0_0100).unwrap();
    assert!(lapic.accepts_external());
}
