//! Which known name an unknown one was meant to be.

/// `; did you mean "port"?` where a known name is near, else nothing.
pub fn did_you_mean<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(unknown, known).map_or_else(String::new, |name| format!("; did you mean {name:?}?"))
}

/// The known name that is nearest, if one is near at all. Case, the prefix `COUPLET_` and the kind of dash do not count.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| {
        let name = name.to_ascii_lowercase().replace('-', "_");
        name.strip_prefix("couplet_").map(ToOwned::to_owned).unwrap_or(name)
    };
    let wanted = plain(unknown);
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&wanted, &plain(name)), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("COUPLET_PORT", Some("PORT"))]
    #[case("COUPLET_API_KEY", Some("COUPLET_API_KEYS"))]
    #[case("COUPLET_IDEL_TIMEOUT", Some("COUPLET_IDLE_TIMEOUT"))]
    #[case("api-keys", Some("COUPLET_API_KEYS"))]
    #[case("COUPLET_WOMBAT", None)]
    fn a_slip_is_recognised(#[case] unknown: &str, #[case] meant: Option<&str>) {
        assert_eq!(nearest(unknown, ["PORT", "COUPLET_API_KEYS", "COUPLET_IDLE_TIMEOUT"]), meant);
    }
}
