//! Requests that two programs could read in two ways.
//!
//! A proxy in front may see one request where Couplet sees two, and the second one passes its checks unseen (request smuggling).
//! hyper refuses most of what RFC 9112 calls malformed; here is what it lets pass. Such a request is refused, and its connection
//! closed: whatever follows on it may be anything.

use axum::http::header::{HOST, TRANSFER_ENCODING};
use axum::http::uri::Authority;
use axum::http::{Request, Version};

/// What is ambiguous about a request.
#[must_use]
pub fn ambiguity<B>(request: &Request<B>) -> Option<&'static str> {
    let headers = request.headers();
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(encoding) = encodings.next() {
        let is_chunked = encoding.as_bytes().eq_ignore_ascii_case(b"chunked");
        if !is_chunked || encodings.next().is_some() {
            return Some("The only transfer encoding that is understood is `chunked`, once.");
        }
    }
    let mut hosts = headers.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    if more.is_some() {
        return Some("There is more than one Host header.");
    }
    if host.is_none() && request.version() == Version::HTTP_11 {
        return Some("There is no Host header.");
    }
    let named = request.uri().authority().map(Authority::as_str);
    let is_other =
        |named: &str| host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(named.as_bytes()));
    named.is_some_and(is_other).then_some("The Host header is not that of the request's target.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/", &[("host", "a")], true)]
    #[case("/", &[("host", "a"), ("transfer-encoding", "Chunked")], true)]
    #[case("/", &[("host", "a"), ("transfer-encoding", "gzip, chunked")], false)]
    #[case("/", &[("host", "a"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], false)]
    #[case("/", &[("host", "a"), ("host", "a")], false)]
    #[case("/", &[], false)]
    #[case("http://a/", &[("host", "A")], true)]
    #[case("http://b/", &[("host", "a")], false)]
    fn what_can_be_read_in_two_ways_is_named(
        #[case] target: &str,
        #[case] headers: &[(&str, &str)],
        #[case] is_clear: bool,
    ) {
        let request =
            headers.iter().fold(Request::get(target), |request, (name, value)| request.header(*name, *value));
        assert_eq!(ambiguity(&request.body(()).unwrap()).is_none(), is_clear);
    }
}
