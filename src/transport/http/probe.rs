//! The steps of a probe on the way to an HTTP endpoint: the name, the connection with proxy and TLS, the clock. Each adds what it
//! finds, and says whether the next one has anything to look at.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::time::{Duration, SystemTime};

use reqwest::{Client, Url};

use crate::error::ExporterBuildError;
use crate::observe::probe::{ProbeStage, ProbeStep};
use crate::transport::contract::{Probed, SendError};
use crate::transport::http::advice::{self, Advice};
use crate::transport::http::break_off;
use crate::transport::http::clients::Clients;
use crate::transport::http::redact::{MAX_ERROR_BYTES, Secrets};
use crate::transport::http::way::{Way, host_and_port};

/// The difference to a server's clock up to which this one is right: a date has whole seconds.
const CLOCK_IS_RIGHT: Duration = Duration::from_secs(5);

/// The difference from which receivers begin to refuse records, tokens and certificates for their times.
const CLOCK_IS_WRONG: Duration = Duration::from_secs(60);

/// The most addresses of a host that are shown.
const MAX_SHOWN: usize = 4;

/// Looks up the host that a connection is made to.
async fn name(way: &Way, advice: &Advice, probed: &mut Probed) -> bool {
    let (first, _) = way.first();
    let host = first.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.parse::<IpAddr>().is_ok() {
        let text = format!("{host} is an address, and needs none to be looked up");
        probed.steps.push(ProbeStep::passed(ProbeStage::Name, text));
        return true;
    }
    let port = first.port_or_known_default().unwrap_or_default();
    let asked = (host.clone(), port);
    // As the client does it: a resolver blocks, and cannot be interrupted.
    let lookup = tokio::task::spawn_blocking(move || asked.to_socket_addrs().map(Iterator::collect::<Vec<_>>));
    let within = advice.connect_timeout.value;
    let why = match tokio::time::timeout(within, lookup).await {
        Ok(Ok(Ok(found))) if !found.is_empty() => {
            probed.steps.push(ProbeStep::passed(ProbeStage::Name, format!("{host} is {}", shown(&found))));
            return true;
        }
        Ok(Ok(Ok(_))) => format!("{host} has no address"),
        Ok(Ok(Err(error))) => format!("{host} does not resolve: {error}"),
        Ok(Err(_)) => format!("{host} could not be looked up"),
        Err(_) => format!("{host} was not resolved within {within:?}"),
    };
    probed.end_at(ProbeStage::Name, SendError::Unreachable(why), Some(advice::of_name(way)));
    false
}

/// The addresses of a host, without repeats beside one another.
fn shown(found: &[SocketAddr]) -> String {
    let mut addresses: Vec<_> = found.iter().map(|address| address.ip().to_string()).collect();
    addresses.dedup();
    let more = addresses.len().saturating_sub(MAX_SHOWN);
    addresses.truncate(MAX_SHOWN);
    let addresses = addresses.join(", ");
    if more > 0 { format!("{addresses} and {more} more") } else { addresses }
}

/// Looks at the way before anything is sent on it.
pub(super) async fn way(clients: &Clients, way: &Way, advice: &Advice, secrets: &Secrets, probed: &mut Probed) -> bool {
    let Some(client) = clients.breaking_off() else {
        // It may resolve names and have proxies of its own.
        let text = "`with_http_client` connects as it sends; only sending tells";
        probed.steps.push(ProbeStep::skipped(ProbeStage::Connection, text));
        return true;
    };
    name(way, advice, probed).await && connection(client, clients, way, advice, secrets, probed).await
}

/// Connects as a request would, and sends nothing.
async fn connection(
    client: Result<Client, ExporterBuildError>,
    clients: &Clients,
    way: &Way,
    advice: &Advice,
    secrets: &Secrets,
    probed: &mut Probed,
) -> bool {
    let stage = ProbeStage::Connection;
    let client = match client {
        Ok(client) => client,
        Err(error) => {
            probed.end_at(stage, SendError::NotSent(error.to_string()), None);
            return false;
        }
    };
    let endpoint = way.endpoint();
    // Without its query, which no words about it may have.
    let within = advice.timeout.value;
    let asked = client.get(bare(endpoint)).timeout(within).send().await;
    let error = match asked {
        Err(error) if !break_off::reached(&error) => error,
        _ => {
            probed.steps.push(connected(way, clients.checks_certificates()));
            return true;
        }
    };
    // The time of a request was up before there was a connection; that of connecting is an error of its own.
    let error = SendError::Unreachable(if error.is_timeout() && !error.is_connect() {
        format!("no connection to {} within {within:?}", host_and_port(endpoint))
    } else {
        way.no_connection(&error)
    });
    let remedy = advice.of_failure(&error, way);
    probed.end_at(stage, error.map(|why| secrets.redact(&why, MAX_ERROR_BYTES)), Some(remedy));
    false
}

fn bare(url: &Url) -> Url {
    let mut bare = url.clone();
    bare.set_query(None);
    bare
}

/// The step of a connection that was made.
fn connected(way: &Way, checks_certificates: bool) -> ProbeStep {
    let to = host_and_port(way.endpoint());
    let host = way.endpoint().host_str().unwrap_or_default();
    let tls = match (way.is_tls(), checks_certificates) {
        (false, _) => String::new(),
        (true, true) => format!("; TLS: its certificate is trusted, and is for {host}"),
        (true, false) => {
            "; TLS: whatever certificate it has, as `with_danger_accept_invalid_certificates` says".to_owned()
        }
    };
    let text = match way.proxy() {
        Some((proxy, _)) if way.is_tls() => format!("to {to} through proxy {}{tls}", host_and_port(proxy)),
        // Without TLS the proxy connects to the endpoint when there is a request.
        Some((proxy, _)) => format!("to proxy {}, which sends on to {to}", host_and_port(proxy)),
        None => format!("to {to}{tls}"),
    };
    if way.is_tls() && !checks_certificates {
        ProbeStep::warned(ProbeStage::Connection, text).with_remedy(advice::GIVE_AUTHORITY)
    } else {
        ProbeStep::passed(ProbeStage::Connection, text)
    }
}

/// Compares this machine's clock with the date that a response has. The server read its own between the two times.
pub(super) fn clock(date: Option<&str>, sent: SystemTime, received: SystemTime) -> ProbeStep {
    let stage = ProbeStage::Clock;
    let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) else {
        return ProbeStep::skipped(stage, "the response says no date");
    };
    // A date has whole seconds, so the server's clock was at any time of that second.
    let ahead = sent.duration_since(date + Duration::from_secs(1)).unwrap_or_default();
    let behind = date.duration_since(received).unwrap_or_default();
    let (off, how) = if ahead > behind { (ahead, "ahead of") } else { (behind, "behind") };
    let text = format!("this machine is {} s {how} the server", off.as_secs());
    if off <= CLOCK_IS_RIGHT {
        ProbeStep::passed(stage, "this machine and the server agree")
    } else if off < CLOCK_IS_WRONG {
        ProbeStep::warned(stage, text).with_remedy("have both synchronized, by NTP for example")
    } else {
        ProbeStep::failed(stage, text).with_remedy(
            "have both synchronized, by NTP for example: receivers refuse records that are too old or in the future",
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::config::values::Sourced;
    use crate::observe::probe::ProbeResult;
    use crate::transport::settings::TransportSettings;

    #[test]
    fn a_clock_is_off_by_what_neither_the_time_of_a_request_nor_a_second_explains() {
        let at = |seconds: u64| UNIX_EPOCH + Duration::from_secs(784_111_777 + 1000 + seconds);
        // 1000 s before the first of these times.
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        let of = |sent: SystemTime, received: SystemTime| clock(Some(date), sent, received);
        let (far, near) = (at(0), UNIX_EPOCH + Duration::from_secs(784_111_777));
        assert_eq!(of(near, near).result, ProbeResult::Passed);
        assert_eq!(of(near - Duration::from_secs(600), far).result, ProbeResult::Passed, "a slow request");
        let ahead = of(far, far);
        assert_eq!((ahead.result, &*ahead.text), (ProbeResult::Failed, "this machine is 999 s ahead of the server"));
        let behind = of(near - Duration::from_secs(60), near - Duration::from_secs(60));
        assert_eq!((behind.result, &*behind.text), (ProbeResult::Failed, "this machine is 60 s behind the server"));
        let slightly = of(near - Duration::from_secs(6), near - Duration::from_secs(6));
        assert_eq!(slightly.result, ProbeResult::Warned);
        assert_eq!(clock(Some("soon"), near, near).result, ProbeResult::Skipped);
        assert_eq!(clock(None, near, near).result, ProbeResult::Skipped);
    }

    #[test]
    fn a_certificate_that_is_not_checked_is_warned_of() {
        let url = "https://host/in";
        let mut settings = TransportSettings::new(Sourced::new(url.to_owned(), "with_endpoint"));
        settings.http.client = Some(Client::new());
        let way = Way::new(&Url::parse(url).unwrap(), &settings).ok().unwrap();
        assert_eq!(connected(&way, true).result, ProbeResult::Passed);
        let step = connected(&way, false);
        assert_eq!(step.result, ProbeResult::Warned);
        assert!(!step.text.contains("is trusted"), "{step}");
    }

    #[test]
    fn a_host_with_many_addresses_shows_some_of_them() {
        let addresses: Vec<SocketAddr> = (1..=6).map(|last| SocketAddr::from(([10, 0, 0, last], 80))).collect();
        assert_eq!(shown(&addresses), "10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4 and 2 more");
        assert_eq!(shown(&[addresses[0], addresses[0]]), "10.0.0.1");
    }
}
