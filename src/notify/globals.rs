//! The section `global` of a configuration: what receivers take where they say nothing themselves.

use std::sync::Arc;

use serde_json::json;

use crate::message::Templates;
use crate::notify;
use crate::notify::email;
use crate::notify::http::{HttpOptions, either};
use crate::notify::tls::TlsOptions;
use crate::route::Semantics;
use crate::secret::Secret;
use crate::time::Span;
use crate::yaml::{self, Faults, Fields};

/// What holds for all receivers, and for alerts that others post.
#[derive(Clone, Debug)]
pub struct Globals {
    /// Whose defaults hold.
    pub semantics: Semantics,
    /// How long an alert fires that was posted without its end.
    pub resolve_timeout: Span,
    /// The templates that texts of receivers may use.
    pub templates: Templates,
    /// How HTTP receivers are reached that have no `http_config`.
    pub http: Arc<HttpOptions>,
    /// Where Slack's receivers post that say neither `api_url` nor `api_url_file`.
    pub slack_api_url: Option<Secret>,
    /// Where PagerDuty's receivers post that say no `url`.
    pub pagerduty_url: Option<Secret>,
    /// How mail is sent.
    pub smtp: Smtp,
}

/// The keys `smtp_*`.
#[derive(Clone, Debug, Default)]
pub struct Smtp {
    /// The server and its port.
    pub smarthost: Option<(String, u16)>,
    /// Who it comes from.
    pub from: Option<String>,
    /// By what name we greet.
    pub hello: Option<String>,
    /// Who we are there.
    pub auth_username: Option<String>,
    /// Its password.
    pub auth_password: Option<Secret>,
    /// For whom we act.
    pub auth_identity: Option<String>,
    /// Whether `smtp_auth_secret` (of CRAM-MD5) is given.
    pub has_auth_secret: bool,
    /// Whether TLS is spoken from the start, whatever the port.
    pub force_implicit_tls: Option<bool>,
    /// Whether nothing may be sent unencrypted.
    pub require_tls: Option<bool>,
    /// Whom it trusts.
    pub tls: Option<TlsOptions>,
}

impl Default for Globals {
    fn default() -> Globals {
        Globals {
            semantics: Semantics::Ours,
            resolve_timeout: Span::secs(300),
            templates: Templates::default(),
            http: Arc::default(),
            slack_api_url: None,
            pagerduty_url: None,
            smtp: Smtp::default(),
        }
    }
}

/// Keys of Alertmanager for receivers that are not here: its files carry them, and nothing here would read them.
const OF_OTHERS: &[&str] = &[
    "opsgenie_api_key",
    "opsgenie_api_key_file",
    "opsgenie_api_url",
    "victorops_api_key",
    "victorops_api_key_file",
    "victorops_api_url",
    "wechat_api_url",
    "wechat_api_secret",
    "wechat_api_secret_file",
    "wechat_api_corp_id",
    "hipchat_api_url",
    "hipchat_auth_token",
    "telegram_api_url",
    "telegram_bot_token",
    "telegram_bot_token_file",
    "webex_api_url",
    "rocketchat_api_url",
    "rocketchat_token",
    "rocketchat_token_file",
    "rocketchat_token_id",
    "rocketchat_token_id_file",
    "jira_api_url",
    "mattermost_webhook_url",
    "mattermost_webhook_url_file",
];

impl Globals {
    /// Reads the keys of `global`.
    pub fn parse(fields: &mut Fields<'_>, faults: &mut Faults, semantics: Semantics) -> Globals {
        let resolve_timeout = fields.optional("resolve_timeout", faults, yaml::POSITIVE_SPAN);
        let http = fields.nested("http_config", faults, HttpOptions::parse);
        let slack_api_url = either(fields, faults, ["slack_api_url", "slack_api_url_file"]);
        let slack_api_url = checked(slack_api_url, ["slack_api_url", "slack_api_url_file"], fields, faults);
        let pagerduty_url = fields.optional("pagerduty_url", faults, yaml::SECRET.then(notify::http_url));
        let smtp = Smtp::parse(fields, faults);
        for key in OF_OTHERS {
            fields.node_as(key, || json!({}));
        }
        Globals {
            semantics,
            resolve_timeout: resolve_timeout.unwrap_or(Span::secs(300)),
            templates: Templates::default(),
            http: http.map(Arc::new).unwrap_or_default(),
            slack_api_url,
            pagerduty_url,
            smtp,
        }
    }
}

impl Smtp {
    fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Smtp {
        Smtp {
            smarthost: fields.optional("smtp_smarthost", faults, yaml::TEXT.then(email::host_and_port)),
            from: fields.optional("smtp_from", faults, yaml::TEXT.then(email::addresses)),
            hello: fields.optional("smtp_hello", faults, yaml::TEXT.then(email::hello)),
            auth_username: fields.optional("smtp_auth_username", faults, yaml::TEXT),
            auth_password: either(fields, faults, ["smtp_auth_password", "smtp_auth_password_file"]),
            auth_identity: fields.optional("smtp_auth_identity", faults, yaml::TEXT),
            has_auth_secret: either(fields, faults, ["smtp_auth_secret", "smtp_auth_secret_file"]).is_some(),
            force_implicit_tls: fields.optional("smtp_force_implicit_tls", faults, yaml::BOOLEAN),
            require_tls: fields.optional("smtp_require_tls", faults, yaml::BOOLEAN),
            tls: fields.nested("smtp_tls_config", faults, TlsOptions::parse),
        }
    }
}

fn checked(url: Option<Secret>, keys: [&'static str; 2], fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Secret> {
    let key = if fields.node(keys[0]).is_some() { keys[0] } else { keys[1] };
    match notify::http_url(url?) {
        Ok(url) => Some(url),
        Err(message) => {
            faults.error("bad-value", fields.node.at(key), format!("{key}: {message}"));
            None
        }
    }
}
