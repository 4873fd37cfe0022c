//! The HTTP client of the exporter: one request a connection, from the exporter's own thread.
//!
//! Batches are sent every few seconds, to a receiver that is near; there is nothing that a pool would be good for.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

/// How long a batch may take, where the SDK allows more.
const TOTAL: Duration = Duration::from_secs(10);

/// The longest answer of a receiver, in bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// Sends batches.
pub(super) struct Client {
    /// Of its own: the exporter's thread has none, and may outlive the server's.
    runtime: Mutex<Runtime>,
    tls: Arc<ClientConfig>,
    /// Whether the last batch was lost. Each outage is told once.
    is_failing: AtomicBool,
}

impl Client {
    pub(super) fn new() -> Result<Self, Box<dyn Error>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { runtime: Mutex::new(runtime), tls: Arc::new(tls), is_failing: AtomicBool::new(false) })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri().clone();
        let host = uri.host().ok_or("the endpoint names no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        match uri.scheme_str() {
            Some("http") => {
                let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(80))).await?;
                exchange(stream, request, &uri).await
            }
            Some("https") => {
                let stream = TcpStream::connect((bare, uri.port_u16().unwrap_or(443))).await?;
                let name = ServerName::try_from(bare.to_owned())?;
                let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
                exchange(stream, request, &uri).await
            }
            _ => Err("the endpoint is neither http: nor https:".into()),
        }
    }

    fn tell(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let problem = match sent {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("status {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.is_failing.swap(problem.is_some(), Ordering::Relaxed);
        match problem {
            Some(problem) if !was_failing => tracing::warn!(problem, "traces cannot be sent, and are lost"),
            None if was_failing => tracing::info!("traces can be sent again"),
            _ => {}
        }
    }
}

impl HttpClient for Client {
    // As `async_trait` has it.
    fn send_bytes<'client, 'sent>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'sent>>
    where
        'client: 'sent,
        Self: 'sent,
    {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        // The exporter's thread has nothing else to do.
        let sent = runtime.block_on(async {
            tokio::time::timeout(TOTAL, self.send(request)).await.unwrap_or_else(|late| Err(late.into()))
        });
        self.tell(&sent);
        Box::pin(std::future::ready(sent))
    }
}

/// Sends the request, and reads its answer.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Bytes>,
    uri: &Uri,
) -> Result<Response<Bytes>, HttpError> {
    let (mut head, body) = request.into_parts();
    let authority = uri.authority().ok_or("the endpoint names no host")?;
    // Credentials of a URL are no part of the host.
    let host = authority.as_str().rsplit('@').next().unwrap_or_default();
    head.headers.insert(HOST, host.parse()?);
    head.uri = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(Request::from_parts(head, Full::new(body))).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    // The connection ends by itself once the answer is read and nobody can send any more.
    let (mut answer, mut connection) = (std::pin::pin!(answer), std::pin::pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => return answer,
        ended = &mut connection => ended?,
    }
    answer.await
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Client").finish_non_exhaustive()
    }
}
