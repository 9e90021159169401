//! Asking a hypervisor what it knows, by its debug keys on the serial line.

use std::time::{Duration, Instant};

use crate::Machine;
use crate::console::Wait;

/// Three times Ctrl-a: the hypervisor and dom0 take turns at what is typed. What is typed after it goes to the other.
const SWITCH: &[u8] = b"\x01\x01\x01";
/// What the hypervisor says then, and how it goes on if it listens itself from now on.
const SWITCHED: &str = "*** Serial input to ";
const HERE: &str = "*** Serial input to Xen";
/// How long a hypervisor takes for one key; slowly read, a long answer is still being written when the next is pressed.
const KEY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
/// What a machine that stands still is asked: the CPUs, run queues, domains, event channels and interrupts. Only then
/// the registers, since that wakes every CPU; and the domains again, to see whether that helped.
const ACCOUNT: &[u8] = b"crqeidtq";

/// What the hypervisor said of itself when time was up.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    /// The last lines before.
    pub(crate) tail: String,
    /// One line that says where to look.
    pub(crate) line: &'static str,
}

impl Machine {
    /// Presses debug keys, and leaves who listens as it was. False if the hypervisor does not listen.
    pub fn press_keys(&mut self, keys: &[u8]) -> bool {
        let Some(switches) = self.switch_to_hypervisor() else { return false };
        for key in keys {
            if self.send(&[*key]).is_err() {
                return false;
            }
            std::thread::sleep(KEY);
        }
        // An even number of switches changes nothing.
        switches == 2 || self.switch().is_some()
    }

    /// Has the hypervisor listen; gives after how many switches it does.
    fn switch_to_hypervisor(&mut self) -> Option<u32> {
        (1..=2).find_map(|count| self.switch().map(|here| (count, here))?.1.then_some(count))
    }

    /// Switches; true if the hypervisor listens from now on, none if it says nothing.
    fn switch(&mut self) -> Option<bool> {
        let from = self.console.position();
        self.send(SWITCH).ok()?;
        match self.console.wait_for_after(SWITCHED, from, Instant::now() + PATIENCE).0 {
            Wait::Line(line) => Some(line.contains(HERE)),
            Wait::Closed | Wait::TimedOut => None,
        }
    }

    /// Has the hypervisor say what it knows of itself, once, for the log of a machine whose time was up.
    pub fn take_account(&mut self) {
        if self.account.is_some() || self.console.is_closed() {
            return;
        }
        let tail = self.tail();
        let line = if self.press_keys(ACCOUNT) {
            "the hypervisor's account of itself stands at the end of the log"
        } else {
            "the hypervisor does not answer its debug keys either"
        };
        self.account = Some(Account { tail, line });
    }
}
