//! Who of SIP is let in, and as which number.

use std::net::IpAddr;

use moqswitch_calls::Number;
use moqswitch_sip::agent::Access;
use moqswitch_sip::digest::{Algorithm, Ha1};

use crate::control::DomainName;
use crate::exchange::Exchange;

impl Exchange {
    /// How a user of SIP is let in.
    pub(crate) fn sip_access(&self, user: &str, domain: &str, ip: IpAddr) -> Access {
        if let Some(name) = self.domain_of_directory(domain) {
            let is_there = self
                .board()
                .is_some_and(|board| board.directory.digest(&name, user, Algorithm::Md5).is_some());
            return if is_there {
                Access::Password(name.as_str().to_owned())
            } else {
                Access::Unknown(name.as_str().to_owned())
            };
        }
        let entrance = &self.sip_entrance;
        // Who is unknown is asked as anybody else.
        let unknown = Access::Unknown(entrance.realm.clone());
        let is_known = |number: Number| entrance.users.as_ref().is_some_and(|users| users.has(&number));
        if entrance.is_open {
            if ip.to_canonical().is_loopback() {
                Access::Open
            } else {
                unknown
            }
        } else if Number::new(user).is_ok_and(is_known) {
            Access::Password(entrance.realm.clone())
        } else {
            unknown
        }
    }

    /// What the digest of a user starts from. None: nobody has such a secret.
    pub(crate) fn sip_secret(&self, user: &str, domain: &str, algorithm: Algorithm) -> Option<Ha1> {
        if let Some(name) = self.domain_of_directory(domain) {
            return self.board()?.directory.digest(&name, user, algorithm);
        }
        self.sip_entrance
            .users
            .as_ref()?
            .digest(&Number::new(user).ok()?, algorithm)
    }

    /// What a user of SIP is in the call plane. None: it is no number.
    pub(super) fn sip_number(&self, user: &str, domain: &str) -> Option<Number> {
        let name = self.domain_of_directory(domain);
        let numbers = name.and_then(|name| Some(self.board()?.numbers_of(user, &name)));
        match numbers {
            // Without its domain, where that is the one of numbers that have none.
            Some(numbers) => numbers.into_iter().next_back(),
            None => Number::new(user).ok(),
        }
    }

    /// The domain of whom a telephone names that is at `own`: one that there is, or else its own. Other domains have numbers of the
    /// same digits.
    pub(super) fn sip_domain<'a>(&self, named: &'a str, own: &'a str) -> &'a str {
        match self.domain_of_directory(named) {
            Some(_) => named,
            None => own,
        }
    }

    fn domain_of_directory(&self, domain: &str) -> Option<DomainName> {
        let name = DomainName::parse(domain)?;
        self.board()?.directory.has(&name).then_some(name)
    }
}
