//! Rule files: no text makes the parser panic, nor the telling of what is wrong with it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use modelwatch::rule;
use modelwatch::yaml::Faults;

fuzz_target!(|text: &str| {
    let mut faults = Faults::default();
    let rules = rule::parse_file("rules.yml", text, &mut faults);
    rule::identities(&rules, &mut faults);
    for rule in &rules {
        (rule.needs(), rule.reach(), rule.matchers().count(), rule.dimensions().count());
    }
    for fault in faults.0.iter().take(20) {
        (fault.render(false), fault.json(), fault.github(), fault.to_string());
    }
});
