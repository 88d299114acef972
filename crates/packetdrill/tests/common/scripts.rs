//! Folders of scripts, each against lastack and against the running kernel.

use lastack_packetdrill::run::Verdict;
use lastack_packetdrill::suite::{Job, Target, find, run_patiently};
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of scripts, all of which are to pass.
pub struct Folder {
    /// From the crate's.
    pub path: &'static str,
    /// Scripts that have to be found at the least.
    pub least: usize,
    /// Whether the kernel is asked too.
    pub for_kernel: fn(&Path) -> bool,
    /// The text as the kernel gets it.
    pub kernel_text: fn(String) -> String,
}

impl Folder {
    /// The scripts for one target over one version of IP.
    pub fn jobs(&self, target: Target, version: &str, tolerance: &str) -> Vec<Job> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(self.path);
        let options = [("ip_version", version), ("tolerance_usecs", tolerance), ("strict_tail", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        let job = |path: PathBuf| {
            let name = path.strip_prefix(&folder).unwrap_or(&path);
            let kernel = target == Target::Kernel;
            if kernel && !(self.for_kernel)(name) {
                return None;
            }
            let text = fs::read_to_string(&path).expect("the script can be read");
            // A script that names an IP version is for that one alone.
            let named = text.lines().find_map(|line| line.strip_prefix("--ip_version="));
            if named.is_some_and(|named| named != version) {
                return None;
            }
            let name = format!("{} ({version}, {})", name.display(), target.name());
            let text = if kernel { (self.kernel_text)(text) } else { text };
            Some(Job { name, text, target, options: options.to_vec() })
        };
        let found = find(std::slice::from_ref(&folder)).expect("the folder of scripts");
        let jobs: Vec<_> = found.into_iter().filter_map(job).collect();
        assert!(jobs.len() >= self.least, "only {} scripts", jobs.len());
        jobs
    }
}

/// All of them pass; nothing of ours may be left out.
pub fn check(jobs: &[Job], at_once: usize, again: usize) {
    let mut wrong = Vec::new();
    run_patiently(jobs, at_once, again, |job, report| {
        if let Verdict::Failed(why) | Verdict::Skipped(why) | Verdict::Broken(why) = report.verdict {
            wrong.push(format!("{}: {why}", job.name));
        }
    });
    assert!(wrong.is_empty(), "{} of {} scripts:\n{}", wrong.len(), jobs.len(), wrong.join("\n"));
}

/// Whether the kernel can be asked; without root only if `LASTACK_SKIP_ROOT_TESTS` allows to leave it out.
pub fn kernel_can_be_asked() -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    assert!(
        std::env::var_os("LASTACK_SKIP_ROOT_TESTS").is_some_and(|value| value == "1"),
        "this test needs root for network namespaces; set LASTACK_SKIP_ROOT_TESTS=1 to leave it out"
    );
    eprintln!("left out: needs root (LASTACK_SKIP_ROOT_TESTS=1)");
    false
}
