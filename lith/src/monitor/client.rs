//! A connection to the monitor's socket: one command and its answer, or the console.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::net::{RecvFlags, recv};

use super::command::{Answer, Command, line};
use super::hub::Tail;

/// The longest line that is taken as a command.
const MAX_LINE: usize = 512;

/// A connection.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    line: Vec<u8>,
    waiting: Tail,
    /// It is connected to the console.
    is_console: bool,
    /// It is answered when the guest has taken a request, or then.
    deadline: Option<Instant>,
    /// It ends when all was sent.
    is_last: bool,
    is_gone: bool,
}

/// Input from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Nothing to act on.
    Nothing,
    /// A command.
    Command(Command),
    /// Bytes for the guest's console.
    Typed(Vec<u8>),
}

impl Client {
    /// A connection that was just made. It must not block.
    pub fn new(stream: UnixStream) -> Client {
        Client {
            stream,
            line: Vec::new(),
            waiting: Tail::waiting(),
            is_console: false,
            deadline: None,
            is_last: false,
            is_gone: false,
        }
    }

    /// The connection, to wait for.
    pub fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Whether something waits to be sent.
    pub fn has_output(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        self.is_gone || self.is_last && self.waiting.is_empty()
    }

    /// Whether it is connected to the console.
    pub fn is_console(&self) -> bool {
        self.is_console
    }

    /// Lets it wait for its answer, until then at most.
    pub fn wait_until(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Until when it waits for its answer, if it does.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Reads what came, of typed bytes at most `room`.
    pub fn receive(&mut self, room: usize) -> Input {
        // It has given its command: what counts is whether it is still there.
        let limit = match (self.is_console, self.deadline) {
            (true, _) => room,
            (false, Some(_)) => 0,
            (false, None) => MAX_LINE,
        };
        let mut bytes = vec![0; limit];
        if limit == 0 {
            // What was typed waits, but somebody who has left is not waited for.
            let mut first = [0];
            self.is_gone |= matches!(recv(&self.stream, &mut first, RecvFlags::PEEK), Ok((_, 0)));
            return Input::Nothing;
        }
        match self.stream.read(&mut bytes) {
            Ok(0) => self.is_gone = true,
            Ok(count) => {
                bytes.truncate(count);
                return self.take(bytes);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.is_gone = true,
        }
        Input::Nothing
    }

    fn take(&mut self, bytes: Vec<u8>) -> Input {
        if self.is_console {
            return Input::Typed(bytes);
        }
        self.line.extend(bytes);
        let Some(end) = self.line.iter().position(|&byte| byte == b'\n') else {
            // Who connects may send bytes for ever: no more than a line is kept.
            if self.line.len() > MAX_LINE {
                self.answer(&Answer::Refused("a line that is too long".into()));
            }
            return Input::Nothing;
        };
        let command = self.line.get(..end).and_then(|line| serde_json::from_slice(line).ok());
        self.line.clear();
        match command {
            Some(command) => Input::Command(command),
            None => {
                self.answer(&Answer::Refused("no such command".into()));
                Input::Nothing
            }
        }
    }

    /// Answers its command; the connection ends with that.
    pub fn answer(&mut self, answer: &Answer) {
        self.waiting.push(&line(answer));
        self.deadline = None;
        self.is_last = true;
    }

    /// Gives it the console from now on, with what came before.
    pub fn connect(&mut self, backlog: &[u8]) {
        self.waiting.push(&line(&Answer::Done));
        self.waiting.push(backlog);
        self.is_console = true;
    }

    /// Gives it bytes of the console.
    pub fn print(&mut self, bytes: &[u8]) {
        if self.is_console {
            self.waiting.push(bytes);
        }
    }

    /// Sends what goes without waiting.
    pub fn flush(&mut self) {
        while !self.waiting.is_empty() && !self.is_gone {
            match self.stream.write(self.waiting.front()) {
                Ok(0) => self.is_gone = true,
                Ok(count) => self.waiting.consume(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_gone = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Client, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        (Client::new(ours), theirs)
    }

    fn heard(stream: &mut UnixStream) -> String {
        let mut bytes = vec![0; 1000];
        let count = stream.read(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..count]).into_owned()
    }

    #[test]
    fn a_command_may_come_in_pieces_and_is_answered() {
        let (mut client, mut user) = pair();
        assert_eq!(client.receive(0), Input::Nothing);
        user.write_all(b"{\"command\":").unwrap();
        assert_eq!(client.receive(0), Input::Nothing);
        user.write_all(b"\"reboot\"}\n").unwrap();
        assert_eq!(client.receive(0), Input::Command(Command::Reboot));
        client.answer(&Answer::Done);
        assert!(!client.is_gone());
        client.flush();
        assert!(client.is_gone());
        assert_eq!(heard(&mut user), "\"done\"\n");
    }

    #[test]
    fn nonsense_is_refused() {
        let (mut client, mut user) = pair();
        user.write_all(b"hello\n").unwrap();
        assert_eq!(client.receive(0), Input::Nothing);
        client.flush();
        assert_eq!(heard(&mut user), "{\"refused\":\"no such command\"}\n");
        assert!(client.is_gone());
    }

    #[test]
    fn a_client_that_waits_for_its_answer_is_noticed_when_it_leaves() {
        let (mut client, mut user) = pair();
        client.wait_until(Instant::now());
        user.write_all(b"more\n").unwrap();
        assert_eq!(client.receive(9), Input::Nothing);
        assert!(client.deadline().is_some() && !client.is_gone());
        client.answer(&Answer::Done);
        client.flush();
        assert!(client.deadline().is_none() && heard(&mut user) == "\"done\"\n");
        let (mut client, user) = pair();
        client.wait_until(Instant::now());
        drop(user);
        assert_eq!(client.receive(9), Input::Nothing);
        assert!(client.is_gone());
    }

    #[test]
    fn a_console_begins_with_what_came_before_and_takes_what_has_room() {
        let (mut client, mut user) = pair();
        client.print(b"unheard");
        client.connect(b"login: ");
        client.print(b"now");
        client.flush();
        assert_eq!(heard(&mut user), "\"done\"\nlogin: now");
        user.write_all(b"root\n").unwrap();
        assert_eq!(client.receive(0), Input::Nothing);
        assert_eq!(client.receive(2), Input::Typed(b"ro".to_vec()));
        assert_eq!(client.receive(9), Input::Typed(b"ot\n".to_vec()));
        user.write_all(b"more").unwrap();
        assert!(client.receive(0) == Input::Nothing && !client.is_gone());
        assert_eq!(client.receive(9), Input::Typed(b"more".to_vec()));
        drop(user);
        assert_eq!(client.receive(0), Input::Nothing);
        assert!(client.is_gone());
    }

    #[test]
    fn a_user_who_does_not_read_holds_nobody_up() {
        let (mut client, _user) = pair();
        client.connect(b"");
        for _ in 0..10_000 {
            client.print(&[b'x'; 2048]);
            client.flush();
        }
        assert!(!client.is_gone() && client.has_output());
    }
}
