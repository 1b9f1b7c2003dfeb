//! Which version of MQTT to speak: the one that is set, or else 5 as long as the broker takes it. Pure.

use std::time::Duration;

use crate::publish::MqttVersion;
use crate::time::MonoTime;

/// So long 3.1.1 is kept before a reconnect tries 5 again, and so long 5 is kept after 3.1.1 did not help.
const KEEP: Duration = Duration::from_secs(600);
/// Connections in a row that end where an answer to a CONNECT of MQTT 5 should come: old brokers refuse so.
const CLOSED_IN_A_ROW: u32 = 2;

/// What the end of a connection, or of an attempt, says about versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// The broker said that it does not speak this one.
    Refused,
    /// There was a connection, and it ended without an answer to CONNECT.
    Closed,
    /// Nothing.
    Silent,
}

/// What to do after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Try again at once: that there is no connection is not known yet.
    AtOnce,
    /// There is none.
    Lost,
}

/// The version to speak now, and why.
#[derive(Debug)]
pub(super) struct Choice {
    version: MqttVersion,
    is_set: bool,
    closed: u32,
    /// Whether 3.1.1 has connected, or was asked for by the broker.
    is_sure: bool,
    keep_until: Option<MonoTime>,
}

impl Choice {
    pub(super) fn new(set: Option<MqttVersion>) -> Self {
        let version = set.unwrap_or(MqttVersion::V5);
        Self { version, is_set: set.is_some(), closed: 0, is_sure: false, keep_until: None }
    }

    /// The version to speak.
    pub(super) const fn version(&self) -> MqttVersion {
        self.version
    }

    /// Whether it is 3.1.1 only because the broker does not take 5.
    pub(super) fn is_fallback(&self) -> bool {
        !self.is_set && self.version == MqttVersion::V311
    }

    /// There is a connection.
    pub(super) fn connected(&mut self) {
        self.closed = 0;
        match self.version {
            MqttVersion::V5 => self.keep_until = None,
            MqttVersion::V311 => self.is_sure = true,
        }
    }

    /// An attempt failed, or a connection was lost, at `at`.
    pub(super) fn ended(&mut self, sign: Sign, at: MonoTime) -> Next {
        if self.is_set {
            return Next::Lost;
        }
        let is_kept = self.keep_until.is_some_and(|until| at < until);
        match (self.version, sign) {
            (MqttVersion::V5, Sign::Refused) => self.fall_back(true, at),
            (MqttVersion::V5, Sign::Closed) if !is_kept => {
                self.closed += 1;
                if self.closed < CLOSED_IN_A_ROW { Next::AtOnce } else { self.fall_back(false, at) }
            }
            (MqttVersion::V5, _) => {
                self.closed = 0;
                Next::Lost
            }
            (MqttVersion::V311, _) => {
                if !self.is_sure || !is_kept {
                    self.version = MqttVersion::V5;
                    self.closed = 0;
                    // One that is not sure has just been tried, and did not help.
                    self.keep_until = self.keep_until.filter(|_| !self.is_sure);
                }
                Next::Lost
            }
        }
    }

    fn fall_back(&mut self, is_sure: bool, at: MonoTime) -> Next {
        (self.version, self.is_sure, self.closed) = (MqttVersion::V311, is_sure, 0);
        self.keep_until = Some(at + KEEP);
        Next::AtOnce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> MonoTime {
        MonoTime::default() + Duration::from_secs(secs)
    }

    #[test]
    fn a_refusal_or_two_closed_connections_give_3_1_1_and_later_5_again() {
        for signs in [&[Sign::Refused][..], &[Sign::Closed, Sign::Closed]] {
            let mut choice = Choice::new(None);
            for sign in signs {
                assert_eq!(choice.version(), MqttVersion::V5);
                assert_eq!(choice.ended(*sign, at(1)), Next::AtOnce);
            }
            assert!(choice.is_fallback());
            choice.connected();
            assert_eq!(choice.ended(Sign::Silent, at(500)), Next::Lost);
            assert!(choice.is_fallback(), "5 is not tried at every reconnect");
            choice.connected();
            assert_eq!(choice.ended(Sign::Silent, at(601)), Next::Lost);
            assert_eq!(choice.version(), MqttVersion::V5);
            for sign in signs {
                assert_eq!(choice.ended(*sign, at(602)), Next::AtOnce);
            }
            assert!(choice.is_fallback());
        }
    }

    #[test]
    fn where_3_1_1_does_not_help_5_is_kept_for_a_while() {
        let mut choice = Choice::new(None);
        let ends = |choice: &mut Choice, secs| choice.ended(Sign::Closed, at(secs));
        assert_eq!([ends(&mut choice, 0), ends(&mut choice, 0)], [Next::AtOnce; 2]);
        assert_eq!((choice.version(), ends(&mut choice, 0)), (MqttVersion::V311, Next::Lost));
        for secs in 1..599 {
            assert_eq!((choice.version(), ends(&mut choice, secs)), (MqttVersion::V5, Next::Lost));
        }
        assert_eq!([ends(&mut choice, 600), ends(&mut choice, 600)], [Next::AtOnce; 2]);
        assert!(choice.is_fallback());
    }

    #[test]
    fn other_failures_and_what_is_set_change_nothing() {
        let mut choice = Choice::new(None);
        for sign in [Sign::Closed, Sign::Silent, Sign::Closed, Sign::Silent] {
            choice.ended(sign, at(0));
            assert_eq!(choice.version(), MqttVersion::V5);
        }
        for version in [MqttVersion::V5, MqttVersion::V311] {
            let mut choice = Choice::new(Some(version));
            for sign in [Sign::Refused, Sign::Closed, Sign::Closed] {
                assert_eq!((choice.ended(sign, at(0)), choice.version()), (Next::Lost, version));
            }
            assert!(!choice.is_fallback());
        }
    }
}
