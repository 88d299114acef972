//! Programs that the tests run beside lastack, and the Debian packages that bring them.

use crate::report::{Quiet, Screen};
use crate::run::run;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// A program of a package, and what it is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    program: &'static str,
    purpose: &'static str,
    /// Tests that need the program and no root, by a part of their names.
    pub(crate) tests: &'static [&'static str],
}

const fn package(name: &'static str, program: &'static str, purpose: &'static str) -> Package {
    Package { name, program, purpose, tests: &[] }
}

const PACKAGES: [Package; 14] = [
    package("curl", "curl", "downloads and uploads against the stack"),
    package("wget", "wget", "many downloads at once"),
    package("iperf3", "iperf3", "bulk data in both directions"),
    package("nginx", "nginx", "a server as peer, started by the tests"),
    package("python3", "python3", "programs whose sockets end in ways that curl's do not"),
    package("python3-pip", "pip3", "installs from an index through the gateway"),
    package("git", "git", "clones through the gateway"),
    package("openssh-client", "ssh", "a session through the gateway"),
    package("openssh-server", "sshd", "the server of that session, started by the tests"),
    package("redis-server", "redis-server", "many clients at once through the gateway"),
    package("postgresql", "pg_ctlcluster", "psql and a server of its own, started by the tests"),
    package("gcc", "cc", "the host in C that loads the packetdrill plug-in"),
    package("iproute2", "ss", "addresses, and the kernel's view of a connection"),
    Package { tests: &["tshark", "wireshark"], ..package("tshark", "tshark", "reads the captures") },
];

const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Debian asks this program whether a service may be started on installation (status 101: no).
const POLICY: &str = "/usr/sbin/policy-rc.d";
/// Where administration programs are, which the path of a person may leave out.
pub(crate) const SBIN: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Packages whose program is not on this machine.
pub(crate) fn missing() -> Vec<Package> {
    PACKAGES.into_iter().filter(|package| !is_there(package.program)).collect()
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SBIN.iter().map(Into::into));
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// Says what is missing, line by line.
pub(crate) fn describe(packages: &[Package], screen: &mut Screen) {
    for package in packages {
        screen.print(&format!("    {:<14} {}", package.name, package.purpose));
    }
}

/// Installs packages; no service is started.
///
/// # Errors
/// There is no `apt-get`, or it fails: what it said.
pub(crate) fn install(packages: &[Package], screen: &mut Screen) -> Result<(), String> {
    if !is_there("apt-get") {
        return Err("there is no apt-get here: install the programs by hand".to_owned());
    }
    let _no_services = NoServices::begin().map_err(|error| format!("{POLICY}: {error}"))?;
    apt_get(&["update"], screen)?;
    let mut words = vec!["install", "--yes", "--no-install-recommends"];
    words.extend(packages.iter().map(|package| package.name));
    apt_get(&words, screen)
}

fn apt_get(words: &[&str], screen: &mut Screen) -> Result<(), String> {
    screen.status(&format!("apt-get {}", words.join(" ")));
    let mut command = Command::new("apt-get");
    command.args(["--quiet", "-o", "DPkg::Lock::Timeout=300"]).args(words);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    let mut watch = Quiet { screen, output: Vec::new() };
    run(command, LIMIT, &mut watch).map_err(|error| {
        watch.output.push(format!("apt-get {}: {error}", words[0]));
        watch.output.join("\n")
    })
}

/// While it lives, installing a package starts no service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> std::io::Result<Self> {
        // A machine that has a policy keeps its own.
        let ours = !Path::new(POLICY).exists();
        if ours {
            fs::write(POLICY, "#!/bin/sh\nexit 101\n")?;
            fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: cannot remove {POLICY}, which keeps services from starting: {error}");
        }
    }
}
