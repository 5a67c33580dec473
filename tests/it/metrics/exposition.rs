//! Prometheus' text format, read as strictly as these tests need it.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// Name and labels as written.
    pub(super) series: String,
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) value: f64,
}

impl Sample {
    /// The series as it would be written without one label.
    pub(super) fn without(&self, label: &str) -> String {
        let labels: Vec<String> = self
            .labels
            .iter()
            .filter(|(name, _)| *name != label)
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        if labels.is_empty() {
            self.name.clone()
        } else {
            format!("{}{{{}}}", self.name, labels.join(","))
        }
    }
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: String,
    /// Of all its samples, without a bucket's edge.
    pub(super) labels: BTreeSet<String>,
}

pub(super) fn samples(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a value");
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').expect("closed labels");
            // No value of ours holds a comma or a quote; one that did would fail here.
            let labels = labels
                .split(',')
                .filter(|label| !label.is_empty())
                .map(|label| {
                    let (name, value) = label.split_once("=\"").expect("a label");
                    let value = value.strip_suffix('"').expect("a closed value");
                    assert!(!value.contains(['"', '\\', '{', '}']), "{line}");
                    (name.to_owned(), value.to_owned())
                })
                .collect();
            Sample {
                series: series.to_owned(),
                name: name.to_owned(),
                labels,
                value: value.parse().expect("a number"),
            }
        })
        .collect()
}

/// Every family that is announced, each once and with help, and the labels of its samples.
pub(super) fn families(text: &str) -> BTreeMap<String, Family> {
    let mut families = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = rest.split_once(' ').expect("a type");
        let help = format!("# HELP {name} ");
        assert_eq!(text.matches(&help).count(), 1, "{name}");
        let family = Family {
            kind: kind.to_owned(),
            labels: BTreeSet::new(),
        };
        assert!(families.insert(name.to_owned(), family).is_none(), "{name}");
    }
    for sample in samples(text) {
        let name = family_of(&sample.name, &families).to_owned();
        let family = families.get_mut(&name).expect("found above");
        let labels = sample.labels.into_keys().filter(|label| label != "le");
        family.labels.extend(labels);
    }
    families
}

/// The family that a sample's name belongs to.
pub(super) fn family_of<'a>(name: &'a str, families: &BTreeMap<String, Family>) -> &'a str {
    ["", "_bucket", "_sum", "_count"]
        .into_iter()
        .filter_map(|ending| name.strip_suffix(ending))
        .find(|stem| families.contains_key(*stem))
        .unwrap_or_else(|| panic!("{name} belongs to no family"))
}
