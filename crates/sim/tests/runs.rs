//! Whole runs: that they repeat, that each application does its work, and that a run fails when it should.

use lastack_sim::report::FailureKind;
use lastack_sim::scenario::Who;
use lastack_sim::{Capture, Options, Report, Scenario, SegmentKind, library, run_scenario, run_with};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Two hosts, a link and a flow.
fn scenario(hosts: &str, link: &str, flow: &str) -> Scenario {
    let text = format!(
        "name = \"t\"\nsummary = \"t\"\nhost = [{hosts}]\n\
         [[link]]\nbetween = [\"client\", \"server\"]\n{link}\n\
         [[flow]]\nfrom = \"client\"\nto = \"server\"\n{flow}"
    );
    Scenario::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

const TWO: &str = "{ name = \"client\" }, { name = \"server\" }";
const LOSSY: &str = "both = { rate = \"20M\", delay = \"10ms\", loss = \"2%\" }";
const CLEAN: &str = "both = { rate = \"20M\", delay = \"10ms\" }";

fn run(hosts: &str, link: &str, flow: &str) -> Report {
    run_scenario(&scenario(hosts, link, flow), 1).expect("a run")
}

fn passes(hosts: &str, link: &str, flow: &str) -> Report {
    let report = run(hosts, link, flow);
    assert!(report.passed(), "{:#?}", report.failures);
    assert!(report.flows.iter().all(|flow| flow.completed == flow.connections), "{:#?}", report.flows);
    report
}

fn kinds(report: &Report) -> Vec<FailureKind> {
    report.failures.iter().map(|failure| failure.kind).collect()
}

#[test]
fn a_run_is_a_function_of_scenario_and_seed() {
    for name in ["noisy-line", "mixed-smoltcp", "crashing-programs"] {
        let entry = library().iter().find(|entry| entry.name == name).expect(name);
        let scenario = entry.scenario().expect(name);
        let json = |seed| {
            let report = run_scenario(&scenario, seed).expect(name);
            serde_json::to_string(&report).expect("JSON")
        };
        let here = json(5);
        // Another thread has other hash maps, and another place in memory.
        let there = std::thread::scope(|scope| scope.spawn(|| json(5)).join().expect("no panic"));
        assert_eq!(here, there, "{name}");
        assert_ne!(here, json(6), "{name}");
    }
}

/// smoltcp's version is pinned, so nothing but the simulator itself can change this number, on any machine.
#[test]
fn the_packets_of_smoltcp_between_themselves_have_this_digest() {
    let both = "{ name = \"client\", stack = \"smoltcp\" }, { name = \"server\", stack = \"smoltcp\" }";
    let link = "both = { rate = \"20M\", delay = \"10ms\", jitter = \"2ms\", loss = \"2%\", duplicate = \"3%\", corrupt = \"2%\" }";
    let report = passes(both, link, "model = { kind = \"bulk\", bytes = \"300k\" }");
    assert_eq!(report.digest, "5871834216436d04");
}

#[test]
fn bulk_moves_every_byte_in_either_direction() {
    let up = passes(TWO, LOSSY, "model = { kind = \"bulk\", bytes = \"700k\" }");
    assert_eq!((up.flows[0].up_bytes, up.flows[0].down_bytes), (700_000, 0));
    let down = passes(TWO, LOSSY, "model = { kind = \"bulk\", bytes = \"700k\", down = true }");
    assert_eq!((down.flows[0].up_bytes, down.flows[0].down_bytes), (0, 700_000));
}

#[test]
fn a_stream_sends_for_its_time() {
    let report = passes(TWO, CLEAN, "model = { kind = \"stream\", for = \"2s\" }");
    // 20 Mbit/s for two seconds are 5 MB; the buffers are emptied after it.
    assert!((4_000_000..9_500_000).contains(&report.flows[0].up_bytes), "{:?}", report.flows);
    assert!(report.flows[0].goodput.max > 17e6, "{:?}", report.flows);
}

#[test]
fn duplex_moves_both_ways_at_once() {
    let report = passes(TWO, LOSSY, "model = { kind = \"duplex\", bytes = \"500k\" }");
    assert_eq!((report.flows[0].up_bytes, report.flows[0].down_bytes), (500_000, 500_000));
}

#[test]
fn requests_and_answers_take_turns() {
    let flow = "count = 7\nmodel = { kind = \"request-response\", rounds = 9, request = 300, response = \"5k\", think = \"100ms\" }";
    let report = passes(TWO, LOSSY, flow);
    assert_eq!((report.flows[0].up_bytes, report.flows[0].down_bytes), (7 * 9 * 300, 7 * 9 * 5000));
    // Nine round trips and eight pauses.
    assert!(report.flows[0].duration_us.min >= 980e3, "{:?}", report.flows);
}

#[test]
fn a_paced_sender_keeps_its_pace() {
    let flow = "model = { kind = \"paced\", piece = 1000, every = \"50ms\", count = 40 }";
    let report = passes(TWO, CLEAN, flow);
    assert_eq!(report.flows[0].up_bytes, 40_000);
    assert!((2.0e6..2.2e6).contains(&report.flows[0].duration_us.max), "{:?}", report.flows);
}

#[test]
fn a_half_closed_connection_answers_after_the_end() {
    let report =
        passes(TWO, LOSSY, "count = 5\nmodel = { kind = \"half-close\", up = \"30k\", down = \"90k\" }");
    assert_eq!((report.flows[0].up_bytes, report.flows[0].down_bytes), (150_000, 450_000));
    for connection in &report.connections {
        let ending = connection.client.ending.as_deref().expect("lastack tells");
        assert!(ending.starts_with("graceful, half-closed first, begun by this side"), "{ending}");
    }
}

#[test]
fn a_slow_reader_gets_everything_at_its_own_pace() {
    let flow = "model = { kind = \"slow-reader\", bytes = \"400k\", piece = \"10k\", every = \"100ms\" }";
    let report = passes(TWO, LOSSY, flow);
    assert_eq!(report.flows[0].up_bytes, 400_000);
    assert!(report.flows[0].duration_us.max >= 4e6, "{:?}", report.flows);
}

#[test]
fn a_crashed_program_leaves_its_peer_with_the_truth() {
    let crash = |who: &str, reset: bool| {
        let flow = format!(
            "count = 5\nmay-fail = true\n\
             model = {{ kind = \"crash\", bytes = \"500k\", after = \"100k\", who = \"{who}\", reset = {reset} }}"
        );
        let report = run(TWO, CLEAN, &flow);
        assert!(report.passed(), "{who}, {reset}: {:#?}", report.failures);
        report
    };
    let report = crash("client", false);
    assert!(report.connections.iter().all(|c| c.server.as_ref().expect("a server").read == 100_000));
    for (who, reset) in [("client", true), ("server", false), ("server", true)] {
        let report = crash(who, reset);
        let told = report
            .connections
            .iter()
            .map(|c| if who == "client" { c.server.as_ref() } else { Some(&c.client) });
        assert!(told.flatten().all(|end| end.outcome.contains("reset")), "{:#?}", report.connections);
    }
}

#[test]
fn smoltcp_is_a_peer_in_both_directions() {
    for [client, server] in [["lastack", "smoltcp"], ["smoltcp", "lastack"]] {
        let hosts = format!(
            "{{ name = \"client\", stack = \"{client}\" }}, {{ name = \"server\", stack = \"{server}\" }}"
        );
        let models = [
            "kind = \"bulk\", bytes = \"300k\"",
            "kind = \"bulk\", bytes = \"300k\", down = true",
            "kind = \"half-close\", up = \"50k\", down = \"50k\"",
            "kind = \"request-response\", rounds = 5, request = 100, response = \"3k\"",
        ];
        for model in models {
            passes(&hosts, LOSSY, &format!("count = 3\nspacing = \"100ms\"\nmodel = {{ {model} }}"));
        }
    }
}

#[test]
fn ipv6_is_as_good_as_ipv4() {
    let mut scenario = scenario(TWO, LOSSY, "model = { kind = \"duplex\", bytes = \"200k\" }");
    scenario.ip = lastack_sim::scenario::IpVersion::V6;
    let report = run_scenario(&scenario, 1).expect("a run");
    assert!(report.passed(), "{:#?}", report.failures);
}

#[test]
fn a_run_by_chance_only_reports_what_did_not_happen() {
    let mut scenario =
        scenario(TWO, "forward = { loss = \"0.001%\" }", "model = { kind = \"bulk\", bytes = 5000 }");
    scenario.unfired = lastack_sim::scenario::Unfired::Report;
    let report = run_scenario(&scenario, 1).expect("a run");
    assert!(report.passed());
    assert_eq!(report.faults[0].fired, 0);
}

#[test]
fn a_connection_that_cannot_do_its_work_fails_the_run() {
    let cut = "both = { delay = \"10ms\", down = [{ from = \"30ms\", to = \"50min\" }] }";
    let report = run(TWO, cut, "model = { kind = \"bulk\", bytes = \"1M\" }");
    assert!(kinds(&report).contains(&FailureKind::Incomplete), "{:#?}", report.failures);
    assert!(report.failures.iter().any(|f| f.text.contains("timed out")), "{:#?}", report.failures);
}

#[test]
fn whoever_waits_for_ever_is_named() {
    // The client loses power while the server reads: nobody tells the server.
    let hosts = "{ name = \"client\", outages = [{ at = \"100ms\" }] }, { name = \"server\" }";
    let report = run(hosts, CLEAN, "may-fail = true\nmodel = { kind = \"bulk\", bytes = \"5M\" }");
    assert_eq!(kinds(&report), [FailureKind::Stuck], "{:#?}", report.failures);
    assert!(report.failures[0].text.contains("server: it waits for ever"), "{:#?}", report.failures);
    let patient = "may-fail = true\npatience = \"1min\"\nmodel = { kind = \"bulk\", bytes = \"5M\" }";
    let report = run(hosts, CLEAN, patient);
    assert!(report.passed(), "{:#?}", report.failures);
    let server = report.connections[0].server.as_ref().expect("a server");
    assert!(server.outcome.contains("lost its patience"), "{}", server.outcome);
}

#[test]
fn a_run_that_takes_too_long_is_stopped() {
    let mut scenario = scenario(TWO, CLEAN, "model = { kind = \"stream\", for = \"10s\" }");
    scenario.limit = lastack_sim::units::Time(Duration::from_secs(3));
    let report = run_scenario(&scenario, 1).expect("a run");
    assert_eq!(kinds(&report)[0], FailureKind::TimeLimit, "{:#?}", report.failures);
}

/// A writer whose bytes can be looked at later.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn samples_segments_and_captures_tell_one_story_and_change_nothing() {
    let scenario = scenario(TWO, LOSSY, "model = { kind = \"bulk\", bytes = \"500k\" }");
    let bare = run_scenario(&scenario, 3).expect("a run");
    let file = Shared::default();
    let options = Options {
        sample: Some(Duration::from_millis(10)),
        segments: true,
        capture: Some(Capture { link: Some("client-server".into()), writer: Box::new(file.clone()) }),
        ..Options::default()
    };
    let report = run_with(&scenario, 3, options).expect("a run");
    assert_eq!((bare.digest, bare.packets), (report.digest.clone(), report.packets));
    let client = report.series.iter().find(|s| s.end == Who::Client).expect("the client's samples");
    assert!(
        client.samples.windows(2).all(|two| two[0].at < two[1].at && two[0].delivered <= two[1].delivered)
    );
    let cwnd = client.samples.iter().map(|s| s.cwnd);
    assert!(cwnd.clone().max() > cwnd.min() && client.samples.iter().any(|s| s.ssthresh.is_some()));
    assert!(
        client.samples.iter().skip(10).all(|s| (20_000..200_000).contains(&s.srtt)),
        "{:?}",
        client.samples
    );
    let of = |what, from| report.segments.iter().filter(move |s| s.what == what && s.from == from);
    let bytes = |what| of(what, Who::Client).map(|s| s.end - s.start).sum::<u64>();
    assert_eq!(bytes(SegmentKind::Sent), 500_001, "each byte once, and the FIN");
    assert_eq!(bytes(SegmentKind::Acked), 500_001);
    let lost = of(SegmentKind::Lost, Who::Client).count();
    assert!(lost > 3 && of(SegmentKind::Resent, Who::Client).count() >= lost, "{lost} lost");
    assert!(of(SegmentKind::Sacked, Who::Client).count() > 3);
    let segments = |what| of(what, Who::Client).count();
    assert_eq!(
        segments(SegmentKind::Sent) + segments(SegmentKind::Resent),
        segments(SegmentKind::Arrived) + lost,
        "what was sent arrived or was lost"
    );
    let file = file.0.lock().expect("no panic");
    let payloads = report.links[0].bytes + report.links[1].bytes;
    assert!(file.len() as u64 > payloads * 9 / 10, "{} bytes of {payloads}", file.len());
}

#[test]
fn many_seeds_run_in_threads() {
    let scenario = scenario(TWO, LOSSY, "count = 4\nmodel = { kind = \"duplex\", bytes = \"50k\" }");
    let digests = std::thread::scope(|scope| {
        let run = |seed| run_scenario(&scenario, seed).expect("a run");
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || run(seed))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic").digest).collect::<Vec<_>>()
    });
    assert!((1..4).all(|i| digests[i] != digests[i - 1]));
}

#[test]
fn both_ends_connect_at_the_same_time_and_every_model_works_over_it() {
    let models = [
        "kind = \"bulk\", bytes = \"300k\"",
        "kind = \"bulk\", bytes = \"300k\", down = true",
        "kind = \"duplex\", bytes = \"200k\"",
        "kind = \"half-close\", up = \"50k\", down = \"50k\"",
        "kind = \"request-response\", rounds = 5, request = 100, response = \"3k\"",
    ];
    for model in models {
        let flow = format!("count = 5\nspacing = \"50ms\"\nsimultaneous = true\nmodel = {{ {model} }}");
        let report = passes(TWO, LOSSY, &flow);
        let fault = &report.faults.iter().find(|f| f.fault == "simultaneous open").expect("it is listed");
        // Of each connection at least one SYN got across, most often both.
        assert!((5..=10).contains(&fault.fired), "{fault:?}");
    }
}

#[test]
fn smoltcp_opens_simultaneously_too() {
    for [one, other] in [["lastack", "smoltcp"], ["smoltcp", "lastack"]] {
        let hosts = format!(
            "{{ name = \"client\", stack = \"{one}\" }}, {{ name = \"server\", stack = \"{other}\" }}"
        );
        let flow = "simultaneous = true\nmodel = { kind = \"duplex\", bytes = \"50k\" }";
        let report = passes(&hosts, CLEAN, flow);
        assert_eq!(report.faults[0].fired, 2, "{:?}", report.faults);
    }
}
