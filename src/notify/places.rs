//! Which number an integration has among those of its receiver: what was told is kept under it, so that it must stay with
//! whom it is told to, wherever that stands in the configuration.
//!
//! Guarantees: a target that is known keeps its number; equal ones are told apart by their order; a new one gets a number
//! that nobody has had within [`RETENTION`]. No target is kept, only its digest.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{EACH_KIND, Integration, KINDS};
use crate::limits::RETENTION;
use crate::time::Time;

/// The numbers that were given. Stored with postcard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    receivers: BTreeMap<String, BTreeMap<Target, Place>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Target {
    kind: String,
    digest: String,
    /// How many of the same stand before it.
    equals_before: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    index: usize,
    /// Since when it is not configured.
    gone: Option<Time>,
}

impl Places {
    /// Numbers the integrations of all receivers of a configuration.
    pub fn settle(&mut self, receivers: &mut BTreeMap<String, Vec<Integration>>, now: Time) {
        for known in self.receivers.values_mut() {
            known.values_mut().for_each(|place| place.gone = place.gone.or(Some(now)));
            known.retain(|_, place| place.gone.is_none_or(|gone| now - gone <= RETENTION));
        }
        for (receiver, integrations) in receivers {
            settle(self.receivers.entry(receiver.clone()).or_default(), integrations);
        }
        self.receivers.retain(|_, known| !known.is_empty());
    }
}

fn settle(known: &mut BTreeMap<Target, Place>, integrations: &mut [Integration]) {
    let mut seen: BTreeMap<(&str, String), usize> = BTreeMap::new();
    let mut taken: BTreeSet<usize> = known.values().map(|place| place.index).collect();
    for integration in integrations {
        let (kind, digest) = (integration.kind, integration.digest());
        let equals = seen.entry((kind, digest.clone())).or_default();
        let target = Target { kind: kind.to_owned(), digest, equals_before: *equals };
        *equals += 1;
        let place = known.entry(target).or_insert_with(|| Place { index: free(kind, &taken), gone: None });
        place.gone = None;
        taken.insert(place.index);
        integration.index = place.index;
    }
}

/// The first free number of a kind; where there is none, one behind those of all kinds.
fn free(kind: &str, taken: &BTreeSet<usize>) -> usize {
    let first = KINDS.iter().position(|known| known.name == kind).unwrap_or(KINDS.len()) * EACH_KIND;
    let mut all = (first..first + EACH_KIND).chain(KINDS.len() * EACH_KIND..);
    all.find(|index| !taken.contains(index)).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::tests::read;
    use crate::time::Span;

    /// Webhooks to these letters, `-` for stdout, are numbered so.
    fn check(places: &mut Places, letters: &str, expected: &[usize], now: Time) {
        let hooks = letters.chars().filter(|letter| *letter != '-').map(|letter| format!("{{url: 'http://{letter}'}}"));
        let prints = letters.matches('-').map(|_| "{}").collect::<Vec<_>>().join(", ");
        let hooks = hooks.collect::<Vec<_>>().join(", ");
        let (found, faults) = read(&format!("webhook_configs: [{hooks}]\nstdout_configs: [{prints}]\n"));
        assert!(faults.0.is_empty());
        let mut receivers = BTreeMap::from([("oncall".to_owned(), found)]);
        places.settle(&mut receivers, now);
        let indices: Vec<usize> = receivers["oncall"].iter().map(|integration| integration.index).collect();
        assert_eq!(indices, expected, "{letters}");
    }

    #[test]
    fn a_target_keeps_its_number() {
        for (before, after, expected) in [
            ("a", "ba", &[2001, 2000][..]),
            ("ab", "b", &[2001]),
            ("ab", "ba", &[2001, 2000]),
            ("ab", "cb", &[2002, 2001]),
            ("aa", "baa", &[2002, 2000, 2001]),
            ("aab", "ab", &[2000, 2002]),
            ("a--", "ba-", &[2001, 2000, 3000]),
            ("a", "aa", &[2000, 2001]),
        ] {
            let mut places = Places::default();
            let first = |(i, letter): (usize, char)| if letter == '-' { 3000 + i - before.find('-').unwrap() } else { 2000 + i };
            let start: Vec<usize> = before.chars().enumerate().map(first).collect();
            check(&mut places, before, &start, Time(0));
            check(&mut places, after, expected, Time(1));
        }
    }

    #[test]
    fn one_that_is_gone_keeps_its_number_for_a_while() {
        let mut places = Places::default();
        check(&mut places, "ab", &[2000, 2001], Time(0));
        // It counts from when it was missed, not from when it came.
        let missed = Time(0) + RETENTION + RETENTION;
        check(&mut places, "b", &[2001], missed);
        check(&mut places, "bc", &[2001, 2002], missed + Span(1));
        check(&mut places, "bca", &[2001, 2002, 2000], missed + RETENTION);
        check(&mut places, "b", &[2001], missed + RETENTION);
        check(&mut places, "bd", &[2001, 2000], missed + RETENTION + RETENTION + Span(1));
    }

    #[test]
    fn of_a_receiver_that_is_gone_too_and_without_its_secrets() {
        let mut places = Places::default();
        check(&mut places, "ab", &[2000, 2001], Time(0));
        places.settle(&mut BTreeMap::new(), Time(1));
        let stored = postcard::to_stdvec(&places).unwrap();
        assert!(!String::from_utf8_lossy(&stored).contains("http"));
        let mut again: Places = postcard::from_bytes(&stored).unwrap();
        check(&mut again, "ba", &[2001, 2000], Time(2));
        again.settle(&mut BTreeMap::new(), Time(3));
        again.settle(&mut BTreeMap::new(), Time(4) + RETENTION);
        assert_eq!(again, Places::default());
    }

    #[test]
    fn there_is_a_number_for_everybody() {
        let mut taken: BTreeSet<usize> = (2000..3000).collect();
        assert_eq!(free("webhook", &taken), KINDS.len() * EACH_KIND);
        taken.remove(&2999);
        assert_eq!(free("webhook", &taken), 2999);
    }

    #[test]
    fn what_tells_targets_apart() {
        let same = |one: &str, other: &str| {
            let digests = [one, other].map(|text| read(text).0.iter().map(Integration::digest).collect::<Vec<_>>());
            assert_eq!(digests[0].len(), 1, "{one}");
            digests[0] == digests[1]
        };
        // How somebody is reached may change.
        for (one, other) in [
            ("webhook_configs: [{url: http://a}]", "webhook_configs: [{url: http://a, hmac_secret: new}]"),
            ("webhook_configs: [{url: http://a}]", "webhook_configs: [{url: http://a, http_config: {bearer_token: new}}]"),
            ("alertmanager_configs: [{urls: [http://a]}]", "alertmanager_configs: [{urls: [http://a/], refresh: 2m}]"),
            (
                "email_configs: [{to: a@b.c, from: x@y.z, smarthost: 'm:25', auth_username: u, auth_password: old}]",
                "email_configs: [{to: a@b.c, from: x@y.z, smarthost: 'm:25', auth_username: u, auth_password: new}]",
            ),
            ("stdout_configs: [{}]", "stdout_configs: [{send_resolved: false}]"),
        ] {
            assert!(same(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("webhook_configs: [{url: http://a}]", "webhook_configs: [{url: http://b}]"),
            ("discord_configs: [{webhook_url: http://a}]", "msteams_configs: [{webhook_url: http://a}]"),
            ("pagerduty_configs: [{routing_key: a}]", "pagerduty_configs: [{routing_key: b}]"),
            ("alertmanager_configs: [{urls: [http://a]}]", "alertmanager_configs: [{urls: [http://a, http://b]}]"),
            ("slack_configs: [{bot_token: x, channel: a}]", "slack_configs: [{bot_token: x, channel: b}]"),
            ("slack_configs: [{bot_token: x, channel: a}]", "slack_configs: [{bot_token: y, channel: a}]"),
            (
                "email_configs: [{to: a@b.c, from: x@y.z, smarthost: 'm:25'}]",
                "email_configs: [{to: d@b.c, from: x@y.z, smarthost: 'm:25'}]",
            ),
            (
                "email_configs: [{to: a@b.c, from: x@y.z, smarthost: 'm:25'}]",
                "email_configs: [{to: a@b.c, from: x@y.z, smarthost: 'n:25'}]",
            ),
        ] {
            assert!(!same(one, other), "{one} {other}");
        }
    }
}
