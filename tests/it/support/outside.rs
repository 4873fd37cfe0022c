//! An internet for tests: names with any address, one server behind all of them, and a count of who connected.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use couplet::media::network::Network;
use futures_util::future::BoxFuture;
use futures_util::stream;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A public address that is nobody's here.
pub const PUBLIC: IpAddr = IpAddr::V4(Ipv4Addr::new(93, 184, 216, 34));

/// The names that the server has a certificate for. They lead to [`PUBLIC`].
pub const HOST_NAME: &str = "images.example.com";

/// Names and connections as a test wants them.
#[derive(Debug)]
pub struct Outside {
    names: HashMap<String, Vec<IpAddr>>,
    server: SocketAddr,
    roots: RootCertStore,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    resolved: Vec<String>,
    connected: Vec<SocketAddr>,
}

impl Outside {
    /// One whose server gives `files` under `/files/<name>`; `names` lead to any address.
    pub async fn new(files: &[(&str, Vec<u8>)], names: &[(&str, &[&str])]) -> Arc<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let server = listener.local_addr().expect("an address");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed([HOST_NAME.to_owned()]).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS")
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key.into())
            .expect("a key that fits");
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone()).expect("a root");
        let files = files.iter().map(|(name, file)| ((*name).to_owned(), file.clone())).collect();
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(tls)), routes(files)));
        let address = |text: &&str| text.parse().expect("an address");
        let mut names: HashMap<String, Vec<IpAddr>> = names
            .iter()
            .map(|(name, addresses)| ((*name).to_owned(), addresses.iter().map(address).collect()))
            .collect();
        names.insert(HOST_NAME.to_owned(), vec![PUBLIC]);
        Arc::new(Self { names, server, roots, seen: Mutex::default() })
    }

    /// The names that were asked for.
    pub fn resolved(&self) -> Vec<String> {
        self.seen.lock().expect("no panic").resolved.clone()
    }

    /// The addresses that were connected to.
    pub fn connected(&self) -> Vec<SocketAddr> {
        self.seen.lock().expect("no panic").connected.clone()
    }
}

impl Network for Outside {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.seen.lock().expect("no panic").resolved.push(host.to_owned());
        let found = self.names.get(host).ok_or_else(|| io::Error::other("no such name"));
        let found = found.map(|found| found.iter().map(|ip| SocketAddr::new(*ip, port)).collect());
        Box::pin(async move { found })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.seen.lock().expect("no panic").connected.push(address);
        Box::pin(TcpStream::connect(self.server))
    }

    fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, routes: Router) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, routes) = (tls.clone(), routes.clone());
        tokio::spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = TowerToHyperService::new(routes);
            let served =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // A client that leaves early is what some tests are about.
            let _ = served.await;
        });
    }
}

fn routes(files: HashMap<String, Vec<u8>>) -> Router {
    let file = |Path(name): Path<String>| async move {
        files.get(&name).cloned().ok_or(StatusCode::NOT_FOUND).map_err(IntoResponse::into_response)
    };
    Router::new()
        .route("/files/{name}", get(file))
        .route("/status/{status}", get(status))
        .route("/redirects/{count}", get(redirects))
        .route("/to", get(sent_on))
        .route("/nowhere", get(|| async { StatusCode::FOUND }))
        .route("/announced/{bytes}", get(announced))
        .route("/endless", get(endless))
        .route("/cut", get(cut))
        .route("/zipped", get(|| async { ([(CONTENT_ENCODING, "gzip")], "x") }))
        .route("/silent", get(std::future::pending::<StatusCode>))
        .route("/asked", get(asked))
}

async fn status(Path(status): Path<u16>) -> StatusCode {
    StatusCode::from_u16(status).expect("a status")
}

/// Sends on so often, then to the file `x`.
async fn redirects(Path(count): Path<u32>) -> Response {
    let to = if count > 1 { format!("/redirects/{}", count - 1) } else { "../files/x".to_owned() };
    (StatusCode::FOUND, [(LOCATION, to)]).into_response()
}

async fn sent_on(Query(query): Query<HashMap<String, String>>) -> Response {
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, query["url"].clone())]).into_response()
}

async fn announced(Path(bytes): Path<u64>) -> Response {
    let body = Body::from_stream(stream::pending::<Result<&str, io::Error>>());
    ([(CONTENT_LENGTH, bytes)], body).into_response()
}

async fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(vec![b'x'; 65_536])))
}

/// Half of a file, then the end of the connection.
async fn cut() -> Body {
    let half = stream::iter([Ok("half"), Err(io::Error::other("cut"))]);
    Body::from_stream(futures_util::StreamExt::then(half, |piece| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        piece
    }))
}

/// What a server gets to see of who asks.
async fn asked(headers: HeaderMap) -> String {
    let shown = [HOST, ACCEPT_ENCODING].map(|name| headers[&name].to_str().expect("text").to_owned());
    format!("{} {}", shown.join(" "), headers.len())
}
