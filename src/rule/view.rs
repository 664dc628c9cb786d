//! What a kind sees at one instant, and which groups it has to look at.

use std::cell::OnceCell;

use rustc_hash::FxHashMap;

use crate::labels::Labels;
use crate::rule::Answers;
use crate::source::query::Answer;
use crate::time::Time;
use crate::window::{Distinct, Group, Handle, RunState, Spread, Sums, Windows};

/// What a kind sees at one instant.
#[derive(Debug)]
pub struct View<'a> {
    /// The instant.
    pub at: Time,
    /// Since when the rule has been active without a gap; [`Time::MIN`] where it always is.
    pub open_since: Time,
    /// What the kind said of it as its phase.
    pub phase: bool,
    windows: &'a Windows,
    handles: &'a [Handle],
    parts: Option<Handle>,
    /// The parts of each group by its values; gathered when the first is asked for.
    parts_of: OnceCell<FxHashMap<&'a [String], Vec<Group>>>,
    answers: &'a Answers,
}

const NO_SUMS: &Sums = &Sums { success: 0, failure: 0, abandoned: 0, errors: 0, cost: 0, uncosted: 0, tokens: 0 };

impl View<'_> {
    /// Sums of a group over the window of a need.
    pub fn sums(&self, need: usize, group: Group) -> &Sums {
        self.windows.sums(self.handles[need]).get(group as usize).unwrap_or(NO_SUMS)
    }

    /// How a measure of a group is spread over the window of a need; none where there is no value.
    pub fn spread(&self, need: usize, group: Group) -> Option<&Spread> {
        self.windows.spreads(self.handles[need]).get(group as usize).filter(|spread| spread.count() > 0)
    }

    /// The lowest and the highest value of a measure of a group over the window of a need.
    pub fn bounds(&self, need: usize, group: Group) -> Option<(i64, i64)> {
        self.windows.bounds(self.handles[need], group)
    }

    /// How many distinct values a group has over the window of a need.
    pub fn distinct(&self, need: usize, group: Group) -> u64 {
        self.windows.distinct(self.handles[need]).get(group as usize).map_or(0, Distinct::count)
    }

    /// The end of the window of a need.
    pub fn edge(&self, need: usize) -> Time {
        self.windows.edge(self.handles[need])
    }

    /// How many groups there are.
    pub fn groups(&self) -> Group {
        self.handles.first().map_or(0, |handle| self.windows.groups(*handle) as Group)
    }

    /// Time of the oldest call of a group; it may be later than the instant.
    pub fn first(&self, group: Group) -> Time {
        self.windows.firsts(self.handles[0])[group as usize]
    }

    /// Time of the newest call of a group; it may be later than the instant.
    pub fn last(&self, group: Group) -> Time {
        self.windows.lasts(self.handles[0])[group as usize]
    }

    /// Time of the oldest row of a group, a call or the record of an error, where that is a need; it may be later than the instant.
    pub fn oldest(&self, group: Group) -> Time {
        self.windows.oldest(self.handles[0]).get(group as usize).copied().unwrap_or(Time(i64::MAX))
    }

    /// Time of the oldest row of all groups.
    pub fn oldest_of_all(&self) -> Time {
        let all = self.handles.first().map_or(&[][..], |handle| self.windows.oldest(*handle));
        all.iter().copied().min().unwrap_or(Time(i64::MAX))
    }

    /// The run of failures of a group.
    pub fn run(&self, group: Group) -> RunState {
        self.windows.run(self.handles[0], group, self.at)
    }

    /// The labels of a group.
    pub fn labels(&self, group: Group) -> Labels {
        self.windows.labels(self.handles[0], group)
    }

    /// The values of `by` of a group.
    pub fn values(&self, group: Group) -> &[String] {
        self.windows.values(self.handles[0], group)
    }

    /// What the sources answered to a query last, by their names.
    pub fn answers(&self, query: usize) -> impl Iterator<Item = (&str, &Answer)> {
        self.answers.get(query).into_iter().flatten().map(|(source, answer)| (source.as_str(), &**answer))
    }

    /// The values of the second dimension within a group, with their sums.
    pub fn parts(&self, group: Group) -> Vec<(&str, &Sums)> {
        let Some(handle) = self.parts else { return Vec::new() };
        let parts_of = self.parts_of.get_or_init(|| {
            let mut parts_of: FxHashMap<&[String], Vec<Group>> = FxHashMap::default();
            for part in 0..self.windows.sums(handle).len() as Group {
                if let Some((_, of)) = self.windows.values(handle, part).split_last() {
                    parts_of.entry(of).or_default().push(part);
                }
            }
            parts_of
        });
        let parts = parts_of.get(self.values(group)).into_iter().flatten();
        let part = |part: &Group| {
            let value = self.windows.values(handle, *part).last()?;
            Some((value.as_str(), &self.windows.sums(handle)[*part as usize]))
        };
        parts.filter_map(part).collect()
    }
}

/// A rule's places in the windows, and what it remembers of its last look at them.
#[derive(Debug, Default)]
pub struct Bound {
    handles: Vec<Handle>,
    /// Where the second dimension of `top` is.
    parts: Option<Handle>,
    /// The instant of the last look, and the latest one of all.
    seen: Option<(Time, Time)>,
    /// How far the log of each handle was read then, and that of calls.
    read: (Vec<u64>, u64),
    /// Groups that had a call after that instant.
    ahead: Vec<Group>,
    /// When the answers that were seen then were given.
    answered: Vec<Time>,
    /// The phase that the rule was in then; none where it was not active.
    phase: Option<bool>,
    /// Whether windows end at the last multiple of their resolution.
    past: bool,
    /// Groups that were broken then.
    pub broken: Vec<Group>,
    /// Groups that were gathered already; all false between two looks.
    marked: Vec<bool>,
}

impl Bound {
    /// The first `needs` handles are the kind's; `past` windows have no part that is still to come.
    pub fn new(mut handles: Vec<Handle>, needs: usize, past: bool) -> Bound {
        let parts = handles.get(needs).copied();
        handles.truncate(needs);
        Bound { handles, parts, past, ..Bound::default() }
    }

    /// All handles.
    pub fn all(&self) -> impl Iterator<Item = Handle> {
        self.handles.iter().copied().chain(self.parts)
    }

    /// Slides the windows to an instant.
    pub fn seek(&self, windows: &mut Windows, at: Time) {
        self.all().for_each(|handle| if self.past { windows.seek_past(handle, at) } else { windows.seek(handle, at) });
    }

    /// Gathers the groups whose verdict may have changed since the last look: those that changed in a window, that have a
    /// call since then, or that were broken; all where the phase or an answer is another. Ascending.
    pub fn candidates(&mut self, windows: &Windows, answers: &Answers, at: Time, phase: Option<bool>) -> Vec<Group> {
        let Some(first) = self.handles.first().copied() else { return Vec::new() };
        let (groups, lasts) = (windows.groups(first), windows.lasts(first));
        self.marked.resize(groups, false);
        let mut found = Vec::new();
        let marked = &mut self.marked;
        let mut mark = |group: Group| {
            if !std::mem::replace(&mut marked[group as usize], true) {
                found.push(group);
            }
        };
        // While it is not active, what changes is kept among the broken.
        let mut all = self.seen.is_none() || (phase.is_some() && phase != self.phase);
        self.phase = phase.or(self.phase);
        self.read.0.resize(self.handles.len(), 0);
        for (handle, read) in self.handles.iter().zip(&mut self.read.0) {
            let Some(log) = windows.log(*handle) else { continue };
            match log.since(*read) {
                Some(changed) => changed.iter().for_each(|group| mark(*group)),
                None => all = true,
            }
            *read = log.end();
        }
        self.broken.iter().for_each(|group| mark(*group));
        let (calls, (since, latest)) = (windows.calls(first), self.seen.unwrap_or((at, at)));
        // While the past is looked at, calls that were seen already are between two looks again.
        let news = calls.since(self.read.1).filter(|news| news.len() <= groups && since == latest && at >= latest);
        match news {
            Some(news) => news.iter().chain(&self.ahead).for_each(|group| mark(*group)),
            None => (0..).zip(lasts).filter(|(_, last)| **last >= since.min(at)).for_each(|(group, _)| mark(group)),
        }
        (self.seen, self.read.1) = (Some((at, latest.max(at))), calls.end());
        let answered = || answers.iter().flat_map(|by_source| by_source.values()).map(|answer| answer.at);
        if !answered().eq(self.answered.iter().copied()) {
            self.answered = answered().collect();
            all = true;
        }
        found.iter().for_each(|group| self.marked[*group as usize] = false);
        if all {
            found = (0..groups as Group).collect();
        }
        self.ahead.clear();
        self.ahead.extend(found.iter().copied().filter(|group| lasts[*group as usize] > at));
        found.sort_unstable();
        found
    }

    /// The labels of a group.
    pub fn labels(&self, windows: &Windows, group: Group) -> Labels {
        self.handles.first().map(|handle| windows.labels(*handle, group)).unwrap_or_default()
    }

    /// What a kind sees at the instant that the windows were slid to.
    pub fn view<'a>(&'a self, windows: &'a Windows, answers: &'a Answers, at: Time, open_since: Time) -> View<'a> {
        let (handles, parts) = (&self.handles, self.parts);
        View { at, open_since, phase: true, windows, handles, parts, parts_of: OnceCell::new(), answers }
    }
}
