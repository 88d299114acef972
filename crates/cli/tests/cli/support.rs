//! Running the command and reading what it printed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the command is.
pub(crate) fn lastack_path() -> &'static str {
    env!("CARGO_BIN_EXE_lastack")
}

/// Runs `lastack` with these arguments, without a terminal.
pub(crate) fn lastack(args: &[&str]) -> Output {
    Command::new(lastack_path()).args(args).output().expect("the command starts")
}

/// Standard output of a run that succeeds.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = lastack(args);
    assert!(output.status.success(), "lastack {args:?} failed: {}", text(&output.stderr));
    assert_eq!(text(&output.stderr), "", "lastack {args:?} wrote to standard error");
    text(&output.stdout)
}

/// Bytes as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// Compares with a reviewed file; with `BLESS` in the environment, writes it.
pub(crate) fn compare(path: &Path, actual: &str) {
    if std::env::var_os("BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file has a folder")).expect("the folder can be made");
        std::fs::write(path, actual).expect("the file can be written");
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; if the new one is right, run the tests with BLESS=1\n--- reviewed\n{expected}\n--- now\n{actual}",
        path.display()
    );
}

/// A path inside this crate.
pub(crate) fn in_crate(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path for a file of a test; two tests never share a name.
pub(crate) fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
