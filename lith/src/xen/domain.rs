//! One domain: `domctl`, parameters and event channels.

use backend::xen::{Argument, Buffer};
use rustix::io::Errno;
use xenolith_abi::control::Payload;
use xenolith_abi::domctl::{
    AddressSize, CacheFlush, CreateDomain, DomainInfo, Domctl, DomctlOp, MaxMem, MaxVcpus, PagingMempool,
    ROVER, VERSION_4_20, VcpuContext, VcpuGuestContext,
};
use xenolith_abi::event::{AllocUnbound, EventOp};
use xenolith_abi::hvm::{HvmOp, HvmParam, HvmParamArgument};
use xenolith_abi::hypercall::Hypercall;
use xenolith_abi::{DomId, Gfn, Port, VcpuId};

use super::Result;
use super::real::{Failed, RealXen};

/// What `set_address_size` takes for AArch64.
const BITS_64: u32 = 64;

/// What is done to a domain by a `domctl` that answers no more than that it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Destroys it.
    Destroy,
    /// Stops it until it is unpaused as often.
    Pause,
    /// Takes one pause back.
    Unpause,
    /// Lets it go on after it has suspended itself.
    Resume,
    /// Sets its number of vCPUs.
    MaxVcpus(u32),
    /// Sets the KiB that it may own.
    MaxMemory(u64),
    /// Makes its vCPUs AArch64.
    AddressSize64,
    /// Sets aside this many bytes for its translation tables.
    PagingPool(u64),
    /// Writes frames back from the caches: the first one, and their number.
    CacheFlush(Gfn, u64),
}

impl Control {
    /// The operation, its payload, and what it does in words, for errors.
    fn call(self) -> (DomctlOp, Payload, &'static str) {
        match self {
            Control::Destroy => (DomctlOp::DestroyDomain, Payload::EMPTY, "destroy it"),
            Control::Pause => (DomctlOp::PauseDomain, Payload::EMPTY, "pause it"),
            Control::Unpause => (DomctlOp::UnpauseDomain, Payload::EMPTY, "unpause it"),
            Control::Resume => (DomctlOp::ResumeDomain, Payload::EMPTY, "let it go on"),
            Control::MaxVcpus(max) => (DomctlOp::MaxVcpus, Payload::of(&MaxVcpus { max }), "give it vCPUs"),
            Control::MaxMemory(max_memkb) => {
                (DomctlOp::MaxMem, Payload::of(&MaxMem { max_memkb }), "set its memory limit")
            }
            Control::AddressSize64 => {
                (DomctlOp::SetAddressSize, Payload::of(&AddressSize { size: BITS_64 }), "make it AArch64")
            }
            Control::PagingPool(size) => {
                let payload = Payload::of(&PagingMempool { size });
                (DomctlOp::SetPagingMempoolSize, payload, "set memory aside for its page tables")
            }
            Control::CacheFlush(first, nr_pfns) => {
                let payload = Payload::of(&CacheFlush { start_pfn: first, nr_pfns });
                (DomctlOp::CacheFlush, payload, "write its memory back from the caches")
            }
        }
    }
}

/// The calls about one domain.
pub trait Domains {
    /// Makes a domain without memory, paused; returns its number and the request as it was granted.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn create(&self, request: &CreateDomain) -> Result<(DomId, CreateDomain)>;

    /// Does something to a domain.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn control(&self, domain: DomId, control: Control) -> Result<()>;

    /// Describes a domain; `None` if there is none with this number.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn domain(&self, domain: DomId) -> Result<Option<DomainInfo>>;

    /// Sets a vCPU's registers.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn set_context(&self, domain: DomId, vcpu: VcpuId, context: &VcpuGuestContext) -> Result<()>;

    /// Makes an event channel of a domain that the control domain may bind; returns the domain's port.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn make_event_channel(&self, domain: DomId) -> Result<Port>;

    /// Sets a parameter of a domain.
    ///
    /// # Errors
    /// What the hypervisor or Linux answers.
    fn set_parameter(&self, domain: DomId, parameter: HvmParam, value: u64) -> Result<()>;
}

fn message(op: DomctlOp, domain: DomId, payload: Payload) -> Domctl {
    Domctl { cmd: op.number(), interface_version: VERSION_4_20, domain, pad: [0; 3], payload }
}

impl RealXen {
    /// Makes a `domctl`; returns the structure as the hypervisor leaves it.
    fn domctl(&self, call: &Domctl) -> std::result::Result<Domctl, Failed> {
        let mut buffer = Buffer::of(call)?;
        self.privcmd.hypercall(Hypercall::Domctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
        Ok(buffer.read(0)?)
    }
}

impl Domains for RealXen {
    fn create(&self, request: &CreateDomain) -> Result<(DomId, CreateDomain)> {
        let call = message(DomctlOp::CreateDomain, ROVER, Payload::of(request));
        let answer = self.domctl(&call).map_err(|failed| failed.call("make a domain"))?;
        Ok((answer.domain, answer.payload.get()))
    }

    fn control(&self, domain: DomId, control: Control) -> Result<()> {
        let (op, payload, action) = control.call();
        self.domctl(&message(op, domain, payload)).map(drop).map_err(|failed| failed.of(domain, action))
    }

    fn domain(&self, domain: DomId) -> Result<Option<DomainInfo>> {
        match self.domctl(&message(DomctlOp::GetDomainInfo, domain, Payload::EMPTY)) {
            Ok(answer) => Ok(Some(answer.payload.get())),
            Err(Failed::Answer(Errno::SRCH)) => Ok(None),
            Err(failed) => Err(failed.of(domain, "describe it")),
        }
    }

    fn set_context(&self, domain: DomId, vcpu: VcpuId, context: &VcpuGuestContext) -> Result<()> {
        let set = || -> std::result::Result<(), Failed> {
            let call = |ctxt| {
                let argument = VcpuContext { vcpu: vcpu.0.into(), pad: 0, ctxt };
                message(DomctlOp::SetVcpuContext, domain, Payload::of(&argument))
            };
            let mut buffer = Buffer::with_array(std::slice::from_ref(context), call)?;
            self.privcmd.hypercall(Hypercall::Domctl.number(), &mut [Argument::Buffer(&mut buffer)])?;
            Ok(())
        };
        set().map_err(|failed| failed.of(domain, "set its registers"))
    }

    fn make_event_channel(&self, domain: DomId) -> Result<Port> {
        let argument = AllocUnbound { dom: domain, remote_dom: DomId::CONTROL, port: Port(0) };
        let call = Hypercall::EventChannelOp.number();
        let answer = self.call(call, EventOp::AllocUnbound.number().into(), &argument);
        let (_, answer) = answer.map_err(|failed| failed.of(domain, "make an event channel for it"))?;
        Ok(answer.port)
    }

    fn set_parameter(&self, domain: DomId, parameter: HvmParam, value: u64) -> Result<()> {
        let argument = HvmParamArgument { domid: domain, pad: 0, index: parameter.number(), value };
        let answer = self.call(Hypercall::HvmOp.number(), HvmOp::SetParam.number().into(), &argument);
        answer.map(drop).map_err(|failed| failed.of(domain, "set a parameter of it"))
    }
}
