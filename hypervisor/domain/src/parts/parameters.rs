//! What `hvm_op` keeps for a domain.

use xenolith_abi::hvm::HvmParam;

/// The parameters that `hvm_op` keeps for a domain.
#[derive(Debug, Default)]
pub struct Parameters([u64; 6]);

impl Parameters {
    fn index(parameter: HvmParam) -> usize {
        match parameter {
            HvmParam::CallbackIrq => 0,
            HvmParam::StorePfn => 1,
            HvmParam::StoreEvtchn => 2,
            HvmParam::ConsolePfn => 3,
            HvmParam::ConsoleEvtchn => 4,
            HvmParam::MonitorRingPfn => 5,
        }
    }

    /// A parameter's value; zero until it is set.
    pub fn get(&self, parameter: HvmParam) -> u64 {
        self.0.get(Self::index(parameter)).copied().unwrap_or(0)
    }

    /// Sets a parameter.
    pub fn set(&mut self, parameter: HvmParam, value: u64) {
        if let Some(place) = self.0.get_mut(Self::index(parameter)) {
            *place = value;
        }
    }
}
