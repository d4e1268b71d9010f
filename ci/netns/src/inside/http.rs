//! A bounded HTTP/1.1 client.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::socket::{Failures, connect_from, count, merge};

/// Pages to fetch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HttpGet {
    /// The server, or the service in front of it.
    pub target: SocketAddrV4,
    /// The path of the page.
    pub path: String,
    /// How many pages in all.
    pub count: u64,
    /// No more are begun once there is this file.
    pub until: Option<PathBuf>,
    /// How many at a time.
    pub concurrency: u16,
    /// Source addresses, used in turn; empty: the kernel's choice.
    pub sources: Vec<Ipv4Addr>,
    /// Whether a connection serves more than one page.
    pub keep_alive: bool,
    /// The least time between two pages of one connection, in milliseconds.
    pub pause_ms: u64,
    /// After this many seconds, what has not been tried counts as failed.
    pub within_s: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HttpReport {
    /// Pages with status 200 and their whole body.
    pub ok: u64,
    /// Pages that failed, by kind.
    pub failures: Failures,
    /// Pages by the server that signed them.
    pub servers: BTreeMap<String, u64>,
    /// The slowest page in milliseconds.
    pub slowest_ms: f64,
    /// The whole time in seconds.
    pub seconds: f64,
    /// The first 1000 client addresses and ports that were used.
    pub locals: Vec<SocketAddrV4>,
}

impl HttpReport {
    /// Returns the number of pages that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// The header in which the client says which address and port are its own.
pub const CLIENT_HEADER: &str = "X-Client:";
const LIMIT: Duration = Duration::from_secs(5);
const REMEMBERED: usize = 1000;

impl HttpGet {
    /// Fetches the pages and counts.
    #[must_use]
    pub fn run(&self) -> HttpReport {
        let started = Instant::now();
        let next = AtomicU64::new(0);
        let mut report = HttpReport::default();
        let reports: Vec<HttpReport> = thread::scope(|scope| {
            let threads: Vec<_> = (0..self.concurrency)
                .map(|_| scope.spawn(|| self.fetch(&next, started)))
                .collect();
            threads
                .into_iter()
                .filter_map(|thread| thread.join().ok())
                .collect()
        });
        for one in reports {
            report.ok += one.ok;
            merge(&mut report.failures, one.failures);
            merge(&mut report.servers, one.servers);
            report.slowest_ms = report.slowest_ms.max(one.slowest_ms);
            let room = REMEMBERED.saturating_sub(report.locals.len());
            report.locals.extend(one.locals.into_iter().take(room));
        }
        report.seconds = started.elapsed().as_secs_f64();
        report
    }

    /// Fetches pages until all have been handed out.
    fn fetch(&self, next: &AtomicU64, began: Instant) -> HttpReport {
        let mut report = HttpReport::default();
        let mut kept: Option<BufReader<TcpStream>> = None;
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.count || self.until.as_ref().is_some_and(|file| file.exists()) {
                return report;
            }
            if began.elapsed().as_secs() >= self.within_s {
                *report.failures.entry("not tried".to_owned()).or_default() += 1;
                continue;
            }
            let started = Instant::now();
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => match self.connect(number, &mut report) {
                    Ok(connection) => connection,
                    Err(error) => {
                        count(&mut report.failures, "connect", &error);
                        continue;
                    }
                },
            };
            match self.page(&mut connection) {
                Ok(page) => {
                    report.ok += 1;
                    *report.servers.entry(page.server).or_default() += 1;
                    kept = page.open.then_some(connection);
                }
                Err(error) => count(&mut report.failures, "page", &error),
            }
            report.slowest_ms = report.slowest_ms.max(started.elapsed().as_secs_f64() * 1e3);
            thread::sleep(Duration::from_millis(self.pause_ms));
        }
    }

    fn connect(&self, number: u64, report: &mut HttpReport) -> io::Result<BufReader<TcpStream>> {
        let turn = number
            .checked_rem(self.sources.len() as u64)
            .unwrap_or_default();
        let source = self.sources.get(turn as usize).copied();
        let stream = connect_from(source, self.target, LIMIT)?;
        if let (true, std::net::SocketAddr::V4(local)) =
            (report.locals.len() < REMEMBERED, stream.local_addr()?)
        {
            report.locals.push(local);
        }
        Ok(BufReader::new(stream))
    }

    fn page(&self, connection: &mut BufReader<TcpStream>) -> io::Result<Page> {
        let wish = if self.keep_alive {
            "keep-alive"
        } else {
            "close"
        };
        // Captures at the real servers compare this with the TOA.
        let local = connection.get_ref().local_addr()?;
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\n{CLIENT_HEADER} {local}\r\nConnection: {wish}\r\n\r\n",
            self.path, self.target
        );
        connection.get_mut().write_all(request.as_bytes())?;
        let mut line = String::new();
        connection.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !line.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(format!("answered {}", line.trim())));
        }
        let mut page = Page {
            server: "unsigned".to_owned(),
            open: self.keep_alive,
        };
        let mut length = None;
        loop {
            line.clear();
            connection.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = value.parse::<u64>().ok(),
                ("x-server", value) => value.clone_into(&mut page.server),
                ("connection", "close") => page.open = false,
                _ => {}
            }
        }
        let length = length.ok_or_else(|| io::Error::other("no content-length"))?;
        let read = io::copy(&mut connection.take(length), &mut io::sink())?;
        if read < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(page)
    }
}

struct Page {
    server: String,
    open: bool,
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn serve(answer: &'static [u8]) -> SocketAddrV4 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!()
        };
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                while stream.read_line(&mut line).is_ok_and(|_| line.trim() != "") {
                    line.clear();
                }
                stream.get_mut().write_all(answer).unwrap();
            }
        });
        address
    }

    fn get(target: SocketAddrV4) -> HttpReport {
        let path = "/".to_owned();
        let sources = vec![Ipv4Addr::LOCALHOST];
        HttpGet {
            target,
            path,
            count: 20,
            concurrency: 4,
            sources,
            keep_alive: false,
            pause_ms: 0,
            within_s: 20,
            until: None,
        }
        .run()
    }

    #[test]
    fn whole_pages_are_counted_by_server() {
        let report = get(serve(
            b"HTTP/1.1 200 OK\r\nX-Server: rs1\r\nContent-Length: 3\r\n\r\nabc",
        ));
        assert_eq!((report.ok, report.failed()), (20, 0), "{report:?}");
        assert_eq!(report.servers.get("rs1"), Some(&20));
        assert_eq!(report.locals.len(), 20);
    }

    #[test]
    fn short_body_is_a_failure() {
        let report = get(serve(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"));
        assert_eq!((report.ok, report.failed()), (0, 20), "{report:?}");
    }

    #[test]
    fn other_status_is_a_failure_that_names_it() {
        let report = get(serve(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!((report.ok, report.failed()), (0, 20), "{report:?}");
    }

    #[test]
    fn refused_connections_are_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let std::net::SocketAddr::V4(address) = listener.local_addr().unwrap() else {
            panic!()
        };
        drop(listener);
        let report = get(address);
        assert_eq!(
            report.failures.get("connect: connection refused"),
            Some(&20),
            "{report:?}"
        );
    }
}
