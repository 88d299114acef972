//! Each kind of fault, asked for where it cannot happen: the run fails and names it. And where it can: it happens.

use lastack_sim::report::FailureKind;
use lastack_sim::scenario::{BoxSpec, Direction};
use lastack_sim::{Report, Scenario, run_scenario};

/// A fault: where it stands, how it is asked for, how the report names it, and what makes it happen or keeps it from it.
#[derive(Clone, Copy)]
struct Case {
    /// Where in the scenario.
    place: Place,
    /// In TOML.
    asked: &'static str,
    /// How the report names it.
    fault: &'static str,
    /// The rest of the scenario if it is not to happen.
    never: Rest,
    /// The rest of the scenario if it is to happen.
    happens: Rest,
}

#[derive(Clone, Copy)]
enum Place {
    /// Of the link from the client to the server.
    Forward,
    /// A middlebox of that link.
    Middlebox,
    /// Of the server.
    Server,
    /// Of the flow.
    Flow,
}

/// What stands around the fault.
#[derive(Clone, Copy)]
struct Rest {
    /// Of the client.
    client: &'static str,
    /// In the place of what is asked for; empty: as it is asked for.
    instead: &'static str,
    /// Of the link.
    link: &'static str,
    flow: &'static str,
}

const BULK: &str = "model = { kind = \"bulk\", bytes = \"300k\" }";
const LITTLE: &str = "model = { kind = \"bulk\", bytes = 500 }";
const NONE: Rest = Rest { client: "", instead: "", link: "both = { delay = \"10ms\" }", flow: LITTLE };
const SOME: Rest = Rest { flow: BULK, ..NONE };
const LOSSY: Rest = Rest { link: "both = { delay = \"10ms\" }\nforward = { loss = \"5%\" }", ..SOME };
const SLOW: Rest = Rest { client: "ecn = 1", link: "both = { delay = \"10ms\", rate = \"2M\" }", ..SOME };

/// What a share is too small for.
const fn share(asked: &'static str, fault: &'static str, instead: &'static str) -> Case {
    Case { place: Place::Forward, asked, fault, never: SOME, happens: Rest { instead, ..SOME } }
}

const fn at(place: Place, asked: &'static str, fault: &'static str, never: Rest, happens: Rest) -> Case {
    Case { place, asked, fault, never, happens }
}

const fn with(instead: &'static str) -> Rest {
    Rest { instead, ..SOME }
}

fn cases() -> Vec<Case> {
    [shares(), changes_of_links(), boxes(), of_hosts_and_flows()].concat()
}

fn shares() -> Vec<Case> {
    use Place::Forward;
    vec![
        share("loss = \"0.0000001%\"", "loss 0%", "loss = \"5%\""),
        share(
            "bursts = { begin = \"0.001%\", end = \"50%\" }",
            "bursts 0.001%",
            "bursts = { begin = \"3%\", end = \"50%\" }",
        ),
        share("bursts = { begin = 0, end = 1 }", "bursts 0%", "bursts = { begin = \"3%\", end = \"50%\" }"),
        share("corrupt = \"0.001%\"", "corrupt 0.001%", "corrupt = \"5%\""),
        share("duplicate = \"0.001%\"", "duplicate 0.001%", "duplicate = \"5%\""),
        share(
            "reorder = { share = \"0.001%\", by = \"9ms\" }",
            "reorder 0.001%",
            "reorder = { share = \"5%\", by = \"9ms\" }",
        ),
        // Nobody sends what can be marked.
        at(Forward, "mark = \"50%\"", "mark 50%", SOME, Rest { client: "ecn = 1", ..SOME }),
    ]
}

fn changes_of_links() -> Vec<Case> {
    use Place::Forward;
    vec![
        // A nanosecond more or none, to a single packet that comes through: no SYN and no ACK pass this way.
        at(
            Forward,
            "jitter = \"1ms\", down = [{ from = 0, to = \"59min\" }]",
            "jitter 1ms",
            Rest { flow: "may-fail = true\nmodel = { kind = \"bulk\", bytes = 5 }", ..NONE },
            with("jitter = \"1ms\""),
        ),
        at(
            Forward,
            "down = [{ from = \"30min\", to = \"31min\" }]",
            "down from 1800",
            SOME,
            with("down = [{ from = \"15ms\", to = \"1s\" }]"),
        ),
        at(
            Forward,
            "mtu-changes = [{ at = \"30min\", mtu = 600 }]",
            "MTU 600",
            SOME,
            with("mtu-changes = [{ at = \"30ms\", mtu = 600 }]"),
        ),
        // Larger packets may pass, and nobody sends any.
        at(
            Forward,
            "mtu-changes = [{ at = \"30ms\", mtu = 9000 }]",
            "MTU 9000",
            SOME,
            with(
                "black-hole = true, mtu-changes = [{ at = \"30ms\", mtu = 600 }, { at = \"1s\", mtu = 1500 }]",
            ),
        ),
        at(
            Forward,
            "black-hole = true",
            "black hole",
            SOME,
            with(
                "black-hole = true, mtu-changes = [{ at = \"30ms\", mtu = 600 }, { at = \"1s\", mtu = 1500 }]",
            ),
        ),
        at(
            Forward,
            "rate = \"2M\", queue = { kind = \"drop-tail\", mark-above = 3 }",
            "marks of the queue",
            SOME,
            SLOW,
        ),
        at(
            Forward,
            "rate = \"2M\", queue = { kind = \"codel\", ecn = true }",
            "marks of the queue",
            SOME,
            SLOW,
        ),
    ]
}

fn boxes() -> Vec<Case> {
    use Place::Middlebox;
    vec![
        // The client offers no SACK.
        at(
            Middlebox,
            "kind = \"strip-options\", options = [\"mss\", \"sack\"], way = \"forward\"",
            "middlebox strip-options sack",
            Rest { client: "sack = false", ..SOME },
            SOME,
        ),
        at(Middlebox, "kind = \"split\", bytes = 1000", "middlebox split", NONE, SOME),
        at(
            Middlebox,
            "kind = \"coalesce\", hold = \"1ms\"",
            "middlebox coalesce",
            NONE,
            Rest {
                flow: "nodelay = true\nmodel = { kind = \"paced\", piece = 100, every = \"100us\", count = 20 }",
                ..SOME
            },
        ),
        at(
            Middlebox,
            "kind = \"rewrite-seq\"",
            "middlebox rewrite-seq",
            Rest { flow: "start = \"2h\"\ncount = 0\nmodel = { kind = \"bulk\", bytes = 5 }", ..NONE },
            SOME,
        ),
        // Nothing is lost, so there are no SACK blocks.
        at(
            Middlebox,
            "kind = \"rewrite-seq\", forgets-sack = true",
            "middlebox rewrite-seq that forgets SACK",
            SOME,
            LOSSY,
        ),
        at(
            Middlebox,
            "kind = \"forge-reset\", aim = \"in-window\", after = 10",
            "middlebox forge-reset",
            NONE,
            SOME,
        ),
        at(
            Middlebox,
            "kind = \"swallow-fin\", count = 0",
            "middlebox swallow-fin",
            SOME,
            with("kind = \"swallow-fin\""),
        ),
    ]
}

fn of_hosts_and_flows() -> Vec<Case> {
    use Place::{Flow, Server};
    vec![
        // After everything is over; the second begins within the first.
        at(
            Server,
            "outages = [{ at = \"30min\" }]",
            "outage at 1800s",
            SOME,
            Rest {
                instead: "outages = [{ at = \"50ms\", for = \"1s\" }]",
                flow: "may-fail = true\nmodel = { kind = \"bulk\", bytes = \"3M\" }",
                ..SOME
            },
        ),
        at(
            Server,
            "outages = [{ at = \"50ms\", for = \"1s\" }, { at = \"60ms\", for = \"2s\" }]",
            "outage at 60ms",
            Rest { flow: "may-fail = true\nmodel = { kind = \"bulk\", bytes = \"3M\" }", ..SOME },
            Rest {
                instead: "outages = [{ at = \"60ms\", for = \"2s\" }]",
                flow: "may-fail = true\nmodel = { kind = \"bulk\", bytes = \"3M\" }",
                ..SOME
            },
        ),
        // Its peer is never reached.
        at(
            Flow,
            "may-fail = true\nmodel = { kind = \"crash\", bytes = 500, after = 100, who = \"client\" }",
            "crash of the client",
            Rest { link: "both = { delay = \"10ms\", down = [{ from = 0, to = \"59min\" }] }", ..NONE },
            NONE,
        ),
        at(
            Flow,
            "may-fail = true\nsimultaneous = true\nmodel = { kind = \"bulk\", bytes = 5 }",
            "simultaneous open",
            Rest { link: "both = { delay = \"10ms\", down = [{ from = 0, to = \"59min\" }] }", ..NONE },
            NONE,
        ),
    ]
}

fn run(case: &Case, rest: Rest) -> Report {
    let asked = if rest.instead.is_empty() { case.asked } else { rest.instead };
    let list = |own: &str| if own.is_empty() { String::new() } else { format!(", {own}") };
    let (mut server, mut flow, mut forward, mut middlebox) = ("", rest.flow, "", "");
    match case.place {
        Place::Forward => forward = asked,
        Place::Middlebox => middlebox = asked,
        Place::Server => server = asked,
        Place::Flow => flow = asked,
    }
    let mut link = rest.link.to_owned();
    if !forward.is_empty() {
        link.push_str(&format!("\nforward = {{ {forward} }}"));
    }
    if !middlebox.is_empty() {
        link.push_str(&format!("\nmiddlebox = [{{ {middlebox} }}]"));
    }
    let text = format!(
        "name = \"t\"\nsummary = \"t\"\nlimit = \"3h\"\n\
         host = [{{ name = \"client\"{} }}, {{ name = \"server\"{} }}]\n\
         [[link]]\nbetween = [\"client\", \"server\"]\n{link}\n\
         [[flow]]\nfrom = \"client\"\nto = \"server\"\npatience = \"20min\"\n{flow}",
        list(rest.client),
        list(server),
    );
    let scenario = Scenario::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    run_scenario(&scenario, 1).expect("a run")
}

#[test]
fn what_was_asked_for_and_never_happened_fails_the_run_by_name() {
    for case in cases() {
        let report = run(&case, case.never);
        let unfired: Vec<_> = report.failures.iter().filter(|f| f.kind == FailureKind::Unfired).collect();
        let name = format!("{} was asked for and never happened; the run did not test it", case.fault);
        assert!(!report.passed(), "{}: {:?}", case.asked, report.faults);
        let named = unfired.iter().any(|failure| failure.text.contains(case.fault))
            && unfired.iter().any(|failure| failure.text.ends_with("the run did not test it"));
        assert!(named, "{}: no '{name}' in {:#?}", case.asked, report.failures);
        // Nothing else is wrong with it.
        assert_eq!(unfired.len(), report.failures.len(), "{}: {:#?}", case.asked, report.failures);
    }
}

#[test]
fn each_fault_happens_where_it_can() {
    for case in cases() {
        let report = run(&case, case.happens);
        let asked = |fault: &str| fault.split(' ').next().unwrap_or_default().to_owned();
        let own: Vec<_> =
            report.faults.iter().filter(|fault| asked(&fault.fault) == asked(case.fault)).collect();
        assert!(!own.is_empty() && own.iter().all(|fault| fault.fired > 0), "{}: {own:?}", case.asked);
        assert!(report.passed(), "{}: {:#?}", case.asked, report.failures);
    }
}

/// What asks for a fault in a direction of a link. Whoever adds a field is led here by the compiler.
fn faults_of_a_direction() -> Vec<&'static str> {
    let Direction {
        // Properties, which always hold.
        rate: _,
        delay: _,
        mtu: _,
        jitter: _,
        mtu_changes: _,
        black_hole: _,
        // Two kinds of queue mark packets.
        queue: _,
        loss: _,
        bursts: _,
        reorder: _,
        duplicate: _,
        corrupt: _,
        mark: _,
        down: _,
    } = Direction::default();
    vec![
        "jitter =",
        "mtu-changes =",
        "black-hole =",
        "mark-above =",
        "ecn = true",
        "loss =",
        "bursts =",
        "reorder =",
        "duplicate =",
        "corrupt =",
        "mark =",
        "down =",
    ]
}

/// The boxes that cases ask for; the match names all that there are.
fn is_tried(spec: &BoxSpec) -> &'static str {
    match spec {
        BoxSpec::StripOptions { .. }
        | BoxSpec::Split { .. }
        | BoxSpec::Coalesce { .. }
        | BoxSpec::RewriteSeq { .. }
        | BoxSpec::ForgeReset { .. }
        | BoxSpec::SwallowFin { .. } => spec.kind(),
    }
}

#[test]
fn every_fault_of_the_format_has_a_case() {
    let cases = cases();
    let others = ["forgets-sack =", "outages =", "kind = \"crash\"", "simultaneous ="];
    for fault in faults_of_a_direction().into_iter().chain(others) {
        assert!(cases.iter().any(|case| case.asked.contains(fault)), "no case asks for {fault}");
    }
    let boxes = cases.iter().filter(|case| matches!(case.place, Place::Middlebox)).map(|case| {
        let text = format!(
            "name = \"t\"\nsummary = \"t\"\nhost = [{{ name = \"a\" }}, {{ name = \"b\" }}]\n\
             link = [{{ between = [\"a\", \"b\"], middlebox = [{{ {} }}] }}]",
            case.asked
        );
        is_tried(&Scenario::parse(&text).expect("a scenario").links[0].middleboxes[0])
    });
    let boxes: std::collections::BTreeSet<_> = boxes.collect();
    assert_eq!(boxes.len(), 6, "{boxes:?}");
}
