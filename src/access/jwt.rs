//! JSON Web Tokens (RFC 7519) of an issuer that the operator trusts: the second way in, beside keys.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::api_key::hex;
use super::denied::Denied;
use crate::caller::{Caller, CallerId, Limits, TenantName};

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;

/// The longest `sub` and `name`, in bytes.
const MAX_WORD: usize = 256;

/// Seconds that the issuer's clock and this one may be apart.
const LEEWAY: u64 = 30;

/// How long a secret of HS256 must be at least, in bytes (RFC 7518, 3.2).
const MIN_SECRET: usize = 32;

/// How many characters of base64 a public RSA key of 2048 bits has at least in PEM; shorter keys are not to be used (RFC 7518, 3.3).
const MIN_RSA_PEM: usize = 340;

/// How tokens are signed. The operator names it; what a token says of it counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: a secret that the issuer shares.
    Hs256,
    /// RSA with SHA-256: the issuer's public key.
    Rs256,
    /// Ed25519: the issuer's public key.
    EdDsa,
}

/// Which tokens are believed.
#[derive(Debug, Clone)]
pub struct JwtSettings {
    /// How they are signed.
    pub algorithm: JwtAlgorithm,
    /// The secret of HS256, or the public key in PEM.
    pub key: SecretString,
    /// The one `iss`.
    pub issuer: String,
    /// What must be in `aud`.
    pub audience: String,
}

/// Looks whether tokens are to be believed.
#[derive(Clone)]
pub struct JwtVerifier {
    key: DecodingKey,
    validation: Validation,
    issuer: String,
}

/// What is read of a token, beside what [`Validation`] looks at.
#[derive(Deserialize)]
struct Claims {
    sub: String,
    name: Option<String>,
    tenant: Option<String>,
    models: Option<Vec<String>>,
}

impl JwtVerifier {
    /// A verifier of such tokens.
    ///
    /// # Errors
    /// When the key is none for the algorithm; the sentence holds nothing of it.
    pub fn new(settings: &JwtSettings) -> Result<Self, String> {
        let JwtSettings { algorithm, key, issuer, audience } = settings;
        let text = key.expose_secret().trim();
        let unreadable = |_| format!("it is no public key in PEM for {}", algorithm.name());
        let key = match algorithm {
            JwtAlgorithm::Hs256 if text.contains("-----BEGIN") => {
                return Err("HS256 takes a secret, not a key in PEM".to_owned());
            }
            JwtAlgorithm::Hs256 if text.len() < MIN_SECRET => {
                return Err(format!("a secret for HS256 has at least {MIN_SECRET} characters"));
            }
            JwtAlgorithm::Hs256 => DecodingKey::from_secret(text.as_bytes()).map_err(unreadable)?,
            JwtAlgorithm::Rs256 if pem_content(text) < MIN_RSA_PEM => {
                return Err("RS256 takes a public key of at least 2048 bits in PEM".to_owned());
            }
            JwtAlgorithm::Rs256 => DecodingKey::from_rsa_pem(text.as_bytes()).map_err(unreadable)?,
            JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(text.as_bytes()).map_err(unreadable)?,
        };
        let mut validation = Validation::new(algorithm.in_header());
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[issuer]);
        validation.set_audience(&[audience]);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY;
        Ok(Self { key, validation, issuer: issuer.clone() })
    }

    /// On whose behalf the bearer of a token asks.
    ///
    /// # Errors
    /// When the token is not to be believed.
    pub fn bearer(&self, token: &[u8]) -> Result<Caller, Denied> {
        if token.len() > MAX_TOKEN {
            return Err(Denied::Token("it is too long"));
        }
        let decoded = decode::<Claims>(token, &self.key, &self.validation);
        let claims = decoded.map_err(|error| Denied::Token(reason(error.kind())))?.claims;
        let words = [Some(&claims.sub), claims.name.as_ref()];
        let fits = |word: &&String| {
            !word.trim().is_empty() && word.len() <= MAX_WORD && !word.contains(char::is_control)
        };
        if !words.iter().flatten().all(fits) {
            return Err(Denied::Token("its `sub` or `name` is empty, too long or no plain text"));
        }
        let tenant = match claims.tenant {
            Some(name) => {
                TenantName::new(&name).ok_or(Denied::Token("its `tenant` is no name of a tenant"))?
            }
            None => TenantName::default(),
        };
        Ok(Caller {
            id: self.id_of(&claims.sub),
            name: claims.name.unwrap_or(claims.sub).into(),
            tenant,
            models: claims.models.map(Into::into),
            limits: Limits::default(),
            // A token ends with its time, and what it has begun may go on.
            ended: CancellationToken::new(),
        })
    }

    /// Subjects of other issuers are others.
    fn id_of(&self, subject: &str) -> CallerId {
        let mut hash = Sha256::new().chain_update((self.issuer.len() as u64).to_be_bytes());
        hash.update(&self.issuer);
        hash.update(subject);
        CallerId::new(&format!("jwt_{}", hex(&hash.finalize()[..16])))
    }
}

/// Whether what came as a key is meant to be a token: three parts, the first of them a JSON object in base64.
#[must_use]
pub fn looks_like_one(offered: &[u8]) -> bool {
    offered.starts_with(b"ey") && memchr::memchr_iter(b'.', offered).count() == 2
}

fn reason(kind: &ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ExpiredSignature => "it has expired",
        ErrorKind::ImmatureSignature => "it is not valid yet",
        ErrorKind::InvalidIssuer => "it is of another issuer",
        ErrorKind::InvalidAudience => "it is for another audience",
        ErrorKind::InvalidAlgorithm => "it is signed by another algorithm",
        ErrorKind::InvalidSignature => "its signature is wrong",
        ErrorKind::MissingRequiredClaim(_) => "it lacks one of `exp`, `iss`, `aud` and `sub`",
        _ => "it is malformed",
    }
}

/// How many characters stand between the first and the last line of a PEM.
fn pem_content(pem: &str) -> usize {
    pem.lines().filter(|line| !line.starts_with("-----")).map(|line| line.trim().len()).sum()
}

impl JwtAlgorithm {
    fn in_header(self) -> Algorithm {
        match self {
            Self::Hs256 => Algorithm::HS256,
            Self::Rs256 => Algorithm::RS256,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl std::fmt::Debug for JwtVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("JwtVerifier").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
