//! Whether a member of a pool may be picked, and why not, in words for people.

use crate::model::endpoint::Health;
use crate::model::members::Member;

/// Whether a member may be picked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// It may.
    pub eligible: bool,
    /// Why not, or what is known of it.
    pub why: String,
}

impl Standing {
    /// How a member stands now.
    pub fn of(member: &Member) -> Self {
        let endpoint = &member.endpoint;
        let weightless = member.weight == 0;
        let why = match (endpoint.health(), endpoint.ejected_for()) {
            _ if member.draining.is_some() => {
                format!("{} says that it is draining", member.origin)
            }
            _ if endpoint.is_drained() => "an operator has drained it".to_owned(),
            _ if weightless => "its weight is 0".to_owned(),
            (_, Some(time)) => {
                format!("ejected since it failed or was slow, for {} s more", time.as_secs().max(1))
            }
            (Health::Up | Health::Unchecked, _) if endpoint.is_on_trial() => {
                "it comes back from an ejection, and gets one request at a time".to_owned()
            }
            (Health::Up, _) => "its checks succeed".to_owned(),
            (Health::Unchecked, _) => "it is not checked".to_owned(),
            (Health::Pending, _) => "its first check has not ended".to_owned(),
            (Health::Down, _) => match endpoint.reason() {
                Some(reason) => format!("its checks fail: {reason}"),
                None => "its checks fail".to_owned(),
            },
        };
        let why = match member.warmth.since() {
            Some(since) => {
                format!("{why}; it warms up since {} s", since.elapsed().as_secs())
            }
            None => why,
        };
        Self { eligible: endpoint.is_eligible() && !weightless, why }
    }
}
