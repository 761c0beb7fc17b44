//! What is gathered goes out whole, in order and at once, and a failure is heard of.

use std::task::Waker;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::*;

/// A wire, its other side, and how often it was written to.
struct Counted(DuplexStream, usize);

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write(cx, bytes);
        self.1 += usize::from(written.is_ready());
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

fn wire(room: usize) -> (Gathering<Counted>, DuplexStream) {
    let (near, far) = duplex(room);
    (Gathering::new(Counted(near, 0)), far)
}

fn writes(wire: &Gathering<Counted>) -> usize {
    wire.lock().io.1
}

#[tokio::test]
async fn what_is_said_in_pieces_is_written_at_once() {
    let (mut wire, mut far) = wire(1 << 20);
    for piece in ["one", "two", "three"] {
        wire.write_all(piece.as_bytes()).await.unwrap();
        wire.flush().await.unwrap();
    }
    assert_eq!(writes(&wire), 0);
    wire.write_out(&mut Context::from_waker(Waker::noop()));
    assert_eq!((writes(&wire), wire.lock().held.is_on_loan()), (1, false));
    let mut heard = [0; 11];
    far.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"onetwothree");
}

#[tokio::test]
async fn no_more_than_its_measure_is_gathered_and_nothing_is_lost() {
    let said: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
    for piece in [1000, MOST - 1, MOST, MOST + 1, 50_000] {
        let (mut wire, mut far) = wire(4096);
        let say = async {
            for piece in said.chunks(piece) {
                wire.write_all(piece).await.unwrap();
                assert!(wire.lock().held.filled() <= MOST);
            }
            wire.shutdown().await.unwrap();
        };
        let mut heard = Vec::new();
        let (heard_all, ()) = tokio::join!(far.read_to_end(&mut heard), say);
        heard_all.unwrap();
        assert!(heard == said, "in pieces of {piece}");
    }
}

#[tokio::test]
async fn what_the_other_side_does_not_take_goes_out_later() {
    let (mut wire, mut far) = wire(4);
    wire.write_all(b"one and two").await.unwrap();
    wire.write_out(&mut Context::from_waker(Waker::noop()));
    let mut heard = [0; 4];
    far.read_exact(&mut heard).await.unwrap();
    wire.write_all(b" and three").await.unwrap();
    let out = std::future::poll_fn(|cx| wire.lock().poll_out(cx));
    let mut rest = [0; 17];
    let (out, read) = tokio::join!(out, far.read_exact(&mut rest));
    out.unwrap();
    read.unwrap();
    assert_eq!((&heard, &rest), (b"one ", b"and two and three"));
}

#[tokio::test]
async fn a_failure_is_heard_of_by_whoever_reads_or_writes_next() {
    for reads in [true, false] {
        let (mut wire, far) = {
            let (near, far) = duplex(64);
            (Gathering::new(near), far)
        };
        drop(far);
        wire.write_all(b"one").await.unwrap();
        wire.write_out(&mut Context::from_waker(Waker::noop()));
        let failure = match reads {
            true => wire.read(&mut [0; 1]).await.map(drop),
            false => wire.write(b"two").await.map(drop),
        };
        assert_eq!(failure.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
