//! stub
impl super::Domain { /// x
 pub fn map_grant_frame(&self, _hv: &crate::hypervisor::Hypervisor, _i: u64, _g: crate::types::Gfn) -> Result<(), xenolith_abi::Errno> { Err(xenolith_abi::Errno::ENOSYS) } }
