//! [`Listener`]: a socket that the relay listens on, what is spoken there, and how it is bound.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

use crate::error::ExporterBuildError;

/// How many connections may wait to be accepted: a client of Python gives up after a second.
const BACKLOG: i32 = 1024;

/// The buffer that is asked for each datagram socket: the system's default holds some 166 records.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// A socket that a relay listens on, and what is spoken there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Listener {
    /// Frames of Python's `SocketHandler`, and logserv, over TCP. Port 9020 is Python's.
    Tcp(SocketAddr),
    /// Frames of Python's `DatagramHandler` over UDP. Port 9021 is Python's.
    Udp(SocketAddr),
    /// The same as [`Tcp`](Self::Tcp) over a Unix socket, which only its owner can open.
    Unix(PathBuf),
    /// The same as [`Udp`](Self::Udp) over a Unix socket, which only its owner can open.
    UnixDatagram(PathBuf),
    /// Every protocol over HTTP: Python's `HTTPHandler`, http-logging, text, lines of JSON, OTLP. Port 9022 is Python's.
    Http(SocketAddr),
    /// The same as [`Http`](Self::Http), on the port of OTLP, 4318.
    Otlp(SocketAddr),
}

impl Listener {
    /// [`Tcp`](Self::Tcp) on 127.0.0.1:9020.
    pub const DEFAULT_TCP: SocketAddr = local(9020);
    /// [`Udp`](Self::Udp) on 127.0.0.1:9021.
    pub const DEFAULT_UDP: SocketAddr = local(9021);
    /// [`Http`](Self::Http) on 127.0.0.1:9022.
    pub const DEFAULT_HTTP: SocketAddr = local(9022);
    /// [`Otlp`](Self::Otlp) on 127.0.0.1:4318.
    pub const DEFAULT_OTLP: SocketAddr = local(4318);

    /// The name in counts, in `LISTEN_FDNAMES` and in `extra.relay`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Unix(_) => "unix",
            Self::UnixDatagram(_) => "unix-datagram",
            Self::Http(_) => "http",
            Self::Otlp(_) => "otlp",
        }
    }

    /// The address, if it is one of a network.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) | Self::Udp(address) | Self::Http(address) | Self::Otlp(address) => Some(*address),
            Self::Unix(_) | Self::UnixDatagram(_) => None,
        }
    }

    /// The path, if it is a Unix socket.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) | Self::UnixDatagram(path) => Some(path),
            Self::Tcp(_) | Self::Udp(_) | Self::Http(_) | Self::Otlp(_) => None,
        }
    }

    /// The same with the address that was bound, where the port was 0.
    pub(crate) fn bound_to(&self, address: Option<SocketAddr>) -> Self {
        match (self, address) {
            (Self::Tcp(_), Some(address)) => Self::Tcp(address),
            (Self::Udp(_), Some(address)) => Self::Udp(address),
            (Self::Http(_), Some(address)) => Self::Http(address),
            (Self::Otlp(_), Some(address)) => Self::Otlp(address),
            _ => self.clone(),
        }
    }

    /// Whether both cannot be bound: they have one path, or one port at the same addresses.
    pub(crate) fn collides(&self, other: &Self) -> bool {
        let is_udp = |listener: &Self| matches!(listener, Self::Udp(_));
        match (self.address(), other.address()) {
            (Some(one), Some(two)) => {
                let at_all = |address: SocketAddr| address.ip().is_unspecified();
                let overlaps = one.is_ipv4() == two.is_ipv4() && (at_all(one) || at_all(two));
                one.port() != 0
                    && one.port() == two.port()
                    && (one.ip() == two.ip() || overlaps)
                    && is_udp(self) == is_udp(other)
            }
            _ => self.path().is_some() && self.path() == other.path(),
        }
    }

    /// Whether only processes of this host can reach it.
    pub(crate) fn is_local(&self) -> bool {
        self.address().is_none_or(|address| address.ip().is_loopback())
    }

    /// Names the listener in an error of the system.
    pub(crate) fn error(&self) -> impl FnOnce(io::Error) -> ExporterBuildError + use<> {
        let listener = self.to_string();
        |error| ExporterBuildError::Listen { listener, error }
    }

    /// Binds the socket, and listens where it has connections.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub(crate) fn bind(&self) -> io::Result<Bound> {
        let socket = match self {
            Self::Tcp(address) | Self::Http(address) | Self::Otlp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, Some(Protocol::TCP))?;
                // A relay that was killed can start again at once. On Windows the option means another thing.
                #[cfg(unix)]
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                socket
            }
            Self::Udp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::DGRAM, Some(Protocol::UDP))?;
                socket.bind(&(*address).into())?;
                // The system gives what it allows.
                let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
                socket
            }
            #[cfg(unix)]
            Self::Unix(path) => {
                let socket = unix::bind(path, Type::STREAM)?;
                socket.listen(BACKLOG)?;
                socket
            }
            #[cfg(unix)]
            Self::UnixDatagram(path) => {
                let socket = unix::bind(path, Type::DGRAM)?;
                let _ = socket.set_recv_buffer_size(DATAGRAM_BUFFER);
                socket
            }
            #[cfg(not(unix))]
            Self::Unix(_) | Self::UnixDatagram(_) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "this system has no Unix sockets"));
            }
        };
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?.as_socket();
        let file = self.path().map(Path::to_path_buf);
        Ok(Bound { listener: self.bound_to(address), socket, file })
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) | Self::Http(address) | Self::Otlp(address) => {
                write!(f, "{} {address}", self.name())
            }
            Self::Unix(path) | Self::UnixDatagram(path) => write!(f, "{} {}", self.name(), path.display()),
        }
    }
}

/// A socket that is bound.
#[derive(Debug)]
pub(crate) struct Bound {
    /// With the address that it has.
    pub(crate) listener: Listener,
    pub(crate) socket: Socket,
    /// A file that was made for it, to be removed with it.
    pub(crate) file: Option<PathBuf>,
}

const fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::path::Path;

    use socket2::{Domain, SockAddr, Socket, Type};

    /// Binds a Unix socket that its owner alone can open. A socket that nobody listens on makes way; anything else is an error.
    pub(super) fn bind(path: &Path, kind: Type) -> io::Result<Socket> {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.file_type().is_socket() {
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file that is no socket"));
            }
            if is_used(path, kind)? {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another process listens there"));
            }
            fs::remove_file(path).or_else(|error| ignore(error, io::ErrorKind::NotFound))?;
        }
        // Bound under another name, so that nobody opens it before its mode is set.
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = Path::new(&name);
        let _ = fs::remove_file(new);
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.bind(&SockAddr::unix(new)?)?;
        let placed = fs::set_permissions(new, fs::Permissions::from_mode(0o600)).and_then(|()| fs::rename(new, path));
        placed.inspect_err(|_| drop(fs::remove_file(new)))?;
        Ok(socket)
    }

    /// Whether a process has the socket at this path open. It may be of another kind, or have no room for a connection: only a
    /// refusal says that nobody is there.
    fn is_used(path: &Path, kind: Type) -> io::Result<bool> {
        let socket = Socket::new(Domain::UNIX, kind, None)?;
        socket.set_nonblocking(true)?;
        match socket.connect(&SockAddr::unix(path)?).map_err(|error| error.kind()) {
            Err(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(false),
            _ => Ok(true),
        }
    }

    fn ignore(error: io::Error, kind: io::ErrorKind) -> io::Result<()> {
        if error.kind() == kind { Ok(()) } else { Err(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_bound_and_known() {
        let bound = Listener::Tcp(local(0)).bind().unwrap();
        let Listener::Tcp(address) = bound.listener else { panic!("{:?}", bound.listener) };
        assert_ne!(address.port(), 0);
        let second = Listener::Tcp(address).bind().unwrap_err();
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        let Listener::Udp(address) = Listener::Udp(local(0)).bind().unwrap().listener else { panic!("no UDP") };
        assert_ne!(address.port(), 0);
    }

    #[test]
    fn two_listeners_collide_where_only_one_can_be_bound() {
        let (tcp, udp) = (|at: &str| Listener::Tcp(at.parse().unwrap()), |at: &str| Listener::Udp(at.parse().unwrap()));
        let http = |at: &str| Listener::Http(at.parse().unwrap());
        let path = || "/run/log.sock".into();
        for (one, other, expected) in [
            (tcp("127.0.0.1:1"), http("127.0.0.1:1"), true),
            (tcp("127.0.0.1:1"), http("0.0.0.0:1"), true),
            (tcp("[::1]:1"), http("[::]:1"), true),
            (udp("127.0.0.1:1"), udp("127.0.0.1:1"), true),
            (Listener::Unix(path()), Listener::UnixDatagram(path()), true),
            (tcp("127.0.0.1:1"), udp("127.0.0.1:1"), false),
            (tcp("127.0.0.1:1"), http("127.0.0.2:1"), false),
            (tcp("127.0.0.1:1"), http("127.0.0.1:2"), false),
            (tcp("127.0.0.1:0"), http("127.0.0.1:0"), false),
            (Listener::Unix(path()), Listener::Unix("/run/other.sock".into()), false),
        ] {
            assert_eq!((one.collides(&other), other.collides(&one)), (expected, expected), "{one} {other}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_unix_socket_is_its_owners_and_takes_the_place_of_one_that_was_left() {
        use std::os::unix::fs::PermissionsExt;

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.sock");
        for listener in [Listener::Unix(path.clone()), Listener::UnixDatagram(path.clone())] {
            let bound = listener.bind().unwrap();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            assert_eq!(listener.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse, "{listener}");
            drop(bound);
            // It was killed: the file stays.
            assert!(path.exists());
            drop(listener.bind().unwrap());
            std::fs::remove_file(&path).unwrap();
        }
        for (one, other) in [
            (Listener::Unix(path.clone()), Listener::UnixDatagram(path.clone())),
            (Listener::UnixDatagram(path.clone()), Listener::Unix(path.clone())),
        ] {
            let _bound = one.bind().unwrap();
            assert_eq!(other.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse, "{one} is alive");
            std::fs::remove_file(&path).unwrap();
        }
        // Nobody accepts, and there is no room for one more connection.
        let full = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        full.bind(&socket2::SockAddr::unix(&path).unwrap()).unwrap();
        full.listen(0).unwrap();
        let waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
        assert_eq!(Listener::Unix(path.clone()).bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((full, waiting));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(Listener::Unix(path.clone()).bind().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }
}
