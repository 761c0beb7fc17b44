//! A process that runs out of descriptors: it says so now and then, burns nothing, and goes on when they come back.

use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use super::harness::WEB;
use super::harness::process::{Running, free_address};
use super::{Way, address, until_it_talks};

/// Processor time of a process so far, in clock ticks of a hundredth of a second (proc(5)).
fn ticks(id: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    // The fields after the name, which may hold anything: the state is the third of all, utime the 14th, stime the 15th.
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// The same command with few descriptors, soft and hard.
fn limited(command: &Command, descriptors: u32) -> Command {
    let mut limited = Command::new("sh");
    limited.arg("-c").arg(format!("ulimit -n {descriptors} && exec \"$0\" \"$@\""));
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

#[test]
fn out_of_descriptors_it_says_so_rarely_burns_nothing_and_recovers() {
    let way = Way::new();
    let within = free_address();
    let limits = "[limits]\nhandshake_timeout = \"5m\"\n";
    let toml = way.toml_between("127.0.0.1:0", &within.to_string(), WEB, limits);
    way.write(&toml.replace("[identity]\n", "[identity]\npoll_interval = \"1s\"\n"));
    let mut gate = Running::start(&mut limited(&way.command(&[]), 64));
    let out = address(&mut gate, "out");
    until_it_talks(out);
    // They connect and say nothing: each holds a descriptor of the gate, the last ones wait in the system's queue.
    let held: Vec<TcpStream> = (0..80).map(|_| TcpStream::connect(within).unwrap()).collect();
    gate.says(&["WARN cannot accept", "listener=\"in\"", "Too many open files"]);
    let (before, said) = (ticks(gate.id()), gate.printed().matches("cannot accept").count());
    std::thread::sleep(Duration::from_secs(3));
    let (burnt, said) = (ticks(gate.id()) - before, gate.printed().matches("cannot accept").count() - said);
    assert!(burnt < 60, "{burnt} hundredths of a second in three seconds");
    assert!(said < 20, "said {said} times in three seconds");
    assert!(gate.is_running());
    // What changes on disk meanwhile cannot be read, and is taken later.
    way.world.identity("web", WEB);
    drop(held);
    until_it_talks(out);
    gate.says(&["new credentials are in use", "credentials.generation=2"]);
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_one() {
    let way = Way::new();
    let mut command = limited(&way.command(&["--log-level", "debug"]), 512);
    // dash and bash set both limits by -n, and one by -S and -n.
    let script = "ulimit -n 512 && ulimit -S -n 64 && exec \"$0\" \"$@\"";
    let args: Vec<_> = command.get_args().skip(2).map(ToOwned::to_owned).collect();
    command = Command::new("sh");
    command.arg("-c").arg(script).args(args);
    let mut gate = Running::start(&mut command);
    gate.says(&["descriptor limit raised", "descriptors=512"]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gate.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().filter(|word| *word == "512").count(), 2, "{line}");
}
