//! The machine-check registers of a vCPU (vMCE): two banks, which stay empty unless an error is injected.

use super::number::{MC_CTL, MC_CTL2, MC_CTL2_LAST, MC_MISC_LAST, MCG_CAP, MCG_CTL, MCG_STATUS};
use crate::GeneralProtection;

const BANKS: usize = 2;

/// The error registers of a bank.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Bank {
    status: u64,
    address: u64,
    misc: u64,
}

/// The registers of one vCPU. **Source:** AMD manual volume 2, 9.3; which writes fault is Xen's behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MachineCheck {
    status: u64,
    banks: [Bank; BANKS],
}

enum Place {
    Capabilities,
    Status,
    Control,
    BankControl(usize),
    BankStatus(usize),
    BankAddress(usize),
    BankMisc(usize),
    /// The second control registers, which only other processors have.
    Absent,
}

#[expect(clippy::arithmetic_side_effects, reason = "from the first register of a range that has it")]
fn place(msr: u32) -> Option<Place> {
    Some(match msr {
        MCG_CAP => Place::Capabilities,
        MCG_STATUS => Place::Status,
        MCG_CTL => Place::Control,
        MC_CTL..=MC_MISC_LAST => {
            let bank = ((msr - MC_CTL) / 4) as usize;
            match msr % 4 {
                0 => Place::BankControl(bank),
                1 => Place::BankStatus(bank),
                2 => Place::BankAddress(bank),
                _ => Place::BankMisc(bank),
            }
        }
        MC_CTL2..=MC_CTL2_LAST => Place::Absent,
        _ => return None,
    })
}

impl MachineCheck {
    /// Returns whether an MSR is one of these registers.
    #[must_use]
    pub fn has(msr: u32) -> bool {
        place(msr).is_some()
    }

    /// Reads a register; banks that do not exist read 0.
    #[must_use]
    pub fn read(&self, msr: u32) -> u64 {
        let bank = |index: usize| self.banks.get(index);
        match place(msr) {
            Some(Place::Capabilities) => BANKS as u64,
            Some(Place::Status) => self.status,
            Some(Place::BankControl(index)) => bank(index).map_or(0, |_| u64::MAX),
            Some(Place::BankStatus(index)) => bank(index).map_or(0, |bank| bank.status),
            Some(Place::BankAddress(index)) => bank(index).map_or(0, |bank| bank.address),
            Some(Place::BankMisc(index)) => bank(index).map_or(0, |bank| bank.misc),
            Some(Place::Control | Place::Absent) | None => 0,
        }
    }

    /// Writes a register. A bank can only be cleared; other writes are dropped or fault.
    ///
    /// **Errors:** a general protection fault for a bank's status that is not 0, and for an address or MISC value of
    /// all ones.
    pub fn write(&mut self, msr: u32, value: u64) -> Result<(), GeneralProtection> {
        let mut clear = |index: usize, fault: bool, clear: fn(&mut Bank)| match self.banks.get_mut(index) {
            Some(_) if fault => Err(GeneralProtection),
            Some(bank) if value == 0 => {
                clear(bank);
                Ok(())
            }
            _ => Ok(()),
        };
        match place(msr) {
            Some(Place::Status) => {
                self.status = value;
                Ok(())
            }
            Some(Place::BankStatus(index)) => clear(index, value != 0, |bank| bank.status = 0),
            Some(Place::BankAddress(index)) => clear(index, value == u64::MAX, |bank| bank.address = 0),
            Some(Place::BankMisc(index)) => clear(index, value == u64::MAX, |bank| bank.misc = 0),
            _ => Ok(()),
        }
    }
}
