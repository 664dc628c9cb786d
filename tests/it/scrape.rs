//! What /metrics says, as samples: a strict parser of the text format, and sums over label values.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// One answer of /metrics.
#[derive(Clone, Debug, Default)]
pub struct Scrape {
    pub samples: Vec<Sample>,
}

impl Scrape {
    pub fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| sample(line).ok_or_else(|| format!("not a sample: {line}"))).collect::<Result<_, _>>()?;
        Ok(Self { samples })
    }

    /// Samples of that name that carry all those label values.
    pub fn find<'a>(&'a self, name: &'a str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        let matches = move |sample: &&Sample| {
            sample.name == name && labels.iter().all(|(key, value)| sample.labels.get(*key).map_or("", String::as_str) == *value)
        };
        self.samples.iter().filter(matches)
    }

    /// Their sum; `None` where there is no such sample.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.find(name, labels).map(|sample| sample.value).fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
    }

    /// Sums by the values of some labels, without the zeros; a label that is not there is the empty string.
    pub fn by(&self, name: &str, labels: &[&str]) -> BTreeMap<Vec<String>, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.samples.iter().filter(|sample| sample.name == name && sample.value != 0.0) {
            let key = labels.iter().map(|label| sample.labels.get(*label).cloned().unwrap_or_default()).collect();
            *sums.entry(key).or_insert(0.0) += sample.value;
        }
        sums
    }

    /// The counters of the product's own series (not those about modelwatch, which start again with each process).
    pub fn counters(&self) -> BTreeMap<String, f64> {
        let counts = |name: &str| ["_total", "_count", "_sum", "_bucket"].iter().any(|end| name.ends_with(end));
        let ours = self.samples.iter().filter(|sample| sample.name.starts_with("ai_") && counts(&sample.name));
        ours.map(|sample| (format!("{}{:?}", sample.name, sample.labels), sample.value)).collect()
    }
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut given = BTreeMap::new();
    if rest.starts_with('{') {
        (given, rest) = labels(rest)?;
    }
    let value = rest.strip_prefix(' ')?.split(' ').next()?;
    let value = match value {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        number => number.parse().ok()?,
    };
    Some(Sample { name: name.to_owned(), labels: given, value })
}

/// The labels at the beginning of a text, and what follows their closing brace.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut inside = text.strip_prefix('{')?;
    while !inside.starts_with('}') {
        let (key, quoted) = inside.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        if labels.insert(key.to_owned(), value).is_some() {
            return None;
        }
        inside = after.strip_prefix(',').unwrap_or(after);
    }
    Some((labels, &inside[1..]))
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                _ => return None,
            },
            other => value.push(other),
        }
    }
    None
}

#[test]
fn samples_with_escapes_timestamps_and_none_at_all() {
    let text =
        "# HELP a b\n# TYPE a counter\na{m=\"x\\\"y\\\\z\\n{,}\",p=\"\"} 3 1700000000\na 4.5\nb_bucket{le=\"+Inf\"} +Inf\n";
    let scrape = Scrape::parse(text).unwrap();
    assert_eq!(scrape.samples[0].labels["m"], "x\"y\\z\n{,}");
    assert_eq!(scrape.sum("a", &[]), Some(7.5));
    assert_eq!(scrape.sum("a", &[("p", ""), ("m", "")]), Some(4.5));
    assert_eq!(scrape.sum("c", &[]), None);
    assert!(Scrape::parse("a{m=\"x} 3").is_err());
    assert!(Scrape::parse("a{m=\"x\",m=\"y\"} 3").is_err());
    assert!(Scrape::parse("a three").is_err());
}
