//! Which lines of a keepalived.conf stand inside which, told by counting braces.

use weir_lvs::Note;

/// For each line the lines on which the blocks around it begin, and whether a change of a number there
/// may mean nothing.
pub(super) struct Places(Vec<Line>);

struct Line {
    /// The lines of the words before each `{` that is open here, from 1.
    around: Vec<usize>,
    /// The first words of the blocks that are open here.
    blocks: Vec<String>,
    /// Whether a virtual server begins here, which may be that of a group.
    is_server: bool,
}

impl Places {
    /// Reads a text.
    pub(super) fn of(text: &str) -> Self {
        let mut lines = Vec::new();
        let mut open: Vec<(usize, String)> = Vec::new();
        let mut last = (0, String::new());
        for (index, line) in text.lines().enumerate() {
            lines.push(Line {
                around: open.iter().map(|(line, _)| *line).collect(),
                blocks: open.iter().map(|(_, word)| word.clone()).collect(),
                is_server: line.split_whitespace().next() == Some("virtual_server"),
            });
            let mut words = String::new();
            let mut quoted = false;
            for c in line.chars() {
                match c {
                    '"' => quoted = !quoted,
                    _ if quoted => {}
                    '#' | '!' => break,
                    '{' => {
                        if let Some(word) = words.split_whitespace().next() {
                            last = (index + 1, word.to_owned());
                        }
                        words.clear();
                        open.push(last.clone());
                    }
                    '}' => {
                        words.clear();
                        open.pop();
                    }
                    c => words.push(c),
                }
            }
            if let Some(word) = words.split_whitespace().next() {
                last = (index + 1, word.to_owned());
            }
        }
        Self(lines)
    }

    /// Says whether a note is about a line, or about a block around it.
    pub(super) fn is_about(&self, note: &Note, line: usize) -> bool {
        let Some(place) = &note.place else {
            return false;
        };
        let at = |line: usize| self.0.get(line.wrapping_sub(1));
        let around = at(line).is_some_and(|it| it.around.contains(&place.line));
        let group = |it: &Line| it.blocks.iter().any(|it| it == "virtual_server_group");
        // What is told of a virtual server is told of the addresses that it has by a group.
        let of_group = at(line).is_some_and(group) && at(place.line).is_some_and(|it| it.is_server);
        place.line == line || around || of_group
    }

    /// Says whether a line may be written otherwise and mean the same: comments, texts in quotes,
    /// addresses of which a group has others as well, and what is said of checks that are not made.
    pub(super) fn is_free(&self, line: usize, text: &str) -> bool {
        const OF_CHECKS: [&str; 3] = ["delay_loop", "retry", "virtualhost"];
        let word = text.split_whitespace().next().unwrap_or_default();
        let blocks = self.0.get(line - 1).map_or(&[][..], |it| &it.blocks);
        text.contains(['#', '!', '"', '{', '}'])
            || OF_CHECKS.contains(&word)
            || blocks.iter().any(|block| block == "local_address_group")
    }
}
