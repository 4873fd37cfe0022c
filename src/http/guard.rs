//! Who may come in: the checks before every route that did not opt out.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONNECTION, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::connections::connection::Connection;
use super::connections::framing;
use super::request_log::RequestLog;
use super::{App, rate_limit};
use crate::access::denied::Denied;
use crate::caller::{Caller, TenantName};
use crate::claude::Claude;
use crate::openai::error::ApiError;

/// Who asks, and whom: left in the extensions of each request that was let in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Asker {
    /// On whose behalf.
    pub caller: Caller,
    /// The model, as the caller's tenant asks it.
    pub claude: Claude,
}

/// Refuses calls that can be read in two ways, those by a wrong host name, and those from a foreign web page.
///
/// A page of another origin must not use a server on localhost: its requests carry its origin, and one that got here
/// by making its own name point to loopback (DNS rebinding) carries that name as host. See CVE-2024-28224 and
/// CVE-2025-49596 for the attack on other servers.
pub async fn check_host_and_origin(State(app): State<App>, request: Request, next: Next) -> Response {
    if let Some(ambiguity) = framing::ambiguity(&request) {
        let error = ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", ambiguity);
        let close = [(CONNECTION, HeaderValue::from_static("close"))];
        return (close, error.with_code("ambiguous_request")).into_response();
    }
    let headers = request.headers();
    let host = headers
        .get(HOST)
        .map(|host| host.to_str().unwrap_or(""))
        .or_else(|| request.uri().authority().map(axum::http::uri::Authority::as_str));
    if !host_is_allowed(host, &app.http.allowed_hosts, app.access.is_open()) {
        let message =
            "This host name is not known to the server. Its operator can add it to COUPLET_ALLOWED_HOSTS.";
        return forbidden("host_not_allowed", message);
    }
    let origin = headers.get(ORIGIN).map(|origin| origin.to_str().unwrap_or(""));
    if !origin_is_allowed(origin, host, &app.http.allowed_origins) {
        let message = "Web pages of this origin may not use the server. Its operator can add the origin to COUPLET_ALLOWED_ORIGINS.";
        return forbidden("origin_not_allowed", message);
    }
    // The router adds the methods. A page's question comes here only where no origin is configured, and gets no leave.
    if request.method() == Method::OPTIONS {
        return StatusCode::OK.into_response();
    }
    next.run(request).await
}

/// Refuses calls without one of the server's keys or tokens, in whichever form it comes, and tells the others' handlers on whose
/// behalf they work: an [`Asker`] among the request's extensions. Holds those it lets in to their limits.
pub async fn check_key(State(app): State<App>, request: Request, next: Next) -> Response {
    let caller = match app.access.caller(offered_key(request.headers())) {
        Ok(caller) => caller,
        Err(denied) => return unauthorized(denied),
    };
    let Some(claude) = app.tenants.of(&caller.tenant).cloned() else {
        if caller.tenant == TenantName::default() {
            return no_sign_in();
        }
        let message = "The tenant of this API key is not one of the server's. Its operator can add it to COUPLET_TENANTS.";
        return forbidden("tenant_not_found", message);
    };
    let_in(&request);
    rate_limit::hold_to_limits(&app, Asker { caller, claude }, request, next).await
}

/// Refuses calls without the admin key.
pub async fn check_admin_key(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.access.admin(offered_key(request.headers())) {
        Ok(()) => {
            let_in(&request);
            next.run(request).await
        }
        Err(denied) => unauthorized(denied),
    }
}

/// Refuses calls of those who may not see how the server is doing.
pub async fn check_observer(State(app): State<App>, request: Request, next: Next) -> Response {
    match app.access.observer(offered_key(request.headers())) {
        Ok(()) => {
            let_in(&request);
            next.run(request).await
        }
        Err(denied) => unauthorized(denied),
    }
}

/// The request is one of somebody's who may come in. What is told of it, and what becomes of its connection, depends on that.
fn let_in(request: &Request) {
    RequestLog::of(request).let_in();
    if let Some(connection) = request.extensions().get::<Arc<Connection>>() {
        connection.let_in();
    }
}

fn unauthorized(denied: Denied) -> Response {
    if denied == Denied::NoAdminKey {
        return forbidden("admin_disabled", &denied.to_string());
    }
    challenge("invalid_api_key", &denied.to_string())
}

/// RFC 9110, 11.6.1: a 401 says in which form it wants to be asked.
fn challenge(code: &'static str, message: &str) -> Response {
    let error = ApiError::new(StatusCode::UNAUTHORIZED, "authentication_error", message);
    let mut response = error.with_code(code).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"couplet\""));
    response
}

/// The server has tenants, but no sign-in of its own, and the caller belongs to no tenant.
fn no_sign_in() -> Response {
    let message = "Couplet is signed in to Claude for its tenants only, and this request comes from none of them. Its operator can \
                   give out a key of a tenant, or sign in the server itself: run `claude setup-token` and set its output as \
                   CLAUDE_CODE_OAUTH_TOKEN.";
    challenge("no_sign_in", message)
}

/// The key of a request, whichever header it comes in. Where both are there, the bearer counts.
fn offered_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).and_then(|value| {
        let (scheme, key) = value.split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer.or_else(|| headers.get("x-api-key").map(|key| key.as_bytes().trim_ascii()))
}

/// Loopback's own names and the configured ones. With keys and without a list every name will do: who has the key may
/// call the server as he likes.
fn host_is_allowed(host: Option<&str>, allowed: &[String], keyless: bool) -> bool {
    let Some(host) = host else { return !keyless && allowed.is_empty() };
    let name = without_port(host);
    let is_allowed =
        allowed.iter().any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host));
    is_loopback_name(name) || is_allowed || (!keyless && allowed.is_empty())
}

fn is_loopback_name(name: &str) -> bool {
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// No origin (not a browser), the server's own, or a configured one.
fn origin_is_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    let own = origin
        .split_once("://")
        .is_some_and(|(_, authority)| host.is_some_and(|h| h.eq_ignore_ascii_case(authority)));
    own || allowed.iter().any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(origin))
}

fn forbidden(code: &'static str, message: &str) -> Response {
    ApiError::new(StatusCode::FORBIDDEN, "permission_error", message).with_code(code).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("localhost", true)]
    #[case("LOCALHOST:8000", true)]
    #[case("127.0.0.1:8000", true)]
    #[case("127.1.2.3", true)]
    #[case("[::1]:8000", true)]
    #[case("[::1]", true)]
    #[case("evil.example", false)]
    #[case("localhost.evil.example", false)]
    #[case("127.0.0.1.evil.example", false)]
    #[case("evil.example:8000", false)]
    #[case("192.168.1.4:8000", false)]
    #[case("", false)]
    fn without_keys_only_loopback_s_names_are_hosts(#[case] host: &str, #[case] allowed: bool) {
        assert_eq!(host_is_allowed(Some(host), &[], true), allowed);
    }

    #[test]
    fn configured_hosts_are_allowed_and_with_keys_every_host_unless_some_are_configured() {
        let allowed = ["chat.example".to_owned()];
        assert!(host_is_allowed(Some("chat.example:443"), &allowed, true));
        assert!(!host_is_allowed(Some("other.example"), &allowed, false));
        assert!(host_is_allowed(Some("other.example"), &[], false));
        assert!(!host_is_allowed(None, &[], true));
    }

    #[rstest]
    #[case(None, true)]
    #[case(Some("http://localhost:8000"), true)]
    #[case(Some("https://chat.example"), true)]
    #[case(Some("https://evil.example"), false)]
    #[case(Some("http://localhost:3000"), false)]
    #[case(Some("null"), false)]
    #[case(Some(""), false)]
    fn origins_are_none_own_or_configured(#[case] origin: Option<&str>, #[case] allowed: bool) {
        assert_eq!(
            origin_is_allowed(origin, Some("localhost:8000"), &["https://chat.example/".to_owned()]),
            allowed
        );
    }

    #[rstest]
    #[case(&[("authorization", "Bearer k")], Some("k"))]
    #[case(&[("authorization", "bearer  k ")], Some("k"))]
    #[case(&[("x-api-key", "k")], Some("k"))]
    #[case(&[("authorization", "Bearer a"), ("x-api-key", "b")], Some("a"))]
    #[case(&[("authorization", "Basic eDp5"), ("x-api-key", "b")], Some("b"))]
    #[case(&[("authorization", "Bearer")], None)]
    #[case(&[], None)]
    fn a_key_is_found_in_both_headers(
        #[case] headers: &[(&'static str, &'static str)],
        #[case] key: Option<&str>,
    ) {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect::<Vec<(axum::http::HeaderName, _)>>()
            .into_iter()
            .collect();
        assert_eq!(offered_key(&headers), key.map(str::as_bytes));
    }
}
