//! Measures and marks as a reader brings them, from both databases.

use crate::postgres::Postgres;
use crate::sqlite;
use modelwatch::event::{Event, Outcome};
use modelwatch::secret::Secret;
use modelwatch::source::postgres::PlanError;
use modelwatch::source::reader::FIRST_SLICE;
use modelwatch::source::{Database, Mapping, Position, Reader, TableBatch, Wanted};
use modelwatch::time::{Span, Time};
use modelwatch::yaml::{self, Faults};
use std::collections::BTreeSet;
use std::sync::Arc;

/// All events of a table.
pub struct Read {
    pub events: Vec<Event>,
    pub refused: u64,
}

impl Read {
    /// What the rows have of a measure, in units, in the order of their times.
    pub fn values(&self, measure: usize) -> Vec<f64> {
        let values = self.events.iter().filter_map(|event| *event.measures.get(measure)?);
        values.map(|millionths| millionths as f64 / 1e6).collect()
    }

    /// How many distinct values of a mark there are.
    pub fn distinct(&self, mark: usize) -> usize {
        self.marks(mark).len()
    }

    fn marks(&self, mark: usize) -> BTreeSet<u64> {
        self.events.iter().filter_map(|event| *event.marks.get(mark)?).collect()
    }
}

fn mapping(table: &str) -> Arc<Mapping> {
    let mut faults = Faults::default();
    let node = yaml::parse("t.yml", table, &mut faults).unwrap();
    Arc::new(Mapping::parse(&node, &mut faults).unwrap())
}

fn wanted(measures: &[&str], marks: &[&str]) -> Wanted {
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Wanted { dimensions: set(&["model"]), measures: set(measures), marks: set(marks) }
}

async fn turn(db: &mut Database, reader: &mut Reader, at: &str) -> TableBatch {
    let turn = db.begin(Span::secs(30), Some(Time::parse(at).unwrap())).await.unwrap();
    let batch = reader.turn(db, turn).await.unwrap();
    db.end().await.unwrap();
    batch
}

/// Reads a table from its beginning up to `at`.
pub async fn read(url: &str, table: &str, at: &str, measures: &[&str], marks: &[&str]) -> Read {
    let mut db = Database::open(&Secret::new(url)).await.unwrap();
    let wanted = wanted(measures, marks);
    let (mut reader, _) = Reader::new(&mut db, mapping(table), &wanted, Position::default(), &[], FIRST_SLICE).await.unwrap();
    let mut read = Read { events: Vec::new(), refused: 0 };
    while !reader.caught_up() {
        let batch = turn(&mut db, &mut reader, at).await;
        read.events.extend(batch.events);
        read.refused += batch.unreadable.values;
    }
    read.events.sort_by_key(|event| event.time);
    read
}

const NOW: &str = "2026-11-20T12:00:00Z";
const TABLE: &str =
    "{name: calls, from: calls, id: id, time: at, success: ok, dimensions: {model: model, user: person, team: team_id},
    measures: {quality: score, depth: hops, drift: change}}";

/// Both databases have the same rows: the persons are UUIDs, the scores exact numbers and the changes floats where there are
/// such types.
fn rows(person: impl Fn(u32) -> String, infinity: &str, nan: &str) -> Vec<String> {
    let at = |n: u32| format!("'2026-11-20 10:{n:02}:00'");
    let insert =
        |n: u32, person: String, rest: &str| format!("INSERT INTO calls VALUES ({n}, {}, true, 'm', {person}, {rest})", at(n));
    vec![
        insert(1, person(1), "'red', 4.25, 3, -0.5"),
        insert(2, person(1), "'', 0.0000005, -7, 1e12"),
        insert(3, person(2), "NULL, NULL, NULL, 1.0000001e12"),
        insert(4, "NULL".to_owned(), &format!("'blue', 1000000000001, 2000000000000, {infinity}")),
        insert(5, person(3), &format!("'red', 5, 9000000000000000000, {nan}")),
    ]
}

#[tokio::test]
async fn postgres_and_sqlite_bring_the_same() {
    let Some(server) = Postgres::shared().await else { return };
    let uuid = |n: u32| format!("'0000000{n}-aaaa-4bbb-8ccc-dddddddddddd'");
    let schema = "CREATE TABLE calls (id int PRIMARY KEY, at timestamp, ok boolean, model text, person uuid, team_id varchar(9), score numeric, hops bigint, change float8)";
    let rows_there = rows(uuid, "'-Infinity'", "'NaN'").join(";");
    let database = server.database(&format!("{schema}; {rows_there}")).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let schema =
        "CREATE TABLE calls (id integer PRIMARY KEY, at text, ok, model text, person text, team_id text, score, hops, change)";
    let rows_here = rows(uuid, "-9e999", "NULL").join(";");
    sqlite::execute(&mut sqlite::open(&file).await, &format!("{schema}; {rows_here}")).await;
    let mut marks = Vec::new();
    for url in [&database.url, &sqlite::url(&file)] {
        let found = read(url, TABLE, NOW, &["quality", "drift", "depth"], &["team", "user"]).await;
        // In the mapping's order, in millionths.
        let measures: Vec<_> = found.events.iter().map(|event| event.measures.clone()).collect();
        let expected = [
            vec![Some(4_250_000), Some(3_000_000), Some(-500_000)],
            vec![Some(1), Some(-7_000_000), Some(1_000_000_000_000_000_000)],
            vec![None; 3],
            vec![None; 3],
            vec![Some(5_000_000), None, None],
        ];
        assert_eq!((measures, found.refused), (expected.to_vec(), 5), "{url}");
        assert_eq!((found.distinct(0), found.distinct(1)), (3, 2), "{url}");
        assert!(found.events.iter().all(|event| event.shape == 0), "{url}");
        marks.push((found.marks(0), found.marks(1)));
        let found = read(url, TABLE, NOW, &[], &[]).await;
        assert!(found.events.iter().all(|event| event.measures.is_empty() && event.marks.is_empty()), "{url}");
    }
    assert_eq!(marks[0], marks[1]);
}

#[tokio::test]
async fn a_row_that_ends_later_brings_them_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let mut connection = sqlite::open(&file).await;
    let schema = "CREATE TABLE calls (id integer PRIMARY KEY, at text, ok, model text, person text, team_id text, score, hops, change, ended);
        INSERT INTO calls VALUES (1, '2026-11-20 11:59:00', 1, 'm', 'ada', NULL, 4.5, 1, 1, NULL), (2, '2026-11-20 09:00:00', 1, 'm', 'bob', NULL, 2, 1, 1, NULL)";
    sqlite::execute(&mut connection, schema).await;
    let table = TABLE.replace("success: ok", "success: ok, complete: ended");
    let mut db = Database::open(&Secret::new(sqlite::url(&file))).await.unwrap();
    let wanted = wanted(&["quality"], &["user"]);
    let (mut reader, _) = Reader::new(&mut db, mapping(&table), &wanted, Position::default(), &[], FIRST_SLICE).await.unwrap();
    let mut events = Vec::new();
    while !reader.caught_up() {
        events.extend(turn(&mut db, &mut reader, NOW).await.events);
    }
    let [abandoned] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((abandoned.outcome, abandoned.measures.len(), abandoned.marks.len()), (Outcome::Abandoned, 0, 0));
    sqlite::execute(&mut connection, "UPDATE calls SET ended = 1").await;
    let mut events = turn(&mut db, &mut reader, "2026-11-20T12:01:00Z").await.events;
    events.sort_by_key(|event| event.time);
    let told: Vec<_> = events.iter().map(|event| (event.count, event.measures.as_slice(), event.marks.len())).collect();
    assert_eq!(told, [(0, &[Some(2_000_000)][..], 1), (1, &[Some(4_500_000)][..], 1)]);
    assert!(turn(&mut db, &mut reader, "2026-11-20T12:02:00Z").await.events.is_empty());
}

/// What is wrong with a measure is told at its place, if it is wanted.
#[tokio::test]
async fn a_measure_must_be_a_number() {
    let Some(server) = Postgres::shared().await else { return };
    let database = server.database("CREATE TABLE calls (id int PRIMARY KEY, at timestamp, grade text)").await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("calls.db");
    let schema = "CREATE TABLE calls (id integer PRIMARY KEY, at text, grade text); INSERT INTO calls VALUES (1, '2026-11-20 11:59:00', 'A')";
    sqlite::execute(&mut sqlite::open(&file).await, schema).await;
    let table = "{name: calls, from: calls, id: id, time: at, success: 'true',\n measures: {quality: grade, depth: grad}}";
    for (url, said) in [(&database.url, "is of type text, but a number"), (&sqlite::url(&file), "holds texts, but a number")] {
        let mut db = Database::open(&Secret::new(url)).await.unwrap();
        let mut plan = async |measures: &[&str]| {
            let asked = Reader::new(&mut db, mapping(table), &wanted(measures, &[]), Position::default(), &[], FIRST_SLICE).await;
            match asked {
                Ok(_) => Vec::new(),
                Err(PlanError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
                Err(PlanError::Lost(error)) => panic!("{error}"),
            }
        };
        assert_eq!(plan(&[]).await, Vec::<String>::new());
        let quality = plan(&["quality"]).await.join("\n");
        assert!(quality.contains(said) && quality.contains("t.yml:2:22"), "{quality}");
        let depth = plan(&["depth"]).await.join("\n");
        assert!(depth.contains("did you mean `grade`?") && depth.contains("t.yml:2:36"), "{depth}");
    }
}
