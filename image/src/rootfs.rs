//! The root file system: one squashfs in which nothing can be written.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::Plan;
use crate::files;
use crate::manifest;
use crate::modules::Kernel;
use crate::packages::Packages;
use crate::run::{output, run, tool};
use crate::sbom;
use crate::sign::Keys;

/// The programs of busybox that have a name: what the start, the agent and a maintainer call.
const APPLETS: &str = "\
    [ ash base64 basename bunzip2 cat chmod chown clear cmp cp cut date dd df dirname dmesg du echo \
    env expr false find free grep gunzip gzip halt head hexdump hostname hwclock id init insmod ip \
    kill less ln losetup ls lsmod md5sum mkdir mkfifo mknod mktemp modinfo modprobe more mount mv \
    nslookup pidof ping poweroff printf ps pwd readlink realpath reboot reset rm rmdir rmmod sed seq \
    setsid sh sha256sum sleep sort stat strings stty sync sysctl tail tar tee test timeout top touch \
    tr traceroute true tty udhcpc umount uname uniq unxz uptime usleep vi wc which xargs xz xzcat \
    zcat";

/// Programs of other packages.
const PROGRAMS: &[&str] = &[
    "usr/sbin/dropbear",
    "usr/bin/dropbearkey",
    "sbin/e2fsck",
    "sbin/mke2fs",
    "sbin/resize2fs",
];

/// Places of other file systems.
const PLACES: &[&str] = &[
    "boot", "data", "dev", "etc/weir", "proc", "run", "sys", "tmp", "var",
];

/// Where libraries lie.
const LIBRARIES: &[&str] = &["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// The program that loads libraries, at the place that is written in every program.
const LOADER: &str = "lib64/ld-linux-x86-64.so.2";

/// What a root file system is made of.
#[derive(Debug)]
pub(crate) struct Root<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) version: &'a str,
    pub(crate) packages: &'a Packages,
    pub(crate) kernel: &'a Kernel,
    pub(crate) keys: &'a Keys,
}

impl Root<'_> {
    /// Makes `root.squashfs` in a folder and returns where it is.
    pub(crate) fn make(&self, work: &Path) -> Result<PathBuf> {
        let root = work.join("root");
        let usr = root.join("usr");
        files::make_folder(&usr.join("bin"))?;
        files::make_folder(&usr.join("lib"))?;
        files::make_folder(&usr.join("lib64"))?;
        for place in PLACES {
            files::make_folder(&root.join(place))?;
        }
        for (at, target) in [
            ("bin", "usr/bin"),
            ("sbin", "usr/bin"),
            ("lib", "usr/lib"),
            ("lib64", "usr/lib64"),
            ("usr/sbin", "bin"),
            ("etc/resolv.conf", "../run/resolv.conf"),
            ("etc/mtab", "../proc/mounts"),
            ("usr/bin/weir-login", "weir"),
            ("usr/lib/weir/lease", "../../bin/weir"),
        ] {
            files::link(target, &root.join(at))?;
        }
        self.programs(&usr)?;
        self.overlay(&root)?;
        self.kernel.install(&root, self.plan.modules.as_deref())?;
        self.documents(&root)?;
        check_modes(&root)?;
        let squashfs = work.join("root.squashfs");
        // A higher level would make the image 7 % smaller in twenty times the time.
        run(tool("mksquashfs")
            .arg(&root)
            .arg(&squashfs)
            .args("-noappend -quiet -no-progress -all-root -no-xattrs -no-exports".split(' '))
            .args("-comp zstd -Xcompression-level 9 -b 256K".split(' ')))?;
        Ok(squashfs)
    }

    fn programs(&self, usr: &Path) -> Result<()> {
        let tree = &self.packages.tree;
        let bin = usr.join("bin");
        files::copy(&tree.join("bin/busybox"), &bin.join("busybox"))?;
        let has = output(
            tool("sh")
                .args(["-c", "\"$0\" --list"])
                .arg(tree.join("bin/busybox")),
        )?;
        let has: BTreeSet<&str> = has.lines().collect();
        for applet in APPLETS.split_whitespace() {
            if !has.contains(applet) {
                bail!("Debian's busybox has no {applet}");
            }
            files::link("busybox", &bin.join(applet))?;
        }
        let weir = bin.join("weir");
        files::copy(&self.plan.weir, &weir)?;
        // The lines of the source are three quarters of it; its own messages name them where it matters.
        run(tool("strip").arg("--strip-debug").arg(&weir))?;
        for program in PROGRAMS {
            let from = tree.join(program);
            files::copy(&from, &bin.join(files::name(&from)))?;
        }
        let programs: Vec<PathBuf> = PROGRAMS.iter().map(|program| tree.join(program)).collect();
        for library in libraries(tree, &programs)? {
            files::copy(
                &library,
                &usr.join("lib/x86_64-linux-gnu").join(files::name(&library)),
            )?;
        }
        files::copy(&tree.join(LOADER), &usr.join("lib64/ld-linux-x86-64.so.2"))
    }

    /// Copies what lies in `image/rootfs`.
    fn overlay(&self, root: &Path) -> Result<()> {
        let overlay = self.plan.repository.join("image/rootfs");
        for file in files::walk(&overlay)? {
            let name = file.strip_prefix(&overlay).unwrap_or(&file);
            files::copy(&file, &root.join(name))?;
        }
        Ok(())
    }

    fn documents(&self, root: &Path) -> Result<()> {
        let share = root.join("usr/share/weir");
        files::write(&share.join("version"), format!("{}\n", self.version))?;
        files::write(&share.join("manifest"), manifest::head(self.version))?;
        for (name, key) in self.keys.public() {
            files::write(&share.join("update-keys").join(name), key)?;
        }
        let Self {
            plan,
            version,
            packages,
            kernel,
            ..
        } = self;
        sbom::write(plan, version, packages, kernel, root)
    }
}

/// Refuses a `weir` that would look for libraries in the image.
pub(crate) fn check_static(weir: &Path) -> Result<()> {
    let sentence = || format!("{} is not a program of Linux", weir.display());
    let headers = output(
        tool("readelf")
            .args(["--program-headers", "--wide"])
            .arg(weir),
    )
    .with_context(sentence)?;
    if headers.contains("INTERP") {
        bail!(
            "{} is not static: build it with `cargo xtask dist`, or give none",
            weir.display()
        );
    }
    Ok(())
}

/// Finds the libraries that programs need, and those that these need.
fn libraries(tree: &Path, programs: &[PathBuf]) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    let mut open: VecDeque<PathBuf> = programs.iter().cloned().collect();
    while let Some(file) = open.pop_front() {
        let said = output(tool("readelf").args(["--dynamic", "--wide"]).arg(&file))?;
        for name in needed(&said) {
            if name.starts_with("ld-linux") {
                continue;
            }
            let library = LIBRARIES
                .iter()
                .map(|folder| tree.join(folder).join(name))
                .find(|path| path.exists())
                .with_context(|| {
                    format!("{} needs {name}, which no package has", file.display())
                })?;
            if found.insert(library.clone()) {
                open.push_back(library);
            }
        }
    }
    Ok(found)
}

/// Reads the names of needed libraries from what `readelf --dynamic` prints.
fn needed(said: &str) -> impl Iterator<Item = &str> {
    said.lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(name, _)| name)
}

/// Refuses files that change who runs them, and files that others may write.
fn check_modes(root: &Path) -> Result<()> {
    for file in files::walk(root)? {
        let metadata = fs::symlink_metadata(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        if metadata.is_symlink() {
            continue;
        }
        let mode = files::mode(&file)?;
        if mode & 0o6022 != 0 {
            bail!(
                "{} would be in the image with the mode {:o}",
                file.display(),
                mode & 0o7777
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_libraries_are_read() {
        let said = " 0x01 (NEEDED)             Shared library: [libz.so.1]\n \
                    0x0e (SONAME)             Library soname: [libx.so]\n \
                    0x01 (NEEDED)             Shared library: [libc.so.6]\n";
        assert_eq!(needed(said).collect::<Vec<_>>(), ["libz.so.1", "libc.so.6"]);
    }

    #[test]
    fn a_program_with_libraries_is_refused_as_weir() {
        let error = check_static(Path::new("/bin/ls")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/bin/ls is not static: build it with `cargo xtask dist`, or give none"
        );
        let error = check_static(Path::new("/etc/passwd")).unwrap_err();
        assert!(
            error.to_string().contains("not a program of Linux"),
            "{error}"
        );
    }
}
