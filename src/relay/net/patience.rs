//! Addresses that are free in a moment.

use std::thread;
use std::time::Instant;

use crate::limits::ADDRESS_RETRY_INTERVAL;

/// Tries to bind until it works, fails otherwise than for an address in use, or the deadline has passed. Blocks meanwhile.
///
/// The kernel takes an io_uring down after its process has ended, and the sockets that it had with it: tens of
/// milliseconds in which a stopped relay still has its port.
#[allow(
    clippy::disallowed_methods,
    reason = "no shard runs while a relay starts or has ended"
)]
pub fn bind_by<T, E>(
    deadline: Instant,
    is_in_use: impl Fn(&E) -> bool,
    mut bind: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    loop {
        match bind() {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => thread::sleep(ADDRESS_RETRY_INTERVAL),
            outcome => return outcome,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_an_address_in_use_is_tried_again_and_not_for_ever() {
        let far = Instant::now() + Duration::from_secs(60);
        let mut tries = 0;
        let bound = bind_by(
            far,
            |in_use: &bool| *in_use,
            || {
                tries += 1;
                if tries < 3 { Err(true) } else { Ok(tries) }
            },
        );
        assert_eq!(bound, Ok(3));
        assert_eq!(
            bind_by(far, |in_use: &bool| *in_use, || Err::<(), _>(false)),
            Err(false)
        );
        assert_eq!(
            bind_by(Instant::now(), |_: &bool| true, || Err::<(), _>(true)),
            Err(true)
        );
    }
}
