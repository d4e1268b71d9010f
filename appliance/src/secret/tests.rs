//! Secret files as operators leave them.

use std::fmt::Write as _;

use super::*;

const FALLBACK: MasterKey = MasterKey(*b"made at start...");

/// A folder of the test's own.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("weir-secret-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A service for each profile: its mode and the secret file.
fn snapshot(profiles: &[(&str, Option<&str>)]) -> Snapshot {
    let mut text = "[port wan]\ndevice = wan\naddress = 10.80.0.1/24\n\
                    [lip-pool blue]\nport = wan\naddress = 10.80.0.200\n"
        .to_owned();
    for (at, (mode, path)) in profiles.iter().enumerate() {
        let file = path.map(|path| format!("secret-file = {path}\n"));
        let _ = write!(
            text,
            "[synproxy p{at}]\nmode = {mode}\n{}[service s{at}]\n\
             listen = 10.80.0.100:{}/tcp\nlip-pool = blue\nsynproxy = p{at}\n\
             real = 10.80.0.11:80\n",
            file.unwrap_or_default(),
            at + 1,
        );
    }
    let loaded = weir_conf::parse_str("test.conf", &text, None);
    loaded
        .map_err(|report| panic!("{report}"))
        .unwrap()
        .snapshot
}

fn masters(snapshot: &Snapshot) -> Vec<MasterKey> {
    let services = snapshot.services.iter();
    services.map(|service| service.synproxy.master).collect()
}

fn refusal(content: &[u8]) -> String {
    key_of(content).unwrap_err()
}

#[test]
fn the_key_is_the_first_half_of_the_sha_256_of_the_secret() {
    let expected = [
        0x66, 0x68, 0x7a, 0xad, 0xf8, 0x62, 0xbd, 0x77, 0x6c, 0x8f, 0xc1, 0x8b, 0x8e, 0x9f, 0x8e,
        0x20,
    ];
    assert_eq!(key_of(&[0; 32]).unwrap().0, expected);
    assert_eq!(key_of(&[b'0'; 64]).unwrap().0, expected);
}

#[test]
fn hex_digits_mean_the_same_in_either_case_and_with_blanks_around() {
    let plain = key_of(b"00112233445566778899aabbccddeeff").unwrap();
    for text in [
        &b"00112233445566778899aabbccddeeff\n"[..],
        b"  00112233445566778899AABBCCDDEEFF\r\n\n",
    ] {
        assert_eq!(key_of(text), Ok(plain));
    }
    assert_ne!(key_of(b"00112233445566778899aabbccddeefe"), Ok(plain));
}

#[test]
fn other_text_loses_its_last_line_end_and_random_bytes_lose_nothing() {
    let text = key_of(b"correct horse battery staple").unwrap();
    assert_eq!(key_of(b"correct horse battery staple\n"), Ok(text));
    let bytes = *b"\xff234567890123456";
    let mut longer = bytes.to_vec();
    longer.push(b'\n');
    assert_ne!(key_of(&longer), key_of(&bytes));
    // Sixteen random bytes are enough whatever the last one is.
    assert!(key_of(b"\xff23456789012345\n").is_ok());
}

#[test]
fn what_is_too_short_or_broken_is_told_by_what_it_has() {
    assert_eq!(refusal(b""), "it is empty");
    assert_eq!(refusal(b" \n"), "it is empty");
    assert_eq!(refusal(b"fifteen bytes.."), "it has 15 of 16 bytes");
    assert_eq!(
        refusal(b"0123456789abcdef0123456789abcde\n"),
        "it has 31 of 32 hex digits"
    );
    assert_eq!(
        refusal(&[b'a'; 65]),
        "it has 65 hex digits, and two make a byte"
    );
    assert_eq!(refusal(&vec![7; 65_537]), "it is larger than 64 KiB");
    assert!(key_of(&vec![7; 65_536]).is_ok());
}

#[test]
fn services_get_the_key_of_their_file_or_the_fallback() {
    let folder = Folder::new("fill");
    let (one, two) = (
        folder.write("one.key", &[1; 16]),
        folder.write("two.key", &[2; 16]),
    );
    let mut filled = snapshot(&[
        ("adaptive", Some(&one)),
        ("always", Some(&two)),
        ("always", Some(&one)),
        ("always", None),
        ("off", Some(&one)),
    ]);
    assert_eq!(fill(&mut filled, &FALLBACK).unwrap(), Vec::<String>::new());
    let (one, two) = (derive(&[1; 16]), derive(&[2; 16]));
    assert_eq!(masters(&filled), [one, two, one, FALLBACK, FALLBACK]);
}

#[test]
fn a_missing_file_is_made_once_for_its_owner_alone_and_read_ever_after() {
    let folder = Folder::new("create");
    let path = folder.path("cookie.key");
    let profiles = [("adaptive", Some(path.as_str())), ("always", Some(&path))];
    let mut first = snapshot(&profiles);
    let lines = fill(&mut first, &FALLBACK).unwrap();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].starts_with(&format!("made {path}; copy it to every other Weir")));
    assert_eq!(folder.names(), ["cookie.key"]);
    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.trim_end().len(), 64);
    assert!(text.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()));

    // After a restart, and on a peer with a copy.
    let mut second = snapshot(&profiles);
    assert!(fill(&mut second, &MasterKey([9; 16])).unwrap().is_empty());
    assert_eq!(masters(&second), masters(&first));
    assert_eq!(masters(&first)[0], masters(&first)[1]);
    assert_ne!(masters(&first)[0], FALLBACK);

    // Another file is another secret.
    let other = folder.path("other.key");
    let mut third = snapshot(&[("always", Some(&other))]);
    fill(&mut third, &FALLBACK).unwrap();
    assert_ne!(masters(&third)[0], masters(&first)[0]);
}

#[test]
fn a_file_that_cannot_be_made_is_an_error_with_path_and_cause() {
    let folder = Folder::new("unmade");
    let path = folder.path("nowhere/cookie.key");
    let mut snapshot = snapshot(&[("always", Some(&path))]);
    let error = fill(&mut snapshot, &FALLBACK).unwrap_err();
    assert_eq!(
        format!("{error:#}"),
        format!("cannot make {path}: no such file or directory")
    );
    assert!(folder.names().is_empty());
}

#[test]
fn a_bad_file_is_an_error_with_path_and_cause_and_is_left_as_it_is() {
    let folder = Folder::new("bad");
    let path = folder.write("cookie.key", b"short\n");
    let mut filled = snapshot(&[("always", Some(&path))]);
    let error = fill(&mut filled, &FALLBACK).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{path} is no secret: it has 5 of 16 bytes; write 32 hex digits or more, or \
             remove it to have one made"
        )
    );
    assert_eq!(fs::read(&path).unwrap(), b"short\n");
}

#[test]
fn a_check_tells_every_bad_file_once_and_makes_none() {
    let folder = Folder::new("check");
    let short = folder.write("short.key", b"short\n");
    let missing = folder.path("missing.key");
    let directory = folder.0.display().to_string();
    let findings = check(&snapshot(&[
        ("adaptive", Some(&short)),
        ("always", Some(&short)),
        ("always", Some(&missing)),
        ("always", Some(&directory)),
        ("always", Some("/dev/zero")),
        ("off", Some(&short)),
    ]));
    let sentences: Vec<&str> = findings
        .mistakes
        .iter()
        .map(|mistake| mistake.sentence.as_str())
        .collect();
    assert_eq!(
        sentences,
        [
            "/dev/zero is not a regular file".to_owned(),
            format!("{directory} is not a regular file"),
            format!("{short} is no secret: it has 5 of 16 bytes"),
        ]
    );
    assert_eq!(folder.names(), ["short.key"]);
    assert_eq!(
        check(&snapshot(&[("off", Some(&short))])),
        Findings::default()
    );
}

#[test]
fn a_pipe_is_refused_without_waiting_for_a_writer() {
    let folder = Folder::new("pipe");
    let path = folder.path("cookie.key");
    nix::unistd::mkfifo(path.as_str(), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let findings = check(&snapshot(&[("always", Some(&path))]));
    assert_eq!(
        findings.mistakes[0].sentence,
        format!("{path} is not a regular file")
    );
}

#[test]
fn a_file_that_others_can_read_is_used_with_a_warning() {
    let folder = Folder::new("open");
    let path = folder.write("cookie.key", &[1; 16]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let warning =
        format!("warning: {path} is open to others than its owner (mode 0644); `chmod 600` it");
    let mut snapshot = snapshot(&[("always", Some(&path))]);
    let found = check(&snapshot).warnings;
    let told: Vec<String> = found.iter().map(|it| format!("warning: {it}")).collect();
    assert_eq!(told, [warning.as_str()]);
    assert_eq!(fill(&mut snapshot, &FALLBACK).unwrap(), [warning]);
    assert_eq!(masters(&snapshot), [derive(&[1; 16])]);
}

#[test]
fn a_secret_file_that_could_not_be_made_is_warned_of_before_the_start_fails() {
    let snapshot = snapshot(&[("always", Some("/nonexistent/weir/cookie.key"))]);
    let found = check(&snapshot);
    assert!(found.mistakes.is_empty());
    assert_eq!(
        found.warnings[0].to_string(),
        "there is no folder /nonexistent/weir to make /nonexistent/weir/cookie.key in; \
         weir would not start; `mkdir -p /nonexistent/weir`"
    );
}
