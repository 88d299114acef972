use super::super::Cidr;
use super::super::tests::{Bench, config};
use super::*;
use crate::config::Route;
use alloc::string::ToString;

fn route(to: &str, source: Option<&str>) -> Route {
    Route { to: to.parse().unwrap(), source: source.map(|text| text.parse().unwrap()) }
}

fn source(cfg: &Config, remote: &str) -> Result<IpAddr, Error> {
    Bench::new(cfg.clone()).ip.source_for(cfg, remote.parse().unwrap())
}

#[test]
fn longest_prefix_of_the_family_chooses_the_source() {
    let mut cfg = config();
    assert_eq!(source(&cfg, "10.0.0.9"), Ok([10, 0, 0, 1].into()));
    assert_eq!(source(&cfg, "192.0.2.1"), Err(Error::NetworkUnreachable));
    cfg.addresses.push("10.9.0.1/16".parse().unwrap());
    cfg.routes = [
        route("0.0.0.0/0", None),
        route("192.0.2.0/24", Some("10.9.0.1")),
        route("10.0.0.0/24", Some("10.9.0.1")),
    ]
    .to_vec();
    assert_eq!(source(&cfg, "198.51.100.1"), Ok([10, 0, 0, 1].into()));
    assert_eq!(source(&cfg, "192.0.2.1"), Ok([10, 9, 0, 1].into()));
    // A connected network wins over a route of the same length.
    assert_eq!(source(&cfg, "10.0.0.9"), Ok([10, 0, 0, 1].into()));
    assert_eq!(source(&cfg, "2001:db8::1"), Err(Error::NetworkUnreachable));
    cfg.routes.push(route("::/0", None));
    assert_eq!(source(&cfg, "2001:db8::1"), Ok("fd00::1".parse().unwrap()));
}

#[test]
fn route_without_an_address_of_the_family_gives_no_source() {
    let cfg = Config { routes: [route("0.0.0.0/0", None)].to_vec(), ..Config::default() };
    assert_eq!(source(&cfg, "192.0.2.1"), Err(Error::AddrNotAvailable));
}

#[test]
fn cidr_reads_and_checks_and_prints() {
    use super::super::CidrError;
    let cidr: Cidr = "10.0.0.1/24".parse().unwrap();
    assert_eq!((cidr.to_string().as_str(), cidr.prefix()), ("10.0.0.1/24", 24));
    assert_eq!(cidr.broadcast(), Some([10, 0, 0, 255].into()));
    assert_eq!(cidr.network(), IpAddr::from([10, 0, 0, 0]));
    assert!(cidr.contains([10, 0, 0, 200].into()) && !cidr.contains([10, 0, 1, 0].into()));
    assert!(!cidr.contains("::ffff:10.0.0.1".parse().unwrap()));
    let all: Cidr = "0.0.0.0/0".parse().unwrap();
    assert!(all.contains([255; 4].into()));
    assert_eq!("fd00::1".parse::<Cidr>().unwrap().prefix(), 128);
    for (text, error) in [
        ("10.0.0/8", CidrError::Address),
        ("10.0.0.1/33", CidrError::Prefix),
        ("::/129", CidrError::Prefix),
        ("::/+1", CidrError::Prefix),
        ("::/", CidrError::Prefix),
        ("", CidrError::Address),
    ] {
        assert_eq!(text.parse::<Cidr>(), Err(error), "{text}");
    }
    for (text, broadcast) in
        [("10.0.0.1/31", None), ("10.0.0.1/32", None), ("10.0.0.1/30", Some([10, 0, 0, 3]))]
    {
        assert_eq!(text.parse::<Cidr>().unwrap().broadcast(), broadcast.map(Ipv4Addr::from));
    }
}
