//! `NAME:OPTION=VALUE;OPTION`.

/// A metric that cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// There is no such metric.
    #[error("hubble metric {name:?} is unknown: there are {known}")]
    Name {
        /// What was asked for.
        name: String,
        /// What there is.
        known: &'static str,
    },
    /// It was asked for more than once.
    #[error("hubble metric {name} is in the list twice: put all options into one entry")]
    Twice {
        /// Which.
        name: String,
    },
    /// An option that this metric does not have.
    #[error(
        "hubble metric {name} has no option {option:?}: it has labelsContext, source- and destination contexts{own}"
    )]
    Option {
        /// Which metric.
        name: &'static str,
        /// What was asked for.
        option: String,
        /// Options of this metric alone.
        own: String,
    },
    /// A context that there is not.
    #[error("hubble metric option {option}={value}: {value} is no context; there are {known}")]
    Context {
        /// The option.
        option: String,
        /// The member of its value.
        value: String,
        /// What there is.
        known: &'static str,
    },
}

/// The options of one metric, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    pub(crate) name: &'a str,
    pub(crate) options: Vec<(&'a str, &'a str)>,
}

impl<'a> Options<'a> {
    pub(crate) fn read(text: &'a str) -> Self {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        let options = options.split(';').map(str::trim).filter(|option| !option.is_empty());
        let options = options.map(|option| option.split_once('=').unwrap_or((option, ""))).collect();
        Self { name: name.trim(), options }
    }

    /// Whether an option is there that is on by its name alone.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.options
            .iter()
            .any(|(option, value)| option.eq_ignore_ascii_case(name) && !value.eq_ignore_ascii_case("false"))
    }
}
