//! Committing on a panic: a hook of the process that has buffers committed before a panic goes on. It waits for no lock.

use std::panic::{PanicHookInfo, set_hook, take_hook};
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

use opentelemetry::Context;

use crate::exporter::spool_processor::buffer::Buffer;
use crate::process::check_process;

/// The longest that a thread which panics waits.
const PATIENCE: Duration = Duration::from_millis(200);

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(1);

/// The buffers that are committed.
static BUFFERS: Mutex<Vec<Weak<Buffer>>> = Mutex::new(Vec::new());

/// Has a buffer committed whenever a thread of the process panics.
pub(super) fn add(buffer: &Arc<Buffer>) {
    static HOOK: Once = Once::new();
    let mut buffers = BUFFERS.lock().unwrap_or_else(PoisonError::into_inner);
    buffers.retain(|buffer| buffer.strong_count() > 0);
    buffers.push(Arc::downgrade(buffer));
    drop(buffers);
    // A thread that panics may not set a hook.
    if !std::thread::panicking() {
        HOOK.call_once(|| {
            let before = take_hook();
            set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
                // It may log the panic.
                before(panic);
                commit();
            }));
        });
    }
}

fn commit() {
    // A panic of an encoder, or on a thread of this crate, is contained, and in a forked process nobody commits.
    if Context::is_current_telemetry_suppressed() || check_process().is_err() {
        return;
    }
    let Ok(buffers) = BUFFERS.try_lock().map(|buffers| buffers.iter().filter_map(Weak::upgrade).collect::<Vec<_>>())
    else {
        return;
    };
    let begun = Instant::now();
    let mut waiting: Vec<_> = buffers.into_iter().map(|buffer| (buffer, None)).collect();
    while !waiting.is_empty() && begun.elapsed() < PATIENCE {
        waiting.retain_mut(|(buffer, asked)| {
            *asked = asked.or_else(|| buffer.try_commit_soon());
            asked.and_then(|records| buffer.try_has_committed(records)) != Some(true)
        });
        if !waiting.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
}
