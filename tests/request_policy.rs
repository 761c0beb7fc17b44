//! Paths, hosts and patterns over them: what they become, what they match, and the sentences that an operator reads, word by word.
#![expect(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use svidgate::policy::{HostPattern, PathPattern, RequestPath, Specificity, normal_host};

fn path(text: &str) -> RequestPath<'_> {
    RequestPath::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn path_pattern(text: &str) -> PathPattern {
    PathPattern::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn host_pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

// ---- paths

#[test]
fn a_path_becomes_what_is_forwarded() {
    let table = [
        ("/%61%2d%2E%5f%7E%5A%30", "/a-._~Z0"),
        ("/%c3%a9", "/%C3%A9"),
        ("/a%3ab%5b%25", "/a%3Ab%5B%25"),
        ("//", "/"),
        ("//evil.example/a", "/evil.example/a"),
        ("/a//b///c//", "/a/b/c/"),
        ("/.", "/"),
        ("/./", "/"),
        ("/a/.", "/a/"),
        ("/a/./b", "/a/b"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("/a/b/../c", "/a/c"),
        ("/a/b/..", "/a/"),
        ("/a/%2e%2E/b", "/b"),
        ("/a/.%2e/b", "/b"),
        ("/a/%2E/b", "/a/b"),
        // Slashes in a row are one before `..` leaves anything.
        ("/a//../b", "/b"),
        ("/a/b;v=1/../c", "/a/c"),
    ];
    for (text, normal) in table {
        assert_eq!(path(text).as_str(), normal, "{text:?}");
        assert!(!path(text).is_as_sent(), "{text:?}");
    }
}

#[test]
fn a_path_that_is_normal_already_stays_as_it_is() {
    let table = [
        "/",
        "/a",
        "/a/",
        "/...",
        "/..a/.b/c.",
        "/a;v=1/b;w,x",
        "/app/;jsessionid=1",
        "/a%20b/%C3%A9/%E2%82%AC/%F0%9F%98%80/%25/%3B",
        // Decoded once, as the application decodes it, this is the text `%2e%2e`.
        "/%252e%252e/a",
        "/!$&'()*+,;=:@-._~",
    ];
    for text in table {
        assert_eq!(path(text).as_str(), text);
        assert!(path(text).is_as_sent(), "{text:?}");
    }
}

#[test]
fn a_path_that_two_could_read_in_two_ways_is_refused() {
    let slash = "the path has an encoded slash or backslash, which some applications take for the end of a segment";
    let control = "the path has an encoded control character";
    let utf8 = "the path has encoded bytes that are no UTF-8";
    let percent = "the path has a `%` without two hexadecimal digits behind it";
    let above = "the path leads above its root with `..`";
    let dots = "the path has a `.` or `..` segment with parameters (`;`), which some applications take off before they \
                resolve it";
    let parameters =
        "the path has a segment of nothing but parameters (`;`) before its end, which some applications leave out";
    let absolute = "the path does not start with `/`";
    let table = [
        ("", absolute),
        ("*", absolute),
        ("a/b", absolute),
        ("%2Fa", absolute),
        ("http://a/b", absolute),
        ("/a%2fb", slash),
        ("/a%2Fb", slash),
        ("/a%5cb", slash),
        ("/..%5C..%5Cb", slash),
        ("/a%00", control),
        ("/a%0d%0ab", control),
        ("/a%1f", control),
        ("/a%7F", control),
        ("/%c0%af", utf8),
        ("/%C0%AE%C0%AE/a", utf8),
        ("/%e0%80%af", utf8),
        ("/%ed%a0%80", utf8),
        ("/%f4%90%80%80", utf8),
        ("/%f8%88%80%80%80", utf8),
        ("/%80", utf8),
        ("/%ff", utf8),
        ("/%c3", utf8),
        ("/%c3a9", utf8),
        ("/%c3%2f", utf8),
        ("/%e2%82/%ac", utf8),
        ("/%", percent),
        ("/%2", percent),
        ("/%2/", percent),
        ("/%zz", percent),
        ("/%+1", percent),
        ("/%c3%a", percent),
        ("/..", above),
        ("/../a", above),
        ("/a/../../b", above),
        ("/a/.././../b", above),
        ("/%2e%2e/a", above),
        ("/..;/a", dots),
        ("/a/..;x=1/b", dots),
        ("/a/.;x", dots),
        ("/a/%2e%2e;", dots),
        ("/a/..%3b/b", dots),
        ("/;x/a", parameters),
        ("/a/;/b", parameters),
        ("/a/%3Bx/", parameters),
        ("/a?b", "the path has the character '?', which may not stand in a path as it is"),
        ("/a#b", "the path has the character '#', which may not stand in a path as it is"),
        ("/a b", "the path has the character ' ', which may not stand in a path as it is"),
        ("/a\\b", "the path has the character '\\\\', which may not stand in a path as it is"),
        ("/a\u{e9}", "the path has the character 'é', which may not stand in a path as it is"),
        ("/a\0", "the path has the character '\\0', which may not stand in a path as it is"),
    ];
    for (text, message) in table {
        match RequestPath::parse(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
            Ok(path) => panic!("{text:?} was read as {path:?}"),
        }
    }
    for char in "\t\r\n\x7f\"<>^`{|}[]".chars() {
        assert!(RequestPath::parse(&format!("/a{char}")).is_err(), "{char:?}");
    }
}

#[test]
fn a_path_is_read_up_to_eight_kibibytes() {
    let longest = format!("/{}", "a".repeat(8 * 1024 - 1));
    assert!(path(&longest).is_as_sent());
    let error = RequestPath::parse(&format!("{longest}a")).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the path has more than 8192 bytes");
}

// ---- path patterns

#[test]
fn a_path_pattern_matches_whole_segments() {
    let table: &[(&str, &[&str], &[&str])] = &[
        ("/", &["/"], &["/a", "/;x"]),
        ("/orders", &["/orders"], &["/orders/", "/orders/5", "/Orders", "/ordersheet", "/"]),
        ("/orders/", &["/orders/"], &["/orders", "/orders/5"]),
        ("/orders/*", &["/orders/5", "/orders/5;v=1"], &["/orders", "/orders/", "/orders/5/", "/orders/5/x"]),
        ("/orders/**", &["/orders", "/orders/", "/orders/5", "/orders/5/x/"], &["/ordersheet", "/order", "/"]),
        ("/orders/*/items", &["/orders/5/items"], &["/orders/items", "/orders/5/6/items", "/orders/5/items/"]),
        ("/orders/*/**", &["/orders/5", "/orders/5/", "/orders/5/x"], &["/orders", "/orders/"]),
        ("/*", &["/a", "/%2A"], &["/", "/a/", "/a/b"]),
        ("/**", &["/", "/a", "/a/b/", "/;x"], &[]),
        ("/a%20b", &["/a%20b"], &["/a%2520b"]),
    ];
    for (text, matching, others) in table {
        let pattern = path_pattern(text);
        assert_eq!(pattern.to_string(), *text);
        for asked in *matching {
            assert!(pattern.matches(&path(asked)), "{text} and {asked}");
            assert!(pattern.matches_any_reading(&path(asked)), "{text} and {asked}");
        }
        for asked in *others {
            assert!(!pattern.matches(&path(asked)), "{text} and {asked}");
        }
    }
}

#[test]
fn only_a_denying_pattern_looks_behind_parameters() {
    let table = [
        ("/admin", "/admin;x"),
        ("/admin", "/admin%3Bx"),
        ("/admin/users", "/admin;a=1;b/users;c"),
        ("/admin/**", "/admin;x/users"),
        ("/", "/;x"),
        ("/orders/", "/orders/;x"),
        // With parameters a place below, without them `/orders/` itself.
        ("/orders/*", "/orders/;x"),
    ];
    for (text, asked) in table {
        assert!(!path_pattern(text).matches(&path(asked)), "{text} and {asked}");
        assert!(path_pattern(text).matches_any_reading(&path(asked)), "{text} and {asked}");
    }
    assert!(!path_pattern("/admin").matches_any_reading(&path("/administrator;x")));
    assert!(path_pattern("/admin;x").matches_any_reading(&path("/admin;x")));
    assert!(!path_pattern("/admin;x").matches_any_reading(&path("/admin")));
}

#[test]
fn a_text_that_is_no_path_pattern_says_what_to_write() {
    let absolute = "a path starts with `/`, as in `/orders/*`; `/**` is every path";
    let partial = "`*` stands for one whole segment, as in `/orders/*`; a part of a segment cannot be matched";
    let inner = "`**` may stand at the end only, as in `/orders/**`; `*` stands for exactly one segment anywhere";
    let table = [
        ("", absolute),
        ("*", absolute),
        ("**", absolute),
        ("orders", absolute),
        ("/a*", partial),
        ("/*a/b", partial),
        ("/a/***", partial),
        ("/**/a", inner),
        ("/**/**", inner),
        ("/a/**/", inner),
        ("/a?b=c", "rules do not look at what follows `?` or `#`: write `/a`"),
        ("/a#b", "rules do not look at what follows `?` or `#`: write `/a`"),
        ("/a//b", "requests are matched as they are forwarded, and this is forwarded as `/a/b`: write that"),
        ("/a//**", "requests are matched as they are forwarded, and this is forwarded as `/a/**`: write that"),
        ("/a/../b/*", "requests are matched as they are forwarded, and this is forwarded as `/b/*`: write that"),
        ("/%7euser", "requests are matched as they are forwarded, and this is forwarded as `/~user`: write that"),
        ("/%c3%a9", "requests are matched as they are forwarded, and this is forwarded as `/%C3%A9`: write that"),
        ("/..", "no request may have such a path: the path leads above its root with `..`"),
        (
            "/a b",
            "no request may have such a path: the path has the character ' ', which may not stand in a path as it is",
        ),
        (
            "/caf\u{e9}",
            "no request may have such a path: the path has the character 'é', which may not stand in a path as it is",
        ),
    ];
    for (text, message) in table {
        match PathPattern::parse(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
            Ok(pattern) => panic!("{text:?} was read as {pattern}"),
        }
    }
}

// ---- hosts

#[test]
fn a_host_has_one_spelling() {
    let table = [
        ("orders.example", "orders.example"),
        ("Orders.EXAMPLE", "orders.example"),
        ("orders.example.", "orders.example"),
        ("LOCALHOST.", "localhost"),
        ("my_service-1", "my_service-1"),
        ("10.0.0.1", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("[0:0:0:0:0:0:0:1]", "[::1]"),
        ("[2001:DB8::A]", "[2001:db8::a]"),
    ];
    for (text, normal) in table {
        assert_eq!(normal_host(text).unwrap(), normal, "{text:?}");
    }
}

#[test]
fn a_text_that_is_no_host_says_why() {
    let labels = "the host has nothing before or between its dots";
    let brackets = "the host has `[`, but no IPv6 address between brackets";
    let table = [
        ("", "the host is empty"),
        (".", labels),
        (".example", labels),
        ("a..example", labels),
        ("a.example..", labels),
        ("[::1", brackets),
        ("[::1].", brackets),
        ("[fe80::1%25eth0]", brackets),
        ("[10.0.0.1]", brackets),
        ("a:1", "the host has the character ':'; allowed are letters, digits, `-` and `_`, with dots between them"),
        ("a%2eb", "the host has the character '%'; allowed are letters, digits, `-` and `_`, with dots between them"),
        ("u@a", "the host has the character '@'; allowed are letters, digits, `-` and `_`, with dots between them"),
        (
            "b\u{fc}cher",
            "the host has the character 'ü'; allowed are letters, digits, `-` and `_`, with dots between them",
        ),
    ];
    for (text, message) in table {
        match normal_host(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
            Ok(host) => panic!("{text:?} was read as {host}"),
        }
    }
    let longest = format!("{}{}", "a.".repeat(126), "a");
    assert_eq!(normal_host(&longest).unwrap(), longest);
    let error = normal_host(&format!("a{longest}")).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the host has more than 253 bytes");
}

#[test]
fn a_host_pattern_matches_and_captures() {
    type Captured = Option<&'static [&'static str]>;
    let table: &[(&str, &[(&str, Captured)])] = &[
        ("orders.example", &[("orders.example", Some(&[])), ("a.orders.example", None), ("example", None)]),
        ("ORDERS.Example.", &[("orders.example", Some(&[]))]),
        ("10.0.0.1", &[("10.0.0.1", Some(&[])), ("10.0.0.10", None)]),
        ("[0::1]", &[("[::1]", Some(&[])), ("[::2]", None)]),
        (
            "*.example",
            &[
                ("a.example", Some(&[])),
                ("a.b.example", Some(&[])),
                ("example", None),
                (".example", None),
                ("aexample", None),
            ],
        ),
        ("*", &[("a", Some(&[])), ("a.b", Some(&[])), ("[::1]", Some(&[]))]),
        (
            "{0}.{1}.svc",
            &[
                ("web.prod.svc", Some(&["web", "prod"])),
                ("web_1.prod-2.svc", Some(&["web_1", "prod-2"])),
                ("web.svc", None),
                ("a.web.prod.svc", None),
                ("web..svc", None),
                (".prod.svc", None),
                ("w%b.prod.svc", None),
                ("Web.prod.svc", None),
                ("web.prod.svc.", None),
            ],
        ),
        ("{1}.{0}.svc", &[("web.prod.svc", Some(&["prod", "web"]))]),
        ("{0}.DB.{1}", &[("a.db.b", Some(&["a", "b"])), ("a.dc.b", None)]),
        ("{0}", &[("localhost", Some(&["localhost"])), ("a.b", None), ("[::1]", None), ("", None)]),
    ];
    for (text, hosts) in table {
        let pattern = host_pattern(text);
        for (host, captured) in *hosts {
            assert_eq!(pattern.capture(host).as_deref(), *captured, "{text} and {host}");
            assert_eq!(pattern.matches(host), captured.is_some(), "{text} and {host}");
            assert!(captured.is_none_or(|captured| captured.len() == pattern.captures()), "{text}");
        }
    }
}

#[test]
fn a_host_pattern_prints_in_the_spelling_that_it_matches() {
    let table = [
        ("*", "*"),
        ("*.Example.", "*.example"),
        ("[0::1]", "[::1]"),
        ("{1}.{0}.SVC", "{1}.{0}.svc"),
        ("Orders.example", "orders.example"),
    ];
    for (text, printed) in table {
        assert_eq!(host_pattern(text).to_string(), printed);
    }
}

#[test]
fn the_closer_host_pattern_is_the_more_specific() {
    let rising = ["*", "*.svc", "*.prod.svc", "{0}", "{0}.{1}.svc", "{0}.prod.svc", "web.prod.svc"]
        .map(|text| host_pattern(text).specificity());
    assert!(rising.is_sorted_by(|one, next| one < next), "{rising:?}");
    assert_eq!(host_pattern("{0}.{1}.svc").specificity(), Specificity::Template { fixed: 1 });
    assert_eq!(host_pattern("10.0.0.1").specificity(), host_pattern("a").specificity());
}

#[test]
fn a_text_that_is_no_host_pattern_says_what_to_write() {
    let url = "only the host belongs here: leave out the scheme and the path";
    let port = "ports do not belong here: hosts are matched without them";
    let wildcard = "`*` stands alone for any host, or at the front for one or more labels, as in `*.example`";
    let none = |text: &str| {
        format!("a placeholder is one whole label with a number in braces, as in `{{0}}.{{1}}.svc`; `{text}` is none")
    };
    let table = [
        (
            "",
            "a host is a name such as `orders.example`, or `*.example` for every name below it; `*` is any host".into(),
        ),
        ("https://orders.example", url.into()),
        ("orders.example/a", url.into()),
        ("orders.example:8443", port.into()),
        ("[::1]:8443", port.into()),
        ("{0}.svc:8443", port.into()),
        ("::1", "an IPv6 address stands in brackets: write `[::1]`".into()),
        ("[::1", "the host has `[`, but no IPv6 address between brackets".into()),
        ("**", wildcard.into()),
        ("a.*", wildcard.into()),
        ("*.*.example", wildcard.into()),
        ("*example", wildcard.into()),
        ("*.{0}.svc", wildcard.into()),
        ("a{0}.svc", none("a{0}")),
        ("{host}.svc", none("{host}")),
        ("{}.svc", none("{}")),
        ("{00}.svc", none("{00}")),
        ("{+0}.svc", none("{+0}")),
        ("{0.svc", none("{0")),
        ("{0}{1}.svc", none("{0}{1}")),
        ("{99999999999999999999}", none("{99999999999999999999}")),
        ("{0}.{0}.svc", "the placeholder `{0}` stands twice; each is used once".into()),
        ("{1}.svc", "placeholders are numbered from `{0}` without a gap, and `{0}` is missing".into()),
        ("{0}.{2}.svc", "placeholders are numbered from `{0}` without a gap, and `{1}` is missing".into()),
        ("a..b", "the host has nothing before or between its dots".into()),
        ("*..b", "the host has nothing before or between its dots".into()),
        ("{0}..b", "the host has nothing before or between its dots".into()),
        ("*.", "the host is empty".to_owned()),
        (
            "a b",
            "the host has the character ' '; allowed are letters, digits, `-` and `_`, with dots between them".into(),
        ),
    ];
    for (text, message) in table {
        match HostPattern::parse(text) {
            Err(error) => assert_eq!(error.to_string(), message, "{text:?}"),
            Ok(pattern) => panic!("{text:?} was read as {pattern}"),
        }
    }
    let long = HostPattern::parse(&"a.".repeat(200)).unwrap_err();
    assert_eq!(long.to_string(), "the host has more than 253 bytes");
}
