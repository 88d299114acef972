use super::*;
use core::net::Ipv4Addr;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

fn cache(capacity: usize) -> PathMtu {
    PathMtu::new(1500, 1500, 552, capacity, Duration::from_secs(600))
}

fn v4(n: u32) -> IpAddr {
    Ipv4Addr::from_bits(0x0a00_0000 + n).into()
}

#[test]
fn report_lowers_and_never_raises() {
    let mut cache = cache(8);
    let now = Instant::from_secs(1);
    assert_eq!(cache.get(now, V4), 1500);
    assert_eq!(cache.update(now, V4, 9000), None);
    assert_eq!(cache.update(now, V4, 1400), Some(1400));
    assert_eq!(cache.update(now, V4, 1450), None);
    assert_eq!((cache.get(now, V4), cache.get(now, v4(1))), (1400, 1500));
}

#[test]
fn estimate_never_goes_below_the_floor() {
    let mut cache = cache(8);
    let now = Instant::ZERO;
    assert_eq!(cache.update(now, V4, 0), Some(552));
    let v6 = "2001:db8::1".parse().unwrap();
    assert_eq!(cache.update(now, v6, 1279), None);
    assert_eq!(cache.update(now, v6, 1280), Some(1280));
    // A link that is narrower than the floor stays what it is.
    let mut narrow = PathMtu::new(296, 296, 552, 8, Duration::from_secs(600));
    assert_eq!(narrow.update(now, V4, 68), None);
    assert_eq!(narrow.get(now, V4), 296);
}

#[test]
fn estimate_ages_and_may_be_learned_again() {
    let mut cache = cache(8);
    let now = Instant::ZERO;
    cache.update(now, V4, 600);
    assert_eq!(cache.get(Instant::from_secs(599), V4), 600);
    assert_eq!(cache.get(Instant::from_secs(600), V4), 1500);
    assert_eq!(cache.update(Instant::from_secs(601), V4, 1400), Some(1400));
}

#[test]
fn cache_is_bounded_and_drops_the_oldest() {
    let mut cache = cache(4);
    for n in 0..100 {
        cache.update(Instant::from_secs(n.into()), v4(n), 1000);
        assert!(cache.entries.len() <= 4 && cache.entries.len() == cache.by_end.len());
    }
    assert_eq!(cache.get(Instant::from_secs(100), v4(95)), 1500);
    assert_eq!(cache.get(Instant::from_secs(100), v4(96)), 1000);
}

#[test]
fn plateau_is_the_next_lower_common_size() {
    let cases = [(65_535, 32_000), (1500, 1492), (1492, 1006), (576, 508), (68, 68), (0, 68)];
    for (len, plateau) in cases {
        assert_eq!(plateau_below(len), plateau);
    }
}
