//! All scenarios, in one place.

mod boot;

use crate::harness::Scenario;

/// Every scenario there is.
pub fn all() -> Vec<Scenario> {
    let mut all = Vec::new();
    all.extend(boot::scenarios());
    all
}
