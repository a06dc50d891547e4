//! Every mistake that the derives know, and what the compiler says to it.

#[test]
fn derive_mistakes_are_explained_by_the_compiler() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
