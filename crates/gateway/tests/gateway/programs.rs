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

/// A web server of the host for the files of a folder, at port 8000.
fn web(folder: &Path) -> Server {
    let mut web = Command::new("python3");
    web.args(["-m", "http.server", "--bind", "127.0.0.1", "8000"]).current_dir(folder);
    Server::start(&mut web, 8000)
}

#[test]
fn apt_get_updates_from_a_repository_and_fetches_a_package() {
    with_folders(|folder| {
        script(
            folder,
            "mkdir -p repo tree/DEBIAN tree/usr/share/thing apt/lists/partial apt/archives/partial apt/etc got\n\
             head -c 1000000 /dev/urandom > tree/usr/share/thing/data\n\
             printf 'Package: thing\\nVersion: 1.0\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: thing\\n' > tree/DEBIAN/control\n\
             dpkg-deb --root-owner-group -Znone --build tree repo/thing.deb > /dev/null\n\
             { cat tree/DEBIAN/control; echo 'Filename: ./thing.deb'; echo \"Size: $(stat -c %s repo/thing.deb)\"\n\
             echo \"SHA256: $(sha256sum repo/thing.deb | cut -d' ' -f1)\"; } > repo/Packages\n\
             echo 'deb [trusted=yes] http://10.0.2.2:8000/ ./' > apt/sources.list; touch apt/status",
        );
        let _web = web(&folder.join("repo"));
        let options = "-q -o Dir::Etc=/mnt/apt/etc -o Dir::Etc::SourceList=/mnt/apt/sources.list -o Dir::State=/mnt/apt \
            -o Dir::State::Status=/mnt/apt/status -o Dir::Cache=/mnt/apt -o APT::Sandbox::User=root \
            -o Acquire::http::Proxy=false -o Acquire::Languages=none";
        inside(&format!("cd /mnt/got; apt-get {options} update; apt-get {options} download thing"));
        let got = fs::read(folder.join("got/thing_1.0_all.deb")).unwrap();
        assert_eq!(got, fs::read(folder.join("repo/thing.deb")).unwrap());
    });
}

#[test]
fn pip_installs_from_a_package_index() {
    with_folders(|folder| {
        let wheel = "import zipfile\n\
            with zipfile.ZipFile('simple/thing/thing-1.0-py3-none-any.whl', 'w') as z:\n    \
            z.writestr('thing.py', 'answer = 42\\n' + '#' * 1_000_000)\n    \
            z.writestr('thing-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: thing\\nVersion: 1.0\\n')\n    \
            z.writestr('thing-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    \
            z.writestr('thing-1.0.dist-info/RECORD', '')\n\
            open('simple/thing/index.html', 'w').write('<a href=\"thing-1.0-py3-none-any.whl\">thing-1.0-py3-none-any.whl</a>')";
        script(folder, &format!("mkdir -p simple/thing; python3 -c \"{}\"", wheel.replace('"', "\\\"")));
        let _web = web(folder);
        let said = inside(
            "cd /mnt; python3 -m pip --isolated --no-cache-dir --disable-pip-version-check install -q --root-user-action=ignore \
             --index-url http://10.0.2.2:8000/simple/ --trusted-host 10.0.2.2 --target /mnt/site thing\n\
             PYTHONPATH=/mnt/site python3 -c 'import thing; print(thing.answer)'",
        );
        assert_eq!(said, "42\n");
    });
}

#[test]
fn cargo_builds_with_a_crate_of_a_registry() {
    with_folders(|folder| {
        script(
            folder,
            "mkdir -p thing-1.0.0/src registry/th/in user/src home\n\
             printf '[package]\\nname = \"thing\"\\nversion = \"1.0.0\"\\nedition = \"2021\"\\n' > thing-1.0.0/Cargo.toml\n\
             echo 'pub fn answer() -> i32 { 42 }' > thing-1.0.0/src/lib.rs; head -c 1000000 /dev/urandom > thing-1.0.0/data\n\
             tar -czf registry/thing-1.0.0.crate thing-1.0.0\n\
             printf '{\"name\":\"thing\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"%s\",\"features\":{},\"yanked\":false}\\n' \
             $(sha256sum registry/thing-1.0.0.crate | cut -d' ' -f1) > registry/th/in/thing\n\
             echo '{\"dl\":\"http://10.0.2.2:8000/{crate}-{version}.crate\"}' > registry/config.json\n\
             printf '[registries.local]\\nindex = \"sparse+http://10.0.2.2:8000/\"\\n' > home/config.toml\n\
             printf '[package]\\nname = \"user\"\\nversion = \"1.0.0\"\\nedition = \"2021\"\\n[dependencies]\\n\
             thing = { version = \"1\", registry = \"local\" }\\n[workspace]\\n' > user/Cargo.toml\n\
             echo 'fn main() { println!(\"{}\", thing::answer()) }' > user/src/main.rs",
        );
        let _web = web(&folder.join("registry"));
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let said = inside(&format!(
            "cd /mnt/user; unset CARGO_TARGET_DIR CARGO_ENCODED_RUSTFLAGS RUSTFLAGS; export CARGO_HOME=/mnt/home\n\
             '{cargo}' run -q"
        ));
        assert_eq!(said, "42\n");
    });
}

/// An nginx of the host's or of the namespace's, with 300 files; one is large.
const NGINX: &str = "mkdir -p site logs; for i in $(seq 299); do seq $i > site/$i; done; head -c 5000000 /dev/urandom > site/300\n\
    cat > nginx.conf <<'END'\n\
    daemon off; master_process off; pid /mnt/nginx.pid; error_log /mnt/logs/error.log;\n\
    events { worker_connections 1000; }\n\
    http { access_log off; client_body_temp_path /mnt/body; proxy_temp_path /mnt/proxy; fastcgi_temp_path /mnt/fastcgi;\n\
      uwsgi_temp_path /mnt/uwsgi; scgi_temp_path /mnt/scgi; server { listen ADDRESS; root /mnt/site; } }\n\
    END";

/// What a browser does: many files over many connections at once, each used for several; all have to be whole.
fn browse(url: &str) -> String {
    format!(
        "mkdir got; cd got\n\
         curl -sS --fail --parallel --parallel-max 48 --output '#1' '{url}/[1-300]'\n\
         cd ..; diff -r got site > /dev/null && ls got | wc -l"
    )
}

#[test]
fn browser_like_load_of_many_parallel_connections() {
    with_folders(|folder| {
        script(folder, &NGINX.replace("ADDRESS", "127.0.0.1:8000"));
        let mut nginx = Command::new("nginx");
        nginx.args(["-e", "/mnt/logs/error.log", "-c", "/mnt/nginx.conf"]);
        let _nginx = Server::start(&mut nginx, 8000);
        assert_eq!(inside(&format!("cd /mnt; {}", browse("http://10.0.2.2:8000"))).trim(), "300");
    });
}

#[test]
fn nginx_inside_serves_clients_of_the_host() {
    with_folders(|folder| {
        script(folder, &NGINX.replace("ADDRESS", "80"));
        let mut nginx = gateway(&["--publish", "8000:80"]);
        nginx.args(["nginx", "-e", "/mnt/logs/error.log", "-c", "/mnt/nginx.conf"]);
        let _nginx = Server::start(&mut nginx, 8000);
        // The port is there before nginx is; a client that comes too early is reset.
        let ready = "until curl -sf -o /dev/null http://127.0.0.1:8000/1; do sleep 0.02; done";
        script(folder, &format!("{ready}\n{}", browse("http://127.0.0.1:8000")));
        assert_eq!(fs::read_dir(folder.join("got")).unwrap().count(), 300);
    });
}
