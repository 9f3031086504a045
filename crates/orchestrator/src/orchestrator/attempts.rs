//! Calls that may still be under way: an orchestrator that keeps its duties repeats them as they were made first.
//!
//! A driver resumes, or reports, what a call began earlier where it is repeated with unchanged fields (specification
//! line 491). Kubernetes reads secrets and classes anew for each call (facts, D-18).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::csi_client::RpcError;
use crate::history::Request;

/// The calls of all components that began and had no answer that ends them; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Attempts(Arc<Mutex<Vec<Attempt>>>);

#[derive(Clone, Debug)]
struct Attempt {
    component: String,
    request: Request,
}

impl Attempts {
    /// The request as it was made first, where it may be under way from then on. Noted before it is made: it may be the
    /// last thing that its component does.
    pub(super) fn begin(&self, component: &str, request: Request) -> Request {
        let mut attempts = self.attempts();
        let first = attempts.iter().find(|one| one.component == component && is_repeated(&one.request, &request));
        if let Some(first) = first {
            return first.request.clone();
        }
        if request.secrets().is_some() {
            attempts.push(Attempt { component: component.to_owned(), request: request.clone() });
        }
        request
    }

    /// A call has ended: with this error, or with success.
    pub(super) fn end(&self, component: &str, request: &Request, error: Option<&RpcError>) {
        if error.is_some_and(RpcError::is_in_background) {
            return;
        }
        let is_over = |attempt: &Attempt| {
            attempt.component == component
                && (attempt.request == *request || error.is_none() && undoes(request, &attempt.request))
        };
        self.attempts().retain(|attempt| !is_over(attempt));
    }

    fn attempts(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a request is the first one again. What is created is known by its name, all else by all but its secrets.
fn is_repeated(first: &Request, request: &Request) -> bool {
    match (first, request) {
        (Request::CreateVolume(first), Request::CreateVolume(request)) => first.name == request.name,
        (Request::CreateSnapshot(first), Request::CreateSnapshot(request)) => first.name == request.name,
        (Request::CreateVolumeGroupSnapshot(first), Request::CreateVolumeGroupSnapshot(request)) => {
            first.name == request.name
        }
        (first, request) => first.rpc() == request.rpc() && without_secrets(first) == without_secrets(request),
    }
}

fn without_secrets(request: &Request) -> impl PartialEq + use<> {
    let mut message = request.to_dynamic();
    message.clear_field_by_name("secrets");
    message
}

/// Whether the success of a request ends what another may have begun.
fn undoes(request: &Request, other: &Request) -> bool {
    match (request, other) {
        (Request::ControllerUnpublishVolume(request), Request::ControllerPublishVolume(other)) => {
            request.volume_id == other.volume_id && request.node_id == other.node_id
        }
        (Request::NodeUnstageVolume(request), Request::NodeStageVolume(other)) => {
            request.volume_id == other.volume_id && request.staging_target_path == other.staging_target_path
        }
        (Request::NodeUnpublishVolume(request), Request::NodePublishVolume(other)) => {
            request.volume_id == other.volume_id && request.target_path == other.target_path
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{csi::v1, spec::Rpc};

    fn stage(path: &str, secret: &str) -> Request {
        let secrets = [("token".to_owned(), secret.to_owned())].into();
        let staging_target_path = path.to_owned();
        v1::NodeStageVolumeRequest { staging_target_path, secrets, ..Default::default() }.into()
    }

    fn error(code: i32) -> RpcError {
        RpcError { rpc: Rpc::NodeStageVolume, code: Some(code), answer: String::new() }
    }

    #[test]
    fn what_may_be_under_way_is_repeated_as_it_was_and_what_has_ended_is_not() {
        let attempts = Attempts::default();
        let (old, new) = (stage("/a", "old"), stage("/a", "new"));
        assert_eq!(attempts.begin("k", old.clone()), old);
        assert_eq!(attempts.begin("k", new.clone()), old, "its component may have ended in the middle");
        assert_eq!(attempts.begin("k", stage("/b", "new")), stage("/b", "new"), "another one");
        assert_eq!(attempts.begin("l", new.clone()), new, "of another component");
        attempts.end("k", &old, Some(&error(4)));
        assert_eq!(attempts.begin("k", new.clone()), old, "its time ran out");
        attempts.end("k", &old, Some(&error(16)));
        assert_eq!(attempts.begin("k", new.clone()), new, "it was refused");
        attempts.end("k", &new, None);
        assert_eq!(attempts.begin("k", old.clone()), old, "it has succeeded");
    }

    #[test]
    fn what_was_undone_has_ended() {
        let attempts = Attempts::default();
        let (old, new) = (stage("/a", "old"), stage("/a", "new"));
        attempts.begin("k", old.clone());
        let undo =
            |path: &str| v1::NodeUnstageVolumeRequest { staging_target_path: path.into(), ..Default::default() }.into();
        attempts.end("k", &undo("/b"), None);
        attempts.end("k", &undo("/a"), Some(&error(13)));
        assert_eq!(attempts.begin("k", new.clone()), old);
        attempts.end("k", &undo("/a"), None);
        assert_eq!(attempts.begin("k", new.clone()), new);
    }

    #[test]
    fn what_is_created_is_known_by_its_name() {
        let create = |name: &str, tier: &str| -> Request {
            let parameters = [("tier".to_owned(), tier.to_owned())].into();
            v1::CreateVolumeRequest { name: name.into(), parameters, ..Default::default() }.into()
        };
        let attempts = Attempts::default();
        attempts.begin("p", create("a", "slow"));
        assert_eq!(attempts.begin("p", create("a", "fast")), create("a", "slow"));
        assert_eq!(attempts.begin("p", create("b", "fast")), create("b", "fast"));
    }
}
