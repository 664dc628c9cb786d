//! Time intervals in Alertmanager's notation, whatever they were written in.

use serde_json::{Value, json};

use super::interval::{ALL_MONTHS, ALL_WEEKDAYS, Spec, TimeInterval};
use super::notation::{MONTHS, WEEKDAYS};

impl TimeInterval {
    /// The specs as Alertmanager's configuration has them: a list of maps.
    pub fn to_alertmanager(&self) -> Value {
        Value::Array(self.specs.iter().map(Spec::to_alertmanager).collect())
    }
}

impl Spec {
    fn to_alertmanager(&self) -> Value {
        let mut map = serde_json::Map::new();
        let mut put = |key: &str, ranges: Vec<Value>| {
            if !ranges.is_empty() {
                map.insert(key.to_owned(), Value::Array(ranges));
            }
        };
        let clock = |minute: u16| format!("{:02}:{:02}", minute / 60, minute % 60);
        let time = |&(from, to): &(u16, u16)| json!({ "start_time": clock(from), "end_time": clock(to) });
        put("times", self.times.iter().map(time).collect());
        let day = |n: usize| WEEKDAYS[n].to_owned();
        put("weekdays", named(self.weekdays.into(), ALL_WEEKDAYS.into(), day));
        put("days_of_month", self.days_of_month.iter().map(|&(first, last)| range(first, last)).collect());
        put("months", named(self.months, ALL_MONTHS, |n| MONTHS[n - 1].to_owned()));
        put("years", self.years.iter().map(|&(first, last)| range(first, last)).collect());
        if self.zone.name() != "UTC" {
            map.insert("location".to_owned(), json!(self.zone.name()));
        }
        Value::Object(map)
    }
}

/// `1:5`, or `1` alone.
fn range<T: PartialEq + ToString>(first: T, last: T) -> Value {
    let text = first.to_string();
    Value::String(if first == last { text } else { format!("{text}:{}", last.to_string()) })
}

/// The runs of set bits by the names of their ends; nothing where all of them are set.
fn named(bits: u16, all: u16, name: impl Fn(usize) -> String) -> Vec<Value> {
    let (mut ranges, mut first) = (Vec::new(), None);
    for n in 0..=16 {
        match (first, n < 16 && bits >> n & 1 == 1) {
            (None, true) => first = Some(n),
            (Some(from), false) => {
                ranges.push(range(name(from), name(n - 1)));
                first = None;
            }
            _ => {}
        }
    }
    if bits == all { Vec::new() } else { ranges }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{self, Faults};

    #[test]
    fn what_is_written_is_read_again_as_the_same() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            let parse = |text: &str| {
                let mut faults = Faults::default();
                let interval = TimeInterval::parse(&yaml::parse("t.yml", text, &mut faults).unwrap(), &mut faults);
                interval.unwrap_or_else(|| panic!("{text}: {:?}", faults.0))
            };
            let interval = parse(text);
            let written = interval.to_alertmanager().to_string();
            assert_eq!((written.as_str(), parse(&written)), (expected, interval), "{text}");
        }
        check("'08:00-24:00'", r#"[{"times":[{"end_time":"24:00","start_time":"08:00"}]}]"#);
        check(
            "mon-wed,fri,sun 08:00-12:00,13:00-19:00 America/Los_Angeles",
            r#"[{"location":"America/Los_Angeles","times":[{"end_time":"12:00","start_time":"08:00"},{"end_time":"19:00","start_time":"13:00"}],"weekdays":["sunday:wednesday","friday"]}]"#,
        );
        check(
            "{days_of_month: ['1:5', '-3:-1', 15], months: ['january:march', '12'], years: ['2026:2028', 2030]}",
            r#"[{"days_of_month":["1:5","-3:-1","15"],"months":["january:march","december"],"years":["2026:2028","2030"]}]"#,
        );
        check(
            "[{weekdays: [saturday]}, {months: [november, december]}]",
            r#"[{"weekdays":["saturday"]},{"months":["november:december"]}]"#,
        );
        check("{weekdays: ['sunday:saturday']}", "[{}]");
    }
}
