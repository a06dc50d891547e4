//! Tasks that ran when their process died, and may have been the reason.

use rustix::process::Signal;

use crate::harness::Project;
use crate::harness::eventually::wait_until;
use crate::harness::mail::SilentMailServer;
use crate::harness::server::Server;

const WORKERS: &str = "--workers 24";

#[test]
fn suspects_run_again_together_and_none_is_set_aside_for_the_kills_of_others() {
    let project = Project::new();
    let mail_server = SilentMailServer::start();
    mail_server.configure(&project);
    let mut server = Server::with(project, WORKERS);
    let mail = r#"{"function":"send_mail","args":{"to":"b@example.com","content":"x"}}"#;
    let mut client = server.connect();
    for _ in 0..24 {
        assert_eq!(client.send(format!("{mail}\n")).json()["status"], "queued");
    }
    // Sixteen that died once, then four of these that died twice beside the eight that died once.
    for running in [24, 16, 12] {
        wait_until("the mails run", || server.ledger()["running"] == running);
        assert_eq!(server.ledger()["failed"], 0, "none is set aside");
        server.signal(Signal::KILL);
        server = server.again(WORKERS);
    }
}
