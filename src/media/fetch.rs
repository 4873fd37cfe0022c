//! Fetching a file by https, for a client who may be anybody: only from the public internet, within limits.
//!
//! Each request has a connection of its own, made to an address that was checked, and speaks HTTP/1.1 over it with hyper
//! directly: there is no pool, proxy, redirect, cookie or decompression that would have to be turned off.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, LOCATION, USER_AGENT};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

use super::address::{self, Refusal};
use super::network::Network;

/// How often a server may send on to another place.
const MAX_REDIRECTS: usize = 3;

/// How long a file may take, from the first name to the last byte.
const TOTAL: Duration = Duration::from_secs(20);

/// How long a connection to one address may take.
const CONNECT: Duration = Duration::from_secs(5);

/// How many addresses of a host are tried.
const MAX_ADDRESSES: usize = 4;

/// Files that are fetched at once, for all clients together.
const AT_ONCE: usize = 16;

/// The largest head of a response, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// Some hosts answer nobody who does not say who he is.
const AGENT: &str = concat!("couplet/", env!("CARGO_PKG_VERSION"));

/// Why there is no file. The texts go on where the field's name ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchFailure {
    /// The URL, or where it leads to, is out of bounds.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// Its name is not known.
    #[error("names a host that cannot be found")]
    NoAddress,
    /// Its host does not answer, or not as the one it should be.
    #[error("names a host that cannot be reached by https")]
    Unreachable,
    /// The connection broke, or it spoke no HTTP.
    #[error("could not be read to its end")]
    Broken,
    /// Another status than 200.
    #[error("was answered with status {0}")]
    Status(u16),
    /// Sent on too often, or to nowhere.
    #[error("leads through more than {MAX_REDIRECTS} redirects, or in none of them to a place")]
    Redirects,
    /// It came compressed, though that was not asked for.
    #[error("was answered in an encoding that was not asked for")]
    Encoded,
    /// It is too large.
    #[error("is larger than {} MiB", .max / 1024 / 1024)]
    TooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// It takes too long.
    #[error("could not be fetched within {seconds} s")]
    TooSlow {
        /// The limit.
        seconds: u64,
    },
}

/// Fetches files.
#[derive(Debug)]
pub struct Fetcher {
    network: Arc<dyn Network>,
    tls: TlsConnectorSettings,
    places: Semaphore,
    total: Duration,
}

/// A TLS client's settings; they tell nothing in a log.
struct TlsConnectorSettings(Arc<ClientConfig>);

impl std::fmt::Debug for TlsConnectorSettings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TlsConnectorSettings")
    }
}

/// What one request came to.
enum Step {
    File(Bytes),
    SentOn(String),
}

impl Fetcher {
    /// One that reaches its hosts through `network`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(network: Arc<dyn Network>) -> std::io::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(network.roots())
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            network,
            tls: TlsConnectorSettings(Arc::new(tls)),
            places: Semaphore::new(AT_ONCE),
            total: TOTAL,
        })
    }

    /// The same with another limit on the time a file may take.
    #[must_use]
    pub fn with_total(self, total: Duration) -> Self {
        Self { total, ..self }
    }

    /// Fetches a file of at most `max` bytes.
    ///
    /// # Errors
    /// See [`FetchFailure`].
    pub async fn fetch(&self, url: &str, max: usize) -> Result<Bytes, FetchFailure> {
        let url = address::check(url)?;
        let fetched = async {
            let _place = self.places.acquire().await;
            self.follow(url, max).await
        };
        let late = FetchFailure::TooSlow { seconds: self.total.as_secs() };
        timeout(self.total, fetched).await.unwrap_or(Err(late))
    }

    async fn follow(&self, mut url: Url, max: usize) -> Result<Bytes, FetchFailure> {
        for _ in 0..=MAX_REDIRECTS {
            match self.get(&url, max).await? {
                Step::File(bytes) => return Ok(bytes),
                Step::SentOn(location) => {
                    url = url.join(&location).map_err(|_| FetchFailure::Redirects)?;
                    address::check_url(&url)?;
                }
            }
        }
        Err(FetchFailure::Redirects)
    }

    async fn get(&self, url: &Url, max: usize) -> Result<Step, FetchFailure> {
        let stream = self.connect(url).await?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|_| FetchFailure::Broken)?;
        let exchange = async {
            let response = sender.send_request(request(url)?).await.map_err(|_| FetchFailure::Broken)?;
            read(response, max).await
        };
        drive(connection, exchange).await
    }

    /// A connection to an address of the URL's host. The addresses are asked for once, and all of them must be public: a
    /// name that mixes them would be a way to try for the others.
    async fn connect(&self, url: &Url) -> Result<TlsStream<TcpStream>, FetchFailure> {
        let port = url.port_or_known_default().unwrap_or(443);
        let (addresses, name) = match url.host().ok_or(Refusal::Invalid)? {
            Host::Ipv4(ip) => {
                (vec![SocketAddr::new(ip.into(), port)], ServerName::from(std::net::IpAddr::V4(ip)))
            }
            Host::Ipv6(ip) => {
                (vec![SocketAddr::new(ip.into(), port)], ServerName::from(std::net::IpAddr::V6(ip)))
            }
            Host::Domain(host) => {
                let found = self.network.resolve(host, port).await.map_err(|_| FetchFailure::NoAddress)?;
                // Certificates name hosts without the dot that may end a name.
                let name = host.strip_suffix('.').unwrap_or(host).to_owned();
                (found, ServerName::try_from(name).map_err(|_| Refusal::Invalid)?)
            }
        };
        if addresses.is_empty() {
            return Err(FetchFailure::NoAddress);
        }
        if !addresses.iter().all(|address| address::is_public(address.ip())) {
            return Err(Refusal::Private.into());
        }
        for address in addresses.into_iter().take(MAX_ADDRESSES) {
            let connected = async {
                let stream = self.network.connect(address).await?;
                TlsConnector::from(Arc::clone(&self.tls.0)).connect(name.clone(), stream).await
            };
            if let Ok(Ok(stream)) = timeout(CONNECT, connected).await {
                return Ok(stream);
            }
        }
        Err(FetchFailure::Unreachable)
    }
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, FetchFailure> {
    let host = url.host_str().unwrap_or_default();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    Request::get(path)
        .header(HOST, host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "image/png, image/jpeg, image/gif, image/webp, application/pdf;q=0.5")
        .header(ACCEPT_ENCODING, "identity")
        .body(Empty::new())
        .map_err(|_| Refusal::Invalid.into())
}

async fn read(response: Response<Incoming>, max: usize) -> Result<Step, FetchFailure> {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    match response.status().as_u16() {
        200 => {}
        301 | 302 | 303 | 307 | 308 => {
            let location = header(LOCATION).ok_or(FetchFailure::Redirects)?;
            return Ok(Step::SentOn(location.to_owned()));
        }
        status => return Err(FetchFailure::Status(status)),
    }
    if header(CONTENT_ENCODING).is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Err(FetchFailure::Encoded);
    }
    let announced = header(CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > max as u64) {
        return Err(FetchFailure::TooLarge { max });
    }
    let mut body = response.into_body();
    let mut file = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| FetchFailure::Broken)?;
        let Ok(data) = frame.into_data() else { continue };
        if file.len() + data.len() > max {
            return Err(FetchFailure::TooLarge { max });
        }
        file.extend_from_slice(&data);
    }
    Ok(Step::File(file.into()))
}

/// Runs an exchange, and the connection beneath it as long as that takes.
async fn drive<T>(
    connection: impl Future,
    exchange: impl Future<Output = Result<T, FetchFailure>>,
) -> Result<T, FetchFailure> {
    let (mut connection, mut exchange) = (pin!(connection), pin!(exchange));
    tokio::select! {
        biased;
        done = &mut exchange => return done,
        _ended = &mut connection => {}
    }
    // What came before the end of the connection is still to be read.
    exchange.await
}
