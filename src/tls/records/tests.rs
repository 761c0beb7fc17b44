//! Established connections of TLS 1.3, and peers at their other end that say what RFC 8446 does not allow, or what it allows and few do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::timeout;

use super::record::OVERHEAD;
use super::*;
use crate::tls::session::Session;
use crate::tls::{Stream, provider, received_alert};

const REQUEST: &[u8] = &[KEY_UPDATE, 0, 0, 1, REQUESTED];
const UPDATE: &[u8] = &[KEY_UPDATE, 0, 0, 1, NOT_REQUESTED];

/// A record's type and content.
type Said<'a> = (ContentType, &'a [u8]);

const EMPTY: Said<'_> = (ContentType::ApplicationData, &[]);
const CANCELED: Said<'_> = (ContentType::Alert, &[WARNING, 90]);

type End = Stream<DuplexStream>;

/// A client and a server that trusts it, both of rustls.
fn configs() -> (ClientConfig, ServerConfig) {
    let issued = rcgen::generate_simple_self_signed(["server.example".to_owned()]).unwrap();
    let certificate = CertificateDer::from(issued.cert);
    let key = PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    let versions = [&rustls::version::TLS13];
    let client = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&versions).unwrap();
    let mut client = client.with_root_certificates(roots).with_no_client_auth();
    client.enable_secret_extraction = true;
    let server = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&versions).unwrap();
    let mut server = server.with_no_client_auth().with_single_cert(vec![certificate], key.into()).unwrap();
    (server.enable_secret_extraction, server.send_tls13_tickets) = (true, 0);
    (client, server)
}

fn name() -> ServerName<'static> {
    ServerName::try_from("server.example").unwrap()
}

async fn established(session: Session, io: DuplexStream) -> End {
    Stream::establish(session, io).await.map_err(|(error, _)| error).unwrap()
}

fn client_of(config: ClientConfig) -> Session {
    Session::client(UnbufferedClientConnection::new(Arc::new(config), name()).unwrap())
}

fn server_of(config: ServerConfig) -> Session {
    Session::server(UnbufferedServerConnection::new(Arc::new(config)).unwrap())
}

/// A client and a server that have made their handshake.
async fn ends() -> (End, End) {
    let (client, server) = configs();
    let (near, far) = duplex(1 << 20);
    tokio::join!(established(client_of(client), near), established(server_of(server), far))
}

/// Says one record, whatever it is.
async fn forge(end: &mut End, kind: ContentType, content: &[u8]) {
    let (io, records) = end.parts();
    let mut record = vec![0; OVERHEAD + content.len()];
    let length = records.sending.seal(kind, content, &mut record).unwrap();
    assert_eq!(length, record.len());
    io.write_all(&record).await.unwrap();
}

/// Reads what is there, up to the end or what breaks it off.
async fn heard(end: &mut End) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    let read = timeout(Duration::from_secs(20), end.read_to_end(&mut all)).await.expect("it waits for ever");
    (all, read.map(|_| ()))
}

/// What a client says breaks the connection, and the server says why with this alert.
async fn breaks(records: &[Said<'_>], alert: AlertDescription) {
    let (client, server) = ends().await;
    breaks_between(client, server, records, alert).await;
}

async fn breaks_between(mut from: End, mut to: End, records: &[Said<'_>], alert: AlertDescription) {
    for (kind, content) in records {
        forge(&mut from, *kind, content).await;
    }
    forge(&mut from, ContentType::ApplicationData, b"behind it").await;
    let (said, end) = heard(&mut to).await;
    assert!(said.is_empty() && end.is_err(), "{records:?}: {said:?}, {end:?}");
    assert!(to.write_all(b"never").await.is_err());
    let told = heard(&mut from).await.1.unwrap_err();
    assert_eq!(received_alert(&told), Some(alert), "{records:?}");
}

/// Whether the client's words arrive with these records before them.
async fn passes(client: &mut End, server: &mut End, records: &[Said<'_>]) {
    for (kind, content) in records {
        forge(client, *kind, content).await;
    }
    client.write_all(b"words").await.unwrap();
    let mut said = [0; 5];
    timeout(Duration::from_secs(20), server.read_exact(&mut said)).await.expect("it waits for ever").unwrap();
    assert_eq!(&said, b"words", "{records:?}");
}

#[tokio::test]
async fn a_message_that_may_not_come_after_a_handshake_breaks_the_connection() {
    use AlertDescription::{DecodeError, IllegalParameter, UnexpectedMessage};
    use ContentType::{Alert, ApplicationData, ChangeCipherSpec, Handshake};
    for kind in (0..=255).filter(|kind| *kind != KEY_UPDATE) {
        breaks(&[(Handshake, &[kind, 0, 0, 1, 0])], UnexpectedMessage).await;
    }
    breaks(&[(Handshake, &[])], UnexpectedMessage).await;
    breaks(&[(Alert, &[])], UnexpectedMessage).await; // RFC 8446 §5.4
    breaks(&[(Alert, &[1])], DecodeError).await;
    breaks(&[(Alert, &[1, 0, 0])], DecodeError).await;
    breaks(&[(ChangeCipherSpec, &[1])], UnexpectedMessage).await;
    breaks(&[(ContentType::Heartbeat, &[1])], UnexpectedMessage).await;
    breaks(&[(Handshake, &[KEY_UPDATE, 0, 0, 2, 0, 0])], DecodeError).await;
    breaks(&[(Handshake, &[KEY_UPDATE, 0, 0, 0])], DecodeError).await;
    breaks(&[(Handshake, &[KEY_UPDATE, 0, 0, 1, 2])], IllegalParameter).await;
    // More behind new keys, or between the parts of a message (RFC 8446 §5.1).
    breaks(&[(Handshake, &[UPDATE, UPDATE].concat())], UnexpectedMessage).await;
    breaks(&[(Handshake, &UPDATE[..3]), (ApplicationData, b"between")], UnexpectedMessage).await;
    breaks(&[(Handshake, &UPDATE[..3]), (ApplicationData, b"")], UnexpectedMessage).await;
    breaks(&[(Handshake, &UPDATE[..3]), (Alert, &[1, 0])], UnexpectedMessage).await;
    breaks(&[(Handshake, &UPDATE[..3]), (Handshake, &[])], UnexpectedMessage).await;
}

#[tokio::test]
async fn a_message_that_a_server_may_not_send_after_a_handshake_breaks_the_connection() {
    for kind in (0..=255).filter(|kind| ![KEY_UPDATE, NEW_SESSION_TICKET].contains(kind)) {
        let (client, server) = ends().await;
        let message: Said<'_> = (ContentType::Handshake, &[kind, 0, 0, 1, 0]);
        breaks_between(server, client, &[message], AlertDescription::UnexpectedMessage).await;
    }
}

#[tokio::test]
async fn plaintext_after_a_handshake_breaks_the_connection() {
    for record in
        [&[20, 3, 3, 0, 1, 1][..], &[21, 3, 3, 0, 2, 2, 40], &[22, 3, 3, 0, 4, 1, 0, 0, 0], b"GET / HTTP/1.1\r\n\r\n"]
    {
        let (mut client, mut server) = ends().await;
        client.parts().0.write_all(record).await.unwrap();
        assert!(heard(&mut server).await.1.is_err());
        let told = heard(&mut client).await.1.unwrap_err();
        assert_eq!(received_alert(&told), Some(AlertDescription::UnexpectedMessage));
    }
}

#[tokio::test]
async fn records_with_nothing_for_the_application_are_borne_up_to_a_bound() {
    let (mut client, mut server) = ends().await;
    for _ in 0..3 {
        passes(&mut client, &mut server, &[EMPTY; 32]).await;
    }
    breaks(&[EMPTY; 33], AlertDescription::UnexpectedMessage).await;
    breaks(&[CANCELED; 33], AlertDescription::UnexpectedMessage).await;
}

#[tokio::test]
async fn key_updates_without_a_word_between_them_are_borne_up_to_a_bound() {
    for (updates, are_borne) in [(32, true), (33, false)] {
        let (mut client, mut server) = ends().await;
        for _ in 0..updates {
            forge(&mut client, ContentType::Handshake, UPDATE).await;
            let records = client.parts().1;
            records.sending = Protection::new(records.keys.next_sending().unwrap()).unwrap();
        }
        client.write_all(b"words").await.unwrap();
        client.shutdown().await.unwrap();
        let (said, end) = heard(&mut server).await;
        assert_eq!((said == b"words", end.is_ok()), (are_borne, are_borne), "{updates}");
    }
}

#[tokio::test]
async fn a_key_update_that_comes_byte_by_byte_is_one() {
    let (mut client, mut server) = ends().await;
    for byte in REQUEST {
        forge(&mut client, ContentType::Handshake, &[*byte]).await;
    }
    let records = client.parts().1;
    records.sending = Protection::new(records.keys.next_sending().unwrap()).unwrap();
    passes(&mut client, &mut server, &[]).await;
}

#[tokio::test]
async fn whoever_asks_for_new_keys_gets_them_once_before_the_next_words() {
    let (mut client, mut server) = ends().await;
    for _ in 0..3 {
        forge(&mut client, ContentType::Handshake, REQUEST).await;
        let records = client.parts().1;
        records.sending = Protection::new(records.keys.next_sending().unwrap()).unwrap();
    }
    passes(&mut client, &mut server, &[]).await;
    server.write_all(b"answer").await.unwrap();
    let mut received = vec![0; 200];
    let length = client.parts().0.read(&mut received).await.unwrap();
    let update = record::length(&received).unwrap().unwrap();
    assert_eq!(update, OVERHEAD + UPDATE.len());
    let records = client.parts().1;
    let opened = records.receiving.open(&mut received[..update], &mut []).unwrap();
    assert_eq!((opened.kind, &received[HEADER..HEADER + opened.length]), (ContentType::Handshake, UPDATE));
    records.receiving = Protection::new(records.keys.next_receiving().unwrap()).unwrap();
    let opened = records.receiving.open(&mut received[update..length], &mut []).unwrap();
    assert_eq!(opened.kind, ContentType::ApplicationData);
    assert_eq!(&received[update + HEADER..][..opened.length], b"answer");
}

#[tokio::test]
async fn no_key_protects_more_records_than_it_may() {
    let (mut client, mut server) = ends().await;
    client.parts().1.limit = 4;
    for _ in 0..50 {
        passes(&mut client, &mut server, &[]).await;
    }
    let said = vec![7; 10 * MAX_CONTENT];
    let says = async {
        client.write_all(&said).await.unwrap();
        client.shutdown().await.unwrap();
    };
    let ((), (arrived, end)) = tokio::join!(says, heard(&mut server));
    assert!(end.is_ok() && arrived == said);
    // Each fourth record of a key told of the next key: 50 and 10 words and an end, three under each key.
    assert_eq!(client.parts().1.sending.sequence(), 61 % 3);
}

#[tokio::test]
async fn tickets_of_a_server_are_passed_over_however_they_are_cut() {
    let ticket = [&[NEW_SESSION_TICKET, 0, 0, 30][..], &[7; 30]].concat();
    let two = [&*ticket, &*ticket].concat();
    for cut in 1..two.len() {
        let (mut client, mut server) = ends().await;
        let (first, second) = two.split_at(cut);
        let (second, third) = second.split_at(second.len().min(3));
        for part in [first, second, third].into_iter().filter(|part| !part.is_empty()) {
            forge(&mut server, ContentType::Handshake, part).await;
        }
        passes(&mut server, &mut client, &[]).await;
    }
}

#[tokio::test]
async fn a_user_that_cancels_is_no_error_and_an_end_is_one_whatever_its_level() {
    for level in [0, WARNING, FATAL, 255] {
        let (mut client, mut server) = ends().await;
        client.write_all(b"words").await.unwrap();
        forge(&mut client, ContentType::Alert, &[level, 90]).await;
        forge(&mut client, ContentType::Alert, &[level, 0]).await;
        let (said, end) = heard(&mut server).await;
        assert!(said == b"words" && end.is_ok(), "{level}: {end:?}");
        // The other direction goes on (RFC 8446 §6.1).
        passes(&mut server, &mut client, &[]).await;
    }
}

#[tokio::test]
async fn any_other_alert_breaks_the_connection_whatever_its_level_and_is_not_answered() {
    for level in [WARNING, FATAL] {
        let (mut client, mut server) = ends().await;
        forge(&mut client, ContentType::Alert, &[level, AlertDescription::AccessDenied.into()]).await;
        let error = heard(&mut server).await.1.unwrap_err();
        assert_eq!(received_alert(&error), Some(AlertDescription::AccessDenied));
        drop(server);
        assert_eq!(client.parts().0.read(&mut [0; 1]).await.unwrap(), 0);
    }
}

/// What two of rustls' ends need to be fed with.
async fn feed(io: &mut DuplexStream, mut read: impl FnMut(&[u8])) {
    let mut bytes = vec![0; 1 << 16];
    let length = timeout(Duration::from_secs(20), io.read(&mut bytes)).await.expect("it waits for ever").unwrap();
    assert!(length > 0, "it has ended");
    read(&bytes[..length]);
}

#[tokio::test]
async fn whatever_comes_behind_a_clients_last_flight_is_no_matter_of_the_handshake_wherever_it_is_cut() {
    for cut in 1.. {
        let (client, server) = configs();
        let mut client = rustls::ClientConnection::new(Arc::new(client), name()).unwrap();
        let (mut near, far) = duplex(1 << 20);
        let serves = async {
            let mut server = established(server_of(server), far).await;
            assert_eq!(server.parts().1.receiving.sequence(), 0);
            server.read_exact(&mut [0; 5]).await.unwrap();
            server.write_all(b"answer").await.unwrap();
            server
        };
        let asks = async {
            let mut flight = Vec::new();
            client.write_tls(&mut flight).unwrap();
            near.write_all(&flight).await.unwrap();
            while client.is_handshaking() {
                feed(&mut near, |mut bytes| {
                    client.read_tls(&mut bytes).unwrap();
                    client.process_new_packets().unwrap();
                })
                .await;
            }
            // New keys are asked for before the first words.
            client.refresh_traffic_keys().unwrap();
            io::Write::write_all(&mut client.writer(), b"words").unwrap();
            flight.clear();
            while client.wants_write() {
                client.write_tls(&mut flight).unwrap();
            }
            let Some((first, last)) = flight.split_at_checked(cut) else { return false };
            near.write_all(first).await.unwrap();
            tokio::task::yield_now().await; // the server has the first part before the last is there
            near.write_all(last).await.unwrap();
            let mut answer = Vec::new();
            while answer.len() < 6 {
                feed(&mut near, |mut bytes| {
                    client.read_tls(&mut bytes).unwrap();
                    client.process_new_packets().unwrap();
                    let _ = io::Read::read_to_end(&mut client.reader(), &mut answer);
                })
                .await;
            }
            answer == b"answer"
        };
        tokio::select! {
            biased;
            is_answered = asks => if !is_answered { return },
            _ = async { serves.await; std::future::pending::<()>().await } => {}
        }
    }
}

#[tokio::test]
async fn words_that_come_with_a_servers_first_flight_are_no_matter_of_the_handshake() {
    let (client, mut server) = configs();
    server.send_half_rtt_data = true;
    let mut server = rustls::ServerConnection::new(Arc::new(server)).unwrap();
    let (mut near, far) = duplex(1 << 20);
    let serves = async {
        feed(&mut near, |mut bytes| {
            server.read_tls(&mut bytes).unwrap();
            server.process_new_packets().unwrap();
        })
        .await;
        io::Write::write_all(&mut server.writer(), b"words").unwrap();
        let mut flight = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut flight).unwrap();
        }
        near.write_all(&flight).await.unwrap();
    };
    let ((), mut client) = tokio::join!(serves, established(client_of(client), far));
    assert_eq!(client.parts().1.receiving.sequence(), 0);
    let mut words = [0; 5];
    client.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"words");
}
