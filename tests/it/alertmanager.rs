//! The real Alertmanager and modelwatch under `compatibility: alertmanager`, on the same configuration, hear the same alerts and
//! are told the same by `amtool`; their receivers must hear the same.
//!
//! A scenario is a file of `alertmanager/scenarios`; beside it stands what its receivers hear, as the real Alertmanager told
//! it (`UPDATE_GOLDEN=1` writes it), so that modelwatch is held against it where there is no Alertmanager, too. Each
//! side plays on its own and goes on when its receivers have heard what a step waits for: no timing of the machine shows.
//!
//! `MODELWATCH_SCENARIO=inhibition` plays one; `MODELWATCH_PEER=alertmanager` plays the real one against itself.

mod hooks;
pub mod peer;
mod scenario;
mod transcript;

use crate::ground::{missing, program};
use peer::Kind;
use scenario::Scenario;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use transcript::Transcript;

const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/alertmanager/scenarios");

/// Those that are asked for, by name.
fn scenarios() -> BTreeMap<String, PathBuf> {
    let files = std::fs::read_dir(SCENARIOS).unwrap().map(|entry| entry.unwrap().path());
    let wanted = std::env::var("MODELWATCH_SCENARIO").ok();
    let name = |file: &PathBuf| file.file_stem().unwrap().to_string_lossy().into_owned();
    let scenarios = files.filter(|file| file.extension().is_some_and(|end| end == "yml")).map(|file| (name(&file), file));
    scenarios.filter(|(name, _)| wanted.as_ref().is_none_or(|wanted| wanted == name)).collect()
}

fn update() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}

/// What is wrong with a scenario; empty where all is well.
async fn differences(name: &str, file: &Path, is_alertmanager_here: bool) -> String {
    let scenario = Scenario::read(file);
    let golden = file.with_extension("txt");
    let ours = if std::env::var("MODELWATCH_PEER").is_ok_and(|peer| peer == "alertmanager") {
        Kind::Alertmanager
    } else {
        Kind::Modelwatch
    };
    let theirs = async { if is_alertmanager_here { Some(scenario.play(Kind::Alertmanager).await) } else { None } };
    let ours = async { if update() { None } else { Some(scenario.play(ours).await) } };
    let (theirs, ours): (Option<Transcript>, Option<Transcript>) = tokio::join!(theirs, ours);
    if let Some(theirs) = theirs.as_ref().filter(|_| update()) {
        std::fs::write(&golden, theirs.text()).unwrap();
    }
    let expected = std::fs::read_to_string(&golden).unwrap_or_default();
    let mut faults = String::new();
    for (who, heard) in [("Alertmanager", &theirs), ("modelwatch", &ours)] {
        if let Some(text) = heard.as_ref().map(Transcript::text).filter(|text| *text != expected) {
            faults += &format!("\n=== {name}: {who} tells\n{text}--- instead of\n{expected}");
        }
    }
    if let (Some(theirs), Some(ours), "") = (&theirs, &ours, faults.as_str()) {
        faults = theirs.differing_detail(ours).map(|detail| format!("\n=== {name}: {detail}")).unwrap_or_default();
    }
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modelwatch_tells_what_alertmanager_tells() {
    let is_alertmanager_here = program("prometheus-alertmanager").is_some();
    if program("amtool").is_none() {
        return missing("amtool");
    }
    let playing = scenarios()
        .into_iter()
        .map(|(name, file)| tokio::spawn(async move { differences(&name, &file, is_alertmanager_here).await }));
    // All begin before the first one is waited for.
    let playing: Vec<_> = playing.collect();
    assert!(!playing.is_empty(), "there is no such scenario in {SCENARIOS}");
    let mut faults = String::new();
    for differences in playing {
        faults += &differences.await.unwrap();
    }
    assert!(faults.is_empty(), "{faults}");
    if !is_alertmanager_here {
        missing("prometheus-alertmanager");
    }
}

/// A scenario in which nothing is told could not fail.
#[test]
fn every_scenario_tells_something() {
    for (name, file) in scenarios() {
        let told = std::fs::read_to_string(file.with_extension("txt")).unwrap_or_default();
        assert!(told.contains("  firing: "), "{name}: its receivers hear nothing; UPDATE_GOLDEN=1 writes what they hear");
        assert!(!told.contains("in vain"), "{name}: waits for what never comes:\n{told}");
    }
}
