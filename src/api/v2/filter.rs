//! What of the alerts is asked for: `?filter=...&receiver=...&active=...&silenced=...&inhibited=...&muted=...`.

use axum::http::StatusCode;
use regex::Regex;

use super::wire::Fault;
use crate::labels::{Labels, Matcher, Matchers, RegexFault, bounded_regex};
use crate::route::Status;

/// Names and values of the query, in their order.
pub type Query = axum::extract::Query<Vec<(String, String)>>;

/// Which alerts are asked for.
#[derive(Debug)]
pub struct Filter {
    pub matchers: Matchers,
    receiver: Option<Regex>,
    active: bool,
    silenced: bool,
    inhibited: bool,
    /// Whether groups that are muted by time are asked for too.
    pub muted: bool,
}

impl Filter {
    /// What a query asks for. `unprocessed` changes nothing, as in Alertmanager: how an alert stands is found out when it
    /// is asked.
    pub fn parse(query: &[(String, String)]) -> Result<Filter, Fault> {
        Ok(Filter {
            matchers: matchers(query)?,
            receiver: last(query, "receiver").map(receiver).transpose()?,
            active: switch(query, "active"),
            silenced: switch(query, "silenced"),
            inhibited: switch(query, "inhibited"),
            muted: switch(query, "muted"),
        })
    }

    /// Whether any of these receivers is asked for.
    pub fn wants_receiver<'a>(&self, mut receivers: impl Iterator<Item = &'a String>) -> bool {
        self.receiver.as_ref().is_none_or(|wanted| receivers.any(|receiver| wanted.is_match(receiver)))
    }

    /// Whether alerts of these labels are asked for.
    pub fn wants_labels(&self, labels: &Labels) -> bool {
        self.matchers.matches(labels)
    }

    /// Whether alerts that stand so are asked for.
    pub fn wants_status(&self, status: &Status) -> bool {
        let (silenced, inhibited) = (!status.silenced_by.is_empty(), !status.inhibited_by.is_empty());
        (self.active || silenced || inhibited) && (self.silenced || !silenced) && (self.inhibited || !inhibited)
    }
}

/// The matchers of all `filter`s.
pub fn matchers(query: &[(String, String)]) -> Result<Matchers, Fault> {
    let filters = query.iter().filter(|(name, _)| name == "filter");
    let bytes = filters.clone().map(|(_, text)| text.len()).sum();
    let refused = |fault| Fault::said(StatusCode::BAD_REQUEST, fault);
    Matchers::check_bounds(filters.clone().count(), bytes).map_err(refused)?;
    let parse = |(_, text): &(String, String)| {
        Matcher::parse(text).map_err(|error| Fault::said(StatusCode::BAD_REQUEST, format!("bad matcher format: {error}")))
    };
    filters.map(parse).collect::<Result<_, _>>().map(Matchers)
}

/// A yes or no that is yes where nothing is said; what is no yes is no.
pub fn switch(query: &[(String, String)], name: &str) -> bool {
    const YES: [&str; 9] = ["1", "true", "yes", "ok", "y", "on", "selected", "checked", "t"];
    last(query, name).is_none_or(|value| YES.contains(&value.to_ascii_lowercase().as_str()))
}

/// The last value of a name; an empty one says nothing.
fn last<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let value = query.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    value.filter(|value| !value.is_empty())
}

fn receiver(pattern: &str) -> Result<Regex, Fault> {
    let fault = |what: &str| Fault::said(StatusCode::BAD_REQUEST, format!("failed to parse receiver param: {what}"));
    Matchers::check_bounds(1, pattern.len()).map_err(|what| fault(&what))?;
    bounded_regex(&format!("^(?:{pattern})$")).map_err(|wrong| match wrong {
        RegexFault::TooLarge => fault("it is too large a regular expression"),
        RegexFault::Wrong(reason) => fault(&reason),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{MAX_MATCHERS, MAX_MATCHERS_BYTES};

    #[test]
    fn what_is_asked_for_is_bounded() {
        let query = |name: &str, text: &str, n: usize| vec![(name.to_owned(), text.to_owned()); n];
        let is_fine = |query: &[(String, String)]| Filter::parse(query).is_ok();
        assert!(is_fine(&query("filter", "a=~\"b.*\"", MAX_MATCHERS)));
        assert!(!is_fine(&query("filter", "a=~\"b.*\"", MAX_MATCHERS + 1)));
        assert!(!is_fine(&query("filter", &format!("a={}", "x".repeat(MAX_MATCHERS_BYTES / 2)), 2)));
        assert!(!is_fine(&query("filter", "a=~\"(x{1000}){1000}\"", 1)));
        assert!(is_fine(&query("receiver", "on.*", 1)) && !is_fine(&query("receiver", "(x{1000}){1000}", 1)));
    }
}
