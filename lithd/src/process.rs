//! The process of one device, as its supervisor has it: a pipe in each direction, and its end.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{self, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use lithd::cli::Processes;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::cgroup::{Group, Parent};
use crate::report::Report;

/// A process that is to stop and does not is killed after this: it may be waiting for a disk.
const GRACE: Duration = Duration::from_secs(10);
/// A process that has closed its pipe and does not end is killed after this.
const LINGER: Duration = Duration::from_secs(1);
/// The longest line that is read.
const LINE: usize = 4096;
/// Bytes that a pipe holds (pipe(7), "Pipe capacity").
const PIPE: usize = 64 << 10;

/// What happened to a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildEvent {
    /// It serves.
    Ready(String),
    /// It could not begin.
    Failed(String),
    /// It served, and does so no more.
    Gone(String),
    /// It is no more. Always the last.
    Ended,
}

/// How devices' processes are started.
pub struct Children {
    processes: Processes,
    groups: Option<Parent>,
}

/// A process.
pub struct Child {
    process: process::Child,
    /// Its control group, which goes with it.
    group: Option<Group>,
    /// The write end of its standard input: it serves until this is closed.
    life: Option<ChildStdin>,
    pipe: ChildStdout,
    text: Vec<u8>,
    log: ChildLog,
    deadline: Option<Instant>,
    /// It has closed its pipe: it is at its end.
    closed: bool,
}

/// What a process has said so far, to judge what its end means.
#[derive(Debug, Default)]
struct ChildLog {
    ready: bool,
    last: bool,
}

impl ChildLog {
    /// A line of the process.
    fn line(&mut self, line: &str) -> Option<ChildEvent> {
        match Report::parse(line)? {
            Report::Ready(text) => {
                self.ready = true;
                Some(ChildEvent::Ready(text))
            }
            Report::Failed(text) => {
                self.last = true;
                Some(if self.ready { ChildEvent::Gone(text) } else { ChildEvent::Failed(text) })
            }
        }
    }

    /// The end of the process, which was told to stop if `stopping`.
    fn end(&mut self, status: &str, stopping: bool) -> Option<ChildEvent> {
        if self.last || stopping {
            return None;
        }
        let text = format!("its process ended: {status}");
        Some(if self.ready { ChildEvent::Gone(text) } else { ChildEvent::Failed(text) })
    }
}

impl Children {
    /// As `processes` says, each in a control group of its own where that can be had.
    pub fn new(processes: Processes) -> Children {
        Children { processes, groups: Parent::open() }
    }

    /// Starts this program for a device that the arguments name.
    ///
    /// # Errors
    /// The system has no process to give.
    pub fn start(&self, arguments: &[&str]) -> io::Result<Child> {
        // This program as it runs, also if its file was replaced by another version meanwhile.
        let mut command = Command::new("/proc/self/exe");
        command.arg("device").args(arguments).args(self.processes.arguments()).env_clear();
        let mut child = Child::spawn(command)?;
        // It serves all the same without: shares are between devices, and no part of what confines it.
        let group = self.groups.as_ref().map(|groups| groups.take(child.id())).transpose();
        child.group = group.unwrap_or_else(|error| {
            log::warn!("process {} has no control group: {error}", child.id());
            None
        });
        Ok(child)
    }
}

impl Child {
    /// Starts a command that behaves as a device's process.
    ///
    /// # Errors
    /// The system has no process to give.
    pub fn spawn(mut command: Command) -> io::Result<Child> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (life, pipe) = (process.stdin.take(), process.stdout.take());
        let pipe = pipe.ok_or(io::ErrorKind::BrokenPipe)?;
        fcntl_setfl(&pipe, fcntl_getfl(&pipe)? | OFlags::NONBLOCK)?;
        Ok(Child {
            process,
            group: None,
            life,
            pipe,
            text: Vec::new(),
            log: ChildLog::default(),
            deadline: None,
            closed: false,
        })
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Becomes readable when it says something or closes it; `None` after that.
    pub fn pipe(&self) -> Option<BorrowedFd<'_>> {
        (!self.closed).then(|| self.pipe.as_fd())
    }

    /// Tells it to stop.
    pub fn stop(&mut self) {
        if self.life.take().is_some() {
            self.deadline = Instant::now().checked_add(GRACE);
        }
    }

    /// Whether its end is near, of which nothing tells: look now and then.
    pub fn is_ending(&self) -> bool {
        self.closed || self.life.is_none()
    }

    /// What it said since the last call, and whether it ended.
    pub fn drain_events(&mut self) -> Vec<ChildEvent> {
        let mut events = Vec::new();
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            // Nobody waits any more for what it has in hand.
            let _ = self.process.kill();
        }
        // Asked before the pipe is read: all that a process which has ended ever said is in it then.
        let ended = self.process.try_wait().ok().flatten();
        let rounds = if ended.is_some() { PIPE / LINE + 1 } else { 1 };
        for _ in 0..rounds {
            let said = self.read_lines(&mut events);
            if !said {
                break;
            }
        }
        if let Some(status) = ended {
            events.extend(self.log.end(&describe(status), self.life.is_none()));
            self.group = None;
            events.push(ChildEvent::Ended);
        }
        events
    }

    /// Reads a part of what is in the pipe, and takes the lines out of it. Returns whether there may be more.
    fn read_lines(&mut self, events: &mut Vec<ChildEvent>) -> bool {
        if self.closed {
            return false;
        }
        let before = self.text.len();
        if self.read() {
            self.closed = true;
            // One that has not come to its end by itself has no other way to tell.
            self.deadline.get_or_insert(Instant::now().checked_add(LINGER).unwrap_or_else(Instant::now));
        }
        let said = self.text.len() > before;
        while let Some(end) = self.text.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.text.drain(..=end).collect();
            events.extend(self.log.line(String::from_utf8_lossy(&line).trim_end()));
        }
        said && !self.closed
    }

    /// Reads what there is. Returns whether the pipe is closed.
    fn read(&mut self) -> bool {
        let mut bytes = [0; LINE];
        loop {
            match self.pipe.read(&mut bytes) {
                Ok(0) => return true,
                Ok(count) => self.text.extend(bytes.iter().take(count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
            if self.text.len() > LINE && !self.text.contains(&b'\n') {
                // No report is that long.
                self.text.clear();
            }
            // The caller takes the lines out before it reads more, so that the text stays short.
            if self.text.len() > LINE {
                return false;
            }
        }
    }
}

/// How a process ended, for people.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("killed by signal {signal}"),
        _ => "for an unknown reason".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a shell script to its end; returns what it said.
    fn events_of(script: &str, stop: bool) -> Vec<ChildEvent> {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        let mut child = Child::spawn(command).unwrap();
        let mut events = Vec::new();
        if stop {
            child.stop();
        }
        while events.last() != Some(&ChildEvent::Ended) {
            events.extend(child.drain_events());
            std::thread::sleep(Duration::from_millis(2));
        }
        events.pop();
        events
    }

    #[test]
    fn what_a_process_says_is_passed_on() {
        let ready = ChildEvent::Ready("serves".into());
        assert_eq!(
            events_of("echo failed no such file; exit 1", false),
            [ChildEvent::Failed("no such file".into())]
        );
        assert_eq!(
            events_of("exit 3", false),
            [ChildEvent::Failed("its process ended: exit status 3".into())]
        );
        assert_eq!(
            events_of("echo ready serves; echo noise; kill -9 $$", false),
            [ready.clone(), ChildEvent::Gone("its process ended: killed by signal 9".into())]
        );
        let both = [ready.clone(), ChildEvent::Gone("the disk broke".into())];
        assert_eq!(events_of("echo ready serves; echo failed the disk broke; exit 1", false), both);
        assert_eq!(events_of("echo ready serves; read line; exit 0", true), [ready]);
    }

    #[test]
    fn last_words_are_heard_behind_whatever_was_said_before() {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "yes noise | head -n 3000; echo failed the disk broke; exit 1"]);
        let mut child = Child::spawn(command).unwrap();
        // It ends before anybody listens: a zombie, whose pipe is full of more than one round reads.
        let stat = format!("/proc/{}/stat", child.id());
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(child.drain_events(), [ChildEvent::Failed("the disk broke".into()), ChildEvent::Ended]);
    }

    #[test]
    fn noise_is_bounded() {
        assert_eq!(events_of("head -c 100000 /dev/zero; echo; exit 0", false).len(), 1);
    }
}
