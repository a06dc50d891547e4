//! Every mistake that the derives know, and what the compiler says to it.

#[test]
fn each_mistake_is_answered_with_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
