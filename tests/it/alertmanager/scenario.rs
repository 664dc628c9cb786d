//! A scenario as it is written, and how one side plays it.

use super::hooks::Hooks;
use super::peer::{Kind, Peer};
use super::transcript::{Marks, Transcript};
use crate::receiver::Behaviour;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Long enough for a busy machine; a scenario that waits longer waits in vain.
const LIMIT: Duration = Duration::from_secs(25);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// alertmanager.yml, with `$HOOK/NAME` for the URL of a receiver, and the words of [`clock_words`].
    config: String,
    play: Vec<Step>,
    /// Seconds in which nothing more may come.
    quiet: f64,
    /// Whether the order of the messages of all groups together is determined.
    #[serde(default)]
    in_order: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Step {
    /// POST /api/v2/alerts.
    Post(Vec<Posted>),
    /// The same with some that must be refused.
    Refused(Vec<Posted>),
    /// The same, ending now.
    Resolve(Vec<BTreeMap<String, String>>),
    /// Wait until receivers have accepted so many messages.
    Heard(BTreeMap<String, usize>),
    /// Wait until receivers were asked so often, whatever they answered.
    Asked(BTreeMap<String, usize>),
    /// Wait so many seconds.
    Wait(f64),
    /// `amtool silence add`; the name is for `expire`.
    Silence {
        name: String,
        matchers: Vec<String>,
        #[serde(default = "an_hour")]
        duration: String,
    },
    /// `amtool silence expire`.
    Expire(String),
    /// How a receiver answers next: a status, or `reset`.
    Answers(BTreeMap<String, Vec<Value>>),
    /// Nobody listens there any more.
    Down(String),
    /// Somebody listens there again.
    Up(String),
    /// Another configuration.
    Reload(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    /// Seconds from now; now where it is left out.
    starts: Option<f64>,
    /// Seconds from now; left to the `resolve_timeout` where it is left out.
    ends: Option<f64>,
    #[serde(default)]
    generator: String,
}

impl Posted {
    fn json(&self, played: &mut Played) -> Value {
        let mut alert = json!({ "labels": self.labels, "annotations": self.annotations, "generatorURL": self.generator });
        for (key, seconds) in [("startsAt", self.starts), ("endsAt", self.ends)] {
            if let Some(seconds) = seconds {
                alert[key] = played.instant(seconds, key);
            }
        }
        alert
    }
}

/// How far one side has come.
#[derive(Default)]
struct Played {
    steps: usize,
    /// Ids of silences by name.
    silences: BTreeMap<String, String>,
    marks: Marks,
}

impl Played {
    /// So many seconds from now, and remembered as named by this step.
    fn instant(&mut self, seconds: f64, key: &str) -> Value {
        // Of whole microseconds: finer ones need not come back.
        let at = Timestamp::from_microsecond(Timestamp::now().as_microsecond() + (seconds * 1e6) as i64).unwrap();
        self.marks.insert(at, format!("{key} of step {}, {seconds} s", self.steps));
        json!(at.to_string())
    }
}

impl Scenario {
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap();
        serde_yaml::from_str(&clock_words(&text)).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// Plays it on one side, to the end.
    pub async fn play(&self, kind: Kind) -> Transcript {
        let reloads =
            self.play.iter().filter_map(|step| if let Step::Reload(config) = step { Some(config.as_str()) } else { None });
        let configs: String = std::iter::once(self.config.as_str()).chain(reloads).collect();
        let hooks = Hooks::start(&configs);
        let peer = Peer::start(kind, &hooks.fill(&self.config)).await;
        let (mut played, mut trouble) = (Played::default(), Vec::new());
        for step in &self.play {
            played.steps += 1;
            if let Err(error) = step.take(&peer, &hooks, &mut played).await {
                trouble.push(error);
                break;
            }
        }
        tokio::time::sleep(Duration::from_secs_f64(self.quiet)).await;
        if !trouble.is_empty() {
            eprintln!("--- {kind:?}: {trouble:?}\n{}\n---", peer.log());
        }
        Transcript::new(hooks.accepted(), &played.marks, trouble, self.in_order)
    }
}

impl Step {
    async fn take(&self, peer: &Peer, hooks: &Hooks, played: &mut Played) -> Result<(), String> {
        let in_vain = |came: bool, what: String| if came { Ok(()) } else { Err(format!("waited in vain for {what}")) };
        match self {
            Self::Post(alerts) => peer.post(&alerts.iter().map(|alert| alert.json(played)).collect()).await?,
            Self::Refused(alerts) => match peer.post(&alerts.iter().map(|alert| alert.json(played)).collect()).await {
                Err(refused) if refused.starts_with("400") => {}
                other => return Err(format!("no 400: {other:?}")),
            },
            Self::Resolve(alerts) => {
                let mut ending =
                    |labels: &BTreeMap<String, String>| json!({ "labels": labels, "endsAt": played.instant(0.0, "endsAt") });
                peer.post(&alerts.iter().map(&mut ending).collect()).await?;
            }
            Self::Heard(counts) => {
                for (name, count) in counts {
                    in_vain(hooks.heard(name, *count, LIMIT).await, format!("{name} to hear {count}"))?;
                }
            }
            Self::Asked(counts) => {
                for (name, count) in counts {
                    in_vain(hooks.asked(name, *count, LIMIT).await, format!("{name} to be asked {count} times"))?;
                }
            }
            Self::Wait(seconds) => tokio::time::sleep(Duration::from_secs_f64(*seconds)).await,
            Self::Silence { name, matchers, duration } => {
                let fixed = ["silence", "add", "--author=tester", "--comment=scenario", "--duration", duration];
                let arguments: Vec<&str> = fixed.into_iter().chain(matchers.iter().map(String::as_str)).collect();
                let id = peer.amtool(&arguments).await.map_err(|error| format!("amtool silence add: {error}"))?;
                played.silences.insert(name.clone(), id);
            }
            Self::Expire(name) => {
                let id = played.silences.get(name).ok_or_else(|| format!("there is no silence {name}"))?;
                peer.amtool(&["silence", "expire", id]).await.map_err(|error| format!("amtool silence expire: {error}"))?;
            }
            Self::Answers(scripts) => scripts.iter().for_each(|(name, script)| {
                hooks.script(name, &script.iter().map(behaviour).collect::<Vec<_>>());
            }),
            Self::Down(name) => hooks.down(name),
            Self::Up(name) => hooks.up(name),
            Self::Reload(config) => peer.reload(&hooks.fill(config)).await?,
        }
        Ok(())
    }
}

fn an_hour() -> String {
    "1h".to_owned()
}

fn behaviour(word: &Value) -> Behaviour {
    match (word.as_u64(), word.as_str()) {
        (Some(status), _) => Behaviour::Answer(status as u16, "no"),
        (_, Some("reset")) => Behaviour::Reset,
        _ => panic!("no answer: {word}"),
    }
}

/// Puts what depends on the clock into a text: `$NOW` and `$LATER` are ranges of `times` in UTC around this minute and well
/// after it, `$TODAY` and `$ANOTHER_DAY` are ranges of `weekdays`; a scenario may go over midnight.
fn clock_words(text: &str) -> String {
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let minute = i32::from(now.hour()) * 60 + i32::from(now.minute());
    let range = |from: i32, to: i32| {
        format!("{{start_time: '{:02}:{:02}', end_time: '{:02}:{:02}'}}", from / 60, from % 60, to / 60, to % 60)
    };
    // No range goes over midnight: one that would is two.
    let around = |from: i32, to: i32| match (from.rem_euclid(1_440), to.rem_euclid(1_440)) {
        (from, to) if from < to => format!("[{}]", range(from, to)),
        (from, 0) => format!("[{}]", range(from, 1_440)),
        (from, to) => format!("[{}, {}]", range(from, 1_440), range(0, to)),
    };
    let day = |days: i32| now.checked_add(days.days()).unwrap().strftime("%A").to_string().to_lowercase();
    text.replace("$NOW", &around(minute - 2, minute + 5))
        .replace("$LATER", &around(minute + 60, minute + 90))
        .replace("$TODAY", &format!("['{}', '{}']", day(0), day(1)))
        .replace("$ANOTHER_DAY", &format!("['{}', '{}']", day(3), day(4)))
}
