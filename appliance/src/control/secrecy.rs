//! Secrets stay in their files: nothing that is answered, said, sent or kept has one.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use weir_control::{Client, ClientError, ConfigText, Filter, Request, What};

use super::apply::tests::{CONF, Home, Played, wanted};

/// The keys that name a file whose content nobody may see.
const SECRET: [&str; 1] = ["synproxy.secret-file"];

/// Words that a key with a secret would have in its name.
const TELLING: [&str; 5] = ["secret", "password", "passphrase", "token", "private"];

fn conf(secret_file: &Path, receiver: &str) -> String {
    format!(
        "{}synproxy = edge\n[synproxy edge]\nmode = always\nsecret-file = {}\n\
         [syslog siem]\nserver = {receiver}\n",
        CONF.replace("[service web]", "[service web]\nsession-log = both"),
        secret_file.display()
    )
}

/// Every way in which a secret could be written down.
fn forms(text: &str, key: &[u8]) -> Vec<String> {
    let digit = |digit: u8| char::from_digit(digit.into(), 16).unwrap();
    let hex = |bytes: &[u8]| -> String {
        let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        digits.map(digit).collect()
    };
    let list = |bytes: &[u8]| format!("{bytes:?}").trim_matches(['[', ']']).to_owned();
    vec![
        text.to_owned(),
        hex(text.as_bytes()),
        hex(key),
        list(text.as_bytes()),
        list(key),
        list(key).replace(' ', ""),
    ]
}

/// Returns all that is answered, a refusal as well.
fn answer(client: &mut Client, request: &Request) -> String {
    let mut rows = client.request(request).unwrap();
    let mut all = String::new();
    loop {
        match rows.next_row() {
            Ok(Some(row)) => all += &row.to_string(),
            Ok(None) => return all,
            Err(ClientError::Refused { code, text }) => return format!("{all}{code:?}: {text}"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Everything that can be shown, by the names that the protocol has for it.
fn everything() -> Vec<What> {
    let told = serde_json::from_value::<What>(Value::from("?"));
    let told = told.unwrap_err().to_string();
    let names = told.split('`').skip(3).step_by(2);
    names
        .map(|name| serde_json::from_value(Value::from(name)).unwrap())
        .collect()
}

/// All that a client gets to see and all that is kept, in one text.
fn all_there_is(played: &mut Played, home: &Path, text: &str) -> String {
    let files = |text: &str| {
        vec![ConfigText {
            name: "other.conf".to_owned(),
            text: text.to_owned(),
        }]
    };
    let mut requests: Vec<Request> = everything()
        .into_iter()
        .map(|what| Request::Show {
            what,
            filter: Filter::default(),
        })
        .collect();
    assert!(requests.len() >= 12, "{requests:?}");
    for text in [text, CONF, "[service web]\nsecret-file = nowhere\n"] {
        let texts = files(text);
        requests.push(Request::Diff { texts });
    }
    let mut all = played.serve(move |client| {
        let answers = requests.iter().map(|request| answer(client, request));
        let answers = answers.collect::<String>();
        let (parts, archive) = crate::support::parts_of(client);
        let parts = parts.into_iter().map(|(_, bytes)| bytes).chain([archive]);
        let parts = parts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        answers + &parts.collect::<String>()
    });
    let running = format!("{:?}", played.control.scene.running);
    all += &running;
    for entry in fs::read_dir(home.join("state")).unwrap() {
        all += &fs::read_to_string(entry.unwrap().path()).unwrap_or_default();
    }
    all
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn every_key_that_names_a_secret_is_tried() {
    let told = weir_conf::keys().filter(|key| {
        let is_telling = TELLING.iter().any(|word| key.contains(word));
        // How often one changes is none.
        is_telling && !key.ends_with("-rotation")
    });
    assert_eq!(told.collect::<Vec<_>>(), SECRET);
}

#[test]
fn no_answer_no_event_no_message_and_no_file_has_a_secret() {
    let home = Home::new("secrecy");
    let siem = UdpSocket::bind("127.0.0.1:0").unwrap();
    siem.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let receiver = siem.local_addr().unwrap().to_string();
    let (file, short) = (
        home.path().join("cookie.key"),
        home.path().join("short.key"),
    );
    let secret = "a-horse-of-a-Recognisable-Colour-1234";
    write(&file, secret, 0o644);
    write(&short, "Recognisable", 0o600);
    let mut played = home.start();

    // One that others can read, one that is none, one that the daemon makes, and one that goes.
    let text = conf(&file, &receiver);
    played.apply(&text).unwrap();
    let key = |played: &Played| {
        let snapshot = &played.control.scene.running.snapshot;
        snapshot.services.get(0).unwrap().synproxy.master.0
    };
    let first = key(&played);
    let (_, refused) = played.apply(&conf(&short, &receiver)).unwrap_err();
    assert!(refused.contains("is no secret: it has 12"), "{refused}");
    let mut all = refused + &all_there_is(&mut played, home.path(), &conf(&short, &receiver));
    let made = home.path().join("made.key");
    played
        .ask(wanted(&conf(&made, &receiver), Some(60_000)))
        .unwrap();
    let second = key(&played);
    assert_ne!(first, second);
    let made_text = fs::read_to_string(&made).unwrap();
    all += &all_there_is(&mut played, home.path(), &text);
    played.ask(Request::Confirm {}).unwrap();
    fs::remove_file(&made).unwrap();
    fs::create_dir(&made).unwrap();
    all += &played.apply(&conf(&made, &receiver)).unwrap_err().1;

    let mut bytes = [0; 4096];
    while let Ok(len) = siem.recv(&mut bytes) {
        all += &String::from_utf8_lossy(bytes.get(..len).unwrap_or_default());
    }
    // Reports have lines of a certain length.
    let all = all.split_whitespace().collect::<Vec<_>>().join(" ");
    // It is the right place that was looked at.
    for known in [
        "secret-file",
        "cookie.key",
        "made.key",
        "is open to others",
        "not a regular",
        "<16",
    ] {
        assert!(all.contains(known), "nothing says {known}");
    }
    let forms = [forms(secret, &first), forms(made_text.trim(), &second)].concat();
    for form in forms.iter().chain([&"Recognisable".to_owned()]) {
        assert!(!all.contains(form.as_str()), "{form} is told");
    }
}
