//! What a running gate is told from outside: signals, and a configuration file that changes.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use nix::sys::signal::Signal;

use super::harness::process::Running;
use super::harness::{BATCH, WEB, replace};
use super::{Way, address, connect, shown, talk, talk_to, until, until_it_talks};

#[test]
fn a_stop_lets_open_connections_finish_and_ends_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let way = Way::new();
        let (mut gate, out) = way.start(&[]);
        let open = connect(out).unwrap();
        talk(&open).unwrap();
        gate.signal(signal);
        gate.says(&["draining", "connections=2"]);
        until("nobody new is let in", || connect(out).is_err());
        talk(&open).expect("the open one goes on");
        drop(open);
        let (status, told) = gate.end();
        assert_eq!(status.code(), Some(0), "{told}");
        assert!(told.contains("INFO drained"), "{told}");
    }
}

#[test]
fn a_drain_that_takes_too_long_is_forced_and_ends_with_1() {
    let way = Way::new();
    way.write(&way.toml("[limits]\ndrain_timeout = \"50ms\"\n"));
    let (gate, out) = way.start(&[]);
    let mut open = connect(out).unwrap();
    talk(&open).unwrap();
    gate.signal(Signal::SIGTERM);
    let (status, told) = gate.end();
    assert_eq!(status.code(), Some(1), "{told}");
    assert!(open.read(&mut [0; 1]).is_err(), "cut, and not ended");
    assert!(told.contains("outcome=\"forced\"") && told.contains("stopped with connections still open"), "{told}");
}

#[test]
fn a_second_stop_ends_it_at_once() {
    let way = Way::new();
    way.write(&way.toml("[limits]\ndrain_timeout = \"1h\"\n"));
    let (mut gate, out) = way.start(&[]);
    let open = connect(out).unwrap();
    talk(&open).unwrap();
    gate.signal(Signal::SIGTERM);
    gate.says(&["draining"]);
    // What reloads is not obeyed any more, and does no harm.
    gate.signal(Signal::SIGHUP);
    gate.signal(Signal::SIGUSR1);
    gate.signal(Signal::SIGTERM);
    assert_eq!(gate.end().0.code(), Some(1));
}

/// One more listener in the configuration.
fn more(name: &str) -> String {
    format!("[[outbound]]\nname = \"{name}\"\nlisten = \"127.0.0.1:0\"\ntarget = \"127.0.0.1:1\"\nexpect = [{WEB:?}]\n")
}

#[test]
fn sighup_reads_the_configuration_again() {
    let way = Way::new();
    let (mut gate, out) = way.start(&["--log-level", "debug"]);
    gate.signal(Signal::SIGHUP);
    gate.says(&["the configuration has not changed"]);
    way.write(&way.toml(&more("added")));
    gate.signal(Signal::SIGHUP);
    gate.says(&["the new configuration is in place"]);
    assert!(connect(address(&mut gate, "added")).is_ok());
    talk_to(out).unwrap();
}

#[test]
fn a_configuration_file_is_followed_however_it_is_replaced() {
    let way = Way::new();
    let (mut gate, out) = way.start(&[]);
    let open = connect(out).unwrap();
    talk(&open).unwrap();
    replace(&way.config, way.toml(&more("renamed-over")).as_bytes());
    address(&mut gate, "renamed-over");
    way.write(&way.toml(&more("in-place")));
    address(&mut gate, "in-place");
    gate.says(&["listener removed", "renamed-over"]);
    talk(&open).expect("a connection of another listener is not touched");
}

#[test]
fn a_configuration_in_a_kubernetes_volume_is_followed() {
    let way = Way::new();
    let volume = way.world.path("volume");
    let publish = |generation: &str, toml: &str| {
        let directory = volume.join(generation);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join("svidgate.toml"), toml).unwrap();
        symlink(generation, volume.join("..data_tmp")).unwrap();
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).unwrap();
    };
    publish("..1", &way.toml(""));
    let path = volume.join("svidgate.toml");
    symlink("..data/svidgate.toml", &path).unwrap();
    let mut gate = Running::start(&mut super::svidgate(&["run", "-c", shown(&path)]));
    until_it_talks(address(&mut gate, "out"));
    for (generation, name) in [("..2", "second"), ("..3", "third")] {
        publish(generation, &way.toml(&more(name)));
        address(&mut gate, name);
    }
    fs::remove_dir_all(volume.join("..1")).unwrap();
}

#[test]
fn a_faulty_new_configuration_leaves_the_old_one_and_is_logged_with_each_place() {
    let way = Way::new();
    let (mut gate, out) = way.start(&[]);
    let open = connect(out).unwrap();
    talk(&open).unwrap();
    let good = way.toml("");
    replace(&way.config, format!("{good}[limits]\nidle_timeuot = \"1s\"\ndrain_timeout = \"forever\"\n").as_bytes());
    let line = good.lines().count() + 2;
    let place = |line: usize| format!("error={}:{line}:1", way.config.display());
    gate.says(&[
        "ERROR a fault in the new configuration",
        &place(line),
        "unknown key `idle_timeuot`",
        "did you mean `idle_timeout`?",
    ]);
    gate.says(&["ERROR a fault in the new configuration", &place(line + 1)]);
    gate.says(&["the new configuration is faulty; the old one stays", "faults=2"]);
    talk(&open).unwrap();
    talk_to(out).unwrap();
    // A file that goes away is no reason to stop either, and the next good one is taken.
    fs::remove_file(&way.config).unwrap();
    gate.says(&["there is no such file"]);
    talk(&open).unwrap();
    replace(&way.config, way.toml(&more("repaired")).as_bytes());
    address(&mut gate, "repaired");
}

#[test]
fn a_new_configuration_with_a_port_in_use_leaves_the_old_one_and_names_the_port() {
    let way = Way::new();
    let (mut gate, out) = way.start(&[]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let wanted = taken.local_addr().unwrap().to_string();
    way.write(&way.toml(&more("taken").replace("127.0.0.1:0", &wanted)));
    gate.says(&["ERROR the new configuration cannot be put in place; the old one stays", "`taken`", &wanted, "in use"]);
    talk_to(out).unwrap();
}

#[test]
fn a_changed_policy_cuts_the_connections_that_it_would_refuse() {
    let way = Way::new();
    let (mut gate, out) = way.start(&[]);
    let mut open = connect(out).unwrap();
    talk(&open).unwrap();
    let toml = fs::read_to_string(&way.config).unwrap();
    replace(&way.config, toml.replace(&format!("peers = [{WEB:?}]"), &format!("peers = [{BATCH:?}]")).as_bytes());
    assert!(open.read(&mut [0; 1]).is_err(), "cut, and not ended");
    gate.says(&["outcome=\"revoked\"", "policy.stage=\"policy\"", WEB]);
}

#[test]
fn sigusr1_looks_at_the_credentials_and_sigusr2_logs_how_things_stand() {
    let way = Way::new();
    let (mut gate, out) = way.start(&[]);
    let open = connect(out).unwrap();
    talk(&open).unwrap();
    gate.signal(Signal::SIGUSR2);
    gate.says(&["status", "listener=\"out\"", "connections=1"]);
    gate.says(&["status", "listener=\"in\"", "connections=1"]);
    let line = gate.says(&["status", "credentials.layout=\"gce\"", "credentials.accepted=1", WEB]);
    let unchanged = |line: &str| -> u64 {
        line.split_once("credentials.unchanged=").unwrap().1.split(' ').next().unwrap().parse().unwrap()
    };
    let before = unchanged(&line);
    gate.signal(Signal::SIGUSR1);
    until("it has looked", || {
        gate.signal(Signal::SIGUSR2);
        gate.printed().lines().any(|line| line.contains("credentials.unchanged=") && unchanged(line) > before)
    });
}
