//! The outside world, as far as fetching needs it.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use futures_util::future::BoxFuture;
use rustls::RootCertStore;
use tokio::net::TcpStream;

/// Names, connections and trust. There are two: [`Internet`], and what tests put in its place; no setting leads to
/// another. Which addresses may be connected to is not decided here, but before [`Network::connect`] is called.
pub trait Network: fmt::Debug + Send + Sync {
    /// All addresses of a host.
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// A connection to that very address.
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>>;

    /// Whose word is taken for who a server is.
    fn roots(&self) -> RootCertStore;
}

/// The internet: the system's resolver, direct connections past all proxies, the roots that browsers trust.
#[derive(Debug, Clone, Copy, Default)]
pub struct Internet;

impl Network for Internet {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        Box::pin(TcpStream::connect(address))
    }

    fn roots(&self) -> RootCertStore {
        RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
    }
}
