//! What is kept between mails about a group: the thread, and who has the message already that is tried again.

use std::fmt;

/// Lines: the Message-ID that began the thread, the number of the delivery, and the addresses that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Handle {
    /// The Message-ID that began the thread; empty where there is none yet.
    pub thread: String,
    /// The delivery that is tried.
    pub delivery: u64,
    /// Who has it already.
    pub told: Vec<String>,
}

impl Handle {
    /// For a delivery, from what the last one left.
    pub fn read(left: Option<&str>, delivery: u64) -> Handle {
        let mut lines = left.unwrap_or_default().lines();
        let thread = lines.next().unwrap_or_default().to_owned();
        let same = lines.next().and_then(|number| number.parse().ok()) == Some(delivery);
        let told = if same { lines.map(str::to_owned).collect() } else { Vec::new() };
        Handle { thread, delivery, told }
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.thread, self.delivery)?;
        self.told.iter().try_for_each(|address| write!(f, "\n{address}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_told_counts_for_the_same_delivery_only() {
        let left = Handle { thread: "<1@x>".to_owned(), delivery: 7, told: vec!["a@x".to_owned(), "b@x".to_owned()] };
        assert_eq!(Handle::read(Some(&left.to_string()), 7), left);
        let next = Handle { delivery: 8, told: Vec::new(), ..left.clone() };
        assert_eq!(Handle::read(Some(&left.to_string()), 8), next);
        assert_eq!(Handle::read(None, 7), Handle { delivery: 7, ..Handle::default() });
    }
}
