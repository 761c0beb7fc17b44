//! The record protection against the records of RFC 8448 §3, and against whoever does not keep to RFC 8446 §5.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail")]

use rustls::ContentType::{Alert, ApplicationData, Handshake};

use super::*;

/// The application traffic keys of RFC 8448 §3, and what was said under them.
const CLIENT: (&str, &str) = ("17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9");
const SERVER: (&str, &str) = ("9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984");
const CLIENT_SAYS: &str = "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
const CLIENT_ENDS: &str = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";
const SERVER_SAYS: &str = "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4bf2e5f0a21c0047c2abf332540dd032e167c2955d";
const SERVER_ENDS: &str = "1703030013b58fd67166ebf599d24720cfbe7efa7a8864a9";

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<_> = hexadecimal.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// The 50 bytes that either side says in RFC 8448 §3.
fn said() -> Vec<u8> {
    (0..50).collect()
}

fn protection((key, iv): (&str, &str), sequence: u64) -> Protection {
    with(&AES_128_GCM, &bytes(key), bytes(iv).try_into().unwrap(), sequence)
}

fn with(algorithm: &'static Algorithm, key: &[u8], iv: [u8; 12], sequence: u64) -> Protection {
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    Protection { key, iv: iv.into(), sequence }
}

/// Both ends of one direction.
fn ends() -> (Protection, Protection) {
    (protection(CLIENT, 0), protection(CLIENT, 0))
}

fn sealed(by: &mut Protection, kind: ContentType, content: &[u8]) -> Vec<u8> {
    let mut room = vec![0; OVERHEAD + content.len()];
    assert_eq!(by.seal(kind, content, &mut room), Some(room.len()));
    room
}

/// A record with an inner plaintext of any kind, as only a peer would make it.
fn forced(by: &mut Protection, inner: &[u8]) -> Vec<u8> {
    let header = make_tls13_aad(inner.len() + TAG);
    let mut record = [&header, inner].concat();
    let tag = by.key.seal_in_place_separate_tag(by.nonce(), Aad::from(header), &mut record[HEADER..]).unwrap();
    by.sequence += 1;
    record.extend_from_slice(tag.as_ref());
    record
}

/// Opens a record into a room of this size.
fn opened(by: &mut Protection, record: &[u8], room: usize) -> Result<(ContentType, Vec<u8>), Invalid> {
    assert_eq!(length(record), Ok(Some(record.len())));
    let (mut record, mut room) = (record.to_vec(), vec![0; room]);
    let Opened { kind, place, length } = by.open(&mut record, &mut room)?;
    let content = match place {
        Place::Room => &room[..length],
        Place::Ciphertext => &record[HEADER..][..length],
    };
    Ok((kind, content.to_vec()))
}

#[test]
fn the_records_of_rfc_8448_are_sealed_to_the_byte() {
    let mut client = protection(CLIENT, 0);
    assert_eq!(sealed(&mut client, ApplicationData, &said()), bytes(CLIENT_SAYS));
    assert_eq!(sealed(&mut client, Alert, &[1, 0]), bytes(CLIENT_ENDS));
    let mut server = protection(SERVER, 1); // a ticket went before
    assert_eq!(sealed(&mut server, ApplicationData, &said()), bytes(SERVER_SAYS));
    assert_eq!(sealed(&mut server, Alert, &[1, 0]), bytes(SERVER_ENDS));
}

#[test]
fn the_records_of_rfc_8448_are_opened_wherever_there_is_room() {
    for room in [0, 50, 51, 1000] {
        let mut client = protection(CLIENT, 0);
        assert_eq!(opened(&mut client, &bytes(CLIENT_SAYS), room), Ok((ApplicationData, said())));
        assert_eq!(opened(&mut client, &bytes(CLIENT_ENDS), room), Ok((Alert, vec![1, 0])));
        let mut server = protection(SERVER, 1);
        assert_eq!(opened(&mut server, &bytes(SERVER_SAYS), room), Ok((ApplicationData, said())));
        assert_eq!(opened(&mut server, &bytes(SERVER_ENDS), room), Ok((Alert, vec![1, 0])));
    }
}

#[test]
fn each_cipher_opens_what_it_sealed() {
    for (algorithm, key_length) in [(&AES_128_GCM, 16), (&AES_256_GCM, 32), (&CHACHA20_POLY1305, 32)] {
        let end = || with(algorithm, &[3; 32][..key_length], [5; 12], 7);
        let (mut sender, mut receiver) = (end(), end());
        for length in [0, 1, 15, 16, 17, 1000, MAX_CONTENT] {
            let content = vec![9; length];
            let record = sealed(&mut sender, ApplicationData, &content);
            assert_eq!(opened(&mut receiver, &record, 0), Ok((ApplicationData, content)));
        }
        assert_eq!(sender.sequence(), 14);
    }
}

#[test]
fn a_record_with_any_bit_changed_is_forged() {
    let record = sealed(&mut protection(CLIENT, 0), ApplicationData, b"genuine");
    for at in 0..record.len() {
        for bit in 0..8 {
            for room in [0, 100] {
                let mut changed = record.clone();
                changed[at] ^= 1 << bit;
                let opened = protection(CLIENT, 0).open(&mut changed, &mut vec![0; room]);
                assert_eq!(opened, Err(Invalid::Forged), "byte {at}, bit {bit}");
            }
        }
    }
}

#[test]
fn a_record_that_comes_twice_or_out_of_order_is_forged() {
    let (mut sender, mut receiver) = ends();
    let first = sealed(&mut sender, ApplicationData, b"first");
    let second = sealed(&mut sender, ApplicationData, b"second");
    assert_eq!(opened(&mut receiver, &second, 100), Err(Invalid::Forged));
    assert!(opened(&mut receiver, &first, 100).is_ok());
    assert_eq!(opened(&mut receiver, &first, 100), Err(Invalid::Forged));
    assert!(opened(&mut receiver, &second, 100).is_ok());
}

#[test]
fn a_record_shorter_than_its_authenticator_is_forged() {
    for length in 0..=HEADER + TAG {
        assert_eq!(protection(CLIENT, 0).open(&mut vec![0; length], &mut [0; 100]), Err(Invalid::Forged));
    }
}

#[test]
fn padding_is_no_content_and_a_record_of_padding_alone_has_no_type() {
    let (mut sender, mut receiver) = ends();
    for room in [0, 1000] {
        let padded = forced(&mut sender, &[b"content\0\x17".as_slice(), &[0; 300]].concat());
        assert_eq!(opened(&mut receiver, &padded, room), Ok((ApplicationData, b"content\0".to_vec())));
        let empty = forced(&mut sender, &[22, 0, 0]);
        assert_eq!(opened(&mut receiver, &empty, room), Ok((Handshake, Vec::new())));
        let untyped = forced(&mut sender, &[0; 300]);
        assert_eq!(opened(&mut receiver, &untyped, room), Err(Invalid::Untyped));
    }
}

#[test]
fn no_record_holds_more_than_the_most_of_rfc_8446() {
    let (mut sender, mut receiver) = ends();
    let most = forced(&mut sender, &[vec![7; MAX_CONTENT], vec![23]].concat());
    assert_eq!(opened(&mut receiver, &most, 20_000).unwrap().1.len(), MAX_CONTENT);
    let more = forced(&mut sender, &[vec![7; MAX_CONTENT + 1], vec![23]].concat());
    assert_eq!(opened(&mut receiver, &more, 20_000), Err(Invalid::TooLong));
    assert_eq!(length(&[23, 3, 3, 0x41, 0x00]), Ok(Some(HEADER + MAX_CIPHERTEXT)));
    assert_eq!(length(&[23, 3, 3, 0x41, 0x01]), Err(Invalid::TooLong));
}

#[test]
fn nothing_but_ciphertext_is_a_record() {
    assert_eq!(length(&[]), Ok(None));
    assert_eq!(length(&[23, 3, 3, 0]), Ok(None));
    for kind in (0..=255).filter(|kind| *kind != 23) {
        assert_eq!(length(&[kind]), Err(Invalid::Unprotected(kind.into())));
    }
}

#[test]
fn what_does_not_fit_is_not_sealed_and_takes_no_number() {
    let mut sender = protection(CLIENT, 0);
    for room in 0..OVERHEAD + 50 {
        assert_eq!(sender.seal(ApplicationData, &said(), &mut vec![0; room]), None);
    }
    assert_eq!(sealed(&mut sender, ApplicationData, &said()), bytes(CLIENT_SAYS));
}
