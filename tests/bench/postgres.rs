//! A throw-away PostgreSQL cluster and the tables of a cora deployment, filled by SQL.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

/// Not durable, else as a small server is set up. Autovacuum is off: tables are vacuumed once, when they are built.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "full_page_writes=off",
    "shared_buffers=512MB",
    "maintenance_work_mem=512MB",
    "max_wal_size=8GB",
    "autovacuum=off",
    "listen_addresses=127.0.0.1",
    "timezone=UTC",
];

/// A running server; stopped and removed with this value.
#[derive(Debug)]
pub struct Cluster {
    directory: tempfile::TempDir,
    port: u16,
    server: Child,
}

/// A port of the loopback that nothing listens on.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Cluster {
    /// Makes and starts one, reached over TCP on the loopback.
    pub fn start() -> Result<Cluster> {
        let directory = tempfile::Builder::new().prefix("modelwatch-bench-").tempdir()?;
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(directory.path()))?;
        }
        let data = directory.path().join("data");
        run(as_postgres("initdb")?
            .args(["--auth=trust", "--username=postgres", "--encoding=UTF8", "--no-sync", "-D"])
            .arg(&data))?;
        let port = free_port()?;
        let mut command = as_postgres("postgres")?;
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-k"]).arg(directory.path());
        command.args(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let log = fs::File::create(directory.path().join("log"))?;
        let server = command.stdout(Stdio::null()).stderr(log).spawn().context("cannot start postgres")?;
        let cluster = Cluster { directory, port, server };
        let deadline = Instant::now() + Duration::from_secs(30);
        while cluster.psql("postgres", "SELECT 1").is_err() {
            ensure!(Instant::now() < deadline, "postgres does not answer; see its log:\n{}", cluster.log());
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(cluster)
    }

    /// What the server wrote.
    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// For a config.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// A new database with the tables of cora; `indexes` besides the primary keys.
    pub fn create(&self, database: &str, indexes: &str) -> Result<()> {
        self.psql("postgres", &format!("CREATE DATABASE {database}"))?;
        self.psql(database, &format!("{TABLES}\n{NAMES}\n{indexes}"))?;
        Ok(())
    }

    /// Removes a database with all who use it.
    pub fn remove(&self, database: &str) -> Result<()> {
        self.psql("postgres", &format!("DROP DATABASE {database} WITH (FORCE)")).map(drop)
    }

    /// psql on a database, ready for `-c`.
    pub fn psql_command(&self, database: &str) -> Command {
        let mut command = Command::new("psql");
        command.args(["-qAtX", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres", "-d", database]);
        command.args(["-p", &self.port.to_string()]);
        command
    }

    /// Runs SQL and gives what it printed.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        run(self.psql_command(database).args(["-c", sql]))
    }

    /// Fills the empty usage table, as fast as it goes: no foreign keys checked, the primary key built afterwards.
    pub fn load(&self, database: &str, usage: &Usage<'_>) -> Result<()> {
        let rows = usage.sql();
        let sql = format!(
            "SET session_replication_role = replica; ALTER TABLE ai_log_usage DROP CONSTRAINT ai_log_usage_pkey; {rows};
            ALTER TABLE ai_log_usage ADD PRIMARY KEY (id)"
        );
        self.psql(database, &sql).map(drop)
    }

    /// Wall seconds of a statement through psql, its result thrown away.
    pub fn time(&self, database: &str, sql: &str) -> Result<f64> {
        let began = Instant::now();
        let status = self.psql_command(database).args(["-c", sql]).stdout(Stdio::null()).status()?;
        ensure!(status.success(), "psql failed at {sql}");
        Ok(began.elapsed().as_secs_f64())
    }

    /// A connection for writing rows.
    pub async fn connect(&self, database: &str) -> Result<PgConnection> {
        Ok(PgConnection::connect(&self.url(database)).await?)
    }

    /// Process ids of the backends that serve modelwatch.
    pub fn backends(&self, database: &str) -> Result<Vec<u32>> {
        let sql = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'modelwatch%' ORDER BY pid";
        Ok(self.psql(database, sql)?.lines().filter_map(|pid| pid.parse().ok()).collect())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stop = as_postgres("pg_ctl")
            .and_then(|mut command| run(command.args(["stop", "-m", "immediate", "-D"]).arg(self.directory.path().join("data"))));
        if let Err(error) = stop {
            eprintln!("cannot stop postgres in {}: {error:#}", self.directory.path().display());
            let _ = self.server.kill();
        }
        let _ = self.server.wait();
    }
}

/// Runs one statement, which commits by itself.
pub async fn execute(connection: &mut PgConnection, sql: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
    Ok(())
}

/// A server program, run as a user that it accepts.
fn as_postgres(program: &str) -> Result<Command> {
    let path = program_path(program).with_context(|| format!("no `{program}`: install the PostgreSQL server"))?;
    if !is_root() {
        return Ok(Command::new(path));
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(path).current_dir("/");
    Ok(command)
}

/// In `PATH`, else the newest of Debian's places.
fn program_path(program: &str) -> Option<PathBuf> {
    let in_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut versions: Vec<PathBuf> = glob::glob("/usr/lib/postgresql/*/bin").ok()?.flatten().collect();
    versions.sort();
    in_path.chain(versions.into_iter().rev()).map(|directory| directory.join(program)).find(|path| path.is_file())
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().find_map(|line| line.strip_prefix("Uid:")).is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        let shown: String = format!("{command:?}").chars().take(300).collect();
        bail!("{shown}: {}{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// CPU seconds that a process has used: exact where the kernel keeps schedstat, else in clock ticks.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let process = Path::new("/proc").join(pid.to_string());
    if let Ok(text) = fs::read_to_string(process.join("schedstat")) {
        let nanoseconds = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
        return nanoseconds.map(|ns| ns / 1e9).context("schedstat has another form");
    }
    let stat = fs::read_to_string(process.join("stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(')').context("stat has another form")?.1.split_whitespace().collect();
    // utime and stime, fields 14 and 15 of proc(5), counted after the name; USER_HZ is 100 on Linux.
    let ticks =
        fields.get(11..13).context("stat is too short")?.iter().filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    Ok(ticks / 100.0)
}

/// Rows of `ai_log_usage` to generate: 12 models of 4 providers, 20 organisations, one call in 50 failed, one model without a
/// price. The texts are SQL expressions over `g`, the number of the row from 1, and `h`, a hash of it.
#[derive(Clone, Copy, Debug)]
pub struct Usage<'a> {
    /// How many.
    pub rows: u64,
    /// Added to `g` before it is hashed: other numbers make other rows.
    pub seed: u64,
    /// `started_at`
    pub time: &'a str,
    /// `model_id_used`; `m` is the number of the model, from 0 to 11.
    pub model: &'a str,
    /// `success`
    pub success: &'a str,
}

impl<'a> Usage<'a> {
    /// Usual rows at these times.
    pub fn at(time: &'a str, rows: u64) -> Usage<'a> {
        Usage { rows, seed: 0, time, model: "'model-' || m", success: "h % 50 <> 7" }
    }

    /// The statement that inserts them.
    pub fn sql(&self) -> String {
        let Usage { rows, seed, time, model, success } = self;
        format!(
            "INSERT INTO ai_log_usage (provider_id, model_id, request_source, operation_type, model_id_used, prompt_tokens,
                completion_tokens, total_tokens, latency_ms, success, estimated_cost_usd, user_id, org_id, started_at, completed_at)
            SELECT md5('provider' || m % 4)::uuid, md5('model' || m)::uuid,
                CASE WHEN m % 6 = 5 THEN 'kb-processor' WHEN h % 3 = 0 THEN 'eval-processor' ELSE 'chat-stream' END,
                CASE WHEN m % 6 = 5 THEN 'embedding' ELSE 'text_generation' END, {model},
                input, output, input + output, 200 + h % 5000, {success},
                CASE WHEN m <> 11 THEN round((input * 3 + output * 15) / 1e6, 6) END,
                md5('user' || h % 500)::uuid, md5('org' || h / 64 % 20)::uuid, at, at + (200 + h % 5000) * interval '1 ms'
            FROM (
                SELECT g, h, h / 8 % 12 AS m, 100 + h % 1900 AS input, h / 16 % 700 AS output, {time} AS at
                FROM (SELECT g, hashint8(g + {seed}) & 2147483647 AS h FROM generate_series(1::bigint, {rows}) g) numbered
            ) drawn"
        )
    }
}

/// Times for [`Usage::at`]: evenly over `days` until `minutes_ago`.
pub fn spread_over(days: u32, minutes_ago: u32, rows: u64) -> String {
    format!("now()::timestamp - interval '{minutes_ago} min' - ({rows} - g) * (interval '{days} days' / {rows})")
}

/// The error rows of all failed calls.
pub const ERRORS_OF_USAGE: &str = "INSERT INTO ai_log_error (provider_id, model_id, request_source, operation_type, error_type,
        error_message, model_id_attempted, org_id, occurred_at)
    SELECT provider_id, model_id, request_source, operation_type, 'rate_limit_exceeded', 'Too many requests', model_id_used, org_id,
        completed_at FROM ai_log_usage WHERE NOT success";

/// Statistics and visibility, as after a while of normal operation. Not within a transaction.
pub const SETTLE: [&str; 3] = ["VACUUM ANALYZE ai_log_usage", "VACUUM ANALYZE ai_log_error", "CHECKPOINT"];

/// The indexes that reading needs.
pub const TIME_INDEXES: &str = "
    CREATE INDEX idx_ai_log_usage_time ON ai_log_usage (started_at DESC);
    CREATE INDEX idx_ai_log_error_time ON ai_log_error (occurred_at DESC);";

/// All that a cora deployment has.
pub const ALL_INDEXES: &str = "
    CREATE INDEX idx_ai_log_usage_model  ON ai_log_usage (model_id, started_at DESC);
    CREATE INDEX idx_ai_log_usage_org    ON ai_log_usage (org_id, started_at DESC);
    CREATE INDEX idx_ai_log_usage_user   ON ai_log_usage (user_id, started_at DESC);
    CREATE INDEX idx_ai_log_usage_source ON ai_log_usage (request_source, started_at DESC);
    CREATE INDEX idx_ai_log_usage_time   ON ai_log_usage (started_at DESC);
    CREATE INDEX idx_ai_log_usage_failed ON ai_log_usage (started_at DESC) WHERE success = false;
    CREATE INDEX idx_ai_log_error_time   ON ai_log_error (occurred_at DESC);";

/// The tables of cora.
const TABLES: &str = "
CREATE TABLE ai_providers (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, provider_type text);
CREATE TABLE ai_models (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), provider_id uuid REFERENCES ai_providers(id), model_id varchar(255) NOT NULL,
    display_name text, validation_category text, last_validated_at timestamptz
);
CREATE TABLE orgs (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL);
CREATE TABLE ai_log_usage (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    provider_id uuid REFERENCES ai_providers(id) ON DELETE SET NULL, model_id uuid REFERENCES ai_models(id) ON DELETE SET NULL,
    request_source varchar(100) NOT NULL, operation_type varchar(50) NOT NULL, model_id_used varchar(255) NOT NULL,
    prompt_tokens integer, completion_tokens integer, total_tokens integer, latency_ms integer, success boolean NOT NULL,
    estimated_cost_usd numeric(10,6), user_id uuid, org_id uuid, ws_id uuid, request_metadata jsonb,
    started_at timestamp NOT NULL, completed_at timestamp, created_at timestamp NOT NULL DEFAULT now()
);
CREATE TABLE ai_log_error (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    provider_id uuid REFERENCES ai_providers(id) ON DELETE SET NULL, model_id uuid REFERENCES ai_models(id) ON DELETE SET NULL,
    request_source varchar(100) NOT NULL, operation_type varchar(50) NOT NULL, error_type varchar(100), error_message text,
    error_raw jsonb, model_id_attempted varchar(255), validation_category text, request_params jsonb, user_id uuid, org_id uuid,
    ws_id uuid, retry_count integer NOT NULL DEFAULT 0, occurred_at timestamp NOT NULL DEFAULT now(), resolved_at timestamp
);";

/// What the keys of [`Usage::sql`] stand for.
const NAMES: &str = "
INSERT INTO ai_providers (id, name) SELECT md5('provider' || n)::uuid, 'provider-' || n FROM generate_series(0, 3) n;
INSERT INTO ai_models (id, provider_id, model_id)
    SELECT md5('model' || n)::uuid, md5('provider' || n % 4)::uuid, 'model-' || n FROM generate_series(0, 11) n;
INSERT INTO orgs (id, name) SELECT md5('org' || n)::uuid, 'org-' || n FROM generate_series(0, 19) n;";
