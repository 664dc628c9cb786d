//! The HTML of a mail, where the configuration has none. Its colours are read on white and on black; there are no images.

use crate::alert::{Alert, State};
use crate::labels::Labels;
use crate::message::{self, Severity};
use crate::route::Notification;
use crate::template::escape_html;
use crate::time::Time;

/// Characters of what a rule says in one line, of its description, and of a label.
pub(super) const HEADLINE_CHARS: usize = 500;
pub(super) const DESCRIPTION_CHARS: usize = 3_000;
pub(super) const LABEL_CHARS: usize = 300;

/// Bytes of all alerts; the rest is counted.
const ALERTS_BYTES: usize = 192 * 1024;

const FONT: &str = "font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;font-size:14px;line-height:1.45";
const GREY: &str = "color:#808080";

/// With the fault of a template that was to stand here.
pub(super) fn body(notification: &Notification, external_url: &str, fault: Option<&str>) -> String {
    let common = message::common_labels(&notification.alerts);
    let title = escape(&message::title(notification));
    let colour = colour(notification);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n</head>\n\
         <body style=\"margin:0;padding:16px;{FONT}\">\n\
         <div style=\"max-width:720px;border-left:6px solid {colour};padding-left:16px\">\n\
         <h1 style=\"font-size:18px;margin:0 0 8px\">{title}</h1>\n"
    );
    if let Some(fault) = fault {
        out += &format!("<p><b>{}</b></p>\n", cut(fault, HEADLINE_CHARS));
    }
    out += &links(notification, external_url);
    let more = super::fill(&mut out, &notification.alerts, ALERTS_BYTES, |alert| one(alert, &common, notification.at));
    if let Some(more) = more {
        out += &format!("<p><b>{}</b></p>\n", escape(&more));
    }
    out += &table("All of them", &common);
    let from = match message::http_url(external_url) {
        Some(url) => format!("<a href=\"{}\" style=\"{GREY}\">modelwatch</a>", escape(&url)),
        None => "modelwatch".to_owned(),
    };
    let reason = escape(&notification.reason);
    out + &format!("<p style=\"margin:16px 0 0;font-size:12px;{GREY}\">{from}: {reason}</p>\n</div>\n</body>\n</html>\n")
}

fn links(notification: &Notification, external_url: &str) -> String {
    let style = "display:inline-block;margin:0 8px 8px 0;padding:5px 12px;border:1px solid #808080;border-radius:6px;\
                 text-decoration:none;color:#3b82d6";
    let link = |link: message::Link| format!("<a href=\"{}\" style=\"{style}\">{}</a>\n", escape(&link.url), escape(link.text));
    let links = message::links(notification).into_iter().chain(message::actions(notification, external_url));
    let links: String = links.map(link).collect();
    if links.is_empty() { links } else { format!("<p style=\"margin:0 0 8px\">\n{links}</p>\n") }
}

fn one(alert: &Alert, common: &Labels, at: Time) -> String {
    let state = message::status(alert.state == State::Firing);
    let headline = cut(&message::headline(alert), HEADLINE_CHARS);
    let mut out = format!(
        "<div style=\"margin:0 0 16px\">\n<h2 style=\"font-size:15px;margin:0\">{headline}</h2>\n\
         <p style=\"margin:2px 0;{GREY}\">{state}, {}<br>\n{}</p>\n",
        escape(&message::facts(alert, at)),
        cut(&alert.evidence, HEADLINE_CHARS)
    );
    if let Some(description) = message::description(alert) {
        out += &format!("<p style=\"margin:6px 0\">{}</p>\n", cut(description, DESCRIPTION_CHARS));
    }
    out + &table("", &message::own_labels(alert, common)) + "</div>\n"
}

fn table(caption: &str, labels: &Labels) -> String {
    let row = |(name, value): (&str, &str)| {
        format!(
            "<tr><td style=\"padding:2px 16px 2px 0;vertical-align:top;{GREY}\">{}</td><td style=\"padding:2px 0\">{}</td></tr>\n",
            escape(name),
            cut(value, LABEL_CHARS)
        )
    };
    let rows: String = labels.iter().take(message::MAX_LABELS).map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    let caption = if caption.is_empty() { String::new() } else { format!("<p style=\"margin:0;{GREY}\">{caption}</p>\n") };
    format!("{caption}<table style=\"border-collapse:collapse;{FONT};margin:4px 0\">\n{rows}</table>\n")
}

fn colour(notification: &Notification) -> &'static str {
    match (message::is_firing(notification), message::severity(notification)) {
        (false, _) => "#2eb67d",
        (true, Severity::Critical) => "#b3123f",
        (true, Severity::Error) => "#e01e5a",
        (true, Severity::Warning) => "#ecb22e",
        (true, Severity::Info) => "#36c5f0",
    }
}

fn cut(text: &str, max: usize) -> String {
    escape(&message::truncate(text.trim(), max))
}

/// Text that is no markup and no more than lines.
fn escape(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| escape_html(&message::one_line(line))).collect();
    lines.join("<br>\n")
}
