//! Amazon's signature of a request, version 4
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>): from a request and a
//! key to the headers to add. Nothing here sends, and nothing looks at a clock. By hand, because aws-sigv4
//! brings a second HTTP vocabulary and 30 crates for these few pages.

use std::collections::BTreeMap;
use std::fmt::Write;

use http::header::{AUTHORIZATION, HOST, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use ring::{digest, hmac};
use url::Url;

use crate::ground::secret::Secret;

/// Whose signature it is.
#[derive(Clone, Debug)]
pub struct Credentials {
    pub access_key: String,
    pub secret_key: Secret,
    /// Of credentials that expire.
    pub session_token: Option<Secret>,
}

/// Where the signature holds: `bedrock` in `eu-central-1`.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'s> {
    pub service: &'s str,
    pub region: &'s str,
}

/// What is signed. Of the headers only those that no proxy changes; `host` is added from the URL.
#[derive(Clone, Copy, Debug)]
pub struct Unsigned<'r> {
    pub method: &'r Method,
    pub url: &'r Url,
    pub headers: &'r HeaderMap,
    pub body: &'r [u8],
}

/// The headers to add to a request that is sent at `now` (it is refused when it arrives more than five
/// minutes off): `authorization`, `x-amz-date` and, with a session, `x-amz-security-token`.
///
/// # Errors
/// A key or token has characters that no header can carry.
pub fn sign(
    request: Unsigned<'_>,
    credentials: &Credentials,
    scope: Scope<'_>,
    now: Timestamp,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let now = now.to_zoned(TimeZone::UTC);
    let (date, time) =
        (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
    let mut added = HeaderMap::with_capacity(3);
    added.insert(X_AMZ_DATE, HeaderValue::try_from(&time)?);
    if let Some(token) = &credentials.session_token {
        added.insert(X_AMZ_SECURITY_TOKEN, sensitive(token.expose())?);
    }
    let headers = canonical_headers(request, &added);
    let names: Vec<&str> = headers.keys().copied().collect();
    let names = names.join(";");
    let mut canonical = format!("{}\n{}\n", request.method, canonical_path(request.url.path()));
    canonical.push_str(&canonical_query(request.url.query().unwrap_or_default()));
    canonical.push('\n');
    for (name, value) in &headers {
        canonical.extend([name, ":", value, "\n"]);
    }
    canonical.extend(["\n", &names, "\n", &hex_digest(request.body)]);

    let place = format!("{date}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{place}\n{}", hex_digest(canonical.as_bytes()));
    let signature = hex(hmac::sign(&key(credentials, scope, &date), text.as_bytes()).as_ref());
    let access_key = &credentials.access_key;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={access_key}/{place}, SignedHeaders={names}, Signature={signature}"
    );
    added.insert(AUTHORIZATION, sensitive(&authorization)?);
    Ok(added)
}

const X_AMZ_DATE: HeaderName = HeaderName::from_static("x-amz-date");
const X_AMZ_SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

fn sensitive(text: &str) -> Result<HeaderValue, InvalidHeaderValue> {
    let mut value = HeaderValue::from_str(text)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The key of one day, region and service.
fn key(credentials: &Credentials, scope: Scope<'_>, date: &str) -> hmac::Key {
    let secret = Secret::new(["AWS4", credentials.secret_key.expose()].concat());
    let first = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    let words = [date, scope.region, scope.service, "aws4_request"];
    words.iter().fold(first, |key, word| {
        hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&key, word.as_bytes()).as_ref())
    })
}

/// All signed headers by name: values of one name joined, spaces at the ends and runs of them taken out.
fn canonical_headers<'r>(request: Unsigned<'r>, added: &'r HeaderMap) -> BTreeMap<&'r str, String> {
    let mut headers: BTreeMap<&str, String> = BTreeMap::new();
    let host = request.url.host_str().unwrap_or_default();
    let host = match request.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let given = request.headers.iter().filter(|(name, _)| *name != HOST);
    for (name, value) in given.chain(added) {
        let text = String::from_utf8_lossy(value.as_bytes());
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        let joined = headers.entry(name.as_str()).or_default();
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(&words.join(" "));
    }
    headers.insert("host", host);
    headers
}

/// The path as it is sent, without empty segments, encoded once more: for every service but S3.
fn canonical_path(path: &str) -> String {
    let mut canonical = String::from("/");
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    for (at, segment) in segments.enumerate() {
        if at > 0 {
            canonical.push('/');
        }
        for byte in segment.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                canonical.push(char::from(byte));
            } else {
                let _infallible = write!(canonical, "%{byte:02X}");
            }
        }
    }
    if canonical.len() > 1 && path.ends_with('/') {
        canonical.push('/');
    }
    canonical
}

/// The query as it is sent, in order of names and values.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

fn hex_digest(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = concat!(
        "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfI",
        "eoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0",
        "wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDry",
        "pNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==",
    );

    fn signed(
        request: (&str, &str, &[(&str, &str)], &str),
        token: Option<&str>,
        scope: Scope<'_>,
        time: &str,
    ) -> (String, HeaderMap) {
        let (method, url, pairs, body) = request;
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name: HeaderName = name.parse().expect("a name");
            headers.append(name, value.parse().expect("a value"));
        }
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: Secret::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(Secret::new),
        };
        let (method, url) = (method.parse().expect("a method"), url.parse().expect("a URL"));
        let request =
            Unsigned { method: &method, url: &url, headers: &headers, body: body.as_bytes() };
        let added = sign(request, &credentials, scope, time.parse().expect("a time"))
            .expect("plain characters");
        let authorization = added[AUTHORIZATION].to_str().expect("text").to_owned();
        assert!(added[AUTHORIZATION].is_sensitive());
        (authorization, added)
    }

    /// Against the signatures of Amazon's test suite
    /// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>).
    #[track_caller]
    fn check(method: &str, path: &str, headers: &[(&str, &str)], names: &str, signature: &str) {
        let url = format!("https://example.amazonaws.com{path}");
        let token = names.contains("token").then_some(TOKEN);
        let scope = Scope { service: "service", region: "us-east-1" };
        let request = (method, url.as_str(), headers, "");
        let (authorization, _) = signed(request, token, scope, "2015-08-30T12:36:00Z");
        let expected = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders={names}, Signature={signature}"
        );
        assert_eq!(authorization, expected);
    }

    #[test]
    fn amazons_test_vectors() {
        let plain = "host;x-amz-date";
        let own = "host;my-header1;x-amz-date";
        let vanilla = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        check("GET", "/", &[], plain, vanilla);
        check("GET", "/example/..", &[], plain, vanilla);
        check(
            "GET",
            "/./example",
            &[],
            plain,
            "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5",
        );
        check(
            "GET",
            "//example//",
            &[],
            plain,
            "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84",
        );
        check(
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            plain,
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        );
        check(
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            plain,
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        );
        check(
            "GET",
            "/?Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
            &[],
            plain,
            "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac",
        );
        check(
            "POST",
            "/?Param1=value1",
            &[],
            plain,
            "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11",
        );
        check(
            "GET",
            "/",
            &[
                ("My-Header1", "value4"),
                ("My-Header1", "value1"),
                ("My-Header1", "value3"),
                ("My-Header1", "value2"),
            ],
            own,
            "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01",
        );
        check(
            "GET",
            "/",
            &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")],
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        );
        check(
            "POST",
            "/",
            &[],
            "host;x-amz-date;x-amz-security-token",
            "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
        );
    }

    /// Against botocore, for the encoded colon of a model's id and a body.
    #[test]
    fn a_request_to_bedrock() {
        let url = concat!(
            "https://bedrock-runtime.us-east-1.amazonaws.com/model/",
            "us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream",
        );
        let headers = [("content-type", "application/json")];
        let request = ("POST", url, &headers[..], "{\"messages\":[]}");
        let scope = Scope { service: "bedrock", region: "us-east-1" };
        let (bare, added) = signed(request, None, scope, "2026-11-25T12:34:56.789Z");
        let signature = "385651d42cdc000d99d04da4d9c604e1608b938c231cd757afddee9033f13bee";
        assert!(bare.ends_with(&format!("=content-type;host;x-amz-date, Signature={signature}")));
        assert_eq!(added[X_AMZ_DATE], "20261125T123456Z");
        assert_eq!(added.len(), 2);
        let (session, added) = signed(request, Some("TOKEN/+="), scope, "2026-11-25T12:34:56Z");
        assert!(
            session.ends_with("f3b67768ea25e050ac7a45fc9673290a07f28b253901eb9952370671686b7cbe")
        );
        assert_eq!(added[X_AMZ_SECURITY_TOKEN], "TOKEN/+=");
    }

    #[test]
    fn keys_that_no_header_carries_are_told() {
        let url: Url = "https://h/".parse().expect("a URL");
        let request =
            Unsigned { method: &Method::GET, url: &url, headers: &HeaderMap::new(), body: b"" };
        let credentials = Credentials {
            access_key: "A\nB".into(),
            secret_key: Secret::new("s"),
            session_token: None,
        };
        let scope = Scope { service: "s", region: "r" };
        assert!(sign(request, &credentials, scope, Timestamp::UNIX_EPOCH).is_err());
        assert!(!format!("{credentials:?}").contains("\"s\""));
    }
}
