//! Made-up traffic: a pure function of (seed, start, from, to).
//!
//! Time is cut into seconds, each with its own stream of chance, so that any range of the schedule can be asked for, in
//! any pieces, and the pieces add up to the same rows. A row is given out when its call ends, as a product would write it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chance::Chance;
use super::incident::{self, CYCLE, Kind};
use super::rows::{ErrorRow, Note, Rows, UsageRow};
use super::world::{EMBEDDING_TOKENS, EXPENSIVE, LONG_CONTEXT, MODELS, Model, ORGS, SPREAD, TEXT_TOKENS};
use super::world::{mean_call_usd, model_named, org_share};
use crate::time::{Span, Time};

/// Calls of a usual second; each second has up to two more or fewer.
const CALLS_PER_SECOND: i64 = 20;
/// Calls a second that a cost jump adds.
const JUMP_CALLS: i64 = 2;
/// No call takes longer; bounds how far back rows that end now may have begun.
const MAX_LATENCY: Span = Span::secs(20);
/// Share of the calls that fail on a good day.
const USUAL_FAILURES: f64 = 0.003;
/// A refusal comes quickly.
const REFUSAL_MS: (f64, f64) = (80.0, 600.0);
/// A timeout is slower than nearly every success: rows come at the end of a call, and were failures seen first, a spike would
/// look like a row of failures until the successes between them are in.
const TIMEOUT_MS: (f64, f64) = (4_000.0, 5_000.0);
/// Days of history before the start: what the cost rule compares with.
const HISTORY_DAYS: i64 = 14;
/// The history repeats this part of the day, counted from the start.
const HISTORY_HOURS: Span = Span::secs(2 * 3_600);
/// The window of the cost rule in `rules.yml`: history has one call per organisation in each, as dear as all live ones together.
pub const COST_WINDOW: Span = Span::secs(180);

const SECOND: Span = Span::secs(1);
const DAY: Span = Span::secs(86_400);

/// The schedule of the demo.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Other seeds give other traffic with the same incidents.
    pub seed: u64,
    /// When it begins; nothing but history is earlier.
    pub start: Time,
}

impl Scenario {
    /// The rows that become visible in [from, to).
    pub fn rows(&self, from: Time, to: Time) -> Rows {
        let from = from.max(self.start);
        let (first, last) = (self.second_of(from - MAX_LATENCY).max(0), self.second_of(to));
        let mut rows = Rows::default();
        for second in first..=last {
            for call in self.calls(second) {
                if from <= call.usage.visible_at() && call.usage.visible_at() < to {
                    rows.errors.extend(call.error);
                    rows.usage.push(call.usage);
                }
            }
        }
        rows.usage.sort_by_key(UsageRow::visible_at);
        rows.errors.sort_by_key(|row| row.occurred_at);
        rows
    }

    /// What begins and ends in [from, to).
    pub fn notes(&self, from: Time, to: Time) -> Vec<Note> {
        let cycles = incident::cycle_of(self.start, from).max(0)..=incident::cycle_of(self.start, to);
        let all = cycles.flat_map(|n| incident::cycle(self.start, n)).flat_map(|incident| incident.notes());
        all.filter(|note| from <= note.at && note.at < to).collect()
    }

    /// The incidents of the first cycle; the same kinds come again every [`CYCLE`].
    pub fn plan(&self) -> (Vec<Note>, Span) {
        (self.notes(self.start, self.start + CYCLE), CYCLE)
    }

    /// Days of the past, so that there is something to compare today's cost with.
    pub fn history(&self) -> Rows {
        let mut rows = Rows::default();
        let windows = HISTORY_HOURS.0 / COST_WINDOW.0 + 2;
        let first = self.start.floor(COST_WINDOW) - COST_WINDOW;
        for day in (1..=HISTORY_DAYS).rev() {
            let mut chance = Chance::at(self.seed, u64::MAX - day as u64);
            for window in 0..windows {
                for place in 0..ORGS.len() {
                    // Its own fixed place within the window, so that each span of that length holds exactly one.
                    let phase = Span(COST_WINDOW.0 * place as i64 / ORGS.len() as i64);
                    let at = first + Span(COST_WINDOW.0 * window) + phase - Span(DAY.0 * day);
                    rows.usage.push(past_call(at, place, &mut chance));
                }
            }
        }
        rows
    }

    fn second_of(&self, at: Time) -> i64 {
        (at - self.start).0.div_euclid(SECOND.0)
    }

    /// The calls that begin in a second, in the order in which they begin.
    fn calls(&self, second: i64) -> Vec<Call> {
        let begin = self.start + Span(SECOND.0 * second);
        let mut chance = Chance::at(self.seed, second as u64);
        let count = CALLS_PER_SECOND - 2 + (chance.bits() % 5) as i64;
        let mut drafts: Vec<Draft> = (0..count).map(|_| Draft::usual(begin, &mut chance)).collect();
        if let Some(jump) = incident::active(self.start, begin, Kind::CostJump) {
            drafts.extend((0..JUMP_CALLS).map(|_| Draft::dear(begin, jump.org, &mut chance)));
        }
        drafts.sort_by_key(|draft| draft.started_at);
        let mut nth_of_model = BTreeMap::new();
        let finish = |draft: Draft| {
            let nth = nth_of_model.entry(draft.model.name).or_insert(0usize);
            *nth += 1;
            let fault = self.fault(&draft, *nth, &mut chance);
            draft.finish(fault, &mut chance)
        };
        drafts.into_iter().map(finish).collect()
    }

    /// Why a call fails, if it does; `nth` counts the calls to its model in this second from 1.
    fn fault(&self, draft: &Draft, nth: usize, chance: &mut Chance) -> Option<Fault> {
        let hit = |kind| incident::active(self.start, draft.started_at, kind).is_some_and(|i| i.model == draft.model);
        let name = draft.model.name;
        if hit(Kind::ErrorSpike) {
            // Every second one, so that it is a spike and no long row of failures.
            return (nth % 2 == 1).then(|| Fault {
                error_type: Some("timeout"),
                message: format!("Request to {name} timed out"),
                latency_ms: TIMEOUT_MS,
            });
        }
        if hit(Kind::FailuresInARow) {
            let message = format!("The model `{name}` does not exist or you do not have access to it");
            return Some(Fault { error_type: Some("model_not_found"), message, latency_ms: REFUSAL_MS });
        }
        let usual = [
            (Some("timeout"), "Request timed out", TIMEOUT_MS),
            (Some("rate_limit_exceeded"), "Too many requests", REFUSAL_MS),
            (None, "Internal server error", REFUSAL_MS),
        ];
        let (fails, which) = (chance.unit() < USUAL_FAILURES, chance.bits() as usize % usual.len());
        let (error_type, message, latency_ms) = usual[which];
        fails.then(|| Fault { error_type, message: message.to_owned(), latency_ms })
    }
}

/// Why a call failed.
struct Fault {
    error_type: Option<&'static str>,
    message: String,
    latency_ms: (f64, f64),
}

/// A call with its outcome.
struct Call {
    usage: UsageRow,
    error: Option<ErrorRow>,
}

/// A call before its outcome is known.
struct Draft {
    started_at: Time,
    model: &'static Model,
    org: &'static str,
    source: &'static str,
    prompt_tokens: i64,
    completion_tokens: i64,
    latency_ms: f64,
}

impl Draft {
    fn usual(begin: Time, chance: &mut Chance) -> Draft {
        let started_at = begin + Span((chance.unit() * SECOND.0 as f64) as i64);
        let model = chance.pick(&MODELS, |model| model.share).unwrap_or(&MODELS[0]);
        let places: [usize; ORGS.len()] = std::array::from_fn(|place| place);
        let place = chance.pick(&places, |place| org_share(*place)).copied().unwrap_or(0);
        let chat = chance.unit() < 0.7;
        let (source, prompt, completion) = match (model.embeds(), chat) {
            (true, _) => ("kb-processor", chance.around(EMBEDDING_TOKENS, SPREAD), 0.0),
            (false, true) => ("chat-stream", chance.around(TEXT_TOKENS.0, SPREAD), chance.around(TEXT_TOKENS.1, SPREAD)),
            (false, false) => ("eval-processor", chance.around(TEXT_TOKENS.0, SPREAD), chance.around(TEXT_TOKENS.1, SPREAD)),
        };
        let latency_ms = chance.around(model.latency_ms, SPREAD);
        let (prompt_tokens, completion_tokens) = (prompt as i64, completion as i64);
        Draft { started_at, model, org: ORGS[place], source, prompt_tokens, completion_tokens, latency_ms }
    }

    /// One of the calls that make a cost jump: about half a dollar each.
    fn dear(begin: Time, org: &'static str, chance: &mut Chance) -> Draft {
        Draft {
            started_at: begin + Span((chance.unit() * SECOND.0 as f64) as i64),
            model: model_named(EXPENSIVE),
            org,
            source: "eval-processor",
            prompt_tokens: chance.between(130_000.0, 190_000.0) as i64,
            completion_tokens: chance.between(1_000.0, 3_000.0) as i64,
            latency_ms: chance.between(4_000.0, 9_000.0),
        }
    }

    fn finish(self, fault: Option<Fault>, chance: &mut Chance) -> Call {
        let failed = fault.is_some();
        let latency = fault.as_ref().map_or(self.latency_ms, |fault| chance.between(fault.latency_ms.0, fault.latency_ms.1));
        // Nothing is paid for a failure.
        let latency_ms = (latency as i64).min(MAX_LATENCY.0 / 1_000 - 1);
        let completion_tokens = if failed { 0 } else { self.completion_tokens };
        let cost_usd = if failed { 0.0 } else { self.model.cost_usd(self.prompt_tokens, completion_tokens) };
        let usage = UsageRow {
            id: chance.uuid(),
            started_at: self.started_at,
            completed_at: Some(self.started_at + Span::millis(latency_ms)),
            provider: self.model.provider.into(),
            model: self.model.name.into(),
            source: self.source.into(),
            operation: if self.model.embeds() { "embedding" } else { "text_generation" }.into(),
            org: Some(self.org.into()),
            prompt_tokens: Some(self.prompt_tokens),
            completion_tokens: Some(completion_tokens),
            total_tokens: Some(self.prompt_tokens + completion_tokens),
            latency_ms: Some(latency_ms),
            success: !failed,
            cost_usd: Some(cost_usd),
        };
        let error = fault.map(|fault| error_of(&usage, chance.uuid(), fault.error_type.map(Arc::from), fault.message));
        Call { usage, error }
    }
}

/// The error row that goes with a failed call.
pub fn error_of(usage: &UsageRow, id: String, error_type: Option<Arc<str>>, message: String) -> ErrorRow {
    ErrorRow {
        id,
        occurred_at: usage.visible_at(),
        provider: usage.provider.clone(),
        model: usage.model.clone(),
        source: usage.source.clone(),
        operation: usage.operation.clone(),
        org: usage.org.clone(),
        error_type,
        message,
    }
}

/// One large call that costs what an organisation usually spends in a [`COST_WINDOW`], give or take 15 %.
fn past_call(at: Time, place: usize, chance: &mut Chance) -> UsageRow {
    let model = model_named(LONG_CONTEXT);
    let usual_usd = CALLS_PER_SECOND as f64 * COST_WINDOW.as_secs_f64() * mean_call_usd() * org_share(place);
    let usd = usual_usd * chance.between(0.85, 1.15);
    let completion_tokens = 2_000;
    let prompt_tokens = ((usd * 1e6 - completion_tokens as f64 * model.prices.1) / model.prices.0).max(0.0) as i64;
    let latency_ms = chance.between(8_000.0, 19_000.0) as i64;
    UsageRow {
        id: chance.uuid(),
        started_at: at,
        completed_at: Some(at + Span::millis(latency_ms)),
        provider: model.provider.into(),
        model: model.name.into(),
        source: "eval-processor".into(),
        operation: "text_generation".into(),
        org: Some(ORGS[place].into()),
        prompt_tokens: Some(prompt_tokens),
        completion_tokens: Some(completion_tokens),
        total_tokens: Some(prompt_tokens + completion_tokens),
        latency_ms: Some(latency_ms),
        success: true,
        cost_usd: Some(model.cost_usd(prompt_tokens, completion_tokens)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Time = Time::from_secs(1_763_700_000);

    fn scenario() -> Scenario {
        Scenario { seed: 1, start: START }
    }

    fn first(seconds: i64) -> Rows {
        scenario().rows(START, START + Span::secs(seconds))
    }

    fn longest_failure_run<'a>(rows: impl Iterator<Item = &'a UsageRow>) -> usize {
        let mut ordered: Vec<_> = rows.collect();
        ordered.sort_by_key(|row| row.started_at);
        let mut runs: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for row in ordered {
            let (run, longest) = runs.entry(&row.model).or_default();
            *run = if row.success { 0 } else { *run + 1 };
            *longest = (*longest).max(*run);
        }
        runs.values().map(|(_, longest)| *longest).max().unwrap_or(0)
    }

    /// The most failures of one model, other than `but`, in any minute of the rows.
    fn most_in_a_minute(rows: &[UsageRow], but: &str) -> usize {
        let failed: Vec<_> = rows.iter().filter(|row| !row.success && &*row.model != but).collect();
        let near = |a: &UsageRow, b: &UsageRow| a.model == b.model && (a.started_at - b.started_at).0.abs() <= 60_000_000;
        let after = |row: &UsageRow| failed.iter().filter(|other| near(row, other) && other.started_at >= row.started_at).count();
        failed.iter().map(|row| after(row)).max().unwrap_or(0)
    }

    #[test]
    fn pieces_add_up_to_the_whole() {
        let whole = first(90);
        let mut pieces = Rows::default();
        let cuts = [0, 1_300, 1_301, 29_999, 61_250, 90_000];
        for pair in cuts.windows(2) {
            let piece = scenario().rows(START + Span::millis(pair[0]), START + Span::millis(pair[1]));
            pieces.usage.extend(piece.usage);
            pieces.errors.extend(piece.errors);
        }
        assert_eq!(whole, pieces);
        assert_ne!(whole, Scenario { seed: 2, start: START }.rows(START, START + Span::secs(90)));
        let ids: std::collections::BTreeSet<_> = whole.usage.iter().map(|row| &row.id).collect();
        assert_eq!(ids.len(), whole.usage.len());
    }

    #[test]
    fn the_rate_is_steady_and_rows_are_plausible() {
        let rows = scenario().rows(START + Span::secs(60), START + Span::secs(120));
        assert!((15 * 60..25 * 60).contains(&rows.usage.len()), "{}", rows.usage.len());
        for row in &rows.usage {
            assert!(row.started_at >= START && row.completed_at > Some(row.started_at), "{row:?}");
            assert_eq!(row.total_tokens, row.prompt_tokens.zip(row.completion_tokens).map(|(a, b)| a + b));
            assert!(row.cost_usd.is_some_and(|usd| (0.0..1.0).contains(&usd)), "{row:?}");
        }
        let models: std::collections::BTreeSet<_> = rows.usage.iter().map(|row| &row.model).collect();
        assert_eq!(models.len(), 12);
    }

    #[test]
    fn failures_lie_in_their_incidents() {
        for n in 0..12 {
            let [spike, row, jump] = incident::cycle(START, n % 6);
            let begin = START + Span(CYCLE.0 * (n % 6));
            let scenario = Scenario { seed: n as u64 / 6, start: START };
            let usage = scenario.rows(begin, begin + CYCLE).usage;
            let failed = |i: &incident::Incident, from: Time, to: Time| {
                let of_model = usage.iter().filter(|r| &*r.model == i.model.name && from <= r.started_at && r.started_at < to);
                (of_model.clone().filter(|r| !r.success).count(), of_model.count())
            };
            // More than the 30 of `rules.yml` within 28 s, so that the first alert fires well within a minute.
            assert!(failed(&spike, spike.begin, spike.begin + Span::secs(28)).0 > 30, "cycle {n}");
            let (in_a_row, calls) = failed(&row, row.begin, row.end);
            assert!(in_a_row == calls && (8..=30).contains(&calls), "cycle {n}: {in_a_row} of {calls}");
            assert!(longest_failure_run(usage.iter().filter(|r| r.started_at < row.begin)) < 5, "cycle {n}");
            assert!(most_in_a_minute(&usage, spike.model.name) <= 30, "cycle {n}");
            let spent: f64 = usage.iter().filter(|r| r.org.as_deref() == Some(jump.org)).filter_map(|r| r.cost_usd).sum();
            assert!(spent > 10.0, "cycle {n}: {spent}");
        }
    }

    #[test]
    fn usual_spending_is_far_below_the_rule_and_a_jump_above_it() {
        let history = scenario().history();
        let day_and_more = START - Span(DAY.0) + Span::secs(600);
        for (place, org) in ORGS.iter().enumerate() {
            let of_org = |row: &&UsageRow| row.org.as_deref() == Some(*org);
            let window = |row: &&UsageRow| day_and_more - COST_WINDOW < row.started_at && row.started_at <= day_and_more;
            let past: Vec<f64> = history.usage.iter().filter(of_org).filter(window).filter_map(|row| row.cost_usd).collect();
            assert_eq!(past.len(), 1, "{org}");
            // 300..480 s of the schedule: no jump of its own, at most the end of another's.
            let live = scenario().rows(START + Span::secs(300), START + Span::secs(480));
            let spent: f64 = live.usage.iter().filter(of_org).filter_map(|row| row.cost_usd).sum();
            assert!(spent < 1.8 * past[0] && spent < 2.5, "{place} {org}: {spent} now, {} then", past[0]);
        }
        assert!((5_000..15_000).contains(&history.usage.len()), "{}", history.usage.len());
        assert!(history.usage.iter().all(|row| row.visible_at() < START));
    }

    #[test]
    fn notes_come_once_and_again_each_cycle() {
        let (plan, every) = scenario().plan();
        assert_eq!((plan.len(), every), (6, CYCLE));
        assert_eq!(plan[0].at, START + Span::secs(20));
        assert!(plan[0].text.starts_with("gpt-4o at openai begins to fail"), "{}", plan[0].text);
        assert_eq!(scenario().notes(START, START + Span(CYCLE.0 * 3)).len(), 18);
        assert_eq!(scenario().notes(START + Span::secs(20), START + Span::secs(21)).len(), 1);
        assert_eq!(scenario().notes(START + Span::secs(21), START + Span::secs(60)).len(), 0);
    }
}
