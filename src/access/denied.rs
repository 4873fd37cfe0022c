//! Why somebody is not let in.

/// Why somebody is not let in. Only who holds a key hears that it was revoked or is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// No key came with the request.
    #[error("An API key is needed: `Authorization: Bearer <key>` or `x-api-key: <key>`.")]
    NoKey,
    /// The key is not known.
    #[error("The API key is not one of this server's.")]
    UnknownKey,
    /// The key was revoked.
    #[error("The API key was revoked. Whoever runs the server can make a new one with `couplet keys new`.")]
    RevokedKey,
    /// The key's time is over.
    #[error("The API key has expired. Whoever runs the server can make a new one with `couplet keys new`.")]
    ExpiredKey,
    /// The JSON Web Token is not to be believed.
    #[error("The JSON Web Token is not accepted: {0}.")]
    Token(&'static str),
    /// Nobody may administer the server.
    #[error("Nobody may do this: whoever runs the server can allow it by COUPLET_ADMIN_KEY.")]
    NoAdminKey,
    /// It takes another key.
    #[error("This takes the server's admin key (COUPLET_ADMIN_KEY).")]
    NotTheAdminKey,
}
