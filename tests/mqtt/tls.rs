//! TLS and logins against a real mosquitto: what works, and what each mistake says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use perceptd::publish::{
    BrokerAccess, BrokerAddress, Credentials, MqttVersion, PublishSettings, TlsSettings, check_authorities,
    check_identity,
};

use super::gate::Gate;
use super::log::Log;
use super::mosquitto::{Mosquitto, free_port};
use super::robot::{Ear, Robot, event, holds};

/// Certificates made by openssl: a CA, what it signed, and a stranger.
struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let authority = Self { folder: tempfile::tempdir().unwrap() };
        for ca in ["ca", "stranger"] {
            let subject = format!("/CN={ca}");
            authority.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {ca}.key -out {ca}.pem -subj {subject}"
            ));
        }
        authority.sign("broker", "-startdate 20260101000000Z -enddate 21000101000000Z");
        authority.sign("expired", "-startdate 20200101000000Z -enddate 20200102000000Z");
        authority.sign("robot", "-startdate 20200101000000Z -enddate 21000101000000Z");
        authority
    }

    fn sign(&self, name: &str, dates: &str) {
        let config = "[x]\nsubjectAltName=IP:127.0.0.1\n[ca]\ndefault_ca=d\n[d]\ndatabase=index\nserial=serial\nnew_certs_dir=.\n\
                      policy=p\ndefault_md=sha256\nunique_subject=no\n[p]\ncommonName=supplied\n";
        std::fs::write(self.path("openssl.cnf"), config).unwrap();
        std::fs::write(self.path("index"), "").unwrap();
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "ca -batch -config openssl.cnf -create_serial -extensions x -cert ca.pem -keyfile ca.key {dates} -in {name}.csr -out {name}.pem -notext"
        ));
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl").args(arguments.split(' ')).current_dir(self.folder.path()).output();
        let output = output.expect("install the Debian package openssl");
        assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn read(&self, file: &str) -> Vec<u8> {
        std::fs::read(self.path(file)).unwrap()
    }

    fn broker(&self, certificate: &str, more: &str) -> Mosquitto {
        let file = |end: &str| self.path(&format!("{certificate}.{end}")).display().to_string();
        let (ca, cert, key) = (self.path("ca.pem").display().to_string(), file("pem"), file("key"));
        Mosquitto::with(&format!("cafile {ca}\ncertfile {cert}\nkeyfile {key}\nuser root\n{more}"))
    }

    fn trusting(&self, ca: &str) -> TlsSettings {
        TlsSettings { ca_pem: self.read(&format!("{ca}.pem")), identity_pem: None }
    }
}

fn password_file(folder: &Path) -> String {
    let path = folder.join("passwords");
    let path = path.display().to_string();
    let made = Command::new("/usr/bin/mosquitto_passwd").args(["-b", "-c", &path, "rover", "right"]).output();
    assert!(made.expect("install the Debian package mosquitto").status.success());
    path
}

/// Waits until a robot has tried to connect some times; tells whether it ever was connected.
async fn connects(gate: &Gate, change: impl FnOnce(&mut PublishSettings)) -> bool {
    let robot = Robot::start(gate.address(), change);
    let publisher = robot.publisher.clone();
    holds(|| gate.openings().len() >= 3).await;
    let connected =
        tokio::task::spawn_blocking(move || publisher.wait_until_connected(Duration::from_millis(1))).await.unwrap();
    robot.stop().await;
    connected
}

#[tokio::test]
async fn events_go_over_tls_with_a_client_certificate_and_a_password() {
    let authority = Authority::new();
    let passwords = password_file(authority.folder.path());
    let broker = authority
        .broker("broker", &format!("require_certificate true\npassword_file {passwords}\nallow_anonymous false\n"));
    let tls = TlsSettings {
        identity_pem: Some((authority.read("robot.pem"), authority.read("robot.key"))),
        ..authority.trusting("ca")
    };
    let login = |password: &str| Some(Credentials { username: "rover".to_owned(), password: password.to_owned() });
    let mut ear = Ear::with(BrokerAccess {
        tls: Some(tls.clone()),
        credentials: login("right"),
        ..BrokerAccess::plain(broker.address())
    })
    .await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let robot = Robot::start(broker.address(), |settings| {
            settings.broker.tls = Some(tls.clone());
            settings.broker.credentials = login("right");
            settings.broker.version = Some(version);
        });
        robot.publisher.event(&event(1, 1, "dog")).unwrap();
        ear.next_event().await;
        assert_eq!(robot.stop().await.undelivered, 0, "{version:?}");
    }
    let gate = Gate::open(broker.address()).await;
    assert!(!connects(&gate, |settings| settings.broker.tls = Some(authority.trusting("ca"))).await, "no certificate");
}

#[test]
fn what_tls_cannot_use_is_told_without_a_broker() {
    let authority = Authority::new();
    let [ca, robot, key, other] = ["ca.pem", "robot.pem", "robot.key", "broker.key"].map(|file| authority.read(file));
    assert_eq!((check_authorities(&ca), check_identity(&robot, &key)), (Ok(()), Ok(())));
    for (is_key, told) in [
        (false, check_authorities(&key).map_err(|why| (false, why))),
        (false, check_identity(&key, &key)),
        (true, check_identity(&robot, &robot)),
        (true, check_identity(&robot, &other)),
    ] {
        let (blamed, why) = told.unwrap_err();
        assert_eq!(blamed, is_key, "{why}");
        assert!(
            ["no certificate in it", "no private key in it", "not the key of"].iter().any(|s| why.contains(s)),
            "{why}"
        );
    }
}

#[tokio::test]
async fn a_certificate_that_a_broker_signed_itself_is_trusted_where_it_is_no_authoritys() {
    let authority = Authority::new();
    authority.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout own.key -out own.pem -subj /CN=own \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1",
    );
    let broker = authority.broker("own", "allow_anonymous true\n");
    let robot = Robot::start(broker.address(), |settings| settings.broker.tls = Some(authority.trusting("own")));
    holds(|| robot.publisher.wait_until_connected(Duration::from_millis(1))).await;
    robot.stop().await;
}

#[tokio::test]
async fn a_websocket_goes_over_tls_too() {
    let authority = Authority::new();
    let port = free_port();
    let plain = BrokerAddress { host: "127.0.0.1".to_owned(), port };
    let plain_listener = format!("listener {port} 127.0.0.1\nallow_anonymous true\n");
    let broker = authority.broker("broker", &format!("protocol websockets\n{plain_listener}"));
    let mut ear = Ear::connected(plain).await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let robot = Robot::start(broker.address(), |settings| {
            settings.broker.tls = Some(authority.trusting("ca"));
            settings.broker.websocket_path = Some("/mqtt".to_owned());
            settings.broker.version = Some(version);
        });
        robot.publisher.event(&event(1, 1, "dog")).unwrap();
        ear.next_event().await;
        assert_eq!(robot.stop().await.undelivered, 0, "{version:?}");
    }
    let log = Log::listen();
    let gate = Gate::open(broker.address()).await;
    let in_websocket = |settings: &mut PublishSettings| {
        settings.broker.tls = Some(authority.trusting("stranger"));
        settings.broker.websocket_path = Some("/mqtt".to_owned());
    };
    assert!(!connects(&gate, in_websocket).await, "a stranger's certificate");
    let lines = log.lines_about(&gate.address());
    assert!(lines.len() == 1 && lines[0].contains("not signed by the CA"), "{lines:#?}");
    assert!(gate.openings().iter().all(|first| *first == 0x16), "something else than a TLS handshake was sent");
}

#[tokio::test]
async fn each_mistake_is_told_once_and_nothing_goes_in_the_clear() {
    let authority = Authority::new();
    let passwords = password_file(authority.folder.path());
    let good = authority.broker("broker", &format!("password_file {passwords}\nallow_anonymous false\n"));
    let expired = authority.broker("expired", "allow_anonymous true\n");
    let authoritys_own = authority.broker("ca", "allow_anonymous true\n");
    let wrong = Credentials { username: "rover".to_owned(), password: "wrong".to_owned() };
    for (broker, ca, credentials, said) in [
        (&good, "stranger", None, "not signed by the CA"),
        (&expired, "ca", None, "has expired"),
        (&authoritys_own, "ca", None, "is an authority's own"),
        (&good, "ca", Some(wrong), "refuses the login"),
    ] {
        for version in [None, Some(MqttVersion::V5), Some(MqttVersion::V311)] {
            let log = Log::listen();
            let gate = Gate::open(broker.address()).await;
            let connected = connects(&gate, |settings| {
                settings.broker.version = version;
                settings.broker.tls = Some(authority.trusting(ca));
                settings.broker.credentials.clone_from(&credentials);
            })
            .await;
            assert!(!connected, "{said}");
            let lines = log.lines_about(&gate.address());
            assert_eq!(lines.len(), 1, "one line for many attempts: {lines:#?}");
            assert!(lines[0].contains(said), "{lines:#?}");
            assert!(gate.openings().iter().all(|first| *first == 0x16), "something else than a TLS handshake was sent");
        }
    }
}
