//! What fuzzers found to be of interest is played again.

use std::fs;
use std::path::Path;

fn replay(name: &str, target: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("the corpus is a folder") {
        let path = entry.expect("an entry").path();
        let data = fs::read(&path).expect("a file");
        println!("{}", path.display());
        target(&data);
        count += 1;
    }
    assert!(count > 20, "{count} files are in {}", folder.display());
}

#[test]
fn the_corpus_of_cookie_breaks_no_rule() {
    replay("cookie", weir_fuzz::cookie);
}

#[test]
fn the_corpus_of_process_breaks_no_rule() {
    replay("process", weir_fuzz::process);
}
