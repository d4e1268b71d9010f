//! What the terminal can do, as far as it can be known: from TERM, `NO_COLOR`, the locale and what
//! was asked for.

/// Which colours are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// None: bold, underlined and reversed only.
    Mono,
    /// The eight of SGR 30 to 37.
    Ansi8,
    /// Those of SGR 38;5.
    Ansi256,
}

/// Which colours the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ColourWish {
    /// As TERM and `NO_COLOR` say.
    #[default]
    Auto,
    /// None.
    Never,
    /// Eight.
    Ansi8,
    /// 256.
    Ansi256,
}

/// What the terminal can do.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is something that a terminal can or cannot, apart from the others"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    /// Which colours it is sent.
    pub(crate) colour: Colour,
    /// Whether it is sent more than ASCII.
    pub(crate) utf8: bool,
    /// Whether it can be told to hide its cursor; a VT100 cannot.
    pub(crate) hides_cursor: bool,
    /// Whether it may be told to mark what is pasted.
    pub(crate) marks_pastes: bool,
    /// Whether each byte counts: a graph that scrolls is drawn as one that is swept.
    pub(crate) is_slow: bool,
}

impl Profile {
    /// Finds out; none where the terminal cannot move its cursor.
    pub(crate) fn of(
        wish: ColourWish,
        ascii: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let term = variable("TERM").unwrap_or_default();
        if term.is_empty() || term == "dumb" || term == "unknown" {
            return None;
        }
        let named = |names: &[&str]| names.iter().any(|name| term.starts_with(name));
        let old = named(&["vt1", "vt2", "vt3", "vt4", "vt5", "ansi-mono", "wy"]);
        let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = match wish {
            ColourWish::Never => Colour::Mono,
            ColourWish::Ansi8 => Colour::Ansi8,
            ColourWish::Ansi256 => Colour::Ansi256,
            ColourWish::Auto => by_name(&term, refused || old),
        };
        Some(Self {
            colour,
            utf8: !ascii && !old && says_utf8(&variable),
            hides_cursor: !named(&["vt1"]),
            marks_pastes: !old && term != "linux" && !term.starts_with("ansi"),
            is_slow: old,
        })
    }
}

fn by_name(term: &str, refused: bool) -> Colour {
    match term {
        _ if refused || term.ends_with("-mono") || term.ends_with("-m") => Colour::Mono,
        _ if term.contains("256color") || term.contains("direct") => Colour::Ansi256,
        _ => Colour::Ansi8,
    }
}

/// The first of these that is set counts.
fn says_utf8(variable: &impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"];
    let mut set = set.iter().filter_map(|name| variable(name));
    set.find(|value| !value.is_empty()).is_some_and(|value| {
        let value = value.to_ascii_lowercase();
        value.contains("utf-8") || value.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wish: ColourWish, variables: &[(&str, &str)]) -> Option<Profile> {
        Profile::of(wish, false, |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn old_terminals_get_neither_colours_nor_more_than_ascii() {
        for term in ["vt100", "vt220"] {
            let profile = of(ColourWish::Auto, &[("TERM", term), ("LANG", "C.UTF-8")]).unwrap();
            assert_eq!(profile.colour, Colour::Mono);
            assert!(!profile.utf8 && profile.is_slow && !profile.marks_pastes);
        }
        let profile = of(ColourWish::Ansi8, &[("TERM", "vt220")]).unwrap();
        assert_eq!(profile.colour, Colour::Ansi8);
    }

    #[test]
    fn colours_follow_term_unless_no_color_or_the_operator_says_otherwise() {
        let colour = |wish, variables: &[_]| of(wish, variables).unwrap().colour;
        let xterm = ("TERM", "xterm-256color");
        assert_eq!(colour(ColourWish::Auto, &[xterm]), Colour::Ansi256);
        assert_eq!(
            colour(ColourWish::Auto, &[("TERM", "linux")]),
            Colour::Ansi8
        );
        let refused = [xterm, ("NO_COLOR", "1")];
        assert_eq!(colour(ColourWish::Auto, &refused), Colour::Mono);
        assert_eq!(colour(ColourWish::Ansi8, &refused), Colour::Ansi8);
        let empty = [xterm, ("NO_COLOR", "")];
        assert_eq!(colour(ColourWish::Auto, &empty), Colour::Ansi256);
        assert_eq!(colour(ColourWish::Never, &[xterm]), Colour::Mono);
    }

    #[test]
    fn more_than_ascii_is_sent_only_where_the_locale_says_so() {
        let utf8 = |variables: &[_]| of(ColourWish::Auto, variables).unwrap().utf8;
        let xterm = ("TERM", "xterm");
        assert!(utf8(&[xterm, ("LANG", "en_GB.UTF-8")]));
        assert!(!utf8(&[
            xterm,
            ("LANG", "en_GB.UTF-8"),
            ("LC_ALL", "POSIX")
        ]));
        assert!(!utf8(&[xterm]));
    }

    #[test]
    fn a_terminal_that_cannot_move_its_cursor_is_none() {
        assert_eq!(of(ColourWish::Auto, &[("TERM", "dumb")]), None);
        assert_eq!(of(ColourWish::Auto, &[]), None);
    }
}
