//! Starting: from a file or from flags, with credentials, without, and with some that come later; and starting again after the worst end.

use std::net::TcpListener;
use std::os::unix::net::UnixStream;

use super::harness::process::{Running, free_address};
use super::harness::{ORDERS, WEB, World, replace};
use super::{Way, address, connect, echo, run, shown, svidgate, talk, talk_to, text, until, until_it_talks};
use nix::sys::signal::Signal;

#[test]
fn a_configuration_file_runs_each_of_its_listeners() {
    let way = Way::new();
    let more = format!(
        "[[inbound]]\nname = \"second\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{}\"\n[[inbound.rule]]\npeers = [{ORDERS:?}]\n",
        echo()
    );
    way.write(&way.toml(&more));
    let (mut gate, out) = way.start(&[]);
    let second = address(&mut gate, "second");
    assert!(talk_to(out).is_ok() && connect(second).is_ok());
    gate.says(&["listening", "listener=\"in\"", "unix:"]);
}

#[test]
fn the_configuration_file_may_be_named_by_the_environment() {
    let way = Way::new();
    let mut gate = Running::start(svidgate(&["run"]).env("SVIDGATE_CONFIG", &way.config));
    until_it_talks(address(&mut gate, "out"));
}

#[test]
fn flags_run_one_listener_of_either_kind() {
    let world = World::new();
    let (web, orders, target) = (world.identity("web", WEB), world.identity("orders", ORDERS), echo().to_string());
    let mut inbound = Running::start(&mut svidgate(&[
        "inbound",
        "--listen",
        "127.0.0.1:0",
        "--target",
        &target,
        "--identity",
        shown(&orders),
        "--allow",
        "spiffe://prod.example/other/**",
        "spiffe://prod.example/ns/web/sa/*",
        "--protocol",
        "tcp",
    ]));
    let door = address(&mut inbound, "inbound").to_string();
    let mut outbound = Running::start(&mut svidgate(&[
        "outbound",
        "--listen",
        "127.0.0.1:0",
        "--target",
        &door,
        "--identity",
        shown(&web),
        "--expect",
        ORDERS,
        "--server-name",
        "orders.example",
        "--protocol",
        "tcp",
    ]));
    until_it_talks(address(&mut outbound, "outbound"));
    inbound.says(&["outcome=\"completed\"", WEB, ORDERS]);
    outbound.says(&["outcome=\"completed\"", WEB, ORDERS]);
}

#[test]
fn without_an_identity_the_well_known_places_are_tried_and_what_is_found_is_logged() {
    if elsewhere() {
        return;
    }
    let world = World::new();
    let found = world.identity("credentials", ORDERS);
    let target = echo().to_string();
    let args = ["inbound", "--listen", "127.0.0.1:0", "--target", &target, "--allow", WEB];
    let mut gate = Running::start(svidgate(&args).env("CREDENTIALS_DIRECTORY", &found));
    gate.says(&["new credentials are in use", ORDERS, shown(&found), "gce"]);
}

/// Whether this machine has credentials of its own in a place tried before ours.
fn elsewhere() -> bool {
    let found = svidgate::credentials::well_known_places().into_iter().find(|place| place.exists());
    if let Some(place) = &found {
        println!("SKIPPED: this machine has credentials in {}", place.display());
    }
    found.is_some()
}

#[test]
fn with_no_credentials_in_any_well_known_place_it_waits_and_names_them() {
    if elsewhere() {
        return;
    }
    let target = echo().to_string();
    let args = ["inbound", "--listen", "127.0.0.1:0", "--target", &target, "--allow", WEB];
    let mut gate = Running::start(&mut svidgate(&args));
    let line = gate.says(&["WARN waiting for credentials", "name the directory (`--identity`"]);
    for place in svidgate::credentials::well_known_places() {
        assert!(line.contains(shown(&place)), "{} is missing in {line}", place.display());
    }
    assert!(gate.is_running());
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(0), "waiting, it still obeys");
}

#[test]
fn it_waits_for_a_directory_that_is_not_there_and_takes_it_when_it_comes() {
    let way = Way::without_credentials();
    let mut gate = Running::start(&mut way.command(&[]));
    gate.says(&["WARN waiting for credentials", &format!("{} is not there yet", way.world.path("web").display())]);
    let out = address(&mut gate, "out");
    assert!(talk(&connect(out).unwrap()).is_err(), "nothing is sent without an identity");
    gate.says(&["outcome=\"no_identity\""]);
    assert!(gate.is_running());
    way.world.identity("web", WEB);
    until_it_talks(out);
    gate.says(&["new credentials are in use", WEB]);
}

#[test]
fn a_port_in_use_is_named_and_ends_it_with_1() {
    let way = Way::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    way.write(&way.toml_between(&listen, "unix:/tmp/never", WEB, ""));
    let (status, told) = Running::start(&mut way.command(&[])).end();
    assert_eq!(status.code(), Some(1), "{told}");
    let error = format!("error: listener `out` cannot be bound to {listen}: Address already in use");
    assert!(told.lines().any(|line| line.starts_with(&error)), "{told}");
}

#[test]
fn a_second_process_does_not_take_the_unix_socket_of_a_living_one() {
    let way = Way::new();
    let (_gate, out) = way.start(&[]);
    let (status, told) = Running::start(&mut way.command(&[])).end();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(told.contains("error: listener `in` cannot be bound to unix:"), "{told}");
    talk_to(out).expect("the first one goes on");
}

#[test]
fn a_faulty_configuration_is_told_with_each_place_and_ends_it_with_2() {
    let way = Way::new();
    way.write("[[inbound]]\nlisten = \"localhost\"\ntraget = 1\n");
    let output = way.command(&[]).output().unwrap();
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    let place = |line: u32| format!("error: {}:{line}:", way.config.display());
    assert!(told.starts_with(&place(1)) && told.contains(&place(2)) && told.contains(&place(3)), "{told}");
    assert!(told.contains("\nhint: did you mean `target`?\n") && told.ends_with('\n'), "{told}");
}

#[test]
fn a_file_that_is_not_there_ends_it_with_2_and_a_hint() {
    let output = run(&["run", "--config", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "error: /no/such/file: there is no such file\n\
         hint: check the path; `svidgate inbound` and `svidgate outbound` run one listener without a file\n"
    );
    let output = run(&["run"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("--config <FILE>"));
}

#[test]
fn after_kill_9_it_starts_again_on_the_same_ports_and_sockets() {
    let way = Way::new();
    let (out, local) = (free_address(), way.world.path("local.sock"));
    let more = format!(
        "[[outbound]]\nname = \"local\"\nlisten = \"unix:{0}\"\ntarget = \"unix:{1}\"\nexpect = [{WEB:?}]\n",
        local.display(),
        way.world.path("in.sock").display()
    );
    way.write(&way.toml_between(
        &out.to_string(),
        &format!("unix:{}", way.world.path("in.sock").display()),
        WEB,
        &more,
    ));
    for _ in 0..3 {
        let gate = Running::start(&mut way.command(&[]));
        until("bytes go through", || connect(out).is_ok_and(|stream| talk(&stream).is_ok()));
        // Killed in the middle of a connection, which then lingers in the kernel with our port.
        let open = connect(out).unwrap();
        talk(&open).unwrap();
        assert!(UnixStream::connect(&local).is_ok());
        gate.signal(Signal::SIGKILL);
        assert!(!gate.end().0.success());
        assert!(local.exists(), "nobody took it away");
    }
    let gate = Running::start(&mut way.command(&[]));
    until_it_talks(out);
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(0));
    assert!(!local.exists(), "a clean end takes its sockets away");
}

#[test]
fn a_file_that_is_no_socket_is_never_replaced_by_one() {
    let way = Way::new();
    replace(&way.world.path("in.sock"), b"precious");
    let (status, told) = Running::start(&mut way.command(&[])).end();
    assert_eq!(status.code(), Some(1), "{told}");
    assert_eq!(std::fs::read(way.world.path("in.sock")).unwrap(), b"precious");
}
