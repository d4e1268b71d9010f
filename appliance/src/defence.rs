//! Self-defence: what the daemon gives up when it has what it needs, so that whoever takes it over
//! by a packet or a message has little to go on with.
//!
//! The order of the start matters. Programs of checks and hooks are run by a child process that is
//! there before anything is given up. Devices, sockets and workers are opened with everything;
//! then [`give_up`] leaves the calling thread, and those that it starts, what an `apply` needs;
//! workers need nothing and [`give_up_all`]. Last, [`seal`] takes system calls from all threads.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use caps::{CapSet, Capability, CapsHashSet};
use nix::libc;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// What an apply needs: addresses, ingress filters and a device's settings; ARP, ICMP and the
/// sockets of checks; the tables of owned addresses; `[metrics] listen` on a port below 1024.
const FOR_CHANGES: [Capability; 4] = [
    Capability::CAP_NET_ADMIN,
    Capability::CAP_NET_RAW,
    Capability::CAP_BPF,
    Capability::CAP_NET_BIND_SERVICE,
];

/// `BPF_PROG_LOAD`: programs are loaded when a device is opened, and never later.
const LOAD_PROGRAM: u64 = 5;

/// What a load balancer never does: run programs, look into others, mount, load kernel code,
/// become somebody else, set the clock, make queues of system calls that no filter sees.
const NEVER: &[libc::c_long] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_personality,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mknod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// From now on no other process looks into this one, and no core file tells its secrets.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn be_private() -> Result<()> {
    prctl::set_dumpable(false).context("cannot forbid core files")
}

/// From now on files are made for nobody but their owner.
pub(crate) fn make_private_files() {
    umask(Mode::from_bits_truncate(0o077));
}

/// Leaves the calling thread, and those that it starts, only the capabilities that changes need, and
/// returns those. What would be needed to write to files that another user owns is kept for as long
/// as one of `files` is such a one.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn give_up(files: &[&Path]) -> Result<Vec<Capability>> {
    let had = caps::read(None, CapSet::Permitted).context("cannot ask for capabilities")?;
    let kept = kept(&had, files.iter().any(|file| is_foreign(file)));
    // A program that were run all the same would not get them back; without CAP_SETPCAP, which is
    // root's, they are not to be had back either.
    for bounding in caps::read(None, CapSet::Bounding).unwrap_or_default() {
        if !kept.contains(&bounding) {
            let _ = caps::drop(None, CapSet::Bounding, bounding);
        }
    }
    leave(&kept)?;
    let mut kept: Vec<_> = kept.into_iter().collect();
    kept.sort_by_key(Capability::index);
    Ok(kept)
}

/// Leaves the calling thread no capability at all.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn give_up_all() -> Result<()> {
    leave(&CapsHashSet::new())
}

/// Takes from all threads the system calls that the daemon never needs again, and from all programs
/// what their files would give them.
///
/// # Errors
/// When the kernel has no such filters.
pub(crate) fn seal() -> Result<()> {
    let filter = filter(&[])?;
    seccompiler::apply_filter_all_threads(&filter).context("cannot filter system calls")
}

/// Takes from the calling thread, and from those that it starts, what [`seal`] takes from all, and
/// these system calls as well.
#[cfg(test)]
pub(crate) fn seal_thread(never: &[libc::c_long]) -> Result<()> {
    let filter = filter(never)?;
    seccompiler::apply_filter(&filter).context("cannot filter system calls")
}

fn leave(kept: &CapsHashSet) -> Result<()> {
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let wanted = match set {
            CapSet::Inheritable => CapsHashSet::new(),
            CapSet::Effective | CapSet::Permitted | CapSet::Bounding | CapSet::Ambient => {
                kept.clone()
            }
        };
        caps::set(None, set, &wanted).context("cannot give up capabilities")?;
    }
    Ok(())
}

fn kept(had: &CapsHashSet, foreign_files: bool) -> CapsHashSet {
    let mut kept: CapsHashSet = FOR_CHANGES.into_iter().collect();
    if !had.contains(&Capability::CAP_BPF) {
        // A kernel before 5.8 asks for this one instead.
        kept.insert(Capability::CAP_SYS_ADMIN);
    }
    if foreign_files {
        kept.insert(Capability::CAP_DAC_OVERRIDE);
    }
    kept.retain(|capability| had.contains(capability));
    kept
}

fn is_foreign(file: &Path) -> bool {
    let owner = std::fs::metadata(file).map(|facts| facts.uid());
    owner.is_ok_and(|owner| owner != nix::unistd::geteuid().as_raw())
}

/// Makes the filter of what is never needed, and of these besides.
fn filter(more: &[libc::c_long]) -> Result<BpfProgram> {
    let never = NEVER.iter().chain(more).map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = never.collect();
    let load = condition(0, SeccompCmpOp::Eq, LOAD_PROGRAM)?;
    rules.insert(libc::SYS_bpf, vec![load]);
    // A program that is linked dynamically may load a library to resolve a name.
    if cfg!(target_env = "musl") {
        let executable = libc::PROT_EXEC as u64;
        for call in [libc::SYS_mmap, libc::SYS_mprotect, libc::SYS_pkey_mprotect] {
            let rule = condition(2, SeccompCmpOp::MaskedEq(executable), executable)?;
            rules.insert(call, vec![rule]);
        }
    }
    let machine = std::env::consts::ARCH.try_into();
    let machine = machine.map_err(|_| anyhow!("there is no filter for this processor"))?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, machine);
    let program = filter.and_then(BpfProgram::try_from);
    program.context("cannot make the filter of system calls")
}

fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
        .and_then(|it| SeccompRule::new(vec![it]));
    condition.context("cannot make the filter of system calls")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::thread;

    use nix::errno::Errno;
    use nix::mount::{MsFlags, mount};

    use super::*;

    fn mask(set: &str) -> u64 {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(set));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    }

    fn runs_a_program() -> Result<bool, Option<i32>> {
        let status = Command::new("/bin/true").status();
        status
            .map(|it| it.success())
            .map_err(|error| error.raw_os_error())
    }

    #[test]
    fn a_sealed_thread_runs_no_program_and_mounts_nothing_but_works_on() {
        let sealed = thread::spawn(|| {
            assert_eq!(runs_a_program(), Ok(true));
            seal_thread(&[]).unwrap();
            assert_eq!(runs_a_program(), Err(Some(libc::EPERM)));
            let none = None::<&str>;
            let mounted = mount(none, "/tmp", Some("tmpfs"), MsFlags::empty(), none);
            assert_eq!(mounted, Err(Errno::EPERM));
            let moved = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
            assert_eq!(moved, Err(Errno::EPERM));
            assert_eq!(nix::unistd::chroot("/"), Err(Errno::EPERM));
            // What it is for goes on: files, sockets, threads.
            fs::read_to_string("/proc/self/status").unwrap();
            std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            // Whoever it starts is sealed, too.
            let inner = thread::spawn(runs_a_program);
            assert_eq!(inner.join().unwrap(), Err(Some(libc::EPERM)));
            prctl::get_no_new_privs()
        });
        assert_eq!(sealed.join().unwrap(), Ok(true));
        assert_eq!(runs_a_program(), Ok(true), "only that thread was sealed");
    }

    #[test]
    fn a_thread_that_gave_up_has_what_changes_need_and_one_that_gave_up_all_has_nothing() {
        let before = mask("CapEff:");
        let control = thread::spawn(|| {
            let kept = give_up(&[]).unwrap();
            let inherits = thread::spawn(|| mask("CapEff:")).join().unwrap();
            (kept, mask("CapEff:"), mask("CapPrm:"), inherits)
        });
        let (kept, effective, permitted, inherited) = control.join().unwrap();
        let bits = kept.iter().map(Capability::bitmask).sum::<u64>();
        assert_eq!((effective, permitted, inherited), (bits, bits, bits));
        assert_eq!(bits & !before, 0);
        assert_eq!(bits & Capability::CAP_SYS_PTRACE.bitmask(), 0);
        assert_eq!(bits & Capability::CAP_DAC_OVERRIDE.bitmask(), 0);
        let worker = thread::spawn(|| {
            give_up_all().unwrap();
            mask("CapEff:") | mask("CapPrm:") | mask("CapInh:")
        });
        assert_eq!(worker.join().unwrap(), 0);
        assert_eq!(mask("CapEff:"), before);
    }

    #[test]
    fn what_is_kept_depends_on_the_kernel_and_on_who_owns_the_files() {
        use Capability::{CAP_BPF, CAP_DAC_OVERRIDE, CAP_NET_ADMIN, CAP_SYS_ADMIN};
        let all: CapsHashSet = caps::all();
        assert_eq!(kept(&all, false), FOR_CHANGES.into_iter().collect());
        assert!(kept(&all, true).contains(&CAP_DAC_OVERRIDE));
        let mut old = all.clone();
        old.remove(&CAP_BPF);
        assert!(kept(&old, false).contains(&CAP_SYS_ADMIN));
        let few: CapsHashSet = [CAP_NET_ADMIN].into();
        assert_eq!(kept(&few, true), few);
    }
}
