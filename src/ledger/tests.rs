//! A ledger is a fold: wherever it is stored and taken up again, and however it is laid out anew, it counts the same.

use proptest::prelude::*;

use super::*;
use crate::event::{Event, Outcome};
use crate::export::prometheus::{Encoder, Format};
use crate::limits::CATCH_UP;
use crate::source::{Moved, TableBatch};
use crate::window::Sums;

const START: Time = Time::from_secs(20_000 * 86_400);
const HOUR: Span = Span::secs(3_600);
const LATENESS: Span = Span::secs(900);
const TABLES: [&str; 2] = ["calls", "errors"];

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn table(name: &str, dimensions: &str) -> Table {
    let kind = if name == "errors" { Kind::Errors } else { Kind::Usage };
    Table {
        source: "app".into(),
        name: name.into(),
        kind,
        dimensions: words(dimensions),
        measures: Vec::new(),
        marks: Vec::new(),
        failures_are_errors: false,
    }
}

fn need(by: &str, matcher: &str, need: Need) -> Want {
    Want {
        by: words(by),
        matchers: words(matcher),
        slower_than: None,
        resolution: crate::window::resolutions(std::slice::from_ref(&need), Span::secs(60))[0],
        need,
    }
}

fn hour() -> Need {
    Need::Window { width: HOUR, lag: Span::ZERO }
}

/// Both tables, an hour by model, an hour of one org, the same hour of the day before, and the run of each model.
fn layout() -> Layout {
    let yesterday = Need::Window { width: HOUR, lag: Span::secs(86_400) };
    Layout {
        tables: vec![table("calls", "model org"), table("errors", "model error_type")],
        labels: words("model org"),
        max_series: 4,
        lateness: LATENESS,
        wants: vec![
            need("model", "", hour()),
            need("", "org=\"o0\"", hour()),
            need("org", "", yesterday),
            need("model", "", Need::Run),
        ],
    }
}

fn open(layout: Layout) -> (Ledger, Vec<TableTotals>) {
    Checkpoint { layout: Layout::default(), ..Checkpoint::default() }.lay_out(layout)
}

/// A row as chance has it: table, two dimensions, seconds before the batch, outcome, cost.
type Row = (usize, u8, u8, i64, u8, i64);

fn rows() -> impl Strategy<Value = Vec<Vec<Row>>> {
    let row = (0usize..2, 0u8..3, 0u8..3, 0i64..900, 0u8..4, 0i64..1_000_000);
    prop::collection::vec(prop::collection::vec(row, 0..12), 1..20)
}

/// Rows as the reader of a source hands them over: each batch 20 minutes after the one before it.
struct Reader {
    now: Time,
    key: Key,
    shapes: [Vec<Vec<String>>; 2],
}

impl Reader {
    fn new() -> Reader {
        Reader { now: START, key: 0, shapes: Default::default() }
    }

    fn batch(&mut self, rows: &[Row]) -> Batch {
        self.now = self.now + Span::secs(1_200);
        let empty = |name: &str| {
            let moved = Moved { floor: Some(self.now - LATENESS), frontier: self.now, newest: self.now, ..Moved::default() };
            TableBatch { table: name.to_owned(), moved, ..TableBatch::default() }
        };
        let mut tables = TABLES.map(empty);
        for &(table, first, second, before, outcome, cost) in rows {
            let (shapes, batch) = (&mut self.shapes[table], &mut tables[table]);
            let values = vec![format!("m{first}"), format!("o{second}")];
            let known = shapes.iter().position(|known| *known == values);
            let shape = known.unwrap_or(shapes.len()) as u32;
            if known.is_none() {
                shapes.push(values.clone());
                batch.shapes.push(values);
            }
            let outcome = [Outcome::Success, Outcome::Failure, Outcome::Failure, Outcome::Abandoned][usize::from(outcome)];
            let time = self.now - Span::secs(before);
            self.key += 1;
            batch.moved.counted.push((self.key, time));
            let latency = Some(cost);
            let cost = (cost % 7 > 0).then_some(cost);
            batch.events.push(Event { time, shape, count: 1, outcome, input_tokens: 3, cost, latency, ..Event::default() });
            batch.rows += 1;
        }
        Batch { source: "app".into(), now: self.now, caught_up: true, fill: false, tables: tables.into() }
    }
}

fn count(ledger: &mut Ledger, totals: &mut [TableTotals], batch: &Batch, horizon: Time) {
    ledger.apply(batch, horizon);
    ledger.publish(batch, totals);
}

/// What /metrics shows, line by line.
fn shown(totals: &[TableTotals]) -> Vec<String> {
    let mut encoder = Encoder::new(Format::Text, 0);
    encoder.totals(totals);
    encoder.tables(totals);
    encoder.finish().lines().map(str::to_owned).collect()
}

/// Sums or the run of each group that a rule sees at an instant, without groups that have nothing.
fn seen(ledger: &mut Ledger, want: &Want, at: Time) -> BTreeMap<String, (Sums, u64)> {
    let (windows, need) = (&mut ledger.windows, &want.need);
    let handle = windows.need(&want.selector(), need, want.resolution, &BTreeSet::new());
    windows.seek(handle, at);
    let groups = 0..windows.groups(handle) as u32;
    let run = |group| if *need == Need::Run { windows.run(handle, group, at).length } else { 0 };
    let sums = |group: u32| windows.sums(handle).get(group as usize).copied().filter(|_| *need != Need::Run).unwrap_or_default();
    let all = groups.map(|group| (windows.labels(handle, group).to_string(), (sums(group), run(group))));
    all.filter(|(_, seen)| *seen != (Sums::default(), 0)).collect()
}

fn all_seen(ledger: &mut Ledger, needs: &[Want], at: Time) -> Vec<BTreeMap<String, (Sums, u64)>> {
    needs.iter().map(|need| seen(ledger, need, at)).collect()
}

fn positions(ledger: &Ledger) -> Vec<Option<(Position, Vec<Vec<String>>)>> {
    TABLES.iter().map(|table| ledger.position("app", table)).collect()
}

fn stored<T: Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    postcard::from_bytes(&postcard::to_stdvec(value).unwrap()).unwrap()
}

proptest! {
    /// A checkpoint at any point and the journal since give what was there when the process was killed.
    #[test]
    fn a_fold_goes_on_from_where_it_was_stored(rows in rows(), at in 0usize..20, killed in 0usize..20) {
        let mut reader = Reader::new();
        let (mut ledger, mut totals) = open(layout());
        let (mut body, mut journal) = (ledger.checkpoint(&totals).unwrap(), Vec::new());
        for (i, rows) in rows.iter().enumerate() {
            let batch = reader.batch(rows);
            count(&mut ledger, &mut totals, &batch, batch.now);
            journal.push(stored(&batch));
            if i == at {
                (body, journal) = (ledger.checkpoint(&totals).unwrap(), Vec::new());
            }
            if i == killed {
                let was = shown(&totals);
                (ledger, totals) = postcard::from_bytes::<Checkpoint>(&body).unwrap().open();
                journal.iter().for_each(|batch| count(&mut ledger, &mut totals, batch, batch.now - CATCH_UP));
                prop_assert_eq!(shown(&totals), was);
            }
        }
        let mut again = Reader::new();
        let (mut whole, mut whole_totals) = open(layout());
        for rows in &rows {
            let batch = again.batch(rows);
            count(&mut whole, &mut whole_totals, &batch, batch.now);
        }
        prop_assert_eq!(shown(&totals), shown(&whole_totals));
        prop_assert_eq!(positions(&ledger), positions(&whole));
        for ago in [0, 60, 900] {
            let at = reader.now - Span::secs(ago);
            prop_assert_eq!(all_seen(&mut ledger, &layout().wants, at), all_seen(&mut whole, &layout().wants, at));
        }
    }

    /// Nothing that was counted is lost or counted twice, whatever becomes of the configuration meanwhile.
    #[test]
    fn another_layout_loses_nothing(rows in rows(), changes in prop::collection::vec(0usize..20, 6)) {
        let mut reader = Reader::new();
        let (mut ledger, mut totals) = open(layout());
        let mut sums = BTreeMap::new();
        for (i, rows) in rows.iter().enumerate() {
            for change in (0..changes.len()).filter(|change| changes[*change] == i) {
                let (was, needs) = (sum(&totals), layout().wants);
                let kept = seen(&mut ledger, &needs[0], reader.now);
                let next = changed(ledger.layout().clone(), change);
                (ledger, totals) = ledger.relayout(totals, next);
                for (name, sum) in sum(&totals) {
                    prop_assert_eq!(was.get(&name).or(sums.get(&name)).unwrap_or(&[0; 6]), &sum, "{} by change {}", name, change);
                }
                prop_assert_eq!(seen(&mut ledger, &needs[0], reader.now), kept, "change {}", change);
            }
            let mut batch = reader.batch(rows);
            // A table that is not read brings nothing; its reader goes on with the shapes that are stored.
            for (i, table) in batch.tables.iter_mut().enumerate() {
                table.shapes = match ledger.position("app", TABLES[i]) {
                    Some((_, known)) => reader.shapes[i][known.len()..].to_vec(),
                    None => Vec::new(),
                };
            }
            batch.tables.retain(|table| ledger.table("app", &table.table).is_some());
            count(&mut ledger, &mut totals, &batch, batch.now);
            sums.extend(sum(&totals));
        }
    }
}

/// What all series of a table come to: calls and errors, cost, rows.
fn sum(totals: &[TableTotals]) -> BTreeMap<String, [i64; 6]> {
    let of = |totals: &TableTotals| {
        let calls = totals.calls.iter().map(|(_, calls)| calls);
        let errors: u64 = totals.errors.iter().map(|(_, errors)| *errors).sum();
        calls.fold([0, 0, 0, 0, errors as i64, totals.rows as i64], |mut sum, calls| {
            let counts = [calls.success as i64, calls.failure as i64, calls.abandoned as i64, calls.cost];
            sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            sum
        })
    };
    totals.iter().map(|totals| (totals.table_labels(), of(totals))).collect()
}

/// Another configuration; the first need and the table `calls` stay.
fn changed(mut layout: Layout, change: usize) -> Layout {
    match change {
        0 => layout.wants.truncate(1),
        1 => layout.wants.push(need("model org", "", hour())),
        2 => layout.labels = words("org"),
        3 => layout.labels = words("org service model"),
        4 => layout.tables.truncate(1),
        _ => layout.tables = self::layout().tables,
    }
    layout
}

/// A table that is taken out of the configuration and put back is read on from where it was.
#[test]
fn a_table_that_comes_back_is_not_counted_anew() {
    let mut reader = Reader::new();
    let (mut ledger, mut totals) = open(layout());
    let batch = reader.batch(&[(0, 0, 0, 5, 0, 1), (1, 0, 0, 5, 1, 1), (1, 1, 1, 9, 1, 1)]);
    count(&mut ledger, &mut totals, &batch, batch.now);
    let before = (shown(&totals), positions(&ledger), all_seen(&mut ledger, &layout().wants, reader.now));
    let without = Layout { tables: vec![table("calls", "model org")], ..layout() };
    (ledger, totals) = ledger.relayout(totals, without);
    assert_eq!(ledger.position("app", "errors"), None);
    // Also over a restart.
    (ledger, totals) = postcard::from_bytes::<Checkpoint>(&ledger.checkpoint(&totals).unwrap()).unwrap().open();
    (ledger, totals) = ledger.relayout(totals, layout());
    assert_eq!((shown(&totals), positions(&ledger), all_seen(&mut ledger, &layout().wants, reader.now)), before);
}

/// A new rule waits for the history of what was read before; those that are there already do not.
#[test]
fn a_new_rule_asks_for_history() {
    let mut reader = Reader::new();
    let (mut ledger, mut totals) = open(layout());
    let batch = reader.batch(&[(0, 0, 0, 5, 0, 1)]);
    count(&mut ledger, &mut totals, &batch, batch.now);
    assert_eq!(ledger.windows.missing_from("app", reader.now), None);
    let more = Layout { wants: layout().wants.into_iter().chain([need("model org", "", hour())]).collect(), ..layout() };
    (ledger, totals) = ledger.relayout(totals, more.clone());
    let keep = HOUR + LATENESS + Span::secs(60);
    assert_eq!(ledger.windows.missing_from("app", reader.now), Some(reader.now - keep));
    let fill = Batch { fill: true, ..batch.clone() };
    let fill = Batch { tables: fill.tables.into_iter().map(|t| TableBatch { shapes: vec![], ..t }).collect(), ..fill };
    let (was, kept) = (shown(&totals), all_seen(&mut ledger, &layout().wants, reader.now));
    for _ in 0..2 {
        // The first attempt ends with the connection; the second reads all of it again.
        assert!(ledger.windows.begin_fill("app", reader.now).is_some());
        count(&mut ledger, &mut totals, &fill, batch.now);
        let (next, all) = postcard::from_bytes::<Checkpoint>(&ledger.checkpoint(&totals).unwrap()).unwrap().open();
        (ledger, totals) = (next, all);
    }
    ledger.windows.filled("app");
    assert_eq!(shown(&totals), was);
    assert_eq!(all_seen(&mut ledger, &layout().wants, reader.now), kept);
    let filled = seen(&mut ledger, &more.wants[4], reader.now);
    assert_eq!(filled.values().map(|(sums, _)| sums.success).collect::<Vec<_>>(), [1]);
    assert_eq!(ledger.windows.missing_from("app", reader.now), None);
}
