//! Which server, and how to speak with it. Each of these can also stand in the environment (`HUBBLE_` and the name in
//! capitals) or in the configuration file.

use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Which server, and how long to wait for it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct Server {
    /// Address of the server: unix://PATH, HOST:PORT or tls://HOST:PORT
    #[arg(long, global = true, env = "HUBBLE_SERVER", default_value = "localhost:4245")]
    pub(crate) server: String,
    /// How long to wait for a connection
    #[arg(long, global = true, env = "HUBBLE_TIMEOUT", default_value = "5s", value_parser = crate::when::duration)]
    pub(crate) timeout: Duration,
    /// How long to wait for an answer (status, list)
    #[arg(
        long,
        global = true,
        env = "HUBBLE_REQUEST_TIMEOUT",
        default_value = "12s",
        value_parser = crate::when::duration
    )]
    pub(crate) request_timeout: Duration,
    /// Speak TLS; without this only with servers given as tls://
    #[arg(
        long,
        global = true,
        env = "HUBBLE_TLS",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        hide_possible_values = true
    )]
    pub(crate) tls: Flag,
    /// Believe any certificate. Whoever stands between can then read everything
    #[arg(
        long,
        global = true,
        env = "HUBBLE_TLS_ALLOW_INSECURE",
        default_value = "false",
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        hide_possible_values = true
    )]
    pub(crate) tls_allow_insecure: Flag,
    /// Certificates of the authorities to believe, PEM files; without any, those that this machine believes
    #[arg(long, global = true, env = "HUBBLE_TLS_CA_CERT_FILES", value_delimiter = ',', value_name = "FILE")]
    pub(crate) tls_ca_cert_files: Vec<PathBuf>,
    /// Certificate to show to the server, a PEM file
    #[arg(long, global = true, env = "HUBBLE_TLS_CLIENT_CERT_FILE", default_value = "", value_name = "FILE")]
    pub(crate) tls_client_cert_file: String,
    /// Private key of that certificate, a PEM file
    #[arg(long, global = true, env = "HUBBLE_TLS_CLIENT_KEY_FILE", default_value = "", value_name = "FILE")]
    pub(crate) tls_client_key_file: String,
    /// The name that the server's certificate must be for, if not that of its address
    #[arg(long, global = true, env = "HUBBLE_TLS_SERVER_NAME", default_value = "", value_name = "NAME")]
    pub(crate) tls_server_name: String,
    /// User name of basic authentication; only with TLS
    #[arg(long, global = true, env = "HUBBLE_BASIC_AUTH_USERNAME", default_value = "", value_name = "NAME")]
    pub(crate) basic_auth_username: String,
    /// Password of basic authentication
    #[arg(
        long,
        global = true,
        env = "HUBBLE_BASIC_AUTH_PASSWORD",
        hide_env_values = true,
        default_value = "",
        value_name = "PASSWORD"
    )]
    pub(crate) basic_auth_password: String,
}

/// Yes or no, as flags, environment and files write it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Flag {
    /// No.
    #[default]
    False,
    /// Yes.
    True,
}

impl Flag {
    /// Whether it is set.
    pub(crate) fn is_set(self) -> bool {
        self == Flag::True
    }
}
