//! Configurations: no text makes the parser panic, nor the telling of what is wrong with it. No rule files are read.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use modelwatch::config;
use modelwatch::yaml::Faults;

fuzz_target!(|text: &str| {
    let mut faults = Faults::default();
    // Files of secrets are looked for in a folder that does not exist.
    config::parse("/nonexistent/modelwatch.yml", text, Path::new("/nonexistent"), Some(&[]), &mut faults);
    for fault in faults.0.iter().take(20) {
        (fault.render(false), fault.json(), fault.github(), fault.to_string());
    }
});
