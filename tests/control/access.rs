//! A broker whose access rules let a robot hear some of its topics alone.

use std::sync::Arc;

use super::Rover;
use crate::mqtt::{Mosquitto, holds};

/// Rules of mosquitto's dynamic security: everyone may do everything, but subscribe to commands and say that they are there.
const RULES: &str = r##"{
    "roles": [{"rolename": "all", "acls": [
        {"acltype": "subscribePattern", "topic": "#", "priority": 0, "allow": true},
        {"acltype": "subscribePattern", "topic": "perceptd/+/+/+/cmd/+", "priority": 1, "allow": false},
        {"acltype": "publishClientSend", "topic": "#", "priority": 0, "allow": true},
        {"acltype": "publishClientSend", "topic": "perceptd/+/+/+/status", "priority": 1, "allow": false},
        {"acltype": "publishClientReceive", "topic": "#", "priority": 0, "allow": true}
    ]}],
    "groups": [{"groupname": "everyone", "roles": [{"rolename": "all"}]}],
    "anonymousGroup": "everyone"
}"##;

/// Debian has plugins in a folder of the architecture.
fn dynamic_security() -> std::path::PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let mut plugins = folders.map(|folder| folder.path().join("mosquitto_dynamic_security.so"));
    plugins.find(|plugin| plugin.exists()).expect("install the Debian package mosquitto")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_subscription_is_named_and_the_others_are_heard() {
    for version in ["5", "3.1.1"] {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("rules.json");
        std::fs::write(&rules, RULES).unwrap();
        let more = format!(
            "allow_anonymous true\nplugin {}\nplugin_opt_config_file {}\n",
            dynamic_security().display(),
            rules.display()
        );
        let mut rover = Rover::at_rest("rover", Arc::new(Mosquitto::with(&more)), "");
        rover.edit("[mqtt]\n", &format!("[mqtt]\nversion = '{version}'\n"));
        rover.run();
        holds(|| rover.log().contains("refuses the subscription: perceptd/v1/default/rover/cmd/+ (")).await;
        rover.expect(&["config", "set", "events.min_on_secs=0.3"], 0, &["applied as generation 1"]);
        rover.expect(&["config", "get"], 0, &["rover: "]);
        let log = rover.log();
        assert_eq!(log.matches("refuses the subscription").count(), 1, "{log}");
        // The client's own words would come with every message.
        let refused = log.lines().filter(|line| line.contains("/status") || line.contains("rumqttc")).count();
        assert_eq!(refused, usize::from(version == "5"), "3.1.1 does not say that it refuses: {log}");
    }
}
