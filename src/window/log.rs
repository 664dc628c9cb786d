//! Which groups changed, for readers that come at their own times.

use crate::window::Group;

/// The groups whose sums changed, in the order in which they did; each reader keeps how far it read.
#[derive(Debug, Default)]
pub struct Log {
    /// How many changes were forgotten.
    forgotten: u64,
    groups: Vec<Group>,
}

/// A log shorter than this is kept, however few groups there are.
const KEPT: usize = 1_024;

impl Log {
    /// A group changed; `groups` is how many there are, since a log of many times that is slower than a look at each.
    pub fn push(&mut self, group: Group, groups: usize) {
        if self.groups.len() >= (4 * groups).max(KEPT) {
            self.forget();
        }
        self.groups.push(group);
    }

    /// Any group may have changed.
    pub fn forget(&mut self) {
        self.forgotten += self.groups.len() as u64 + 1;
        self.groups.clear();
    }

    /// Where a reader goes on that knows all until now.
    pub fn end(&self) -> u64 {
        self.forgotten + self.groups.len() as u64
    }

    /// What changed since [`Log::end`] was `from`; none where any group may have.
    pub fn since(&self, from: u64) -> Option<&[Group]> {
        let read = from.checked_sub(self.forgotten)?;
        self.groups.get(usize::try_from(read).ok()?..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_what_changed_or_that_anything_may_have() {
        let mut log = Log::default();
        let begin = log.end();
        for group in [3, 3, 5] {
            log.push(group, 2);
        }
        let middle = log.end();
        log.push(3, 2);
        assert_eq!((log.since(begin), log.since(middle)), (Some(&[3, 3, 5, 3][..]), Some(&[3][..])));
        log.forget();
        assert_eq!((log.since(begin), log.since(middle), log.since(log.end())), (None, None, Some(&[][..])));
        (0..KEPT as u32 + 1).for_each(|group| log.push(group, 2));
        assert_eq!(log.since(begin), None);
    }
}
