//! What the core does with a vCPU between two runs.

use xenolith_hal::{CpuState, EventInFlight, EventKind, Exception, GuestCpu, HardwareMsr, SegmentAttributes};
use xenolith_x86::guest::svm::scripted::{self, FPU_AT, FPU_AT_RESET};

use super::guest::{encoded, event_in};
use super::stage::Stage;

const LONG_MODE: u64 = 1 << 8 | 1 << 10;
const PAGING: u64 = 1 << 31;

/// Returns a state in which a vCPU begins.
fn beginning(number: u8) -> CpuState {
    let mut state = match number {
        0 => CpuState::after_init(),
        1 => CpuState::after_startup_ipi(0x9a),
        _ => CpuState::at_pvh_entry(0x10_0000, 0x1000),
    };
    if number > 3 {
        state.cr0 |= PAGING;
        (state.cr4, state.efer) = (0x20, LONG_MODE);
        state.cs.attributes = SegmentAttributes::from_bits_truncate(0xa9b);
    }
    state
}

fn canonical(address: u64) -> bool {
    let top = address.cast_signed() >> 47;
    top == 0 || top == -1
}

impl Stage<'_> {
    /// Does one thing with a vCPU.
    pub fn touch(&mut self, at: usize) {
        match self.dice.u8(..24) {
            0..=3 => self.step_over(at),
            4..=6 => self.inject(at),
            7 | 8 => self.change_registers(at),
            9 => self.begin_anew(at),
            10 => self.write_back(at),
            11..=13 => self.write_msr(at),
            14 | 15 => self.park(at),
            16 => self.change_parked(at),
            17 => self.move_away(at),
            18 => self.hand_in(at),
            19 => {
                let ticks = self.dice.i64(..);
                self.vcpus[at].shift_tsc(ticks);
                self.with(at, |guest| guest.tsc_offset = guest.tsc_offset.wrapping_add_signed(ticks));
            }
            20 => {
                self.vcpus[at].use_open_ports();
                self.with(at, |guest| guest.open_ports = true);
            }
            _ => {}
        }
        self.compare(at);
    }

    fn step_over(&mut self, at: usize) {
        self.vcpus[at].skip_instruction();
        self.with(at, super::guest::Guest::step_over);
    }

    fn inject(&mut self, at: usize) {
        let page_fault =
            Exception { vector: 14, error_code: Some(self.dice.u32(..32)), address: Some(self.dice.u64(..)) };
        let known = [Exception::GENERAL_PROTECTION, Exception::STACK_FAULT, Exception::INVALID_OPCODE, page_fault];
        let exception = known[self.dice.usize(..4)];
        self.vcpus[at].inject(exception);
        self.with(at, |guest| guest.pending = Some(exception));
    }

    fn change_registers(&mut self, at: usize) {
        let (rax, rip, r9) = (self.dice.u64(..), self.dice.u64(..1 << 31), self.dice.u64(..));
        let change = |registers: &mut xenolith_hal::Registers| {
            (registers.rax, registers.rip, registers.r9) = (rax, rip, r9);
        };
        change(self.vcpus[at].registers_mut());
        self.with(at, |guest| change(&mut guest.registers));
    }

    /// Notes that a vCPU has another state: nothing of the old one is left, cached or to be injected.
    fn has_state(&mut self, at: usize, state: &CpuState) {
        let dropped = self.with(at, |guest| {
            guest.registers = state.registers;
            guest.saved = encoded(state, guest.word(0x670));
            guest.attributes = state.pat;
            guest.debug_open |= state.dr7 & 0xff != 0;
            (guest.shadow, guest.nmi_masked, guest.next_rip) = (0, false, None);
            guest.replace_events(0)
        });
        self.dropped += u64::from(dropped);
        let mut processor = self.processor.borrow_mut();
        let number = processor.guests[at].number;
        processor.cached.iter_mut().for_each(|cached| cached.outdate(number));
    }

    /// Makes the CPU on which a vCPU is loaded the current one.
    fn go_where_it_is(&self, at: usize) {
        if let Some(cpu) = self.place(at) {
            scripted::go_to(cpu);
        }
    }

    fn begin_anew(&mut self, at: usize) {
        self.go_where_it_is(at);
        let state = beginning(self.dice.u8(..8));
        assert_eq!(self.vcpus[at].set_state(&state), Ok(()));
        self.has_state(at, &state);
    }

    /// Reads the state and writes it back, damaged now and then: what is refused changes nothing.
    fn write_back(&mut self, at: usize) {
        self.go_where_it_is(at);
        let before = self.vcpus[at].state();
        let mut state = before;
        let bit = 1 << self.dice.u32(..64);
        match self.dice.u8(..8) {
            0 => state.cr0 |= 1 << 32 | bit,
            1 => state.cr4 |= 1 << 63 | bit,
            2 => state.efer |= 1 << 62 | bit,
            3 => state.gs.base = 1 << 63,
            4 => state.pat = 2,
            5 => state.dr7 |= 1 << 32,
            _ => {
                (state.registers.rbx, state.cr2) = (self.dice.u64(..), self.dice.u64(..));
                assert_eq!(self.vcpus[at].set_state(&state), Ok(()), "{state:x?}");
                return self.has_state(at, &state);
            }
        }
        assert!(self.vcpus[at].set_state(&state).is_err(), "{state:x?} was taken");
        assert_eq!(self.vcpus[at].state(), before, "a state that was refused changed something");
    }

    fn write_msr(&mut self, at: usize) {
        self.go_where_it_is(at);
        let value = match self.dice.u8(..4) {
            0 => self.dice.u64(..),
            1 => 0x0007_0406_0007_0406,
            _ => 1 << self.dice.u32(..64) | u64::from(self.dice.bool()),
        };
        let features = self.features();
        let known = [
            (HardwareMsr::Efer, 0x4d0),
            (HardwareMsr::Pat, 0x668),
            (HardwareMsr::SysenterCs, 0x628),
            (HardwareMsr::SysenterEsp, 0x630),
            (HardwareMsr::SysenterEip, 0x638),
            (HardwareMsr::DebugControl, 0x670),
        ];
        let (msr, offset) = known[self.dice.usize(..known.len())];
        let before = self.vcpus[at].state();
        let (paging, old) = (before.cr0 & PAGING != 0, before.efer);
        let fits = match msr {
            HardwareMsr::Efer => value & !features.efer == 0 && !(paging && (value ^ old) & 1 << 8 != 0),
            HardwareMsr::Pat => value.to_le_bytes().iter().all(|kind| matches!(kind, 0 | 1 | 4..=7)),
            HardwareMsr::SysenterEsp | HardwareMsr::SysenterEip => canonical(value),
            HardwareMsr::SysenterCs | HardwareMsr::DebugControl => true,
        };
        assert_eq!(self.vcpus[at].set_msr(msr, value).is_ok(), fits, "{msr:?} = {value:#x}");
        if !fits {
            assert_eq!(self.vcpus[at].state(), before, "{msr:?} was refused and changed something");
            return;
        }
        let kept = match msr {
            HardwareMsr::Efer => value & !(1 << 10) | old & 1 << 10 | 1 << 12,
            _ => value,
        };
        self.with(at, |guest| {
            guest.set_word(offset, kept);
            if msr == HardwareMsr::Pat {
                guest.attributes = kept;
            }
        });
        assert_eq!(self.vcpus[at].msr(msr), if msr == HardwareMsr::Efer { kept & !(1 << 12) } else { kept });
    }

    /// Replaces what can be replaced while a vCPU is parked.
    fn change_parked(&mut self, at: usize) {
        self.park(at);
        let addresses = [self.dice.u64(..), 0, 1, 2];
        self.vcpus[at].set_debug_addresses(addresses);
        let word = self.dice.bool().then(|| self.dice.u64(..));
        let image = word.map(|word| {
            let mut image = [0; 512];
            image[FPU_AT..FPU_AT + 8].copy_from_slice(&word.to_le_bytes());
            image
        });
        self.vcpus[at].set_fpu_image(image.as_ref());
        self.with(at, |guest| {
            guest.debug = addresses;
            guest.debug_open = guest.word(0x560) & 0xff != 0;
            guest.fpu = word.unwrap_or(FPU_AT_RESET);
        });
    }

    /// Moves a guest to a vCPU of its own, as a restore does.
    fn move_away(&mut self, at: usize) {
        self.park(at);
        let (mut vcpu, mut guest) = self.make();
        let old = &self.vcpus[at];
        let state = old.state();
        assert_eq!(vcpu.set_state(&state), Ok(()), "{state:x?}");
        vcpu.set_fpu_image(Some(&old.fpu_image()));
        vcpu.set_debug_addresses(old.debug_addresses());
        assert_eq!(vcpu.set_msr(HardwareMsr::DebugControl, old.msr(HardwareMsr::DebugControl)), Ok(()));
        let event = old.undelivered_event();
        vcpu.set_undelivered_event(event);
        let dropped = self.with(at, |was| {
            (guest.registers, guest.saved, guest.attributes) = (was.registers, was.saved, was.attributes);
            (guest.fpu, guest.debug) = (was.fpu, was.debug);
            guest.debug_open = was.word(0x560) & 0xff != 0;
            guest.replace_events(event.map_or(0, event_in));
            was.nmi_again && !guest.nmi_again
        });
        self.dropped += u64::from(dropped);
        self.with(at, |was| *was = guest);
        scripted::tear_down(std::mem::replace(&mut self.vcpus[at], vcpu));
    }

    /// Hands in an event whose delivery was cut short elsewhere.
    fn hand_in(&mut self, at: usize) {
        let kinds = [EventKind::Interrupt, EventKind::Exception, EventKind::SoftwareInterrupt];
        let kind = kinds[self.dice.usize(..3)];
        let vector = if kind == EventKind::Exception { self.dice.u8(5..20) } else { self.dice.u8(32..) };
        let error_code = (vector == 14).then(|| self.dice.u32(..16));
        let event = Some(EventInFlight { vector, kind, error_code }).filter(|_| self.dice.u8(..4) > 0);
        self.vcpus[at].set_undelivered_event(event);
        let dropped = self.with(at, |guest| guest.replace_events(event.map_or(0, event_in)));
        self.dropped += u64::from(dropped);
    }
}
