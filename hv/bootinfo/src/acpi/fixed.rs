//! The FADT: hardware at fixed places. **Source:** ACPI 6.5, 5.2.9, 4.8.3.6.

use super::TableLocation;
use crate::fault::BootFault;
use crate::physical::PhysicalMemory;

const FLAG_RESET_REGISTER: u32 = 1 << 10;
const FLAG_WIDE_TIMER: u32 = 1 << 8;

/// Where a register lies (ACPI's generic address structure).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegisterSpace {
    /// In memory, at this machine address.
    Memory(u64),
    /// Among the I/O ports.
    Port(u16),
    /// In the configuration space of a device on bus 0.
    PciConfig {
        /// The device.
        device: u8,
        /// Its function.
        function: u8,
        /// The register.
        offset: u16,
    },
}

impl RegisterSpace {
    /// Makes it of the address space's number and the address in a generic address structure; none for other spaces.
    /// **Source:** ACPI 6.5, 5.2.3.2.
    fn new(space: u8, address: u64) -> Option<Self> {
        let [offset_low, offset_high, function, _, device, ..] = address.to_le_bytes();
        match space {
            _ if address == 0 => None,
            0 => Some(Self::Memory(address)),
            1 => u16::try_from(address).ok().map(Self::Port),
            2 => Some(Self::PciConfig { device, function, offset: u16::from_le_bytes([offset_low, offset_high]) }),
            _ => None,
        }
    }
}

/// A byte that restarts the machine when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResetRegister {
    /// Where to write.
    pub register: RegisterSpace,
    /// The value to write.
    pub value: u8,
}

/// What the FADT tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHardware {
    /// The machine address of the DSDT.
    pub dsdt: u64,
    /// The global interrupt of ACPI events.
    pub sci: u16,
    /// The port of the power management timer, which counts at 3.579545 MHz.
    pub pm_timer: Option<u16>,
    /// The timer has 32 bits and not 24.
    pub pm_timer_is_wide: bool,
    /// The port of the control register by which the machine sleeps.
    pub pm1a_control: u16,
    /// The second one, where there is one.
    pub pm1b_control: u16,
    /// How the machine is restarted.
    pub reset: Option<ResetRegister>,
}

impl FixedHardware {
    pub(super) fn read(memory: &impl PhysicalMemory, table: &TableLocation) -> Result<Self, BootFault> {
        let flags = table.u32_at(memory, 112)?;
        let long = |offset: u64| -> Result<Option<RegisterSpace>, BootFault> {
            if table.length < offset.saturating_add(12) {
                return Ok(None);
            }
            let [space] = table.bytes_at(memory, offset)?;
            Ok(RegisterSpace::new(space, table.u64_at(memory, offset.saturating_add(4))?))
        };
        let port = |short: u64, offset: u64| -> Result<u16, BootFault> {
            match (table.u32_at(memory, short)?, long(offset)?) {
                (0, Some(RegisterSpace::Port(port))) => Ok(port),
                (old, _) => Ok(u16::try_from(old).unwrap_or(0)),
            }
        };
        let dsdt = if table.length >= 148 { table.u64_at(memory, 140)? } else { 0 };
        let dsdt = if dsdt == 0 { u64::from(table.u32_at(memory, 40)?) } else { dsdt };
        let reset = match long(116)? {
            Some(register) if flags & FLAG_RESET_REGISTER != 0 => {
                let [value] = table.bytes_at(memory, 128)?;
                Some(ResetRegister { register, value })
            }
            _ => None,
        };
        Ok(Self {
            dsdt,
            sci: u16::from_le_bytes(table.bytes_at(memory, 46)?),
            pm_timer: Some(port(76, 208)?).filter(|port| *port != 0),
            pm_timer_is_wide: flags & FLAG_WIDE_TIMER != 0,
            pm1a_control: port(64, 172)?,
            pm1b_control: port(68, 184)?,
            reset,
        })
    }
}
