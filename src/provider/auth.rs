//! How a call shows who sends it: a key in a header, a signature of Amazon's, a token of Google's. Keys come
//! from the deployment; tokens are fetched here and shared by all workers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use jiff::Timestamp;
use url::Url;

use super::google::{Account, Tokens};
use super::sigv4::{self, Credentials, Scope, Unsigned};
use super::{Call, Content, Failure};
use crate::config::snapshot::{Cloud, Deployment};
use crate::ground::secret::{KeyHash, Secret};
use crate::wire::catalogue::Auth;

/// Accounts that are kept; edits of the configuration leave some behind.
const MOST_ACCOUNTS: usize = 64;

/// Who holds tokens for the accounts of the configuration. Cheap to clone; all clones share.
#[derive(Clone, Debug, Default)]
pub struct Authority {
    google: Arc<Mutex<HashMap<KeyHash, Arc<Tokens>>>>,
}

impl Authority {
    /// Adds to the headers what shows the sender. `client` fetches tokens.
    ///
    /// # Errors
    /// `Unsendable`: a key that no header can carry. `Credentials`: none that the provider would take.
    pub(super) async fn sign(
        &self,
        deployment: &Deployment,
        call: &Call<'_>,
        address: &str,
        headers: &mut HeaderMap,
        client: &reqwest::Client,
    ) -> Result<(), Failure> {
        let auth = deployment.provider.auth;
        if let Some(key) = &deployment.api_key {
            let (name, value) = shown(auth, call.is_native, key.expose());
            return put(headers, name, &value);
        }
        match &deployment.cloud {
            None => Ok(()),
            Some(Cloud::Google(file)) => {
                let token = self.token(file, client).await?;
                put(headers, header::AUTHORIZATION, &format!("Bearer {}", token.expose()))
            }
            Some(cloud @ Cloud::Amazon { .. }) => sign_for_amazon(cloud, call, address, headers),
        }
    }

    async fn token(&self, file: &Secret, client: &reqwest::Client) -> Result<Secret, Failure> {
        let tokens = self.tokens(file)?;
        tokens.get(client, Timestamp::now()).await.map_err(|denied| {
            tracing::warn!(%denied, "a provider cannot be called");
            Failure::Credentials
        })
    }

    fn tokens(&self, file: &Secret) -> Result<Arc<Tokens>, Failure> {
        let mut known = self.google.lock().unwrap_or_else(PoisonError::into_inner);
        let hash = file.hash();
        if let Some(tokens) = known.get(&hash) {
            return Ok(tokens.clone());
        }
        let account = Account::read(file).map_err(|reason| {
            tracing::error!(%reason, "`vertex_credentials` cannot be used");
            Failure::Credentials
        })?;
        if known.len() >= MOST_ACCOUNTS {
            known.clear();
        }
        let tokens = Arc::new(Tokens::new(account));
        known.insert(hash, tokens.clone());
        Ok(tokens)
    }
}

/// The header that shows a key to a provider. Endpoints in OpenAI's shape beside a provider's own want
/// OpenAI's header.
fn shown(auth: Auth, is_native: bool, key: &str) -> (HeaderName, String) {
    let plain = |name| (HeaderName::from_static(name), key.to_owned());
    match auth {
        Auth::ApiKeyHeader => plain("api-key"),
        Auth::XApiKey if is_native && !key.starts_with("sk-ant-oat") => plain("x-api-key"),
        Auth::GoogleKey if is_native => plain("x-goog-api-key"),
        _ => (header::AUTHORIZATION, format!("Bearer {key}")),
    }
}

fn put(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), Failure> {
    let mut value = HeaderValue::try_from(value).map_err(|_| Failure::Unsendable)?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}

fn sign_for_amazon(
    cloud: &Cloud,
    call: &Call<'_>,
    address: &str,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    let Cloud::Amazon { region, access_key_id, secret_access_key, session_token } = cloud else {
        return Err(Failure::Credentials);
    };
    let Content::Pieces(pieces) = &call.body else { return Err(Failure::Unsendable) };
    let body = pieces.concat();
    let url = Url::parse(address).map_err(|_| Failure::Unsendable)?;
    let credentials = Credentials {
        access_key: access_key_id.clone(),
        secret_key: secret_access_key.clone(),
        session_token: session_token.clone(),
    };
    // Only what no proxy on the way changes is signed.
    let mut signed = HeaderMap::new();
    if let Some(kind) = headers.get(header::CONTENT_TYPE) {
        signed.insert(header::CONTENT_TYPE, kind.clone());
    }
    let unsigned = Unsigned { method: &call.method, url: &url, headers: &signed, body: &body };
    let scope = Scope { service: "bedrock", region };
    let added = sigv4::sign(unsigned, &credentials, scope, Timestamp::now())
        .map_err(|_| Failure::Unsendable)?;
    headers.extend(added);
    Ok(())
}
