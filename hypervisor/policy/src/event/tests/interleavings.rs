//! Producers and a guest that consumes, one access of the guest's at a time, in every order and with every value that the memory
//! of a real machine may show.

use std::sync::Arc;

use xenolith_hw::atomic::{AtomicBool, AtomicU32, Ordering};
use xenolith_hw::model::{explore, thread};

use super::consumer::{
    FifoCpu, Step, TwoLevelCpu, fifo_mask, fifo_unmask, two_level_mask, two_level_take, two_level_unmask,
};
use super::support::word;
use crate::event::{EventActions, EventChannels, Port, Sent, SharedFrame};
use xenolith_core::sync::Mutex;
use xenolith_core::types::{DomId, VcpuId};
use xenolith_memory::arena::page;
use xenolith_memory::page::Page;

const VCPU: VcpuId = VcpuId(0);
/// Where the 2-level form's bits stand in the shared info page.
const PENDING: usize = 48;
const MASK: usize = 560;

#[derive(Debug)]
struct Frame(Page);

impl SharedFrame for Frame {
    fn page(&self) -> Page {
        self.0
    }
}

/// The pages of a domain, which all runs use.
#[derive(Clone, Copy)]
struct Pages {
    shared_info: Page,
    control: Page,
    words: Page,
}

impl Pages {
    fn new() -> Self {
        Pages { shared_info: page(), control: page(), words: page() }
    }

    fn fifo(self) -> FifoCpu {
        FifoCpu::new(self.shared_info.byte(0).unwrap(), self.control, 0, vec![self.words])
    }

    fn two_level(self, ports: &[Port]) -> TwoLevelCpu {
        TwoLevelCpu::new((self.shared_info, 0), self.shared_info, ports)
    }
}

/// A domain with ports of its own.
struct Stage {
    pages: Pages,
    channels: Mutex<EventChannels<Frame>>,
    ports: Vec<Port>,
    /// The event interrupt of its vCPU.
    interrupt: AtomicBool,
    /// What a sender does before it sends, of each port; and what the handler finds.
    sent: Vec<AtomicU32>,
    seen: Vec<AtomicU32>,
}

impl Stage {
    fn new(pages: Pages, fifo: bool, ports: usize) -> Arc<Self> {
        for page in [pages.shared_info, pages.control, pages.words] {
            page.zero();
        }
        let mut channels = EventChannels::new(DomId(0), 1, 100, pages.shared_info).unwrap();
        if fifo {
            channels.init_control(VCPU, Frame(pages.control), 0).unwrap();
            let _ = channels.expand_array(Frame(pages.words)).unwrap();
        }
        let ports: Vec<Port> = (0..ports).map(|_| channels.bind_ipi(VCPU).unwrap()).collect();
        let numbers = || ports.iter().map(|_| AtomicU32::new(0)).collect();
        let stage = Stage {
            pages,
            channels: Mutex::new(channels),
            interrupt: AtomicBool::new(false),
            sent: numbers(),
            seen: numbers(),
            ports,
        };
        let stage = Arc::new(stage);
        stage.touch(fifo);
        stage
    }

    /// The model checker has to know the words before the threads begin.
    fn touch(&self, fifo: bool) {
        self.interrupt.load(Ordering::Relaxed);
        self.sent.iter().chain(&self.seen).for_each(|number| {
            number.load(Ordering::Relaxed);
        });
        let Pages { shared_info, control, words } = self.pages;
        shared_info.byte(0).unwrap().load();
        if fifo {
            control.word32(0).unwrap().load();
            control.word32(8 + 7 * 4).unwrap().load();
            self.ports.iter().for_each(|&port| {
                word(&[words], port).load();
            });
        } else {
            [8, PENDING, MASK].iter().for_each(|&at| {
                shared_info.word64(at).unwrap().load();
            });
        }
    }

    fn follow(&self, actions: EventActions) {
        if actions.notify.iter().next().is_some() {
            self.interrupt.store(true, Ordering::Release);
        }
    }

    /// Sends through a port, after a piece of news.
    fn send(&self, index: usize) {
        self.sent[index].fetch_add(1, Ordering::Relaxed);
        let sent = self.channels.lock().send(self.ports[index]).unwrap();
        let Sent::Here(actions) = sent else { panic!() };
        self.follow(actions);
    }

    fn unmask(&self, port: Port) {
        let actions = self.channels.lock().unmask(port).unwrap();
        self.follow(actions);
    }

    /// The guest's vCPU takes what there is, and goes on as long as it is interrupted.
    fn consume(&self, mut step: impl FnMut() -> Step) {
        loop {
            match step() {
                Step::Idle if self.interrupt.swap(false, Ordering::AcqRel) => {}
                Step::Idle => return,
                Step::Busy => {}
                Step::Handle(port) => {
                    let index = self.ports.iter().position(|&own| own == port).unwrap();
                    self.seen[index].store(self.sent[index].load(Ordering::Relaxed), Ordering::Relaxed);
                }
            }
        }
    }

    /// All that was sent has been seen.
    fn check(&self) {
        for (index, port) in self.ports.iter().enumerate() {
            let (sent, seen) =
                (self.sent[index].load(Ordering::Relaxed), self.seen[index].load(Ordering::Relaxed));
            assert_eq!(sent, seen, "{port:?}: an event is lost");
        }
    }
}

/// The guest takes what comes while the sender sends, and what is left after it.
fn consume_beside(stage: &Stage, fifo: bool, sender: thread::JoinHandle<()>) {
    let (mut queues, mut bits) = (stage.pages.fifo(), stage.pages.two_level(&stage.ports));
    let mut step = || if fifo { queues.step() } else { bits.step() };
    stage.consume(&mut step);
    sender.join().unwrap();
    stage.consume(&mut step);
    stage.check();
}

/// A sender sends through these ports while the guest consumes.
fn play(fifo: bool, ports: usize, sends: &'static [usize], preemptions: usize) {
    let pages = Pages::new();
    let runs = explore(Some(preemptions), move || {
        let stage = Stage::new(pages, fifo, ports);
        let sender = stage.clone();
        let sender = thread::spawn(move || sends.iter().for_each(|&index| sender.send(index)));
        consume_beside(&stage, fifo, sender);
    });
    assert!(runs > 100, "{runs}");
}

#[test]
fn fifo_an_event_that_comes_again_is_seen_again() {
    play(true, 1, &[0, 0], 3);
}

#[test]
fn fifo_a_port_is_linked_to_a_tail_that_is_being_consumed() {
    play(true, 2, &[0, 1], 3);
}

#[test]
fn two_level_an_event_that_comes_again_is_seen_again() {
    play(false, 1, &[0, 0], 3);
}

#[test]
fn two_level_two_ports_of_a_word_do_not_undo_each_other() {
    play(false, 2, &[0, 1], 3);
}

/// The guest masks its port in the handler and unmasks it afterwards, by the call where that is needed.
fn play_masked(fifo: bool) {
    let pages = Pages::new();
    let runs = explore(Some(3), move || {
        let stage = Stage::new(pages, fifo, 1);
        let port = stage.ports[0];
        match fifo {
            true => fifo_mask(&[pages.words], port),
            false => two_level_mask(pages.shared_info, port),
        }
        let sender = stage.clone();
        let sender = thread::spawn(move || sender.send(0));
        let is_to_call = !fifo || fifo_unmask(&[pages.words], port);
        if is_to_call {
            stage.unmask(port);
        }
        consume_beside(&stage, fifo, sender);
    });
    assert!(runs > 10, "{runs}");
}

#[test]
fn fifo_an_event_that_meets_an_unmasking_is_not_lost() {
    play_masked(true);
}

#[test]
fn two_level_an_event_that_meets_an_unmasking_is_not_lost() {
    play_masked(false);
}

/// The guest unmasks its port without a call, and looks at the pending bit itself.
#[test]
fn two_level_an_event_that_meets_a_guest_s_own_unmasking_is_not_lost() {
    let pages = Pages::new();
    let runs = explore(Some(3), move || {
        let stage = Stage::new(pages, false, 1);
        let port = stage.ports[0];
        two_level_mask(pages.shared_info, port);
        let sender = stage.clone();
        let sender = thread::spawn(move || sender.send(0));
        if two_level_unmask(pages.shared_info, port) {
            two_level_take(pages.shared_info, port);
            stage.seen[0].store(stage.sent[0].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        consume_beside(&stage, false, sender);
    });
    assert!(runs > 10, "{runs}");
}
