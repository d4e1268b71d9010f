//! Pages: HTTP and HTTPS checks, fetched by a bounded pool of threads.
//!
//! The TCP handshake has been tried before, so that a real server that is silent costs no thread.

use std::cell::Cell;
use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustls::CertificateError;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use ureq::{Agent, Error};
use weir_model::{HttpCheck, TlsCheck};

use super::standing::{Answer, Cause, Outcome};
use crate::log;

/// Pages that are fetched at the same time.
const MOST_THREADS: usize = 256;
/// TLS needs some room; two million sessions need the rest.
const STACK: usize = 512 << 10;
/// How much of a page is looked at.
const MOST_BODY: u64 = 64 << 10;
/// Where systems keep the authorities that they trust.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

thread_local! {
    /// Where the page that this thread fetches is: the name in the URL is for the request and the
    /// certificate only.
    static AT: Cell<Option<SocketAddr>> = const { Cell::new(None) };
}

/// A page to be fetched.
#[derive(Debug)]
pub(super) struct Job<T> {
    /// Given back with the outcome.
    pub(super) ticket: T,
    pub(super) address: SocketAddr,
    pub(super) check: HttpCheck,
    pub(super) deadline: Instant,
}

/// The pool of threads; they end when it is dropped and their pages are there.
#[derive(Debug)]
pub(super) struct Fetchers<T> {
    jobs: Sender<Job<T>>,
    take: Receiver<Job<T>>,
    threads: usize,
    /// Jobs that were given out and are not done.
    open: Arc<AtomicUsize>,
    agents: Arc<Agents>,
}

impl<T: Send + 'static> Fetchers<T> {
    /// Makes a pool without threads; they come with the work.
    pub(super) fn new() -> Self {
        let (jobs, take) = unbounded();
        Self {
            jobs,
            take,
            threads: 0,
            open: Arc::default(),
            agents: Arc::default(),
        }
    }

    /// Reads files of certificates anew from now on.
    pub(super) fn forget(&self) {
        self.agents.lock().clear();
    }

    /// Has a page fetched; `done` is called by another thread with what became of it.
    pub(super) fn fetch(
        &mut self,
        job: Job<T>,
        done: impl Fn(T, Outcome) + Clone + Send + 'static,
    ) {
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        if open > self.threads && self.threads < MOST_THREADS {
            let (take, open, agents) = (self.take.clone(), self.open.clone(), self.agents.clone());
            let builder = thread::Builder::new().name("health-fetch".to_owned());
            let started = builder.stack_size(STACK).spawn(move || {
                while let Ok(job) = take.recv() {
                    let outcome = fetch(&agents, &job);
                    open.fetch_sub(1, Ordering::Relaxed);
                    done(job.ticket, outcome);
                }
            });
            self.threads += usize::from(started.is_ok());
        }
        // The receiver is ours, too.
        let _ = self.jobs.send(job);
    }
}

/// Clients by what they check; those that trust the same share what is known of certificates.
#[derive(Debug, Default)]
struct Agents(Mutex<Vec<(Option<TlsCheck>, Agent)>>);

impl Agents {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Option<TlsCheck>, Agent)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, tls: Option<&TlsCheck>) -> Result<Agent, String> {
        let mut agents = self.lock();
        if let Some((_, agent)) = agents.iter().find(|(of, _)| of.as_ref() == tls) {
            return Ok(agent.clone());
        }
        let agent = agent(tls)?;
        agents.push((tls.cloned(), agent.clone()));
        Ok(agent)
    }
}

fn agent(tls: Option<&TlsCheck>) -> Result<Agent, String> {
    let mut config = Config::builder()
        .proxy(None)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        // Names say nothing about where a connection leads, so none is used twice.
        .max_idle_connections(0)
        .max_idle_connections_per_host(0)
        .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")));
    if let Some(tls) = tls {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .disable_verification(!tls.verify);
        let roots = if tls.verify {
            roots(tls.ca_file.as_deref())?
        } else {
            Vec::new()
        };
        config = config.tls_config(
            builder
                .root_certs(RootCerts::new_with_certs(&roots))
                .build(),
        );
    }
    Ok(Agent::with_parts(
        config.build(),
        DefaultConnector::default(),
        Fixed,
    ))
}

/// Reads the authorities that are trusted.
fn roots(file: Option<&str>) -> Result<Vec<Certificate<'static>>, String> {
    let path = match file {
        Some(path) => path,
        None => BUNDLES
            .into_iter()
            .find(|path| fs::exists(path).unwrap_or(false))
            .ok_or("the system has no certificates of authorities; set `ca-file`")?,
    };
    let pem = fs::read(path).map_err(|error| format!("{path} cannot be read: {error}"))?;
    let mut roots = Vec::new();
    for item in parse_pem(&pem) {
        if let Ok(PemItem::Certificate(certificate)) = item {
            roots.push(certificate);
        }
    }
    if roots.is_empty() {
        return Err(format!("{path} holds no certificate"));
    }
    Ok(roots)
}

/// Leads every name to the real server that is being checked.
#[derive(Debug)]
struct Fixed;

impl Resolver for Fixed {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let at = AT.get().ok_or(Error::HostNotFound)?;
        let mut all = self.empty();
        all.push(at);
        Ok(all)
    }
}

fn fetch<T>(agents: &Agents, job: &Job<T>) -> Outcome {
    let left = job.deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Outcome::Silent;
    }
    let agent = match agents.of(job.check.tls.as_ref()) {
        Ok(agent) => agent,
        Err(sentence) => return Outcome::Unable(Cause::Said(sentence)),
    };
    AT.set(Some(job.address));
    match page(&agent, job, left) {
        Ok(()) => Outcome::Answered(Answer::default()),
        Err(Wrong::Late) => Outcome::Silent,
        Err(Wrong::Said(sentence)) => Outcome::Failed(Cause::Said(sentence)),
    }
}

/// What is wrong with a page.
enum Wrong {
    Late,
    Said(String),
}

fn page<T>(agent: &Agent, job: &Job<T>, left: Duration) -> Result<(), Wrong> {
    let check = &job.check;
    let request = agent.get(url(job.address, check));
    let request = request.header("connection", "close").config();
    let sent = request.timeout_global(Some(left)).build().call();
    let mut response = sent.map_err(|error| wrong(&error, job))?;
    let status = response.status().as_u16();
    let (first, last) = check.expect;
    if !(first..=last).contains(&status) {
        return Err(Wrong::Said(format!(
            "status {status}, where {first}-{last} is expected"
        )));
    }
    let Some(wanted) = &check.body else {
        return Ok(());
    };
    let mut body = Vec::new();
    let reader = response.body_mut().as_reader();
    let read = reader.take(MOST_BODY).read_to_end(&mut body);
    if is_within(&body, wanted) {
        return Ok(());
    }
    match read {
        Ok(_) => Err(Wrong::Said(format!(
            "status {status}, but the page does not contain `{}`",
            wanted.escape_ascii()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => Err(Wrong::Late),
        Err(error) => Err(Wrong::Said(format!("the page breaks off: {error}"))),
    }
}

/// Says whether bytes contain others.
pub(super) fn is_within(bytes: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || bytes.windows(wanted.len()).any(|part| part == wanted)
}

fn url(address: SocketAddr, check: &HttpCheck) -> String {
    let scheme = if check.tls.is_some() { "https" } else { "http" };
    match &check.host {
        Some(host) => format!("{scheme}://{host}{}", check.path),
        None => format!("{scheme}://{address}{}", check.path),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "ureq may add errors")]
fn wrong<T>(error: &Error, job: &Job<T>) -> Wrong {
    match error {
        Error::Timeout(_) => Wrong::Late,
        Error::Rustls(error) => Wrong::Said(tls_sentence(error, job)),
        Error::Io(error) => {
            let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref());
            match of_tls {
                Some(of_tls) => Wrong::Said(tls_sentence(of_tls, job)),
                None if error.kind() == std::io::ErrorKind::TimedOut => Wrong::Late,
                None if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    Wrong::Said("the connection ended before the page".to_owned())
                }
                None => Wrong::Said(log::words(error)),
            }
        }
        Error::Protocol(error) => Wrong::Said(format!("no HTTP: {error}")),
        other => Wrong::Said(other.to_string().to_lowercase()),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "rustls may add errors")]
fn tls_sentence<T>(error: &rustls::Error, job: &Job<T>) -> String {
    let wanted = match &job.check.host {
        Some(host) => host.clone(),
        None => job.address.ip().to_string(),
    };
    match error {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        }) => {
            let names: Vec<&str> = presented.iter().take(3).map(|name| plain(name)).collect();
            match names.as_slice() {
                [] => format!("the certificate has no name, and {wanted} is expected"),
                names => format!(
                    "the certificate is for {}, not for {wanted}",
                    names.join(" and ")
                ),
            }
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName) => {
            format!("the certificate is not for {wanted}")
        }
        // One whose issuer has the name of an authority, and not its key, is a stranger, too.
        rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => "the certificate is of an authority that is not trusted".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        ) => "the certificate has expired".to_owned(),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "the certificate is not valid yet".to_owned(),
        rustls::Error::InvalidMessage(_) => "the answer is not TLS".to_owned(),
        rustls::Error::AlertReceived(alert) => format!("TLS is refused: {alert:?}"),
        other => format!("TLS fails: {other}"),
    }
}

/// A name without what rustls says of its kind: `DnsName("a.example")` is `a.example`.
fn plain(name: &str) -> &str {
    let inside = name.split_once('(').map_or(name, |(_, inside)| inside);
    inside.trim_end_matches(')').trim_matches('"')
}

#[cfg(test)]
mod tests;
