//! The text of a mail, where the configuration has none.

use crate::alert::Alert;
use crate::labels::Labels;
use crate::message;
use crate::notify::email::html::{DESCRIPTION_CHARS, HEADLINE_CHARS, LABEL_CHARS};
use crate::route::Notification;
use crate::time::Time;

/// Bytes of all alerts; the rest is counted.
const ALERTS_BYTES: usize = 128 * 1024;

/// With the fault of a template that was to stand here.
pub(super) fn body(notification: &Notification, external_url: &str, fault: Option<&str>) -> String {
    let common = message::common_labels(&notification.alerts);
    let mut out = format!("{}\n\n", message::title(notification));
    if let Some(fault) = fault {
        out += &format!("{}\n\n", cut(fault, HEADLINE_CHARS));
    }
    let more = super::fill(&mut out, &notification.alerts, ALERTS_BYTES, |alert| one(alert, &common, notification.at));
    if let Some(more) = more {
        out += &format!("{more}\n\n");
    }
    for (name, value) in common.iter().take(message::MAX_LABELS) {
        out += &line(name, value, "");
    }
    out.push('\n');
    for link in message::links(notification).into_iter().chain(message::actions(notification, external_url)) {
        out += &format!("{}: {}\n", link.text, link.url);
    }
    out + &format!("\n-- \nmodelwatch, {}; {external_url}\n", message::one_line(&notification.reason))
}

fn one(alert: &Alert, common: &Labels, at: Time) -> String {
    let mut out = format!("* {}\n  {}\n", cut(&message::headline(alert), HEADLINE_CHARS), message::facts(alert, at));
    if let Some(description) = message::description(alert) {
        out += &format!("  {}\n", cut(description, DESCRIPTION_CHARS));
    }
    out += &format!("  {}\n", cut(&alert.evidence, HEADLINE_CHARS));
    for (name, value) in message::own_labels(alert, common).iter().take(message::MAX_LABELS) {
        out += &line(name, value, "  ");
    }
    out + "\n"
}

fn line(name: &str, value: &str, indent: &str) -> String {
    format!("{indent}{} = {}\n", message::one_line(name), cut(value, LABEL_CHARS))
}

/// Several lines stay so, a little to the right.
fn cut(text: &str, max: usize) -> String {
    let lines: Vec<String> = message::truncate(text.trim(), max).lines().map(message::one_line).collect();
    lines.join("\n  ")
}
