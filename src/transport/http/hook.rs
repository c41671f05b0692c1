//! The header hook: the user's function that sees a batch and its headers before every attempt.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::error::BoxError;
use crate::transport::http::headers::HeaderMap;
use crate::transport::request::BatchContext;

type HookFuture = Pin<Box<dyn Future<Output = Result<HeaderMap, BoxError>> + Send>>;
type SyncHook = dyn Fn(&BatchContext, &mut HeaderMap) -> Result<(), BoxError> + Send + Sync;
type AsyncHook = dyn Fn(BatchContext, HeaderMap) -> HookFuture + Send + Sync;

#[derive(Default)]
pub(crate) enum HeaderHook {
    #[default]
    None,
    Sync(Box<SyncHook>),
    Async(Box<AsyncHook>, Duration),
}

impl HeaderHook {
    pub(crate) fn asynchronous<F, Fut>(hook: F) -> Self
    where
        F: Fn(BatchContext, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, BoxError>> + Send + 'static,
    {
        Self::Async(Box::new(move |batch, headers| Box::pin(hook(batch, headers))), Duration::MAX)
    }

    /// Bounds how long an asynchronous hook may take. A synchronous one cannot be stopped.
    pub(crate) fn within(self, limit: Duration) -> Self {
        match self {
            Self::Async(hook, _) => Self::Async(hook, limit),
            other => other,
        }
    }

    pub(crate) async fn call(&self, batch: &BatchContext, mut headers: HeaderMap) -> Result<HeaderMap, BoxError> {
        match self {
            Self::None => Ok(headers),
            Self::Sync(hook) => hook(batch, &mut headers).map(|()| headers),
            Self::Async(hook, limit) => match tokio::time::timeout(*limit, hook(batch.clone(), headers)).await {
                Ok(result) => result,
                Err(_) => Err(format!("the hook did not return within {limit:?}").into()),
            },
        }
    }
}
