//! The watchdogs of a domain (`SCHEDOP_watchdog`), which shut it down when it does not renew them in time.

use xen_abi::Errno;
use xenolith_hal::Time;
use xenolith_sync::{SpinLock, rank};

/// The number of watchdogs of a domain.
pub const COUNT: usize = 2;

/// The deadlines of the armed ones.
pub struct Watchdogs(SpinLock<[Option<Time>; COUNT], rank::VcpuState>);

impl Default for Watchdogs {
    fn default() -> Self {
        Self(SpinLock::new([None; COUNT]))
    }
}

impl Watchdogs {
    /// Arms one (`id` 0), renews one (`id` from 1) or stops it (`timeout` 0). Returns the number of a new one, 0
    /// otherwise.
    ///
    /// **Errors:** `ENOSPC` if all are in use; `EINVAL` for one that is not in use, for a number that none can have,
    /// and for arming one that never expires.
    pub fn set(&self, id: u32, timeout: u32, deadline: Time) -> Result<u64, Errno> {
        let mut slots = self.0.lock();
        if id == 0 {
            if timeout == 0 {
                return Err(Errno::EINVAL);
            }
            let free = slots.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?;
            if let Some(slot) = slots.get_mut(free) {
                *slot = Some(deadline);
            }
            return Ok((free as u64).saturating_add(1));
        }
        let slot = slots.get_mut((id as usize).saturating_sub(1)).ok_or(Errno::EINVAL)?;
        if slot.is_none() {
            return Err(Errno::EINVAL);
        }
        *slot = (timeout != 0).then_some(deadline);
        Ok(0)
    }

    /// Returns the earliest deadline.
    pub fn deadline(&self) -> Time {
        self.0.lock().iter().flatten().copied().min().unwrap_or(Time::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_two_and_no_more() {
        let dogs = Watchdogs::default();
        assert_eq!(dogs.set(0, 5, Time(50)), Ok(1));
        assert_eq!(dogs.set(0, 5, Time(40)), Ok(2));
        assert_eq!(dogs.set(0, 5, Time(60)), Err(Errno::ENOSPC));
        assert_eq!(dogs.deadline(), Time(40));
        assert_eq!(dogs.set(2, 0, Time(0)), Ok(0));
        assert_eq!(dogs.deadline(), Time(50));
        assert_eq!(dogs.set(2, 1, Time(0)), Err(Errno::EINVAL));
        assert_eq!(dogs.set(3, 1, Time(0)), Err(Errno::EINVAL));
    }
}
