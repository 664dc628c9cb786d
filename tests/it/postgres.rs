//! A throw-away PostgreSQL: a copy of a cached `initdb` in a temporary folder, on a port of its own, without fsync.
//!
//! A small shell is the server's parent. It obeys `stop`, `start` and `crash` on its standard input and, when that closes
//! (the test ended, however it ended), ends the server and removes the folder: nothing leaks, not even after SIGKILL.

use crate::ground::{is_root, missing, stable_port, until};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// The tables of a system that logs its AI calls; the presets `cora_usage` and `cora_errors` read it.
pub const CORA: &str = include_str!("cora.sql");

const SUPERVISOR: &str = r#"
trap '' INT TERM HUP
dir=$1; port=$2; bin=$3; shift 3
start() {
  "$@" "$bin/postgres" -D "$dir/data" -p "$port" -k "$dir" -c listen_addresses=127.0.0.1 -c fsync=off \
    -c synchronous_commit=off -c full_page_writes=off -c max_connections=60 -c shared_buffers=64MB \
    -c timezone=America/Los_Angeles >>"$dir/log" 2>&1 &
  pid=$!
}
halt() { kill -"$1" $pid 2>/dev/null; wait $pid; }
start "$@"
while read -r word; do
  case $word in
    stop) halt INT; echo done ;;
    crash) halt QUIT; echo done ;;
    start) start "$@"; echo done ;;
  esac
done
halt QUIT
rm -rf "$dir"
"#;

pub struct Postgres {
    port: u16,
    dir: PathBuf,
    talk: Mutex<(Child, Option<ChildStdin>, BufReader<ChildStdout>)>,
    databases: AtomicU32,
}

/// One database of a cluster, for one test.
pub struct Database {
    pub url: String,
}

impl Postgres {
    /// The cluster that all tests of this process share; `None` (and said) where PostgreSQL is missing.
    pub async fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        let found = SHARED.get_or_init(|| binaries().map(|bin| Self::launch(&bin)));
        match found {
            Some(postgres) => postgres.ready().await,
            None => missing("PostgreSQL"),
        }
        found.as_ref()
    }

    /// A cluster of one's own, to be stopped and crashed.
    pub async fn start() -> Option<Self> {
        let Some(bin) = binaries() else {
            missing("PostgreSQL");
            return None;
        };
        let postgres = Self::launch(&bin);
        postgres.ready().await;
        Some(postgres)
    }

    fn launch(bin: &Path) -> Self {
        let dir = tempfile::Builder::new().prefix("modelwatch-pg-").tempdir_in("/tmp").unwrap().keep();
        let copied = Command::new("cp").args(["-a", "--reflink=auto"]).arg(template(bin)).arg(dir.join("data")).status().unwrap();
        assert!(copied.success(), "cp of the cluster failed");
        own(&dir);
        let port = stable_port();
        let mut child = Command::new("/bin/sh")
            .args(["-c", SUPERVISOR, "postgres"])
            .args([dir.as_os_str(), port.to_string().as_ref(), bin.as_os_str()])
            .args(as_postgres())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { port, dir, talk: Mutex::new((child, Some(stdin), stdout)), databases: AtomicU32::new(0) }
    }

    async fn ready(&self) {
        let options = PgConnectOptions::new().host("127.0.0.1").port(self.port).username("postgres").database("postgres");
        until(Duration::from_secs(30), "PostgreSQL to accept connections", || async {
            match options.connect().await {
                Ok(connection) => connection.close().await.ok(),
                Err(error) => {
                    let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                    assert!(!log.contains("could not bind"), "{error}\n{log}");
                    None
                }
            }
        })
        .await;
    }

    fn tell(&self, word: &str) {
        let mut talk = self.talk.lock().unwrap();
        writeln!(talk.1.as_ref().unwrap(), "{word}").unwrap();
        let mut answer = String::new();
        talk.2.read_line(&mut answer).unwrap();
        assert_eq!(answer, "done\n", "{word}");
    }

    /// Ends all sessions and stops the server.
    pub fn stop(&self) {
        self.tell("stop");
    }

    /// The server is gone at once; it recovers when started again.
    pub fn crash(&self) {
        self.tell("crash");
    }

    /// Starts it again on the same port and data.
    pub async fn restart(&self) {
        self.tell("start");
        self.ready().await;
    }

    /// A new database into which `schema` was loaded.
    pub async fn database(&self, schema: &str) -> Database {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let at = |name: &str| format!("postgres://postgres@127.0.0.1:{}/{name}", self.port);
        let mut admin = PgConnection::connect(&at("postgres")).await.unwrap();
        execute(&mut admin, &format!("CREATE DATABASE {name}")).await;
        admin.close().await.unwrap();
        let database = Database { url: at(&name) };
        execute(&mut database.connect().await, schema).await;
        database
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let (child, stdin, _) = self.talk.get_mut().unwrap();
        drop(stdin.take());
        child.wait().ok();
    }
}

impl Database {
    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }
}

/// Runs any number of statements.
pub async fn execute(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap_or_else(|error| panic!("{error}\nin: {sql}"));
}

fn binaries() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path().join("bin"));
    let mut debian: Vec<PathBuf> = debian.collect();
    debian.sort_by_key(|dir| std::cmp::Reverse(dir.parent().and_then(|dir| dir.file_name()?.to_str()?.parse::<u32>().ok())));
    debian
        .into_iter()
        .chain(std::env::split_paths(&path))
        .find(|dir| dir.join("initdb").is_file() && dir.join("postgres").is_file())
}

/// PostgreSQL refuses to run as root.
fn as_postgres() -> &'static [&'static str] {
    if is_root() { &["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"] } else { &["env"] }
}

fn own(dir: &Path) {
    if is_root() {
        let owned = Command::new("chown").arg("-R").arg("postgres:postgres").arg(dir).status().unwrap();
        assert!(owned.success(), "chown to postgres failed");
    }
}

/// The result of `initdb`, made once for each version and user, under /tmp since the user postgres must reach it.
fn template(bin: &Path) -> PathBuf {
    let version = Command::new(bin.join("postgres")).arg("--version").output().unwrap().stdout;
    let version: String = String::from_utf8(version).unwrap().chars().filter(char::is_ascii_alphanumeric).collect();
    let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let base = PathBuf::from(format!("/tmp/modelwatch-initdb-{user}"));
    std::fs::create_dir_all(&base).unwrap();
    let lock = std::fs::File::create(base.join("lock")).unwrap();
    lock.lock().unwrap();
    let done = base.join(&version);
    if !done.exists() {
        let fresh = tempfile::Builder::new().prefix("new-").tempdir_in(&base).unwrap();
        own(&base);
        let command = as_postgres();
        let made = Command::new(command[0])
            .args(&command[1..])
            .arg(bin.join("initdb"))
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(fresh.path().join("data"))
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(fresh.path().join("data"), &done).unwrap();
    }
    done
}

#[tokio::test]
async fn a_cluster_stops_starts_and_keeps_its_rows() {
    let Some(postgres) = Postgres::start().await else { return };
    let database = postgres.database(CORA).await;
    let mut connection = database.connect().await;
    execute(&mut connection, "INSERT INTO orgs (name) VALUES ('a'), ('b')").await;
    postgres.stop();
    assert!(PgConnection::connect(&database.url).await.is_err());
    postgres.restart().await;
    postgres.crash();
    postgres.restart().await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM orgs").fetch_one(&mut database.connect().await).await.unwrap();
    assert_eq!(rows, 2);
    let dir = postgres.dir.clone();
    drop(postgres);
    assert!(!dir.exists());
}
