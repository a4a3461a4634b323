//! Each call of Xen's public headers has an answer that is known, and `docs/abi-coverage.md` says which.
//!
//! Every call is made once with zeroes (`calls::probe`), by the control domain and by another. The answers are compared with
//! those that Xen 4.17 gave to the same program (`tests/data/*.answers`, written by `guest-tests probe`); where they differ,
//! `remarks` must say why. The document is made from both, and this test fails while the file is not what it would write.

mod document;
mod remarks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::{env, fs};

use calls::families::Form;
use calls::probe::{self, Places, Probe};
use calls::{Call, answer_name};
use xenolith_abi::domctl::{VERSION_4_17, VERSION_4_20};
use xenolith_abi::event::{EventOp, InitControl};
use xenolith_abi::hypercall::Hypercall;

use super::super::*;
use super::support::*;
use remarks::{Kind, REMARKS, Remark};
use xenolith_host::command_line::XenVersion;

/// Set to write the document anew.
const RENEW: &str = "RENEW_DOCUMENTS";
/// What Xen 4.17 answers to its control domain, and to another.
const XEN_CONTROL: &str = include_str!("../../tests/data/xen-4.17-control.answers");
const XEN_GUEST: &str = include_str!("../../tests/data/xen-4.17-guest.answers");
/// The domain that is asked about.
const SCRATCH: u16 = 77;

/// Answers by the names of sub-operations.
type Answers = BTreeMap<String, String>;

/// Everything about one sub-operation.
struct Row {
    probe: Probe,
    /// Answers of ours to the control domain, as each version.
    control: [String; 2],
    /// The same to another domain.
    guest: [String; 2],
    /// Answers of Xen 4.17 to its control domain and to another.
    xen: [String; 2],
    remark: Option<&'static Remark>,
}

impl Row {
    /// Whether an answer says that there is no such thing.
    fn is_refusal(&self, answer: &str) -> bool {
        let by_value = matches!(self.probe.form, Form::Vcpu | Form::HvmParam | Form::VmAssist);
        matches!(answer, "ENOSYS" | "EOPNOTSUPP") || by_value && answer == "EINVAL"
    }

    /// Whether we refuse it in every version that has it.
    fn is_refused(&self) -> bool {
        self.is_refusal(&self.control[1])
    }

    fn is_as_xen(&self) -> bool {
        [&self.control[0], &self.guest[0]] == [&self.xen[0], &self.xen[1]]
    }

    /// What is wrong with it.
    fn fault(&self) -> Option<String> {
        let Row { control, guest, xen, .. } = self;
        let is_new = !self.probe.sub.in_4_17;
        let fault = match self.remark.map(|remark| remark.kind) {
            None if is_new && self.is_refused() => "is refused, and no remark says why",
            None if !self.is_as_xen() => "is not as on Xen, and no remark says why",
            Some(Kind::LeftOut | Kind::Missing) if !self.is_refused() => "is said not to be there",
            Some(Kind::LeftOut | Kind::Missing) if !is_new && self.is_as_xen() => "is as on Xen",
            Some(Kind::Differs) if self.is_as_xen() => "does not differ",
            _ => return None,
        };
        Some(format!("{} {fault}: {control:?} {guest:?}, Xen {xen:?}", self.probe.sub.name))
    }
}

/// A domain of the machine that makes calls.
struct Prober {
    machine: Machine,
    guest: Guest,
    places: Places,
}

impl Prober {
    fn new(version: XenVersion, is_control: bool) -> Self {
        let options = Options { xen_version: version, ..Options::default() };
        let mut machine = Machine::with_options(2, 4096, options);
        let control = Guest::boot(&mut machine, CONTROL);
        let guest = if is_control { control } else { Guest::boot(&mut machine, OTHER) };
        let places = Places {
            buffer: guest.page(&machine, 8),
            nowhere: 0x10,
            domain: if is_control { DomId(SCRATCH) } else { DomId(0) },
            domctl_version: match version {
                XenVersion::V4_17 => VERSION_4_17,
                XenVersion::V4_20 => VERSION_4_20,
            },
        };
        // As Linux does at boot.
        let control_gfn = guest.page(&machine, 12) >> PAGE_SHIFT;
        let op = EventOp::InitControl.number().into();
        let mut fifo = InitControl { control_gfn: Gfn(control_gfn), ..InitControl::default() };
        assert_eq!(guest.call(&mut machine, Hypercall::EventChannelOp, op, &mut fifo), 0);
        let mut prober = Prober { machine, guest, places };
        if is_control {
            for call in probe::preparation(&places) {
                assert_eq!(prober.make(&call), 0, "a domain to be asked about");
            }
        }
        prober
    }

    fn make(&mut self, call: &Call) -> i64 {
        let Prober { machine, guest, .. } = self;
        for (address, bytes) in &call.memory {
            guest.domain.on(&machine.hv).write_memory(Ipa(*address), bytes).expect("memory of its own");
        }
        let result = machine.hypercall(guest.cpu, call.number, call.arguments);
        result.unwrap_or_else(|| {
            // It sleeps: anything may wake it.
            machine.hv.wake(guest.domain.vcpus[0].unit);
            machine.settle();
            guest.cpu = machine.cpu_of(&guest.domain, 0).expect("it goes on");
            machine.regs(guest.cpu).x[0] as i64
        })
    }

    fn answers(version: XenVersion, is_control: bool) -> Vec<(Probe, String)> {
        let mut prober = Self::new(version, is_control);
        let answers = probe::all(&prober.places)
            .into_iter()
            .map(|probe| {
                let result = prober.make(&probe.call);
                (probe, answer_name(result))
            })
            .collect();
        prober.machine.settle();
        assert_eq!(prober.machine.audit(), Ok(()));
        answers
    }
}

/// The answers in a file: a name and an answer on each line.
fn read_answers(text: &str) -> Answers {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs.map(|(name, answer)| (name.to_owned(), answer.trim().to_owned())).collect()
}

fn rows() -> Vec<Row> {
    let versions = [XenVersion::V4_17, XenVersion::V4_20];
    let xen = [XEN_CONTROL, XEN_GUEST].map(read_answers);
    let [control, new_control] = versions.map(|version| Prober::answers(version, true));
    let [guest, new_guest] = versions.map(|version| Prober::answers(version, false));
    let all = control.into_iter().zip(new_control).zip(guest).zip(new_guest);
    all.map(|((((probe, control), (_, new_control)), (_, guest)), (_, new_guest))| {
        let name = probe.sub.name;
        let of_xen = |answers: &Answers| answers.get(name).cloned().unwrap_or_else(|| "unknown".into());
        Row {
            control: [control, new_control],
            guest: [guest, new_guest],
            xen: xen.each_ref().map(of_xen),
            remark: REMARKS.iter().find(|remark| remark.name == name),
            probe,
        }
    })
    .collect()
}

#[test]
fn each_call_is_answered_as_on_xen_or_it_is_said_why_not() {
    let rows = rows();
    let faults: Vec<String> = rows.iter().filter_map(Row::fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    for remark in REMARKS {
        let known = rows.iter().any(|row| row.probe.sub.name == remark.name);
        assert!(known, "a remark on {}, which the headers do not have", remark.name);
    }
}

#[test]
fn the_document_says_how_each_call_is_answered() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/abi-coverage.md");
    let text = document::render(&rows());
    if env::var_os(RENEW).is_some() {
        fs::write(&file, &text).expect("the document can be written");
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == text,
        "docs/abi-coverage.md is not up to date; write it anew with {RENEW}=1 and this test"
    );
}
