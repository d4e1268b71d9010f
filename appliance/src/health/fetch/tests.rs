//! Pages of servers on the loopback device, with a certificate authority of their own.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// How long anything may take on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_mins(1);

/// An authority, and the file that holds its certificate.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = format!("weir-fetch-{}-{name}.pem", std::process::id());
        let file = std::env::temp_dir().join(file);
        fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// The settings of a server with a certificate for a name.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }

    fn trusted(&self) -> TlsCheck {
        TlsCheck {
            ca_file: Some(self.file.display().to_string()),
            verify: true,
        }
    }
}

/// Serves an answer to every request and tells what was asked.
fn serve(tls: Option<Arc<ServerConfig>>, answer: &'static str) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = listener.local_addr().unwrap();
    let (asked, take) = unbounded();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream: TcpStream = stream.unwrap();
            let _ = match &tls {
                None => speak(stream, answer, &asked),
                Some(config) => {
                    let server = ServerConnection::new(config.clone()).unwrap();
                    speak(StreamOwned::new(server, stream), answer, &asked)
                }
            };
        }
    });
    (at, take)
}

fn speak(
    mut stream: impl Read + Write,
    answer: &str,
    asked: &Sender<String>,
) -> std::io::Result<()> {
    let mut request = String::new();
    let mut lines = BufReader::new(&mut stream);
    while lines.read_line(&mut request)? > 0 && !request.ends_with("\r\n\r\n") {}
    // Not every test looks.
    let _ = asked.send(request);
    stream.write_all(answer.as_bytes())?;
    stream.flush()
}

fn check(tls: Option<TlsCheck>, host: Option<&str>) -> HttpCheck {
    HttpCheck {
        tls,
        host: host.map(str::to_owned),
        path: "/healthz".to_owned(),
        expect: (200, 299),
        body: None,
    }
}

fn outcome(address: SocketAddr, check: &HttpCheck) -> Outcome {
    outcome_within(address, check, PATIENCE)
}

fn outcome_within(address: SocketAddr, check: &HttpCheck, patience: Duration) -> Outcome {
    let mut fetchers = Fetchers::new();
    let (done, take) = unbounded();
    let job = Job {
        ticket: 7,
        address,
        check: check.clone(),
        deadline: Instant::now() + patience,
    };
    fetchers.fetch(job, move |ticket, outcome| {
        done.send((ticket, outcome)).unwrap();
    });
    let (ticket, outcome) = take.recv_timeout(PATIENCE).unwrap();
    assert_eq!(ticket, 7);
    outcome
}

fn good() -> Outcome {
    Outcome::Answered(Answer::default())
}

fn bad(sentence: &str) -> Outcome {
    Outcome::Failed(Cause::Said(sentence.to_owned()))
}

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nready";

#[test]
fn a_page_is_asked_for_by_the_name_and_fetched_from_the_real_server() {
    let (at, asked) = serve(None, FINE);
    assert_eq!(outcome(at, &check(None, Some("www.example.net"))), good());
    let request = asked.recv().unwrap().to_lowercase();
    assert!(
        request.starts_with("get /healthz http/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("\r\nhost: www.example.net\r\n"),
        "{request}"
    );
    assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
    assert_eq!(outcome(at, &check(None, None)), good());
    let request = asked.recv().unwrap().to_lowercase();
    assert!(
        request.contains(&format!("\r\nhost: {at}\r\n")),
        "{request}"
    );
}

#[test]
fn status_and_body_must_be_what_is_expected_and_redirects_are_not_followed() {
    let (at, _) = serve(None, FINE);
    let with_body = |body: &str| HttpCheck {
        body: Some(body.as_bytes().to_vec()),
        ..check(None, None)
    };
    assert_eq!(outcome(at, &with_body("ead")), good());
    assert_eq!(
        outcome(at, &with_body("red")),
        bad("status 200, but the page does not contain `red`")
    );
    let (at, _) = serve(
        None,
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(
        outcome(at, &check(None, None)),
        bad("status 302, where 200-299 is expected")
    );
    let redirect = HttpCheck {
        expect: (302, 302),
        ..check(None, None)
    };
    assert_eq!(outcome(at, &redirect), good());
}

#[test]
fn a_server_that_says_nothing_is_late_and_one_that_speaks_something_else_is_told() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let at = silent.local_addr().unwrap();
    let patience = Duration::from_millis(200);
    assert_eq!(
        outcome_within(at, &check(None, None), patience),
        Outcome::Silent
    );
    let (at, _) = serve(None, "220 mail.example.net ESMTP\r\n");
    let Outcome::Failed(Cause::Said(sentence)) = outcome(at, &check(None, None)) else {
        panic!("that is no HTTP");
    };
    assert!(sentence.starts_with("no HTTP: "), "{sentence}");
}

#[test]
fn a_certificate_of_a_trusted_authority_for_the_right_name_is_success() {
    let authority = Authority::new("right");
    let (at, _) = serve(Some(authority.server("www.example.net")), FINE);
    let trusted = Some(authority.trusted());
    assert_eq!(
        outcome(at, &check(trusted, Some("www.example.net"))),
        good()
    );
}

#[test]
fn a_certificate_for_another_name_says_so() {
    let authority = Authority::new("wrong");
    let (at, _) = serve(Some(authority.server("www.example.net")), FINE);
    let trusted = Some(authority.trusted());
    assert_eq!(
        outcome(at, &check(trusted.clone(), Some("shop.example.net"))),
        bad("the certificate is for www.example.net, not for shop.example.net")
    );
    assert_eq!(
        outcome(at, &check(trusted, None)),
        bad("the certificate is for www.example.net, not for 127.0.0.1")
    );
    let unverified = TlsCheck {
        ca_file: None,
        verify: false,
    };
    assert_eq!(outcome(at, &check(Some(unverified), None)), good());
}

#[test]
fn an_authority_that_is_not_trusted_says_so_and_so_does_a_server_without_tls() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let (at, _) = serve(Some(theirs.server("www.example.net")), FINE);
    let https = check(Some(ours.trusted()), Some("www.example.net"));
    assert_eq!(
        outcome(at, &https),
        bad("the certificate is of an authority that is not trusted")
    );
    let (at, _) = serve(None, FINE);
    let Outcome::Failed(Cause::Said(sentence)) = outcome(at, &https) else {
        panic!("that is no TLS");
    };
    assert!(!sentence.is_empty());
}

#[test]
fn a_file_of_authorities_that_cannot_be_read_says_nothing_of_the_real_server() {
    let (at, _) = serve(None, FINE);
    let missing = TlsCheck {
        ca_file: Some("/nowhere/ca.pem".to_owned()),
        verify: true,
    };
    let Outcome::Unable(Cause::Said(sentence)) = outcome(at, &check(Some(missing), None)) else {
        panic!("it was read");
    };
    assert!(
        sentence.starts_with("/nowhere/ca.pem cannot be read"),
        "{sentence}"
    );
}
