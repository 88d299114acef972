//! What the command says to command lines that it cannot follow.

use crate::support::{lastack, stdout, text};

fn rejected(args: &[&str], status: i32, says: &[&str]) {
    let output = lastack(args);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "lastack {args:?}: {error}");
    assert_eq!(text(&output.stdout), "");
    assert_eq!(error.lines().count(), 1, "lastack {args:?} should say one line: {error}");
    assert!(error.starts_with("lastack: "), "{error}");
    for words in says {
        assert!(error.contains(words), "'{words}' is missing: {error}");
    }
}

#[test]
fn bad_usage_of_demo_is_status_2_and_one_line_with_the_right_form() {
    rejected(&["demo", "foo"], 2, &["'foo'", "graceful", "lost-fin", "w1 to w16", "lastack demo [OPTIONS]"]);
    rejected(&["demo", "--formt", "svg"], 2, &["--formt", "did you mean '--format'?"]);
    rejected(&["demo", "--format", "xml"], 2, &["'xml'", "text, json, svg"]);
    rejected(&["demo", "--format", "svg", "--ascii"], 2, &["--ascii", "--format text"]);
    rejected(&["demo", "--format", "json", "--why"], 2, &["--why"]);
    rejected(&["demo", "--output"], 2, &["--output", "needs a value"]);
    rejected(&["demo", "graceful", "abort"], 2, &["'abort'"]);
    rejected(
        &["frobnicate"],
        2,
        &["'frobnicate'", "demo, bestiary, check, sim, run, script, attach, tun2socks"],
    );
    rejected(
        &["--frobnicate"],
        2,
        &["--frobnicate", "lastack demo|bestiary|check|sim|run|script|attach|tun2socks ..."],
    );
}

#[test]
fn bad_usage_of_check_is_status_2_and_one_line_with_the_right_form() {
    rejected(&["check", "--budget", "soon"], 2, &["'soon'", "30s, 10m or 2h", "lastack check [OPTIONS]"]);
    rejected(&["check", "--threads", "0"], 2, &["'0'"]);
    rejected(&["check", "no-such"], 2, &["'no-such'", "lastack check --list"]);
}

#[test]
fn bad_usage_of_run_is_status_125_as_env_and_chroot_do() {
    rejected(&["run"], 125, &["no program given", "lastack run [OPTIONS] -- PROGRAM [ARGS]..."]);
    rejected(&["run", "--"], 125, &["no program given"]);
    rejected(&["run", "--frobnicate", "--", "true"], 125, &["--frobnicate"]);
    rejected(&["run", "true"], 125, &["'true'", "the program comes after '--'"]);
    rejected(&["run", "--mtu", "100", "--", "true"], 125, &["'100'", "576 to 65535"]);
    rejected(
        &["run", "--publish", "80", "--", "true"],
        125,
        &["'80'", "[ADDR:]PORT:PORT[/tcp|udp]", "8080:80"],
    );
    rejected(&["run", "--summary=xml", "--", "true"], 125, &["'xml'", "text, json"]);
    rejected(&["run", "--strict-faults", "--", "true"], 125, &["--fault <RULE> is missing"]);
    rejected(&["run", "--seed", "x", "--", "true"], 125, &["'x'", "it takes a number"]);
    rejected(&["run", "--max-connections", "0", "--", "true"], 125, &["'0'", "from 1 on"]);
    rejected(&["run", "--max-memory", "lots", "--", "true"], 125, &["'lots' is no size", "64KiB"]);
    rejected(&["run", "--udp-idle", "5", "--", "true"], 125, &["'5' is no time", "2s"]);
    rejected(
        &["run", "--fault", "direction=up: reset", "--", "true"],
        125,
        &["'up' is no direction", "the form is WHICH: VERB"],
    );
}

#[test]
fn bad_usage_of_attach_is_one_line_with_the_right_form() {
    rejected(&["attach"], 2, &["<PID|PATH>", "lastack attach [OPTIONS] PID|PATH [NAME]"]);
    rejected(&["attach", "/run/netns/x"], 2, &["'/run/netns/x'", "--netns-type path /run/netns/x"]);
    rejected(&["attach", "--cidr", "10.0.2.0", "1"], 2, &["'10.0.2.0'", "10.0.2.0/24"]);
    rejected(
        &["attach", "--cidr", "10.0.2.0/28", "1"],
        125,
        &["10.0.2.0/28", "room for number 100", "10.0.2.0/24"],
    );
    rejected(&["attach", "--mtu", "70000", "1"], 2, &["'70000'", "576 to 65535"]);
    rejected(&["attach", "--ready-fd", "99", "1"], 125, &["--ready-fd 99", "no such descriptor"]);
    rejected(
        &["attach", "--outbound-addr", "::1", "1"],
        2,
        &["--outbound-addr takes an IPv4 address", "::1"],
    );
    rejected(&["attach", "--outbound-addr", "none0", "1"], 125, &["no interface none0"]);
    rejected(&["attach", "--target-type", "bess", "1"], 2, &["--target-type", "lastack attach [OPTIONS]"]);
    rejected(&["attach", "4194305"], 125, &["there is no process 4194305"]);
    rejected(
        &["attach", "--netns-type", "path", "/proc/self/ns/net"],
        125,
        &["lastack itself is in", "unshare --net"],
    );
    rejected(&["attach", "1", "an interface's name"], 125, &["an interface's name", "1 to 15"]);
    rejected(&["attach", "--netns-type", "path", "/etc/passwd"], 125, &["/etc/passwd"]);
    rejected(&["attach", "--netns-type", "path", "/nonexistent"], 125, &["/nonexistent"]);
}

#[test]
fn no_arguments_show_the_help_on_stderr_with_status_2() {
    let output = lastack(&[]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text(&output.stdout), "");
    assert!(text(&output.stderr).contains("Examples:"));
}

#[test]
fn help_has_examples_and_the_exit_statuses() {
    for (args, says) in [
        (&["--help"][..], &["lastack demo", "lastack run -- curl", "Exit status: 0", "2 for bad usage"][..]),
        (
            &["demo", "--help"],
            &["--format svg --output", "[default: graceful]", "Exit status: 0", "2 for bad usage"],
        ),
        (&["run", "--help"], &["-- PROGRAM", "125", "126", "127", "10.0.2.2", "--no-host-loopback"]),
    ] {
        let help = stdout(args);
        for words in says {
            assert!(help.contains(words), "'{words}' is missing in lastack {args:?}:\n{help}");
        }
        assert!(!help.contains('\x1b'), "colour without a terminal");
    }
}

#[test]
fn help_names_every_field_of_the_json() {
    fn fields(value: &serde_json::Value, into: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    into.push(name.clone());
                    fields(value, into);
                }
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| fields(value, into)),
            _ => {}
        }
    }
    let help = stdout(&["demo", "--help"]);
    let (_, documented) = help.split_once("JSON, version 1").expect("a section on JSON");
    let document = serde_json::from_str(&stdout(&["demo", "--format", "json"])).expect("JSON");
    let mut names = Vec::new();
    fields(&document, &mut names);
    for name in names {
        let words = |c: char| !(c.is_alphanumeric() || c == '_');
        assert!(
            documented.split(words).any(|word| word == name),
            "'{name}' is not documented:\n{documented}"
        );
    }
}

#[test]
fn version_is_the_packages() {
    assert_eq!(stdout(&["--version"]), format!("lastack {}\n", env!("CARGO_PKG_VERSION")));
}
