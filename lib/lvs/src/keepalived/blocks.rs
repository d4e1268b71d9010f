//! A keepalived.conf as statements and blocks, with their places.

use std::sync::Arc;

use crate::note::{Notes, Place, quote};

/// Blocks are not nested deeper.
const DEEPEST: usize = 32;
/// Files do not include each other deeper, e.g. in a circle.
const DEEPEST_INCLUDE: usize = 16;
/// So many files are read at most.
const MOST_FILES: usize = 4096;

/// Reads files that a file includes.
pub trait Files {
    /// Returns the files that a pattern means, with their names, as seen from a file.
    ///
    /// # Errors
    /// Says why there are none.
    fn read(&self, pattern: &str, from: &str) -> Result<Vec<(String, String)>, String>;
}

/// Has no files.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&self, _pattern: &str, _from: &str) -> Result<Vec<(String, String)>, String> {
        Err("files cannot be included here".to_owned())
    }
}

/// One line: words, perhaps with a block behind them.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub(super) place: Place,
    pub(super) words: Vec<String>,
    pub(super) block: Option<Vec<Self>>,
}

impl Statement {
    /// Returns the first word.
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns a word behind the keyword, from 1.
    pub(super) fn word(&self, index: usize) -> Option<&str> {
        self.words.get(index).map(String::as_str)
    }

    /// Returns the statements of the block; none where there is no block.
    pub(super) fn inside(&self) -> &[Self] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Reads a file with those that it includes.
pub(super) fn read(name: &str, text: &str, files: &dyn Files, notes: &mut Notes) -> Vec<Statement> {
    let mut reader = Reader {
        files,
        notes,
        left: MOST_FILES,
        stopped: false,
    };
    reader.file(name, text, 0)
}

struct Reader<'a> {
    files: &'a dyn Files,
    notes: &'a mut Notes,
    left: usize,
    /// Whether reading on would be in vain.
    stopped: bool,
}

/// What has been opened and not closed yet.
#[derive(Default)]
struct Level {
    done: Vec<Statement>,
    /// The words of the line so far.
    words: Vec<String>,
    place: Option<Place>,
}

impl Reader<'_> {
    fn file(&mut self, name: &str, text: &str, depth: usize) -> Vec<Statement> {
        let file: Arc<str> = name.into();
        let mut levels = vec![Level::default()];
        for (index, line) in text.lines().enumerate() {
            if self.stopped {
                break;
            }
            let place = Place {
                file: file.clone(),
                line: index + 1,
            };
            for token in self.tokens(line, &place) {
                if self.stopped {
                    break;
                }
                match token {
                    Token::Word(word) => {
                        if let Some(level) = levels.last_mut() {
                            level.place.get_or_insert_with(|| place.clone());
                            level.words.push(word);
                        }
                    }
                    Token::Open => self.open(&mut levels, &place),
                    Token::Close => self.close(&mut levels, &place, depth),
                }
            }
            self.flush(&mut levels, name, depth);
        }
        while levels.len() > 1 {
            let open = levels.len() - 2;
            let last = levels.get(open).and_then(|level| level.done.last());
            let place = last.map(|statement| statement.place.clone());
            let text = "the block that begins here is not closed: `}` is missing".to_owned();
            self.notes
                .add(place.as_ref(), crate::note::Severity::Bad, text);
            shut(&mut levels);
        }
        levels.pop().map(|level| level.done).unwrap_or_default()
    }

    fn tokens(&mut self, line: &str, place: &Place) -> Vec<Token> {
        let mut tokens = Vec::new();
        let mut word = String::new();
        let mut inside = false;
        let mut chars = line.chars();
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    let rest = chars.as_str();
                    let Some((quoted, behind)) = rest.split_once('"') else {
                        self.notes
                            .bad(place, "a quoted text is not closed: `\"` is missing");
                        return Vec::new();
                    };
                    word.push_str(quoted);
                    chars = behind.chars();
                    inside = true;
                    continue;
                }
                '#' | '!' => break,
                '{' | '}' => {}
                c if c.is_whitespace() => {}
                c => {
                    word.push(c);
                    inside = true;
                    continue;
                }
            }
            if std::mem::take(&mut inside) {
                tokens.push(Token::Word(std::mem::take(&mut word)));
            }
            match c {
                '{' => tokens.push(Token::Open),
                '}' => tokens.push(Token::Close),
                _ => {}
            }
        }
        if inside {
            tokens.push(Token::Word(word));
        }
        tokens
    }

    fn open(&mut self, levels: &mut Vec<Level>, place: &Place) {
        let Some(level) = levels.last_mut() else {
            return;
        };
        if !level.words.is_empty() {
            level.done.push(Statement {
                place: level.place.take().unwrap_or_else(|| place.clone()),
                words: std::mem::take(&mut level.words),
                block: None,
            });
        }
        let owner = level.done.last().filter(|owner| owner.block.is_none());
        if owner.is_none() {
            self.notes.bad(place, "`{` opens a block that has no name");
            level.done.push(Statement {
                place: place.clone(),
                words: Vec::new(),
                block: None,
            });
        }
        if levels.len() > DEEPEST && !self.stopped {
            self.notes.bad(place, "blocks are nested too deep");
            self.stopped = true;
        }
        levels.push(Level::default());
    }

    fn close(&mut self, levels: &mut Vec<Level>, place: &Place, depth: usize) {
        let name = place.file.to_string();
        self.flush(levels, &name, depth);
        if levels.len() == 1 {
            self.notes.bad(place, "`}` closes nothing");
            return;
        }
        shut(levels);
    }

    /// Ends a line.
    fn flush(&mut self, levels: &mut [Level], name: &str, depth: usize) {
        let Some(level) = levels.last_mut() else {
            return;
        };
        let words = std::mem::take(&mut level.words);
        let Some(place) = level.place.take() else {
            return;
        };
        if words.first().is_some_and(|word| word == "include") {
            let included = self.include(&words, &place, name, depth);
            level.done.extend(included);
            return;
        }
        level.done.push(Statement {
            place,
            words,
            block: None,
        });
    }

    fn include(
        &mut self,
        words: &[String],
        place: &Place,
        name: &str,
        depth: usize,
    ) -> Vec<Statement> {
        let Some(pattern) = words.get(1) else {
            self.notes.bad(place, "`include` names no file");
            return Vec::new();
        };
        if depth >= DEEPEST_INCLUDE {
            self.notes.bad(
                place,
                format!("`include {}` goes in a circle", quote(pattern)),
            );
            return Vec::new();
        }
        let found = match self.files.read(pattern, name) {
            Ok(found) => found,
            Err(reason) => {
                let text = format!("`include {}`: {reason}", quote(pattern));
                self.notes.bad(place, text);
                return Vec::new();
            }
        };
        let mut all = Vec::new();
        for (name, text) in found {
            let Some(left) = self.left.checked_sub(1) else {
                self.notes.bad(place, "too many files are included");
                break;
            };
            self.left = left;
            all.extend(self.file(&name, &text, depth + 1));
        }
        all
    }
}

/// Ends a block.
fn shut(levels: &mut Vec<Level>) {
    let Some(level) = levels.pop() else {
        return;
    };
    if let Some(owner) = levels.last_mut().and_then(|level| level.done.last_mut()) {
        owner.block = Some(level.done);
    }
}

enum Token {
    Word(String),
    Open,
    Close,
}
