//! What is sent in place of a file: `data:` URLs, base64, and URLs that may or may not be fetched from.

#![no_main]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use couplet::media::address;
use couplet::media::data_url::{bytes_of_base64, bytes_of_url, declared_type};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // Every file comes back.
    let encoded = STANDARD.encode(bytes);
    assert_eq!(bytes_of_base64(&encoded).as_deref(), Ok(bytes));
    assert_eq!(bytes_of_url(&format!("data:image/png;base64,{encoded}")).as_deref(), Ok(bytes));
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(read) = bytes_of_url(text) {
        assert!(read.len() <= text.len(), "nothing is unpacked");
        assert_eq!(bytes_of_url(&format!(" {text}\n")), Ok(read), "white space around it does not count");
        assert!(declared_type(text).is_some_and(|kind| kind == kind.to_ascii_lowercase()));
    }
    if let Ok(read) = bytes_of_base64(text) {
        assert!(read.len() <= text.len());
        assert_eq!(bytes_of_base64(&STANDARD.encode(&read)), Ok(read));
    }
    if let Ok(url) = address::check(text) {
        assert_eq!(url.scheme(), "https");
        assert!(url.username().is_empty() && url.password().is_none());
        // What is fetched is what was checked, however it is written.
        assert_eq!(address::check(url.as_str()), Ok(url.clone()));
        match url.host().expect("a host") {
            url::Host::Ipv4(address) => assert!(address::is_public(address.into())),
            url::Host::Ipv6(address) => assert!(address::is_public(address.into())),
            url::Host::Domain(name) => {
                assert!(name.contains('.') && !name.eq_ignore_ascii_case("localhost"), "{name}");
                assert!(name.parse::<std::net::IpAddr>().is_err(), "{name}");
            }
        }
    }
});
