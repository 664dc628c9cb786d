//! Recorded traffic of real services, loaded into both databases and counted by modelwatch through the presets.
//!
//! The traces are not part of the repository: they are looked for in MODELWATCH_TRACES and in `../shared/data`. Beside them
//! `truth/*.json` says what is true of them.

use crate::daemon::{Output, once};
use crate::ground::skipped;
use crate::postgres::{self, Postgres};
use crate::scrape::Scrape;
use crate::sqlite;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, SqliteConnection};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// From the columns of the trace, as text in `raw`, into the tables of cora.sql.
const INTO_POSTGRES: &str = include_str!("traces_postgres.sql");
const INTO_SQLITE: &str = include_str!("traces_sqlite.sql");

pub struct Trace {
    pub name: &'static str,
    pub csv: String,
    pub truth: Value,
    /// An instant after the last row, for `--at`.
    pub end: &'static str,
}

/// The trace, or `None` (and said) where it is missing.
pub fn find(name: &'static str) -> Option<Trace> {
    let Some(dir) = folder() else {
        skipped("no traces: set MODELWATCH_TRACES, or put them into ../shared/data");
        return None;
    };
    let mut csv = String::new();
    let packed = std::fs::File::open(dir.join(format!("{name}.csv.gz"))).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut csv).unwrap();
    let truth = std::fs::read_to_string(dir.join(format!("truth/{name}.json"))).unwrap();
    let end = if name == "azure" { "2023-11-16T20:00:00Z" } else { "2023-12-19T00:45:00Z" };
    Some(Trace { name, csv, truth: serde_json::from_str(&truth).unwrap(), end })
}

/// The volume of five models as CSV, and what is true of it, or `None` (and said) where it is missing.
pub fn servegen() -> Option<(String, Value)> {
    let Some(dir) = folder() else {
        skipped("no traces: set MODELWATCH_TRACES, or put them into ../shared/data");
        return None;
    };
    let mut csv = String::new();
    let packed = std::fs::File::open(dir.join("servegen_rates.csv.gz")).unwrap();
    flate2::read::GzDecoder::new(packed).read_to_string(&mut csv).unwrap();
    let truth = std::fs::read_to_string(dir.join("truth/servegen.json")).unwrap();
    Some((csv, serde_json::from_str(&truth).unwrap()))
}

fn folder() -> Option<PathBuf> {
    let given = std::env::var_os("MODELWATCH_TRACES").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A git worktree lies one folder deeper than a clone.
    let places = given.into_iter().chain(["../shared/data", "../../shared/data"].map(|place| root.join(place)));
    places.into_iter().find(|dir| dir.join("llmperf.csv.gz").exists())
}

impl Trace {
    pub async fn load_postgres(&self, connection: &mut PgConnection) {
        let header = self.csv.lines().next().unwrap();
        let columns: Vec<String> = header.split(',').map(|name| format!("{name} text")).collect();
        postgres::execute(connection, &format!("CREATE TEMP TABLE raw (line bigserial, {})", columns.join(", "))).await;
        let copy = format!("COPY raw ({header}) FROM STDIN (FORMAT csv, HEADER)");
        let mut stream = connection.copy_in_raw(&copy).await.unwrap();
        stream.send(self.csv.as_bytes()).await.unwrap();
        stream.finish().await.unwrap();
        postgres::execute(connection, INTO_POSTGRES).await;
    }

    pub async fn load_sqlite(&self, connection: &mut SqliteConnection) {
        let rows: Vec<Vec<&str>> = self.csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
        let mut transaction = connection.begin().await.unwrap();
        let columns = self.csv.lines().next().unwrap();
        let values: Vec<String> =
            (0..columns.split(',').count()).map(|at| format!("nullif(json_extract(value, '$[{at}]'), '')")).collect();
        sqlite::execute(&mut transaction, &format!("CREATE TEMP TABLE raw (line, {columns})")).await;
        let insert = format!("INSERT INTO raw SELECT key + 1, {} FROM json_each($1)", values.join(", "));
        sqlx::query(sqlx::AssertSqlSafe(insert)).bind(json!(rows).to_string()).execute(&mut *transaction).await.unwrap();
        sqlite::execute(&mut transaction, INTO_SQLITE).await;
        transaction.commit().await.unwrap();
    }

    /// Requests, successes, failures, tokens in and out, of a row of the truth tables.
    fn truth_of(row: &Value) -> [i64; 5] {
        ["requests", "success", "failed", "prompt_tokens", "completion_tokens"]
            .map(|field| row[field].as_i64().unwrap_or_default())
    }

    fn per_model(&self) -> BTreeMap<String, [i64; 5]> {
        let rows = self.truth["per_model"].as_array().unwrap();
        rows.iter().map(|row| (row["model"].as_str().unwrap().to_owned(), Self::truth_of(row))).collect()
    }

    /// What the rows of the CSV say of each provider, model, operation, service and outcome: number, tokens in, tokens out.
    fn recount(&self) -> BTreeMap<Vec<String>, [f64; 3]> {
        let mut sums: BTreeMap<_, [f64; 3]> = BTreeMap::new();
        for line in self.csv.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let outcome = if cells[10] == "true" { "success" } else { "failure" };
            let sum = sums.entry([cells[2], cells[3], cells[5], cells[4], outcome].map(str::to_owned).to_vec()).or_default();
            sum[0] += 1.0;
            sum[1] += cells[6].parse().unwrap_or(0.0);
            sum[2] += cells[7].parse().unwrap_or(0.0);
        }
        sums
    }

    fn errors(&self) -> BTreeMap<Vec<String>, f64> {
        let mut sums = BTreeMap::new();
        for line in self.csv.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            if cells[10] == "false" {
                *sums.entry(vec![cells[2].to_owned(), cells[3].to_owned(), cells[11].to_owned()]).or_insert(0.0) += 1.0;
            }
        }
        sums
    }
}

/// A config that reads the cora tables of one database. Rows of azure are finished although they have no completed_at.
pub fn config(url: &str) -> String {
    format!(
        "listen: 127.0.0.1:0
state: modelwatch.db
external_url: http://localhost:9464
rule_files: [rules.yml]
sources:
  - name: cora
    url: {url}
    poll: 1s
    tables:
      - {{preset: cora_usage, history: 30d}}
      - {{preset: cora_errors, history: 30d}}
export: {{dimensions: [provider, model, operation, service]}}
route: {{receiver: oncall}}
receivers: [{{name: oncall, stdout_configs: [{{}}]}}]
"
    )
}

/// The trace in both databases, by the URL of each.
pub async fn in_both(trace: &Trace, dir: &Path) -> Vec<String> {
    let file = dir.join("source.db");
    let mut connection = sqlite::open(&file).await;
    sqlite::execute(&mut connection, sqlite::CORA).await;
    trace.load_sqlite(&mut connection).await;
    connection.close().await.unwrap();
    let mut urls = vec![sqlite::url(&file)];
    if let Some(postgres) = Postgres::shared().await {
        let database = postgres.database(postgres::CORA).await;
        trace.load_postgres(&mut database.connect().await).await;
        urls.push(database.url);
    }
    urls
}

/// `once --at` with these rules; it must succeed.
pub fn once_at(url: &str, rules: &str, at: &str, dir: &Path) -> Output {
    std::fs::write(dir.join("rules.yml"), rules).unwrap();
    let output = once(&config(url), dir, &["--at", at]);
    assert_eq!(output.code, Some(0), "once --at {at}:\n{}", output.stderr);
    output
}

async fn counts_match(name: &'static str) {
    let Some(trace) = find(name) else { return };
    let dir = tempfile::tempdir().unwrap();
    for url in in_both(&trace, dir.path()).await {
        let scrape = Scrape::parse(&once_at(&url, "groups: []\n", trace.end, dir.path()).stdout).unwrap();
        let labels = ["provider", "model", "operation", "service", "outcome"];
        let expected = trace.recount();
        let requests = expected.iter().map(|(key, sums)| (key.clone(), sums[0])).collect::<BTreeMap<_, _>>();
        assert_eq!(scrape.by("ai_requests_total", &labels), requests, "{url}");
        for (model, truth) in trace.per_model() {
            let model = [("model", model.as_str())];
            let sum = |name, label| scrape.sum(name, &[&model[..], label].concat()).unwrap_or(0.0) as i64;
            let counted = [
                sum("ai_requests_total", &[][..]),
                sum("ai_requests_total", &[("outcome", "success")]),
                sum("ai_requests_total", &[("outcome", "failure")]),
                sum("ai_tokens_total", &[("token_type", "input")]),
                sum("ai_tokens_total", &[("token_type", "output")]),
            ];
            assert_eq!(counted, truth, "{url} {model:?}");
        }
        assert_eq!(scrape.by("ai_errors_total", &["provider", "model", "error_type"]), trace.errors(), "{url}");
        assert_eq!(scrape.sum("ai_tokens_total", &[("token_type", "unspecified")]).unwrap_or(0.0), 0.0, "{url}");
    }
}

#[tokio::test]
async fn azure_is_counted_as_the_truth_says() {
    counts_match("azure").await;
}

#[tokio::test]
async fn llmperf_is_counted_as_the_truth_says() {
    counts_match("llmperf").await;
}

/// A failed assertion of modelwatch's numbers means something only if the loaded rows are right.
#[tokio::test]
async fn both_databases_hold_what_the_truth_says() {
    const SUMS: &str = "SELECT model_id_used, count(*), sum(CASE WHEN success THEN 1 ELSE 0 END), sum(CASE WHEN success THEN 0 ELSE 1 END),
        CAST(sum(prompt_tokens) AS bigint), CAST(sum(completion_tokens) AS bigint) FROM ai_log_usage GROUP BY model_id_used ORDER BY 1";
    const ENDS: &str = "SELECT CAST(min(started_at) AS text), CAST(max(started_at) AS text), count(DISTINCT id), count(DISTINCT model_id) FROM ai_log_usage";
    type Sums = (String, i64, i64, i64, i64, i64);
    type Ends = (String, String, i64, i64);
    for name in ["azure", "llmperf"] {
        let Some(trace) = find(name) else { return };
        let dir = tempfile::tempdir().unwrap();
        for url in in_both(&trace, dir.path()).await {
            let (sums, ends): (Vec<Sums>, Ends) = if let Some(file) = url.strip_prefix("sqlite://") {
                let mut connection = sqlite::open(Path::new(file)).await;
                let sums = sqlx::query_as(SUMS).fetch_all(&mut connection).await.unwrap();
                (sums, sqlx::query_as(ENDS).fetch_one(&mut connection).await.unwrap())
            } else {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let sums = sqlx::query_as(SUMS).fetch_all(&mut connection).await.unwrap();
                (sums, sqlx::query_as(ENDS).fetch_one(&mut connection).await.unwrap())
            };
            let loaded = sums.into_iter().map(|row| (row.0, [row.1, row.2, row.3, row.4, row.5])).collect::<BTreeMap<_, _>>();
            assert_eq!(loaded, trace.per_model(), "{} in {url}", trace.name);
            assert_eq!(ends.2, trace.truth["rows"].as_i64().unwrap());
            let expected = |field: &str| trace.truth[field].as_str().unwrap()[..19].replace('T', " ");
            assert_eq!((&ends.0[..19], &ends.1[..19]), (&*expected("first_started_at"), &*expected("last_started_at")), "{url}");
        }
    }
}
