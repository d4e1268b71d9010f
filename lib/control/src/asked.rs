//! A request with what its sender saw.

use serde::Serialize;
use weir_model::Role;

use crate::message::{line, object};
use crate::{Code, Rejection, Request};

/// The field beside those of a request.
const FIELD: &str = "expect_generation";

/// A request, and the configuration that it is meant for:
/// `{"do":"drain","service":"web","real":"10.0.1.11:443","expect_generation":118}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The request.
    #[serde(flatten)]
    pub request: Request,
    /// The number of the configuration that its sender saw: nothing is done where another one runs.
    /// None where it is meant for whatever runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_generation: Option<u64>,
}

impl From<Request> for Asked {
    fn from(request: Request) -> Self {
        Self {
            request,
            expect_generation: None,
        }
    }
}

impl Asked {
    /// Reads a request from a line.
    ///
    /// # Errors
    /// Returns the rejection to answer with, whatever the line holds.
    pub fn parse(line: &str) -> Result<Self, Rejection> {
        let mut value = object(line)?;
        let expected = value.as_object_mut().and_then(|it| it.remove(FIELD));
        let request = Request::of(&value)?;
        let refused = |text: String| Rejection {
            code: Code::BadArgument,
            text,
        };
        let Some(expected) = expected else {
            return Ok(Self::from(request));
        };
        if request.needs() == Role::Viewer {
            let name = request.name();
            return Err(refused(format!(
                "`{FIELD}` is for what changes something, and `{name}` does not"
            )));
        }
        let Some(number) = expected.as_u64() else {
            return Err(refused(format!(
                "`{FIELD}` is the number of a configuration, as `show status` has it"
            )));
        };
        Ok(Self {
            request,
            expect_generation: Some(number),
        })
    }

    /// Returns the request as a line with its end.
    #[must_use]
    pub fn to_line(&self) -> String {
        line(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_sender_saw_stands_beside_the_request() {
        let line = "{\"do\":\"confirm\",\"expect_generation\":118}";
        let asked = Asked::parse(line).unwrap();
        assert_eq!(asked.request, Request::Confirm {});
        assert_eq!(asked.expect_generation, Some(118));
        assert_eq!(asked.to_line().trim_end(), line);
        let asked = Asked::from(Request::Maintenance { on: true });
        assert_eq!(asked.to_line(), asked.request.to_line());
        assert_eq!(Asked::parse(asked.to_line().trim_end()), Ok(asked));
    }

    #[test]
    fn it_is_a_number_and_of_what_changes_something() {
        for (line, says) in [
            (
                "{\"do\":\"confirm\",\"expect_generation\":\"7\"}",
                "the number of",
            ),
            (
                "{\"do\":\"confirm\",\"expect_generation\":-1}",
                "the number of",
            ),
            (
                "{\"do\":\"show\",\"what\":\"ports\",\"expect_generation\":7}",
                "`show` does not",
            ),
            ("{\"do\":\"confirm\",\"expects\":7}", "unknown field"),
        ] {
            let rejection = Asked::parse(line).unwrap_err();
            assert_eq!(rejection.code, Code::BadArgument, "{line}");
            assert!(rejection.text.contains(says), "{}", rejection.text);
        }
    }
}
