//! Where nothing is fetched from: every address that is not plainly one of the public internet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// The networks of IPv4 with a meaning of their own: IANA's special-purpose registry (RFC 6890 and later), multicast, and
/// one host that a cloud put into its public space.
const SPECIAL_V4: [(Ipv4Addr, u32); 19] = [
    // This network.
    (Ipv4Addr::UNSPECIFIED, 8),
    // Private.
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared by carriers (CGNAT); Alibaba's metadata service is in it.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    // Loopback.
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Azure's metadata and health service.
    (Ipv4Addr::new(168, 63, 129, 16), 32),
    // Link-local; the metadata services of most clouds are in it.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    // Private.
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    // Protocol assignments.
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    // Documentation.
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    // Sinks for reverse DNS.
    (Ipv4Addr::new(192, 31, 196, 0), 24),
    // Multicast tunnels.
    (Ipv4Addr::new(192, 52, 193, 0), 24),
    // Relays to IPv6 (6to4).
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    // Private.
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    // Sinks for reverse DNS.
    (Ipv4Addr::new(192, 175, 48, 0), 24),
    // Benchmarks.
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    // Documentation.
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    // Multicast, and reserved up to the broadcast address.
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// The part of IPv6 that is the public internet. Loopback, v4-mapped and v4-compatible addresses, both NAT64 prefixes,
/// unique local (with a metadata service of AWS), link-local, site-local and multicast addresses are all outside.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// The networks in it with a meaning of their own.
const SPECIAL_V6: [(Ipv6Addr, u32); 6] = [
    // Protocol assignments: Teredo, benchmarks, ORCHID and others.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    // Documentation.
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // IPv4 in IPv6 (6to4).
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    // Sinks for reverse DNS.
    (Ipv6Addr::new(0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0), 48),
    // The former test network.
    (Ipv6Addr::new(0x3ffe, 0, 0, 0, 0, 0, 0, 0), 16),
    // Documentation.
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Names that never mean a host of the public internet, and all names below them.
const SPECIAL_NAMES: [&str; 9] =
    ["alt", "arpa", "internal", "invalid", "lan", "local", "localhost", "onion", "test"];

/// Whether an address is one of the public internet, with no other meaning.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|&(network, length)| in_v4(address, network, length)),
        IpAddr::V6(address) => {
            in_v6(address, PUBLIC_V6.0, PUBLIC_V6.1)
                && !SPECIAL_V6.iter().any(|&(network, length)| in_v6(address, network, length))
                && !is_tunnel(address)
        }
    }
}

fn in_v4(address: Ipv4Addr, network: Ipv4Addr, length: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= length
}

fn in_v6(address: Ipv6Addr, network: Ipv6Addr, length: u32) -> bool {
    (address.to_bits() ^ network.to_bits()).leading_zeros() >= length
}

/// An address whose last half holds an IPv4 address to which a router of the site sends what it gets (ISATAP).
fn is_tunnel(address: Ipv6Addr) -> bool {
    let [_, _, _, _, mark, protocol, _, _] = address.segments();
    protocol == 0x5efe && mark & !0x0200 == 0
}

/// Why nothing is fetched from a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read.
    #[error("is no valid URL")]
    Invalid,
    /// It is not https.
    #[error("must be an https: or data: URL")]
    Scheme,
    /// It holds a name or password.
    #[error("must hold no user name and no password")]
    Credentials,
    /// It names a port that belongs to another service.
    #[error("must use port 443 or one above 1023")]
    Port,
    /// It leads, or may lead, to somewhere else than the public internet.
    #[error("must lead to a public address")]
    Private,
}

/// Reads a URL and checks everything about it that shows without asking anybody: also the address, where it has one in
/// place of a name, in whichever form (`0x7f.1`, `2130706433`, `[::ffff:7f00:1]`).
pub fn check(text: &str) -> Result<Url, Refusal> {
    let url = Url::parse(text).map_err(|_| Refusal::Invalid)?;
    check_url(&url)?;
    Ok(url)
}

/// The same for a URL that has been read.
pub fn check_url(url: &Url) -> Result<(), Refusal> {
    if url.scheme() != "https" {
        return Err(Refusal::Scheme);
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Refusal::Credentials);
    }
    let public = match url.host() {
        None => return Err(Refusal::Invalid),
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        Some(Host::Domain(name)) => is_public_name(name),
    };
    if !public {
        return Err(Refusal::Private);
    }
    if url.port().is_some_and(|port| port < 1024) {
        return Err(Refusal::Port);
    }
    Ok(())
}

fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    match name.rsplit_once('.') {
        Some((rest, top)) => !rest.is_empty() && !SPECIAL_NAMES.contains(&top),
        // A host of the own network.
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    /// First and last address of each forbidden range, and whether its neighbours are public.
    #[rstest]
    #[case("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0"))]
    #[case("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0"))]
    #[case("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0"))]
    #[case("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0"))]
    #[case("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17"))]
    #[case("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0"))]
    #[case("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0"))]
    #[case("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0"))]
    #[case("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0"))]
    #[case("192.31.196.0", "192.31.196.255", Some("192.31.195.255"), Some("192.31.197.0"))]
    #[case("192.52.193.0", "192.52.193.255", Some("192.52.192.255"), Some("192.52.194.0"))]
    #[case("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0"))]
    #[case("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0"))]
    #[case("192.175.48.0", "192.175.48.255", Some("192.175.47.255"), Some("192.175.49.0"))]
    #[case("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0"))]
    #[case("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0"))]
    #[case("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0"))]
    #[case("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None)]
    #[case("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::"))]
    #[case("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff::"), Some("2001:200::"))]
    #[case(
        "2001:db8::",
        "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
        Some("2001:db7:ffff::"),
        Some("2001:db9::")
    )]
    #[case("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:ffff::"), Some("2003::"))]
    #[case(
        "2620:4f:8000::",
        "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
        Some("2620:4f:7fff::"),
        Some("2620:4f:8001::")
    )]
    #[case("3ffe::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3ffd:ffff::"), Some("3fff:1000::"))]
    #[case("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3fff:ffff::"), None)]
    fn each_range_is_forbidden_from_end_to_end_and_no_further(
        #[case] first: &str,
        #[case] last: &str,
        #[case] before: Option<&str>,
        #[case] after: Option<&str>,
    ) {
        let public = |text: &str| is_public(text.parse().unwrap());
        assert!(!public(first) && !public(last), "{first} to {last}");
        assert!(before.is_none_or(public) && after.is_none_or(public), "around {first} to {last}");
    }

    #[rstest]
    #[case("::1")]
    #[case("::ffff:8.8.8.8")]
    #[case("::ffff:127.0.0.1")]
    #[case("::8.8.8.8")]
    #[case("64:ff9b::8.8.8.8")]
    #[case("64:ff9b:1::8.8.8.8")]
    #[case("100::1")]
    #[case("2001::1")]
    #[case("2001:2::1")]
    #[case("2001:10::1")]
    #[case("2001:20::1")]
    #[case("2002:7f00:1::1")]
    #[case("5f00::1")]
    #[case("fc00::1")]
    #[case("fd00:ec2::254")]
    #[case("fe80::1")]
    #[case("fec0::1")]
    #[case("ff02::1")]
    #[case("2600::5efe:7f00:1")]
    #[case("2600::200:5efe:a00:1")]
    fn every_special_form_of_ipv6_is_forbidden(#[case] address: &str) {
        assert!(!is_public(address.parse().unwrap()));
    }

    #[rstest]
    #[case("1.1.1.1")]
    #[case("8.8.8.8")]
    #[case("93.184.216.34")]
    #[case("2606:4700::6810:84e5")]
    #[case("2a00:1450:4001::200e")]
    fn addresses_of_the_internet_are_public(#[case] address: &str) {
        assert!(is_public(address.parse().unwrap()));
    }

    #[rstest]
    #[case("https://example.org/x.png", Ok(()))]
    #[case("https://EXAMPLE.org:8443/x.png?a=b#c", Ok(()))]
    #[case("https://xn--bcher-kva.example.com/", Ok(()))]
    #[case("https://8.8.8.8/", Ok(()))]
    #[case("http://example.org/", Err(Refusal::Scheme))]
    #[case("file:///etc/passwd", Err(Refusal::Scheme))]
    #[case("https://ann@example.org/", Err(Refusal::Credentials))]
    #[case("https://:pw@example.org/", Err(Refusal::Credentials))]
    #[case("https://example.org:22/", Err(Refusal::Port))]
    #[case("https://example.org:0/", Err(Refusal::Port))]
    #[case("https://2130706433/", Err(Refusal::Private))]
    #[case("https://metadata/", Err(Refusal::Private))]
    #[case("https://a.localhost./", Err(Refusal::Private))]
    #[case("https:///x", Err(Refusal::Private))]
    #[case("x.png", Err(Refusal::Invalid))]
    #[case("https://", Err(Refusal::Invalid))]
    #[case("https://exa mple.org/", Err(Refusal::Invalid))]
    fn a_url_is_checked_before_anybody_is_asked(#[case] url: &str, #[case] outcome: Result<(), Refusal>) {
        assert_eq!(check(url).map(|_| ()), outcome);
    }

    proptest! {
        #[test]
        fn an_ipv4_address_in_any_ipv6_dress_is_forbidden(bits in any::<u32>()) {
            let [a, b, c, d] = bits.to_be_bytes();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            for dressed in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, high, low),
            ] {
                prop_assert!(!is_public(dressed.into()), "{}", dressed);
            }
        }

        #[test]
        fn every_way_to_write_a_private_address_is_seen_through(last in 1u8..255, form in 0usize..6) {
            let bits = u32::from_be_bytes([127, 0, 0, last]);
            let host = match form {
                0 => format!("{bits}"),
                1 => format!("0x{bits:x}"),
                2 => format!("0{bits:o}"),
                3 => format!("127.{last}"),
                4 => format!("0177.0.0x0.{last}"),
                _ => format!("127.0.0.{last}."),
            };
            prop_assert_eq!(check(&format!("https://{host}/x.png")).map(|_| ()), Err(Refusal::Private));
        }
    }
}
