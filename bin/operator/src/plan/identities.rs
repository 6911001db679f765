//! Collection of identities that no endpoint uses.
//!
//! In two steps, of which either can be taken by different operators: an unused identity is marked with the time, and a
//! marked one that is still unused after the timeout is deleted, unless its object has changed. An agent that picks a
//! marked identity up removes the mark, so the deletion misses.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::{Action, Every, elapsed};
use crate::config::IdentityGc;
use crate::world::World;

/// Deletions of one look at most, so that a cluster that shrinks does not keep the API server from other work.
const AT_ONCE: usize = 1000;

#[derive(Debug)]
pub(super) struct Identities {
    config: IdentityGc,
    every: Every,
}

impl Identities {
    pub(super) fn new(config: IdentityGc) -> Self {
        Self { config, every: Every::new(config.interval) }
    }

    pub(super) fn plan(&mut self, world: &World, now: Timestamp, actions: &mut Vec<Action>) {
        if !self.every.due(now) {
            return;
        }
        let used: BTreeSet<i64> =
            world.endpoints.iter().filter_map(|(_, endpoint)| endpoint.identity).collect();
        let mut deletions = 0;
        for (key, identity) in world.identities.iter() {
            let (name, version) = (key.name.clone(), identity.version.clone());
            // A name that is no number can be used by nobody.
            let in_use = identity.number.is_some_and(|number| used.contains(&i64::from(number)));
            let since = identity.mark.as_ref().map(|mark| mark.parse::<Timestamp>());
            match since {
                None if in_use => {}
                Some(_) if in_use => actions.push(Action::UnmarkIdentity { name, version }),
                // A mark without a time starts anew.
                None | Some(Err(_)) => {
                    actions.push(Action::MarkIdentity { name, version, mark: now.to_string() })
                }
                Some(Ok(since)) if elapsed(since, now) >= self.config.timeout && deletions < AT_ONCE => {
                    deletions += 1;
                    actions.push(Action::DeleteIdentity { name, version });
                }
                Some(Ok(_)) => {}
            }
        }
    }
}
