//! How many bytes of a connection the other side has not taken yet.
//!
//! The kernel tells it of a connection that is asked for by its addresses, or by its number: with `sock_diag`, a question and an
//! answer over netlink. Where there is no answer, as outside of Linux, nothing is known.

#[cfg(target_os = "linux")]
pub(super) use linux::{of_tcp, of_unix};

#[cfg(not(target_os = "linux"))]
pub(super) use unknown::of_tcp;
#[cfg(all(unix, not(target_os = "linux")))]
pub(super) use unknown::of_unix;

#[cfg(not(target_os = "linux"))]
mod unknown {
    use tokio::net::TcpStream;

    pub(in super::super) fn of_tcp(_: &TcpStream) -> Option<u32> {
        None
    }

    #[cfg(unix)]
    pub(in super::super) fn of_unix(_: &tokio::net::UnixStream) -> Option<u32> {
        None
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::net::{IpAddr, SocketAddr};
    use std::os::fd::AsRawFd;

    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
    use nix::sys::stat::fstat;
    use tokio::net::{TcpStream, UnixStream};

    /// `SOCK_DIAG_BY_FAMILY` and `NLM_F_REQUEST` of the message's head, which has 16 bytes.
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const HEAD_BYTES: usize = 16;

    const TCP: u8 = 6;
    const ALL_STATES: u32 = u32::MAX;

    /// The queues of a Unix socket, as what is asked for and as the attribute of the answer.
    const SHOW_QUEUES: u32 = 0x10;
    const QUEUES: u16 = 4;

    /// The bytes that a TCP connection has in its queue, sent or not, without those that the other kernel has acknowledged.
    pub(in super::super) fn of_tcp(stream: &TcpStream) -> Option<u32> {
        let (local, peer) = (stream.local_addr().ok()?, stream.peer_addr().ok()?);
        let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let interface = match local {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(local) => local.scope_id(),
        };
        let mut question = vec![family as u8, TCP, 0, 0];
        question.extend(ALL_STATES.to_ne_bytes());
        question.extend(local.port().to_be_bytes());
        question.extend(peer.port().to_be_bytes());
        question.extend(address(local.ip()));
        question.extend(address(peer.ip()));
        question.extend(interface.to_ne_bytes());
        // No cookie.
        question.extend([0xff; 8]);
        // Family, state, timer, retransmits 1 each, ports and addresses 48, expires 4, received 4.
        number(&ask(&question)?, 4 + 48 + 4 + 4)
    }

    /// The memory of what the other process has not read yet of a Unix stream.
    pub(in super::super) fn of_unix(stream: &UnixStream) -> Option<u32> {
        // The kernel numbers its sockets with 32 bits.
        let number_of_socket = u32::try_from(fstat(stream).ok()?.st_ino).ok()?;
        let mut question = vec![AddressFamily::Unix as u8, 0, 0, 0];
        question.extend(ALL_STATES.to_ne_bytes());
        question.extend(number_of_socket.to_ne_bytes());
        question.extend(SHOW_QUEUES.to_ne_bytes());
        question.extend([0xff; 8]);
        let answer = ask(&question)?;
        // Family, type, state, padding 1 each, number 4, cookie 8; then attributes: length 2, type 2, the value, up to the next 4.
        let mut rest = answer.get(16..)?;
        while let [a, b, c, d, value @ ..] = rest {
            let (len, of) = (usize::from(u16::from_ne_bytes([*a, *b])), u16::from_ne_bytes([*c, *d]));
            if of == QUEUES {
                return number(value, 4);
            }
            rest = rest.get(len.max(4).next_multiple_of(4)..)?;
        }
        None
    }

    fn address(ip: IpAddr) -> [u8; 16] {
        match ip {
            IpAddr::V4(ip) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&ip.octets());
                bytes
            }
            IpAddr::V6(ip) => ip.octets(),
        }
    }

    /// The answer to a question, without its head. The kernel answers before `send` returns.
    fn ask(question: &[u8]) -> Option<Vec<u8>> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag).ok()?;
        let mut message = u32::try_from(HEAD_BYTES + question.len()).ok()?.to_ne_bytes().to_vec();
        message.extend(BY_FAMILY.to_ne_bytes());
        message.extend(REQUEST.to_ne_bytes());
        // Sequence and port: there is one question.
        message.extend([0; 8]);
        message.extend(question);
        send(netlink.as_raw_fd(), &message, MsgFlags::empty()).ok()?;
        let mut answer = vec![0; 1024];
        let len = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
        answer.truncate(len);
        let is_answer = answer.get(4..6)? == BY_FAMILY.to_ne_bytes();
        is_answer.then(|| answer.split_off(HEAD_BYTES.min(len)))
    }

    fn number(bytes: &[u8], at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    }

    #[cfg(test)]
    mod tests {
        use std::io;

        use tokio::io::AsyncReadExt;
        use tokio::net::{TcpListener, TcpStream, UnixStream};

        use super::*;

        /// Writes until there is no more room.
        fn fill(write: impl Fn(&[u8]) -> io::Result<usize>) -> usize {
            let mut written = 0;
            while let Ok(len) = write(&[b'x'; 4 << 10]) {
                written += len;
            }
            written
        }

        /// Whether the kernel answers at all: in some containers it does not.
        fn is_answered(queue: Option<u32>) -> bool {
            let answered = queue.is_some();
            assert!(answered || std::env::var_os("SPOOL_TEST_REQUIRE").is_none(), "sock_diag is there");
            if !answered {
                eprintln!("skipped: the kernel has no sock_diag");
            }
            answered
        }

        #[test]
        fn a_queue_is_empty_when_the_other_side_has_read_it() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                for host in ["127.0.0.1", "::1"] {
                    let Ok(listener) = TcpListener::bind((host, 0)).await else { continue };
                    let sender = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                    let (mut receiver, _) = listener.accept().await.unwrap();
                    if !is_answered(of_tcp(&sender)) {
                        return;
                    }
                    assert_eq!(of_tcp(&sender), Some(0), "{host}");
                    sender.writable().await.unwrap();
                    let written = fill(|bytes| sender.try_write(bytes));
                    assert!(of_tcp(&sender).unwrap() > 0, "{host}");
                    receiver.read_exact(&mut vec![0; written]).await.unwrap();
                    while of_tcp(&sender) != Some(0) {
                        tokio::task::yield_now().await;
                    }
                }
                let (sender, mut receiver) = UnixStream::pair().unwrap();
                if !is_answered(of_unix(&sender)) {
                    return;
                }
                assert_eq!(of_unix(&sender), Some(0));
                sender.writable().await.unwrap();
                sender.try_write(b"hello").unwrap();
                assert!(of_unix(&sender).unwrap() > 0);
                receiver.read_exact(&mut [0; 5]).await.unwrap();
                assert_eq!(of_unix(&sender), Some(0));
            });
        }
    }
}
