//! Server-sent events: each is there before the next one is made, and the application hears when nobody listens any more.

use crate::curl::curl;
use crate::harness::process::Running;
use crate::harness::until;
use crate::sides::Sides;
use crate::tools::tool;

async fn served() -> Option<(Running, Sides)> {
    let mut python = tool("python3", "python3")?;
    python.args(["-u", "-B", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/events_server.py")]);
    let mut server = Running::start(&mut python);
    let address = server.says(&["listening on "]).trim_start_matches("listening on ").to_owned();
    Some((server, Sides::of(&address).await))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_there_before_the_next_one_is_made() {
    let Some((mut server, sides)) = served().await else { return };
    for version in ["--http1.1", "--http2"] {
        let Some(mut outside) = curl(Some(&sides.web())) else { return };
        outside.arg(format!("https://{}/events", sides.outside()));
        let Some(mut inside) = curl(None) else { return };
        inside.arg(format!("http://{}/events", sides.inside()));
        if version == "--http2" {
            inside.arg("--http2-prior-knowledge");
        }
        for mut command in [outside, inside] {
            let mut listener = Running::start(command.args(["--no-buffer", version]));
            for event in ["one", "two", "three"] {
                server.write(&format!("{event}\n"));
                listener.says(&["data: ", event]);
            }
            server.write("end\n");
            let (status, _) = listener.end();
            assert!(status.success(), "{version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_application_hears_when_nobody_listens_any_more() {
    let Some((mut server, sides)) = served().await else { return };
    let Some(mut command) = curl(None) else { return };
    let mut listener = Running::start(command.arg("--no-buffer").arg(format!("http://{}/events", sides.inside())));
    server.write("one\n");
    listener.says(&["data: one"]);
    drop(listener);
    until("the application notices", || {
        server.write("more\n");
        server.printed().contains("nobody listens")
    })
    .await;
}
