//! Where a message leads: dashboard, runbook, source, silence, acknowledge.

use reqwest::Url;

use crate::alert::Alert;
use crate::labels::escape;
use crate::message::{common_labels, is_firing, one_line};
use crate::route::Notification;

/// Links of one kind that a message carries; alerts of one group mostly share them.
const LINKS_OF_A_KIND: usize = 3;

/// The longest URL that is linked; receivers refuse longer ones, and with them the whole message.
const URL_CHARS: usize = 2_000;

/// Something to click on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// What it leads to: `Runbook`, `Dashboard`.
    pub text: &'static str,
    /// An http or https URL.
    pub url: String,
}

/// The distinct runbooks, dashboards and, of posted alerts, sources; what is no http(s) URL is left out.
pub fn links(notification: &Notification) -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    for text in ["Runbook", "Dashboard", "Source"] {
        let written = |alert: &Alert| match text {
            "Runbook" => http_url(alert.annotations.get("runbook_url")),
            "Dashboard" => http_url(alert.annotations.get("dashboard_url")),
            _ => alert.posted.as_ref().and_then(|posted| http_url(&posted.generator_url)),
        };
        let mut of_this_kind = 0;
        for url in notification.alerts.iter().filter_map(written) {
            let link = Link { text, url };
            if of_this_kind < LINKS_OF_A_KIND && !links.contains(&link) {
                links.push(link);
                of_this_kind += 1;
            }
        }
    }
    links
}

/// What can be done about it: silence and acknowledge, while it fires.
pub fn actions(notification: &Notification, external_url: &str) -> Vec<Link> {
    if !is_firing(notification) {
        return Vec::new();
    }
    let urls = [("Silence", silence_url(notification, external_url)), ("Acknowledge", ack_url(notification, external_url))];
    urls.into_iter().filter_map(|(text, url)| Some(Link { text, url: http_url(&url)? })).collect()
}

/// Where the group is silenced: `{external_url}/silences/new?filter={a="b",c="d"}`, its labels as matchers; where it has none,
/// those that all its alerts share.
pub fn silence_url(notification: &Notification, external_url: &str) -> String {
    let common = common_labels(&notification.alerts);
    let labels = if notification.group_labels.0.is_empty() { &common } else { &notification.group_labels };
    let matchers = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value)));
    let filter = format!("{{{}}}", matchers.collect::<Vec<_>>().join(","));
    with_query(external_url, "silences/new", &[("filter", &filter)])
}

/// Where the group is acknowledged.
pub fn ack_url(notification: &Notification, external_url: &str) -> String {
    with_query(external_url, "ack", &[("receiver", &notification.receiver), ("group", &notification.group_key)])
}

/// A page of ours; without its query, where that is longer than a link may be, so that it must be filled in there.
fn with_query(external_url: &str, page: &str, pairs: &[(&str, &str)]) -> String {
    let base = format!("{}/{page}", external_url.trim_end_matches('/'));
    match Url::parse_with_params(&base, pairs) {
        Ok(url) if url.as_str().len() <= URL_CHARS => url.into(),
        _ => one_line(&base),
    }
}

/// A URL in its normal form, where it is http or https and of a length that receivers take.
pub fn http_url(text: &str) -> Option<String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    let url = String::from(url);
    (url.chars().count() <= URL_CHARS).then_some(url)
}
