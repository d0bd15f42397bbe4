//! what went wrong: a kind for code, a sentence for people
//!
//! The sentence says where, what, and what to do, in lower case and without a full stop. Code branches on the kind, never on the text.

use std::fmt;

/// The result of anything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of failure it is: enough to choose an exit code, an HTTP status, or whether to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What somebody wrote or sent is wrong; trying again will not help.
    Invalid,
    /// The thing that was named is not there.
    Missing,
    /// Not allowed: a token is missing or wrong, or the address may not be listened on.
    Forbidden,
    /// It contradicts what was sent before.
    Conflict,
    /// A limit was reached: time, memory, size, count.
    Limit,
    /// Not now: full, closing, or still starting; trying again later may help.
    Unavailable,
    /// Another process or plugin misbehaved: a trap, a broken answer, a replica that died.
    Foreign,
    /// The operating system refused: disk, network, process.
    Io,
    /// Our own mistake: an invariant did not hold.
    Internal,
}

/// A failure, with the sentence for people.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

impl Error {
    /// An error of this kind with this sentence.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error { kind, message: message.into() }
    }

    /// What somebody wrote is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Invalid, message)
    }

    /// An invariant of ours did not hold.
    pub fn internal(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Internal, message)
    }

    /// The operating system's answer to doing `what`.
    pub fn io(what: impl fmt::Display, error: std::io::Error) -> Self {
        Error::new(ErrorKind::Io, format!("{what}: {error}"))
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The same failure, told from further away: `where: sentence`.
    pub fn within(self, place: impl fmt::Display) -> Self {
        Error { kind: self.kind, message: format!("{place}: {}", self.message) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// What is wrong with one key of a table in a pipeline file.
#[derive(Clone, Debug)]
pub struct Fault {
    /// the key, from the table on: `timeout`, `targets.2` for the third of a list, empty for the table itself
    pub key: String,
    /// what, and what to write
    pub error: Error,
}

impl Fault {
    /// What somebody wrote for this key is wrong.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Fault { key: key.into(), error: Error::invalid(message) }
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        Error::internal(format!("columns do not fit together: {error}"))
    }
}

/// The nearest of the known names, for "did you mean".
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// `; did you mean `x`?`, or nothing where no known name is near.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}
