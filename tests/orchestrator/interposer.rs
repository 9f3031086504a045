//! A driver that answers some calls as a script says, and all others itself.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
};

use csi_certify::sut::InProcess;
use tonic::{Code, Status, body::Body, service::Routes};
use tower::{Service as _, service_fn};

/// What is done to one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// The driver sees nothing of it and this is answered.
    Refuse(Code),
    /// The driver sees nothing of it and nothing is answered.
    Swallow,
    /// The driver carries it out and its answer never comes.
    Silence,
    /// The driver carries it out.
    Pass,
}

/// What is done to the next calls, by the name of the RPC.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script(Arc<Mutex<BTreeMap<String, Vec<Act>>>>);

impl Script {
    /// Does this to the next calls of an RPC.
    pub(crate) fn next(&self, rpc: &str, acts: &[Act]) {
        self.0.lock().unwrap().entry(rpc.to_owned()).or_default().extend(acts);
    }

    fn take(&self, rpc: &str) -> Act {
        let mut acts = self.0.lock().unwrap();
        match acts.get_mut(rpc) {
            Some(acts) if !acts.is_empty() => acts.remove(0),
            _ => Act::Pass,
        }
    }

    /// The services behind the script.
    pub(crate) fn before(&self, routes: Routes) -> InProcess {
        let script = self.clone();
        InProcess::new(service_fn(move |request: http::Request<Body>| {
            let act = script.take(request.uri().path().rsplit('/').next().unwrap_or_default());
            let mut routes = routes.clone();
            async move {
                match act {
                    Act::Refuse(code) => Ok(Status::new(code, "as the script says").into_http()),
                    Act::Swallow => pending().await,
                    Act::Silence => {
                        let _ = routes.call(request).await;
                        pending().await
                    }
                    Act::Pass => routes.call(request).await,
                }
            }
        }))
    }
}
