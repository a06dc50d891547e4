//! The verbs of the wire, one file for each family. A verb that HTTP is to reach also has a route.

mod auth;
mod batches;
mod fields;
mod queues;
mod schedules;
mod server;
mod tasks;
mod work;

pub(super) use self::auth::token;
pub(super) use self::work::poll_request;
use super::service::Verb;

/// Every verb, in the order of the help.
pub(super) static ALL: &[&[Verb]] =
    &[server::VERBS, tasks::VERBS, queues::VERBS, batches::VERBS, schedules::VERBS, work::VERBS, auth::VERBS];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use framework_protocol::ErrorCode;

    use super::ALL;
    use crate::server::service::VerbTable;

    #[test]
    fn find_suggests_the_near_verb() {
        let Err(error) = VerbTable::new(ALL).find("statsu") else { panic!("there is no such verb") };
        assert_eq!((error.code, error.suggestion.as_deref()), (ErrorCode::UnknownCommand, Some("status")));
    }

    #[test]
    fn names_are_unique_and_stand_in_the_help() {
        let table = VerbTable::new(ALL);
        let names: HashSet<_> = table.iter().map(|verb| verb.name).collect();
        assert_eq!(names.len(), table.iter().count());
        for verb in table.iter() {
            assert!(table.help().contains(&format!("\n      {} ", verb.name)), "{}", verb.name);
        }
    }
}
