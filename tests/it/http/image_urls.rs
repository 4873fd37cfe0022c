//! Images by https: what is fetched, and what nothing in the world makes Couplet connect to.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use couplet::media::address::Refusal;
use couplet::media::fetch::{FetchFailure, Fetcher};
use couplet::media::network::{Internet, Network};
use couplet::media::{ImageUrls, MediaSettings};
use futures_util::future::BoxFuture;
use rstest::rstest;
use rustls::RootCertStore;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::net::TcpStream;

use crate::support::app::{Builder, TestApp};
use crate::support::fault_table::{Asked, Class, Tried, saw};
use crate::support::outside::{HOST_NAME, Outside, PUBLIC};
use crate::support::seen::{self, Seen};

/// Names that lead to where nobody may go.
const NAMES: &[(&str, &[&str])] = &[
    ("loopback.example.com", &["127.0.0.1"]),
    ("loopback6.example.com", &["::1"]),
    ("private.example.com", &["10.0.0.7"]),
    ("private16.example.com", &["192.168.1.1"]),
    ("private12.example.com", &["172.20.0.1"]),
    ("carrier.example.com", &["100.64.0.1"]),
    ("metadata.example.com", &["169.254.169.254"]),
    ("metadata6.example.com", &["fd00:ec2::254"]),
    ("azure.example.com", &["168.63.129.16"]),
    ("mapped.example.com", &["::ffff:127.0.0.1"]),
    ("compatible.example.com", &["::127.0.0.1"]),
    ("nat64.example.com", &["64:ff9b::7f00:1"]),
    ("sixtofour.example.com", &["2002:7f00:1::1"]),
    ("teredo.example.com", &["2001:0:7f00:1::1"]),
    ("linklocal6.example.com", &["fe80::1"]),
    ("multicast.example.com", &["224.0.0.1"]),
    ("broadcast.example.com", &["255.255.255.255"]),
    ("nothing.example.com", &["0.0.0.0"]),
    ("mixed.example.com", &["93.184.216.34", "127.0.0.1"]),
    ("mixed6.example.com", &["2606:4700::1", "::1"]),
    ("empty.example.com", &[]),
    ("public.example.com", &["93.184.216.35"]),
];

/// URLs that must not lead to a single connection.
const FORBIDDEN: &[&str] = &[
    // Not https.
    "http://images.example.com/files/x",
    "HTTP://images.example.com/files/x",
    "ftp://images.example.com/files/x",
    "file:///etc/passwd",
    "file://images.example.com/etc/passwd",
    "gopher://images.example.com:70/_x",
    "ws://images.example.com/",
    "wss://images.example.com/",
    "javascript:alert(1)",
    "blob:https://images.example.com/1",
    "about:blank",
    "unix:/run/docker.sock",
    "//images.example.com/files/x",
    "/files/x",
    "images.example.com/files/x",
    "",
    "https:",
    "https://",
    "https://?x",
    // Names and passwords.
    "https://ann@images.example.com/files/x",
    "https://ann:pw@images.example.com/files/x",
    "https://images.example.com@127.0.0.1/",
    "https://127.0.0.1@images.example.com/",
    "https://127.0.0.1\\@images.example.com/",
    // Ports of other services.
    "https://images.example.com:22/",
    "https://images.example.com:25/",
    "https://images.example.com:80/",
    "https://93.184.216.34:853/",
    "https://images.example.com:99999/",
    // Loopback in every form.
    "https://127.0.0.1/",
    "https://127.0.0.1:8000/v1/models",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.255.255.254/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.0.0.1/",
    "https://0X7F.1/",
    "https://0177.0.0.1/",
    "https://017700000001/",
    "https://127.0.0.1./",
    "https://%31%32%37.0.0.1/",
    "https://１２７.0.0.1/",
    "https://127。0。0。1/",
    "https://①②⑦.0.0.1/",
    "https://[::1]/",
    "https://[0:0:0:0:0:0:0:1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/",
    "https://[::127.0.0.1]/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://a.localhost/",
    "https://loc\u{ad}alhost/",
    // Others that are not the public internet.
    "https://0/",
    "https://0.0.0.0/",
    "https://[::]/",
    "https://10.0.0.1/",
    "https://10.255.255.255/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.0.1/",
    "https://3232235521/",
    "https://100.64.0.1/",
    "https://100.100.100.200/latest/meta-data/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0xa9fea9fe/",
    "https://169.254.170.2/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://192.0.2.1/",
    "https://198.18.0.1/",
    "https://198.51.100.1/",
    "https://203.0.113.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[64:ff9b::a9fe:a9fe]/",
    "https://[64:ff9b:1::1]/",
    "https://[2002:a9fe:a9fe::]/",
    "https://[2001::1]/",
    "https://[2001:db8::1]/",
    "https://[3fff::1]/",
    "https://[2600::5efe:10.0.0.1]/",
    "https://metadata/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://router.lan/",
    "https://printer.local/",
    // Names that lead there.
    "https://loopback.example.com/",
    "https://loopback.example.com./",
    "https://loopback6.example.com/",
    "https://private.example.com/",
    "https://private16.example.com/",
    "https://private12.example.com/",
    "https://carrier.example.com/",
    "https://metadata.example.com/",
    "https://metadata6.example.com/",
    "https://azure.example.com/",
    "https://mapped.example.com/",
    "https://compatible.example.com/",
    "https://nat64.example.com/",
    "https://sixtofour.example.com/",
    "https://teredo.example.com/",
    "https://linklocal6.example.com/",
    "https://multicast.example.com/",
    "https://broadcast.example.com/",
    "https://nothing.example.com/",
    "https://mixed.example.com/",
    "https://mixed6.example.com/",
    "https://empty.example.com/",
    "https://unknown.example.com/",
];

async fn app(image_urls: ImageUrls, outside: &Arc<Outside>) -> TestApp {
    let network: Arc<dyn Network> = Arc::<Outside>::clone(outside);
    let media = MediaSettings { image_urls, network };
    Builder::new(Path::new("/no/such/cli")).await.with(|config| config.media = media).start().await
}

fn ask_about(url: &str) -> Value {
    let image = json!({"type": "image_url", "image_url": {"url": url}});
    json!({"model": "claude-sonnet-5-5", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "what is this?"}, image]}]})
}

async fn fetcher(names: &[(&str, &[&str])]) -> (Arc<Outside>, Fetcher) {
    let outside = Outside::new(&[("x", b"the file".to_vec())], names).await;
    let network: Arc<dyn Network> = Arc::<Outside>::clone(&outside);
    (outside, Fetcher::new(network).expect("TLS"))
}

fn on_host(path: &str) -> String {
    format!("https://{HOST_NAME}{path}")
}

#[tokio::test]
async fn no_forbidden_url_leads_to_a_connection() {
    assert!(FORBIDDEN.len() >= 60, "{}", FORBIDDEN.len());
    let outside = Outside::new(&[], NAMES).await;
    let app = app(ImageUrls::Fetch, &outside).await;
    let mut seen = Seen::default();
    for url in FORBIDDEN {
        let (status, answer) = app.answer(&ask_about(url)).await;
        assert_eq!(
            (status, &answer["error"]["param"]),
            (400, &json!("messages[0].content[1].image_url.url")),
            "{url}: {answer}"
        );
        assert_eq!(outside.connected(), [], "{url}");
        let message = answer["error"]["message"].as_str().expect("a message");
        assert!(!message.contains("127.") && !message.contains("169.254"), "{url}: {message}");
        let connections = outside.connected().len();
        seen.note(format!("{}, {connections} connections", seen::of_whole(&(status, answer))));
    }
    // None but names that could be public were asked for.
    let asked = outside.resolved();
    assert!(asked.iter().all(|name| name.trim_end_matches('.').ends_with(".example.com")), "{asked:?}");
    let fault =
        "`image_url`s of other schemes and ports, and of addresses that are not public, in every form";
    seen.tell(Class::Hostile, fault, Asked::NotStreaming);
}

#[tokio::test]
async fn a_redirect_leads_to_nowhere_forbidden_either() {
    let outside = Outside::new(&[], NAMES).await;
    let network: Arc<dyn Network> = Arc::<Outside>::clone(&outside);
    let fetcher = Fetcher::new(network).expect("TLS");
    let absolute = FORBIDDEN.iter().filter(|url| url.contains(':') && !url.starts_with("https:?"));
    let mut tried = Seen::default();
    for url in absolute {
        let encoded: String = url.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let before = outside.connected().len();
        let outcome = fetcher.fetch(&on_host(&format!("/to?url={encoded}")), 1000).await;
        // `https:` alone is relative to where it stands, and not every text can be a header.
        if *url != "https:" && url.is_ascii() {
            assert!(
                matches!(
                    outcome,
                    Err(FetchFailure::Refused(_) | FetchFailure::NoAddress | FetchFailure::Redirects)
                ),
                "{url}: {outcome:?}"
            );
            tried.note("the fetch is given up, before it connects to anything but what was public");
        }
        let connected = outside.connected();
        assert!(connected.iter().all(|address| address.ip() == PUBLIC), "{url}: {connected:?}");
        assert!(connected.len() - before <= 4, "{url}");
    }
    assert!(tried.times() >= 60, "{}", tried.times());
    tried.tell(Class::Hostile, "redirects to such URLs", Asked::Either);
}

#[tokio::test]
async fn a_file_is_fetched_from_the_address_that_was_checked() {
    let (outside, fetcher) = fetcher(&[]).await;
    assert_eq!(fetcher.fetch(&on_host("/files/x"), 8).await.as_deref(), Ok(&b"the file"[..]));
    assert_eq!(outside.connected(), [SocketAddr::new(PUBLIC, 443)]);
    assert_eq!(outside.resolved(), [HOST_NAME], "asked once");
    let asked = fetcher.fetch(&on_host(":8443/asked?a=b#c"), 100).await.expect("an answer");
    assert_eq!(asked, "images.example.com:8443 identity 4");
    assert_eq!(outside.connected().last(), Some(&SocketAddr::new(PUBLIC, 8443)));
}

#[tokio::test]
async fn three_redirects_are_followed() {
    let (_, fetcher) = fetcher(&[]).await;
    assert_eq!(fetcher.fetch(&on_host("/redirects/3"), 1000).await.as_deref(), Ok(&b"the file"[..]));
}

#[rstest]
#[case("/redirects/4", FetchFailure::Redirects, "redirects four times")]
#[case("/nowhere", FetchFailure::Redirects, "redirects to nowhere")]
#[case("/status/404", FetchFailure::Status(404), "has no such image")]
#[case("/status/204", FetchFailure::Status(204), "has nothing to send")]
#[case("/announced/1001", FetchFailure::TooLarge { max: 1000 }, "announces more than may be")]
#[case("/endless", FetchFailure::TooLarge { max: 1000 }, "sends without an end")]
#[case("/zipped", FetchFailure::Encoded, "sends something packed")]
#[case("/cut", FetchFailure::Broken, "breaks off")]
#[tokio::test]
async fn what_a_server_does_is_bounded(
    #[case] path: &str,
    #[case] failure: FetchFailure,
    #[case] what_it_does: &str,
) {
    let (_, fetcher) = fetcher(&[]).await;
    assert_eq!(fetcher.fetch(&on_host(path), 1000).await, Err(failure));
    given_up(what_it_does);
}

#[rstest]
#[case("/silent", "says nothing")]
#[case("/announced/1000", "falls silent in the middle")]
#[tokio::test]
async fn a_server_that_is_silent_is_left(#[case] path: &str, #[case] what_it_does: &str) {
    let (_, fetcher) = fetcher(&[]).await;
    let fetcher = fetcher.with_total(Duration::from_millis(500));
    assert_eq!(fetcher.fetch(&on_host(path), 1000).await, Err(FetchFailure::TooSlow { seconds: 0 }));
    given_up(what_it_does);
}

fn given_up(what_it_does: &str) {
    let fault = format!("the server of an image's URL {what_it_does}");
    saw(Class::Hostile, &fault, Asked::Either, "the fetch is given up", Tried::Times(1));
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_is_not_asked() {
    let (outside, fetcher) = fetcher(NAMES).await;
    let outcome = fetcher.fetch("https://public.example.com/files/x", 1000).await;
    assert_eq!(outcome, Err(FetchFailure::Unreachable));
    assert_eq!(outside.connected().len(), 1);
}

/// The test's server behind the internet's own roots.
#[derive(Debug)]
struct Untrusted(Arc<Outside>);

impl Network for Untrusted {
    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        self.0.resolve(host, port)
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        self.0.connect(address)
    }

    fn roots(&self) -> RootCertStore {
        Internet.roots()
    }
}

#[tokio::test]
async fn a_certificate_that_no_browser_would_trust_is_not_trusted() {
    let (outside, _) = fetcher(&[]).await;
    let fetcher = Fetcher::new(Arc::new(Untrusted(outside))).expect("TLS");
    assert_eq!(fetcher.fetch(&on_host("/files/x"), 1000).await, Err(FetchFailure::Unreachable));
}

#[tokio::test]
async fn the_next_address_is_tried_when_one_does_not_answer() {
    let outside = Outside::new(&[("x", b"y".to_vec())], &[]).await;
    let fetcher = Fetcher::new(Arc::new(FirstIsDead(Arc::clone(&outside)))).expect("TLS");
    assert_eq!(fetcher.fetch(&on_host("/files/x"), 1000).await.as_deref(), Ok(&b"y"[..]));
    assert_eq!(outside.connected().len(), 1);
}

/// A host with two addresses, of which the first refuses connections.
#[derive(Debug)]
struct FirstIsDead(Arc<Outside>);

impl Network for FirstIsDead {
    fn resolve<'a>(&'a self, _: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Vec<SocketAddr>>> {
        let addresses = [[1, 1, 1, 1], [1, 0, 0, 1]].map(|ip| SocketAddr::from((ip, port)));
        Box::pin(async move { Ok(addresses.to_vec()) })
    }

    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, std::io::Result<TcpStream>> {
        if address.ip() == std::net::IpAddr::from([1, 1, 1, 1]) {
            return Box::pin(async { Err(std::io::ErrorKind::ConnectionRefused.into()) });
        }
        self.0.connect(address)
    }

    fn roots(&self) -> RootCertStore {
        self.0.roots()
    }
}

#[tokio::test]
async fn where_urls_are_refused_or_passed_on_nobody_is_asked() {
    let outside = Outside::new(&[], NAMES).await;
    let refusing = app(ImageUrls::Refuse, &outside).await;
    let (status, answer) = refusing.answer(&ask_about(&on_host("/files/x"))).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_image_url")), "{answer}");
    let passing = app(ImageUrls::Pass, &outside).await;
    let (status, answer) = passing.answer(&ask_about("http://images.example.com/files/x")).await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("invalid_image_url")), "{answer}");
    let (status, answer) = passing.answer(&ask_about(&on_host("/files/x"))).await;
    assert_eq!((status, &answer["error"]["code"]), (503, &json!("cli_unavailable")), "{answer}");
    assert_eq!((outside.resolved(), outside.connected()), (vec![], vec![]));
}

#[tokio::test]
async fn what_is_fetched_is_looked_at_like_what_is_sent() {
    let files =
        [("page", b"<html></html>".to_vec()), ("zip", b"PK\x03\x04\0\0\0\0".to_vec()), ("none", vec![])];
    let outside = Outside::new(&files, &[]).await;
    let app = app(ImageUrls::Fetch, &outside).await;
    for (file, code) in [
        ("page", "invalid_image_format"),
        ("zip", "invalid_image_format"),
        ("none", "empty_file"),
        ("gone", "failed_to_download_image"),
    ] {
        let (status, answer) = app.answer(&ask_about(&on_host(&format!("/files/{file}")))).await;
        assert_eq!((status, &answer["error"]["code"]), (400, &json!(code)), "{answer}");
    }
    let refused = Fetcher::new(Arc::new(Internet)).expect("TLS").fetch("https://127.0.0.1/", 1).await;
    assert_eq!(refused, Err(FetchFailure::Refused(Refusal::Private)));
}
