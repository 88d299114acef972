//! Real programs move real amounts of data: curl and nginx on the kernel's side, axum and hyper on lastack. Needs root;
//! `LASTACK_SKIP_ROOT_TESTS=1` leaves it out.

use lastack::device::impair::Impairment;
use lastack_e2e::gate::Traffic;
use lastack_e2e::web::{TempDir, body, curl_get, curl_put, fetch, nginx, serve, sha256};
use lastack_e2e::{Family, Lab, LabOptions, To, in_namespace, kernel};
use tokio::runtime::Runtime;

const MIB: usize = 1 << 20;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// curl gets `len` bytes from axum on lastack.
fn download(lab: &Lab, family: Family, len: usize) {
    let runtime = runtime();
    let server = family.lastack(80);
    runtime.block_on(serve(&lab.host, server));
    let got = curl_get(&format!("http://{server}/body/{len}"));
    assert_eq!(got, (sha256(body(len)), len), "{family:?}");
}

/// curl puts `len` bytes to axum on lastack.
fn upload(lab: &Lab, family: Family, len: usize) {
    let folder = TempDir::new("upload");
    let file = folder.body("body", len);
    let runtime = runtime();
    let server = family.lastack(81);
    runtime.block_on(serve(&lab.host, server));
    let answer = curl_put(&format!("http://{server}/sha256"), &file);
    assert_eq!(answer, format!("{} {len}", sha256(body(len))), "{family:?}");
}

/// hyper on lastack gets `len` bytes from nginx.
fn download_from_nginx(lab: &Lab, len: usize) {
    let folder = TempDir::new("nginx");
    let file = folder.body("body", len);
    let servers = Family::BOTH.map(|family| family.kernel(8080));
    let _nginx = nginx(&folder, &servers);
    let expected = (sha256([std::fs::read(file).expect("the file")].iter()), len);
    let runtime = runtime();
    for server in servers {
        assert_eq!(runtime.block_on(fetch(&lab.host, server, "/body")), expected, "{server}");
    }
}

/// Most bytes went in packets that stand for many segments.
fn is_segmented(traffic: Traffic, len: usize) {
    assert!(traffic.gso_bytes > len as u64 / 2, "few bytes in GSO packets: {traffic:?}");
    assert!(traffic.gso_bytes / traffic.gso_packets > 2 * 1500, "GSO packets are small: {traffic:?}");
}

fn is_sound(lab: &Lab) {
    let counters = lab.host.counters();
    let defects = (counters.illegal_transitions, counters.in_errs, counters.in_csum_errors);
    assert_eq!(defects, (0, 0, 0), "{counters:?}");
}

fn without_record() -> LabOptions {
    LabOptions { record: false, ..LabOptions::default() }
}

#[test]
fn curl_downloads_100_mib_from_axum_in_gso_packets() {
    in_namespace(|| {
        for family in Family::BOTH {
            let lab = Lab::with(without_record());
            download(&lab, family, 100 * MIB);
            is_segmented(lab.gate.traffic(To::Kernel), 100 * MIB);
            is_sound(&lab);
        }
    });
}

#[test]
fn curl_uploads_100_mib_to_axum_in_gso_packets() {
    in_namespace(|| {
        for family in Family::BOTH {
            let lab = Lab::with(without_record());
            upload(&lab, family, 100 * MIB);
            is_segmented(lab.gate.traffic(To::Lastack), 100 * MIB);
            is_sound(&lab);
        }
    });
}

#[test]
fn hyper_downloads_100_mib_from_nginx() {
    in_namespace(|| {
        let lab = Lab::with(without_record());
        download_from_nginx(&lab, 100 * MIB);
        is_segmented(lab.gate.traffic(To::Lastack), 200 * MIB);
        is_sound(&lab);
    });
}

#[test]
fn without_offloads_100_mib_go_both_ways_and_no_packet_is_segmented() {
    in_namespace(|| {
        let lab = Lab::with(LabOptions { offloads: false, ..without_record() });
        download(&lab, Family::V4, 100 * MIB);
        upload(&lab, Family::V6, 100 * MIB);
        for to in [To::Kernel, To::Lastack] {
            let traffic = lab.gate.traffic(to);
            assert_eq!(traffic.gso_packets, 0, "{to:?}");
            assert!(traffic.packets as usize > 100 * MIB / 1500, "{to:?} {traffic:?}");
        }
        is_sound(&lab);
    });
}

/// 2 % loss, 1 % reordering, 1 % duplication, each way.
fn impaired(test: impl Fn(&Lab) + Send + 'static) {
    in_namespace(move || {
        let impairment = Impairment { loss: 0.02, reorder: 0.01, duplicate: 0.01, ..Impairment::default() };
        let lab = Lab::with(LabOptions { impairment: Some(impairment), ..without_record() });
        test(&lab);
        is_sound(&lab);
    });
}

#[test]
fn curl_downloads_5_mib_over_a_bad_ipv4_link() {
    impaired(|lab| {
        download(lab, Family::V4, 5 * MIB);
        assert!(lab.host.counters().retrans_segs > 0, "nothing was lost");
    });
}

#[test]
fn curl_downloads_5_mib_over_a_bad_ipv6_link() {
    impaired(|lab| {
        download(lab, Family::V6, 5 * MIB);
        assert!(lab.host.counters().retrans_segs > 0, "nothing was lost");
    });
}

#[test]
fn curl_uploads_5_mib_over_a_bad_ipv4_link() {
    impaired(|lab| {
        upload(lab, Family::V4, 5 * MIB);
        assert!(kernel::retransmitted() > 0, "nothing was lost");
        let counters = lab.host.counters();
        assert!(counters.ofo_queued > 0 && counters.dsacks_sent > 0, "{counters:?}");
    });
}

#[test]
fn curl_uploads_5_mib_over_a_bad_ipv6_link() {
    impaired(|lab| {
        upload(lab, Family::V6, 5 * MIB);
        assert!(kernel::retransmitted() > 0, "nothing was lost");
        let counters = lab.host.counters();
        assert!(counters.ofo_queued > 0 && counters.dsacks_sent > 0, "{counters:?}");
    });
}

#[test]
fn hyper_downloads_5_mib_from_nginx_over_a_bad_link() {
    impaired(|lab| {
        download_from_nginx(lab, 5 * MIB);
        assert!(kernel::retransmitted() > 0, "nothing was lost");
        let counters = lab.host.counters();
        assert!(counters.ofo_queued > 0 && counters.dsacks_sent > 0, "{counters:?}");
    });
}
