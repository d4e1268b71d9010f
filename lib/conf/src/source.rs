//! Texts that values come from, and places in them.

/// The most characters that a line may have.
pub(crate) const LONGEST_LINE: usize = 4096;

/// A text that values come from: a file, or one environment variable.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    name: String,
    lines: Vec<String>,
}

/// A run of characters in a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Which source.
    pub(crate) source: usize,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The first character, from 1.
    pub(crate) column: usize,
    /// How many characters.
    pub(crate) width: usize,
}

/// All sources of one configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// Adds a source and returns its number.
    pub(crate) fn add(&mut self, name: &str, text: &str) -> usize {
        // A colon before a number would be read as a line when a value gives back its origin; it
        // is not, because the last two numbers are taken. Line ends are none of a name's business.
        let name = name.chars().map(|c| if c.is_control() { '?' } else { c });
        self.0.push(Source {
            name: name.collect(),
            lines: text.lines().map(cut).collect(),
        });
        self.0.len() - 1
    }

    pub(crate) fn name(&self, source: usize) -> &str {
        self.0.get(source).map_or("", |source| &source.name)
    }

    /// Returns the line of a place; empty past the end.
    pub(crate) fn line(&self, place: Place) -> &str {
        self.0
            .get(place.source)
            .and_then(|source| source.lines.get(place.line.checked_sub(1)?))
            .map_or("", String::as_str)
    }

    /// Reads the origin that a value of the configuration tree carries: `NAME:LINE:COLUMN`.
    pub(crate) fn find(&self, origin: &str, width: usize) -> Option<Place> {
        let mut parts = origin.rsplitn(3, ':');
        let column = parts.next()?.parse().ok()?;
        let line = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let source = self.0.iter().position(|source| source.name == name)?;
        Some(Place {
            source,
            line,
            column,
            width,
        })
    }

    /// Writes the origin of a place.
    pub(crate) fn origin(name: &str, place: Place) -> String {
        format!("{name}:{}:{}", place.line, place.column)
    }
}

impl Place {
    /// Returns a part of the run, in characters from its beginning; at least one character, which
    /// may be the one after the end.
    pub(crate) fn part(self, offset: usize, width: usize) -> Self {
        Self {
            column: self.column + offset,
            width: width.max(1),
            ..self
        }
    }
}

/// Keeps what a diagnostic can show of a line, whatever the file holds.
fn cut(line: &str) -> String {
    let line = line.strip_suffix('\r').unwrap_or(line);
    line.chars().take(LONGEST_LINE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_gives_back_its_place_even_with_colons_in_the_name() {
        let mut sources = Sources::default();
        sources.add("a.conf", "x\n");
        let second = sources.add("b:7:9", "one\r\ntwo\n");
        let place = Place {
            source: second,
            line: 2,
            column: 3,
            width: 1,
        };
        let origin = Sources::origin(sources.name(second), place);
        assert_eq!(sources.find(&origin, 1), Some(place));
        assert_eq!(sources.line(place), "two");
        assert_eq!(sources.find("default", 1), None);
        assert_eq!(sources.find("c.conf:1:1", 1), None);
    }
}
