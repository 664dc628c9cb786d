//! The section `receivers`.

use crate::diag::Diagnostic;
use crate::notify::{self, Globals, Integration};
use crate::route::Route;
use crate::yaml::{self, Faults, Fields, Node};

/// A receiver as it is written.
#[derive(Debug)]
pub(super) struct Receiver<'a> {
    pub(super) name: String,
    pub(super) integrations: Vec<Integration>,
    pub(super) node: &'a Node,
}

/// The kinds of Alertmanager that are not here, by their keys.
const OF_ALERTMANAGER: &[(&str, &str)] = &[
    ("opsgenie_configs", "Opsgenie"),
    ("victorops_configs", "VictorOps"),
    ("pushover_configs", "Pushover"),
    ("wechat_configs", "WeChat"),
    ("sns_configs", "Amazon SNS"),
    ("telegram_configs", "Telegram"),
    ("webex_configs", "Webex"),
    ("jira_configs", "Jira"),
    ("rocketchat_configs", "Rocket.Chat"),
    ("mattermost_configs", "Mattermost"),
    ("incidentio_configs", "incident.io"),
];

/// Reads the list, in its order; a name that comes twice is a fault.
pub(super) fn read<'a>(fields: &mut Fields<'a>, faults: &mut Faults, globals: &Globals) -> Vec<Receiver<'a>> {
    let mut receivers: Vec<Receiver<'a>> = Vec::new();
    fields.each("receivers", faults, |fields, faults| {
        let name = fields.required("name", faults, yaml::TEXT);
        let integrations = notify::integrations(name.as_deref().unwrap_or_default(), fields, faults, globals);
        for (key, kind) in OF_ALERTMANAGER {
            let instead = "tell it by `webhook_configs`, or let an Alertmanager tell it by `alertmanager_configs`";
            fields.hint(key, format!("modelwatch does not know {kind}; {instead}"));
        }
        let (name, node) = (name?, fields.node);
        if receivers.iter().any(|known| known.name == name) {
            faults.error("duplicate", node.at("name"), format!("there is another receiver `{name}`"));
        } else {
            receivers.push(Receiver { name, integrations, node });
        }
        Some(())
    });
    receivers
}

/// Warns of receivers that no route tells.
pub(super) fn unused(receivers: &[Receiver<'_>], root: &Route, faults: &mut Faults) {
    let routes = root.walk();
    let told = |name: &str| {
        routes.iter().any(|route| route.receiver == name || route.escalation.iter().any(|step| step.receiver == name))
    };
    for Receiver { name, node, .. } in receivers.iter().filter(|receiver| !told(&receiver.name)) {
        let fault = Diagnostic::warning("unused-receiver", &node.at("name").place, format!("no route tells `{name}`"));
        faults.0.push(fault.help(format!("give a route `receiver: {name}`, or remove it")));
    }
}
