//! The clock on the wall, which may be set while calls go on. What lasts is never measured by it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// Where it is read: that of the system, but for tests.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl WallClock {
    /// What `now` says. It is asked at each event, so it must be quick.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// What it shows.
    pub(crate) fn now(&self) -> SystemTime {
        (self.0)()
    }

    /// The same in milliseconds since 1970.
    pub(crate) fn unix_ms(&self) -> u64 {
        let since = self.now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for WallClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("WallClock")
    }
}
