//! `domctl`, parameters and event channels of a domain.

use backend::xen::{Argument, Buffer};
use rustix::io::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{
    AddressSize, CreateDomain, DomainInfo, Domctl, DomctlOp, MaxMem, MaxVcpus, PagingMempool, ROVER,
    VERSION_4_20, VcpuContext, VcpuGuestContext,
};
use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::hvm::{HvmOp, HvmParam, HvmParamArgument};
use xenolith_abi::hypercall::Hypercall;
use zerocopy::{Immutable, IntoBytes};

use super::{Failed, RealXen};
use crate::xen::{CONTROL, DomainId, Result};

/// What `set_address_size` takes for AArch64.
const BITS_64: u32 = 64;

fn message<T: IntoBytes + Immutable>(op: DomctlOp, domain: DomainId, payload: &T) -> Domctl {
    Domctl {
        cmd: op.number(),
        interface_version: VERSION_4_20,
        domain,
        pad: [0; 3],
        payload: Payload::of(payload),
    }
}

impl RealXen {
    /// Makes a `domctl`; returns the structure as the hypervisor leaves it.
    fn domctl(&self, call: &Domctl) -> std::result::Result<Domctl, Failed> {
        let mut buffer = Buffer::of(call)?;
        let mut arguments = [Argument::Buffer(&mut buffer)];
        self.privcmd.hypercall(Hypercall::Domctl.number(), &mut arguments)?;
        Ok(buffer.read(0)?)
    }

    fn control<T: IntoBytes + Immutable>(
        &self,
        op: DomctlOp,
        domain: DomainId,
        payload: &T,
        action: &'static str,
    ) -> Result<()> {
        self.domctl(&message(op, domain, payload)).map(drop).map_err(|failed| failed.of(domain, action))
    }

    pub(super) fn create_domain(&self, wish: &CreateDomain) -> Result<(DomainId, CreateDomain)> {
        let call = message(DomctlOp::CreateDomain, ROVER, wish);
        let answer = self.domctl(&call).map_err(|failed| failed.call("make a domain"))?;
        Ok((answer.domain, answer.payload.get()))
    }

    pub(super) fn destroy_domain(&self, domain: DomainId) -> Result<()> {
        self.control(DomctlOp::DestroyDomain, domain, &[0u8; 0], "destroy it")
    }

    pub(super) fn pause_domain(&self, domain: DomainId) -> Result<()> {
        self.control(DomctlOp::PauseDomain, domain, &[0u8; 0], "pause it")
    }

    pub(super) fn unpause_domain(&self, domain: DomainId) -> Result<()> {
        self.control(DomctlOp::UnpauseDomain, domain, &[0u8; 0], "unpause it")
    }

    pub(super) fn describe(&self, domain: DomainId) -> Result<Option<DomainInfo>> {
        match self.domctl(&message(DomctlOp::GetDomainInfo, domain, &[0u8; 0])) {
            Ok(answer) => Ok(Some(answer.payload.get())),
            Err(Failed::Answer(Errno::SRCH)) => Ok(None),
            Err(failed) => Err(failed.of(domain, "describe it")),
        }
    }

    pub(super) fn max_vcpus(&self, domain: DomainId, vcpus: u32) -> Result<()> {
        self.control(DomctlOp::MaxVcpus, domain, &MaxVcpus { max: vcpus }, "give it vCPUs")
    }

    pub(super) fn max_memory(&self, domain: DomainId, kib: u64) -> Result<()> {
        self.control(DomctlOp::MaxMem, domain, &MaxMem { max_memkb: kib }, "set its memory limit")
    }

    pub(super) fn address_size(&self, domain: DomainId) -> Result<()> {
        let size = AddressSize { size: BITS_64 };
        self.control(DomctlOp::SetAddressSize, domain, &size, "make it AArch64")
    }

    pub(super) fn paging_pool(&self, domain: DomainId, bytes: u64) -> Result<()> {
        let pool = PagingMempool { size: bytes };
        self.control(DomctlOp::SetPagingMempoolSize, domain, &pool, "set memory aside for its page tables")
    }

    pub(super) fn vcpu_context(&self, domain: DomainId, vcpu: u32, context: &VcpuGuestContext) -> Result<()> {
        let action = "set its registers";
        let set = || -> std::result::Result<(), Failed> {
            // The call's own structure begins behind its header, and the pointer is the second word of it.
            const POINTER: usize =
                std::mem::offset_of!(Domctl, payload) + std::mem::offset_of!(VcpuContext, ctxt);
            let argument = VcpuContext { vcpu, ..VcpuContext::default() };
            let mut buffer = Buffer::of(&message(DomctlOp::SetVcpuContext, domain, &argument))?;
            buffer.link(POINTER, Buffer::of(context)?)?;
            self.privcmd.hypercall(Hypercall::Domctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
            Ok(())
        };
        set().map_err(|failed| failed.of(domain, action))
    }

    pub(super) fn alloc_unbound(&self, domain: DomainId) -> Result<u32> {
        let argument = AllocUnbound { dom: domain, remote_dom: CONTROL, port: 0 };
        let call = Hypercall::EventChannelOp.number();
        let answer = self.call(call, EventOp::AllocUnbound.number().into(), &argument);
        let (_, answer) = answer.map_err(|failed| failed.of(domain, "make an event channel for it"))?;
        Ok(answer.port)
    }

    pub(super) fn hvm_set(&self, domain: DomainId, parameter: HvmParam, value: u64) -> Result<()> {
        let argument = HvmParamArgument { domid: domain, pad: 0, index: parameter.number(), value };
        let answer = self.call(Hypercall::HvmOp.number(), HvmOp::SetParam.number().into(), &argument);
        answer.map(drop).map_err(|failed| failed.of(domain, "set a parameter of it"))
    }
}
