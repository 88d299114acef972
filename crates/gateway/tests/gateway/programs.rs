//! Programs that people use, inside, against servers of the host. Needs root and the programs.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};

use crate::lab::{gateway, lab, run};

/// A server of the host; it ends with the test.
struct Server(Child);

impl Server {
    /// Starts it, and waits until it listens on this port of 127.0.0.1.
    fn start(command: &mut Command, port: u16) -> Self {
        let program = command.get_program().to_owned();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server =
            Self(child.unwrap_or_else(|error| panic!("{} is needed: {error}", program.display())));
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = server.0.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {ended:?}", program.display());
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A lab with an empty `/mnt` and `/run` of its own.
fn with_folders(test: impl FnOnce(&Path) + Send + 'static) {
    lab(|| {
        for folder in ["/mnt", "/run"] {
            mount(Some("tmpfs"), folder, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        }
        test(Path::new("/mnt"));
    });
}

/// Runs a script of the host, which has to succeed.
fn script(folder: &Path, text: &str) {
    let output = Command::new("sh").args(["-euc", text]).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// What a script printed inside; it has to succeed.
fn inside(text: &str) -> String {
    let output = run(&[], &["sh", "-euc", text]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn git_clones_over_http() {
    with_folders(|folder| {
        script(
            folder,
            "git init -q work; cd work; head -c 2000000 /dev/urandom > big; echo text > small; git add .\n\
             git -c user.name=a -c user.email=a@b commit -qm one; cd ..\n\
             git clone -q --bare work served.git; git -C served.git update-server-info",
        );
        let mut web = Command::new("python3");
        web.args(["-m", "http.server", "--bind", "127.0.0.1", "8000"]).current_dir(folder);
        let _web = Server::start(&mut web, 8000);
        inside("cd /mnt; git clone -q http://10.0.2.2:8000/served.git copy");
        assert_eq!(fs::read(folder.join("copy/big")).unwrap(), fs::read(folder.join("work/big")).unwrap());
    });
}

#[test]
fn ssh_runs_a_command_and_carries_its_output() {
    with_folders(|folder| {
        script(
            folder,
            "mkdir /run/sshd; chmod 700 .; ssh-keygen -q -t ed25519 -N '' -f host; ssh-keygen -q -t ed25519 -N '' -f key",
        );
        let mut sshd = Command::new("/usr/sbin/sshd");
        let options = ["Port=2222", "ListenAddress=127.0.0.1", "HostKey=/mnt/host", "UsePAM=no"];
        let access =
            ["AuthorizedKeysFile=/mnt/key.pub", "PermitRootLogin=yes", "StrictModes=no", "PidFile=none"];
        sshd.args(["-D", "-f", "/dev/null"]);
        for option in options.into_iter().chain(access) {
            sshd.args(["-o", option]);
        }
        let _sshd = Server::start(&mut sshd, 2222);
        let output = gateway(&[])
            .args(["ssh", "-F", "none", "-i", "/mnt/key", "-p", "2222", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "root@10.0.2.2"])
            .arg("head -c 3000000 /dev/zero; exit 42")
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.stdout.len(), output.status.code()), (3_000_000, Some(42)), "{error}");
    });
}

#[test]
fn redis_answers_many_clients_at_once() {
    with_folders(|folder| {
        let mut redis = Command::new("redis-server");
        redis.args(["--port", "6379", "--bind", "127.0.0.1", "--save", ""]).arg("--dir").arg(folder);
        let _redis = Server::start(&mut redis, 6379);
        let said = inside(
            "redis-cli -h 10.0.2.2 set key value; redis-cli -h 10.0.2.2 get key\n\
             redis-benchmark -h 10.0.2.2 -q -n 5000 -c 100 -t incr > /dev/null\n\
             redis-cli -h 10.0.2.2 get counter:__rand_int__",
        );
        assert_eq!(said, "OK\nvalue\n5000\n");
    });
}

#[test]
fn psql_asks_a_server_of_the_host() {
    with_folders(|folder| {
        let versions = fs::read_dir("/usr/lib/postgresql").expect("postgresql is needed");
        let newest: PathBuf = versions.map(|version| version.unwrap().path()).max().unwrap();
        let bin = newest.join("bin").display().to_string();
        script(
            folder,
            &format!(
                "install -d -o postgres data; cd data\n\
                 runuser -u postgres -- {bin}/initdb --auth=trust --no-sync -D db > /dev/null"
            ),
        );
        // It becomes the server, so that it is the server that ends with the test.
        let mut postgres = Command::new("setpriv");
        postgres.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]);
        postgres.args([&format!("{bin}/postgres"), "-D", "/mnt/data/db"]);
        postgres.args([
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
        ]);
        let _postgres = Server::start(&mut postgres, 5432);
        let query = "select count(*), sum(n) from generate_series(1, 100000) as n";
        let said = inside(&format!(
            "until psql -h 10.0.2.2 -U postgres -qAtc 'select 1' > /dev/null 2>&1; do sleep 0.05; done\n\
             psql -h 10.0.2.2 -U postgres -qAtc '{query}'\n\
             psql -h 10.0.2.2 -U postgres -qAtc 'select repeat(md5(n::text), 10) from generate_series(1, 20000) as n' | wc -c"
        ));
        assert_eq!(said, "100000|5000050000\n6420000\n");
    });
}
