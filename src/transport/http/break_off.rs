//! [`BreakOff`]: has a client make its connections, proxy and TLS included, and send nothing on them.
//!
//! It lies around the client's own connector, so that what is looked at is what requests are sent on.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::error::BoxError;

#[derive(Clone, Copy, Debug)]
pub(super) struct BreakOff;

/// A connector whose connections are closed as soon as they are there.
#[derive(Clone, Debug)]
pub(super) struct BreakingOff<C>(C);

/// The error of a connection that was there, and is closed.
#[derive(Debug)]
struct Reached;

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was broken off on purpose")
    }
}

impl Error for Reached {}

/// Whether the error of a request says that there was a connection.
pub(super) fn reached(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(<dyn Error>::is::<Reached>)
}

impl<C> Layer<C> for BreakOff {
    type Service = BreakingOff<C>;

    fn layer(&self, connector: C) -> BreakingOff<C> {
        BreakingOff(connector)
    }
}

impl<C, R> Service<R> for BreakingOff<C>
where
    C: Service<R, Error = BoxError>,
    C::Response: Send + 'static,
    C::Future: Send + 'static,
{
    type Response = C::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<C::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let connecting = self.0.call(request);
        Box::pin(async move {
            drop(connecting.await?);
            Err(Reached.into())
        })
    }
}
