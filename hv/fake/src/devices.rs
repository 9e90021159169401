//! Fake devices: PCI functions with writable or read-only registers, lines and messages that a test raises.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use xenolith_hal::{CpuId, Devices, HostEvents, HostInterrupt, IoSize, LineMode, MessageAddress, Mpa, PciFunction};

use crate::FakeMachine;

const CONFIG_BYTES: usize = 4096;
/// The first number given to an interrupt, and one past the last: few, so that tests can use them up.
const FIRST_INTERRUPT: u16 = 0x30;
const LAST_INTERRUPT: u16 = 0x40;
/// The number of lines; the line of the hypervisor's own console cannot be bound.
const LINES: u32 = 24;
const OWN_LINE: u32 = 4;
/// The address of message interrupts.
const MESSAGES: u64 = 0xfee0_0000;

/// The configuration space of one function.
#[derive(Clone)]
pub struct FakeFunction {
    bytes: Vec<u8>,
    /// The bits of each byte that a write changes.
    writable: Vec<u8>,
}

impl FakeFunction {
    /// Creates a function with this vendor and device identifier, whose other registers are 0 and read-only.
    #[must_use]
    pub fn new(vendor: u16, device: u16) -> Self {
        let mut function = Self { bytes: vec![0; CONFIG_BYTES], writable: vec![0; CONFIG_BYTES] };
        function.set(0, u32::from(device) << 16 | u32::from(vendor), 0);
        function.set(4, 0, 0x0407);
        function
    }

    /// Sets a doubleword, and which bits of it are writable.
    pub fn set(&mut self, register: u16, value: u32, writable: u32) {
        let place = usize::from(register);
        for (index, byte) in value.to_le_bytes().into_iter().enumerate() {
            self.bytes[place + index] = byte;
        }
        for (index, byte) in writable.to_le_bytes().into_iter().enumerate() {
            self.writable[place + index] = byte;
        }
    }

    fn read(&self, register: u16, bytes: u32) -> u32 {
        let place = usize::from(register);
        (0..bytes as usize).fold(0, |value, index| value | u32::from(self.bytes[place + index]) << (8 * index))
    }

    fn write(&mut self, register: u16, bytes: u32, value: u32) {
        for (index, byte) in value.to_le_bytes().into_iter().take(bytes as usize).enumerate() {
            let place = usize::from(register) + index;
            let writable = self.writable[place];
            self.bytes[place] = self.bytes[place] & !writable | byte & writable;
        }
    }
}

/// What one line is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FakeLine {
    pub interrupt: HostInterrupt,
    pub mode: LineMode,
    pub masked: bool,
    pub cpu: CpuId,
}

#[derive(Default)]
struct State {
    functions: BTreeMap<PciFunction, FakeFunction>,
    chosen: Option<u32>,
    memory: BTreeMap<u64, u32>,
    lines: BTreeMap<u32, FakeLine>,
    messages: BTreeMap<HostInterrupt, CpuId>,
    noted: VecDeque<(CpuId, HostInterrupt)>,
}

impl State {
    fn free_interrupt(&self) -> Option<HostInterrupt> {
        let is_used = |number: &HostInterrupt| {
            self.messages.contains_key(number) || self.lines.values().any(|line| line.interrupt == *number)
        };
        (FIRST_INTERRUPT..LAST_INTERRUPT).map(HostInterrupt).find(|number| !is_used(number))
    }
}

/// All devices of a machine.
#[derive(Default)]
pub struct FakeDevices(Mutex<State>);

impl FakeDevices {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl FakeMachine {
    /// Adds a function to the bus.
    pub fn plug(&self, bdf: u16, function: FakeFunction) {
        self.devices.with(|state| state.functions.insert(PciFunction { segment: 0, bdf }, function));
    }

    /// Gives the guest the address port, with this value written to it.
    pub fn choose(&self, address: u32) {
        self.devices.with(|state| state.chosen = Some(address));
    }

    /// Returns a doubleword of a function's configuration space as the device has it.
    #[must_use]
    pub fn config(&self, bdf: u16, register: u16) -> u32 {
        self.pci_read(PciFunction { segment: 0, bdf }, register, IoSize::Dword)
    }

    /// Returns what a line is bound to.
    #[must_use]
    pub fn line(&self, line: u32) -> Option<FakeLine> {
        self.devices.with(|state| state.lines.get(&line).copied())
    }

    /// Returns the number of message interrupts allocated.
    #[must_use]
    pub fn message_count(&self) -> usize {
        self.devices.with(|state| state.messages.len())
    }

    /// Asserts a line, as a device does; returns false if it is unbound or masked.
    pub fn raise_line(&self, number: u32) -> bool {
        let Some(line) = self.line(number).filter(|line| !line.masked) else { return false };
        if line.mode.level {
            self.mask_line(number, true);
        }
        self.note(line.cpu, line.interrupt);
        true
    }

    /// Writes a message, as a device does; returns false if it is not allocated.
    pub fn raise_message(&self, message: MessageAddress) -> bool {
        let interrupt = HostInterrupt(message.data as u16);
        let cpu = self.devices.with(|state| state.messages.get(&interrupt).copied());
        let Some(cpu) = cpu.filter(|_| message.address == MESSAGES) else { return false };
        self.note(cpu, interrupt);
        true
    }

    fn note(&self, cpu: CpuId, interrupt: HostInterrupt) {
        self.devices.with(|state| state.noted.push_back((cpu, interrupt)));
        self.raise(cpu, HostEvents::DEVICE);
    }
}

impl Devices for FakeMachine {
    fn pci_read(&self, function: PciFunction, register: u16, size: IoSize) -> u32 {
        let found = self.devices.with(|state| Some(state.functions.get(&function)?.read(register, size.bytes())));
        found.unwrap_or_else(|| size.mask())
    }

    fn pci_write(&self, function: PciFunction, register: u16, size: IoSize, value: u32) {
        self.devices.with(|state| {
            if let Some(function) = state.functions.get_mut(&function) {
                function.write(register, size.bytes(), value);
            }
        });
    }

    fn pci_chosen(&self) -> Option<u32> {
        self.devices.with(|state| state.chosen)
    }

    fn device_read(&self, at: Mpa, size: IoSize) -> u32 {
        let doubleword = self.devices.with(|state| state.memory.get(&(at.0 & !3)).copied().unwrap_or(0));
        doubleword >> ((at.0 & 3) * 8) & size.mask()
    }

    fn device_write(&self, at: Mpa, size: IoSize, value: u32) {
        let shift = (at.0 & 3) * 8;
        self.devices.with(|state| {
            let doubleword = state.memory.entry(at.0 & !3).or_default();
            *doubleword = *doubleword & !(size.mask() << shift) | (value & size.mask()) << shift;
        });
    }

    fn bind_line(&self, line: u32, mode: LineMode, cpu: CpuId) -> Option<HostInterrupt> {
        self.devices.with(|state| {
            if line >= LINES || line == OWN_LINE || state.lines.contains_key(&line) {
                return None;
            }
            let interrupt = state.free_interrupt()?;
            state.lines.insert(line, FakeLine { interrupt, mode, masked: true, cpu });
            Some(interrupt)
        })
    }

    fn mask_line(&self, line: u32, masked: bool) {
        self.devices.with(|state| {
            if let Some(line) = state.lines.get_mut(&line) {
                line.masked = masked;
            }
        });
    }

    fn bind_message(&self, cpu: CpuId) -> Option<(HostInterrupt, MessageAddress)> {
        self.devices.with(|state| {
            let interrupt = state.free_interrupt()?;
            state.messages.insert(interrupt, cpu);
            Some((interrupt, MessageAddress { address: MESSAGES, data: interrupt.0.into() }))
        })
    }

    fn unbind(&self, interrupt: HostInterrupt) {
        self.devices.with(|state| {
            state.messages.remove(&interrupt);
            state.lines.retain(|_, line| line.interrupt != interrupt);
        });
    }

    fn take_interrupts(&self, each: &mut dyn FnMut(HostInterrupt)) {
        let this = xenolith_hal::Machine::this_cpu(self);
        let taken: VecDeque<_> = self.devices.with(|state| {
            let (mine, others): (VecDeque<_>, _) = state.noted.drain(..).partition(|(cpu, _)| *cpu == this);
            state.noted = others;
            mine
        });
        taken.into_iter().for_each(|(_, interrupt)| each(interrupt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bits_that_can_be_written_change() {
        let machine = FakeMachine::new(1, 1);
        let mut function = FakeFunction::new(0x8086, 0x10d3);
        function.set(0x10, 0xfeb0_0000, 0xfffe_0000);
        machine.plug(0x10, function);
        machine.pci_write(PciFunction { segment: 0, bdf: 0x10 }, 0x10, IoSize::Dword, u32::MAX);
        assert_eq!(machine.config(0x10, 0x10), 0xfffe_0000);
        assert_eq!((machine.config(0x10, 0), machine.config(0x18, 0)), (0x10d3_8086, u32::MAX));
    }

    #[test]
    fn a_level_line_is_masked_when_it_is_noted() {
        let machine = FakeMachine::new(1, 1);
        let mode = LineMode { level: true, active_low: true };
        let interrupt = machine.bind_line(20, mode, CpuId(0)).unwrap();
        assert!(!machine.raise_line(20));
        machine.mask_line(20, false);
        assert!(machine.raise_line(20));
        assert!(!machine.raise_line(20));
        let mut told = Vec::new();
        machine.take_interrupts(&mut |interrupt| told.push(interrupt));
        assert_eq!(told, [interrupt]);
    }

    #[test]
    fn a_message_is_heard_until_it_is_unbound() {
        let machine = FakeMachine::new(1, 1);
        let (interrupt, message) = machine.bind_message(CpuId(0)).unwrap();
        assert!(machine.raise_message(message));
        machine.unbind(interrupt);
        assert!(!machine.raise_message(message));
    }
}
