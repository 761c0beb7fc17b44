//! A client's end of a connection while a request is under way: who waits is woken, the body of one request ends with it, and nothing is said within
//! an answer.

use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::served::{clock, own, pair, part};
use super::*;
use crate::proxy::error::ConnectionError;
use crate::proxy::http::body::{AnswerBody, Received};
use crate::proxy::http::head_clock::HeadClock;
use crate::proxy::http::http1::{ClientEnd, RequestStream};
use crate::proxy::http::parts::AnswerParts;

/// Hands each request to the test, which answers it when it likes.
struct Waiting {
    client: UnixStream,
    end: Arc<ClientEnd>,
    clock: Arc<HeadClock>,
    asked: mpsc::UnboundedReceiver<Received>,
    answers: mpsc::UnboundedSender<(AnswerParts, AnswerBody)>,
    /// Told when a request is no longer served.
    dropped: Arc<Notify>,
    serving: JoinHandle<Result<(), ConnectionError>>,
}

impl Waiting {
    async fn on(said: &str) -> Self {
        struct Dropped(Arc<Notify>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.notify_one();
            }
        }
        let ((mut client, end), clock, dropped) = (pair(LIMITS), clock(), Arc::new(Notify::new()));
        let (ask, asked) = mpsc::unbounded_channel();
        let (answers, given) = mpsc::unbounded_channel();
        let (given, gone) = (Arc::new(tokio::sync::Mutex::new(given)), dropped.clone());
        let answer = move |_, body| {
            ask.send(body).unwrap();
            let (given, gone) = (given.clone(), Dropped(gone.clone()));
            async move {
                let answer = given.lock().await.recv().await.unwrap();
                drop(gone);
                answer
            }
        };
        let serving = tokio::spawn(end.clone().serve(clock.clone(), answer, || false));
        client.write_all(said.as_bytes()).await.unwrap();
        Self { client, end, clock, asked, answers, dropped, serving }
    }

    /// The body of the next request.
    async fn body(&mut self) -> RequestStream {
        match self.asked.recv().await.unwrap() {
            Received::Http1(stream) => stream,
            Received::Nothing | Received::Http2(_) => unreachable!("it has a body"),
        }
    }

    /// Waits until a head has begun that is not whole.
    async fn begun(&self) {
        while self.clock.since().is_none() {
            tokio::task::yield_now().await;
        }
    }

    /// Reads up to `end`.
    async fn until(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(self.client.read_u8().await.unwrap());
        }
        String::from_utf8(read).unwrap()
    }
}

#[tokio::test]
async fn a_long_answer_leaves_whole_before_the_refusal_behind_it() {
    const SIZE: usize = 1 << 20;
    let mut waiting = Waiting::on("GET / HTTP/1.1\r\n\r\nGET / HTTP/3.0\r\n\r\n").await;
    waiting.asked.recv().await.unwrap();
    waiting.answers.send(own(vec![b'x'; SIZE])).unwrap();
    waiting.until("\r\n\r\n").await;
    let mut body = vec![0; SIZE];
    waiting.client.read_exact(&mut body).await.unwrap();
    waiting.serving.await.unwrap().unwrap();
    let remains = waiting.end.remains();
    assert_eq!((remains.fault, remains.is_due), (Some(Fault::Version), true));
    assert!(body.iter().all(|byte| *byte == b'x'));
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_request_is_served() {
    for behind in ["", "GET", "GET / HTTP/3.0\r\n\r\n"] {
        for asks in ["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nUpgrade: a\r\n\r\n", "CONNECT a:1 HTTP/1.1\r\n\r\n"] {
            let mut waiting = Waiting::on(&format!("{asks}{behind}")).await;
            waiting.asked.recv().await.unwrap();
            drop(waiting.client);
            waiting.dropped.notified().await;
            assert!(waiting.serving.await.unwrap().is_err(), "{asks}{behind}");
            assert!(!waiting.end.remains().is_due);
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_after_another_task_has_read_its_body() {
    for said in ["Content-Length: 5\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut waiting = Waiting::on(&format!("POST / HTTP/1.1\r\n{said}")).await;
        let mut body = waiting.body().await;
        let reading = tokio::spawn(async move {
            while let Some(part) = part(&mut body).await {
                part.unwrap();
            }
        });
        // The service has nothing to do until the client leaves; only the reader is woken by these.
        tokio::task::yield_now().await;
        let rest = if said.ends_with("hel") { "lo" } else { "0\r\n\r\n" };
        waiting.client.write_all(rest.as_bytes()).await.unwrap();
        reading.await.unwrap();
        drop(waiting.client);
        waiting.dropped.notified().await;
        assert!(waiting.serving.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn a_body_that_outlives_its_answer_breaks_off_and_leaves_the_rest_alone() {
    let mut waiting = Waiting::on("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    let mut body = waiting.body().await;
    assert_eq!(part(&mut body).await.unwrap().unwrap(), "hello");
    // It waits in another task for what comes next.
    let reading = tokio::spawn(async move { part(&mut body).await });
    tokio::task::yield_now().await;
    waiting.answers.send(own("early")).unwrap();
    assert!(waiting.until("early").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(matches!(reading.await.unwrap(), Some(Err(Unreadable::Io(_)))));
    waiting.client.write_all(b"5\r\nworld\r\n0\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nnext").await.unwrap();
    let mut body = waiting.body().await;
    assert_eq!(part(&mut body).await.unwrap().unwrap(), "next");
    assert!(part(&mut body).await.is_none());
}

#[tokio::test]
async fn a_body_of_a_connection_that_is_hung_up_breaks_off() {
    let mut waiting = Waiting::on("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await;
    let mut body = waiting.body().await;
    assert_eq!(part(&mut body).await.unwrap().unwrap(), "hello");
    let reading = tokio::spawn(async move { part(&mut body).await });
    tokio::task::yield_now().await;
    waiting.serving.abort();
    drop(waiting.end.remains());
    assert!(matches!(reading.await.unwrap(), Some(Err(Unreadable::Io(_)))));
}

const EXPECTING: &str = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";

#[tokio::test]
async fn a_body_is_asked_for_where_the_client_waits_to_be_asked() {
    let mut waiting = Waiting::on(EXPECTING).await;
    let mut body = waiting.body().await;
    let reading = tokio::spawn(async move { part(&mut body).await });
    assert_eq!(waiting.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    waiting.client.write_all(b"ok").await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap().unwrap(), "ok");
    waiting.answers.send(own("done")).unwrap();
    let answer = waiting.until("done").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && !answer.contains("close"), "{answer}");
}

#[tokio::test]
async fn no_leave_is_given_to_a_client_that_did_not_wait_for_it() {
    let mut waiting = Waiting::on(&format!("{EXPECTING}ok")).await;
    let mut body = waiting.body().await;
    assert_eq!(part(&mut body).await.unwrap().unwrap(), "ok");
    waiting.answers.send(own("done")).unwrap();
    assert!(waiting.until("done").await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn no_leave_is_given_within_an_answer_which_is_then_the_last() {
    const SIZE: usize = 1 << 22;
    let mut waiting = Waiting::on(EXPECTING).await;
    let mut body = waiting.body().await;
    waiting.answers.send(own(vec![b'x'; SIZE])).unwrap();
    assert!(waiting.until("\r\n\r\n").await.contains("\r\nconnection: close\r\n"));
    // Most of the answer is still to be written when the body is asked for.
    assert!(body.poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
    let mut answer = vec![0; SIZE];
    waiting.client.read_exact(&mut answer).await.unwrap();
    assert!(answer.iter().all(|byte| *byte == b'x'));
    waiting.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_answer_says_so_when_no_further_request_is_waited_for() {
    let mut waiting = Waiting::on("GET / HTTP/1.1\r\n").await;
    waiting.begun().await;
    waiting.end.end_idle();
    waiting.client.write_all(b"\r\n").await.unwrap();
    waiting.asked.recv().await.unwrap();
    waiting.answers.send(own("last")).unwrap();
    assert!(waiting.until("last").await.contains("\r\nconnection: close\r\n"));
    waiting.serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn only_so_much_is_taken_of_a_client_that_has_no_answer_yet() {
    let mut waiting = Waiting::on("CONNECT a:1 HTTP/1.1\r\n\r\n").await;
    waiting.asked.recv().await.unwrap();
    // All buffers together are less than this: it goes on only for as long as somebody reads.
    let flood = vec![b'x'; 1 << 22];
    let (mut written, mut idle) = (0, 0);
    while idle < 100 {
        match waiting.client.try_write(&flood[written..]) {
            Ok(more) => (written, idle) = (written + more, 0),
            Err(_) => {
                tokio::task::yield_now().await;
                idle += 1;
            }
        }
    }
    assert!(written < flood.len());
    waiting.answers.send(own("")).unwrap();
    waiting.until("\r\n\r\n").await;
    waiting.serving.await.unwrap().unwrap();
    let held = waiting.end.remains().leftover.len();
    assert!(held <= LIMITS.max_header_bytes + 32 * 1024, "{held}");
}

#[tokio::test]
async fn a_head_that_has_begun_can_expire_until_it_is_whole() {
    let mut waiting = Waiting::on("GET / HTTP/1.1\r\n").await;
    waiting.begun().await;
    waiting.clock.expire();
    waiting.client.write_all(b"\r\nGET").await.unwrap();
    waiting.asked.recv().await.unwrap();
    assert_eq!(waiting.clock.since(), None, "just in time");
    waiting.answers.send(own("first")).unwrap();
    waiting.until("first").await;
    waiting.begun().await;
    waiting.clock.expire();
    waiting.client.write_all(b" ").await.unwrap();
    waiting.serving.await.unwrap().unwrap();
    let remains = waiting.end.remains();
    assert_eq!((remains.fault, remains.is_due, &*remains.leftover), (Some(Fault::Timeout), true, &b"GET "[..]));
    assert_eq!(waiting.clock.since(), None);
}
