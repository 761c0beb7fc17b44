//! I-*: SPIFFE-ID.

use svidgate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

use super::fixtures::{accepted, fixtures, judge};

/// Each text is an ID that prints as it was written.
fn ids(texts: &[&str]) {
    for text in texts {
        let id = SpiffeId::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(id.to_string(), *text);
    }
}

/// Each text is refused for its reason.
fn no_ids(table: &[(&str, SpiffeIdError)]) {
    for (text, error) in table {
        assert_eq!(SpiffeId::parse(text), Err(*error), "{text:?}");
    }
}

#[test]
fn i_1_the_scheme_is_spiffe() {
    ids(&["spiffe://td/a"]);
    let others = ["https://td/a", "spiffe:/td/a", " spiffe://td/a", "spiffe", "", "//td/a", "spiffe//td/a"];
    no_ids(&others.map(|text| (text, SpiffeIdError::Scheme)));
    fixtures("i-1");
}

#[test]
fn i_2_the_trust_domain_is_not_empty() {
    ids(&["spiffe://td"]);
    no_ids(&[("spiffe://", SpiffeIdError::TrustDomainEmpty), ("spiffe:///a", SpiffeIdError::TrustDomainEmpty)]);
    assert_eq!(TrustDomain::parse(""), Err(SpiffeIdError::TrustDomainEmpty));
    fixtures("i-2");
}

#[test]
fn i_3_there_is_no_query_and_no_fragment() {
    use SpiffeIdError::{Fragment, Query};
    let queries = ["spiffe://td/a?q", "spiffe://td?x", "spiffe://td/?"].map(|text| (text, Query));
    let fragments = ["spiffe://td/a#f", "spiffe://td#f"].map(|text| (text, Fragment));
    no_ids(&[queries.as_slice(), &fragments].concat());
    fixtures("i-3");
}

#[test]
fn i_4_user_info_and_port_are_empty() {
    use SpiffeIdError::{Port, UserInfo};
    let table = [
        ("spiffe://u@td/a", UserInfo),
        ("spiffe://@td/a", UserInfo),
        ("spiffe://u:p@td/a", Port),
        ("spiffe://td:443/a", Port),
        ("spiffe://td:/a", Port),
    ];
    no_ids(&table);
    fixtures("i-4");
}

/// Decided: a certificate must carry the canonical, lower-case form; what a person wrote into a configuration is lowered first, since
/// scheme and trust domain compare without regard to case (SPIFFE-ID §2.4). The path never is.
#[test]
fn i_5_scheme_and_trust_domain_are_in_lower_case() {
    no_ids(&[("spiffe://TD.example/a", SpiffeIdError::TrustDomainUpperCase), ("SPIFFE://td/a", SpiffeIdError::Scheme)]);
    let lenient = SpiffeId::parse_lenient("SPIFFE://TD.example/A").unwrap();
    assert_eq!(lenient, SpiffeId::parse("spiffe://td.example/A").unwrap());
    fixtures("i-5");
}

#[test]
fn i_6_a_trust_domain_is_made_of_lower_case_letters_digits_dots_dashes_and_underscores() {
    ids(&["spiffe://a_b-1.c/a", "spiffe://1.2.3.4/a", "spiffe://-/a", "spiffe://.td./a", "spiffe://_/a"]);
    let table = [("t~d", '~'), ("t%64", '%'), ("[::1]", '['), ("té", 'é'), ("t d", ' '), ("t\0d", '\0'), ("t*", '*')];
    for (name, character) in table {
        assert_eq!(TrustDomain::parse(name), Err(SpiffeIdError::TrustDomainCharacter(character)), "{name:?}");
        let id = format!("spiffe://{name}/a");
        assert_eq!(SpiffeId::parse(&id), Err(SpiffeIdError::TrustDomainCharacter(character)), "{id:?}");
    }
    fixtures("i-6");
}

#[test]
fn i_7_nothing_is_percent_encoded() {
    no_ids(&[
        ("spiffe://td/%61", SpiffeIdError::PathCharacter('%')),
        ("spiffe://t%64/a", SpiffeIdError::TrustDomainCharacter('%')),
        ("spiffe://td/a%2fb", SpiffeIdError::PathCharacter('%')),
    ]);
    fixtures("i-7");
}

#[test]
fn i_8_addresses_and_host_names_mean_nothing() {
    let address = SpiffeId::parse("spiffe://127.0.0.1/a").unwrap();
    assert_ne!(address, SpiffeId::parse("spiffe://127.0.0.01/a").unwrap());
    assert_ne!(SpiffeId::parse("spiffe://td.example/a").unwrap(), SpiffeId::parse("spiffe://td.example./a").unwrap());
    fixtures("i-8");
}

#[test]
fn i_9_no_segment_is_empty_or_a_dot_or_two() {
    use SpiffeIdError::{DotSegment, EmptySegment};
    ids(&["spiffe://td/...", "spiffe://td/a.b", "spiffe://td/.a", "spiffe://td/a..", "spiffe://td/-"]);
    let empty = ["spiffe://td//", "spiffe://td//a", "spiffe://td/a//b"].map(|text| (text, EmptySegment));
    let dots =
        ["spiffe://td/.", "spiffe://td/./a", "spiffe://td/a/..", "spiffe://td/../a"].map(|text| (text, DotSegment));
    no_ids(&[empty.as_slice(), &dots].concat());
    fixtures("i-9");
}

#[test]
fn i_10_no_id_ends_with_a_slash() {
    ids(&["spiffe://td"]);
    no_ids(&["spiffe://td/", "spiffe://td/a/"].map(|text| (text, SpiffeIdError::EmptySegment)));
    fixtures("i-10");
}

#[test]
fn i_11_a_path_is_made_of_letters_digits_dots_dashes_and_underscores() {
    ids(&["spiffe://td/A_b-1.c"]);
    for character in "~:@!$&'()*+,;=% \0\n\\|\"<>[]{}^`é\u{7f}".chars() {
        let text = format!("spiffe://td/a{character}b");
        assert_eq!(SpiffeId::parse(&text), Err(SpiffeIdError::PathCharacter(character)), "{text:?}");
    }
    fixtures("i-11");
}

#[test]
fn i_12_the_path_is_compared_with_regard_to_case() {
    assert_ne!(SpiffeId::parse("spiffe://td/A").unwrap(), SpiffeId::parse("spiffe://td/a").unwrap());
    assert_ne!(SpiffeId::parse_lenient("spiffe://td/A"), SpiffeId::parse_lenient("spiffe://td/a"));
}

/// Decided: 2,048 bytes are read, as the standard demands; a longer ID, which nobody should make, is refused.
#[test]
fn i_13_an_id_has_2048_bytes_at_most() {
    let of_length = |bytes: usize| format!("spiffe://td/{}", "p".repeat(bytes - 12));
    ids(&[&of_length(2048)]);
    no_ids(&[(&of_length(2049), SpiffeIdError::TooLong)]);
    fixtures("i-13");
}

#[test]
fn i_14_a_trust_domain_has_255_bytes_at_most() {
    ids(&[&format!("spiffe://{}/a", "d".repeat(255))]);
    no_ids(&[(&format!("spiffe://{}/a", "d".repeat(256)), SpiffeIdError::TrustDomainTooLong)]);
    fixtures("i-14");
}

/// Decided: an authority may name its trust domain or nothing, with a slash alone too, as in the standard's own example; nobody asks
/// that it be the leaf's trust domain (a SHOULD), since the bundle that it was found in says whom it speaks for. An ID with a path is
/// refused.
#[test]
fn i_15_an_authoritys_id_is_not_parsed_strictly() {
    let tolerated = ["x-11-intermediate-with-slash-alone", "x-11-intermediate-of-another-trust-domain"];
    tolerated.iter().for_each(|name| judge(&accepted(name)));
    assert_eq!(SpiffeId::parse("spiffe://prod.example/"), Err(SpiffeIdError::EmptySegment));
}
