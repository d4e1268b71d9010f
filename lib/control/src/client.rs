//! The blocking client of the command line and the console.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;
use weir_model::Role;

use crate::{
    Asked, Code, Filter, Greeting, Introduction, LineError, LineReader, REPLY_LIMIT, Reply,
    Request, SCHEMA, What,
};

/// Where the daemon listens when nothing else is said, in the order in which they are tried.
pub const DEFAULT_SOCKETS: [&str; 2] = ["/run/weir/operate.sock", "/run/weir/view.sock"];

/// A daemon that says nothing for this long is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// As long as a change may take: every worker makes its tables of a large configuration.
const PATIENCE_WITH_CHANGES: Duration = Duration::from_mins(1);

/// Says why the daemon could not be asked.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The socket cannot be connected to.
    #[error("cannot connect to {}: {}; {}", .path.display(), cause(.error), advice(.error))]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The connection broke.
    #[error("the connection to {} broke: {}; look at the log of `weir run`", .path.display(), cause(.error))]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The daemon said nothing for too long.
    #[error("{} did not answer within {} seconds; is `weir run` stopped or overloaded?", .path.display(), .patience.as_secs())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// How long it had.
        patience: Duration,
    },
    /// The daemon ended, or said nothing for too long, after it was asked for a change.
    #[error("{0}; whether the change was made is unknown: look at `weir show generations`")]
    Unknown(Box<Self>),
    /// Whatever listens there does not speak our protocol.
    #[error("{} does not speak weir's control protocol: {detail}", .path.display())]
    Foreign {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        detail: String,
    },
    /// The daemon speaks another schema.
    #[error("the daemon at {} is version {version} (schema {schema}), this program speaks schema {SCHEMA}; use the `weir` that runs there", .path.display())]
    Schema {
        /// The socket.
        path: PathBuf,
        /// The daemon's version.
        version: String,
        /// The daemon's schema.
        schema: u32,
    },
    /// The daemon refused.
    #[error("{text} ({})", .code.digits())]
    Refused {
        /// The reply code.
        code: Code,
        /// The daemon's sentence.
        text: String,
    },
}

/// A connection to the daemon.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: UnixStream,
    reader: LineReader,
    greeting: Greeting,
    patience: Duration,
}

impl Client {
    /// Connects to a socket and reads the greeting.
    ///
    /// # Errors
    /// Says what failed and what to try next.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let connect = |error| ClientError::Connect {
            path: path.to_owned(),
            error,
        };
        let stream = UnixStream::connect(path).map_err(connect)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(connect)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(connect)?;
        let mut client = Self {
            path: path.to_owned(),
            stream,
            reader: LineReader::new(REPLY_LIMIT),
            greeting: Greeting {
                code: Code::Greeting,
                schema: 0,
                role: String::new(),
                version: String::new(),
                node: String::new(),
            },
            patience: PATIENCE,
        };
        let line = client.read_line()?;
        client.greeting = serde_json::from_str(&line)
            .or_else(|_| client.refusal(&line))
            .and_then(|greeting: Greeting| {
                if greeting.code == Code::Greeting {
                    Ok(greeting)
                } else {
                    Err(client.foreign("the first line is no greeting"))
                }
            })?;
        if client.greeting.schema != SCHEMA {
            return Err(ClientError::Schema {
                path: path.to_owned(),
                version: client.greeting.version,
                schema: client.greeting.schema,
            });
        }
        Ok(client)
    }

    /// Connects to the first of several sockets that can be connected to.
    ///
    /// # Errors
    /// Returns the first socket's error when none can; of a socket that exists before that of one
    /// that does not.
    pub fn connect_first<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
    ) -> Result<Self, ClientError> {
        let mut worst: Option<ClientError> = None;
        for path in paths {
            match Self::connect(path.as_ref()) {
                Ok(client) => return Ok(client),
                Err(error) => {
                    if worst.as_ref().is_none_or(absent) && !(worst.is_some() && absent(&error)) {
                        worst = Some(error);
                    }
                }
            }
        }
        Err(worst.unwrap_or_else(|| ClientError::Connect {
            path: PathBuf::new(),
            error: io::Error::new(io::ErrorKind::InvalidInput, "no socket was named"),
        }))
    }

    /// Returns the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns what the daemon said first.
    #[must_use]
    pub fn greeting(&self) -> &Greeting {
        &self.greeting
    }

    /// Says who the person behind this client is. A daemon that does not know the request, or does
    /// not take our word for it, goes by our account; that is no error.
    ///
    /// # Errors
    /// Says what failed and what to try next.
    pub fn introduce(&mut self, said: &Introduction) -> Result<(), ClientError> {
        let mut rows = self.request(&Request::Hello(said.clone()))?;
        loop {
            match rows.next_row() {
                Ok(Some(_)) => {}
                Ok(None)
                | Err(ClientError::Refused {
                    code: Code::NotPermitted | Code::UnknownRequest,
                    ..
                }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request; the rows of the answer come one by one, so that an answer of any length
    /// needs little memory.
    ///
    /// # Errors
    /// Says what failed and what to try next.
    pub fn request(&mut self, request: &Request) -> Result<Rows<'_>, ClientError> {
        self.send(&request.to_line(), request.needs())
    }

    /// Sends a request that is meant for a configuration; the daemon refuses it where another one
    /// runs by then.
    ///
    /// # Errors
    /// Says what failed and what to try next.
    pub fn ask(&mut self, asked: &Asked) -> Result<Rows<'_>, ClientError> {
        self.send(&asked.to_line(), asked.request.needs())
    }

    fn send(&mut self, line: &str, needs: Role) -> Result<Rows<'_>, ClientError> {
        let changes = needs == Role::Operator;
        self.patience = if changes {
            PATIENCE_WITH_CHANGES
        } else {
            PATIENCE
        };
        let patience = Some(self.patience);
        let sent = self.stream.set_read_timeout(patience);
        let sent = sent.and_then(|()| self.stream.write_all(line.as_bytes()));
        sent.map_err(|error| self.broken(error))?;
        Ok(Rows {
            client: self,
            changes,
            over: false,
            count: 0,
        })
    }

    /// Asks for all rows of something at once.
    ///
    /// # Errors
    /// Says what failed and what to try next.
    pub fn show<T: DeserializeOwned>(
        &mut self,
        what: What,
        filter: Filter,
    ) -> Result<Vec<T>, ClientError> {
        let mut all = Vec::new();
        let mut rows = self.request(&Request::Show { what, filter })?;
        while let Some(row) = rows.next_row()? {
            match serde_json::from_value(row) {
                Ok(row) => all.push(row),
                Err(error) => {
                    return Err(self.foreign(&format!("a row cannot be read: {error}")));
                }
            }
        }
        Ok(all)
    }

    fn read_line(&mut self) -> Result<String, ClientError> {
        let mut piece = vec![0; 16 * 1024];
        loop {
            match self.reader.next_line() {
                Some(Ok(line)) => return Ok(line),
                Some(Err(error @ (LineError::TooLong { .. } | LineError::NotText))) => {
                    return Err(self.foreign(&error.to_string()));
                }
                None => {}
            }
            match self.stream.read(&mut piece) {
                Ok(0) => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it was closed");
                    return Err(self.broken(error));
                }
                Ok(length) => self.reader.push(piece.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// A daemon that cannot serve us says so instead of greeting.
    fn refusal(&self, line: &str) -> Result<Greeting, ClientError> {
        match serde_json::from_str::<Reply>(line) {
            Ok(Reply {
                code,
                text: Some(text),
                ..
            }) => Err(ClientError::Refused { code, text }),
            Ok(_) | Err(_) => Err(self.foreign("the first line is no greeting")),
        }
    }

    fn broken(&self, error: io::Error) -> ClientError {
        let path = self.path.clone();
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            let patience = self.patience;
            return ClientError::Silent { path, patience };
        }
        ClientError::Broken { path, error }
    }

    fn foreign(&self, detail: &str) -> ClientError {
        ClientError::Foreign {
            path: self.path.clone(),
            detail: detail.to_owned(),
        }
    }
}

/// The rows of an answer under way.
#[derive(Debug)]
pub struct Rows<'a> {
    client: &'a mut Client,
    changes: bool,
    over: bool,
    count: u64,
}

impl Rows<'_> {
    /// Waits for the next row; none at the end of the answer.
    ///
    /// # Errors
    /// Says what failed, or why the daemon refused.
    pub fn next_row(&mut self) -> Result<Option<serde_json::Value>, ClientError> {
        if self.over {
            return Ok(None);
        }
        let line = self.client.read_line().map_err(|error| {
            let ended = matches!(
                error,
                ClientError::Broken { .. } | ClientError::Silent { .. }
            );
            if ended && self.changes {
                return ClientError::Unknown(Box::new(error));
            }
            error
        })?;
        let reply: Reply = serde_json::from_str(&line).map_err(|error| {
            self.client
                .foreign(&format!("a line cannot be read: {error}"))
        })?;
        if let Some(row) = reply.row {
            self.count += 1;
            return Ok(Some(row));
        }
        self.over = true;
        if reply.code != Code::Done {
            return Err(ClientError::Refused {
                code: reply.code,
                text: reply
                    .text
                    .unwrap_or_else(|| reply.code.documentation().to_owned()),
            });
        }
        if reply.rows.is_some_and(|rows| rows != self.count) {
            return Err(self.client.foreign("rows of the answer are missing"));
        }
        Ok(None)
    }
}

fn absent(error: &ClientError) -> bool {
    matches!(error, ClientError::Connect { error, .. } if error.kind() == io::ErrorKind::NotFound)
}

/// The system's words without its number.
fn cause(error: &io::Error) -> String {
    for (kind, words) in [
        (io::ErrorKind::NotFound, "no such file"),
        (io::ErrorKind::PermissionDenied, "permission denied"),
        (io::ErrorKind::ConnectionRefused, "nobody listens there"),
    ] {
        if error.kind() == kind {
            return words.to_owned();
        }
    }
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}

fn advice(error: &io::Error) -> &'static str {
    if error.kind() == io::ErrorKind::PermissionDenied {
        return "become root or a member of the socket's group";
    }
    "is `weir run` running?"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rejection, WorkerRow};
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixListener;
    use std::thread::JoinHandle;
    use weir_model::Role;

    /// A daemon of one connection that answers each request line with the given text.
    fn daemon(name: &str, greeting: String, answers: Vec<String>) -> (PathBuf, JoinHandle<()>) {
        let path =
            std::env::temp_dir().join(format!("weir-control-{}-{name}.sock", std::process::id()));
        drop(std::fs::remove_file(&path));
        let listener = UnixListener::bind(&path).unwrap();
        let at = path.clone();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(greeting.as_bytes()).unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap());
            for answer in answers {
                let mut line = String::new();
                requests.read_line(&mut line).unwrap();
                Request::parse(line.trim_end()).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            drop(std::fs::remove_file(at));
        });
        (path, thread)
    }

    fn greeting() -> String {
        Greeting::new(Role::Viewer, "0.1.0", "lb1").to_line()
    }

    #[test]
    fn rows_are_read_until_the_end_line_and_the_connection_serves_again() {
        let row = |worker| {
            Reply::row(
                What::Workers,
                &WorkerRow {
                    worker,
                    ..WorkerRow::default()
                },
            )
            .to_line()
        };
        let answer = format!("{}{}{}", row(0), row(1), Reply::done(2).to_line());
        let (path, thread) = daemon("rows", greeting(), vec![answer.clone(), answer]);
        let mut client = Client::connect(&path).unwrap();
        assert_eq!(client.greeting().role, "viewer");
        for _ in 0..2 {
            let rows: Vec<WorkerRow> = client.show(What::Workers, Filter::default()).unwrap();
            assert_eq!(rows.iter().map(|r| r.worker).collect::<Vec<_>>(), [0, 1]);
        }
        thread.join().unwrap();
    }

    #[test]
    fn a_refusal_carries_the_daemons_sentence_and_code() {
        let refused = Reply::refused(&Rejection {
            code: Code::UnknownName,
            text: "there is no service `wbe`; did you mean `web`?".to_owned(),
        });
        let (path, thread) = daemon("refused", greeting(), vec![refused.to_line()]);
        let mut client = Client::connect(&path).unwrap();
        let error = client
            .show::<WorkerRow>(What::Sessions, Filter::default())
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "there is no service `wbe`; did you mean `web`? (8002)"
        );
        thread.join().unwrap();
    }

    #[test]
    fn a_missing_row_is_noticed() {
        let (path, thread) = daemon("short", greeting(), vec![Reply::done(1).to_line()]);
        let mut client = Client::connect(&path).unwrap();
        let error = client
            .show::<WorkerRow>(What::Workers, Filter::default())
            .unwrap_err();
        assert!(error.to_string().contains("rows of the answer are missing"));
        thread.join().unwrap();
    }

    #[test]
    fn a_daemon_that_ends_during_a_change_leaves_it_open_what_became_of_it() {
        let (path, thread) = daemon("ended", greeting(), vec![String::new()]);
        let mut client = Client::connect(&path).unwrap();
        let mut rows = client.request(&Request::Confirm {}).unwrap();
        let error = rows.next_row().unwrap_err().to_string();
        assert!(
            error.ends_with(
                "whether the change was made is unknown: look at `weir show generations`"
            ),
            "{error}"
        );
        thread.join().unwrap();
    }

    #[test]
    fn an_absent_socket_is_told_with_what_to_try() {
        let error = Client::connect(Path::new("/nonexistent/operate.sock")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot connect to /nonexistent/operate.sock: no such file; is `weir run` running?"
        );
    }

    #[test]
    fn a_socket_that_exists_is_told_about_rather_than_one_that_does_not() {
        let stale = std::env::temp_dir().join(format!("weir-stale-{}.sock", std::process::id()));
        drop(std::fs::remove_file(&stale));
        drop(UnixListener::bind(&stale).unwrap());
        let error =
            Client::connect_first([Path::new("/nonexistent/operate.sock"), &stale]).unwrap_err();
        std::fs::remove_file(&stale).unwrap();
        assert!(
            error.to_string().contains("nobody listens there"),
            "{error}"
        );
    }

    #[test]
    fn something_else_behind_the_socket_is_recognised() {
        let (path, thread) = daemon("ssh", "SSH-2.0-OpenSSH_9.2\r\n".to_owned(), vec![]);
        let error = Client::connect(&path).unwrap_err();
        assert!(error.to_string().contains("does not speak"), "{error}");
        thread.join().unwrap();
    }

    #[test]
    fn a_daemon_of_another_schema_is_told_by_its_version() {
        let mut other = Greeting::new(Role::Viewer, "9.0.0", "lb1");
        other.schema = SCHEMA + 1;
        let (path, thread) = daemon("schema", other.to_line(), vec![]);
        let error = Client::connect(&path).unwrap_err();
        assert!(error.to_string().contains("version 9.0.0"), "{error}");
        thread.join().unwrap();
    }
}
