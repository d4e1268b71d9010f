//! Plays every walk below `tests/walks`. `WALK=close cargo test -p weir-director --test walks`
//! plays those whose path contains the word.

use std::path::Path;

use weir_testkit::walk;

#[test]
fn every_walk_is_walked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/walks");
    let only = std::env::var("WALK").unwrap_or_default();
    let walks = walk::find(&folder).unwrap();
    let mut failed = Vec::new();
    let mut played = 0;
    for path in walks {
        let short = path.strip_prefix(&folder).unwrap_or(&path).to_path_buf();
        if !short.display().to_string().contains(&only) {
            continue;
        }
        played += 1;
        if let Err(error) = walk::play(&path) {
            failed.push(format!("{error:#}"));
        }
    }
    assert!(played > 0, "no walk has `{only}` in its path");
    assert!(
        failed.is_empty(),
        "{} of {played} walks failed:\n\n{}\n",
        failed.len(),
        failed.join("\n\n")
    );
}
