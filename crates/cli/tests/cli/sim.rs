//! `lastack sim`, as its user sees it.

use crate::support::{lastack, stdout, temporary, text};
use std::fs;

const SMALL: &str = r#"
name = "small"
summary = "a few bytes"
host = [{ name = "a" }, { name = "b" }]
link = [{ between = ["a", "b"], both = { rate = "10M", delay = "5ms" }, forward = { loss = "50%" } }]
flow = [{ from = "a", to = "b", model = { kind = "bulk", bytes = 3000 } }]
"#;

#[test]
fn sim_reports_the_run_and_its_digest_and_repeats_it() {
    let first = stdout(&["sim", "half-close", "--seed", "3"]);
    for part in ["seed 3: ", "digest ", "half-close: 20 of 20 connections done", "lost (random)", "Passed: "]
    {
        assert!(first.contains(part), "{part} is missing:\n{first}");
    }
    assert_eq!(first, stdout(&["sim", "half-close", "--seed", "3"]));
    assert_ne!(first, stdout(&["sim", "half-close", "--seed", "4"]));
}

#[test]
fn sim_prints_json_with_the_fields_of_its_help() {
    let report: serde_json::Value =
        serde_json::from_str(&stdout(&["sim", "half-close", "--json"])).expect("JSON");
    assert_eq!(report["scenario"], "half-close");
    assert_eq!(report["failures"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["flows"][0]["completed"], 20);
    assert_eq!(report["flows"][0]["down_bytes"], 20 * 200_000);
    let help = text(&lastack(&["sim", "--help"]).stdout);
    for field in report.as_object().expect("an object").keys() {
        assert!(help.contains(field.as_str()), "{field} is not in the help");
    }
}

#[test]
fn sim_lists_shows_and_runs_files_and_captures() {
    let list = stdout(&["sim", "list"]);
    assert!(list.lines().any(|line| line.starts_with("lossy-wifi ")), "{list}");
    assert!(stdout(&["sim", "show", "satellite"]).contains("name = \"satellite\""));
    let (file, packets) = (temporary("sim-small.toml"), temporary("sim-small.pcapng"));
    fs::write(&file, SMALL).expect("the file");
    let path = file.to_str().expect("UTF-8");
    let report = stdout(&["sim", path, "--connections", "--capture", packets.to_str().expect("UTF-8")]);
    assert!(report.contains("client: 3000 written, 0 read, done; graceful"), "{report}");
    let bytes = fs::read(packets).expect("the capture");
    assert!(bytes.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]) && bytes.len() > 3000, "no pcapng");
}

#[test]
fn sim_draws_a_connection_whole_and_in_part() {
    let (svg, png) = (temporary("sim-plot.svg"), temporary("sim-plot.png"));
    let paths = [&svg, &png].map(|file| file.to_str().expect("UTF-8"));
    stdout(&["sim", "lossy-wifi", "--plot", paths[0], "--plot", paths[1]]);
    let drawing = fs::read_to_string(&svg).expect("the drawing");
    let tree = roxmltree::Document::parse(&drawing).expect("XML");
    let words: Vec<_> = tree.descendants().filter_map(|node| node.text()).map(str::trim).collect();
    for part in [
        "lossy-wifi, seed 1: connection 0 of bulk, what the client sent",
        "congestion window",
        "Round-trip time, ms",
        "Delivered, Mbit/s",
        "sent again",
        "named by SACK",
        "lost in the network",
    ] {
        assert!(words.contains(&part), "{part} is missing: {words:?}");
    }
    let whole = fs::read(&png).expect("the picture");
    assert!(whole.starts_with(b"\x89PNG"), "no PNG");
    stdout(&["sim", "lossy-wifi", "--plot", paths[1], "--plot-span", "1..1.2"]);
    assert_ne!(whole, fs::read(&png).expect("the part of it"));
}

#[test]
fn sim_runs_many_seeds_and_names_the_one_that_failed() {
    let all = stdout(&["sim", "half-close", "--seeds", "1..6", "--jobs", "2"]);
    assert!(all.starts_with("5 seeds (1..6), 0 failed; "), "{all}");
    // Half of a handful of packets: some seeds lose none, and then the run tested no loss.
    let file = temporary("sim-unfired.toml");
    fs::write(&file, SMALL.replace("50%", "5%")).expect("the file");
    let path = file.to_str().expect("UTF-8");
    let output = lastack(&["sim", path, "--seeds", "1..9"]);
    let printed = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{printed}");
    assert!(printed.contains(&format!(" FAILED (again: lastack sim {path} --seed ")), "{printed}");
    assert!(printed.contains("a -> b: loss 5% was asked for and never happened"), "{printed}");
    let lines = text(&lastack(&["sim", "half-close", "--seeds", "1..4", "--json"]).stdout);
    let seeds: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["seed"].as_u64())
        .collect();
    assert_eq!(seeds, [Some(1), Some(2), Some(3)]);
}

#[test]
fn sim_soak_makes_a_scenario_of_each_seed_and_shows_it() {
    let all = stdout(&["sim", "soak", "--seeds", "1..31"]);
    assert!(all.starts_with("30 seeds (1..31), 0 failed; "), "{all}");
    let one = stdout(&["sim", "soak", "--seed", "7"]);
    assert!(one.starts_with("soak-7: ") && one.contains("Passed: "), "{one}");
    let file = temporary("sim-soak.toml");
    fs::write(&file, stdout(&["sim", "show", "soak", "--seed", "7"])).expect("the file");
    assert_eq!(one, stdout(&["sim", file.to_str().expect("UTF-8"), "--seed", "7"]));
}

#[test]
fn sim_says_what_is_wrong_with_a_scenario_or_the_command_line() {
    let wrong = |args: &[&str], part: &str| {
        let output = lastack(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(part), "{args:?}: {said}");
    };
    wrong(&["sim", "no-such-thing"], "there is no scenario 'no-such-thing'");
    wrong(&["sim", "no-such-file.toml"], "cannot read no-such-file.toml");
    wrong(&["sim", "clean", "--seeds", "9..1"], "the first below the second");
    let packets = temporary("sim-nowhere.pcapng");
    let capture = ["sim", "clean", "--capture", packets.to_str().expect("UTF-8"), "--link", "nowhere"];
    wrong(&capture, "there is no link 'nowhere'; there are client-server");
    wrong(&["sim", "clean", "--plot", "run.gif"], "the name has to end in .svg or .png");
    wrong(
        &["sim", "clean", "--plot", "run.svg", "--plot-connection", "7"],
        "there is no connection 7; the run had 1",
    );
    wrong(&["sim", "clean", "--plot", "run.svg", "--plot-span", "2..1"], "the first before the second");
    let file = temporary("sim-wrong.toml");
    fs::write(&file, SMALL.replace("rate", "speed")).expect("the file");
    wrong(&["sim", file.to_str().expect("UTF-8")], "unknown field `speed`");
}
