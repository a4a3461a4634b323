//! What is refused, and with which code.

use xenolith_abi::Errno;
use xenolith_abi::domctl::{AddressSize, CacheFlush, MaxVcpus, PagingMempool, SetDomainHandle, VERSION_4_18};

use super::*;

#[test]
fn versions_decide_layouts_and_meanings() {
    let (mut machine, mut tools) = Toolstack::new(VERSION_4_17);
    for id in [5, 9] {
        assert_eq!(tools.domctl_for(&mut machine, 1, id, &mut CreateDomainV15::from(plan())), (0, id));
    }
    let found =
        |tools: &Toolstack, machine: &mut Machine, id| tools.info(machine, id).map(|info| info.domain);
    assert_eq!(found(&tools, &mut machine, 1), Ok(DomId(5)), "the first from there on");
    assert_eq!(found(&tools, &mut machine, 6), Ok(DomId(9)));
    assert_eq!(found(&tools, &mut machine, 10), Err(error(Errno::ESRCH)));
    assert_eq!(found(&tools, &mut machine, 0x7ff0), Err(error(Errno::EINVAL)));
    for exact in [VERSION_4_18, VERSION_4_20] {
        tools.version = exact;
        assert_eq!(found(&tools, &mut machine, 1), Err(error(Errno::ESRCH)));
        assert_eq!(found(&tools, &mut machine, 0x7ff0), Err(error(Errno::ESRCH)));
        assert_eq!(found(&tools, &mut machine, 9), Ok(DomId(9)));
    }
    tools.version = VERSION_4_18;
    assert_eq!(tools.simple(&mut machine, DomctlOp::PauseDomain, 5), error(Errno::EACCES));
    for other in [0, 0x14, 0x18] {
        tools.version = other;
        assert_eq!(tools.info(&mut machine, 5), Err(error(Errno::EACCES)));
    }
}

#[test]
fn domains_and_operations_that_there_are_not() {
    for version in VERSIONS {
        let (mut machine, tools) = Toolstack::new(version);
        let id = tools.create(&mut machine, plan()).unwrap();
        for op in DomctlOp::ALL {
            if !matches!(op, DomctlOp::CreateDomain | DomctlOp::GetDomainInfo) {
                assert_eq!(tools.simple(&mut machine, *op, 77), error(Errno::ESRCH), "{op:?}");
            }
        }
        assert_eq!(tools.domctl_for(&mut machine, 999, 77, &mut [0_u8; 0]).0, error(Errno::ESRCH));
        for number in [0, 6, 999, u32::MAX] {
            let result = tools.domctl_for(&mut machine, number, id, &mut [0_u8; 0]).0;
            assert_eq!(result, error(Errno::ENOSYS), "{number}");
        }
        let missing = [
            DomctlOp::GetAddressSize,
            DomctlOp::SendTrigger,
            DomctlOp::GetPageFrameInfo3,
            DomctlOp::GetHvmContext,
            DomctlOp::SoftReset,
            DomctlOp::DtOverlay,
            DomctlOp::GsiPermission,
        ];
        for op in missing {
            assert_eq!(tools.simple(&mut machine, op, id), error(Errno::ENOSYS), "{op:?}");
        }
        let colours = tools.simple(&mut machine, DomctlOp::SetLlcColors, id);
        let expected = if version == VERSION_4_20 { Errno::EOPNOTSUPP } else { Errno::ENOSYS };
        assert_eq!(colours, error(expected));
        let devices = [
            DomctlOp::AssignDevice,
            DomctlOp::TestAssignDevice,
            DomctlOp::DeassignDevice,
            DomctlOp::GetDeviceGroup,
        ];
        for op in devices {
            assert_eq!(tools.simple(&mut machine, op, id), error(Errno::EOPNOTSUPP), "{op:?}");
        }
    }
}

#[test]
fn a_structure_that_leads_nowhere() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    for call in [Hypercall::Domctl, Hypercall::Sysctl] {
        for address in [0, 8, u64::MAX - 8, tools.guest.page(&machine, 64) - 16] {
            let result = tools.guest.plain(&mut machine, call, [address, 0, 0, 0, 0]);
            assert_eq!(result, error(Errno::EFAULT), "{call:?} {address:#x}");
        }
    }
}

#[test]
fn the_control_domain_is_spared() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_20);
    for op in
        [DomctlOp::PauseDomain, DomctlOp::DestroyDomain, DomctlOp::SetVcpuContext, DomctlOp::GetVcpuContext]
    {
        assert_eq!(tools.domctl(&mut machine, op, 0, &mut [0_u64; 4]), error(Errno::EINVAL), "{op:?}");
    }
    assert_eq!(tools.simple(&mut machine, DomctlOp::UnpauseDomain, 0), error(Errno::EINVAL));
}

#[test]
fn arguments_out_of_their_ranges() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let id = create::build(&mut machine, &tools);
    let invalid = error(Errno::EINVAL);
    for max in [0, 1, 3, u32::MAX] {
        assert_eq!(tools.domctl(&mut machine, DomctlOp::MaxVcpus, id, &mut MaxVcpus { max }), invalid);
    }
    for (size, errno) in [(64, Errno::EBUSY), (32, Errno::EINVAL), (0, Errno::EINVAL)] {
        let result = tools.domctl(&mut machine, DomctlOp::SetAddressSize, id, &mut AddressSize { size });
        assert_eq!(result, error(errno));
    }
    for (start_pfn, nr_pfns) in [(u64::MAX, 1), (1, u64::MAX), (0, (1 << 18) + 1)] {
        let mut flush = CacheFlush { start_pfn: Gfn(start_pfn), nr_pfns };
        assert_eq!(tools.domctl(&mut machine, DomctlOp::CacheFlush, id, &mut flush), invalid);
    }
    for (start_pfn, nr_pfns) in [(u64::MAX, 0), (1 << 40, 1 << 18), (0, 1 << 18), (0x4_0000, 0)] {
        let mut flush = CacheFlush { start_pfn: Gfn(start_pfn), nr_pfns };
        assert_eq!(
            tools.domctl(&mut machine, DomctlOp::CacheFlush, id, &mut flush),
            0,
            "nothing there to clean"
        );
    }
    for (size, errno) in [(4095, Errno::EINVAL), (1 << 40, Errno::ENOMEM), (0, Errno::ENOMEM)] {
        let mut pool = PagingMempool { size };
        assert_eq!(tools.domctl(&mut machine, DomctlOp::SetPagingMempoolSize, id, &mut pool), error(errno));
    }
}

#[test]
fn a_flush_that_is_interrupted_goes_on_where_it_was() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let id = create::build(&mut machine, &tools);
    sim::pause_every(Some(1));
    let mut flush = CacheFlush { start_pfn: Gfn(0x3_9000), nr_pfns: 1 << 17 };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::CacheFlush, id, &mut flush), 0);
    let mut pool = PagingMempool { size: 0x60_0000 };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetPagingMempoolSize, id, &mut pool), 0);
    assert_eq!(machine.audit(), Ok(()));
}

#[test]
fn the_uuid_changes() {
    let (mut machine, tools) = Toolstack::new(VERSION_4_17);
    let id = tools.create(&mut machine, plan()).unwrap();
    let mut handle = SetDomainHandle { handle: [9; 16] };
    assert_eq!(tools.domctl(&mut machine, DomctlOp::SetDomainHandle, id, &mut handle), 0);
    assert_eq!(tools.info(&mut machine, id).unwrap().handle, [9; 16]);
}
