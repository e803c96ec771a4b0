//! Access tokens for Google's cloud, from a service account's key file or a user's credentials
//! (<https://developers.google.com/identity/protocols/oauth2/service-account#httprest>). One token is kept
//! until five minutes before its end, and however many ask at once, one request fetches the next. What
//! is said of a failure never holds a part of a key.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::{Url, form_urlencoded};

use crate::ground::secret::Secret;

/// Someone who may have tokens.
pub struct Account {
    /// The project the account lives in, where the file says so.
    pub project: Option<String>,
    token_uri: Url,
    proof: Proof,
}

/// The tokens of one account.
#[derive(Debug)]
pub struct Tokens {
    account: Account,
    state: Mutex<State>,
    failures: AtomicU64,
}

/// The credentials cannot be used; the text says what is wrong with them and nothing of what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable(pub &'static str);

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Google's token endpoint could not be reached, or did not answer in time.
    Unreachable,
    /// It refused, with OAuth's word for it: `invalid_grant` for a revoked key or a clock that is off.
    Refused { status: u16, error: String },
    /// It answered with something that is no token.
    Garbage,
    /// The key could not sign.
    Unsigned,
}

impl Account {
    /// Reads a key file (`service_account`) or what `gcloud auth application-default login` leaves
    /// (`authorized_user`).
    ///
    /// # Errors
    /// What is missing or wrong.
    pub fn read(file: &Secret) -> Result<Self, Unusable> {
        let file: File = serde_json::from_str(file.expose())
            .map_err(|_| Unusable("the Google credentials are not JSON of the known form"))?;
        let proof = match file.kind.as_deref() {
            Some("service_account") => {
                let key = file.private_key.ok_or(Unusable("`private_key` is missing"))?;
                Proof::Key {
                    email: file.client_email.ok_or(Unusable("`client_email` is missing"))?,
                    id: file.private_key_id,
                    pair: Box::new(key_pair(&Secret::new(key))?),
                }
            }
            Some("authorized_user") => {
                let secret = file.client_secret.ok_or(Unusable("`client_secret` is missing"))?;
                let token = file.refresh_token.ok_or(Unusable("`refresh_token` is missing"))?;
                Proof::Refresh {
                    client: file.client_id.ok_or(Unusable("`client_id` is missing"))?,
                    secret: Secret::new(secret),
                    token: Secret::new(token),
                }
            }
            _ => {
                let known =
                    "the Google credentials are neither a service_account nor an authorized_user";
                return Err(Unusable(known));
            }
        };
        let token_uri = file.token_uri.as_deref().unwrap_or(TOKEN_URI);
        let token_uri = token_uri.parse().map_err(|_| Unusable("`token_uri` is not a URL"))?;
        Ok(Self { project: file.project_id.or(file.quota_project_id), token_uri, proof })
    }
}

impl Tokens {
    pub fn new(account: Account) -> Self {
        Self { account, state: Mutex::default(), failures: AtomicU64::new(0) }
    }

    pub fn account(&self) -> &Account {
        &self.account
    }

    /// A token that is good for some minutes yet. Whoever comes while one is being fetched waits for it, and
    /// shares its failure.
    ///
    /// # Errors
    /// There is no token, and none could be fetched.
    pub async fn get(&self, client: &reqwest::Client, now: Timestamp) -> Result<Secret, Denied> {
        let seen = self.failures.load(Ordering::Acquire);
        let mut state = self.state.lock().await;
        if let Some(token) = state.fresh(now) {
            return Ok(token);
        }
        if self.failures.load(Ordering::Acquire) != seen
            && let Some(denied) = &state.denied
        {
            return Err(denied.clone());
        }
        match self.account.fetch(client, now).await {
            Ok(kept) => {
                let token = kept.token.clone();
                *state = State { kept: Some(kept), denied: None };
                Ok(token)
            }
            Err(denied) => {
                self.failures.fetch_add(1, Ordering::AcqRel);
                state.denied = Some(denied.clone());
                state.old(now).ok_or(denied)
            }
        }
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("project", &self.project).finish_non_exhaustive()
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unusable {}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable => f.write_str("google's token endpoint cannot be reached"),
            Self::Refused { status, error } => {
                write!(f, "google refused a token: {error} (status {status})")
            }
            Self::Garbage => f.write_str("google's token endpoint gave no token"),
            Self::Unsigned => f.write_str("the private key could not sign"),
        }
    }
}

impl std::error::Error for Denied {}

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most that is read of an answer: a token has about a kilobyte.
const MAX_ANSWER: usize = 64 * 1024;
/// How long before its end a token is replaced.
const MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// How long a token that could not be replaced is used on before the next try.
const RETRY: SignedDuration = SignedDuration::from_secs(30);
const HOUR: i64 = 3600;

/// What is shown for a token.
enum Proof {
    Key { email: String, id: Option<String>, pair: Box<RsaKeyPair> },
    Refresh { client: String, secret: Secret, token: Secret },
}

/// The credentials as they are written. Unknown members are passed over.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: Option<String>,
    client_email: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
    project_id: Option<String>,
    quota_project_id: Option<String>,
    refresh_token: Option<String>,
    token_uri: Option<String>,
}

#[derive(Debug, Default)]
struct State {
    kept: Option<Kept>,
    /// Why the last try gave nothing.
    denied: Option<Denied>,
}

#[derive(Debug)]
struct Kept {
    token: Secret,
    replaced: Timestamp,
    ends: Timestamp,
}

impl State {
    fn fresh(&self, now: Timestamp) -> Option<Secret> {
        self.kept.as_ref().filter(|kept| now < kept.replaced).map(|kept| kept.token.clone())
    }

    /// A token that should have been replaced, and holds all the same.
    fn old(&mut self, now: Timestamp) -> Option<Secret> {
        let kept = self.kept.as_mut().filter(|kept| now < kept.ends)?;
        kept.replaced = now.saturating_add(RETRY).unwrap_or(now);
        Some(kept.token.clone())
    }
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: Option<i64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
}

impl Account {
    async fn fetch(&self, client: &reqwest::Client, now: Timestamp) -> Result<Kept, Denied> {
        let request = client
            .post(self.token_uri.clone())
            .header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .timeout(TIMEOUT)
            .body(self.form(now)?);
        let mut answer = request.send().await.map_err(|_| Denied::Unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|_| Denied::Unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Denied::Garbage);
            }
            body.extend_from_slice(&chunk);
        }
        if !answer.status().is_success() {
            return Err(refused(answer.status().as_u16(), &body));
        }
        let granted: Granted = serde_json::from_slice(&body).map_err(|_| Denied::Garbage)?;
        let life = SignedDuration::from_secs(granted.expires_in.unwrap_or(HOUR));
        let ends = now.saturating_add(life).map_err(|_| Denied::Garbage)?;
        let replaced = ends.saturating_sub(MARGIN).map_err(|_| Denied::Garbage)?;
        Ok(Kept { token: Secret::new(granted.access_token), replaced, ends })
    }

    /// The body of the request for a token.
    fn form(&self, now: Timestamp) -> Result<String, Denied> {
        let mut form = form_urlencoded::Serializer::new(String::new());
        match &self.proof {
            Proof::Key { email, id, pair } => {
                let assertion =
                    assertion(email, id.as_deref(), pair, self.token_uri.as_str(), now)?;
                form.append_pair("grant_type", JWT_BEARER).append_pair("assertion", &assertion);
            }
            Proof::Refresh { client, secret, token } => {
                form.append_pair("grant_type", "refresh_token")
                    .append_pair("client_id", client)
                    .append_pair("client_secret", secret.expose())
                    .append_pair("refresh_token", token.expose());
            }
        }
        Ok(form.finish())
    }
}

/// A JSON Web Token that says who asks for what, signed with RS256.
fn assertion(
    email: &str,
    key_id: Option<&str>,
    pair: &RsaKeyPair,
    audience: &str,
    now: Timestamp,
) -> Result<String, Denied> {
    let mut head = serde_json::json!({ "alg": "RS256", "typ": "JWT" });
    if let (Some(id), Some(head)) = (key_id, head.as_object_mut()) {
        head.insert("kid".to_owned(), id.into());
    }
    let issued = now.as_second();
    let claims = serde_json::json!({
        "iss": email,
        "scope": SCOPE,
        "aud": audience,
        "iat": issued,
        "exp": issued.saturating_add(HOUR),
    });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let mut token = format!("{}.{}", encode(&head), encode(&claims));
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), token.as_bytes(), &mut signature)
        .map_err(|_| Denied::Unsigned)?;
    token.push('.');
    token.push_str(&URL_SAFE_NO_PAD.encode(signature));
    Ok(token)
}

/// Google's keys are RSA in PKCS#8, armoured as PEM.
fn key_pair(pem: &Secret) -> Result<RsaKeyPair, Unusable> {
    const WRONG: Unusable =
        Unusable("`private_key` is not an RSA key in PEM (`BEGIN PRIVATE KEY`)");
    let (_, rest) = pem.expose().split_once("-----BEGIN PRIVATE KEY-----").ok_or(WRONG)?;
    let (body, _) = rest.split_once("-----END PRIVATE KEY-----").ok_or(WRONG)?;
    let body = Secret::new(body.split_ascii_whitespace().collect::<String>());
    let der = zeroize::Zeroizing::new(STANDARD.decode(body.expose()).map_err(|_| WRONG)?);
    RsaKeyPair::from_pkcs8(&der).map_err(|_| WRONG)
}

/// OAuth's error is one word; what is longer might repeat what was sent.
fn refused(status: u16, body: &[u8]) -> Denied {
    let error = serde_json::from_slice::<Refused>(body).map(|refused| refused.error);
    let is_word = |text: &String| {
        text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let error = error.ok().filter(is_word).unwrap_or_else(|| "no reason given".to_owned());
    Denied::Refused { status, error }
}

#[cfg(test)]
mod tests;
