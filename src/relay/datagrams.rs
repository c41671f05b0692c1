//! Datagrams: each is one frame of Python's `DatagramHandler`. They are read as soon as they come, because the queue of a Unix socket
//! holds ten.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::observe::loss::LossReason;
use crate::relay::decoder::{Decoder, Source};
use crate::relay::http::limits::last_read;
use crate::relay::protocols::framing;

/// The largest datagram: 65,507 bytes over UDP, 212,528 over a Unix socket with the system's defaults.
const MAX_DATAGRAM: usize = 256 << 10;

/// The most that is read before it is handed over.
const HANDED_OVER: usize = 256 << 10;

/// The most datagrams of one turn: others have the thread then.
const DATAGRAMS_PER_TURN: usize = 256;

/// The turns that a relay that is stopped still takes: more than a buffer of the system holds.
const LAST_TURNS: usize = 64;

/// A socket of datagrams.
pub(crate) trait Datagrams: Send + Sync + 'static {
    /// Waits until there may be one.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Reads one, and says how many datagrams the system has dropped since the socket was opened, where it tells.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if there is none.
    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)>;
}

/// Reads datagrams until the relay is stopped, and then those that are there already.
pub(crate) async fn serve(
    socket: Arc<impl Datagrams>,
    source: Source,
    max_record_bytes: usize,
    decoder: Decoder,
    mut stop: watch::Receiver<bool>,
) {
    let decoder = decoder.of_client();
    let mut dropped = 0;
    let mut buffer = vec![0; MAX_DATAGRAM];
    let mut last_read = pin!(last_read(&mut stop));
    loop {
        let stopping = tokio::select! {
            readable = socket.readable() => readable.is_err(),
            () = &mut last_read => true,
        };
        for _ in 0..if stopping { LAST_TURNS } else { 1 } {
            let more = read_some(&*socket, &source, max_record_bytes, &decoder, &mut buffer, &mut dropped);
            // A sender that never pauses would keep the thread from all others.
            tokio::task::yield_now().await;
            if !more {
                break;
            }
        }
        if stopping {
            return;
        }
    }
}

/// Reads datagrams as long as there are some, but not too many. True if there may be more.
fn read_some(
    socket: &impl Datagrams,
    source: &Source,
    max_record_bytes: usize,
    decoder: &Decoder,
    buffer: &mut [u8],
    dropped: &mut u32,
) -> bool {
    let (mut bytes, mut frames, mut more) = (Vec::new(), Vec::new(), false);
    for turn in 1.. {
        let Ok((length, all_dropped)) = socket.read(buffer) else { break };
        if let Some(all) = all_dropped.filter(|all| all != dropped) {
            // It counts in 32 bits, and begins anew behind them.
            decoder.lose(source, LossReason::BufferFull, all.wrapping_sub(*dropped).into(), 0);
            *dropped = all;
        }
        let datagram = &buffer[..length];
        match framing::datagram(datagram) {
            Some(payload) => {
                if payload.len() > max_record_bytes {
                    decoder.lose(source, LossReason::TooLarge, 1, length);
                } else {
                    let start = bytes.len();
                    bytes.extend_from_slice(payload);
                    frames.push(start..bytes.len());
                }
            }
            None => decoder.lose(source, LossReason::BadFrame, 1, length),
        }
        if bytes.len() >= HANDED_OVER || turn == DATAGRAMS_PER_TURN {
            more = true;
            break;
        }
    }
    decoder.hand_over(source, bytes, frames);
    more
}

/// A UDP socket, which tells on Linux how many datagrams it dropped.
pub(crate) struct Udp(tokio::net::UdpSocket);

impl Udp {
    pub(crate) fn new(socket: tokio::net::UdpSocket) -> Self {
        #[cfg(target_os = "linux")]
        {
            // Without it nothing is told.
            let _ = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RxqOvfl, &1);
        }
        Self(socket)
    }
}

impl Datagrams for Udp {
    async fn readable(&self) -> io::Result<()> {
        self.0.readable().await
    }

    #[cfg(target_os = "linux")]
    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
        use std::os::fd::AsRawFd;

        use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

        self.0.try_io(tokio::io::Interest::READABLE, || {
            let mut control = nix::cmsg_space!(u32);
            let mut parts = [io::IoSliceMut::new(buffer)];
            let read = recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
            let dropped = read.cmsgs()?.find_map(|message| match message {
                ControlMessageOwned::RxqOvfl(dropped) => Some(dropped),
                _ => None,
            });
            Ok((read.bytes, dropped))
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
        self.0.try_recv(buffer).map(|length| (length, None))
    }
}

#[cfg(unix)]
impl Datagrams for tokio::net::UnixDatagram {
    async fn readable(&self) -> io::Result<()> {
        Self::readable(self).await
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
        self.try_recv(buffer).map(|length| (length, None))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::relay::http::budget::Budget;
    use crate::relay::testing::{Decoding, source};

    /// A socket whose sender never pauses.
    struct Busy {
        /// The datagrams since others had a turn.
        read: AtomicUsize,
        is_broken: bool,
    }

    impl Datagrams for Busy {
        async fn readable(&self) -> io::Result<()> {
            if self.is_broken { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        }

        fn read(&self, _: &mut [u8]) -> io::Result<(usize, Option<u32>)> {
            assert!(self.read.fetch_add(1, Ordering::Relaxed) < DATAGRAMS_PER_TURN, "others have no turn");
            Ok((0, None))
        }
    }

    #[tokio::test]
    async fn a_sender_that_never_pauses_leaves_the_thread_to_others_after_each_turn() {
        // The last turns of a socket are several without a wait.
        for is_broken in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let decoding = Decoding::start(dir.path(), Budget::new(1 << 20));
            let socket = Arc::new(Busy { read: AtomicUsize::new(0), is_broken });
            let (_stop, stopped) = watch::channel(false);
            let serving = serve(socket.clone(), source(), 1 << 20, decoding.decoder.clone(), stopped);
            let others = async {
                let mut read = 0;
                for _ in 0..LAST_TURNS {
                    tokio::task::yield_now().await;
                    read += socket.read.swap(0, Ordering::Relaxed);
                }
                read
            };
            let read = tokio::select! {
                biased;
                read = others => read,
                () = serving => panic!("it ends after its last turns"),
            };
            assert_eq!(read, LAST_TURNS * DATAGRAMS_PER_TURN);
        }
    }
}
