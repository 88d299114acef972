//! The axum server and the hyper client of the examples against each other, both on lastack.

mod common;
#[path = "../examples/web/mod.rs"]
mod web;

use common::{B, addr, hosts, pattern, run};
use lastack::tokio::TcpListener;
use sha2::{Digest, Sha256};

#[test]
fn axum_and_hyper_run_unchanged() {
    run(async {
        let (a, b) = hosts();
        let root = std::env::temp_dir().join(format!("lastack-web-{}", std::process::id()));
        std::fs::create_dir_all(&root).expect("directory");
        let data = pattern(5 << 20);
        std::fs::write(root.join("data"), &data).expect("file");
        let listener = TcpListener::bind(&b, addr(B, 80)).await.expect("bind");
        let server = tokio::spawn({
            let root = root.clone();
            async move { axum::serve(web::Listener(listener), web::application(root)).await }
        });
        let to = addr(B, 80);

        let (status, body) = web::fetch(&a, to, "GET", "/files/data", Vec::new()).await.expect("download");
        assert!(status.is_success() && body == data);
        let (status, body) = web::fetch(&a, to, "POST", "/sha256", data.clone()).await.expect("upload");
        assert!(status.is_success());
        assert_eq!(body, web::hex(&Sha256::digest(&data)));
        let (status, body) = web::fetch(&a, to, "POST", "/echo", b"echo".to_vec()).await.expect("echo");
        assert!(status.is_success() && body == "echo");
        let (status, _) = web::fetch(&a, to, "GET", "/files/none", Vec::new()).await.expect("answer");
        assert_eq!(status, 404);

        let requests: Vec<_> = (0..50)
            .map(|_| {
                let a = a.clone();
                tokio::spawn(async move { web::fetch(&a, to, "POST", "/sha256", pattern(100_000)).await })
            })
            .collect();
        for request in requests {
            let (_, body) = request.await.expect("join").expect("upload");
            assert_eq!(body, web::hex(&Sha256::digest(pattern(100_000))));
        }
        server.abort();
        std::fs::remove_dir_all(&root).expect("clean up");
    });
}
