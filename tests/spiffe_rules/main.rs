//! Every rule of the SPIFFE standards that a validator must keep, each in a test that bears its name. The fixtures of a rule stand in
//! `certs-testdata/accept/<rule>-<what>` and `certs-testdata/reject/<rule>-<what>`; they are looked at on 2026-07-01, for both sides
//! of TLS.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]

mod bundles;
mod fixtures;
mod ids;
mod svids;

use fixtures::{folders, rule_of};

#[test]
fn no_fixture_is_left_unclaimed() {
    let source = [include_str!("ids.rs"), include_str!("svids.rs"), include_str!("bundles.rs")].concat();
    for folder in folders() {
        let claim = format!("fixtures(\"{}\");", rule_of(&folder));
        assert_eq!(source.matches(&claim).count(), 1, "{} is run by no test, or by two", folder.display());
    }
}

#[test]
fn every_rejection_has_its_reason_and_no_acceptance_has_one() {
    for folder in folders() {
        let rejected = folder.parent().unwrap().ends_with("reject");
        assert_eq!(folder.join("reason.txt").exists(), rejected, "{}", folder.display());
    }
}
