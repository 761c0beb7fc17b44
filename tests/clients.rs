//! Clients and servers that are not ours, on the other end of each kind of listener: openssl, curl and nginx, in their own processes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may fail, or say why it is skipped"
)]

mod harness;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::process::{Running, free_address, until_open};
use harness::{BATCH, Gate, HOUR, ORDERS, PATIENCE, Peer, WEB, World, authority, echo_application, id, until};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use svidgate::metrics::Outcome;
use svidgate::mint::{Authority, Issue, Issued, KeyAlgorithm, KeyEncoding, Validity, bundle_map, svid_params};
use svidgate::spiffe::UnixTime;

/// A tool that the tests cannot do without.
fn tool(name: &str, package: &str) -> Command {
    match find(name) {
        Some(path) => Command::new(path),
        None => panic!("`{name}` is not on the PATH; these tests need it: install the Debian package `{package}`"),
    }
}

/// A tool of some machines. Where it is missing the test is skipped, loudly; where everything must run (`CI=true`) it fails.
fn tool_of_some(name: &str, package: &str) -> Option<Command> {
    let found = find(name).map(Command::new);
    if found.is_none() {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`{name}` is missing: install the package `{package}`");
        println!("SKIPPED: `{name}` is not on the PATH; the Debian package `{package}` has it");
    }
    found
}

fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers out of the PATH of ordinary users.
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

fn openssl() -> Command {
    tool("openssl", "openssl")
}

/// Runs a command to its end, which it reaches without a word from us.
fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Certificate chain and key of a peer, in files.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn write(world: &World, name: &str, issued: &Issued) -> Self {
        let files = Self { chain: world.path(&format!("{name}.pem")), key: world.path(&format!("{name}.key")) };
        fs::write(&files.chain, &issued.certificates).unwrap();
        fs::write(&files.key, issued.private_key.as_bytes()).unwrap();
        files
    }

    fn of(world: &World, name: &str, id: &str) -> Self {
        Self::write(world, name, &world.prod.issue(&harness::id(id), HOUR).unwrap())
    }
}

/// The root of `prod.example` in a file.
fn root(world: &World) -> PathBuf {
    let path = world.path("root.pem");
    fs::write(&path, world.prod.root_pem()).unwrap();
    path
}

/// Those who knock, each with the alert that it is told: its number in the IANA registry, and OpenSSL's name of it.
fn refused(world: &World) -> Vec<(&'static str, Option<Files>, u8, &'static str)> {
    let validity =
        Validity { not_before: UnixTime::since_unix_epoch(Duration::from_secs(1)), not_after: UnixTime::now() };
    let not_after = UnixTime::since_unix_epoch(Duration::from_secs(validity.not_after.as_secs() - 10));
    let expired = Issue { validity: Validity { not_after, ..validity }, ..Issue::lasting(HOUR) };
    let key = KeyAlgorithm::P256.generate().unwrap();
    let mut no_svid = svid_params(&id(WEB), Validity::from_now(HOUR)).unwrap();
    no_svid.subject_alt_names = vec![rcgen::SanType::DnsName("web.prod.example".try_into().unwrap())];
    let no_svid = pem(&world.prod.sign(&no_svid, &key).unwrap());
    let no_svid = Issued { certificates: no_svid, private_key: key.serialize_pem().into() };
    let stranger = authority("prod.example").issue(&id(WEB), HOUR).unwrap();
    let expired = world.prod.issue_as(&id(WEB), expired).unwrap();
    vec![
        ("not allowed", Some(Files::of(world, "batch", BATCH)), 49, "alert access denied"),
        ("another root", Some(Files::write(world, "stranger", &stranger)), 48, "alert unknown ca"),
        ("expired", Some(Files::write(world, "expired", &expired)), 45, "alert certificate expired"),
        ("no SVID", Some(Files::write(world, "no-svid", &no_svid)), 42, "alert bad certificate"),
        ("no certificate", None, 116, "alert certificate required"),
    ]
}

fn pem(der: &CertificateDer<'_>) -> String {
    use base64::Engine as _;
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        base64::engine::general_purpose::STANDARD.encode(der)
    )
}

async fn inbound(world: &World, target: &str, more: &str) -> Gate {
    inbound_as(&world.identity("orders", ORDERS), target, more).await
}

async fn inbound_as(identity: &Path, target: &str, more: &str) -> Gate {
    Gate::start(&format!(
        "[identity]\ndir = {identity:?}\n[[inbound]]\nname = \"orders\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n{more}\n\
         [[inbound.rule]]\nname = \"frontend\"\npeers = [\"{WEB}\"]\n"
    ))
    .await
}

async fn outbound(world: &World, target: SocketAddr, more: &str) -> Gate {
    let identity = world.identity("web", WEB);
    Gate::start(&format!(
        "[identity]\ndir = {identity:?}\n[[outbound]]\nname = \"to-orders\"\nlisten = \"127.0.0.1:0\"\ntarget = \"{target}\"\n\
         expect = [\"{ORDERS}\"]\n{more}\n"
    ))
    .await
}

fn closed(gate: &Gate, outcome: Outcome) -> u64 {
    let metrics = gate.handle.metrics();
    metrics.closed(&"orders".into(), outcome) + metrics.closed(&"to-orders".into(), outcome)
}

fn s_client(address: SocketAddr, files: Option<&Files>) -> Command {
    let mut command = openssl();
    command.args(["s_client", "-connect", &address.to_string()]);
    if let Some(files) = files {
        command.arg("-cert").arg(&files.chain).arg("-cert_chain").arg(&files.chain).arg("-key").arg(&files.key);
    }
    command
}

fn s_server(files: &Files, more: &[&str]) -> (Running, SocketAddr) {
    let mut command = openssl();
    command.args(["s_server", "-accept", "127.0.0.1:0"]).args(more);
    command.arg("-cert").arg(&files.chain).arg("-cert_chain").arg(&files.chain).arg("-key").arg(&files.key);
    let mut server = Running::start(&mut command);
    let line = server.says(&["ACCEPT "]);
    let address = line.trim_start_matches("ACCEPT ").parse().unwrap();
    (server, address)
}

fn curl(files: Option<&Files>) -> Command {
    let mut command = tool("curl", "curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "-k"]);
    if let Some(files) = files {
        command.arg("--cert").arg(&files.chain).arg("--key").arg(&files.key);
    }
    command
}

/// A web server that is not ours, serving one directory on loopback: nginx, or Python's where that is missing.
fn web_server(world: &World, directory: &Path) -> Option<(Running, SocketAddr)> {
    let address = free_address();
    let mut command = match find("nginx") {
        Some(_) => {
            let location = format!("server {{ listen {address}; location / {{ root {directory:?}; }} }}");
            nginx(world, &location)?
        }
        None => {
            let mut python = tool_of_some("python3", "python3")?;
            python.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]).arg(directory);
            python.arg(address.port().to_string());
            python
        }
    };
    let server = Running::start(&mut command);
    until_open(address);
    Some((server, address))
}

/// nginx in one process, with all of its files in the test's directory.
fn nginx(world: &World, servers: &str) -> Option<Command> {
    let mut command = tool_of_some("nginx", "nginx-light")?;
    let home = world.path("nginx");
    fs::create_dir_all(&home).unwrap();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|kind| format!("{kind}_temp_path {:?};\n", home.join(kind))).concat();
    let config = format!(
        "daemon off; master_process off; pid {:?}; error_log stderr;\nevents {{}}\n\
         http {{ access_log off;\n{temporary}{servers}\n}}\n",
        home.join("pid")
    );
    fs::write(home.join("nginx.conf"), config).unwrap();
    command.arg("-p").arg(&home).arg("-c").arg(home.join("nginx.conf")).args(["-e", "stderr"]);
    Some(command)
}

/// Bytes that no compression and no off-by-one survives.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()
    })
    .flatten()
    .take(length)
    .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_with_an_svid_gets_every_byte_of_the_service() {
    let world = World::new();
    let content = noise(8 << 20);
    let directory = world.path("www");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("large"), &content).unwrap();
    let Some((_server, address)) = web_server(&world, &directory) else { return };
    let gate = inbound(&world, &address.to_string(), "").await;
    let url = format!("https://{}/large", gate.address(0));
    let answer = run(curl(Some(&Files::of(&world, "web", WEB))).arg(&url));
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    assert!(answer.stdout == content, "{} bytes came instead of {}", answer.stdout.len(), content.len());
    let missing =
        run(curl(Some(&Files::of(&world, "web", WEB))).args(["-w", "%{http_code}", "-o", "/dev/null"]).arg(url + "r"));
    assert_eq!(text(&missing.stdout), "404");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_is_told_of_each_refusal_by_its_alert() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "").await;
    for (who, files, _, alert) in refused(&world) {
        let answer = run(curl(files.as_ref()).arg(format!("https://{}/", gate.address(0))));
        let told = text(&answer.stderr);
        assert!(!answer.status.success() && told.contains(alert), "{who}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_is_told_of_each_refusal_by_its_alert_in_either_version() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "min_tls = \"1.2\"").await;
    for (who, files, number, alert) in refused(&world) {
        for version in ["-tls1_3", "-tls1_2"] {
            let client = Running::start(s_client(gate.address(0), files.as_ref()).arg(version));
            let (status, told) = client.end();
            assert!(!status.success(), "{who}, {version}: {told}");
            assert!(told.contains(&format!("SSL alert number {number}")), "{who}, {version}: {told}");
            assert!(told.contains(alert), "{who}, {version}: {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_tls_1_2_alone_is_refused_unless_it_is_allowed() {
    let world = World::new();
    let echo = echo_application().await.to_string();
    let files = Files::of(&world, "web", WEB);
    let strict = inbound(&world, &echo, "").await;
    let (status, told) = Running::start(s_client(strict.address(0), Some(&files)).arg("-tls1_2")).end();
    assert!(!status.success() && told.contains("SSL alert number 70"), "protocol_version is told: {told}");
    let lenient = inbound(&world, &echo, "min_tls = \"1.2\"").await;
    let mut client = Running::start(s_client(lenient.address(0), Some(&files)).args(["-tls1_2", "-ign_eof"]));
    client.write("over the old version\n");
    client.says(&["over the old version"]);
    assert!(client.printed().contains("New, TLSv1.2, Cipher is ECDHE-"), "{}", client.printed());
    let mut old = s_client(lenient.address(0), Some(&files));
    let (status, told) = Running::start(old.args(["-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0"])).end();
    assert!(!status.success(), "nobody speaks TLS 1.1: {told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_agrees_on_a_post_quantum_group_where_it_knows_one() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "").await;
    let files = Files::of(&world, "web", WEB);
    let known = text(&run(openssl().args(["list", "-kem-algorithms"])).stdout).contains("X25519MLKEM768");
    if known {
        let mut client = Running::start(s_client(gate.address(0), Some(&files)).args(["-groups", "X25519MLKEM768"]));
        client.says(&["Negotiated TLS1.3 group: X25519MLKEM768"]);
    } else {
        println!("SKIPPED: this openssl knows no X25519MLKEM768 (3.5 and later do)");
    }
    for (group, shown) in [("X25519", "X25519"), ("P-256", "ECDH, prime256v1"), ("P-384", "ECDH, secp384r1")] {
        let mut client = Running::start(s_client(gate.address(0), Some(&files)).args(["-groups", group]));
        client.says(&["Temp Key: ", shown]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_gets_no_ticket_and_no_early_data() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "min_tls = \"1.2\"").await;
    let files = Files::of(&world, "web", WEB);
    for version in ["-tls1_3", "-tls1_2"] {
        let session = world.path("session");
        let mut command = s_client(gate.address(0), Some(&files));
        let mut client = Running::start(command.args([version, "-ign_eof", "-sess_out"]).arg(&session));
        client.write("word\n");
        client.says(&["word"]);
        let printed = client.printed();
        assert!(!printed.contains("New Session Ticket") && !printed.contains("TLS session ticket:"), "{printed}");
        drop(client);
        if session.exists() {
            let mut command = s_client(gate.address(0), Some(&files));
            let mut again = Running::start(command.args([version, "-ign_eof", "-sess_in"]).arg(&session));
            again.write("word\n");
            again.says(&["word"]);
            assert!(!again.printed().contains("Reused, TLS"), "{}", again.printed());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_kind_and_encoding_are_served_to_openssl() {
    use {KeyAlgorithm as Key, KeyEncoding as As};
    let world = World::new();
    let echo = echo_application().await.to_string();
    let (files, root) = (Files::of(&world, "web", WEB), root(&world));
    for (name, key, encoding, signature) in [
        ("p256", Key::P256, As::Pkcs8, "ecdsa"),
        ("p256-sec1", Key::P256, As::Sec1, "ecdsa"),
        ("p384", Key::P384, As::Pkcs8, "ecdsa"),
        ("p384-sec1", Key::P384, As::Sec1, "ecdsa"),
        ("rsa", Key::Rsa2048, As::Pkcs8, "rsa"),
        ("rsa-pkcs1", Key::Rsa2048, As::Pkcs1, "rsa"),
        ("ed25519", Key::Ed25519, As::Pkcs8, "ed25519"),
    ] {
        let issue = Issue { key, encoding, ..Issue::lasting(HOUR) };
        let issued = world.prod.issue_as(&id(ORDERS), issue).unwrap();
        let identity = world.write_identity(name, &issued, &bundle_map(&[&world.prod]));
        let gate = inbound_as(&identity, &echo, "").await;
        let mut command = s_client(gate.address(0), Some(&files));
        command.args(["-verify_return_error", "-purpose", "sslserver", "-ign_eof", "-CAfile"]).arg(&root);
        let mut client = Running::start(&mut command);
        client.write("word\n");
        client.says(&["word"]);
        let printed = client.printed();
        let line = printed.lines().find(|line| line.starts_with("Peer signature type: "));
        assert!(line.unwrap().to_ascii_lowercase().contains(signature), "{name}: {printed}");
        assert!(printed.contains("Verification: OK"), "{name}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_presents_keys_of_every_kind() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "min_tls = \"1.2\"").await;
    for key in [KeyAlgorithm::P256, KeyAlgorithm::P384, KeyAlgorithm::Rsa2048, KeyAlgorithm::Ed25519] {
        let issued = world.prod.issue_as(&id(WEB), Issue { key, ..Issue::lasting(HOUR) }).unwrap();
        let files = Files::write(&world, "peer", &issued);
        for version in ["-tls1_3", "-tls1_2"] {
            let mut command = s_client(gate.address(0), Some(&files));
            let mut client = Running::start(command.args([version, "-ign_eof"]));
            client.write(&format!("{key:?} over {version}\n"));
            client.says(&[&format!("{key:?} over {version}")]);
        }
    }
}

/// An SVID of `prod.example` with a key of any kind that openssl makes, signed with openssl.
fn issued_by_openssl(world: &World, id: &str, key: &str) -> Files {
    let authority = world.path("authority");
    if !authority.exists() {
        world.prod.save(&authority).unwrap();
    }
    let subordinate = authority.join("throwaway-subordinate-ca.pem");
    let files = Files { chain: world.path("openssl.pem"), key: world.path("openssl.key") };
    let (request, extensions) = (world.path("request.pem"), world.path("extensions.cnf"));
    let profile = format!(
        "subjectAltName = critical, URI:{id}\nbasicConstraints = critical, CA:FALSE\nkeyUsage = critical, digitalSignature\n\
         extendedKeyUsage = serverAuth, clientAuth\nauthorityKeyIdentifier = keyid\n"
    );
    fs::write(&extensions, profile).unwrap();
    let mut make = openssl();
    make.args(["req", "-new", "-nodes", "-batch", "-subj", "/O=test", "-newkey", key, "-keyout"]).arg(&files.key);
    let made = run(make.arg("-out").arg(&request));
    assert!(made.status.success(), "{}", text(&made.stderr));
    let mut sign = openssl();
    sign.args(["x509", "-req", "-days", "1", "-in"]).arg(&request).arg("-CA").arg(&subordinate);
    sign.arg("-CAkey").arg(&subordinate).arg("-extfile").arg(&extensions).arg("-out").arg(&files.chain);
    let signed = run(&mut sign);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    let chain = fs::read_to_string(&files.chain).unwrap() + &pem(world.prod.subordinate_der());
    fs::write(&files.chain, chain).unwrap();
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_with_a_key_too_short_to_be_trusted_is_refused_in_the_handshake() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "min_tls = \"1.2\"").await;
    let proper = issued_by_openssl(&world, WEB, "rsa:2048");
    let mut client = Running::start(s_client(gate.address(0), Some(&proper)).arg("-ign_eof"));
    client.write("the same way with a key of 2048 bits\n");
    client.says(&["the same way with a key of 2048 bits"]);
    let short = issued_by_openssl(&world, WEB, "rsa:1024");
    for version in ["-tls1_3", "-tls1_2"] {
        let mut command = s_client(gate.address(0), Some(&short));
        let (status, told) = Running::start(command.args([version, "-cipher", "DEFAULT@SECLEVEL=0"])).end();
        assert!(!status.success() && told.contains("SSL alert number"), "{version}: {told}");
    }
    until("both are refused", || closed(&gate, Outcome::HandshakeFailed) + closed(&gate, Outcome::Refused) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_key_too_short_to_be_trusted_is_refused_in_the_handshake() {
    let world = World::new();
    let short = issued_by_openssl(&world, ORDERS, "rsa:1024");
    let (mut server, address) = s_server(&short, &["-Verify", "3", "-rev", "-cipher", "DEFAULT@SECLEVEL=0"]);
    let gate = outbound(&world, address, "").await;
    refused_to_application(&gate);
    server.says(&["SSL alert number"]);
    until("it is refused", || closed(&gate, Outcome::HandshakeFailed) + closed(&gate, Outcome::Refused) == 1).await;
}

/// A peer that presents the chain of one SVID and signs with the key of another, as whoever copied a certificate would.
fn pretender(world: &World, id: &str) -> Peer {
    let (shown, held) = (issue(&world.prod, id), issue(&world.prod, id));
    let chain = CertificateDer::pem_slice_iter(shown.certificates.as_bytes()).collect::<Result<Vec<_>, _>>();
    Peer::presenting(chain.unwrap(), &PrivateKeyDer::from_pem_slice(held.private_key.as_bytes()).unwrap())
}

fn issue(authority: &Authority, id: &str) -> Issued {
    authority.issue(&harness::id(id), HOUR).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_hold_the_key_of_its_certificate_is_refused() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "min_tls = \"1.2\"").await;
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let mut pretender = pretender(&world, WEB);
        pretender.versions = vec![version];
        assert_eq!(pretender.refusal(gate.address(0)).await, "decrypt_error", "{version:?}");
    }
    until("both have failed", || closed(&gate, Outcome::HandshakeFailed) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_does_not_hold_the_key_of_its_certificate_is_refused() {
    let world = World::new();
    let server = pretender(&world, ORDERS).echo_server().await;
    let gate = outbound(&world, server, "min_tls = \"1.2\"").await;
    refused_to_application(&gate);
    until("it has failed", || closed(&gate, Outcome::HandshakeFailed) == 1).await;
}

/// The application sees a reset, and not an empty answer.
fn refused_to_application(gate: &Gate) {
    let answer = answer_of(gate.address(0), b"word\n");
    let counted = Outcome::ALL.into_iter().filter(|outcome| closed(gate, *outcome) > 0);
    // Shown where the test then fails.
    println!("{answer:?}; connections so far: {:?}", counted.map(Outcome::as_str).collect::<Vec<_>>());
    assert!(answer.is_err());
}

/// Says something, ends its half, and reads until the end.
fn answer_of(address: SocketAddr, question: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(question)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map(|_| answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_what_openssl_says_reaches_the_service_and_the_end_of_the_answer_reaches_openssl() {
    let world = World::new();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = inbound(&world, &service.local_addr().unwrap().to_string(), "").await;
    let files = Files::of(&world, "web", WEB);
    let served = std::thread::spawn(move || {
        // The first answers and ends; the second reads until its client's end.
        let (mut first, _) = service.accept().unwrap();
        first.write_all(b"the whole answer\n").unwrap();
        drop(first);
        let (mut second, _) = service.accept().unwrap();
        let mut heard = String::new();
        second.read_to_string(&mut heard).unwrap();
        heard
    });
    let client = Running::start(s_client(gate.address(0), Some(&files)).arg("-ign_eof"));
    let (status, told) = client.end();
    assert!(status.success() && told.contains("the whole answer\n"), "{told}");
    assert!(told.contains("closed\n") && !told.contains("unexpected eof"), "a clean end, not a cut: {told}");
    let mut client = Running::start(&mut s_client(gate.address(0), Some(&files)));
    client.write("first line\nand the last\n");
    client.says(&["Verify return code"]);
    client.end_input();
    assert!(client.end().0.success());
    assert_eq!(served.join().unwrap(), "first line\nand the last\n");
    until("both have ended well", || closed(&gate, Outcome::Completed) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_said_all_still_gets_the_answer_of_openssl() {
    let world = World::new();
    let root = root(&world);
    let more = ["-Verify", "3", "-verify_return_error", "-rev", "-CAfile", root.to_str().unwrap()];
    let (_server, address) = s_server(&Files::of(&world, "orders", ORDERS), &more);
    let gate = outbound(&world, address, "").await;
    assert_eq!(text(&answer_of(gate.address(0), b"desserts\n").unwrap()), "stressed\n");
    until("it has ended well", || closed(&gate, Outcome::Completed) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_renews_its_keys_and_has_ours_renewed_while_words_pass() {
    let world = World::new();
    let gate = inbound(&world, &echo_application().await.to_string(), "").await;
    let mut client = Running::start(&mut s_client(gate.address(0), Some(&Files::of(&world, "web", WEB))));
    client.says(&["Verify return code"]);
    for (times, (command, word)) in (1..).zip([("k\n", "once"), ("K\n", "twice"), ("K\n", "three times")]) {
        client.write(&format!("{word}\n"));
        client.says(&[word]);
        client.write(command);
        until("it has done so", || client.printed().matches("KEYUPDATE").count() == times).await;
    }
    client.write("at last\n");
    client.says(&["at last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_as_server_sees_our_svid_and_what_was_agreed() {
    let world = World::new();
    let root = root(&world);
    let more = ["-Verify", "3", "-verify_return_error", "-www", "-CAfile", root.to_str().unwrap()];
    let (_server, address) = s_server(&Files::of(&world, "orders", ORDERS), &more);
    let gate = outbound(&world, address, "").await;
    let answer = run(curl(None).arg(format!("http://{}/", gate.address(0))));
    let page = text(&answer.stdout);
    assert!(answer.status.success(), "{}", text(&answer.stderr));
    assert!(page.contains(&format!("URI:{WEB}")) && page.contains("Protocol  : TLSv1.3"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_another_identity_or_authority_is_told_why_it_is_refused() {
    let world = World::new();
    let stranger = authority("prod.example").issue(&id(ORDERS), HOUR).unwrap();
    for (files, alert) in [
        (Files::of(&world, "batch", BATCH), "SSL alert number 49"),
        (Files::write(&world, "stranger", &stranger), "SSL alert number 48"),
    ] {
        let (mut server, address) = s_server(&files, &["-Verify", "3", "-rev"]);
        let gate = outbound(&world, address, "").await;
        refused_to_application(&gate);
        server.says(&[alert]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_sees_the_server_name_and_the_protocol_asked_for() {
    let world = World::new();
    let (mut server, address) =
        s_server(&Files::of(&world, "orders", ORDERS), &["-Verify", "3", "-alpn", "h2", "-tlsextdebug"]);
    let gate = outbound(&world, address, "server_name = \"orders.example\"\nalpn = [\"h2\"]").await;
    let _client = TcpStream::connect(gate.address(0)).unwrap();
    // In the dump of the extension, which breaks lines after 16 bytes.
    server.says(&["TLS client extension \"server name\""]);
    server.says(&["....orders.exam"]);
    server.says(&["ALPN protocols selected: h2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_verifies_our_svid_and_answers() {
    let world = World::new();
    let (files, root) = (Files::of(&world, "orders", ORDERS), root(&world));
    let (newer, older) = (free_address(), free_address());
    let server = |address, versions| {
        format!(
            "server {{ listen {address} ssl; ssl_protocols {versions};\n\
             ssl_certificate {:?}; ssl_certificate_key {:?};\n\
             ssl_client_certificate {root:?}; ssl_verify_client on; ssl_verify_depth 3;\n\
             location / {{ return 200 \"$ssl_client_verify $ssl_protocol $request_uri\"; }} }}\n",
            files.chain, files.key
        )
    };
    let servers = server(newer, "TLSv1.2 TLSv1.3") + &server(older, "TLSv1.2");
    let Some(mut command) = nginx(&world, &servers) else { return };
    let _nginx = Running::start(&mut command);
    for (address, version, more) in [(newer, "TLSv1.3", ""), (older, "TLSv1.2", "min_tls = \"1.2\"")] {
        until_open(address);
        let gate = outbound(&world, address, more).await;
        let url = format!("http://{}", gate.address(0));
        // Two on one connection, then another.
        let answer = run(curl(None).arg(format!("{url}/first")).arg(format!("{url}/second")));
        let expected = format!("SUCCESS {version} /firstSUCCESS {version} /second");
        assert_eq!(text(&answer.stdout), expected, "{}", text(&answer.stderr));
        let answer = run(curl(None).arg(format!("{url}/third")));
        assert_eq!(text(&answer.stdout), format!("SUCCESS {version} /third"), "{}", text(&answer.stderr));
        assert_eq!(closed(&gate, Outcome::RefusedByPeer), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_goes_through_both_gates_to_a_web_server_and_back() {
    let world = World::new();
    let directory = world.path("www");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("page"), "orders of today").unwrap();
    let Some((_server, address)) = web_server(&world, &directory) else { return };
    let service = inbound(&world, &address.to_string(), "").await;
    let egress = outbound(&world, service.address(0), "").await;
    let answer = run(curl(None).arg(format!("http://{}/page", egress.address(0))));
    assert_eq!(text(&answer.stdout), "orders of today", "{}", text(&answer.stderr));
}
