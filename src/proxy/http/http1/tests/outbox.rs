//! What is written: heads and bodies in the framing that was announced, whole however few bytes are taken at a time, and flushed.

use std::io::IoSlice;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};
use http_body::{Frame, SizeHint};
use tokio::io::AsyncWrite;

use super::*;
use crate::proxy::http::http1::outbox::{Framing, Outbox};

/// A writer that takes so many bytes at a time, every other time none, and holds them back until it is flushed for the second time.
#[derive(Default)]
struct Narrow {
    width: usize,
    turn: usize,
    held_back: Vec<u8>,
    written: Vec<u8>,
    may_flush: bool,
}

impl AsyncWrite for Narrow {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.turn += 1;
        if self.turn % 2 == 1 {
            return Poll::Pending;
        }
        let taken = bytes.len().min(self.width);
        self.held_back.extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let all = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.width).collect::<Vec<_>>();
        self.poll_write(cx, &all)
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !std::mem::replace(&mut self.may_flush, true) {
            return Poll::Pending;
        }
        self.may_flush = false;
        let held_back = std::mem::take(&mut self.held_back);
        self.written.extend(held_back);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Writes all that there is, in turns: as whoever writes does, again and again until nothing is left.
fn write(out: &mut Outbox, to: &mut Narrow) {
    let cx = &mut Context::from_waker(Waker::noop());
    while !out.is_empty() {
        if let Poll::Ready(written) = out.poll_write(cx, to) {
            written.unwrap();
        }
    }
}

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), HeaderValue::from_static(value)))
        .collect()
}

fn sized(length: Option<u64>) -> SizeHint {
    length.map_or_else(SizeHint::default, SizeHint::with_exact)
}

/// A request as it is written, piece by piece.
fn request(method: &Method, lines: &[(&'static str, &'static str)], length: Option<u64>, pieces: &[&[u8]]) -> String {
    let mut texts = [1, 7, 4096, usize::MAX].map(|width| {
        let (mut out, mut to) = (Outbox::default(), Narrow { width, ..Narrow::default() });
        let mut framing = out.put_request(method, &Uri::from_static("/a?b"), &headers(lines).into(), &sized(length));
        for piece in pieces {
            if !out.has_room() {
                write(&mut out, &mut to);
            }
            assert!(out.has_room());
            out.put_frame(&mut framing, Frame::data(Bytes::copy_from_slice(piece))).unwrap();
        }
        out.put_end(&framing).unwrap();
        write(&mut out, &mut to);
        String::from_utf8(to.written).unwrap()
    });
    assert!(texts.iter().all(|text| *text == texts[0]), "not the same however it is written");
    std::mem::take(&mut texts[0])
}

#[test]
fn a_request_says_how_its_body_is_framed() {
    const POST: &str = "POST /a?b HTTP/1.1\r\nhost: a\r\n";
    let host = [("host", "a")];
    for (length, pieces, expected) in [
        (Some(0), &[][..], format!("{POST}content-length: 0\r\n\r\n")),
        (Some(5), &[&b"he"[..], b"", b"llo"], format!("{POST}content-length: 5\r\n\r\nhello")),
        (
            None,
            &[b"he", b"", b"llo"],
            format!("{POST}transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
        ),
        (None, &[], format!("{POST}transfer-encoding: chunked\r\n\r\n0\r\n\r\n")),
    ] {
        assert_eq!(request(&Method::POST, &host, length, pieces), expected);
    }
    assert_eq!(request(&Method::GET, &host, Some(0), &[]), "GET /a?b HTTP/1.1\r\nhost: a\r\n\r\n");
}

#[test]
fn the_headers_that_frame_a_body_are_ours_alone() {
    let lines = [("content-length", "7"), ("transfer-encoding", "gzip")];
    assert!(request(&Method::POST, &lines, Some(2), &[b"ab"]).ends_with("HTTP/1.1\r\ncontent-length: 2\r\n\r\nab"));
    assert!(
        request(&Method::PUT, &lines, None, &[]).ends_with("HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    );
}

#[test]
fn long_pieces_are_written_whole_however_few_bytes_are_taken() {
    let (long, longer) = ([b'a'; 5000], [b'b'; 70_000]);
    let pieces = [&long[..], b"c", &longer, b"d", b"e"];
    let body: Vec<u8> = pieces.concat();
    let text = request(&Method::PUT, &[], Some(body.len() as u64), &pieces);
    assert!(text.ends_with(std::str::from_utf8(&body).unwrap()));
    let text = request(&Method::PUT, &[], None, &pieces);
    let chunks = pieces.map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), std::str::from_utf8(piece).unwrap()));
    assert!(text.ends_with(&format!("\r\n\r\n{}0\r\n\r\n", chunks.concat())));
    assert!(request(&Method::PUT, &[], None, &[&longer]).ends_with("b\r\n0\r\n\r\n"));
}

#[test]
fn nothing_is_said_until_it_is_flushed() {
    let (mut out, mut to) = (Outbox::default(), Narrow { width: 100, turn: 1, ..Narrow::default() });
    let cx = &mut Context::from_waker(Waker::noop());
    out.put(b"hello");
    assert!(out.poll_write(cx, &mut to).is_pending());
    assert!(to.written.is_empty() && !out.is_empty(), "it is held back, and asked for once more");
    assert!(out.poll_write(cx, &mut to).is_ready());
    assert!(to.written == b"hello" && out.is_empty());
}

fn answer(
    version: Version,
    status: u16,
    lines: &[(&'static str, &'static str)],
    framing: &Framing,
    says_none: bool,
) -> String {
    let (mut out, mut to) = (Outbox::default(), Narrow { width: 3, ..Narrow::default() });
    out.put_answer(version, StatusCode::from_u16(status).unwrap(), &headers(lines).into(), framing, says_none);
    write(&mut out, &mut to);
    String::from_utf8(to.written).unwrap()
}

#[test]
fn an_answer_says_how_its_body_is_framed() {
    let lines = [("date", "now"), ("content-length", "7"), ("a", "b")];
    for (version, status, framing, says_none, expected) in [
        (
            Version::HTTP_11,
            200,
            Framing::Length(3),
            false,
            "HTTP/1.1 200 OK\r\ndate: now\r\na: b\r\ncontent-length: 3\r\n\r\n",
        ),
        (
            Version::HTTP_11,
            404,
            Framing::Chunked,
            false,
            "HTTP/1.1 404 Not Found\r\ndate: now\r\na: b\r\ntransfer-encoding: chunked\r\n\r\n",
        ),
        (Version::HTTP_10, 299, Framing::UntilEnd, false, "HTTP/1.0 299 \r\ndate: now\r\na: b\r\n\r\n"),
        (
            Version::HTTP_11,
            200,
            Framing::Nothing,
            true,
            "HTTP/1.1 200 OK\r\ndate: now\r\na: b\r\ncontent-length: 0\r\n\r\n",
        ),
        // As the answer to a HEAD.
        (
            Version::HTTP_11,
            200,
            Framing::Nothing,
            false,
            "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 7\r\na: b\r\n\r\n",
        ),
    ] {
        assert_eq!(answer(version, status, &lines, &framing, says_none), expected);
    }
    let dated = answer(Version::HTTP_11, 200, &[], &Framing::Nothing, false);
    assert!(dated.contains("\r\ndate: ") && dated.ends_with(" GMT\r\n\r\n"), "{dated}");
}

#[test]
fn trailers_are_the_end_of_a_chunked_body_and_nothing_elsewhere() {
    for (mut framing, expected) in
        [(Framing::Chunked, "1\r\na\r\n0\r\nx: 1\r\ny: \r\n\r\n"), (Framing::Length(1), "a"), (Framing::UntilEnd, "a")]
    {
        let (mut out, mut to) = (Outbox::default(), Narrow { width: 2, ..Narrow::default() });
        out.put_frame(&mut framing, Frame::data(Bytes::from_static(b"a"))).unwrap();
        out.put_frame(&mut framing, Frame::trailers(headers(&[("x", "1"), ("y", "")]))).unwrap();
        out.put_end(&framing).unwrap();
        write(&mut out, &mut to);
        assert_eq!(String::from_utf8(to.written).unwrap(), expected);
    }
}

#[test]
fn a_body_of_another_length_than_its_head_says_is_not_written() {
    let data = || Frame::data(Bytes::from_static(b"abc"));
    for mut framing in [Framing::Nothing, Framing::Length(2)] {
        let mut out = Outbox::default();
        assert!(out.put_frame(&mut framing, data()).is_err() && out.is_empty(), "{framing:?}");
    }
    let (mut out, mut framing) = (Outbox::default(), Framing::Length(4));
    out.put_frame(&mut framing, data()).unwrap();
    assert!(out.put_end(&framing).is_err());
    for framing in [Framing::Nothing, Framing::Length(0), Framing::UntilEnd] {
        out.put_end(&framing).unwrap();
    }
}
