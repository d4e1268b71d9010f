//! What a bundle must not say.

use std::collections::BTreeSet;
use std::fs;
use std::sync::LazyLock;

/// What stands where something was left out.
const LEFT_OUT: &str = "(left out)";
/// Words in the names of keys whose values are nobody's business.
const SECRET_WORDS: &[&str] = &[
    "secret",
    "password",
    "passphrase",
    "token",
    "community",
    "auth",
];
/// Keys that name a program, perhaps with arguments.
const PROGRAMS: &[&str] = &["program", "quorum-up", "quorum-down"];
/// The key of what a check sends, which may log in somewhere.
const SENT: &str = "send";
/// Anything shorter would be found everywhere.
const SHORTEST: usize = 6;
/// Whatever is larger is no secret of ours.
const LARGEST: u64 = 64 << 10;

/// Leaves secrets out of texts. What was found in the configuration is left out of all others too.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    found: Vec<Vec<u8>>,
}

impl Redactor {
    /// Returns a line of a configuration as it may be shown.
    pub(super) fn line(&mut self, line: &str) -> String {
        let Some((before, value)) = line.split_once('=') else {
            return line.to_owned();
        };
        let key = before.trim_start_matches(['#', ' ']).trim();
        let value = value.trim();
        if PROGRAMS.contains(&key) {
            let (program, arguments) = value.split_once(' ').unwrap_or((value, ""));
            if arguments.is_empty() {
                return line.to_owned();
            }
            self.note(arguments);
            arguments
                .split_whitespace()
                .for_each(|one| self.note_pair(one));
            return format!("{before}= {program} {LEFT_OUT}");
        }
        if key == "get"
            && let Some((path, query)) = value.split_once('?')
        {
            self.note(query);
            query.split('&').for_each(|pair| self.note_pair(pair));
            return format!("{before}= {path}?{LEFT_OUT}");
        }
        if key == SENT {
            self.note(value);
            return format!("{before}= {LEFT_OUT}");
        }
        let is_secret = key == "key" || SECRET_WORDS.iter().any(|word| key.contains(word));
        if is_secret && value.starts_with('/') {
            self.note_file(value);
        } else if is_secret && !value.starts_with(|c: char| c.is_ascii_digit()) {
            self.note(value);
            return format!("{before}= {LEFT_OUT}");
        }
        line.to_owned()
    }

    /// Returns a text without anything that was found to be a secret.
    pub(super) fn text(&self, bytes: &[u8]) -> Vec<u8> {
        // Of two that begin alike the longer one first, or its end would be left.
        let mut found: Vec<&Vec<u8>> = self.found.iter().collect();
        found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let mut text = bytes.to_vec();
        for secret in found {
            text = without(&text, secret);
        }
        text
    }

    fn note(&mut self, secret: &str) {
        self.note_bytes(secret.as_bytes());
    }

    /// A value alone is as secret as with its name.
    fn note_pair(&mut self, pair: &str) {
        self.note(pair);
        if let Some((_, value)) = pair.split_once('=') {
            self.note(value);
        }
    }

    fn note_bytes(&mut self, secret: &[u8]) {
        // What our own words are says nothing, and would be missed wherever it stands.
        if secret.len() < SHORTEST || is_a_word_of_ours(secret) {
            return;
        }
        self.note_form(secret);
        // Answers are JSON, which writes some characters in another way.
        let text = serde_json::to_string(&String::from_utf8_lossy(secret)).unwrap_or_default();
        let inside = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        self.note_form(inside.unwrap_or_default().as_bytes());
    }

    fn note_form(&mut self, form: &[u8]) {
        if form.len() >= SHORTEST && !self.found.iter().any(|known| known == form) {
            self.found.push(form.to_vec());
        }
    }

    /// What is in a secret file stays out, however it came to be elsewhere.
    fn note_file(&mut self, path: &str) {
        let is_small = fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= LARGEST);
        if is_small && let Ok(bytes) = fs::read(path) {
            self.note_bytes(bytes.trim_ascii());
        }
    }
}

/// Says whether the reference of the configuration has the word.
fn is_a_word_of_ours(secret: &[u8]) -> bool {
    static WORDS: LazyLock<BTreeSet<Vec<u8>>> = LazyLock::new(|| {
        let reference = weir_conf::reference();
        let words = reference.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        words.map(|word| word.as_bytes().to_vec()).collect()
    });
    let name = secret.strip_prefix(b"--").unwrap_or(secret);
    WORDS.contains(name)
}

/// Says whether what stands here is the name of a value in JSON.
fn is_a_name(before: &[u8], behind: &[u8]) -> bool {
    before.ends_with(b"\"") && behind.starts_with(b"\":")
}

fn without(text: &[u8], secret: &[u8]) -> Vec<u8> {
    let mut left = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(secret.len()).position(|here| here == secret) {
        let (before, here) = rest.split_at(at);
        let (found, behind) = here.split_at(secret.len());
        left.extend_from_slice(before);
        if is_a_name(before, behind) {
            left.extend_from_slice(found);
        } else {
            left.extend_from_slice(LEFT_OUT.as_bytes());
        }
        rest = behind;
    }
    left.extend_from_slice(rest);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_of_the_configuration_are_left_out_of_it_and_of_everything_else() {
        let mut redactor = Redactor::default();
        for (line, shown) in [
            (
                "program         = /bin/check --password hunter22",
                "program         = /bin/check (left out)",
            ),
            (
                "get             = /healthz?user=me&token=swordfish",
                "get             = /healthz?(left out)",
            ),
            ("get             = /healthz", "get             = /healthz"),
            (
                "password        = correct-horse",
                "password        = (left out)",
            ),
            (
                "send            = 1-open-sesame",
                "send            = (left out)",
            ),
            ("secret-rotation = 15m", "secret-rotation = 15m"),
            (
                "secret-file     = /nowhere/cookie.key",
                "secret-file     = /nowhere/cookie.key",
            ),
            ("[service web]", "[service web]"),
            ("# idle          = 15m", "# idle          = 15m"),
        ] {
            assert_eq!(redactor.line(line), shown);
        }
        let event = "check failed: /bin/check --password hunter22 said: token=swordfish, swordfish to 1-open-sesame";
        let shown = String::from_utf8(redactor.text(event.as_bytes())).unwrap();
        assert_eq!(
            shown,
            "check failed: /bin/check (left out) said: (left out), (left out) to (left out)"
        );
    }

    #[test]
    fn secrets_that_begin_alike_or_have_quotes_are_left_out_as_a_whole() {
        let mut redactor = Redactor::default();
        for line in [
            "password = swordfish",
            "password = swordfish-and-more",
            "send = say \"friend\" \\ enter",
        ] {
            redactor.line(line);
        }
        let text = redactor.text(b"swordfish-and-more, swordfish");
        assert_eq!(text, b"(left out), (left out)");
        let json = serde_json::json!({ "text": "it said say \"friend\" \\ enter" }).to_string();
        let text = String::from_utf8(redactor.text(json.as_bytes())).unwrap();
        assert_eq!(text, "{\"text\":\"it said (left out)\"}");
    }

    #[test]
    fn words_of_our_own_and_names_of_values_stay() {
        let mut redactor = Redactor::default();
        redactor.line("program = /bin/check --timeout health generation open-sesame");
        let text = r#"{"generation":7,"text":"health of generation, open-sesame, timeout"}"#;
        let shown = String::from_utf8(redactor.text(text.as_bytes())).unwrap();
        let generation = if is_a_word_of_ours(b"generation") {
            "generation"
        } else {
            LEFT_OUT
        };
        assert_eq!(
            shown,
            format!(r#"{{"generation":7,"text":"health of {generation}, {LEFT_OUT}, timeout"}}"#)
        );
    }

    #[test]
    fn what_a_secret_file_holds_is_left_out_wherever_it_is() {
        let path = std::env::temp_dir().join(format!("weir-{}-redact.key", std::process::id()));
        fs::write(&path, "00112233445566778899aabbccddeeff\n").unwrap();
        let mut redactor = Redactor::default();
        redactor.line(&format!("secret-file = {}", path.display()));
        fs::remove_file(&path).unwrap();
        let text = redactor.text(b"key 00112233445566778899aabbccddeeff, and again 0011");
        assert_eq!(text, b"key (left out), and again 0011");
    }
}
