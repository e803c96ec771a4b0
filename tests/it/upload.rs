//! Uploads: streamed through, scoped by the `model` inside them, whatever the order of the parts.

use serde_json::Value;

use crate::support::gateway::{Gateway, KEY, one_model};
use crate::support::upstream::{Upstream, json};

const MIB: usize = 1024 * 1024;

fn part(name: &str, extra: &str, value: &[u8]) -> Vec<u8> {
    let head = format!("--BOUND\r\nContent-Disposition: form-data; name=\"{name}\"{extra}\r\n\r\n");
    [head.as_bytes(), value, b"\r\n"].concat()
}

fn form(parts: &[Vec<u8>]) -> Vec<u8> {
    [parts.concat(), b"--BOUND--\r\n".to_vec()].concat()
}

async fn send(gateway: &Gateway, body: Vec<u8>, chunked: bool) -> (u16, Value) {
    let request = gateway
        .client
        .post(gateway.url("/v1/audio/transcriptions"))
        .bearer_auth(KEY)
        .header("content-type", "multipart/form-data; boundary=BOUND");
    let request = if chunked {
        let pieces: Vec<Result<Vec<u8>, std::io::Error>> =
            body.chunks(40_000).map(|piece| Ok(piece.to_vec())).collect();
        request.body(reqwest::Body::wrap_stream(futures_util::stream::iter(pieces)))
    } else {
        request.body(body)
    };
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

#[tokio::test]
async fn files_pass_whole_before_or_behind_the_model() {
    let upstream = Upstream::start(|_| json(200, "", r#"{"text":"hello"}"#)).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let sound: Vec<u8> = (0..3 * MIB).map(|index| (index * 31 % 251) as u8).collect();
    let file =
        |value: &[u8]| part("file", "; filename=\"a.wav\"\r\nContent-Type: audio/wav", value);
    let (model, replaced) = (part("model", "", b"m"), part("model", "", b"up"));
    for size in [10, 70_000, 3 * MIB] {
        for chunked in [false, true] {
            for model_first in [true, false] {
                let order = |model: &[u8]| {
                    let (model, file) = (model.to_vec(), file(&sound[..size]));
                    form(&if model_first { [model, file] } else { [file, model] })
                };
                let (status, answer) = send(&gateway, order(&model), chunked).await;
                assert_eq!((status, &answer["text"]), (200, &Value::from("hello")));
                let seen = upstream.seen().pop().unwrap();
                assert!(seen.body == order(&replaced), "{size} {chunked} {model_first}");
                assert_eq!(seen.path, "/v1/audio/transcriptions");
                assert_eq!(seen.header("transfer-encoding").is_some(), chunked);
            }
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_form_is_told() {
    let upstream = Upstream::start(|_| json(200, "", "{}")).await;
    let gateway = Gateway::start(&one_model(&upstream.base()));
    let file = part("file", "; filename=\"a\"", b"x");
    let model = |name: &str| part("model", "", name.as_bytes());
    let (status, answer) = send(&gateway, form(std::slice::from_ref(&file)), false).await;
    assert_eq!((status, &answer["error"]["param"]), (400, &Value::from("model")));
    let (status, _) = send(&gateway, form(&[model("nope"), file.clone()]), false).await;
    assert_eq!(status, 404);
    let (status, answer) =
        send(&gateway, form(&[model("m"), file.clone(), model("x")]), false).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("more than once"));
    // The second one far behind the first: the provider never gets a whole body.
    let far = part("file", "", &vec![b'x'; 2 * MIB]);
    let (status, answer) = send(&gateway, form(&[model("m"), far, model("x")]), true).await;
    assert_eq!(status, 400, "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains("more than once"));
    assert!(upstream.seen().is_empty());
}
