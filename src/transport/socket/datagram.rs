//! Datagrams: each record is one, and nothing tells whether it arrives.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UdpSocket, lookup_host};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use crate::config::values::Sourced;
use crate::encode::framing::Nesting;
use crate::error::ExporterBuildError;
use crate::observe::stats::Outcome;
use crate::transport::contract::{Delivery, Peer, SendError, Transport};
use crate::transport::request::Request;
use crate::transport::settings::TransportSettings;
use crate::transport::url;
use crate::transport::verdict::{Judgement, Verdict};

/// The largest datagram of UDP over IPv4.
const MAX_BYTES: usize = 65_507;

const FORMATS: &str = "a datagram takes one record, and the records of this format cannot be told apart: use text, ndjson, json or \
                       pickle";

/// So much is sent at once: a receiver's default buffer holds about 160 small datagrams.
const AT_ONCE: usize = 64;
const BYTES_AT_ONCE: usize = 64 << 10;

/// The pause behind that.
const PAUSE: Duration = Duration::from_millis(1);

struct DatagramTransport {
    host: String,
    port: u16,
    connect_timeout: Duration,
    /// The socket, if its address is known and the last batch was sent well.
    socket: Mutex<Option<UdpSocket>>,
}

/// The end of sending a batch.
enum Sent {
    All,
    /// Up to this record, which no datagram holds.
    UpTo(usize),
}

/// Opens `udp://host:port`. The host is looked up when there is something to send.
///
/// # Errors
///
/// If a setting is not allowed.
#[expect(clippy::needless_pass_by_value, reason = "every transport is opened so")]
pub(crate) fn open_udp(settings: TransportSettings) -> Result<Arc<dyn Transport>, ExporterBuildError> {
    let Some((host, port)) = url::host_and_port(&settings.endpoint.value) else {
        return Err(settings.endpoint.invalid("a UDP socket is udp://host:port, and nothing else"));
    };
    settings.check_without_http("a socket")?;
    if settings.framing.as_ref().is_some_and(|framing| framing.nesting() != Nesting::Flat) {
        return Err(Sourced::new((), "with_encoder").invalid(FORMATS));
    }
    let connect_timeout = settings.connect_timeout.value;
    Ok(Arc::new(DatagramTransport { host, port, connect_timeout, socket: Mutex::new(None) }))
}

impl DatagramTransport {
    async fn send(&self, kept: &mut Option<UdpSocket>, request: &Request) -> Result<Sent, SendError> {
        let socket = match kept.take() {
            Some(socket) => socket,
            None => self.connect().await?,
        };
        let failed = |error: io::Error| {
            // What the machine of a receiver that is gone has said of an earlier datagram.
            SendError::Unreachable(format!("could not send: {error}"))
        };
        let (mut datagrams, mut bytes) = (0, 0);
        for (number, place) in request.places.iter().enumerate() {
            let record = request.body.get(place.clone()).unwrap_or_default();
            if record.len() > MAX_BYTES {
                *kept = Some(socket);
                return Ok(Sent::UpTo(number));
            }
            socket.send(record).await.map_err(failed)?;
            (datagrams, bytes) = (datagrams + 1, bytes + record.len());
            if datagrams >= AT_ONCE || bytes >= BYTES_AT_ONCE {
                (datagrams, bytes) = (0, 0);
                sleep(PAUSE).await;
            }
        }
        if let Some(error) = socket.take_error().map_err(failed)? {
            return Err(failed(error));
        }
        *kept = Some(socket);
        Ok(Sent::All)
    }

    async fn connect(&self) -> Result<UdpSocket, SendError> {
        let failed = |why: &str| SendError::Unreachable(format!("could not look up {}: {why}", self.host));
        let connecting = async {
            let mut last = io::ErrorKind::NotFound.into();
            for address in lookup_host((self.host.as_str(), self.port)).await? {
                match connect(address).await {
                    Ok(socket) => return Ok(socket),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        match timeout(self.connect_timeout, connecting).await {
            Ok(connected) => connected.map_err(|error| failed(&error.to_string())),
            Err(_) => Err(failed(&format!("not within {:?}", self.connect_timeout))),
        }
    }
}

async fn connect(address: SocketAddr) -> io::Result<UdpSocket> {
    let any = match address {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

impl Transport for DatagramTransport {
    fn deliver(&self, request: Request) -> Delivery<'_> {
        Box::pin(async move {
            if request.places.is_empty() || request.content_encoding.is_some() {
                return Ok(Judgement::without_response(Verdict::Hold, FORMATS.to_owned()));
            }
            let mut kept = self.socket.lock().await;
            let in_flight = request.begin();
            let sent = match timeout(request.timeout, self.send(&mut kept, &request)).await {
                Ok(sent) => sent,
                Err(_) => Err(SendError::TimedOut(format!("the batch was not sent within {:?}", request.timeout))),
            };
            in_flight.end(match &sent {
                Ok(_) => Outcome::Delivered(0),
                Err(error) => error.outcome(),
            });
            let (verdict, reason) = match sent? {
                Sent::All => (Verdict::Delivered, String::new()),
                Sent::UpTo(record) => {
                    let bytes = request.places.get(record).map_or(0, ExactSizeIterator::len);
                    let reason = format!("a datagram takes {MAX_BYTES} bytes, and the record has {bytes}");
                    let (records, rejection) = (record as u64, Some(reason.clone()));
                    (Verdict::DeliveredUpTo { records, rejection }, reason)
                }
            };
            let records = match &verdict {
                Verdict::DeliveredUpTo { records, .. } => *records,
                _ => request.places.len() as u64,
            };
            request.counters.unconfirmed_records.add(records);
            Ok(Judgement::without_response(verdict, reason))
        })
    }

    fn takes_gzip(&self) -> bool {
        false
    }

    fn peer(&self) -> Peer {
        Peer { address: self.host.clone(), port: Some(self.port), ..Peer::default() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket as Receiver;

    use super::*;
    use crate::encode::framing::Framing;
    use crate::observe::stats::Counters;
    use crate::transport::request::tests::request;

    fn transport(to: &str) -> Arc<dyn Transport> {
        open_udp(TransportSettings::new(Sourced::new(format!("udp://{to}"), "with_endpoint"))).ok().unwrap()
    }

    fn deliver(transport: &dyn Transport, request: Request) -> Result<Judgement, SendError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(transport.deliver(request))
    }

    fn received(receiver: &Receiver) -> String {
        let mut datagram = vec![0; MAX_BYTES];
        let len = receiver.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    }

    #[test]
    fn each_record_is_a_datagram_and_counts_as_not_confirmed() {
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        let transport = transport(&receiver.local_addr().unwrap().to_string());
        let counters = Arc::<Counters>::default();
        let request =
            Request { counters: counters.clone(), ..request("application/json", ["[", ",", "]"], &["a", "bc"]) };
        assert_eq!(deliver(&*transport, request).unwrap().verdict, Verdict::Delivered);
        assert_eq!([received(&receiver), received(&receiver)], ["a", "bc"]);
        assert_eq!(counters.snapshot().unconfirmed_records, 2);
    }

    #[test]
    fn a_record_that_no_datagram_holds_is_rejected_by_name() {
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        let transport = transport(&receiver.local_addr().unwrap().to_string());
        let records = ["a", &"x".repeat(MAX_BYTES + 1), "b"];
        let verdict = deliver(&*transport, request("text/plain", ["", "\n", ""], &records)).unwrap().verdict;
        let reason = "a datagram takes 65507 bytes, and the record has 65508".to_owned();
        assert_eq!(verdict, Verdict::DeliveredUpTo { records: 1, rejection: Some(reason) });
        assert_eq!(received(&receiver), "a");
    }

    #[test]
    fn records_that_cannot_be_told_apart_are_held() {
        let request = Request { places: Arc::default(), ..request("application/json", ["[", ",", "]"], &["a"]) };
        let judgement = deliver(&*transport("127.0.0.1:9"), request).unwrap();
        assert_eq!(judgement.verdict, Verdict::Hold);
    }

    #[test]
    fn an_encoder_whose_records_cannot_be_told_apart_is_an_error() {
        let settings = TransportSettings::new(Sourced::new("udp://127.0.0.1:9".to_owned(), "with_endpoint"));
        let framing = Some(Framing::json_array().nested(Nesting::Json));
        let error = open_udp(TransportSettings { framing, ..settings }).err().expect("an error").to_string();
        assert!(error.starts_with("`with_encoder` is invalid: a datagram takes one record"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_of_this_machine_at_which_nobody_listens_is_unreachable() {
        let receiver = Receiver::bind("127.0.0.1:0").unwrap();
        let transport = transport(&receiver.local_addr().unwrap().to_string());
        drop(receiver);
        let result = deliver(&*transport, request("text/plain", [""; 3], &["a"]));
        assert!(matches!(result, Err(SendError::Unreachable(_))), "{result:?}");
    }
}
