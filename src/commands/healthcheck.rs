//! `couplet healthcheck`: asks a running server whether it is ready, for containers and process managers.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use axum::http::Uri;
use couplet::config::{ServeArguments, Settings, Surroundings};

/// For everything together: finding the address, connecting, asking and reading.
const LIMIT: Duration = Duration::from_secs(2);

/// So much of an answer is read, in bytes. The server's own has some hundred.
const MOST: u64 = 16 * 1024;

/// Arguments of `couplet healthcheck`.
#[derive(Debug, clap::Args)]
pub struct HealthcheckArguments {
    /// Ask this URL (http) in place of `/health/ready` at the address that the settings name.
    #[arg(long)]
    url: Option<Uri>,
    #[command(flatten)]
    serve: ServeArguments,
}

/// Whom to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
struct Question {
    /// A name or an address, with a port.
    address: String,
    /// The `Host` header.
    host: String,
    path: String,
}

/// Asks, and says on stderr what is wrong if the server is not ready. Exit status 0 or 1.
pub fn run(arguments: &HealthcheckArguments) -> ExitCode {
    match question(arguments, &Surroundings::of_this_process()).and_then(ask) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => complain(&problem),
    }
}

#[expect(clippy::print_stderr, reason = "the sentence is the command's output")]
fn complain(problem: &str) -> ExitCode {
    eprintln!("couplet: {problem}");
    ExitCode::FAILURE
}

fn question(arguments: &HealthcheckArguments, around: &Surroundings) -> Result<Question, String> {
    if let Some(url) = &arguments.url {
        return question_of_url(url);
    }
    let loaded = Settings::load(&arguments.serve, around).map_err(|error| error.to_string())?;
    question_at(loaded.settings.host, loaded.settings.port)
}

fn question_of_url(url: &Uri) -> Result<Question, String> {
    let (Some("http"), Some(host), Some(authority)) = (url.scheme_str(), url.host(), url.authority()) else {
        return Err(format!("{url} cannot be asked: it must begin with http:// and a host."));
    };
    Ok(Question {
        address: format!("{host}:{}", url.port_u16().unwrap_or(80)),
        host: authority.to_string(),
        path: url.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
    })
}

fn question_at(host: IpAddr, port: u16) -> Result<Question, String> {
    if port == 0 {
        return Err("PORT is 0, so the server's port is not known: name it with --port or --url.".to_owned());
    }
    // Who listens on all addresses is asked at the loopback one.
    let host = match host {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        host => host,
    };
    Ok(Question {
        address: SocketAddr::new(host, port).to_string(),
        // Loopback's name is allowed whatever COUPLET_ALLOWED_HOSTS says.
        host: "localhost".to_owned(),
        path: "/health/ready".to_owned(),
    })
}

/// Asks on a thread of its own, which is left behind when the time is up: neither a name server nor a server that sends
/// a byte now and then can hold this longer.
fn ask(question: Question) -> Result<(), String> {
    let url = format!("http://{}{}", question.address, question.path);
    let (sender, answer) = mpsc::channel();
    let asking = std::thread::Builder::new().spawn(move || {
        // Nobody listens any more when the time was up.
        let _ = sender.send(exchange(&question));
    });
    let nothing_to_wait_for = |error: io::Error| format!("{url} could not be asked: {error}.");
    asking.map_err(nothing_to_wait_for)?;
    let head_and_body = match answer.recv_timeout(LIMIT) {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return Err(format!("{url} did not answer: {error}.")),
        Err(_time_is_up) => return Err(format!("{url} did not answer within {} s.", LIMIT.as_secs())),
    };
    judge(&head_and_body).map_err(|problem| format!("{url} {problem}."))
}

/// Sends the question and reads the answer, to its end or as far as it is understood.
fn exchange(question: &Question) -> io::Result<Vec<u8>> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in question.address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(stream) => return exchange_on(stream, question),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn exchange_on(mut stream: TcpStream, question: &Question) -> io::Result<Vec<u8>> {
    let Question { host, path, .. } = question;
    let head =
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: couplet\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut read = Vec::new();
    stream.take(MOST).read_to_end(&mut read)?;
    Ok(read)
}

/// Ready or not, by the status; the server's own reason is in the body.
fn judge(answer: &[u8]) -> Result<(), String> {
    let line = answer.split(|byte| *byte == b'\r' || *byte == b'\n').next().unwrap_or_default();
    let status = std::str::from_utf8(line).ok().and_then(|line| {
        let (version, rest) = line.split_once(' ')?;
        let status = rest.split(' ').next()?;
        let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit());
        (version.starts_with("HTTP/1.") && is_status).then_some(status)
    });
    match status {
        None => Err("gave no answer in HTTP".to_owned()),
        Some("200") => Ok(()),
        Some(status) => Err(match reason(answer) {
            Some(reason) => format!("is not ready: status {status}, {reason}"),
            None => format!("is not ready: status {status}"),
        }),
    }
}

fn reason(answer: &[u8]) -> Option<String> {
    let end_of_head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let body: serde_json::Value = serde_json::from_slice(&answer[end_of_head + 4..]).ok()?;
    let reason = body.get("reason")?.as_str()?;
    Some(reason.trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("127.0.0.1", "127.0.0.1:8000")]
    #[case("0.0.0.0", "127.0.0.1:8000")]
    #[case("::", "[::1]:8000")]
    #[case("::1", "[::1]:8000")]
    #[case("192.0.2.7", "192.0.2.7:8000")]
    fn the_server_is_asked_where_it_listens(#[case] host: IpAddr, #[case] address: &str) {
        let question = question_at(host, 8000).unwrap();
        assert_eq!((question.address.as_str(), question.host.as_str()), (address, "localhost"));
        assert_eq!(question.path, "/health/ready");
    }

    #[rstest]
    #[case(
        "http://couplet.example:8080/health?x=1",
        "couplet.example:8080",
        "couplet.example:8080",
        "/health?x=1"
    )]
    #[case("http://[::1]:9/health", "[::1]:9", "[::1]:9", "/health")]
    #[case("http://127.0.0.1", "127.0.0.1:80", "127.0.0.1", "/")]
    fn a_url_is_asked_as_it_is(
        #[case] url: Uri,
        #[case] address: &str,
        #[case] host: &str,
        #[case] path: &str,
    ) {
        let question = question_of_url(&url).unwrap();
        assert_eq!((question.address.as_str(), question.host.as_str()), (address, host));
        assert_eq!(question.path, path);
    }

    #[rstest]
    #[case("https://127.0.0.1/health")]
    #[case("127.0.0.1:8000")]
    #[case("/health")]
    fn other_urls_are_refused(#[case] url: Uri) {
        assert!(question_of_url(&url).unwrap_err().contains("http://"));
    }

    #[rstest]
    #[case("HTTP/1.1 200 OK\r\n\r\n{}", Ok(()))]
    #[case("HTTP/1.0 200\r\n", Ok(()))]
    #[case(
        "HTTP/1.1 503 Service Unavailable\r\na: b\r\n\r\n{\"reason\":\"no CLI.\"}",
        Err("is not ready: status 503, no CLI")
    )]
    #[case("HTTP/1.1 503 Service Unavailable\r\n\r\nbusy", Err("is not ready: status 503"))]
    #[case("HTTP/1.1 404 Not Found\r\n\r\n{}", Err("is not ready: status 404"))]
    #[case("HTTP/1.1 2000 OK\r\n\r\n", Err("gave no answer in HTTP"))]
    #[case("SSH-2.0-x\r\n", Err("gave no answer in HTTP"))]
    #[case("200", Err("gave no answer in HTTP"))]
    #[case("", Err("gave no answer in HTTP"))]
    fn only_200_is_ready(#[case] answer: &str, #[case] judgement: Result<(), &str>) {
        assert_eq!(judge(answer.as_bytes()), judgement.map_err(str::to_owned));
    }
}
