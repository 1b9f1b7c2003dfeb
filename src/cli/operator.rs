//! What `config` and `prompt` share: which robots, through which broker, and how long to wait for their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

use super::parse_duration;
use crate::config::Settings;
use crate::publish::{
    BrokerAccess, BrokerAddress, HeardConfig, HeardPrompt, Operator, OperatorSettings, Reported, broker_host, matching,
};
use crate::time::{MonoTime, now};

/// What the broker has kept comes at once; after a pause of this length no more of it will.
const QUIET: Duration = Duration::from_millis(500);

/// Which robots, and how to reach them.
#[derive(Debug, clap::Args)]
pub(super) struct Robots {
    /// The robot's name, or a pattern: `*` stands for any letters, `?` for one. Default: the robot of --config.
    #[arg(long, value_name = "NAME")]
    robot: Option<String>,
    /// The fleet's name. Default: that of --config, else `default`.
    #[arg(long, value_name = "NAME")]
    fleet: Option<String>,
    /// The broker, as HOST or HOST:PORT, an IPv6 address as [ADDRESS]:PORT. Default: that of --config, else localhost.
    #[arg(long, value_name = "HOST[:PORT]")]
    broker: Option<String>,
    /// A perceptd config, for the broker and how to log in there, and for the names.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long to wait for each answer.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    timeout: Duration,
}

/// A connection, and the robots that are meant.
pub(super) struct Session {
    operator: Operator,
    fleet: String,
    timeout: Duration,
    /// The robots, with the config that each reported last.
    pub(super) robots: BTreeMap<String, HeardConfig>,
    /// The prompts that each reported last.
    pub(super) prompts: BTreeMap<String, BTreeMap<String, HeardPrompt>>,
}

impl Robots {
    /// Connects and hears who is there.
    pub(super) async fn find(self) -> anyhow::Result<Session> {
        let settings = self.config.as_deref().map(Settings::open).transpose()?;
        let publish = settings.as_ref().map(Settings::publish).transpose()?;
        let robot = self.robot.or_else(|| publish.as_ref().map(|publish| publish.robot.clone()));
        let Some(robot) = robot else {
            bail!("which robot? Give --robot NAME, a pattern such as '*', or --config FILE")
        };
        let fleet = self.fleet.or_else(|| publish.as_ref().map(|publish| publish.fleet.clone()));
        let fleet = fleet.unwrap_or_else(|| "default".to_owned());
        let named = self.broker.as_deref().map(parse_broker).transpose()?;
        let usual = || parse_broker("localhost").map(BrokerAccess::plain);
        let mut broker = publish.map_or_else(usual, |publish| anyhow::Ok(publish.broker))?;
        broker.address = named.unwrap_or(broker.address);
        let connect = Operator::connect(OperatorSettings { broker, fleet: fleet.clone() });
        let mut operator = within(self.timeout, "the broker does not answer", connect).await??;
        let (mut configs, mut prompts) = (BTreeMap::new(), BTreeMap::<String, BTreeMap<_, _>>::new());
        for (from, report) in operator.kept(QUIET).await? {
            match report {
                Reported::Config(config) => drop(configs.insert(from, config)),
                Reported::Prompt(prompt) => {
                    drop(prompts.entry(from).or_default().insert(prompt.prompt.clone(), prompt));
                }
                Reported::PromptGone(id) => drop(prompts.entry(from).or_default().remove(&id)),
            }
        }
        let meant = matching(&robot, configs.keys().map(String::as_str));
        if meant.is_empty() {
            let heard = if configs.is_empty() {
                "no robot has reported there".to_owned()
            } else {
                format!("heard: {}", configs.keys().cloned().collect::<Vec<_>>().join(", "))
            };
            bail!("no robot `{robot}` in the fleet `{fleet}` that is configured by topic; {heard}");
        }
        configs.retain(|name, _| meant.contains(name));
        prompts.retain(|name, _| meant.contains(name));
        Ok(Session { operator, fleet, timeout: self.timeout, robots: configs, prompts })
    }
}

impl Session {
    /// The connection.
    pub(super) const fn operator(&self) -> &Operator {
        &self.operator
    }

    /// Looks after the connection until nothing more happens.
    pub(super) async fn settle(&mut self) -> anyhow::Result<()> {
        Ok(self.operator.kept(QUIET).await.map(drop)?)
    }

    /// Waits until each of these robots has been answered for: `hear` tells what a report means. Prints a line for each; tells whether all
    /// went well.
    pub(super) async fn wait(
        &mut self,
        robots: BTreeSet<String>,
        out: &mut dyn Write,
        mut hear: impl FnMut(&str, &Reported) -> Word,
    ) -> anyhow::Result<bool> {
        let deadline = now() + self.timeout;
        let mut missing: BTreeMap<String, Option<&str>> = robots.into_iter().map(|robot| (robot, None)).collect();
        let mut all_good = true;
        while !missing.is_empty() {
            let Ok(heard) = tokio::time::timeout(left(deadline), self.operator.next()).await else { break };
            let (robot, report) = heard?;
            let Some(so_far) = missing.get_mut(&robot) else { continue };
            match hear(&robot, &report) {
                Word::None => {}
                Word::SoFar(what) => *so_far = Some(what),
                Word::Last(is_good, word) => {
                    missing.remove(&robot);
                    all_good &= is_good;
                    writeln!(out, "{}/{robot}: {word}", self.fleet)?;
                }
            }
        }
        let secs = self.timeout.as_secs_f64();
        for (robot, so_far) in &missing {
            let so_far = so_far.unwrap_or("the wish stays with the broker and is taken when it is back");
            writeln!(out, "{}/{robot}: no answer within {secs} s; {so_far}", self.fleet)?;
        }
        Ok(all_good && missing.is_empty())
    }
}

/// What a report says of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing.
    None,
    /// This, unless there is more to hear in time.
    SoFar(&'static str),
    /// The last that there is to hear, and whether it is good.
    Last(bool, String),
}

/// Said of a wish that took too long.
pub(super) const STILL_TRIED: &str = "it is still being tried: ask again what is in force";
/// Said of a wish after which another one was answered.
pub(super) const ANOTHER: &str = "another wish was answered meanwhile: look at what is in force";

fn left(deadline: MonoTime) -> Duration {
    Duration::from_nanos(u64::try_from(deadline.nanos_since(now())).unwrap_or(0))
}

async fn within<T>(limit: Duration, what: &'static str, future: impl Future<Output = T>) -> anyhow::Result<T> {
    tokio::time::timeout(limit, future).await.context(what)
}

/// `HOST` or `HOST:PORT`; an IPv6 address has to be in brackets where a port follows.
fn parse_broker(text: &str) -> anyhow::Result<BrokerAddress> {
    let with_port = text.rsplit_once(':').filter(|_| !text.contains("://"));
    let (host, port) = match (broker_host(text), with_port) {
        (Ok(host), _) => (host, 1883),
        (Err(_), Some((host, port))) => {
            let port = port.parse().with_context(|| format!("`{port}` is no port; write the broker as HOST:PORT"))?;
            (broker_host(host).map_err(anyhow::Error::msg)?, port)
        }
        (Err(why), None) => bail!("{why}"),
    };
    Ok(BrokerAddress { host, port })
}

/// Runs what speaks to a broker.
pub(super) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_are_hosts_with_or_without_ports() {
        for (text, host, port) in
            [("localhost", "localhost", 1883), ("broker.lan:8883", "broker.lan", 8883), ("[::1]", "::1", 1883)]
                .into_iter()
                .chain([
                    ("::1", "::1", 1883),
                    ("[fd00::10]:8883", "fd00::10", 8883),
                    ("fe80::1%eth0", "fe80::1%eth0", 1883),
                ])
        {
            assert_eq!(parse_broker(text).unwrap(), BrokerAddress { host: host.to_owned(), port });
        }
        for bad in ["broker:x", ":1", "", "mqtt://broker", "256.1.1.1:1883", "fd00::g"] {
            assert!(parse_broker(bad).is_err(), "{bad}");
        }
    }
}
