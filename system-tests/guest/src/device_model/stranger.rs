//! A domain that is not the guest's device model: every call of one is refused.

use std::process::ExitCode;
use std::thread;
use std::time::Duration;
use xenolith_abi::{DomId, Gfn, Intid};

use anyhow::{Result, bail, ensure};
use backend::xen::dm::DeviceModel;
use backend::xen::privcmd::Batch;
use rustix::io::Errno;

use super::{MEMORY, model};
use crate::report::Report;

/// A number that no domain has.
const NOBODY: DomId = DomId(0x1234);
/// The control domain.
const CONTROL: DomId = DomId::CONTROL;
/// How long the guest may be in coming.
const LIMIT: u32 = 1000;

/// Waits for the guest, and tries all that its device model may do.
pub fn run(mut report: Report, guest: DomId) -> ExitCode {
    match wait_for(guest) {
        Ok(model) => try_all(&mut report, &model),
        Err(error) => report.test("the guest comes", || Err(error)),
    }
    report.finish()
}

fn try_all(report: &mut Report, model: &DeviceModel) {
    report.test("calls of a device model", || calls(model, Errno::PERM));
    report.test("calls for the control domain", || calls(&of(model, CONTROL), Errno::PERM));
    report.test("calls for nobody", || calls(&of(model, NOBODY), Errno::SRCH));
    report.test("foreign pages", || foreign(model));
    report.test("the guest's resources", || resources(model));
}

/// The guest is there when it is refused for another reason than that it is not.
fn wait_for(guest: DomId) -> Result<DeviceModel> {
    let model = model(guest)?;
    for _ in 0..LIMIT {
        match model.vcpus() {
            Err(error) if error.errno() == Some(Errno::SRCH) => thread::sleep(Duration::from_millis(200)),
            _ => return Ok(model),
        }
    }
    bail!("no {guest}");
}

fn of(model: &DeviceModel, domain: DomId) -> DeviceModel {
    DeviceModel::new(model.privcmd().clone(), domain)
}

fn calls(model: &DeviceModel, wanted: Errno) -> Result<()> {
    let answers = [
        ("nr_vcpus", model.vcpus().map(drop)),
        ("create", model.create_server().map(drop)),
        ("destroy", model.destroy_server(0)),
        ("info", model.has_server(0).map(drop)),
        ("enable", model.enable_server(0, true)),
        ("map", model.map_mmio(0, MEMORY..=MEMORY + 0xfff)),
        ("unmap", model.unmap_mmio(0, MEMORY..=MEMORY + 0xfff)),
        ("set_irq_level", model.set_irq(Intid(33), true)),
    ];
    for (what, answer) in answers {
        let error = answer.err().and_then(|error| error.errno());
        ensure!(error == Some(wanted), "{what} for {}: {error:?}", model.domain());
    }
    Ok(())
}

fn foreign(model: &DeviceModel) -> Result<()> {
    for (domain, wanted) in [(model.domain(), Errno::PERM), (CONTROL, Errno::PERM), (NOBODY, Errno::SRCH)] {
        let frames = [Gfn(0x4_0000), Gfn(0x4_0001)];
        match model.privcmd().map_foreign(domain, &frames)? {
            Batch::Mapped(_) => bail!("frames of {domain} are mapped"),
            Batch::Refused(refused) => {
                ensure!(refused == [(0, wanted), (1, wanted)], "frames of {domain}: {refused:?}");
            }
        }
    }
    Ok(())
}

fn resources(model: &DeviceModel) -> Result<()> {
    const IOREQ: u32 = 0;
    const GRANT_TABLE: u32 = 1;
    for kind in [IOREQ, GRANT_TABLE] {
        let answer = model.privcmd().map_resource(model.domain(), kind, 0, 1, 1).map(drop);
        ensure!(answer == Err(Errno::PERM), "resource {kind} of {}: {answer:?}", model.domain());
        let answer = model.privcmd().map_resource(NOBODY, kind, 0, 1, 1).map(drop);
        ensure!(answer == Err(Errno::SRCH), "resource {kind} of nobody: {answer:?}");
    }
    Ok(())
}
