//! What lastack gives up before it carries what somebody else sends: files, capabilities, system calls.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::trace::say;

/// The newest kind of access to files that is given up; older kernels give up what they know.
const FILES: ABI = ABI::V5;

/// System calls that start programs, change namespaces, mounts and modules, or look into other processes.
const DENIED: [libc::c_long; 33] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
];

/// From now on this thread, and those that it starts, open and change no files, but may remove them in `removable`; of the
/// capabilities only the one for low ports stays. Where the kernel has no Landlock a line says that files are not given up.
pub(crate) fn sandbox(removable: Option<&Path>) -> Result<(), String> {
    let enforced = give_up_files(removable).map_err(|error| fail(&error))?;
    if !enforced {
        say("the kernel has no Landlock: --enable-sandbox gives up capabilities, and no files");
    }
    let low_ports =
        capabilities(None).map_err(|error| fail(&error))?.permitted & CapabilitySet::NET_BIND_SERVICE;
    let kept =
        CapabilitySets { effective: low_ports, permitted: low_ports, inheritable: CapabilitySet::empty() };
    set_capabilities(None, kept).map_err(|error| fail(&error))
}

fn give_up_files(removable: Option<&Path>) -> Result<bool, Box<dyn std::error::Error>> {
    let mut rules = Ruleset::default().handle_access(AccessFs::from_all(FILES))?.create()?;
    if let Some(folder) = removable {
        rules = rules.add_rule(PathBeneath::new(PathFd::new(folder)?, AccessFs::RemoveFile))?;
    }
    Ok(rules.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// From now on this thread, and those that it starts, are denied system calls that lastack has no use for.
pub(crate) fn filter_system_calls() -> Result<(), String> {
    let apply = || -> Result<(), Box<dyn std::error::Error>> {
        let rules: BTreeMap<_, _> = DENIED.into_iter().map(|call| (call, Vec::new())).collect();
        let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let here = std::env::consts::ARCH.try_into()?;
        let filter = SeccompFilter::new(rules, SeccompAction::Allow, denied, here)?;
        let program: BpfProgram = filter.try_into()?;
        Ok(apply_filter(&program)?)
    };
    apply().map_err(|error| format!("cannot filter system calls (--enable-seccomp): {error}"))
}

fn fail(error: &dyn fmt::Display) -> String {
    format!("cannot make the sandbox (--enable-sandbox): {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::ErrorKind;
    use std::thread;

    #[test]
    fn sandbox_takes_files_and_capabilities_and_leaves_one_folder_for_removal() {
        let folder = std::env::temp_dir().join(format!("lastack-confine-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let file = folder.join("file");
        File::create(&file).unwrap();
        let inside = folder.clone();
        thread::spawn(move || {
            sandbox(Some(&inside)).unwrap();
            assert_eq!(File::open("/etc/passwd").unwrap_err().kind(), ErrorKind::PermissionDenied);
            assert_eq!(File::create(inside.join("more")).unwrap_err().kind(), ErrorKind::PermissionDenied);
            let left = capabilities(None).unwrap();
            assert!(
                CapabilitySet::NET_BIND_SERVICE.contains(left.permitted | left.effective | left.inheritable)
            );
            fs::remove_file(&file).unwrap();
        })
        .join()
        .unwrap();
        fs::remove_dir(&folder).unwrap();
    }

    #[test]
    fn denied_calls_fail_and_others_do_not() {
        thread::spawn(|| {
            filter_system_calls().unwrap();
            assert_eq!(nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS), Err(nix::errno::Errno::EPERM));
            assert!(File::open("/etc/passwd").is_ok());
            thread::spawn(|| ()).join().unwrap();
        })
        .join()
        .unwrap();
    }
}
