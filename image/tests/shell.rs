//! The shell files of the image, as shellcheck sees them, and what must hold for its small texts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn image() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn shell_files() -> Vec<PathBuf> {
    let mut files = below(&image().join("rootfs"));
    files.extend(below(&image().join("initrd")));
    files.retain(|file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.starts_with("#!") && text.lines().next().unwrap_or_default().ends_with("sh")
    });
    files
}

#[test]
fn every_shell_file_is_clean_and_plain() {
    let files = shell_files();
    assert!(files.len() >= 4, "{files:?}");
    // Busybox's shell is one of Almquist's, as dash is.
    let done = Command::new("shellcheck")
        .args(["--shell=dash", "--severity=style"])
        .args(&files)
        .output();
    let Ok(done) = done else {
        println!("skipped: shellcheck is not installed");
        return;
    };
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}");
}

#[test]
fn what_pid_1_runs_is_there_and_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    for file in shell_files() {
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{}", file.display());
    }
    for table in ["etc/inittab", "usr/lib/weir/install/inittab"] {
        let text = fs::read_to_string(image().join("rootfs").join(table)).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let command = line.rsplit(':').next().unwrap();
            let program = command.split_whitespace().next().unwrap();
            let ours = image().join("rootfs").join(program.trim_start_matches('/'));
            let others = ["/usr/bin/weir", "/sbin/reboot", "/bin/sync"];
            assert!(ours.is_file() || others.contains(&program), "{line}");
        }
    }
}

#[test]
fn nobody_has_a_password_and_nobody_but_the_two_roles_logs_in() {
    let etc = image().join("rootfs/etc");
    let shadow = fs::read_to_string(etc.join("shadow")).unwrap();
    for line in shadow.lines() {
        assert_eq!(line.split(':').nth(1), Some("*"), "{line}");
    }
    let passwd = fs::read_to_string(etc.join("passwd")).unwrap();
    for line in passwd.lines() {
        let fields: Vec<&str> = line.split(':').collect();
        assert_eq!(fields[1], "x", "{line}");
        let shell = *fields.last().unwrap();
        assert!(
            matches!(shell, "/usr/bin/weir-login" | "/bin/false"),
            "{line}"
        );
    }
}

#[test]
fn the_kernel_starts_again_after_a_panic_and_says_little() {
    let words = fs::read_to_string(image().join("boot/words")).unwrap();
    for word in [
        "panic=5",
        "oops=panic",
        "quiet",
        "console=ttyS0,115200",
        "net.ifnames=0",
    ] {
        assert!(words.split_whitespace().any(|one| one == word), "{word}");
    }
}
