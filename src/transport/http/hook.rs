//! The header hook: the user's function that sees a batch and its headers before every attempt.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::task::Poll;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::BoxError;
use crate::process;
use crate::transport::http::headers::HeaderMap;
use crate::transport::request::BatchContext;

type HookFuture = Pin<Box<dyn Future<Output = Result<HeaderMap, BoxError>> + Send>>;
type SyncHook = dyn Fn(&BatchContext, &mut HeaderMap) -> Result<(), BoxError> + Send + Sync;
type AsyncHook = dyn Fn(BatchContext, HeaderMap) -> HookFuture + Send + Sync;

/// The hook that is set.
#[derive(Clone, Default)]
pub(crate) enum HeaderHook {
    #[default]
    None,
    Sync(Arc<SyncHook>),
    Async(Arc<AsyncHook>),
}

impl HeaderHook {
    pub(crate) fn asynchronous<F, Fut>(hook: F) -> Self
    where
        F: Fn(BatchContext, HeaderMap) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HeaderMap, BoxError>> + Send + 'static,
    {
        Self::Async(Arc::new(move |batch, headers| Box::pin(hook(batch, headers))))
    }

    /// Makes it ready to be called. An asynchronous one may take so long; a synchronous one cannot be stopped.
    pub(crate) fn open(self, limit: Duration) -> io::Result<OpenHook> {
        Ok(match self {
            Self::None => OpenHook::None,
            Self::Sync(hook) => OpenHook::Sync(HookThread::start(hook)?),
            Self::Async(hook) => OpenHook::Async(hook, limit),
        })
    }
}

/// The hook of a transport that is open.
pub(crate) enum OpenHook {
    None,
    Sync(HookThread),
    Async(Arc<AsyncHook>, Duration),
}

impl OpenHook {
    pub(crate) async fn call(&self, batch: &BatchContext, headers: HeaderMap) -> Result<HeaderMap, BoxError> {
        match self {
            Self::None => Ok(headers),
            Self::Sync(hook) => hook.call(batch.clone(), headers).await,
            Self::Async(hook, limit) => {
                let mut called = catch_unwind(AssertUnwindSafe(|| hook(batch.clone(), headers)))
                    .map_err(|panic| panicked(&*panic))?;
                let polled = poll_fn(|context| {
                    let poll = catch_unwind(AssertUnwindSafe(|| called.as_mut().poll(context)));
                    poll.unwrap_or_else(|panic| Poll::Ready(Err(panicked(&*panic))))
                });
                match tokio::time::timeout(*limit, polled).await {
                    Ok(result) => result,
                    Err(_) => Err(format!("the hook did not return within {limit:?}").into()),
                }
            }
        }
    }
}

/// The error of a hook that panicked, with what it said.
fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.map_or_else(|| "it panicked".into(), |words| format!("it panicked: {words}").into())
}

/// A synchronous hook on a thread of its own, which calls it for one batch after the other: the delivery thread is that of other
/// exporters as well, and a hook may block. When this is dropped, the hook is not called any more.
pub(crate) struct HookThread {
    calls: Option<Sender<Call>>,
    thread: Option<JoinHandle<()>>,
}

struct Call {
    batch: BatchContext,
    headers: HeaderMap,
    result: oneshot::Sender<thread::Result<Result<HeaderMap, BoxError>>>,
}

impl HookThread {
    fn start(hook: Arc<SyncHook>) -> io::Result<Self> {
        let (calls, received) = channel::<Call>();
        let thread = process::spawn("hook", move || {
            for Call { batch, mut headers, result } in received {
                // Nobody waits for an attempt that was broken off.
                if !result.is_closed() {
                    let call = || hook(&batch, &mut headers).map(|()| headers);
                    let _ = result.send(catch_unwind(AssertUnwindSafe(call)));
                }
            }
        })?;
        Ok(Self { calls: Some(calls), thread: Some(thread) })
    }

    async fn call(&self, batch: BatchContext, headers: HeaderMap) -> Result<HeaderMap, BoxError> {
        let (result, returned) = oneshot::channel();
        if let Some(calls) = &self.calls {
            // Without a thread, `returned` says so.
            let _ = calls.send(Call { batch, headers, result });
        }
        match returned.await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(panicked(&*panic)),
            Err(_) => Err("the thread of the hook has ended".into()),
        }
    }
}

impl Drop for HookThread {
    fn drop(&mut self) {
        drop(self.calls.take());
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::sync::{Arc, Mutex};
    use std::thread::ThreadId;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn a_synchronous_hook_is_called_on_one_other_thread_and_may_panic_there() {
        let threads: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        let called = threads.clone();
        let hook = HeaderHook::Sync(Arc::new(move |batch, headers| {
            called.lock().unwrap().push(thread::current().id());
            assert!(batch.id() != "panics", "a panic that is asked for");
            Ok(headers.insert("x-id", batch.id())?)
        }));
        let hook = Arc::new(hook.open(Duration::MAX).unwrap());
        runtime().block_on(async {
            let call = |id: &'static str| {
                let hook = hook.clone();
                tokio::spawn(async move { hook.call(&BatchContext::new(id, ""), HeaderMap::new()).await })
            };
            let (one, panics, other) = (call("one"), call("panics"), call("other"));
            assert_eq!(one.await.unwrap().unwrap().get("x-id"), Some("one"));
            let error = panics.await.unwrap().unwrap_err();
            assert_eq!(error.to_string(), "it panicked: a panic that is asked for");
            assert_eq!(other.await.unwrap().unwrap().get("x-id"), Some("other"));
        });
        let threads = threads.lock().unwrap();
        assert!(threads.len() == 3 && threads.iter().all(|id| *id == threads[0] && *id != thread::current().id()));
    }

    #[test]
    fn an_asynchronous_hook_that_panics_fails_whether_it_is_called_or_polled() {
        let called = HeaderHook::asynchronous(|batch, headers| {
            let number: u8 = batch.id().parse().expect("no number");
            async move {
                tokio::task::yield_now().await;
                assert!(number > 1, "too small: {number}");
                Ok(headers)
            }
        });
        let hook = called.open(Duration::from_secs(600)).unwrap();
        runtime().block_on(async {
            let call = async |id| {
                hook.call(&BatchContext::new(id, ""), HeaderMap::new()).await.map_err(|error| error.to_string())
            };
            assert_eq!(call("1").await.unwrap_err(), "it panicked: too small: 1");
            assert!(call("one").await.unwrap_err().starts_with("it panicked: no number: "));
            assert!(call("2").await.is_ok());
        });
    }

    #[test]
    fn a_call_that_was_broken_off_is_not_made_and_none_is_after_the_end() {
        let ((called, calls), (release, released)) = (channel(), channel::<()>());
        let released = Mutex::new(released);
        let hook = HeaderHook::Sync(Arc::new(move |batch, _| {
            called.send(batch.id().to_owned())?;
            let _ = released.lock().unwrap().recv();
            Ok(())
        }));
        let hook = Arc::new(hook.open(Duration::MAX).unwrap());
        runtime().block_on(async {
            let mut waiting = Vec::new();
            for id in ["first", "second"] {
                let hook = hook.clone();
                waiting
                    .push(tokio::spawn(async move { hook.call(&BatchContext::new(id, ""), HeaderMap::new()).await }));
                tokio::task::yield_now().await;
            }
            assert_eq!(calls.recv().unwrap(), "first");
            for attempt in waiting {
                attempt.abort();
                assert!(attempt.await.unwrap_err().is_cancelled());
            }
        });
        drop(release);
        drop(hook);
        assert!(calls.recv().is_err());
    }
}
