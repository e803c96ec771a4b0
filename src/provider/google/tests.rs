//! Tokens from a scripted endpoint on loopback.

use std::collections::HashMap;
use std::sync::Arc;

use ring::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;

const KEY_FILE: &str = include_str!("../../../tests/golden/google/service_account.json");
const NOW: &str = "2026-11-25T12:00:00Z";

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

/// A token endpoint that gives these answers in turn, and tells the forms it got.
async fn endpoint(
    answers: &'static [(u16, &'static str)],
) -> (String, mpsc::Receiver<HashMap<String, String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}/token", listener.local_addr().expect("bound"));
    let (told, forms) = mpsc::channel(8);
    let _served = tokio::spawn(async move {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let form = read_form(&mut stream).await;
            told.send(form).await.expect("someone listens");
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.expect("sent");
            stream.write_all(body.as_bytes()).await.expect("sent");
        }
    });
    (address, forms)
}

async fn read_form(stream: &mut tokio::net::TcpStream) -> HashMap<String, String> {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).await.expect("read");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if body.len() >= length.expect("a length").parse().expect("a number") {
            return form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        }
    }
}

fn client() -> reqwest::Client {
    let _first = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().tls_certs_only([]).build().expect("a client")
}

fn service(token_uri: &str) -> Account {
    let mut file: Value = serde_json::from_str(KEY_FILE).expect("JSON");
    file["token_uri"] = token_uri.into();
    Account::read(&Secret::new(file.to_string())).expect("usable")
}

fn user(token_uri: &str) -> Account {
    let file = serde_json::json!({
        "type": "authorized_user",
        "client_id": "id.apps.googleusercontent.com",
        "client_secret": "canary-secret",
        "refresh_token": "1//canary-token",
        "token_uri": token_uri,
    });
    Account::read(&Secret::new(file.to_string())).expect("usable")
}

fn part(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).expect("base64")).expect("JSON")
}

#[tokio::test]
async fn a_service_account_shows_a_signed_assertion() {
    let (uri, mut forms) =
        endpoint(&[(200, r#"{"access_token":"ya29.a","expires_in":3599}"#)]).await;
    let tokens = Tokens::new(service(&uri));
    assert_eq!(tokens.account().project.as_deref(), Some("tidegate-test"));
    let token = tokens.get(&client(), at(NOW)).await.expect("a token");
    assert_eq!(token.expose(), "ya29.a");
    let form = forms.recv().await.expect("a form");
    assert_eq!(form["grant_type"], JWT_BEARER);
    let (signed, signature) = form["assertion"].rsplit_once('.').expect("three parts");
    let (head, claims) = signed.split_once('.').expect("three parts");
    let expected = serde_json::json!({"alg": "RS256", "typ": "JWT", "kid": "0123456789abcdef"});
    assert_eq!(part(head), expected);
    let issued = at(NOW).as_second();
    assert_eq!(
        part(claims),
        serde_json::json!({
            "iss": "gate@tidegate-test.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": uri,
            "iat": issued,
            "exp": issued + 3600,
        })
    );
    let Proof::Key { pair, .. } = &tokens.account().proof else { panic!("a key") };
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key());
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    public.verify(signed.as_bytes(), &signature).expect("signed with the key");
}

#[tokio::test]
async fn a_token_is_kept_until_shortly_before_its_end() {
    let answers = &[
        (200, r#"{"access_token":"one","expires_in":3600}"#),
        (503, "<html>"),
        (200, r#"{"access_token":"two"}"#),
    ];
    let (uri, mut forms) = endpoint(answers).await;
    let (tokens, client) = (Tokens::new(user(&uri)), client());
    let get = async |time: &str| {
        let token = tokens.get(&client, at(time)).await.expect("a token");
        token.expose().to_owned()
    };
    assert_eq!(get("2026-11-25T12:00:00Z").await, "one");
    assert_eq!(get("2026-11-25T12:54:59Z").await, "one");
    // It is time for another, there is none, and the old one holds.
    assert_eq!(get("2026-11-25T12:55:00Z").await, "one");
    assert_eq!(get("2026-11-25T12:55:29Z").await, "one");
    assert_eq!(get("2026-11-25T12:55:30Z").await, "two");
    let form = forms.recv().await.expect("a form");
    assert_eq!(
        (&*form["grant_type"], &*form["refresh_token"]),
        ("refresh_token", "1//canary-token")
    );
    assert_eq!(form["client_secret"], "canary-secret");
}

#[tokio::test]
async fn many_at_once_share_one_request() {
    let (uri, mut forms) = endpoint(&[(200, r#"{"access_token":"one","expires_in":3600}"#)]).await;
    let (tokens, client) = (Arc::new(Tokens::new(user(&uri))), client());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (tokens, client) = (Arc::clone(&tokens), client.clone());
        asking.spawn(async move { tokens.get(&client, at(NOW)).await });
    }
    for answer in asking.join_all().await {
        assert_eq!(answer.expect("a token").expose(), "one");
    }
    assert!(forms.recv().await.is_some());
    assert!(forms.recv().await.is_none());
}

#[tokio::test]
async fn many_at_once_share_one_failure() {
    const REFUSED: &str = r#"{"error":"invalid_grant","error_description":"Bad 1//canary-token"}"#;
    let (uri, mut forms) = endpoint(&[(400, REFUSED)]).await;
    let (tokens, client) = (Arc::new(Tokens::new(user(&uri))), client());
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (tokens, client) = (Arc::clone(&tokens), client.clone());
        asking.spawn(async move { tokens.get(&client, at(NOW)).await });
    }
    let expected = Denied::Refused { status: 400, error: "invalid_grant".into() };
    for answer in asking.join_all().await {
        assert_eq!(answer.expect_err("refused"), expected);
    }
    assert!(forms.recv().await.is_some());
    assert!(forms.recv().await.is_none());
}

#[tokio::test]
async fn failures_are_told_without_secrets() {
    #[track_caller]
    fn check(status: u16, body: &str, expected: &str) {
        let text = refused(status, body.as_bytes()).to_string();
        assert_eq!(text, expected);
    }
    check(
        401,
        r#"{"error":"invalid_client"}"#,
        "google refused a token: invalid_client (status 401)",
    );
    check(
        400,
        r#"{"error":"1//canary-token"}"#,
        "google refused a token: no reason given (status 400)",
    );
    check(502, "<html>", "google refused a token: no reason given (status 502)");
    let (uri, _forms) = endpoint(&[(200, "{}")]).await;
    let tokens = Tokens::new(user(&uri));
    assert_eq!(tokens.get(&client(), at(NOW)).await, Err(Denied::Garbage));
    let (tokens, client) = (Tokens::new(user("http://127.0.0.1:1/token")), client());
    assert_eq!(tokens.get(&client, at(NOW)).await, Err(Denied::Unreachable));
    assert!(!format!("{tokens:?}").contains("canary"));
}

#[test]
fn credentials_that_cannot_be_used_are_told() {
    #[track_caller]
    fn check(file: &str, expected: &str) {
        let unusable = Account::read(&Secret::new(file)).expect_err("unusable");
        assert_eq!(unusable.to_string(), expected);
    }
    check("{", "the Google credentials are not JSON of the known form");
    let neither = "the Google credentials are neither a service_account nor an authorized_user";
    check(r#"{"type":"external_account"}"#, neither);
    check(r#"{"type":"service_account"}"#, "`private_key` is missing");
    let wrong = "`private_key` is not an RSA key in PEM (`BEGIN PRIVATE KEY`)";
    check(r#"{"type":"service_account","client_email":"e","private_key":"x"}"#, wrong);
    check(r#"{"type":"authorized_user","client_secret":"s"}"#, "`refresh_token` is missing");
}
