//! A page for tests, and one whose words change under the reader.

use std::sync::{Arc, Mutex};

use super::{PAGE_SIZE, SharedPage};

/// A page that a test writes as the guest would. A clone is the same page.
#[derive(Clone, Debug)]
pub struct MockPage {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Added to a word each time that it is read, as a guest that writes all the time would.
    drift: u32,
}

impl Default for MockPage {
    /// A page of zeros.
    fn default() -> MockPage {
        MockPage::drifting(0)
    }
}

impl MockPage {
    /// A page whose words change with every look at them.
    pub fn drifting(drift: u32) -> MockPage {
        MockPage { bytes: Arc::new(Mutex::new(vec![0; PAGE_SIZE])), drift }
    }

    /// A word, without its change.
    pub fn word(&self, offset: usize) -> u32 {
        let bytes = self.bytes.lock().unwrap();
        u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap())
    }

    /// Some bytes.
    pub fn bytes(&self, offset: usize, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.read(offset, &mut bytes);
        bytes
    }
}

impl SharedPage for MockPage {
    fn load(&self, offset: usize) -> u32 {
        let value = self.word(offset);
        self.store(offset, value.wrapping_add(self.drift));
        value
    }

    fn store(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, bytes: &mut [u8]) {
        let page = self.bytes.lock().unwrap();
        bytes.copy_from_slice(&page[offset..offset + bytes.len()]);
    }

    fn write(&self, offset: usize, bytes: &[u8]) {
        let mut page = self.bytes.lock().unwrap();
        page[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}
