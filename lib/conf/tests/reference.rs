//! The committed reference is what the schema says.

use std::path::Path;

/// Set `WEIR_BLESS=1` to write what it is now.
#[test]
fn the_reference_is_not_stale() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference.md");
    let now = weir_conf::reference();
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = committed.lines().zip(now.lines()).find(|(a, b)| a != b);
    assert!(
        committed == now,
        "docs/reference.md is stale, first at {differs:?}; make it anew:\n  \
         WEIR_BLESS=1 cargo test -p weir-conf --test reference"
    );
    assert!(now.is_ascii());
}

/// Links lead to headings as they are made of these: small letters, no punctuation, hyphens.
#[test]
fn every_link_of_the_reference_leads_somewhere() {
    let text = weir_conf::reference();
    let headings: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | ' '));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect();
    let mut seen = 0;
    for link in text.split("](#").skip(1) {
        let anchor = link.split(')').next().unwrap_or_default();
        assert!(headings.iter().any(|it| it == anchor), "{anchor}");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}
