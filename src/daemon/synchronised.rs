//! Whether the system clock can be trusted: what the sensor collects is worthless with a wrong one.

use crate::sys::time_status::clock_is_synchronised;

/// What the kernel says of the system clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synchronised {
    /// Something keeps it right.
    Yes,
    /// Nothing does, or it has not settled yet.
    No,
    /// The kernel does not tell, as in some containers.
    Unknown,
}

/// Asks the kernel.
pub fn synchronised() -> Synchronised {
    match clock_is_synchronised() {
        Ok(true) => Synchronised::Yes,
        Ok(false) => Synchronised::No,
        Err(_) => Synchronised::Unknown,
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_and_says_the_same_twice() {
        let said = synchronised();
        assert_ne!(said, Synchronised::Unknown, "reading needs no right");
        assert_eq!(synchronised(), said);
    }
}
