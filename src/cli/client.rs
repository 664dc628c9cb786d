//! How a command asks the modelwatch that runs: where it is, who we are there, and what it means that it does not answer.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::{Certificate, Method, StatusCode, Url};
use serde_json::Value;

use crate::cli::EXIT_FAULTS;
use crate::config;
use crate::limits::{CONNECT_TIMEOUT, REQUEST_TIMEOUT};
use crate::message::one_line;
use crate::secret::Secret;

/// The modelwatch that is asked.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// The configuration that it runs with, for its address.
    #[arg(short, long, default_value = "modelwatch.yml", env = "MODELWATCH_CONFIG")]
    config: PathBuf,
    /// Where it is, instead of what the configuration says.
    #[arg(long, env = "MODELWATCH_URL")]
    url: Option<String>,
    /// Who asks; the password is in --password-file or the variable MODELWATCH_PASSWORD.
    #[arg(long, env = "MODELWATCH_USER")]
    user: Option<String>,
    /// The file that holds the password.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// The file that holds a bearer token; else it is in the variable MODELWATCH_TOKEN.
    #[arg(long, value_name = "FILE", conflicts_with = "user")]
    token_file: Option<PathBuf>,
    /// The CA that signed its certificate, as PEM, where the system does not know it.
    #[arg(long, value_name = "FILE", env = "MODELWATCH_CA_FILE")]
    ca_file: Option<PathBuf>,
}

/// What a command is about.
#[derive(Debug, clap::Args)]
pub struct Chosen {
    /// Which alerts: `model=gpt-4o`; all must hold. A name alone is that of the alert; a fingerprint will do too.
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    alerts: Vec<String>,
    /// Which group, by its key.
    #[arg(long, value_name = "KEY")]
    group: Option<String>,
    /// Only as it is told to this receiver.
    #[arg(long, requires = "group")]
    receiver: Option<String>,
}

impl Chosen {
    /// The same as `/api/v1` is asked.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let what = match &self.group {
            Some(group) => ("group", group.clone()),
            None => ("alert", one_of_many(&self.alerts)),
        };
        [what].into_iter().chain(self.receiver.iter().map(|receiver| ("receiver", receiver.clone()))).collect()
    }
}

/// What was refused, for people.
#[derive(Debug)]
pub struct Refused(String);

impl Refused {
    /// Says so; the exit code.
    pub fn show(&self) -> ExitCode {
        eprintln!("error: {}", self.0);
        ExitCode::from(EXIT_FAULTS)
    }
}

/// What it answered.
pub type Answered = Result<Value, Refused>;

impl Server {
    /// Looks.
    ///
    /// # Errors
    /// Nobody answers, or not as modelwatch does.
    pub async fn get(&self, path: &str, query: &[(&'static str, String)]) -> Result<Answered> {
        self.ask(Method::GET, path, query, None).await
    }

    /// Changes something.
    ///
    /// # Errors
    /// As for [`Server::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answered> {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    /// Takes something away.
    ///
    /// # Errors
    /// As for [`Server::get`].
    pub async fn delete(&self, path: &str, query: &[(&'static str, String)]) -> Result<Answered> {
        self.ask(Method::DELETE, path, query, None).await
    }

    async fn ask(&self, method: Method, path: &str, query: &[(&'static str, String)], body: Option<&Value>) -> Result<Answered> {
        let mut url = self.base()?;
        let own = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{own}{path}"));
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let origin = url.origin().ascii_serialization();
        let mut request = self.client()?.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        if let Some(token) = from_file_or(self.token_file.as_deref(), "MODELWATCH_TOKEN")?.filter(|_| self.user.is_none()) {
            request = request.bearer_auth(token.reveal());
        }
        if let Some(user) = &self.user {
            let password = from_file_or(self.password_file.as_deref(), "MODELWATCH_PASSWORD")?;
            let password = password.context("--user needs --password-file or the variable MODELWATCH_PASSWORD")?;
            request = request.basic_auth(user, Some(password.reveal()));
        }
        let answer = request.send().await.map_err(|error| unanswered(&origin, error))?;
        let status = answer.status();
        let text = answer.text().await.with_context(|| format!("{origin} broke off its answer"))?;
        if status.is_success() {
            let json = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
            return Ok(Ok(json.with_context(|| format!("{origin} does not answer as modelwatch does"))?));
        }
        if status == StatusCode::NOT_FOUND && !text.is_empty() && serde_json::from_str::<Value>(&text).is_err() {
            bail!("{origin} does not answer as modelwatch does (404)");
        }
        Ok(Err(Refused(refusal(status, &text))))
    }

    fn base(&self) -> Result<Url> {
        let text = match &self.url {
            Some(url) => url.clone(),
            None => config::own_url(&self.config).map_err(|fault| anyhow!("{fault}\nhint: --url says where modelwatch runs"))?,
        };
        let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        url.with_context(|| format!("`{text}` is no URL; write it as http://127.0.0.1:9464"))
    }

    fn client(&self) -> Result<reqwest::Client> {
        let mut builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT.to_std())
            .timeout(REQUEST_TIMEOUT.to_std())
            .user_agent(concat!("modelwatch/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &self.ca_file {
            let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            let certificates = Certificate::from_pem_bundle(&pem).with_context(|| format!("{} holds no CA", path.display()))?;
            builder = builder.tls_certs_only(certificates);
        }
        builder.build().context("cannot ask over HTTP")
    }
}

fn from_file_or(path: Option<&Path>, variable: &str) -> Result<Option<Secret>> {
    match path {
        Some(path) => {
            let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(Secret::new(text.trim())))
        }
        None => Ok(std::env::var(variable).ok().map(Secret::new)),
    }
}

fn unanswered(origin: &str, error: reqwest::Error) -> anyhow::Error {
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let why = one_line(&cause.to_string());
    if error.is_timeout() {
        return anyhow!("{origin} does not answer in time");
    }
    let hint = if why.contains("ertificate") {
        "--ca-file names the CA that signed its certificate"
    } else {
        "is `modelwatch run` running? --url says where"
    };
    anyhow!("nobody answers on {origin}: {why}\nhint: {hint}")
}

fn refusal(status: StatusCode, text: &str) -> String {
    let said = match serde_json::from_str::<Value>(text) {
        Ok(Value::String(said)) => said,
        Ok(json) => ["error", "message"].iter().find_map(|key| Some(json[key].as_str()?.to_owned())).unwrap_or(text.to_owned()),
        Err(_) => text.to_owned(),
    };
    let said = one_line(said.trim());
    match status {
        StatusCode::UNAUTHORIZED => {
            format!("{said}\nhint: --user NAME with --password-file FILE, or --token-file FILE")
        }
        StatusCode::NOT_FOUND if said.is_empty() => "there is none".to_owned(),
        _ if said.is_empty() => format!("status {status}"),
        _ => said,
    }
}

/// Rows under their headers, for people; what comes from elsewhere cannot move the cursor.
pub fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(|cell| one_line(cell)).collect()).collect();
    let heads: Vec<String> = headers.iter().map(|&header| header.to_owned()).collect();
    let all: Vec<&Vec<String>> = std::iter::once(&heads).chain(&rows).collect();
    let widths: Vec<usize> = (0..headers.len())
        .map(|column| all.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    all.into_iter().map(line).collect()
}

/// A text of an answer; empty where there is none.
pub fn text(value: &Value, key: &str) -> String {
    match &value[key] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A time without what is finer than a second.
pub fn seconds(time: &str) -> String {
    crate::time::Time::parse(time).map_or_else(|_| time.to_owned(), |at| at.floor(crate::time::Span::secs(1)).to_string())
}

/// The items of a list of an answer.
pub fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// Who runs the command, for those who read of it later.
pub fn user() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "unknown".to_owned())
}

/// Matchers in one text; one alone may be the name or the fingerprint of an alert.
pub fn one_of_many(alerts: &[String]) -> String {
    let matcher = |text: &String| match text.contains(['=', '!', '~', '{']) {
        true => text.trim().trim_start_matches('{').trim_end_matches('}').to_owned(),
        false => format!("alertname={}", crate::labels::quote(text)),
    };
    match alerts {
        [one] => one.clone(),
        many => format!("{{{}}}", many.iter().map(matcher).collect::<Vec<_>>().join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_and_harmless() {
        let rows = [vec!["1".to_owned(), "\u{1b}[2Jé".to_owned()], vec!["22222".to_owned(), String::new()]];
        let table = table(&["ID", "WHAT"], &rows);
        assert!(!table.contains('\u{1b}'), "{table:?}");
        assert_eq!(table.lines().next(), Some("ID     WHAT"));
        assert_eq!(table.lines().last(), Some("22222"));
    }

    #[test]
    fn refusals_say_what_to_do() {
        assert_eq!(refusal(StatusCode::BAD_REQUEST, "\"bad matcher\"\n"), "bad matcher");
        assert_eq!(refusal(StatusCode::NOT_FOUND, "{\"error\":\"no such\"}"), "no such");
        assert_eq!(refusal(StatusCode::BAD_REQUEST, "{\"code\":602,\"message\":\"x is required\"}"), "x is required");
        assert_eq!(refusal(StatusCode::BAD_GATEWAY, ""), "status 502 Bad Gateway");
        assert!(refusal(StatusCode::UNAUTHORIZED, "401: wrong").contains("--password-file"));
    }
}
