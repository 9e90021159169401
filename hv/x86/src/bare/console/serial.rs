//! The serial port: a 16550 at the four classic addresses, written by polling.
//!
//! **Source:** the PC16550D data sheet.

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};

/// The clock of the divisor latch, in baud.
const BASE_BAUD: u32 = 115_200;
const LINE_STATUS_DATA: u8 = 1 << 0;
const LINE_STATUS_ROOM: u8 = 1 << 5;
const LINE_STATUS_IDLE: u8 = 1 << 6;
/// How often the line status is read before a byte is given up: a port that is not there must not stop the machine.
const PATIENCE: u32 = 200_000;

/// One serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SerialPort {
    base: u16,
}

/// The registers, as offsets from the base port.
#[derive(Clone, Copy)]
#[repr(u16)]
enum Register {
    Data = 0,
    InterruptEnable = 1,
    FifoControl = 2,
    LineControl = 3,
    ModemControl = 4,
    LineStatus = 5,
    Scratch = 7,
}

impl SerialPort {
    /// Returns the port at `base`, as the firmware or an earlier owner left it.
    #[must_use]
    pub const fn at(base: u16) -> Self {
        Self { base }
    }

    /// Returns the first of its eight ports.
    #[must_use]
    pub const fn base(self) -> u16 {
        self.base
    }

    fn read(self, register: Register) -> u8 {
        // SAFETY: reading a register of a UART (or of nothing at all) touches no memory.
        unsafe { PortReadOnly::<u8>::new(self.base.wrapping_add(register as u16)).read() }
    }

    fn write(self, register: Register, value: u8) {
        // SAFETY: a UART reaches no memory; the addresses are those of serial ports, which the hypervisor owns.
        unsafe { PortWriteOnly::<u8>::new(self.base.wrapping_add(register as u16)).write(value) }
    }

    /// Returns true if something that can hold a byte answers at the port's address.
    #[must_use]
    pub fn is_present(self) -> bool {
        [0x5a, 0xa5].into_iter().all(|pattern| {
            self.write(Register::Scratch, pattern);
            self.read(Register::Scratch) == pattern
        })
    }

    /// Sets the speed and the frame (`line_control` as the register holds it), switches the FIFOs on and all
    /// interrupts off. A `baud` of none leaves the speed as it is.
    pub fn configure(self, baud: Option<u32>, line_control: u8) {
        self.write(Register::InterruptEnable, 0);
        if let Some(divisor) = baud.and_then(|baud| BASE_BAUD.checked_div(baud)) {
            let [low, high, ..] = divisor.max(1).to_le_bytes();
            self.write(Register::LineControl, line_control | 0x80);
            self.write(Register::Data, low);
            self.write(Register::InterruptEnable, high);
        }
        self.write(Register::LineControl, line_control & 0x7f);
        self.write(Register::FifoControl, 0x07);
        self.write(Register::ModemControl, 0x0b);
    }

    /// Enables the port's receive interrupt.
    pub fn enable_receive_interrupt(self) {
        self.write(Register::InterruptEnable, 1);
    }

    /// Sends bytes, each as soon as the port has room, and a carriage return before each newline. When the port never
    /// has room, the rest is dropped: others wait for the console meanwhile.
    pub fn send(self, bytes: &[u8]) {
        for byte in bytes {
            if (*byte == b'\n' && !self.send_byte(b'\r')) || !self.send_byte(*byte) {
                return;
            }
        }
    }

    fn send_byte(self, byte: u8) -> bool {
        let has_room = self.wait_for(LINE_STATUS_ROOM);
        if has_room {
            self.write(Register::Data, byte);
        }
        has_room
    }

    /// Returns the next byte that has come in, if there is one.
    #[must_use]
    pub fn receive(self) -> Option<u8> {
        let status = self.read(Register::LineStatus);
        // All ones is what an absent port reads as.
        (status != 0xff && status & LINE_STATUS_DATA != 0).then(|| self.read(Register::Data))
    }

    /// Waits until the last byte has been sent, so that powering off loses nothing.
    pub fn drain(self) {
        let _ = self.wait_for(LINE_STATUS_IDLE);
    }

    /// Waits until the line status has one of these bits; false if it does not get it.
    fn wait_for(self, bits: u8) -> bool {
        for _ in 0..PATIENCE {
            if self.read(Register::LineStatus) & bits != 0 {
                return true;
            }
            core::hint::spin_loop();
        }
        false
    }
}
