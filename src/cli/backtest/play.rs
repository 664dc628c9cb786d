//! Plays rows tick by tick, and notes what that says.

use std::io::Write;

use crate::cli::backtest::feed::{Asked, Feed};
use crate::cli::backtest::report::Report;
use crate::engine::ingest::Fault;
use crate::pipeline::Replay;
use crate::time::{Span, Time};

/// Plays all rows through each replay; a report for each.
pub fn play(replays: &mut [Replay], mut feed: Feed, reports: &mut [Report], progress: bool) -> Result<(), (String, Fault)> {
    let (since, until) = reports.first().map_or((Time::MIN, Time::MIN), |report| (report.since, report.until));
    let bar = Progress { shown: progress, since, until };
    // What was before is not kept waiting for the last of it.
    loop {
        let whole = feed.receive(since - Span(1))?;
        feed.hand_on(since.min(feed.read_to()), replays, Replay::warm);
        bar.show(&feed);
        if whole {
            break;
        }
    }
    while let Some(tick) = replays.iter().filter_map(Replay::next_tick).min().filter(|tick| *tick <= until) {
        while !feed.receive(tick)? {
            bar.show(&feed);
        }
        feed.hand_on(tick + Span(1), replays, Replay::count);
        while let Some(asked) = feed.answer(tick)? {
            replays.iter_mut().zip(reports.iter_mut()).for_each(|(replay, report)| take(replay, report, &asked));
        }
        for (replay, report) in replays.iter_mut().zip(reports.iter_mut()).filter(|(replay, _)| replay.next_tick() == Some(tick))
        {
            report.take(replay.advance(tick));
        }
    }
    bar.clear();
    reports.iter_mut().zip(replays).for_each(|(report, replay)| report.end(feed.rows, replay.alerts()));
    Ok(())
}

/// Takes an answer, or notes what there is to say against it.
fn take(replay: &mut Replay, report: &mut Report, asked: &Asked) {
    let Asked { source, sql, answer, .. } = asked;
    let objections = match answer {
        Ok(answer) => replay.answer(source, sql, answer.clone()),
        Err(said) => replay.askers(source, sql).into_iter().map(|rule| (rule, said.clone())).collect(),
    };
    objections.into_iter().for_each(|(rule, fault)| report.fault(&rule, fault));
}

/// How far it is, on a terminal.
struct Progress {
    shown: bool,
    since: Time,
    until: Time,
}

impl Progress {
    fn show(&self, feed: &Feed) {
        if self.shown {
            let (done, all) = (feed.read_to() - self.since, self.until - self.since);
            let percent = 100.0 * (done.0.max(0) as f64 / all.0.max(1) as f64).min(1.0);
            let what = if done.0 < 0 { "filling the windows".to_owned() } else { format!("{percent:.0} %") };
            eprint!("\r\x1b[K{} rows, {what}", feed.rows);
            let _ = std::io::stderr().flush();
        }
    }

    fn clear(&self) {
        if self.shown {
            eprint!("\r\x1b[K");
        }
    }
}
