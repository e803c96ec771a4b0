//! The end: SIGTERM lets what is in progress finish, refuses what is new, and loses no row.

use std::sync::Arc;

use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::support::gateway::{Gateway, one_model};
use crate::support::upstream::{
    DONE, FINISH, Step, Upstream, chunk, delta, events_head, last_chunk,
};

#[tokio::test]
async fn streams_finish_before_the_gateway_ends() {
    let permits = Arc::new(Semaphore::new(0));
    let upstream = Upstream::start({
        let permits = permits.clone();
        move |_| {
            let end = [delta("b").as_slice(), FINISH, DONE].concat();
            vec![
                events_head(),
                chunk(&delta("a")),
                Step::Await(permits.clone()),
                chunk(&end),
                last_chunk(),
            ]
        }
    })
    .await;
    let mut gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": true, "messages": [] });
    let mut streams = Vec::new();
    for _ in 0..20 {
        let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
        let mut stream = answer.bytes_stream();
        assert_eq!(stream.next().await.unwrap().unwrap(), delta("a"));
        streams.push(stream);
    }
    gateway.signal("-TERM");
    // It accepts no more: the port is closed, or the connection is.
    let end = std::time::Instant::now() + crate::support::gateway::PATIENCE;
    while gateway
        .client
        .get(gateway.url("/health/ready"))
        .send()
        .await
        .is_ok_and(|it| it.status() == 200)
    {
        assert!(std::time::Instant::now() < end, "still ready after SIGTERM");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    permits.add_permits(20);
    for mut stream in streams {
        let mut rest = Vec::new();
        while let Some(piece) = stream.next().await {
            rest.extend_from_slice(&piece.unwrap());
        }
        assert_eq!(rest, [delta("b").as_slice(), FINISH, DONE].concat());
    }
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
    let rows = gateway.rows("status, stream", 20).await;
    assert!(rows.iter().all(|row| row[0] == "ok".to_owned().into()));
    assert_eq!(rows.len(), 20);
}

#[tokio::test]
async fn a_second_signal_does_not_wait() {
    let upstream = Upstream::start(|_| vec![events_head(), chunk(&delta("a")), Step::Hang]).await;
    let mut gateway = Gateway::start(&one_model(&upstream.base()));
    let body = json!({ "model": "m", "stream": true, "messages": [] });
    let answer = gateway.post("/v1/chat/completions", &body).send().await.unwrap();
    let mut stream = answer.bytes_stream();
    assert_eq!(stream.next().await.unwrap().unwrap(), delta("a"));
    gateway.signal("-TERM");
    while !gateway.log().contains("shutting down") {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    gateway.signal("-TERM");
    assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.log());
}
