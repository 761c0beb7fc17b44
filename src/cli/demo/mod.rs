//! `demo`: the main job on throwaway credentials: requests flow through both proxies while certificates rotate, strangers knock and a root is
//! replaced; told as it happens.

mod story;
mod traffic;
mod uninvited;
mod world;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::shutdown::{Signal, Signals};
use story::Story;
use traffic::Traffic;
use world::World;

/// How often both sides' credentials rotate.
const ROTATION: Duration = Duration::from_secs(1);

/// Shows the whole of it at work.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// How long it runs, such as 20s; until Ctrl-C where not given
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

/// Runs the demo. It succeeds if every allowed request was answered and every forbidden peer refused.
pub(super) fn demo(args: &Demo) -> anyhow::Result<ExitCode> {
    let story = Story::begin()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start the worker threads")?;
    let outcome = runtime.block_on(perform(args, story));
    runtime.shutdown_background();
    outcome
}

async fn perform(args: &Demo, mut story: Story) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new().context("cannot take over the signals")?;
    let mut world = World::create().await?;
    story.introduce(&world);
    let traffic = Traffic::start(world.entrance());
    let end = args.time.map(|time| Instant::now() + time);
    let mut second = interval(ROTATION);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut progress = interval(Duration::from_millis(200));
    for act in 0.. {
        let done = loop {
            tokio::select! {
                () = stopped(&mut signals) => break true,
                () = ended(end) => break true,
                _ = progress.tick() => story.progress(&traffic.counts()),
                _ = second.tick() => break false,
            }
        };
        if done {
            break;
        }
        tokio::select! {
            result = perform_act(act, &mut world, &traffic, &mut story) => result?,
            // The act is cut short, the story is not.
            () = stopped(&mut signals) => break,
            () = ended(end) => break,
        }
    }
    let counts = traffic.stop().await;
    world.stop().await;
    Ok(story.conclude(&counts))
}

async fn stopped(signals: &mut Signals) {
    while signals.next().await != Signal::Stop {}
}

async fn ended(end: Option<Instant>) {
    match end {
        Some(end) => sleep_until(end).await,
        None => std::future::pending().await,
    }
}

/// One second of the play: both sides rotate, then something else happens in turn.
async fn perform_act(act: u64, world: &mut World, traffic: &Traffic, story: &mut Story) -> anyhow::Result<()> {
    match act % 10 {
        1 | 6 => {
            let answer = uninvited::intruder(world)?.knock(world.door()).await;
            story.forbidden("the intruder (right trust domain, not on the policy)", &answer);
        }
        2 | 7 => {
            let answer = uninvited::stranger(world)?.knock(world.door()).await;
            story.forbidden("the stranger (another trust domain)", &answer);
        }
        3 => {
            world.add_root()?;
            story.tell("a second root joins the trust bundle of both sides");
        }
        4 => {
            world.issue_from_new_root();
            story.tell("certificates now come from the new root");
        }
        5 if world.is_replacing_root() => {
            // Connections made with certificates of the old root would now be cut, and rightly so: let every client come back first.
            traffic.all_reconnected().await;
            let leftover = uninvited::leftover(world)?;
            world.remove_old_root();
            rotate(world, story).await?;
            story.tell("the old root is gone: the trust bundle is replaced");
            let answer = leftover.knock(world.door()).await;
            story.forbidden("the leftover (right ID, but signed by the root that is gone)", &answer);
            return Ok(());
        }
        _ => {}
    }
    rotate(world, story).await
}

/// Rotates both sides as the platform's agent does, and waits until both have followed.
async fn rotate(world: &World, story: &mut Story) -> anyhow::Result<()> {
    let followed = world.rotate().await?;
    story.followed(&followed);
    Ok(())
}
