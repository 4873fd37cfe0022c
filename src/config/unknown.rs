//! Names that are no setting. A slip in a name would do nothing, silently; so it is refused.

use std::ffi::OsStr;

use super::flags::CONFIG_VARIABLE;
use super::nearest::did_you_mean;
use super::settings::Settings;
use super::values::Shape;

/// What begins like this is Couplet's own.
const PREFIX: &str = "COUPLET_";

/// What variables of the test suite begin with.
const OF_TESTS: [&str; 2] = ["COUPLET_SKIP_", "COUPLET_UPDATE_"];

/// What is wrong with a variable's name, if anything is. Names of other programs are none of our business.
pub fn variable(name: &str, value: &OsStr, source: &str) -> Option<String> {
    let known = known_variables();
    let ours = name.starts_with(PREFIX) && !OF_TESTS.iter().any(|of_tests| name.starts_with(of_tests));
    if !ours || known.iter().any(|known| known == name) || is_service_link(name, value) {
        return None;
    }
    let hint = did_you_mean(name, known.iter().map(String::as_str));
    Some(format!(
        "There is no setting {name} ({source}){hint} `couplet config` lists all settings.",
        hint = if hint.is_empty() { "." } else { &hint }
    ))
}

/// What is wrong with a key of couplet.toml, if anything is.
pub fn key(key: &str, source: &str) -> Option<String> {
    if shape_of_key(key).is_some() {
        return None;
    }
    let known = known_keys();
    let hint = did_you_mean(key, known.iter().map(String::as_str));
    let hint = if hint.is_empty() { "." } else { &hint };
    Some(format!("There is no setting {key:?} ({source}){hint} Known are: {}.", known.join(", ")))
}

/// The shape of a key of couplet.toml, if there is such a key.
#[must_use]
pub fn shape_of_key(key: &str) -> Option<Shape> {
    Settings::table().iter().find_map(|row| {
        if row.key == key {
            Some(row.shape)
        } else {
            row.of_file().is_some_and(|file| file.key == key).then_some(Shape::Text)
        }
    })
}

fn known_variables() -> Vec<String> {
    let table = Settings::table().iter();
    let settings = table.flat_map(|row| {
        [Some(row.variable.to_owned()), row.of_file().map(|file| file.variable)].into_iter().flatten()
    });
    settings.chain([CONFIG_VARIABLE.to_owned()]).collect()
}

fn known_keys() -> Vec<String> {
    let table = Settings::table().iter();
    table
        .flat_map(|row| [Some(row.key.to_owned()), row.of_file().map(|file| file.key)].into_iter().flatten())
        .collect()
}

/// Kubernetes puts the addresses of services into the environment of every container. One that is called `couplet`, or
/// begins so, gives it `COUPLET_SERVICE_HOST`, `COUPLET_PORT=tcp://…` and more.
fn is_service_link(name: &str, value: &OsStr) -> bool {
    let protocols = ["_TCP", "_UDP", "_SCTP"];
    let is_address = value
        .to_str()
        .is_some_and(|value| ["tcp://", "udp://", "sctp://"].iter().any(|p| value.starts_with(p)));
    let of_port = ["_PROTO", "_PORT", "_ADDR"]
        .iter()
        .filter_map(|end| name.strip_suffix(end))
        .any(|name| protocols.iter().any(|protocol| name.ends_with(protocol)));
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || of_port
        || (is_address
            && (name.ends_with("_PORT") || protocols.iter().any(|protocol| name.ends_with(protocol))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("COUPLET_PROT", "9", Some("did you mean \"PORT\"?"))]
    #[case("COUPLET_PORT", "9", Some("did you mean \"PORT\"?"))]
    #[case("COUPLET_API_KEY", "k", Some("did you mean \"COUPLET_API_KEYS\"?"))]
    #[case("COUPLET_WOMBAT", "1", Some("There is no setting COUPLET_WOMBAT (x). `couplet config`"))]
    #[case("COUPLET_API_KEYS_FILE", "/x", None)]
    #[case("COUPLET_CONFIG", "/x", None)]
    #[case("COUPLET_SKIP_REAL_CLI", "1", None)]
    #[case("COUPLET_UPDATE_DOCS", "1", None)]
    #[case("WOMBAT", "1", None)]
    #[case("COUPLET_PORT", "tcp://10.0.0.1:8000", None)]
    #[case("COUPLET_PORT_8000_TCP", "tcp://10.0.0.1:8000", None)]
    #[case("COUPLET_PORT_8000_TCP_ADDR", "10.0.0.1", None)]
    #[case("COUPLET_SERVICE_PORT_HTTP", "8000", None)]
    #[case("COUPLET_WEB_SERVICE_HOST", "10.0.0.1", None)]
    fn slips_are_refused_and_the_variables_of_others_are_not(
        #[case] name: &str,
        #[case] value: &str,
        #[case] expected: Option<&str>,
    ) {
        let problem = variable(name, OsStr::new(value), "x");
        assert_eq!(problem.is_some(), expected.is_some(), "{problem:?}");
        let problem = problem.unwrap_or_default();
        assert!(problem.contains(expected.unwrap_or_default()), "{problem}");
    }

    #[test]
    fn a_key_is_refused_with_its_neighbour_and_all_that_there_are() {
        let problem = key("max_concurency", "couplet.toml line 4").unwrap();
        assert!(problem.contains("couplet.toml line 4); did you mean \"max_concurrency\"?"), "{problem}");
        assert!(problem.contains("api_keys_file") && problem.ends_with("model_aliases."), "{problem}");
        assert_eq!(key("claude_code_oauth_token_file", "x"), None);
    }
}
