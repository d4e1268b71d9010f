//! How frames are captured into a file: whoever runs the console says how, and where to.

use std::fmt;
use std::sync::Arc;

use weir_control::CaptureOrder;

/// How long a capture takes at most, in seconds.
pub const CAPTURE_SECONDS: u64 = 60;

/// Captures, and returns where the file is and how much it has; waits for it.
pub type Take = dyn Fn(&CaptureOrder) -> Result<String, String> + Send + Sync;

/// How frames are captured; by default not at all.
#[derive(Clone, Default)]
pub struct Capture(Option<Arc<Take>>);

impl Capture {
    /// Captures so.
    #[must_use]
    pub fn new(take: Arc<Take>) -> Self {
        Self(Some(take))
    }

    /// Captures.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) fn take(&self, order: &CaptureOrder) -> Result<String, String> {
        match &self.0 {
            Some(take) => take(order),
            None => Err("this console has no place for captures".to_owned()),
        }
    }
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Capture")
    }
}
