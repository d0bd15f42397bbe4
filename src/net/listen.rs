//! where to listen and who may come in: the table `[server]`

use super::limits::Limits;
use super::secret::Secret;
use super::tls::{self, Tls};
use crate::error::{Error, ErrorKind, Fault, Result};
use serde::Deserialize;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

/// Where Tidemill listens for HTTP, and who may come in: the table `[server]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    /// An IP address and a port; `localhost` is `127.0.0.1`, and port 0 is any free one.
    pub address: String,
    /// What callers must send as `Authorization: Bearer …`; write `"${NAME}"` to take it from the environment.
    pub token: Option<Secret>,
    /// A file that holds the token, instead of `token`.
    pub token_file: Option<PathBuf>,
    /// The certificate and key to speak TLS with.
    pub tls: Option<Tls>,
    /// Allows to listen beyond this machine without a token or without TLS.
    pub insecure: bool,
    /// Names (`logs.example.org`, or with a port) under which callers and web pages may reach Tidemill, beside its addresses.
    pub hosts: Vec<String>,
    /// How much it takes on.
    pub limits: Limits,
    /// The table that this is, for what is said about it.
    #[serde(skip)]
    pub section: Section,
}

/// Which table of a pipeline file a [`Listen`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section(pub &'static str);

impl Default for Section {
    fn default() -> Self {
        Section("server")
    }
}

/// The same, checked, with its files read.
#[derive(Clone, Debug)]
pub struct Access {
    /// where to listen
    pub address: SocketAddr,
    /// what callers must send
    pub token: Option<Secret>,
    /// how to speak TLS
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// names under which it may be reached, lower case
    pub hosts: Vec<String>,
    /// how much it takes on
    pub limits: Limits,
}

impl Default for Listen {
    fn default() -> Self {
        Listen {
            address: "127.0.0.1:7070".to_owned(),
            token: None,
            token_file: None,
            tls: None,
            insecure: false,
            hosts: Vec::new(),
            limits: Limits::default(),
            section: Section::default(),
        }
    }
}

impl Listen {
    /// What is wrong with it, without reading a file.
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut tell =
            |key: String, checked: Result<()>| faults.extend(checked.err().map(|error| Fault { key, error }));
        tell("address".to_owned(), self.parse_address().and_then(|address| self.check_reach(address)));
        if let Some(token) = &self.token {
            tell("token".to_owned(), check_token(token, self.section));
        }
        if self.token.is_some() && self.token_file.is_some() {
            let both = Error::invalid(format!("`[{}]` has both `token` and `token_file`; keep one", self.section.0));
            tell("token_file".to_owned(), Err(both));
        }
        for (at, host) in self.hosts.iter().enumerate() {
            tell(format!("hosts.{at}"), check_host(host, self.section));
        }
        tell("limits.bodies_max".to_owned(), self.limits.check());
        faults
    }

    /// What is wrong with the files it names.
    pub fn file_faults(&self) -> Vec<Fault> {
        let token =
            self.token_file.as_ref().map(|path| Secret::read(path).and_then(|token| check_token(&token, self.section)));
        let token = token.and_then(Result::err).map(|error| Fault { key: "token_file".to_owned(), error });
        token.into_iter().chain(self.tls.iter().flat_map(tls::faults)).collect()
    }

    /// Listening where other machines can reach it needs a token and TLS.
    fn check_reach(&self, address: SocketAddr) -> Result<()> {
        let shown = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let token = shown || self.token.is_some() || self.token_file.is_some();
        let missing = match (token, self.tls.is_some()) {
            (true, true) => return Ok(()),
            _ if address.ip().is_loopback() || self.insecure => return Ok(()),
            (false, false) => "`token` and `tls = { cert = \"…\", key = \"…\" }`",
            (true, false) => "`tls = { cert = \"…\", key = \"…\" }`",
            (false, true) => "`token`",
        };
        let section = self.section.0;
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "`[{section}]` listens on `{address}`, which other machines can reach: that needs a token and TLS; add {missing}, or \
                 write `insecure = true` if everybody on that network may read and write everything, or listen on \
                 `127.0.0.1:{}`",
                address.port()
            ),
        ))
    }

    /// Checks it and reads its files.
    pub fn open(&self) -> Result<Access> {
        if let Some(fault) = self.faults().into_iter().next() {
            return Err(fault.error);
        }
        let address = self.parse_address()?;
        let token = match &self.token_file {
            Some(path) => Some(Secret::read(path)?),
            None => self.token.clone(),
        };
        if let Some(token) = &token {
            check_token(token, self.section)?;
        }
        let tls = self.tls.as_ref().map(tls::server).transpose()?;
        let hosts = self.hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Access { address, token, tls, hosts, limits: self.limits.clone() })
    }

    fn parse_address(&self) -> Result<SocketAddr> {
        if let Some(port) = self.address.strip_prefix("localhost:")
            && let Ok(port) = port.parse()
        {
            return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
        }
        self.address.parse().map_err(|_| {
            Error::invalid(format!(
                "`[{}]` cannot listen on `{}`; write an IP address and a port, such as `127.0.0.1:7070` or `[::1]:7070`",
                self.section.0, self.address
            ))
        })
    }
}

fn check_token(token: &Secret, section: Section) -> Result<()> {
    let text = token.reveal();
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_graphic()) {
        return Err(Error::invalid(format!(
            "`[{}]`: the token must be visible ASCII characters without spaces; `openssl rand -hex 32` makes a good one",
            section.0
        )));
    }
    Ok(())
}

fn check_host(host: &str, section: Section) -> Result<()> {
    let good =
        !host.is_empty() && !host.contains(['/', '*', '@', ' ']) && host.parse::<hyper::http::uri::Authority>().is_ok();
    if good {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "`[{}]`: `hosts` has `{host}`; write only a name, such as `logs.example.org`, or `name:port`",
        section.0
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        let listen = toml::from_str::<Listen>(text).map_err(|error| error.to_string())?;
        listen.faults().first().map_or(Ok(()), |fault| Err(fault.error.to_string()))
    }

    #[test]
    fn beyond_loopback_needs_token_and_tls_or_a_word() {
        let tls = "tls = { cert = 'c.pem', key = 'k.pem' }";
        for good in [
            "",
            "address = 'localhost:80'",
            "address = '[::1]:0'",
            "address = '127.3.2.1:7070'",
            "address = '0.0.0.0:7070'\ninsecure = true",
            &format!("address = '0.0.0.0:7070'\ntoken = 'x'\n{tls}"),
            &format!("address = '[::]:7070'\ntoken_file = '/run/token'\n{tls}"),
        ] {
            check(good).unwrap_or_else(|error| panic!("{good}: {error}"));
        }
        for (bad, says) in [
            ("address = '0.0.0.0:7070'", "needs a token and TLS; add `token` and `tls ="),
            ("address = '192.168.1.2:7070'\ntoken = 'x'", "add `tls ="),
            (&format!("address = '[::]:7070'\n{tls}"), "add `token`, or write `insecure = true`"),
            ("address = 'example.org:7070'", "write an IP address and a port"),
            ("address = '127.0.0.1'", "write an IP address and a port"),
            ("token = 'a b'", "visible ASCII"),
            ("token = ''", "visible ASCII"),
            ("token = 'a'\ntoken_file = 'b'", "keep one"),
            ("hosts = ['http://x']", "write only a name"),
            ("hosts = ['*.x.org']", "write only a name"),
            ("limits.queries_max = 0", "`0` is too little; write at least `1`"),
            ("limits.bodies_max = '1MiB'", "`bodies_max` is 1.0 MiB, and one body may have 64.0 MiB (`body_max`)"),
        ] {
            let error = check(bad).expect_err(bad);
            assert!(error.contains(says), "{bad}: {error}");
        }
    }

    #[test]
    fn every_file_that_cannot_be_used_is_told() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("empty"), "").unwrap();
        std::fs::write(folder.path().join("text"), "no PEM").unwrap();
        let text = |token: &str, cert: &str, key: &str| {
            let path = |name: &str| folder.path().join(name).display().to_string();
            format!("token_file = '{}'\ntls = {{ cert = '{}', key = '{}' }}", path(token), path(cert), path(key))
        };
        let told = |token, cert, key| {
            let faults = toml::from_str::<Listen>(&text(token, cert, key)).unwrap().file_faults();
            faults.into_iter().map(|fault| format!("{}: {}", fault.key, fault.error)).collect::<Vec<_>>()
        };
        for (faults, says) in [
            (
                told("none", "none", "none"),
                [
                    "cannot read the secret: No such",
                    "cannot read it for TLS: No such",
                    "cannot read it for TLS: No such",
                ],
            ),
            (told("empty", "text", "text"), ["the file is empty", "has no certificate", "has no private key"]),
        ] {
            let keys = ["token_file: ", "tls.cert: ", "tls.key: "];
            assert_eq!(faults.len(), 3, "{faults:?}");
            for ((fault, key), says) in faults.iter().zip(keys).zip(says) {
                assert!(fault.starts_with(key) && fault.contains(says), "{fault}");
            }
        }
    }

    #[test]
    fn a_secret_is_not_in_the_debug_form() {
        let listen: Listen = toml::from_str("token = 'hunter2hunter2'").unwrap();
        assert!(!format!("{listen:?}").contains("hunter2"));
        assert!(!format!("{:?}", listen.open().unwrap()).contains("hunter2"));
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(toml::from_str::<Listen>("adress = 'x'").unwrap_err().to_string().contains("unknown field `adress`"));
    }
}
