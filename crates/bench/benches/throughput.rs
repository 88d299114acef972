//! The timing cases under criterion, both stacks in the same groups.

#![allow(missing_docs)] // criterion's macros make an undocumented function

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lastack_bench::workload::{Case, Peer, Unit, WINDOW};
use std::time::Duration;

/// Work of one iteration: small enough for ten samples of the slowest within some seconds.
fn work(case: Case, peer: Peer) -> u64 {
    match (case, peer) {
        (Case::Bulk1500 | Case::Bulk65535 | Case::BulkGso, _) => 16 << 20,
        (Case::Churn | Case::ChurnIdle1k, Peer::Smoltcp) => 100,
        (Case::ChurnIdle10k, Peer::Smoltcp) => 20,
        _ => 500,
    }
}

fn cases(criterion: &mut Criterion, cases: &[Case]) {
    for &case in cases {
        let mut group = criterion.benchmark_group(case.name());
        group.sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(4));
        for peer in Peer::ALL {
            let work = work(case, peer);
            group.throughput(match case.unit() {
                Unit::Byte => Throughput::Bytes(work),
                Unit::Connection => Throughput::Elements(work),
            });
            let mut workload = None;
            group.bench_function(BenchmarkId::from_parameter(peer.name()), |bencher| {
                let workload = workload.get_or_insert_with(|| case.prepare(peer, WINDOW));
                bencher.iter(|| workload.run(work));
            });
        }
        group.finish();
    }
}

fn bulk(criterion: &mut Criterion) {
    cases(criterion, &Case::BULK);
}

fn churn(criterion: &mut Criterion) {
    cases(criterion, &Case::CHURN);
}

criterion_group!(benches, bulk, churn);
criterion_main!(benches);
