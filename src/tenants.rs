//! The model behind each tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::access::caller::TenantName;
use crate::claude::Claude;

/// The model as each tenant asks it: with a credential, a configuration folder and processes of its own. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants {
    default: Claude,
    /// Beside the default one.
    others: Arc<BTreeMap<TenantName, Claude>>,
}

impl Tenants {
    /// Only the default one.
    #[must_use]
    pub fn only(default: Claude) -> Self {
        Self { default, others: Arc::default() }
    }

    /// The one of the settings' own credential.
    #[must_use]
    pub fn default(&self) -> &Claude {
        &self.default
    }

    /// The one of that name, if there is one.
    #[must_use]
    pub fn of(&self, name: &TenantName) -> Option<&Claude> {
        if name.as_str() == TenantName::DEFAULT { Some(&self.default) } else { self.others.get(name) }
    }

    /// All of them, the default one first.
    pub fn iter(&self) -> impl Iterator<Item = (TenantName, &Claude)> {
        let default = std::iter::once((TenantName::default(), &self.default));
        default.chain(self.others.iter().map(|(name, claude)| (name.clone(), claude)))
    }

    /// Whether the server is about to stop and takes no more questions.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.default.is_draining()
    }

    /// Takes no more questions, gives open answers `grace` to end, then ends them with an error. No process is left.
    pub async fn shut_down(&self, grace: Duration) {
        futures_util::future::join_all(self.iter().map(|(_, claude)| claude.shut_down(grace))).await;
    }
}
