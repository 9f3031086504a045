//! Where a driver listens, as people write it.

use std::{fmt, path::PathBuf, str::FromStr};

use thiserror::Error;

/// The longest path that fits into the kernel's `sun_path`.
const LONGEST_SOCKET_PATH: usize = 107;

/// The address of a driver's gRPC server.
///
/// Only Unix domain sockets are within the specification; TCP is for debugging from afar.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Endpoint {
    /// A socket in the file system: `unix:///path`, `unix://path`, `unix:/path`, `/path`.
    Unix(PathBuf),
    /// A socket in Linux's abstract name space: `unix-abstract:name`.
    Abstract(String),
    /// A host and port: `dns:///host:port`, `tcp://host:port`, `host:port`.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum EndpointError {
    /// Nothing was given.
    #[error("the endpoint is empty: {ACCEPTED}")]
    Empty,
    /// The scheme is of no use here.
    #[error("endpoints of scheme {0:?} are not supported: {ACCEPTED}")]
    Scheme(String),
    /// The scheme is followed by nothing.
    #[error("endpoint {0:?} names no socket: {ACCEPTED}")]
    NoName(String),
    /// The path does not fit into the kernel's structure.
    #[error("the socket path has {0} bytes, the kernel allows {LONGEST_SOCKET_PATH}: use a shorter one")]
    TooLong(usize),
    /// The path holds a zero byte.
    #[error("the socket path holds a zero byte, which no file name can")]
    Zero,
    /// There is no port.
    #[error("endpoint {0:?} has no port between 1 and 65535: {ACCEPTED}")]
    Port(String),
}

const ACCEPTED: &str = "use unix:///path, /path, unix-abstract:name, dns:///host:port or host:port";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(EndpointError::Empty);
        }
        if let Some(name) = text.strip_prefix("unix-abstract:") {
            return abstract_socket(text, name);
        }
        if let Some(rest) = text.strip_prefix("unix:") {
            return socket(text, rest.strip_prefix("//").unwrap_or(rest));
        }
        if text.starts_with('/') || text.starts_with("./") {
            return socket(text, text);
        }
        for scheme in ["dns:///", "dns://", "dns:", "tcp://", "http://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return address(text, rest.trim_end_matches('/'));
            }
        }
        match text.split_once("://") {
            Some((scheme, _)) => Err(EndpointError::Scheme(scheme.to_owned())),
            None => address(text, text),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Abstract(name) => write!(f, "unix-abstract:{name}"),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "dns:///[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "dns:///{host}:{port}"),
        }
    }
}

impl Endpoint {
    /// Whether the driver behind it runs on this machine for sure.
    pub const fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_) | Self::Abstract(_))
    }
}

fn socket(text: &str, path: &str) -> Result<Endpoint, EndpointError> {
    match path {
        "" | "/" => Err(EndpointError::NoName(text.to_owned())),
        path if path.contains('\0') => Err(EndpointError::Zero),
        path if path.len() > LONGEST_SOCKET_PATH => Err(EndpointError::TooLong(path.len())),
        path => Ok(Endpoint::Unix(PathBuf::from(path))),
    }
}

fn abstract_socket(text: &str, name: &str) -> Result<Endpoint, EndpointError> {
    match name.len() {
        0 => Err(EndpointError::NoName(text.to_owned())),
        length if length > LONGEST_SOCKET_PATH => Err(EndpointError::TooLong(length)),
        _ => Ok(Endpoint::Abstract(name.to_owned())),
    }
}

fn address(text: &str, address: &str) -> Result<Endpoint, EndpointError> {
    let no_port = || EndpointError::Port(text.to_owned());
    let (host, port) = address.rsplit_once(':').ok_or_else(no_port)?;
    let port = port.parse().ok().filter(|&port| port != 0).ok_or_else(no_port)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').ok_or_else(no_port)?,
        // Without brackets the last colon of an IPv6 address is no port's.
        None if host.contains(':') => return Err(no_port()),
        None => host,
    };
    match host {
        "" => Err(EndpointError::NoName(text.to_owned())),
        host => Ok(Endpoint::Tcp { host: host.to_owned(), port }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_accepted_form_is_read_and_written_again() {
        for (text, expected) in [
            ("unix:///run/csi.sock", "unix:///run/csi.sock"),
            ("unix://run/csi.sock", "unix://run/csi.sock"),
            ("unix:/run/csi.sock", "unix:///run/csi.sock"),
            ("/run/csi.sock", "unix:///run/csi.sock"),
            ("unix-abstract:csi", "unix-abstract:csi"),
            ("dns:///localhost:10000", "dns:///localhost:10000"),
            ("tcp://10.0.0.1:1", "dns:///10.0.0.1:1"),
            ("localhost:65535", "dns:///localhost:65535"),
            ("[::1]:50051", "dns:///[::1]:50051"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), expected);
            assert_eq!(expected.parse::<Endpoint>().unwrap(), endpoint);
        }
    }

    #[test]
    fn what_is_no_endpoint_says_what_is_accepted() {
        let long = format!("/{}", "x".repeat(200));
        for text in
            ["", "  ", "unix://", "unix:", "/", "unix-abstract:", "localhost", "host:0", "host:70000", "::1", "[::1:5"]
        {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("unix:///path"), "{text:?}: {error}");
        }
        assert_eq!("vsock://2:1".parse::<Endpoint>(), Err(EndpointError::Scheme("vsock".into())));
        assert_eq!(long.parse::<Endpoint>(), Err(EndpointError::TooLong(201)));
        assert_eq!("/a\0b".parse::<Endpoint>(), Err(EndpointError::Zero));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let _ = text.parse::<Endpoint>();
        }
    }
}
