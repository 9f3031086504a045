//! A driver that answers some calls as a script says, and all others itself.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, Mutex},
};

use csi_certify::{csi::v1, sut::InProcess};
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use prost::{Message, bytes::Bytes};
use tokio::sync::Notify;
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
    /// The driver sees nothing of it and the connection breaks.
    Break,
    /// The driver sees nothing of it and OK is answered, with a message that says nothing.
    Accept,
    /// The driver carries it out, and the volume of its answer is smaller than any request.
    Shrink,
    /// The driver carries it out, and the snapshot of its answer is not ready.
    Unready,
    /// The driver carries it out and this is answered.
    Fail(Code),
    /// The driver carries it out.
    Pass,
}

/// What is done to the next calls, by the name of the RPC.
#[derive(Clone, Default)]
pub(crate) struct Script {
    acts: Arc<Mutex<BTreeMap<String, Vec<Act>>>>,
    answers: Arc<Mutex<Option<Answered>>>,
    silence: Arc<Mutex<Option<Silence>>>,
}

/// One call, by its number, that never gets an answer.
struct Silence {
    calls_before: usize,
    met: Arc<Notify>,
}

/// Told the name of an RPC and the code of its answer.
type Answered = Box<dyn Fn(&str, Code) + Send>;

impl Script {
    /// Does this to the next calls of an RPC.
    pub(crate) fn next(&self, rpc: &str, acts: &[Act]) {
        self.acts.lock().unwrap().entry(rpc.to_owned()).or_default().extend(acts);
    }

    /// Lets the driver carry out the call that comes after so many others, and never answers it; tells when it was carried
    /// out.
    pub(crate) fn silence_call(&self, calls_before: usize) -> Arc<Notify> {
        let met = Arc::new(Notify::new());
        *self.silence.lock().unwrap() = Some(Silence { calls_before, met: met.clone() });
        met
    }

    fn is_silenced(&self) -> Option<Arc<Notify>> {
        let mut silence = self.silence.lock().unwrap();
        let next = silence.as_mut()?;
        if next.calls_before > 0 {
            next.calls_before -= 1;
            return None;
        }
        silence.take().map(|silence| silence.met)
    }

    /// Tells of every answer from now on.
    pub(crate) fn watch(&self, answered: impl Fn(&str, Code) + Send + 'static) {
        *self.answers.lock().unwrap() = Some(Box::new(answered));
    }

    fn answered(&self, rpc: &str, answer: &http::Response<Body>) {
        let code = answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        if let Some(answered) = &*self.answers.lock().unwrap() {
            answered(rpc, code);
        }
    }

    fn take(&self, rpc: &str) -> Act {
        let mut acts = self.acts.lock().unwrap();
        match acts.get_mut(rpc) {
            Some(acts) if !acts.is_empty() => acts.remove(0),
            _ => Act::Pass,
        }
    }

    /// The services behind the script.
    pub(crate) fn before(&self, routes: Routes) -> InProcess {
        let script = self.clone();
        InProcess::new(service_fn(move |request: http::Request<Body>| {
            let rpc = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
            let act = script.take(&rpc);
            let silenced = script.is_silenced();
            let (mut routes, script) = (routes.clone(), script.clone());
            async move {
                if let Some(met) = silenced {
                    let _ = routes.call(request).await;
                    met.notify_one();
                    return pending().await;
                }
                let answer = match act {
                    Act::Refuse(code) => Ok(Status::new(code, "as the script says").into_http()),
                    Act::Swallow => pending().await,
                    Act::Silence => {
                        let _ = routes.call(request).await;
                        pending().await
                    }
                    Act::Break => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
                    Act::Accept => Ok(reply(&[], HeaderMap::new())),
                    Act::Shrink => Ok(rewritten(done(&mut routes, request).await, shrink).await),
                    Act::Unready => Ok(rewritten(done(&mut routes, request).await, unready).await),
                    Act::Fail(code) => {
                        let _ = done(&mut routes, request).await;
                        Ok(Status::new(code, "as the script says").into_http())
                    }
                    Act::Pass => routes.call(request).await,
                };
                let answer = answer.unwrap_or_else(|never: Infallible| match never {});
                script.answered(&rpc, &answer);
                Ok::<_, tower::BoxError>(answer)
            }
        }))
    }
}

/// A message on its way to a client.
fn reply(message: &[u8], mut trailers: HeaderMap) -> http::Response<Body> {
    let mut frame = vec![0];
    frame.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    frame.extend(message);
    trailers.entry("grpc-status").or_insert(HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(frame)).map_err(|never| match never {});
    let body = body.with_trailers(std::future::ready(Some(Ok::<_, Status>(trailers))));
    http::Response::builder().header("content-type", "application/grpc").body(Body::new(body)).unwrap()
}

async fn done(routes: &mut Routes, request: http::Request<Body>) -> http::Response<Body> {
    routes.call(request).await.unwrap_or_else(|never| match never {})
}

fn shrink(message: &mut v1::CreateVolumeResponse) {
    message.volume.as_mut().unwrap().capacity_bytes = 1;
}

fn unready(message: &mut v1::CreateSnapshotResponse) {
    message.snapshot.as_mut().unwrap().ready_to_use = false;
}

/// The same answer, with another message.
async fn rewritten<M: Message + Default>(
    answer: http::Response<Body>,
    rewrite: impl FnOnce(&mut M),
) -> http::Response<Body> {
    let collected = answer.into_body().collect().await.unwrap();
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let bytes = collected.to_bytes();
    // The message comes after a flag and its length.
    let mut message = M::decode(&bytes[5..]).unwrap();
    rewrite(&mut message);
    reply(&message.encode_to_vec(), trailers)
}
