//! What is done with nodes, by themselves or in a transaction.

use rustix::io::Errno;

use crate::wire::{MAX_PAYLOAD, kind, payload, words};
use crate::{Error, MAX_PATH, Permissions};

/// Parts of a list that are asked for at most: a node with more below it than that is not listed.
const MAX_PARTS: usize = 4096;
/// How often a list that changes while it is read is read again.
const MAX_RESTARTS: usize = 16;

/// A request, before it has a number.
#[derive(Debug)]
pub struct Request<'a> {
    pub(crate) kind: u32,
    /// For people: what is done with `path`.
    pub(crate) action: &'static str,
    pub(crate) path: &'a str,
    words: Vec<&'a str>,
    /// What comes behind the words.
    value: &'a [u8],
}

impl<'a> Request<'a> {
    pub(crate) fn of(kind: u32, action: &'static str, path: &'a str, words: &[&'a str]) -> Request<'a> {
        Request { kind, action, path, words: words.to_vec(), value: &[] }
    }

    /// The bytes of the message.
    ///
    /// # Errors
    /// [`Error::Unfit`]
    pub(crate) fn payload(&self) -> Result<Vec<u8>, Error> {
        let unfit = |what| Err(Error::Unfit { what, path: self.path.to_owned() });
        if self.words.iter().any(|word| word.contains('\0')) {
            return unfit("a name with a zero byte");
        }
        if self.path.len() > MAX_PATH {
            return unfit("a path of more than 3072 bytes");
        }
        let mut bytes = payload(self.words.iter().copied());
        bytes.extend_from_slice(self.value);
        if bytes.len() > MAX_PAYLOAD { unfit("more than 4096 bytes in one message") } else { Ok(bytes) }
    }

    /// An answer that is one word.
    ///
    /// # Errors
    /// [`Error::Value`]
    pub(crate) fn one_word(&self, payload: &[u8]) -> Result<String, Error> {
        let mut words = words(payload).map_err(|broken| self.value(broken.0))?;
        match (words.next(), words.next()) {
            (Some(word), None) => Ok(word.to_owned()),
            _ => Err(self.value("not just one word")),
        }
    }

    /// An answer that makes no sense.
    pub(crate) fn value(&self, what: &str) -> Error {
        Error::Value { path: self.path.to_owned(), what: what.to_owned() }
    }
}

/// A way to the nodes of a store. A path that does not begin with `/` begins at the own domain's nodes.
pub trait Nodes {
    /// Sends a request; returns the payload of the answer.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn request(&mut self, request: &Request<'_>) -> Result<Vec<u8>, Error>;

    /// The value of a node.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, Error> {
        self.request(&Request::of(kind::READ, "read", path, &[path]))
    }

    /// The value of a node that is a text.
    ///
    /// # Errors
    /// As [`Nodes::read`]; [`Error::Value`]: it is no UTF-8.
    fn read_text(&mut self, path: &str) -> Result<String, Error> {
        String::from_utf8(self.read(path)?)
            .map_err(|_| Error::Value { path: path.to_owned(), what: "is no text".to_owned() })
    }

    /// The value of a node, or none if there is no such node.
    ///
    /// # Errors
    /// As [`Nodes::read_text`].
    fn find_text(&mut self, path: &str) -> Result<Option<String>, Error> {
        present(self.read_text(path))
    }

    /// The names of the nodes right below one.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost; [`Error::Value`]: there are too many, or they change too often.
    fn directory(&mut self, path: &str) -> Result<Vec<String>, Error> {
        let request = Request::of(kind::DIRECTORY, "list", path, &[path]);
        match self.request(&request) {
            Ok(payload) => {
                let names = words(&payload).map_err(|broken| request.value(broken.0))?;
                Ok(names.map(str::to_owned).collect())
            }
            Err(error) if error.errno() == Some(Errno::TOOBIG) => in_parts(self, path),
            Err(error) => Err(error),
        }
    }

    /// The names of the nodes right below one, or none if there is no such node.
    ///
    /// # Errors
    /// As [`Nodes::directory`].
    fn find_directory(&mut self, path: &str) -> Result<Vec<String>, Error> {
        Ok(present(self.directory(path))?.unwrap_or_default())
    }

    /// Writes a node; those above it are made if they are not there.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn write(&mut self, path: &str, value: &[u8]) -> Result<(), Error> {
        let request = Request { value, ..Request::of(kind::WRITE, "write", path, &[path]) };
        self.request(&request).map(drop)
    }

    /// Makes a node without a value, unless it is there.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn make(&mut self, path: &str) -> Result<(), Error> {
        self.request(&Request::of(kind::MKDIR, "make", path, &[path])).map(drop)
    }

    /// Removes a node and all below it.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn remove(&mut self, path: &str) -> Result<(), Error> {
        self.request(&Request::of(kind::RM, "remove", path, &[path])).map(drop)
    }

    /// Who may use a node.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost; [`Error::Value`]: it says what is no permission.
    fn permissions(&mut self, path: &str) -> Result<Permissions, Error> {
        let request = Request::of(kind::GET_PERMS, "read who may use", path, &[path]);
        let payload = self.request(&request)?;
        let words = words(&payload).map_err(|broken| request.value(broken.0))?;
        Permissions::from_words(words).map_err(|error| request.value(&error.to_string()))
    }

    /// Says who may use a node.
    ///
    /// # Errors
    /// The store refuses, or the connection is lost.
    fn set_permissions(&mut self, path: &str, permissions: &Permissions) -> Result<(), Error> {
        let list = permissions.to_words();
        let words: Vec<&str> = std::iter::once(path).chain(list.iter().map(String::as_str)).collect();
        self.request(&Request::of(kind::SET_PERMS, "say who may use", path, &words)).map(drop)
    }
}

/// A node that need not be there.
fn present<T>(result: Result<T, Error>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}

/// A list that is too long for one message. It is read anew when it changes meanwhile, of which a number tells.
fn in_parts(nodes: &mut (impl Nodes + ?Sized), path: &str) -> Result<Vec<String>, Error> {
    let (mut names, mut state) = (String::new(), None);
    let mut restarts = 0;
    for _ in 0..MAX_PARTS {
        // The offset is one in the list of names with their zero bytes, as they came.
        let offset = names.len().to_string();
        let list = [path, offset.as_str()];
        let request = Request::of(kind::DIRECTORY_PART, "list", path, &list);
        let payload = nodes.request(&request)?;
        let text = std::str::from_utf8(&payload).map_err(|_| request.value("names that are no UTF-8"))?;
        let (now, part) = text.split_once('\0').ok_or_else(|| request.value("a list without its state"))?;
        if state.as_deref().is_some_and(|before| before != now) {
            restarts += 1;
            if restarts > MAX_RESTARTS {
                return Err(request.value("its list changes all the time"));
            }
            (names, state) = (String::new(), None);
            continue;
        }
        state = Some(now.to_owned());
        // The last part has one more zero byte at its end.
        let last = part.is_empty() || part.ends_with("\0\0") || part == "\0";
        names.push_str(part);
        if last {
            let names = names.split('\0').filter(|name| !name.is_empty());
            return Ok(names.map(str::to_owned).collect());
        }
    }
    Err(Error::Value { path: path.to_owned(), what: "has more nodes below it than are listed".to_owned() })
}
