//! Memory that both sides of a ring share.

use std::cell::RefCell;

use rings::Shared;

/// Pages in this program.
pub struct Pages(RefCell<Vec<u8>>);

impl Pages {
    pub fn new(count: usize) -> Self {
        Self::of_bytes(count * 4096)
    }

    pub fn of_bytes(count: usize) -> Self {
        Self(RefCell::new(vec![0; count]))
    }
}

impl Shared for Pages {
    fn length(&self) -> usize {
        self.0.borrow().len()
    }

    fn load_u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.0.borrow()[offset..offset + 4].try_into().unwrap())
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        to.copy_from_slice(&self.0.borrow()[offset..offset + to.len()]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.0.borrow_mut()[offset..offset + from.len()].copy_from_slice(from);
    }

    fn fence(&self) {}
}
