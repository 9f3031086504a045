//! A conduct in front of the driver's services.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::HeaderValue;
use http_body_util::BodyExt as _;
use prost::bytes::Bytes;
use tonic::{body::Body, codegen::Service, service::Routes};
use tower::{ServiceExt as _, layer::layer_fn};

use super::{
    conduct::{Conduct, Step},
    frame,
    past::{Answer, Past},
};
use crate::{history::Request, spec::Rpc};

/// Puts a conduct in front of all services.
pub fn layered(routes: Routes, conduct: Conduct) -> Routes {
    let front = Arc::new(Front { routes: routes.clone(), conduct, past: Past::default() });
    let router = routes.into_axum_router().layer(layer_fn(move |_| Layered(front.clone())));
    Routes::from(router)
}

struct Front {
    routes: Routes,
    conduct: Conduct,
    past: Past,
}

#[derive(Clone)]
struct Layered(Arc<Front>);

impl<B> Service<http::Request<B>> for Layered
where
    B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Into<tower::BoxError> + Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let front = self.0.clone();
        Box::pin(async move { Ok(front.serve(request).await) })
    }
}

impl Front {
    async fn serve<B>(self: Arc<Self>, request: http::Request<B>) -> http::Response<Body>
    where
        B: tonic::codegen::Body<Data = Bytes> + Send + 'static,
        B::Error: std::fmt::Display + Into<tower::BoxError> + Send,
    {
        let (head, body) = request.into_parts();
        let rpc = Rpc::ALL.iter().copied().find(|rpc| rpc.path() == head.uri.path());
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => return tonic::Status::internal(error.to_string()).into_http(),
        };
        let read = rpc.and_then(|rpc| frame::read_request(rpc, body.clone()));
        let Some(request) = read else {
            // Not ours to understand: the driver itself says so.
            let whole = http::Request::from_parts(head, Body::new(http_body_util::Full::new(body)));
            return forward(&self.routes, whole).await;
        };
        let timeout = head.headers.get("grpc-timeout").cloned();
        // A task of its own: the driver's work goes on when the caller gives up, and a panic is told to the caller only.
        let answered = tokio::spawn(async move { self.answer(request, timeout).await });
        match answered.await {
            Ok(answer) => frame::response(answer),
            Err(panic) => tonic::Status::unknown(format!("panic: {panic}")).into_http(),
        }
    }

    async fn answer(&self, request: Request, timeout: Option<HeaderValue>) -> Answer {
        let in_a_hurry = timeout.as_ref().and_then(frame::timeout).is_some_and(|timeout| timeout <= HURRY);
        if let Some(point) = self.conduct.pause_point() {
            point.arrive(&request).await;
        }
        let step = self.conduct.decide(request.clone(), in_a_hurry, &self.past);
        let answer = match step {
            Step::Ask(asked) => self.honest(&asked, timeout).await,
            Step::AskAlso(first, asked) => {
                for one in &first {
                    // Its answer is not for the caller, who did not ask.
                    let _ = self.honest(one, None).await;
                }
                self.honest(&asked, timeout).await
            }
            Step::AskThen(asked, afterwards) => {
                let answer = self.honest(&asked, timeout).await;
                for one in &afterwards {
                    let _ = self.honest(one, None).await;
                }
                answer
            }
            Step::Answer(answer) => answer,
            Step::Late(asked, pause) => {
                tokio::time::sleep(pause).await;
                self.honest(&asked, timeout).await
            }
            Step::Hang => std::future::pending().await,
        };
        let answer = self.conduct.conclude(&request, answer, &self.past);
        self.past.remember(request, answer.clone());
        answer
    }

    async fn honest(&self, request: &Request, timeout: Option<HeaderValue>) -> Answer {
        let response = forward(&self.routes, frame::http_request(request, timeout)).await;
        frame::read_answer(request.rpc(), response).await
    }
}

/// Who waits no longer than this is gone before any backend has answered.
const HURRY: Duration = Duration::from_millis(400);

async fn forward(routes: &Routes, request: http::Request<Body>) -> http::Response<Body> {
    match routes.clone().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}
