//! What a configuration is made of: the file, those of `conf.d` beside it, the environment.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail like tests"
)]

use std::fs;
use std::path::{Path, PathBuf};

use weir_conf::{
    Loaded, NoEnv, Purpose, Report, SourceText, Style, compose, load, parse_str, print_effective,
    read, read_from,
};

const MAIN: &str = "\
[node]
name = lb1
[port lan]
device = eth1
address = 10.0.0.2/16
[lip-pool blue]
port = lan
address = 10.0.8.1-10.0.8.2
[service web]
listen = 203.0.113.10:80/tcp
lip-pool = blue
real = 10.0.1.11:80
";

const DNS: &str = "\
[service dns]
listen = 203.0.113.53:53/udp
lip-pool = blue
real = 10.0.2.11:53
";

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let name = format!("weir-conf-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("conf.d")).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// What a report says, the folder's own name left out.
    fn told(&self, report: &Report, style: Style) -> String {
        let folder = format!("{}/", self.0.display());
        report.render(style).replace(&folder, "")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn texts(texts: &[(&str, &str)]) -> Vec<SourceText> {
    let texts = texts.iter();
    texts
        .map(|(name, text)| SourceText::new(*name, *text))
        .collect()
}

fn accepted(sources: &[(&str, &str)]) -> Loaded {
    match compose(&texts(sources), &NoEnv, None) {
        Ok(loaded) => loaded,
        Err(report) => panic!("{report}"),
    }
}

fn refused(sources: &[(&str, &str)]) -> Report {
    match compose(&texts(sources), &NoEnv, None) {
        Ok(loaded) => panic!("accepted:\n{}", print_effective(&loaded)),
        Err(report) => report,
    }
}

#[test]
fn files_of_conf_d_add_objects_in_the_order_of_their_names() {
    let folder = Folder::new("order");
    let main = folder.write("weir.conf", MAIN);
    let ntp = DNS.replace("dns", "ntp").replace("53", "123");
    folder.write("conf.d/20-dns.conf", DNS);
    folder.write("conf.d/10-ntp.conf", &ntp);
    // None of these is a file of the configuration.
    folder.write("conf.d/30-old.conf.bak", "rubbish");
    folder.write("conf.d/.#20-dns.conf", "rubbish");
    folder.write("conf.d/README", "rubbish");
    let loaded = load(&main, &NoEnv, None).unwrap();
    let services = loaded.snapshot.services.iter();
    let names: Vec<&str> = services.map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["web", "ntp", "dns"]);
    let names: Vec<PathBuf> = read(&main)
        .unwrap()
        .into_iter()
        .map(|text| PathBuf::from(text.name))
        .collect();
    let expected = ["weir.conf", "conf.d/10-ntp.conf", "conf.d/20-dns.conf"];
    assert_eq!(names, expected.map(|name| folder.0.join(name)));
}

#[test]
fn without_conf_d_the_file_is_all() {
    let folder = Folder::new("alone");
    let main = folder.write("weir.conf", MAIN);
    fs::remove_dir(folder.0.join("conf.d")).unwrap();
    assert_eq!(read(&main).unwrap().len(), 1);
    assert!(load(&main, &NoEnv, None).is_ok());
}

#[test]
fn the_merged_text_reads_back_as_what_all_layers_make() {
    let env = vec![("WEIR_NODE_NAME".to_owned(), "lb9".to_owned())];
    let sources = texts(&[("weir.conf", MAIN), ("conf.d/a.conf", DNS)]);
    let loaded = compose(&sources, &env, None).unwrap();
    assert_eq!(loaded.snapshot.node.name, "lb9");
    let merged = print_effective(&loaded);
    let again = parse_str("merged", &merged, None).unwrap();
    assert_eq!(again.snapshot, loaded.snapshot);
    assert_eq!(print_effective(&again), merged);
}

#[test]
fn an_object_of_two_files_is_an_error_that_shows_both_places() {
    let folder = Folder::new("twice");
    let main = folder.write("weir.conf", MAIN);
    folder.write(
        "conf.d/web.conf",
        &format!("# mine\n{}", DNS.replace("dns", "web")),
    );
    let report = load(&main, &NoEnv, None).unwrap_err();
    assert_eq!(
        folder.told(&report, Style::long(Purpose::Check)),
        "\
error: [service web] is defined twice
 --> conf.d/web.conf:2:1
2 | [service web]
  | ^^^^^^^^^^^^^ again here; a further file adds objects and changes none
 --> weir.conf:9:1
9 | [service web]
  | ^^^^^^^^^^^^^ first defined here

1 error; weir would not accept this configuration
"
    );
    assert_eq!(
        folder.told(&report, Style::short()),
        "\
conf.d/web.conf:2:1: error: [service web] is defined twice; again here; a further file adds \
         objects and changes none; first defined here at weir.conf:9:1
"
    );
}

#[test]
fn a_singleton_is_in_one_file_only_whatever_keys_it_has_there() {
    let report = refused(&[
        ("weir.conf", MAIN),
        ("a.conf", "[workers]\nburst = 32\n"),
        ("b.conf", "[node]\nstop-after = 5s\n"),
    ]);
    assert_eq!(
        report.render(Style::short()),
        "b.conf:1:1: error: [node] is defined twice; again here; it can be in one file only; \
         first defined here at weir.conf:1:1\n"
    );
    let loaded = accepted(&[("weir.conf", MAIN), ("a.conf", "[workers]\nburst = 32\n")]);
    assert_eq!(loaded.snapshot.workers.burst, 32);
}

#[test]
fn mistakes_of_all_files_are_told_in_the_order_of_the_files() {
    let report = refused(&[
        ("weir.conf", &MAIN.replace("eth1", "a/b")),
        ("a.conf", "[service a]\nidel = 5s\n"),
        ("b.conf", &DNS.replace("lip-pool = blue", "lip-pool = blu")),
    ]);
    let names: Vec<&str> = report.source_names().flatten().collect();
    assert_eq!(
        names,
        [
            "weir.conf",
            "a.conf",
            "a.conf",
            "a.conf",
            "a.conf",
            "b.conf"
        ]
    );
    let places: Vec<(usize, usize)> = report.places().flatten().collect();
    assert_eq!(places, [(4, 11), (1, 1), (1, 1), (1, 1), (2, 1), (3, 12)]);
}

#[test]
fn what_contradicts_something_in_another_file_is_told_with_both_places() {
    let report = refused(&[
        ("weir.conf", MAIN),
        ("dns.conf", &DNS.replace("203.0.113.53", "10.0.8.1")),
    ]);
    assert_eq!(
        report.render(Style::short()),
        "dns.conf:2:10: error: the service address 10.0.8.1 is in [lip-pool blue]; a VIP cannot \
         be a LIP as well; it is here at weir.conf:8:11\n"
    );
}

#[test]
fn a_heading_that_cannot_be_read_in_one_file_is_not_missed_in_the_others() {
    let report = refused(&[
        ("weir.conf", MAIN),
        ("a.conf", "[service a"),
        ("b.conf", DNS),
    ]);
    assert_eq!(report.count(), 1, "{report}");
}

#[test]
fn files_that_could_not_be_told_apart_are_refused() {
    let report = refused(&[("a.conf", MAIN), ("a.conf", DNS)]);
    assert_eq!(
        report.render(Style::short()),
        "error: the file a.conf is given twice\n"
    );
}

#[test]
fn what_lies_in_conf_d_and_is_no_file_is_told() {
    let folder = Folder::new("no-file");
    let main = folder.write("weir.conf", MAIN);
    fs::create_dir(folder.0.join("conf.d/a.conf")).unwrap();
    let told = |report: Report| folder.told(&report, Style::short());
    assert_eq!(
        told(read(&main).unwrap_err()),
        "error: cannot read conf.d/a.conf: it is not a file\n"
    );
    fs::remove_dir(folder.0.join("conf.d/a.conf")).unwrap();
    std::os::unix::fs::symlink("/nonexistent/x", folder.0.join("conf.d/a.conf")).unwrap();
    assert_eq!(
        told(read(&main).unwrap_err()),
        "error: cannot read conf.d/a.conf: no such file or directory\n"
    );
    fs::remove_dir_all(folder.0.join("conf.d")).unwrap();
    folder.write("conf.d", "");
    assert_eq!(
        told(read(&main).unwrap_err()),
        "error: cannot read conf.d: not a directory\n"
    );
}

#[test]
fn a_configuration_has_sixteen_mebibytes_in_all() {
    let folder = Folder::new("large");
    let main = folder.write("weir.conf", MAIN);
    let comment = "#\n".repeat(5 << 20);
    for name in ["conf.d/a.conf", "conf.d/b.conf"] {
        folder.write(name, &comment);
    }
    let report = read(&main).unwrap_err();
    assert_eq!(
        folder.told(&report, Style::short()),
        "error: with conf.d/b.conf the configuration is larger than 16 MiB\n"
    );
    let large = std::io::repeat(b'#');
    let report = read_from("<stdin>", large).unwrap_err();
    assert_eq!(
        report.render(Style::short()),
        "error: <stdin> is larger than 16 MiB; is it the right file?\n"
    );
}

#[test]
fn a_stream_is_a_configuration_by_itself() {
    let sources = read_from("<stdin>", MAIN.as_bytes()).unwrap();
    assert_eq!(sources, [SourceText::new("<stdin>", MAIN)]);
    assert!(compose(&sources, &NoEnv, None).is_ok());
}

#[test]
fn the_path_of_the_file_decides_where_conf_d_is() {
    let folder = Folder::new("elsewhere");
    let main = folder.write("weir.conf", MAIN);
    folder.write("conf.d/a.conf", DNS);
    assert_eq!(read(&main).unwrap().len(), 2);
    let other = folder.0.join("conf.d/a.conf");
    assert_eq!(read(&other).unwrap().len(), 1);
    assert!(read(Path::new("/nonexistent/weir.conf")).is_err());
}
