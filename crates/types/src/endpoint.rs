use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

/// Number of an endpoint on its node, 1–65535. It has no meaning on another node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(NonZeroU16);

/// A text or number that is no endpoint id.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is no endpoint id: give a number from 1 to 65535")]
pub struct EndpointIdError {
    /// What was given.
    pub text: String,
}

impl EndpointId {
    /// The id with this number; `None` for 0.
    pub const fn new(number: u16) -> Option<Self> {
        match NonZeroU16::new(number) {
            Some(number) => Some(Self(number)),
            None => None,
        }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EndpointId {
    type Err = EndpointIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self).map_err(|_| EndpointIdError { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::EndpointId;

    #[test]
    fn zero_is_no_endpoint() {
        assert!(EndpointId::new(0).is_none() && "0".parse::<EndpointId>().is_err());
        assert_eq!("65535".parse::<EndpointId>().unwrap().get(), 65_535);
    }
}
