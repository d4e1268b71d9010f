//! Examples of values, made of the types where the table gives none.

use std::time::Duration;

use super::{Availability, DefaultValue, KeySpec, OptionSpec, Type};

impl KeySpec {
    /// Returns a value with options that a file may give and that is not the default.
    pub(crate) fn sample(&self) -> String {
        if let Some(example) = self.example {
            return example.to_owned();
        }
        let defaults = match self.default {
            DefaultValue::Required | DefaultValue::Nothing | DefaultValue::SameAs(_) => vec![],
            DefaultValue::Values(values) => values.to_vec(),
            DefaultValue::ByProtocol { tcp, udp } => vec![tcp, udp],
        };
        let mut text = self.of.example(&defaults);
        let now = |option: &&OptionSpec| option.availability == Availability::Now;
        for option in self.options.iter().filter(now) {
            text.push_str("  ");
            text.push_str(option.name);
            text.push('=');
            text.push_str(&option.sample());
        }
        text
    }
}

impl OptionSpec {
    /// Returns a value that is not the default.
    pub(crate) fn sample(&self) -> String {
        let defaults: Vec<&str> = self.default.into_iter().collect();
        self.of.example(&defaults)
    }
}

impl Type {
    /// Returns a value of the type, if there is one another than those to be avoided.
    fn example(&self, avoided: &[&str]) -> String {
        let candidates: &[&str] = match self {
            Self::Name | Self::Reference(_) => &["blue"],
            Self::Device => &["ens1f0"],
            Self::Path => &["/etc/weir/file"],
            Self::Host => &["www.example.net"],
            Self::Server => &["siem.example.net:6514"],
            Self::UrlPath => &["/healthz"],
            Self::Bytes => &["ready"],
            Self::Flag => &["yes", "no"],
            Self::Int { .. } => &["2", "3", "10", "100", "1000", "1400", "254"],
            Self::Count { .. } => &["1000", "500k", "2M"],
            Self::Duration { min, max } => return duration(*min, *max, avoided),
            Self::Size { .. } => &["32KiB", "32MiB", "1GiB"],
            Self::Share { .. } => &["90%", "50%"],
            Self::Rate { .. } => &["10k/s", "200/s", "50k/s"],
            Self::Range { .. } => &["200-204", "1024-32767"],
            Self::Cpus => &["2-5"],
            Self::PrefixLength => &["/24"],
            Self::Network => &["192.0.2.0/24"],
            Self::Interface => &["10.0.0.2/16"],
            Self::Address => &["10.0.0.254"],
            Self::Addresses => &["10.0.8.0/28"],
            Self::Listen => &["203.0.113.10:443/tcp"],
            Self::Endpoint => &["10.0.1.11:443"],
            Self::OwnEndpoint => &["127.0.0.1:9110"],
            Self::WordOr(word, other) => {
                let example = other.example(avoided);
                return if avoided.contains(&example.as_str()) {
                    (*word).to_owned()
                } else {
                    example
                };
            }
            Self::Choice(choices) => {
                let now = choices.iter().filter(|choice| choice.is_now());
                let mut names = now.map(|choice| choice.name);
                let other = names.clone().find(|name| !avoided.contains(name));
                return other.or_else(|| names.next()).unwrap_or("-").to_owned();
            }
        };
        let accepted = || {
            let candidates = candidates.iter().copied();
            candidates.filter(|text| self.parse(text).is_ok())
        };
        let other = accepted().find(|text| !avoided.contains(text));
        other
            .or_else(|| accepted().next())
            .unwrap_or("-")
            .to_owned()
    }
}

fn duration(min: Duration, max: Duration, avoided: &[&str]) -> String {
    const CANDIDATES: [(&str, u64); 6] = [
        ("10m", 600_000),
        ("1m", 60_000),
        ("5s", 5_000),
        ("1s", 1_000),
        ("100ms", 100),
        ("1h", 3_600_000),
    ];
    let fits = |(name, ms): &&(&str, u64)| {
        (min..=max).contains(&Duration::from_millis(*ms)) && !avoided.contains(name)
    };
    let found = CANDIDATES.iter().find(fits);
    found.map_or("-", |(name, _)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::SECTIONS;

    #[test]
    fn every_example_is_accepted_and_says_something_else_than_the_default() {
        for section in &SECTIONS {
            for key in section.keys {
                let name = format!("{}.{}", section.word, key.key);
                let example = key.sample();
                let mut words = example.split_whitespace();
                let first = words.next().unwrap();
                assert!(key.of.parse(first).is_ok(), "{name} = {example}");
                for word in words {
                    let (option, value) = word.split_once('=').unwrap();
                    let option = key.options.iter().find(|it| it.name == option).unwrap();
                    assert!(option.of.parse(value).is_ok(), "{name} = {example}");
                }
                let has_choice = if let Type::Choice(all) = key.of {
                    all.iter().filter(|choice| choice.is_now()).count() > 1
                } else {
                    // There is one format so far.
                    name != "node.format"
                };
                if let (DefaultValue::Values([default]), true) = (key.default, has_choice) {
                    assert_ne!(&example, default, "{name}");
                }
            }
        }
    }
}
