//! The model behind each tenant.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use crate::caller::{Limits, TenantName};
use crate::claude::account::CredentialOrigin;
use crate::claude::credential::Credential;
use crate::claude::failure::TurnFailure;
use crate::claude::machine::Machine;
use crate::claude::sandbox::SandboxMode;
use crate::claude::{Claude, ClaudeSettings, Processes};

/// A tenant beside the default one.
#[derive(Debug, Clone)]
pub struct TenantSettings {
    /// How the CLI signs in for this tenant, and for nobody else.
    pub credential: Credential,
    /// Turns at once; where it is `None`, as many as there are in all.
    pub max_concurrency: Option<NonZeroUsize>,
    /// How much may be asked on behalf of the tenant, by all its callers together.
    pub limits: Limits,
}

/// The model as each tenant asks it: with a credential, a configuration folder and processes of its own. The memory, the places
/// for turns and the starts of processes are those of the one machine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants {
    machine: Machine,
    /// `None` where nobody is signed in but tenants.
    default: Option<Claude>,
    /// Beside the default one.
    others: Arc<BTreeMap<TenantName, Claude>>,
}

impl Tenants {
    /// The default one, with the credential of `settings`, if there is one, and `others`, each with its own. What `settings` bound is bounded for
    /// all of them together. No process is started yet.
    ///
    /// # Errors
    /// When the folders cannot be made or the thread that starts processes cannot be started.
    pub fn new(settings: ClaudeSettings, others: BTreeMap<TenantName, TenantSettings>) -> io::Result<Self> {
        let machine = Machine::new(&settings)?;
        let other = |(name, tenant): (TenantName, TenantSettings)| {
            let mut own = settings.clone();
            own.process.credential = tenant.credential;
            if own.account.origin != CredentialOrigin::MadeUp {
                own.account.origin = CredentialOrigin::Setting("COUPLET_TENANTS".to_owned());
            }
            own.max_concurrency = tenant
                .max_concurrency
                .map_or(own.max_concurrency, |most| most.get().min(own.max_concurrency));
            let claude = Claude::on(&machine, own, Some(name.as_str()))?;
            Ok((name, claude))
        };
        let others = others.into_iter().map(other).collect::<io::Result<_>>()?;
        let default = match settings.process.credential {
            Credential::Missing => None,
            _ => Some(Claude::on(&machine, settings, None)?),
        };
        Ok(Self { machine, default, others: Arc::new(others) })
    }

    /// The one of the settings' own credential, if there is one.
    #[must_use]
    pub fn default(&self) -> Option<&Claude> {
        self.default.as_ref()
    }

    /// The one of that name, if there is one.
    #[must_use]
    pub fn of(&self, name: &TenantName) -> Option<&Claude> {
        if name.as_str() == TenantName::DEFAULT { self.default() } else { self.others.get(name) }
    }

    /// All of them, the default one first.
    pub fn iter(&self) -> impl Iterator<Item = (TenantName, &Claude)> {
        let default = self.default.iter().map(|claude| (TenantName::default(), claude));
        default.chain(self.others.iter().map(|(name, claude)| (name.clone(), claude)))
    }

    /// How many there are, the default one included.
    #[must_use]
    pub fn number(&self) -> usize {
        self.others.len() + usize::from(self.default.is_some())
    }

    /// Whether the CLI's processes are confined, whosever they are.
    #[must_use]
    pub fn sandbox(&self) -> SandboxMode {
        self.machine.sandbox()
    }

    /// The version of the installed CLI, which is the same for all.
    ///
    /// # Errors
    /// When there is no usable one.
    pub async fn cli_version(&self) -> Result<&str, TurnFailure> {
        self.machine.cli_version().await
    }

    /// How many more turns could start at once, of whichever tenant.
    #[must_use]
    pub fn free_places(&self) -> usize {
        self.machine.free_places()
    }

    /// What the processes of all of them do.
    #[must_use]
    pub fn processes(&self) -> Processes {
        let none = self.machine.processes();
        self.iter().fold(none, |all, (_, claude)| all.and(claude.processes()))
    }

    /// Keeps processes waiting for questions, in the background: some for the default one always, for another only while it is
    /// used.
    pub fn keep_warm(&self) {
        for (_, claude) in self.iter() {
            claude.keep_warm();
        }
    }

    /// Whether the server is about to stop and takes no more questions.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.iter().next().is_some_and(|(_, claude)| claude.is_draining())
    }

    /// Takes no more questions, gives open answers `grace` to end, then ends them with an error. No process is left.
    pub async fn shut_down(&self, grace: Duration) {
        futures_util::future::join_all(self.iter().map(|(_, claude)| claude.shut_down(grace))).await;
    }
}
