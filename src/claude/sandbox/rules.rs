//! Which files and ports a process gets. Pure.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use url::Url;

use super::{Configuration, Environment, SandboxMode, SandboxSettings};

/// HTTPS, where no other port is named.
const HTTPS: u16 = 443;

/// DNS, where an answer is too long for UDP.
const DNS: u16 = 53;

/// What every process reads, where it is there: the names of hosts, the certificates that are trusted, the time zone, and what
/// the C library and the CLI's runtime look at in themselves and the machine. Links are followed, so a file that is
/// also in a folder of the list is in it for where it may lead.
const READ: [&str; 37] = [
    "/etc/ld.so.cache",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs",
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted",
    "/etc/ca-certificates/extracted",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/usr/share/pki/ca-trust-source",
    "/usr/share/ssl/certs",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    // What the machine's administrator prescribes to every CLI.
    "/etc/claude-code",
    "/dev/null",
    "/dev/urandom",
    "/dev/random",
    "/proc/self",
    "/proc/version",
    "/proc/stat",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/mmap_min_addr",
    "/sys/devices/system/cpu",
    "/sys/kernel/mm/transparent_hugepage",
];

/// Names the folder in which the CLI makes one for temporary files. It must be there and readable; without the right to
/// write, the CLI leaves nothing in it (seen on 2.1.329: in `/tmp` every process leaves a folder `fswatch-probe-…`).
pub const TEMPORARY: &str = "CLAUDE_CODE_TMPDIR";

/// Where what is written is lost.
const NOWHERE: &str = "/dev/null";

/// Files of certificates, named by a variable.
const CERTIFICATES: [&str; 3] = ["NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// Proxies, named by a variable.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];

/// What a process may do; all else it may not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether it may not be started where the kernel does not enforce them.
    pub is_required: bool,
    /// Files and folders to read.
    pub read: BTreeSet<PathBuf>,
    /// Files and folders to read and execute.
    pub execute: BTreeSet<PathBuf>,
    /// Files and folders to read and write, and to make and remove things in.
    pub write: BTreeSet<PathBuf>,
    /// TCP ports to connect to, on any host.
    pub connect: BTreeSet<u16>,
}

impl Rules {
    /// Those of a process with that environment, which may look into the folder it works in, if it has one of its own.
    #[must_use]
    pub fn of(
        settings: &SandboxSettings,
        work: Option<&Path>,
        environment: &Environment,
        configuration: Configuration,
    ) -> Self {
        let set = |name: &'static str| {
            let values = environment.iter().filter(move |(variable, _)| variable == name);
            values.map(|(_, value)| value.as_os_str()).filter(|value| !value.is_empty())
        };
        let mut rules = Self { is_required: settings.mode == SandboxMode::Require, ..Self::default() };
        rules.read.extend(READ.map(PathBuf::from));
        rules.read.extend(work.map(Path::to_owned));
        rules.read.extend(["HOME", TEMPORARY].into_iter().flat_map(set).map(PathBuf::from));
        rules.read.extend(CERTIFICATES.into_iter().flat_map(set).map(PathBuf::from));
        rules.write.insert(NOWHERE.into());
        let configured = set("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        match configuration {
            Configuration::Couplets => rules.read.extend(configured),
            Configuration::Owners => rules.write.extend(configured),
        }
        for more in &settings.more {
            rules.execute.insert(more.path.clone());
            if more.is_writable {
                rules.write.insert(more.path.clone());
            }
        }
        // A login that the CLI keeps by itself is renewed at Anthropic's, wherever its API is.
        rules.connect.extend([DNS, HTTPS]);
        let servers = set("ANTHROPIC_BASE_URL").chain(PROXIES.into_iter().flat_map(set));
        rules.connect.extend(servers.filter_map(port));
        rules
    }

    /// Whether there are files that a process may write.
    #[must_use]
    pub fn writes_files(&self) -> bool {
        self.write.iter().any(|path| path != Path::new(NOWHERE))
    }

    /// These and others.
    #[must_use]
    pub fn with(mut self, others: Self) -> Self {
        self.read.extend(others.read);
        self.execute.extend(others.execute);
        self.write.extend(others.write);
        self.connect.extend(others.connect);
        self
    }

    /// As arguments of a program.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<OsString> {
        let required = self.is_required.then(|| OsString::from("required"));
        let paths = [("read=", &self.read), ("execute=", &self.execute), ("write=", &self.write)];
        let paths = paths.into_iter().flat_map(|(kind, paths)| {
            paths.iter().map(move |path| [OsStr::new(kind), path.as_os_str()].into_iter().collect())
        });
        let ports = self.connect.iter().map(|port| OsString::from(format!("connect={port}")));
        required.into_iter().chain(paths).chain(ports).collect()
    }

    /// Reads what [`Rules::to_arguments`] made.
    #[must_use]
    pub fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let mut rules = Self::default();
        for argument in arguments {
            let bytes = argument.as_bytes();
            let path = |kind: &str| {
                bytes.strip_prefix(kind.as_bytes()).map(|path| PathBuf::from(OsStr::from_bytes(path)))
            };
            if bytes == b"required" {
                rules.is_required = true;
            } else if let Some(path) = path("read=") {
                rules.read.insert(path);
            } else if let Some(path) = path("execute=") {
                rules.execute.insert(path);
            } else if let Some(path) = path("write=") {
                rules.write.insert(path);
            } else {
                rules.connect.insert(argument.to_str()?.strip_prefix("connect=")?.parse().ok()?);
            }
        }
        Some(rules)
    }
}

/// The port of a server that a URL names. Proxies are also written without a scheme.
fn port(url: &OsStr) -> Option<u16> {
    let url = url.to_str()?;
    match Url::parse(url).ok().filter(Url::has_host) {
        Some(url) => url.port_or_known_default(),
        None => Url::parse(&format!("http://{url}")).ok()?.port(),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::claude::sandbox::MorePath;

    fn rules(settings: &SandboxSettings, environment: &[(&str, &str)]) -> Rules {
        let environment: Vec<(OsString, OsString)> =
            environment.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Rules::of(settings, Some(Path::new("/state/empty")), &environment, Configuration::Couplets)
    }

    fn paths(paths: &[&str]) -> BTreeSet<PathBuf> {
        paths.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_process_writes_nothing_but_a_configuration_that_is_its_owner_s() {
        let environment = [
            ("HOME", "/state/home"),
            ("CLAUDE_CONFIG_DIR", "/state/config"),
            ("CLAUDE_CODE_TMPDIR", "/state/tmp"),
        ];
        let rules = rules(&SandboxSettings::auto(), &environment);
        assert_eq!(rules.write, paths(&["/dev/null"]));
        assert_eq!(rules.execute, paths(&[]));
        assert!(
            paths(&["/state/empty", "/state/home", "/state/tmp", "/state/config"]).is_subset(&rules.read)
        );
        let owners: Vec<(OsString, OsString)> =
            vec![("CLAUDE_CONFIG_DIR".into(), "/home/ann/.claude".into())];
        let owners = Rules::of(&SandboxSettings::auto(), None, &owners, Configuration::Owners);
        assert_eq!(owners.write, paths(&["/dev/null", "/home/ann/.claude"]));
        assert_eq!(rules.connect, [53, 443].into());
        assert!(!rules.is_required);
    }

    #[test]
    fn nothing_that_is_read_holds_what_is_nobody_s_business() {
        let rules = rules(&SandboxSettings::auto(), &[("HOME", "/state/home")]);
        let secret = [
            "/etc/passwd",
            "/etc/shadow",
            "/etc/ssl/private/server.key",
            "/etc/pki/tls/private/server.key",
            "/etc/machine-id",
            "/root/.ssh/id",
            "/home/ann/.claude",
            "/tmp/x",
            "/var/lib/couplet/couplet.db",
            "/proc/1/environ",
            "/proc/1/cmdline",
            "/state/couplet.db",
            "/run/docker.sock",
            "/bin/sh",
            "/usr/bin/env",
            "/dev/mem",
        ];
        let all = || rules.read.iter().chain(&rules.execute).chain(&rules.write);
        let open = secret.iter().filter(|path| all().any(|granted| Path::new(path).starts_with(granted)));
        assert_eq!(open.collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[rstest]
    #[case(&[("ANTHROPIC_BASE_URL", "http://127.0.0.1:8080/v1")], &[8080])]
    #[case(&[("ANTHROPIC_BASE_URL", "http://gateway.example")], &[80])]
    #[case(&[("ANTHROPIC_BASE_URL", "https://gateway.example/")], &[])]
    #[case(&[("HTTPS_PROXY", "http://user:secret@proxy.example:3128")], &[3128])]
    #[case(&[("https_proxy", "proxy.example:3129"), ("HTTPS_PROXY", "https://proxy.example")], &[3129])]
    #[case(&[("ANTHROPIC_BASE_URL", "script:/x"), ("HTTPS_PROXY", "")], &[])]
    fn ports_are_those_of_the_servers_that_are_named(
        #[case] environment: &[(&str, &str)],
        #[case] expected: &[u16],
    ) {
        let expected: BTreeSet<u16> = expected.iter().copied().chain([53, 443]).collect();
        assert_eq!(rules(&SandboxSettings::auto(), environment).connect, expected);
    }

    #[test]
    fn certificates_of_one_s_own_are_read() {
        let rules = rules(&SandboxSettings::auto(), &[("NODE_EXTRA_CA_CERTS", "/etc/corp/ca.pem")]);
        assert!(rules.read.contains(Path::new("/etc/corp/ca.pem")));
    }

    #[test]
    fn what_the_operator_adds_is_added() {
        let more = [("/opt/node", false), ("/srv/notes", true)];
        let more = more.map(|(path, is_writable)| MorePath { path: path.into(), is_writable });
        let settings = SandboxSettings { mode: SandboxMode::Require, more: more.into() };
        let rules = rules(&settings, &[]);
        assert_eq!(rules.execute, paths(&["/opt/node", "/srv/notes"]));
        assert_eq!(rules.write, paths(&["/dev/null", "/srv/notes"]));
        assert!(rules.is_required);
    }
}
