//! Who may come in, with keys that are made and revoked while the server runs, and with tokens.

mod cells;
mod command;
mod models;
mod revocation;
mod timing;
mod tokens;

use couplet::access::api_key;
use couplet::caller::Limits;
use couplet::caller::TenantName;
use couplet::store::Store;
use couplet::store::keys::StoredKey;
use jiff::Timestamp;

use crate::support::app::TestApp;

/// The server's database, as another process sees it.
fn store(app: &TestApp) -> Store {
    Store::open(&app.state.path().join("state")).expect("a database")
}

/// A key that is for anything, as `couplet keys new` makes it.
pub fn stored(key: &str) -> StoredKey {
    StoredKey {
        id: couplet::caller::CallerId::new(&format!("key_{key}")),
        hash: api_key::hash(key.as_bytes()),
        name: key.to_owned(),
        tenant: TenantName::default(),
        models: None,
        limits: Limits::default(),
        created_at: Timestamp::now(),
        expires_at: None,
        revoked_at: None,
    }
}
