//! The pages of the repository agree with what is in it.

use crate::run::root;
use std::fs;
use std::path::PathBuf;

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_example_of_the_readme_is_the_one_that_compiles() {
    let example = read("crates/lastack/examples/echo.rs");
    let code: Vec<_> =
        example.lines().skip_while(|line| line.starts_with("//!") || line.is_empty()).collect();
    let code = code.join("\n");
    assert!(
        read("README.md").contains(&format!("```rust\n{code}\n```")),
        "copy examples/echo.rs into README.md"
    );
}

#[test]
fn what_the_pages_link_to_is_there() {
    let pages = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "docs/architecture.md",
        "docs/deviations.md",
        "docs/conformance.md",
    ];
    for page in pages {
        let folder = root().join(page).parent().map(PathBuf::from).unwrap_or_default();
        let text = read(page);
        let targets =
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
        for target in targets.filter(|target| !target.contains("://")) {
            assert!(folder.join(target).exists(), "{page} links to {target}, which is not there");
        }
    }
}

#[test]
fn the_files_that_the_tables_of_docs_name_are_there() {
    for page in ["docs/architecture.md", "docs/deviations.md"] {
        let text = read(page);
        for name in text.split('`').skip(1).step_by(2) {
            let named = name.ends_with(".rs") && !name.contains(['*', ' ', ':']);
            let folders = ["", "crates", "crates/core/src", "crates/core/tests", "crates/lastack/tests"];
            let there = folders.iter().any(|folder| root().join(folder).join(name).exists());
            assert!(!named || there, "{page} names {name}, which is not there");
        }
    }
}
