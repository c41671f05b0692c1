//! Sockets that a service manager hands over: `LISTEN_FDS`, and what is spoken on each by its name in `LISTEN_FDNAMES`.

#[cfg(unix)]
pub(crate) use unix::listeners;

/// Other systems hand no sockets over.
#[cfg(not(unix))]
pub(crate) fn listeners() -> Result<Vec<super::listener::Bound>, crate::error::ExporterBuildError> {
    Ok(Vec::new())
}

#[cfg(unix)]
mod unix {
    use std::io;
    use std::net::SocketAddr;
    use std::os::fd::OwnedFd;
    use std::path::PathBuf;

    use listenfd::ListenFd;
    use socket2::Socket;

    use crate::config::values::Sourced;
    use crate::error::ExporterBuildError;
    use crate::relay::listener::{Bound, Listener};

    const NAMES: &str = "LISTEN_FDNAMES";

    /// The sockets that are handed over, each with what is spoken there.
    ///
    /// # Errors
    ///
    /// If a name is none of a listener, or a socket is of another kind than its name says.
    pub(crate) fn listeners() -> Result<Vec<Bound>, ExporterBuildError> {
        let names = std::env::var(NAMES).unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = ListenFd::from_env();
        let mut bound = Vec::new();
        for at in 0..sockets.len() {
            let name = names.next().unwrap_or_default();
            let socket = take(&mut sockets, at, name)?;
            let failed =
                |error| ExporterBuildError::Listen { listener: format!("the handed over socket {name:?}"), error };
            socket.set_nonblocking(true).map_err(failed)?;
            let listener = listener(name, &socket).map_err(failed)?;
            bound.push(Bound { listener, socket, file: None });
        }
        Ok(bound)
    }

    fn take(sockets: &mut ListenFd, at: usize, name: &str) -> Result<Socket, ExporterBuildError> {
        let taken = match name {
            "tcp" | "http" | "otlp" => sockets.take_tcp_listener(at).map(|socket| socket.map(OwnedFd::from)),
            "udp" => sockets.take_udp_socket(at).map(|socket| socket.map(OwnedFd::from)),
            "unix" => sockets.take_unix_listener(at).map(|socket| socket.map(OwnedFd::from)),
            "unix-datagram" => sockets.take_unix_datagram(at).map(|socket| socket.map(OwnedFd::from)),
            other => {
                let reason = format!(
                    "{other:?} is the name of socket {at}; allowed are tcp, udp, unix, unix-datagram, http and otlp, by `FileDescriptorName=` in its unit"
                );
                return Err(Sourced::new((), NAMES).invalid(reason));
            }
        };
        let wrong = |reason: String| {
            Sourced::new((), NAMES).invalid(format!("socket {at} is called {name:?}, and is of another kind: {reason}"))
        };
        match taken {
            Ok(Some(socket)) => Ok(Socket::from(socket)),
            Ok(None) => Err(wrong("it is there no more".to_owned())),
            Err(error) => Err(wrong(error.to_string())),
        }
    }

    fn listener(name: &str, socket: &Socket) -> io::Result<Listener> {
        let local = socket.local_addr()?;
        let address =
            || -> io::Result<SocketAddr> { local.as_socket().ok_or_else(|| io::Error::other("it has no address")) };
        let path = || local.as_pathname().map(PathBuf::from).unwrap_or_default();
        Ok(match name {
            "tcp" => Listener::Tcp(address()?),
            "udp" => Listener::Udp(address()?),
            "unix" => Listener::Unix(path()),
            "unix-datagram" => Listener::UnixDatagram(path()),
            "http" => Listener::Http(address()?),
            _ => Listener::Otlp(address()?),
        })
    }
}
