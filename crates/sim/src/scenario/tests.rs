//! What a scenario may say.

use super::{Direction, Scenario};
use crate::units::{Rate, Time};
use std::time::Duration;

fn with(change: impl FnOnce(&mut String)) -> Result<Scenario, String> {
    let mut text = r#"
name = "test"
summary = "a test"
host = [{ name = "a" }, { name = "b" }]
link = [{ between = ["a", "b"], both = { rate = "1M" } }]
flow = [{ from = "a", to = "b", model = { kind = "bulk", bytes = 1000 } }]
"#
    .to_owned();
    change(&mut text);
    Scenario::parse(&text)
}

#[test]
fn what_cannot_be_meant_is_refused_with_the_place_and_the_reason() {
    assert!(with(|_| {}).is_ok());
    let cases = [
        ("name = \"b\"", "name = \"a\"", "given twice"),
        ("between = [\"a\", \"b\"]", "between = [\"a\", \"c\"]", "no host or router 'c'"),
        ("between = [\"a\", \"b\"]", "between = [\"a\", \"a\"]", "the same"),
        ("rate = \"1M\"", "rate = \"1M\", mtu = 100", "less than 576"),
        ("rate = \"1M\"", "queue = { kind = \"codel\" }", "without a rate"),
        ("rate = \"1M\"", "down = [{ from = \"2s\", to = \"1s\" }]", "no time"),
        ("rate = \"1M\"", "rate = \"quick\"", "10M"),
        ("rate = \"1M\"", "speed = \"1M\"", "unknown field `speed`"),
        ("from = \"a\"", "from = \"x\"", "no host 'x'"),
        ("name = \"b\"", "name = \"b\", stack = \"smoltcp\", sack = false", "smoltcp has no knob 'sack'"),
        ("from = \"a\"", "fast-open = true, from = \"a\"", "need fast-open"),
        ("from = \"a\"", "from = \"b\"", "the same"),
        ("kind = \"bulk\"", "kind = \"balk\"", "unknown variant `balk`"),
    ];
    for (old, new, expected) in cases {
        let error = with(|text| *text = text.replace(old, new)).expect_err(new);
        assert!(error.contains(expected), "{new}: {error}");
    }
}

#[test]
fn a_crash_has_to_be_allowed_to_fail() {
    let crash = "kind = \"crash\", bytes = 1000, after = 10, who = \"client\"";
    let replace = |text: &mut String, more: &str| {
        *text = text.replace("kind = \"bulk\", bytes = 1000 }", &format!("{crash} }}{more}"));
    };
    assert!(with(|text| replace(text, "")).expect_err("it may not fail").contains("may-fail"));
    assert!(with(|text| replace(text, ", may-fail = true")).is_ok());
}

#[test]
fn one_direction_may_differ_from_both() {
    let ms = |n| Some(Time(Duration::from_millis(n)));
    let both = Direction { rate: Some(Rate(1000)), delay: ms(5), ..Direction::default() };
    let forward = Direction { delay: ms(9), mtu: Some(900), ..Direction::default() };
    let made = both.with(&forward);
    assert_eq!((made.rate, made.delay, made.mtu), (Some(Rate(1000)), ms(9), Some(900)));
}
