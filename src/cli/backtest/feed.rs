//! Rows of all tables in the order of their times: read slice by slice, while those before are played.

use std::collections::VecDeque;

use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::config::Source;
use crate::engine::ingest::{Fault, connect};
use crate::event::Event;
use crate::pipeline::Replay;
use crate::source::postgres::PlanError;
use crate::source::query::{Answer, Query};
use crate::source::reader::FIRST_SLICE;
use crate::source::{Position, Reader, TableBatch, Wanted};
use crate::time::{Span, Time};

/// Slices that are read ahead of each source, beside the one that is being read: bounds memory.
const AHEAD: usize = 2;

/// Everything of a table before `to` that did not come with an earlier slice.
struct Slice {
    table: usize,
    batch: TableBatch,
    to: Time,
}

type Read = Result<Slice, (String, Fault)>;

/// Answers that are asked for ahead of each source.
const ANSWERS_AHEAD: usize = 64;

/// What a source says to a query of a rule as of an instant.
#[derive(Debug)]
pub struct Asked {
    /// The source's name.
    pub source: String,
    /// The query.
    pub sql: String,
    /// The instant.
    pub at: Time,
    /// What it says, or what there is to say against the query.
    pub answer: Result<Answer, String>,
}

/// The answers of one source, in the order of their instants, with the next one.
struct Answers {
    receive: Receiver<Result<Asked, (String, Fault)>>,
    next: Option<Asked>,
}

/// The rows of all tables.
pub struct Feed {
    tables: Vec<Table>,
    /// By source.
    slices: Vec<Receiver<Read>>,
    answers: Vec<Answers>,
    end: Time,
    /// Rows that were read.
    pub rows: u64,
}

/// The rows of one table that were read and not yet handed on.
struct Table {
    source: usize,
    read_to: Time,
    slices: VecDeque<(Vec<Event>, usize)>,
    /// The values of each shape as the reader numbers them, and the number that it has here: in the order of time, since
    /// nothing may be known before it happens.
    shapes: Vec<(Vec<String>, Option<u32>)>,
    known: u32,
}

impl Feed {
    /// Begins to read what is dated from `from` up to and with `until`.
    pub fn start(sources: Vec<Source>, wanted: Wanted, from: Time, until: Time) -> Feed {
        let end = until + Span(1);
        let mut feed = Feed { tables: Vec::new(), slices: Vec::new(), answers: Vec::new(), end, rows: 0 };
        for (number, source) in sources.into_iter().enumerate() {
            let first = feed.tables.len();
            let table = |_| Table { source: number, read_to: from, slices: VecDeque::new(), shapes: Vec::new(), known: 0 };
            feed.tables.extend(source.tables.iter().map(table));
            let (send, receive) = channel(AHEAD);
            feed.slices.push(receive);
            let wanted = wanted.clone();
            tokio::spawn(async move {
                if let Err(fault) = read(&source, &wanted, first, (from, end), &send).await {
                    // Nobody may be left to hear of it.
                    let _ = send.send(Err((source.name.clone(), fault))).await;
                }
            });
        }
        feed
    }

    /// Begins to ask a source, over another connection, at every instant from `since` on at which a query is due.
    pub fn ask(&mut self, source: Source, queries: Vec<Query>, since: Time) {
        let (send, receive) = channel(ANSWERS_AHEAD);
        self.answers.push(Answers { receive, next: None });
        let end = self.end;
        tokio::spawn(async move {
            if let Err(fault) = ask(&source, &queries, (since, end), &send).await {
                // Nobody may be left to hear of it.
                let _ = send.send(Err((source.name.clone(), fault))).await;
            }
        });
    }

    /// The next answer as of an instant that is not after `tick`.
    pub fn answer(&mut self, tick: Time) -> Result<Option<Asked>, (String, Fault)> {
        for answers in &mut self.answers {
            if answers.next.is_none() {
                answers.next = answers.receive.blocking_recv().transpose()?;
            }
            if let Some(asked) = answers.next.take_if(|asked| asked.at <= tick) {
                return Ok(Some(asked));
            }
        }
        Ok(None)
    }

    /// How far all tables are read.
    pub fn read_to(&self) -> Time {
        self.tables.iter().map(|table| table.read_to).min().unwrap_or(self.end)
    }

    /// Receives one more slice of the table that is furthest behind; says whether all of them are read beyond an instant.
    pub fn receive(&mut self, beyond: Time) -> Result<bool, (String, Fault)> {
        let behind = self.tables.iter().filter(|table| table.read_to <= beyond && table.read_to < self.end);
        let Some(source) = behind.min_by_key(|table| table.read_to).map(|table| table.source) else { return Ok(true) };
        let slice = self.slices[source].blocking_recv();
        let ended = || ("the rows".to_owned(), Fault::Database("the reader has ended early".to_owned()));
        let Slice { table, batch, to } = slice.ok_or_else(ended)??;
        let table = &mut self.tables[table];
        table.read_to = to;
        table.shapes.extend(batch.shapes.into_iter().map(|values| (values, None)));
        self.rows += batch.rows;
        if !batch.events.is_empty() {
            table.slices.push_back((batch.events, 0));
        }
        Ok(false)
    }

    /// Hands on what is there and dated before an instant, with the number of its table.
    pub fn hand_on(&mut self, before: Time, replays: &mut [Replay], mut take: impl FnMut(&mut Replay, usize, &[Event])) {
        for (number, table) in self.tables.iter_mut().enumerate() {
            while let Some((events, done)) = table.slices.front_mut() {
                let end = *done + events[*done..].partition_point(|event| event.time < before);
                let now = &mut events[*done..end];
                for event in now.iter_mut() {
                    let (values, shape) = &mut table.shapes[event.shape as usize];
                    event.shape = *shape.get_or_insert_with(|| {
                        replays.iter_mut().for_each(|replay| replay.add_shape(number, values));
                        table.known += 1;
                        table.known - 1
                    });
                }
                if !now.is_empty() {
                    replays.iter_mut().for_each(|replay| take(replay, number, now));
                }
                *done = end;
                if end < events.len() {
                    break;
                }
                table.slices.pop_front();
            }
        }
    }
}

/// Reads the tables of a source over one connection and in one transaction, always the one that is furthest behind.
async fn read(
    source: &Source,
    wanted: &Wanted,
    first: usize,
    (from, end): (Time, Time),
    send: &Sender<Read>,
) -> Result<(), Fault> {
    let mut db = connect(source).await?;
    let (mut readers, mut faults) = (Vec::new(), Vec::new());
    for mapping in &source.tables {
        match Reader::new(&mut db, mapping.clone(), wanted, Position::default(), &[], FIRST_SLICE).await {
            Ok((reader, _)) => readers.push((reader, from)),
            Err(PlanError::Faults(mut found)) => faults.append(&mut found),
            Err(lost) => return Err(lost.into()),
        }
    }
    if !faults.is_empty() {
        return Err(Fault::Mapping(faults));
    }
    let turn = db.begin(source.statement_timeout(), Some(end - Span(1))).await?;
    for (number, (reader, at)) in readers.iter_mut().enumerate() {
        *at = reader.begin_past(&mut db, from).await?.min(end);
        let nothing = Slice { table: first + number, batch: TableBatch::default(), to: *at };
        if send.send(Ok(nothing)).await.is_err() {
            return Ok(());
        }
    }
    loop {
        let behind = readers.iter_mut().enumerate().filter(|(_, (_, at))| *at < end);
        let Some((number, (reader, at))) = behind.min_by_key(|(_, (_, at))| *at) else { break };
        let (batch, to) = reader.past(&mut db, turn, *at, end).await?;
        *at = to;
        if send.send(Ok(Slice { table: first + number, batch, to })).await.is_err() {
            return Ok(());
        }
    }
    db.end().await?;
    Ok(())
}

/// Asks each query at the multiples of the span after which it is due: the first is what was known at the beginning.
async fn ask(
    source: &Source,
    queries: &[Query],
    (since, end): (Time, Time),
    send: &Sender<Result<Asked, (String, Fault)>>,
) -> Result<(), Fault> {
    let mut db = connect(source).await?;
    let mut due: Vec<(Time, &Query)> = queries.iter().map(|query| (since.floor(query.every), query)).collect();
    while let Some((at, query)) = due.iter_mut().min_by_key(|(at, _)| *at).filter(|(at, _)| *at < end) {
        let answer = db.ask(query, source.statement_timeout(), Some(*at)).await?;
        let answer = answer.map_err(|said| source.url.redact(&said));
        let asked = Asked { source: source.name.clone(), sql: query.sql.clone(), at: *at, answer };
        if send.send(Ok(asked)).await.is_err() {
            break;
        }
        *at = *at + query.every;
    }
    Ok(())
}
