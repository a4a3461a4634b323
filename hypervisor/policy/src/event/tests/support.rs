//! A domain as the tests see it: its table, and the guest's half of the shared memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use xenolith_abi::event::fifo::WORDS_PER_PAGE;
use xenolith_abi::event::{EventStatus, Status};

use crate::event::{Closing, Delivery, Ends, EventActions, EventChannels, Peer, Port, SharedFrame};
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

/// A frame that is counted for as long as it is held.
#[derive(Debug)]
pub struct Frame(pub Page, Arc<AtomicUsize>);

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.0
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A domain.
pub struct Domain {
    pub channels: EventChannels<Frame>,
    pub shared_info: Page,
    /// Frames that the table holds.
    pub held: Arc<AtomicUsize>,
}

impl Domain {
    pub fn new(number: u16, vcpus: u16, max_port: u32) -> Self {
        let shared_info = page();
        let channels = EventChannels::new(DomId(number), vcpus, max_port, shared_info).unwrap();
        Domain { channels, shared_info, held: Arc::default() }
    }

    /// A frame of the guest for a call to take.
    pub fn frame(&self, page: Page) -> Frame {
        self.held.fetch_add(1, Ordering::Relaxed);
        Frame(page, self.held.clone())
    }

    pub fn frames_held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Gives every vCPU a control block in one page, 128 bytes apart, and the domain this many pages of words.
    pub fn use_fifo(&mut self, vcpus: u16, pages: usize) -> (Page, Vec<Page>) {
        let control = page();
        for vcpu in 0..vcpus {
            let frame = self.frame(control);
            self.channels.init_control(VcpuId(vcpu), frame, u32::from(vcpu) * 128).unwrap();
        }
        let array: Vec<Page> = (0..pages).map(|_| page()).collect();
        for &words in &array {
            let frame = self.frame(words);
            let _ = self.channels.expand_array(frame).unwrap();
        }
        (control, array)
    }

    /// Gives each vCPU a place for its information, 64 bytes apart in one page; the guest has looked at everything.
    pub fn register_vcpu_infos(&mut self, vcpus: u16) -> Page {
        let infos = page();
        for vcpu in 0..vcpus {
            let frame = self.frame(infos);
            let offset = u32::from(vcpu) * 64;
            let _ = self.channels.register_vcpu_info(VcpuId(vcpu), frame, offset).unwrap();
        }
        infos.zero();
        infos
    }

    pub fn status(&self, port: Port) -> Status {
        let mut status = Status { port, ..Status::default() };
        self.channels.status(&mut status).unwrap();
        status
    }

    pub fn state(&self, port: Port) -> EventStatus {
        EventStatus::from_number(self.status(port).status).unwrap()
    }

    /// Whether the 2-level form's pending bit is set.
    pub fn pending_bit(&self, port: Port) -> bool {
        let word = self.shared_info.word64(48 + port.0 as usize / 64 * 8).unwrap().load();
        word & 1 << (port.0 % 64) != 0
    }
}

/// Connects a new port of `local` to a new port of `remote`; returns both.
pub fn connect(local: &mut Domain, remote: &mut Domain) -> (Port, Port) {
    let offered = remote.channels.alloc_unbound(local.channels.domain()).unwrap();
    let mut ends = Ends::Two { local: &mut local.channels, remote: &mut remote.channels };
    let (port, _) = ends.bind_interdomain(offered).unwrap();
    (port, offered)
}

/// Delivers to a port of a guest.
pub fn deliver(domain: &mut Domain, peer: Peer) -> EventActions {
    match domain.channels.deliver(peer) {
        Delivery::Guest(effects) => effects,
        Delivery::Consumer(..) => panic!("the port is the hypervisor's"),
    }
}

/// Makes steps until nothing is left; returns the other ends that wait to be disconnected.
pub fn run_steps(
    channels: &mut EventChannels<Frame>,
    step: fn(&mut EventChannels<Frame>, &mut u32) -> Closing<Frame>,
) -> Vec<Peer> {
    let mut peers = Vec::new();
    for _ in 0..100_000 {
        match step(channels, &mut 3) {
            Closing::Disconnect(peer) => peers.push(peer),
            Closing::Release(frame) => drop(frame),
            Closing::Again => {}
            Closing::Done => return peers,
        }
    }
    panic!("the steps do not end");
}

/// The event word of a port.
pub fn word(array: &[Page], port: Port) -> xenolith_memory::page::Word<xenolith_hw::atomic::AtomicU32> {
    let (page, index) = (port.0 / WORDS_PER_PAGE, port.0 % WORDS_PER_PAGE);
    array[page as usize].word32(index as usize * 4).unwrap()
}
