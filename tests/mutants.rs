//! The deliberate faults in tests/mutants, which tell whether the tests notice what they are to notice.

use std::process::Command;

#[test]
fn mutants_fit_the_code() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/mutants/run");
    let check = Command::new(script).arg("--check").output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
