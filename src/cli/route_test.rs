//! `modelwatch route-test`: which receivers an alert with some labels gets to, and on which way.
//!
//! What it prints is what `amtool config routes test` prints, and so is the tree (`amtool config routes show`); on which way,
//! in which group and when is told beside it on stderr.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::{EXIT_FAULTS, load};
use crate::labels::{Labels, Matcher, Op};
use crate::route::{GroupBy, Route};

/// Options of `route-test`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration.
    #[arg(short, long, env = "MODELWATCH_CONFIG", default_value = "modelwatch.yml")]
    config: PathBuf,
    /// Print the tree too: all of it, or with labels the routes that match.
    #[arg(long)]
    tree: bool,
    /// Fail unless these receivers are told, by commas, in this order.
    #[arg(long = "verify.receivers", alias = "verify-receivers", value_name = "RECEIVERS")]
    verify: Option<String>,
    /// Labels of the alert: alertname=Down team="search"
    labels: Vec<String>,
}

/// Exits with 1 where other receivers are told than expected.
pub fn run(args: &Args) -> Result<ExitCode> {
    let config = match load(&args.config) {
        Ok(config) => config,
        Err(code) => return Ok(code),
    };
    let root = &config.routing.root;
    if config.receivers.is_empty() {
        bail!("{} has no `route`: nobody is told of anything", args.config.display());
    }
    if args.tree && args.labels.is_empty() && args.verify.is_none() {
        println!("Routing tree:\n{}", tree(root, None));
        return Ok(ExitCode::SUCCESS);
    }
    let labels = args.labels.iter().map(|text| label(text)).collect::<Result<Labels>>()?;
    if args.tree {
        println!("Matching routes:\n{}\n", tree(root, Some(&labels)));
    }
    let routes = root.matching(&labels);
    let receivers: Vec<&str> = routes.iter().map(|route| route.receiver.as_str()).collect();
    let receivers = receivers.join(",");
    println!("{receivers}");
    routes.iter().for_each(|route| eprintln!("{}", way(route, &labels)));
    if args.verify.as_ref().is_some_and(|expected| *expected != receivers) {
        println!("WARNING: Expected receivers did not match resolved receivers.");
        return Ok(ExitCode::from(EXIT_FAULTS));
    }
    Ok(ExitCode::SUCCESS)
}

/// `name=value`, the value in quotes or not.
fn label(text: &str) -> Result<(String, String)> {
    match Matcher::parse(text) {
        Ok(Matcher { name, op: Op::Equal, value, .. }) => Ok((name, value)),
        _ => bail!("`{text}` is no label; write it as alertname=Down or team=\"search\""),
    }
}

/// On which way an alert gets to a receiver, and what happens there.
fn way(route: &Route, labels: &Labels) -> String {
    let group_labels = route.group_labels(labels);
    let by = match &route.group_by {
        GroupBy::All => "every label".to_owned(),
        GroupBy::Labels(names) if names.is_empty() => "nothing: one group for all".to_owned(),
        GroupBy::Labels(names) => names.join(", "),
    };
    let Route { receiver, key, group_wait, group_interval, repeat_interval, .. } = route;
    let mut out = format!("{receiver}: by the route {key}\n  grouped by {by}: {}\n", route.group_key(&group_labels));
    out += &format!("  after {group_wait}, then every {group_interval}, repeated after {repeat_interval}\n");
    let intervals = [("quiet within", &route.mute_time_intervals), ("only within", &route.active_time_intervals)];
    for (what, names) in intervals.into_iter().filter(|(_, names)| !names.is_empty()) {
        out += &format!("  {what} {}\n", names.join(", "));
    }
    for step in &route.escalation {
        out += &format!("  not acknowledged after {}: {}\n", step.after, step.receiver);
    }
    out
}

/// The tree of all routes, or of those on the way of an alert.
fn tree(root: &Route, labels: Option<&Labels>) -> String {
    let mut out = ".\n".to_owned();
    branch(root, labels, "", true, &mut out);
    out
}

fn branch(route: &Route, labels: Option<&Labels>, margin: &str, is_last: bool, out: &mut String) {
    let below: Vec<&Route> = match labels {
        None => route.routes.iter().collect(),
        Some(labels) => {
            let matching: Vec<&Route> = route.routes.iter().filter(|child| child.matchers.matches(labels)).collect();
            let end = matching.iter().position(|child| !child.continues).map_or(matching.len(), |at| at + 1);
            matching[..end].to_vec()
        }
    };
    let name = if route.matchers.0.is_empty() { "default-route".to_owned() } else { route.matchers.to_string() };
    let continues = if route.continues && labels.is_none() { "  continue: true" } else { "" };
    let told = labels.is_none() || below.is_empty();
    let receiver = if told { format!("  receiver: {}", route.receiver) } else { String::new() };
    let (edge, inner) = if is_last { ("└── ", "    ") } else { ("├── ", "│\u{a0}\u{a0} ") };
    *out += &format!("{margin}{edge}{name}{continues}{receiver}\n");
    for (i, child) in below.iter().enumerate() {
        branch(child, labels, &format!("{margin}{inner}"), i + 1 == below.len(), out);
    }
}
