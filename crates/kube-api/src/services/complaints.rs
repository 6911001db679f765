//! What is wrong with a Service, for its author.

use std::fmt::Display;
use std::net::IpAddr;

use services::ObjectName;

/// Parts of one Service that do not count.
pub(super) struct Complaints {
    name: ObjectName,
    /// A sentence each.
    pub(super) texts: Vec<String>,
}

impl Complaints {
    pub(super) fn of(name: &ObjectName) -> Self {
        Self { name: name.clone(), texts: Vec::new() }
    }

    /// `problem` says what is wrong with the value of a field, and the cure.
    pub(super) fn add(&mut self, field: impl Display, value: &str, problem: &str) {
        self.texts.push(format!("service {}: {field}: {value:?} {problem}", self.name));
    }

    /// Reads an address.
    pub(super) fn address(&mut self, field: impl Display, text: &str) -> Option<IpAddr> {
        let read = super::address(text);
        if read.is_none() {
            self.add(field, text, "is no address and does not count: write an IPv4 or IPv6 address");
        }
        read
    }
    /// Reads a port of nodes; 0 is none.
    pub(super) fn node_port(&mut self, field: impl Display, number: Option<i32>) -> u16 {
        let Some(number) = number.filter(|number| *number != 0) else { return 0 };
        super::port_number(number).unwrap_or_else(|| {
            self.add(
                field,
                &number.to_string(),
                "is no port and does not count: write a number from 1 to 65535",
            );
            0
        })
    }
}
