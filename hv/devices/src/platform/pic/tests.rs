//! What the data sheet of the 8259A says.

use proptest::prelude::*;

use super::*;

/// Initialised as a PC's firmware does: vectors 8 to 15 and 0x70 to 0x77, nothing masked.
fn started() -> Pics {
    let mut pics = Pics::default();
    for (port, base, icw3) in [(0x20, 8, 4), (0xa0, 0x70, 2)] {
        pics.write(port, 0x11);
        for value in [base, icw3, 1] {
            pics.write(port + 1, value);
        }
    }
    pics
}

fn pulse(pics: &mut Pics, line: u8) {
    pics.set_line(line, true);
    pics.set_line(line, false);
}

fn taken(pics: &mut Pics) -> Option<u8> {
    pics.output().then(|| pics.acknowledge().vector)
}

fn in_service(pics: &mut Pics, port: u16) -> u8 {
    pics.write(port, 0x0b);
    pics.read(port).0
}

#[test]
fn the_lower_line_comes_first_and_waits_for_no_higher_one() {
    let mut pics = started();
    pulse(&mut pics, 4);
    pulse(&mut pics, 1);
    assert_eq!(taken(&mut pics), Some(9));
    assert_eq!(taken(&mut pics), None, "line 4 waits for the end of line 1");
    pulse(&mut pics, 0);
    assert_eq!(taken(&mut pics), Some(8), "line 0 does not");
    pics.write(0x20, 0x20);
    assert_eq!(in_service(&mut pics, 0x20), 2, "a non-specific end is that of line 0");
    pics.write(0x20, 0x20);
    assert_eq!(taken(&mut pics), Some(12));
    pics.write(0x20, 0x64);
    assert_eq!(in_service(&mut pics, 0x20), 0, "a specific end");
}

#[test]
fn the_slave_comes_by_line_2_with_its_own_vector() {
    let mut pics = started();
    pulse(&mut pics, 14);
    pulse(&mut pics, 3);
    pulse(&mut pics, 8);
    assert_eq!(pics.acknowledge(), Acknowledged { vector: 0x70, line: Some(8) });
    assert_eq!((in_service(&mut pics, 0x20), in_service(&mut pics, 0xa0)), (4, 1));
    assert_eq!(taken(&mut pics), None);
    pics.write(0xa0, 0x20);
    assert_eq!(taken(&mut pics), None, "the master has line 2 in service");
    pics.write(0x20, 0x20);
    assert_eq!(taken(&mut pics), Some(0x76), "the slave still asks, and comes before line 3");
    pics.write(0xa0, 0x20);
    pics.write(0x20, 0x20);
    assert_eq!(taken(&mut pics), Some(11));
}

#[test]
fn in_special_fully_nested_mode_a_slave_interrupts_itself() {
    let mut pics = started();
    pics.write(0x20, 0x11);
    for value in [8, 4, 0x11] {
        pics.write(0x21, value);
    }
    pulse(&mut pics, 12);
    assert_eq!(taken(&mut pics), Some(0x74));
    pulse(&mut pics, 9);
    assert_eq!(taken(&mut pics), Some(0x71), "higher in the slave");
    pulse(&mut pics, 15);
    assert_eq!(taken(&mut pics), None, "lower in the slave");
}

#[test]
fn a_masked_line_waits_and_its_mask_reads_back() {
    let mut pics = started();
    pics.write(0x21, 0xfb);
    pics.write(0xa1, 0xff);
    pulse(&mut pics, 0);
    pulse(&mut pics, 8);
    assert_eq!((pics.read(0x21).0, pics.read(0xa1).0, pics.read(0x20).0), (0xfb, 0xff, 1));
    assert!(!pics.output() && !pics.lets_through(0) && !pics.lets_through(8));
    pics.write(0xa1, 0xfe);
    assert!(pics.lets_through(8) && !pics.lets_through(9));
    assert_eq!(taken(&mut pics), Some(0x70));
    pics.write(0x21, 4);
    assert!(!pics.lets_through(8) && pics.lets_through(0));
    assert_eq!(taken(&mut pics), Some(8));
}

#[test]
fn a_level_asks_until_its_line_falls_and_an_edge_once() {
    let mut pics = started();
    pics.write(0x4d0, 0xff);
    pics.write(0x4d1, 0xff);
    assert_eq!((pics.read(0x4d0).0, pics.read(0x4d1).0), (0xf8, 0xde));
    pics.set_line(5, true);
    for _ in 0..2 {
        assert_eq!(taken(&mut pics), Some(13));
        assert_eq!(taken(&mut pics), None);
        pics.write(0x20, 0x20);
    }
    pics.set_line(5, false);
    assert_eq!(taken(&mut pics), None);
    pics.set_line(1, true);
    assert_eq!(taken(&mut pics), Some(9));
    pics.write(0x20, 0x20);
    assert_eq!(taken(&mut pics), None, "the keyboard is an edge whatever the register says");
    pics.set_line(1, false);
    pics.set_line(1, true);
    assert_eq!(taken(&mut pics), Some(9));
}

#[test]
fn a_request_that_went_away_is_spurious() {
    let mut pics = started();
    pics.write(0x4d1, 2);
    pics.set_line(9, true);
    assert!(pics.output());
    pics.set_line(9, false);
    assert_eq!(pics.acknowledge(), Acknowledged { vector: 15, line: None });
    assert_eq!((in_service(&mut pics, 0x20), in_service(&mut pics, 0xa0)), (0, 0));
    // The slave's request goes between the two cycles: the master has line 2 in service, the slave nothing.
    assert_eq!(pics.acknowledge_slave(), Acknowledged { vector: 0x77, line: None });
}

#[test]
fn priorities_rotate() {
    let mut pics = started();
    pics.write(0x20, 0xc4);
    pulse(&mut pics, 4);
    pulse(&mut pics, 5);
    pulse(&mut pics, 1);
    assert_eq!(taken(&mut pics), Some(13), "line 4 is the lowest, so 5 the highest");
    pics.write(0x20, 0xa0);
    assert_eq!(taken(&mut pics), Some(9), "after 5 comes 6, then 7, 0, 1");
    pics.write(0x20, 0xe1);
    assert_eq!(taken(&mut pics), Some(12));
    pics.write(0x20, 0x20);
    pulse(&mut pics, 1);
    pulse(&mut pics, 2 + 5);
    assert_eq!(taken(&mut pics), Some(15), "line 1 is the lowest now");
}

#[test]
fn an_end_of_nothing_rotates_nothing() {
    let mut pics = started();
    pics.write(0x20, 0xa0);
    pulse(&mut pics, 1);
    pulse(&mut pics, 0);
    assert_eq!(taken(&mut pics), Some(8));
}

#[test]
fn automatic_ends_leave_nothing_in_service_and_may_rotate() {
    let mut pics = started();
    pics.write(0x20, 0x11);
    for value in [8, 4, 3] {
        pics.write(0x21, value);
    }
    pics.write(0x20, 0x80);
    pulse(&mut pics, 0);
    pulse(&mut pics, 1);
    assert_eq!(taken(&mut pics), Some(8));
    assert_eq!(in_service(&mut pics, 0x20), 0);
    pulse(&mut pics, 0);
    assert_eq!(taken(&mut pics), Some(9), "line 0 was made the lowest");
    pics.write(0x20, 0);
    assert_eq!(in_service(&mut pics, 0x20), 0);
    assert_eq!(taken(&mut pics), Some(8));
    pulse(&mut pics, 0);
    pulse(&mut pics, 3);
    assert_eq!(taken(&mut pics), Some(11), "2 is the highest, and stays it");
    pulse(&mut pics, 3);
    assert_eq!(taken(&mut pics), Some(11));
}

#[test]
fn in_special_mask_mode_a_masked_line_in_service_holds_nothing_back() {
    let mut pics = started();
    pulse(&mut pics, 3);
    assert_eq!(taken(&mut pics), Some(11));
    pulse(&mut pics, 6);
    pics.write(0x21, 8);
    assert_eq!(taken(&mut pics), None);
    pics.write(0x20, 0x68);
    assert_eq!(taken(&mut pics), Some(14));
    pics.write(0x20, 0x20);
    assert_eq!(in_service(&mut pics, 0x20), 8, "a non-specific end passes over what is masked");
    pics.write(0x20, 0x48);
    pics.write(0x20, 0x20);
    assert_eq!(in_service(&mut pics, 0x20), 0);
}

#[test]
fn a_poll_acknowledges() {
    let mut pics = started();
    pics.write(0x20, 0x0c);
    assert_eq!(pics.read(0x20), (0, None));
    pulse(&mut pics, 6);
    assert_eq!(pics.read(0x20), (0x40, None), "one command is one poll");
    pics.write(0x20, 0x0c);
    assert_eq!(pics.read(0x20), (0x86, Some(6)));
    assert_eq!(in_service(&mut pics, 0x20), 0x40);
    pulse(&mut pics, 8);
    pics.write(0xa0, 0x0c);
    assert_eq!(pics.read(0xa1), (0x80, Some(8)));
    assert!(!pics.output(), "the slave asks no more");
}

#[test]
fn initialisation_forgets_edges_masks_and_what_is_in_service() {
    let mut pics = started();
    pics.write(0x21, 0x80);
    pulse(&mut pics, 0);
    assert_eq!(taken(&mut pics), Some(8));
    pulse(&mut pics, 5);
    pics.write(0x20, 0x12);
    pulse(&mut pics, 3);
    assert!(!pics.output(), "it waits for its second word");
    pics.write(0x21, 0x47);
    assert_eq!(taken(&mut pics), Some(0x43), "single and without a fourth word: that was all");
    assert_eq!((pics.read(0x21).0, in_service(&mut pics, 0x20)), (0, 8));
}

#[test]
fn what_was_saved_goes_on_where_it_was() {
    let mut pics = started();
    pics.write(0x4d0, 0x20);
    pics.set_line(5, true);
    pulse(&mut pics, 12);
    assert_eq!(taken(&mut pics), Some(0x74));
    pulse(&mut pics, 8);
    pics.write(0xa0, 0x13);
    pics.write(0xa0, 0xc3);
    let records = pics.save();
    assert_eq!((records[0].irq_base, records[0].isr, records[0].elcr), (8, 4, 0x24));
    assert_eq!((records[1].init_state_and_priority_add, records[1].modes), (0x4d, 0));
    assert_eq!((records[0].modes, records[0].irr, records[0].int_output), (0x40, 0x20, 0));
    let mut loaded = Pics::default();
    assert!(loaded.load(0, &records[0]) && loaded.load(1, &records[1]) && !loaded.load(2, &records[0]));
    loaded.restore_lines(0x20);
    assert_eq!(loaded, pics);
}

/// What the data sheet says of priorities, line by line from the highest.
fn first_that_is_not_held_back(chip: &HvmHwVpic) -> Option<u8> {
    let highest = chip.init_state_and_priority_add >> 4 & 7;
    let (nested, special) = (chip.modes & 0x10 != 0 && chip.modes & 0x40 != 0, chip.modes & 0x20 != 0);
    for line in (0..8).map(|rank| (highest + rank) & 7) {
        let is_masked = chip.imr >> line & 1 != 0;
        let holds_back = !(special && is_masked || nested && line == CASCADE);
        if chip.isr >> line & 1 != 0 && holds_back {
            return None;
        }
        if chip.irr >> line & 1 != 0 && !is_masked {
            return Some(line);
        }
    }
    None
}

proptest! {
    #[test]
    fn the_first_line_that_is_not_held_back_is_passed_on(irr: u8, imr: u8, isr: u8, highest in 0u8..8, modes in 0u8..0x40) {
        for (mut chip, instance) in [(Chip::MASTER, 0), (Chip::SLAVE, 1)] {
            let init_state_and_priority_add = highest << 4;
            let record = HvmHwVpic { irr, imr, isr, init_state_and_priority_add, modes, ..HvmHwVpic::default() };
            chip.load(&record);
            let saved = chip.save();
            prop_assert_eq!(chip.pending(), first_that_is_not_held_back(&saved), "chip {}", instance);
        }
    }

    #[test]
    fn a_record_of_anything_gives_what_a_guest_could_have_set(bytes: [u8; 8], lines: u16) {
        let [irr, imr, isr, irq_base, init_state_and_priority_add, modes, elcr, int_output] = bytes;
        let record = HvmHwVpic { irr, imr, isr, irq_base, init_state_and_priority_add, modes, elcr, int_output };
        let load = |records: [HvmHwVpic; 2]| {
            let mut pics = Pics::default();
            assert!(pics.load(1, &records[1]) && pics.load(0, &records[0]));
            pics.restore_lines(lines);
            pics
        };
        let mut pics = load([record, record]);
        let saved = pics.save();
        prop_assert_eq!(load(saved), pics);
        prop_assert_eq!((saved[0].modes & 0xc0, saved[1].modes & 0xc0), (0x40, 0));
        prop_assert!(saved.iter().all(|chip| chip.irq_base & 7 == 0));
        let acknowledged = pics.acknowledge();
        prop_assert!(acknowledged.line.is_none_or(|line| line < 16 && line & 7 == acknowledged.vector & 7));
    }
}

#[test]
fn what_was_offered_can_be_taken_after_others_came() {
    let mut pics = started();
    pics.set_line(8, true);
    let offered = pics.offered().unwrap();
    assert_eq!(offered, Acknowledged { vector: 0x70, line: Some(8) });
    assert!(pics.output(), "an offer changes nothing");
    pics.set_line(1, true);
    pics.take(offered);
    assert_eq!(pics.offered(), Some(Acknowledged { vector: 9, line: Some(1) }), "it may interrupt the other");
    pics.take(pics.offered().unwrap());
    assert_eq!(pics.offered(), None, "both are in service");
}
