//! Images whose operations block, in threads: the device goes on answering its guest meanwhile.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use crate::core::device::IsOver;

use super::{Done, Engine, Geometry, Image, Job};

/// An engine of any image.
pub struct Workers {
    geometry: Geometry,
    jobs: Option<Sender<(Job, usize)>>,
    /// Counts how often jobs were abandoned: those of an earlier count are.
    epoch: Arc<AtomicUsize>,
    done: Receiver<Done>,
    wake: Arc<OwnedFd>,
    threads: Vec<JoinHandle<()>>,
    under_way: usize,
    is_over: Option<IsOver>,
    /// Jobs that were taken, less signals that were read: each job has one, which may come a little before or after. So
    /// with none under way it is what the descriptor has or will have.
    signals: u64,
}

impl Workers {
    /// Starts `count` threads, at least one, for `image`.
    ///
    /// # Errors
    /// No thread or no event descriptor is to be had.
    pub fn new(image: impl Image + 'static, count: usize) -> io::Result<Workers> {
        let geometry = image.geometry();
        let image = Arc::new(image);
        let wake = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?);
        let (jobs, source) = channel();
        let (sink, done) = channel();
        let source = Arc::new(Mutex::new(source));
        let epoch = Arc::new(AtomicUsize::new(0));
        let start = |_| {
            let (image, source, sink) = (Arc::clone(&image), Arc::clone(&source), sink.clone());
            let (wake, epoch) = (Arc::clone(&wake), Arc::clone(&epoch));
            Builder::new()
                .name("image".into())
                .spawn(move || serve(&*image, &source, &epoch, &sink, wake.as_fd()))
        };
        let threads = (0..count.max(1)).map(start).collect::<io::Result<Vec<_>>>()?;
        Ok(Workers {
            geometry,
            jobs: Some(jobs),
            epoch,
            done,
            wake,
            threads,
            under_way: 0,
            is_over: None,
            signals: 0,
        })
    }
}

impl Workers {
    fn took(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        self.signals = self.signals.wrapping_add(1);
    }
}

/// What a thread does until the engine goes.
fn serve(
    image: &dyn Image,
    source: &Mutex<Receiver<(Job, usize)>>,
    epoch: &AtomicUsize,
    sink: &Sender<Done>,
    wake: BorrowedFd<'_>,
) {
    loop {
        // One thread waits for a job with the lock, the others for the lock. It is free again at the statement's end:
        // others take jobs while this one is done.
        let next = source.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((Job { token, operation }, submitted)) = next else { return };
        // Only whether to go on depends on it, and no memory.
        let result = image.run_while(&operation, &|| epoch.load(Ordering::Relaxed) == submitted);
        // The guest's memory is let go before the job counts as done.
        drop(operation);
        // Before the signal: whoever is woken by it finds the job.
        if sink.send(Done { token, result }).is_err() {
            return;
        }
        // It can only fail when the counter is full, and then the descriptor is readable already.
        let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
    }
}

impl Engine for Workers {
    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn submit(&mut self, job: Job) {
        if let Some(jobs) = &self.jobs
            && jobs.send((job, self.epoch.load(Ordering::Relaxed))).is_ok()
        {
            self.under_way = self.under_way.saturating_add(1);
        }
    }

    fn start(&mut self) {}

    fn completed(&mut self, done: &mut Vec<Done>) {
        if self.under_way == 0 && self.signals == 0 {
            return;
        }
        // Emptied first: what comes afterwards makes it readable again.
        let mut count = [0; 8];
        if rustix::io::read(&*self.wake, &mut count).is_ok() {
            self.signals = self.signals.wrapping_sub(u64::from_ne_bytes(count));
        }
        while let Ok(one) = self.done.try_recv() {
            self.took();
            done.push(one);
        }
    }

    fn wait(&mut self, done: &mut Vec<Done>) {
        // One job is waited for: the next call looks again.
        if self.is_over.as_ref().is_some_and(|is_over| is_over()) {
            self.abandon();
        }
        if self.under_way > 0
            && let Ok(one) = self.done.recv()
        {
            self.took();
            done.push(one);
        }
        self.completed(done);
    }

    fn abandon(&mut self) {
        self.epoch.fetch_add(1, Ordering::Relaxed);
    }

    fn set_end(&mut self, is_over: IsOver) {
        self.is_over = Some(is_over);
    }

    fn wake(&self) -> Option<BorrowedFd<'_>> {
        Some(self.wake.as_fd())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.abandon();
        // Without a sender `recv` fails in each thread, once all jobs are taken.
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has let go of its job too.
            let _ = thread.join();
        }
    }
}
