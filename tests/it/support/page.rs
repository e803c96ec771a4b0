//! A page of metrics, read more strictly than Prometheus does: every rule of the text formats that a page can break.

use std::collections::{BTreeMap, BTreeSet};

use super::gateway::{Gateway, MASTER};

/// The samples of a page, by name and labels.
#[derive(Debug)]
pub(crate) struct Page {
    samples: BTreeMap<(String, Labels), f64>,
    pub(crate) text: String,
}

type Labels = BTreeMap<String, String>;

impl Page {
    /// The page as the master key sees it.
    pub(crate) async fn of(gateway: &Gateway) -> Self {
        let asked = gateway.client.get(gateway.url("/metrics")).bearer_auth(MASTER);
        let answer = asked.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::read(&answer.text().await.unwrap())
    }

    /// Reads the older text form.
    pub(crate) fn read(text: &str) -> Self {
        assert!(text.ends_with('\n'), "the last line ends, too");
        let mut samples = BTreeMap::new();
        let (mut families, mut current) = (BTreeSet::new(), (String::new(), String::new()));
        let mut help = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                help = rest.split_once(' ').expect("a help text").0.to_owned();
                assert!(families.insert(help.clone()), "{help} stands twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("a type");
                assert_eq!(name, help, "help and type belong together");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
                current = (name.to_owned(), kind.to_owned());
            } else {
                let (name, labels, value) = sample(line);
                let (family, kind) = &current;
                let suffix = name.strip_prefix(family.as_str()).expect(line);
                let fits = match kind.as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].contains(&suffix),
                    _ => suffix.is_empty(),
                };
                assert!(fits, "{line} below {family}");
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(samples.insert((name, labels), value).is_none(), "{line} stands twice");
            }
        }
        let page = Self { samples, text: text.to_owned() };
        page.check_histograms();
        page
    }

    fn check_histograms(&self) {
        let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.samples {
            let Some(name) = name.strip_suffix("_bucket") else { continue };
            let mut labels = labels.clone();
            let bound = labels.remove("le").expect("a bound");
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
            buckets.entry((name.to_owned(), labels)).or_default().push((bound, *value));
        }
        for ((name, labels), mut buckets) in buckets {
            buckets.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            assert!(buckets.windows(2).all(|two| two[0].1 <= two[1].1), "{name} {labels:?}");
            let last = buckets.last().unwrap();
            assert!(last.0.is_infinite());
            let count = self.samples[&(format!("{name}_count"), labels.clone())];
            assert_eq!(last.1, count, "{name} {labels:?}");
            assert!(self.samples.contains_key(&(format!("{name}_sum"), labels)));
        }
    }

    /// The sum of all samples of a name that have these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |own: &Labels| {
            labels.iter().all(|(name, value)| own.get(*name).is_some_and(|own| own == value))
        };
        let found = self.samples.iter().filter(|((own, labels), _)| own == name && fits(labels));
        found.map(|(_, value)| value).sum()
    }

    /// How many samples of a name have these labels.
    pub(crate) fn count(&self, name: &str, labels: &[(&str, &str)]) -> usize {
        let fits = |own: &Labels| {
            labels.iter().all(|(name, value)| own.get(*name).is_some_and(|own| own == value))
        };
        self.samples.keys().filter(|(own, labels)| own == name && fits(labels)).count()
    }

    pub(crate) fn len(&self) -> usize {
        self.samples.len()
    }

    /// Every value of a label on the page.
    pub(crate) fn values(&self, label: &str) -> BTreeSet<&str> {
        let values = self.samples.keys().filter_map(|(_, labels)| labels.get(label));
        values.map(String::as_str).collect()
    }
}

/// `name{label="value",…} 1.5`
fn sample(line: &str) -> (String, Labels, f64) {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let end = line.find(|c| !is_of_name(c)).expect(line);
    let (name, mut rest) = line.split_at(end);
    assert!(name.starts_with(|c: char| !c.is_ascii_digit()), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, behind) = rest.split_once("=\"").expect(line);
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            assert!(!label.is_empty() && label.chars().all(is_plain), "{line}");
            let (value, behind) = quoted(behind);
            assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
            rest = behind.strip_prefix(',').unwrap_or(behind);
        }
        rest = &rest[1..];
    }
    let value = rest.strip_prefix(' ').expect(line);
    (name.to_owned(), labels, value.parse().expect(line))
}

/// A label's value, and what stands behind its closing quote.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return (value, &text[at + 1..]),
            '\\' => match signs.next().expect("an escape").1 {
                'n' => value.push('\n'),
                sign @ ('"' | '\\') => value.push(sign),
                other => panic!("\\{other} is no escape"),
            },
            sign => value.push(sign),
        }
    }
    panic!("a label without an end: {text}");
}
