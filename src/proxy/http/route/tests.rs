//! Hosts that anybody may make up, against a memory that has an end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use super::*;
use crate::config::{Config, Protocol};

fn routes(text: &str) -> Routes {
    let config = Config::parse("test.toml", text).unwrap_or_else(|faults| panic!("{faults}"));
    let listener = config.listeners.first().unwrap();
    let Protocol::Http(http) = &listener.protocol else { panic!("it is no HTTP") };
    Routes::new(listener, &http.routes, &config.limits)
}

#[test]
fn hosts_made_up_by_the_thousand_do_not_grow_memory_and_every_one_finds_its_way() {
    let routes = routes(
        r#"
        [[outbound]]
        listen = "127.0.0.1:1"
        protocol = "http"
        [[outbound.route]]
        hosts = ["{0}.{1}.svc"]
        target = "{0}.{1}.svc:8443"
        expect = ["spiffe://prod.example/ns/{1}/sa/{0}"]
        "#,
    );
    for number in 0..5 * MAX_FILLED {
        let host = format!("made-up-{number}.shop.svc");
        let found = routes.find(&host).unwrap();
        assert!(std::ptr::eq(&*found, &*routes.find(&host).unwrap()), "it is kept in mind");
        assert!(routes.known().len() <= MAX_FILLED);
    }
    assert!(routes.find("orders.shop.example").is_none());
}
