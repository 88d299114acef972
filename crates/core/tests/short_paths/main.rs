//! Each short path does what the general code does. What happens by chance happens once with all short paths, and again with
//! each of them declined and with all of them: packets, results, events, transitions, fingerprints after every step, what
//! sockets say of themselves, and all counters but that of predictions are the same.

#[path = "../common/mod.rs"]
mod common;

mod chance;
mod script;
mod world;

use lastack_core::ShortPaths;
use script::{play, play_growing_round_trip};
use world::Seen;

/// Seeds of scripts; `SCRIPTS` asks for others: `1000` for so many, `500-600` for those.
fn seeds() -> core::ops::Range<u64> {
    let asked = std::env::var("SCRIPTS").unwrap_or_else(|_| "100".into());
    let (from, to) = asked.split_once('-').unwrap_or(("0", &asked));
    from.parse().expect("SCRIPTS is a number or a range")..to.parse().expect("SCRIPTS is a number or a range")
}

/// Words of what was seen.
fn said(seen: &[Seen], at: usize) -> Vec<String> {
    let Some(Seen { what, packet, prints }) = seen.get(at) else { return vec!["the end".into()] };
    let bytes = packet.iter().map(|byte| format!("{byte:02x}"));
    what.split(' ').map(String::from).chain([format!("{prints:x?}")]).chain(bytes).collect()
}

/// The first difference, with what came before it.
fn difference(short: &[Seen], general: &[Seen]) -> Option<String> {
    let at = short.iter().zip(general).position(|(short, general)| short != general);
    let at = at.or_else(|| (short.len() != general.len()).then_some(short.len().min(general.len())))?;
    let before: Vec<_> = short[at.saturating_sub(6)..at].iter().map(|seen| &seen.what).collect();
    let (short, general) = (said(short, at), said(general, at));
    // Long lines of numbers: what differs is enough.
    let other = |(short, general): &(&String, &String)| short != general;
    let words: Vec<_> = short.iter().zip(&general).filter(other).take(40).collect();
    Some(format!("step {at}, short path and general: {words:#?}\nafter {before:#?}"))
}

/// Each path declined by itself, and all of them.
fn ways() -> impl Iterator<Item = (&'static str, ShortPaths)> {
    ShortPaths::all().iter_names().chain([("any of them", ShortPaths::all())])
}

#[test]
fn each_short_path_does_what_the_general_code_does() {
    let mut taken: Vec<_> = ShortPaths::all().iter_names().map(|(name, path)| (name, path, 0)).collect();
    for seed in seeds() {
        let short = play(seed, ShortPaths::empty());
        for (_, path, times) in &mut taken {
            *times += short.fits(*path);
        }
        for (name, declined) in ways() {
            if let Some(difference) = difference(&short.seen, &play(seed, declined).seen) {
                panic!("SCRIPTS={seed}-{}, without {name}: {difference}", seed + 1);
            }
        }
    }
    let least = (seeds().end - seeds().start) / 2;
    let seldom: Vec<_> = taken.iter().filter(|(_, _, times)| *times < least).collect();
    assert!(seldom.is_empty(), "taken so seldom that little is shown: {seldom:?}");
}

#[test]
fn they_do_after_slow_start_has_ended_without_a_loss() {
    let short = play_growing_round_trip(ShortPaths::empty());
    assert!(short.fits(ShortPaths::LONE_OUTPUT) >= 5 && short.fits(ShortPaths::LONE_ACK) >= 5);
    for (name, declined) in ways() {
        let difference = difference(&short.seen, &play_growing_round_trip(declined).seen);
        assert_eq!(difference, None, "without {name}");
    }
}

/// The switch works: otherwise the comparison would be one of like with like.
#[test]
fn a_declined_path_is_not_taken() {
    let predicted = |declined| (0..8).map(|seed| play(seed, declined).predicted()).sum::<u64>();
    assert!(predicted(ShortPaths::empty()) > 100);
    assert_eq!(predicted(ShortPaths::PREDICTION), 0);
}
