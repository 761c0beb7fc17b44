//! nginx as the application: kept connections, answers of every framing, large bodies both ways, and what it knows of the request.

use std::fs;
use std::path::PathBuf;

use crate::curl::curl;
use crate::harness::WEB;
use crate::harness::process::{Running, free_address, until_open};
use crate::sides::Sides;
use crate::tools::{noise, run, succeeds, text, tool};

/// nginx in one process, with all of its files in the test's directory.
struct Nginx {
    _server: Running,
    sides: Sides,
    /// What it serves, and where uploads arrive.
    www: PathBuf,
}

async fn nginx() -> Option<Nginx> {
    let mut command = tool("nginx", "nginx-light")?;
    let address = free_address();
    let sides = Sides::of(&address.to_string()).await;
    let home = sides.world.path("nginx");
    let www = home.join("www");
    fs::create_dir_all(&www).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {:?};\n", home.join(kind))).concat();
    let config = format!(
        r#"
        daemon off; master_process off; pid {pid:?}; error_log stderr; events {{}}
        http {{
            access_log off; client_max_body_size 0; default_type text/plain;
            {temporary}
            server {{
                listen {address}; keepalive_requests 7; root {www:?};
                location / {{ dav_methods PUT; }}
                location /zipped {{ gzip on; gzip_proxied any; gzip_types text/plain; gzip_min_length 1; }}
                location /connection {{ return 200 "$connection $connection_requests\n"; }}
                location /caller {{ return 200 "$http_x_spiffe_id $http_via"; }}
                location /chatty {{ return 401; }}
            }}
        }}
        "#,
        pid = home.join("pid"),
    );
    fs::write(home.join("nginx.conf"), config).unwrap();
    command.arg("-p").arg(&home).arg("-c").arg(home.join("nginx.conf")).args(["-e", "stderr"]);
    let server = Running::start(&mut command);
    until_open(address);
    Some(Nginx { _server: server, sides, www })
}

/// The addresses at which one path is asked for, and what else curl needs there: with a certificate, and through both proxies.
fn ways(nginx: &Nginx, path: &str) -> [(String, &'static str); 4] {
    let (outside, inside) = (nginx.sides.outside(), nginx.sides.inside());
    [
        (format!("https://{outside}{path}"), "--http1.1"),
        (format!("https://{outside}{path}"), "--http2"),
        (format!("http://{inside}{path}"), "--http1.1"),
        (format!("http://{inside}{path}"), "--http2-prior-knowledge"),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_of_a_large_file_goes_both_ways() {
    let Some(nginx) = nginx().await else { return };
    let content = noise(8 << 20);
    let local = nginx.sides.world.path("local");
    fs::write(&local, &content).unwrap();
    for (number, (url, version)) in ways(&nginx, "/file").into_iter().enumerate() {
        let url = format!("{url}-{number}");
        let Some(mut up) = curl(Some(&nginx.sides.web())) else { return };
        let told = succeeds(up.args([version, "--write-out", "%{http_code}", "--upload-file"]).arg(&local).arg(&url));
        assert_eq!(told, "201", "{url} {version}");
        assert!(fs::read(nginx.www.join(format!("file-{number}"))).unwrap() == content, "{url} {version}");
        let mut down = curl(Some(&nginx.sides.web())).unwrap();
        let answer = run(down.args([version, &url]));
        assert!(answer.status.success() && answer.stdout == content, "{url} {version}: {}", text(&answer.stderr));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_every_kind_come_back_as_they_are() {
    let Some(nginx) = nginx().await else { return };
    let lines: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
    fs::write(nginx.www.join("lines"), &lines).unwrap();
    fs::write(nginx.www.join("zipped"), &lines).unwrap();
    let length = lines.len();
    for (url, version) in ways(&nginx, "") {
        let ask = |path: &str, more: &[&str]| {
            let mut curl = curl(Some(&nginx.sides.web())).unwrap();
            succeeds(curl.args([version]).args(more).arg(format!("{url}{path}")))
        };
        let status = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        assert_eq!(ask("/missing", &status), "404", "{url} {version}");
        assert_eq!(ask("/chatty", &status), "401", "{url} {version}");
        assert_eq!(ask("/lines", &[&status[..], &["-H", "If-None-Match: *"]].concat()), "304", "{url} {version}");
        let head = ask("/lines", &["--head"]).to_ascii_lowercase();
        assert!(head.contains(&format!("content-length: {length}\r\n")), "{url} {version}: {head}");
        assert!(head.contains("accept-ranges: bytes"), "{url} {version}: {head}");
        assert_eq!(ask("/lines", &["--range", "5-14"]), lines.get(5..15).unwrap(), "{url} {version}");
        let ranges = ask("/lines", &["--range", "0-3,7-10"]);
        assert!(ranges.contains(&format!("Content-Range: bytes 7-10/{length}\r\n")), "{url} {version}: {ranges}");
        // Compressed on the fly, so without a length: chunked in HTTP/1.1.
        assert!(ask("/zipped", &["--compressed"]) == lines, "{url} {version}");
        let mut caller = ask("/caller", &[]);
        caller.truncate(WEB.len());
        assert_eq!(caller, WEB, "{url} {version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_to_it_are_kept_and_no_request_is_lost_when_it_ends_them() {
    let Some(nginx) = nginx().await else { return };
    // All but the last: curl 7.88 cannot use a connection of HTTP/2 with prior knowledge twice, whoever serves it.
    for (url, version) in ways(&nginx, "/connection").into_iter().take(3) {
        let Some(mut curl) = curl(Some(&nginx.sides.web())) else { return };
        let told = succeeds(curl.args([version, "--fail"]).args(vec![url.clone(); 70]));
        let mut connections: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once(' ')?.0)).collect();
        assert_eq!(connections.len(), 70);
        connections.sort_unstable();
        connections.dedup();
        // Seven requests on each; the first and the last may be shared with the ways before and after.
        assert!(connections.len() <= 11, "{url} {version}: {told}");
    }
}
