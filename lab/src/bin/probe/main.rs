//! Clients and servers for demo, tests and benchmarks: a single static program, so that it runs in any pod.
//!
//! A connection's first byte says what the server shall do with it: `e` echo, `s` swallow, `w` tell who the client
//! is; the first letter of an HTTP method gets an HTTP answer.

mod bench;
mod client;
mod load;
mod serve;
mod socket;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Clients and servers for tests of a pod network", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Do nothing but bury orphans: a pod's first process
    Pause,
    /// Answer on TCP and UDP ports, both families, telling the client's address as seen here
    Serve {
        /// TCP ports
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<u16>,
        /// UDP ports
        #[arg(long, value_delimiter = ',')]
        udp: Vec<u16>,
        /// TCP ports served one connection after the other on one thread, for `crr`
        #[arg(long, value_delimiter = ',')]
        inline: Vec<u16>,
        /// Run on this processor only
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// Connect once over TCP; exits 0 if the server answered
    Connect(Once),
    /// Ask once over UDP; exits 0 if the server answered
    Udp(Once),
    /// ICMP echo; exits 0 if every request was answered
    Ping {
        /// Address
        to: std::net::IpAddr,
        /// Number of requests
        #[arg(short, long, default_value_t = 1)]
        count: u16,
        /// Bytes after the ICMP header
        #[arg(short, long, default_value_t = 56)]
        size: usize,
        /// Milliseconds to wait for an answer
        #[arg(long, default_value_t = 1000)]
        timeout: u64,
        /// Milliseconds between requests
        #[arg(long, default_value_t = 200)]
        interval: u64,
        #[command(flatten)]
        output: OutputArg,
    },
    /// One byte there and back on one connection, as fast as it goes
    Rr(Bench),
    /// Connect, one byte there and back, reset: new connections a second (server: --inline)
    Crr {
        #[command(flatten)]
        bench: Bench,
        /// Walk through these source ports, LOW-HIGH
        #[arg(long, default_value = "20000-60000")]
        ports: String,
    },
    /// One connection, as many bytes as go through
    Stream(Bench),
    /// Keep connections open and used; counts what breaks
    Hold {
        #[command(flatten)]
        target: Load,
        /// Connections
        #[arg(short = 'n', long, default_value_t = 10)]
        connections: usize,
    },
    /// Open connection after connection; counts outcomes and when they changed
    Flood {
        #[command(flatten)]
        target: Load,
    },
}

/// One question to a server.
#[derive(Args)]
struct Once {
    /// ADDRESS:PORT, with brackets around an IPv6 address
    to: SocketAddr,
    /// Milliseconds until it counts as denied
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
    /// Bytes of a UDP question
    #[arg(long, default_value_t = 1)]
    size: usize,
    /// Source port
    #[arg(long)]
    source_port: Option<u16>,
    /// A TCP handshake is answer enough: for servers that are not ours
    #[arg(long)]
    handshake: bool,
    #[command(flatten)]
    output: OutputArg,
}

/// A measurement.
#[derive(Args)]
struct Bench {
    /// ADDRESS:PORT, with brackets around an IPv6 address
    to: SocketAddr,
    /// How long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Bytes of a message (rr) or of a write (stream)
    #[arg(long)]
    size: Option<usize>,
    /// Run on this processor only
    #[arg(long)]
    cpu: Option<usize>,
    #[command(flatten)]
    output: OutputArg,
}

/// Traffic under which something else happens.
#[derive(Args)]
struct Load {
    /// ADDRESS:PORT, with brackets around an IPv6 address
    to: SocketAddr,
    /// How long
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Milliseconds between attempts (flood) or between bytes (hold)
    #[arg(long, default_value_t = 10)]
    interval: u64,
    /// Milliseconds until an attempt counts as failed
    #[arg(long, default_value_t = 1000)]
    timeout: u64,
}

#[derive(Args)]
struct OutputArg {
    /// Form of the answer
    #[arg(short, long, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::from(2)
        }
    }
}

fn run(command: Command) -> Result<bool> {
    match command {
        Command::Pause => serve::pause(),
        Command::Serve { tcp, udp, inline, cpu } => serve::serve(&tcp, &udp, &inline, cpu),
        Command::Connect(o) => {
            let answer = client::connect(o.to, o.source_port, o.handshake, Duration::from_millis(o.timeout));
            answer.print(o.to, o.output.output)
        }
        Command::Udp(o) => {
            let answer = client::udp(o.to, o.source_port, o.size, Duration::from_millis(o.timeout));
            answer.print(o.to, o.output.output)
        }
        Command::Ping { to, count, size, timeout, interval, output } => {
            let (timeout, interval) = (Duration::from_millis(timeout), Duration::from_millis(interval));
            client::ping(to, count, size, timeout, interval)?.print(output.output)
        }
        Command::Rr(b) => {
            socket::pin(b.cpu)?;
            bench::rr(b.to, Duration::from_secs_f64(b.seconds), b.size.unwrap_or(1))?.print(b.output.output)
        }
        Command::Crr { bench: b, ports } => {
            socket::pin(b.cpu)?;
            let (low, high) = ports.split_once('-').context("--ports LOW-HIGH")?;
            bench::crr(b.to, Duration::from_secs_f64(b.seconds), low.parse()?..=high.parse()?)?
                .print(b.output.output)
        }
        Command::Stream(b) => {
            socket::pin(b.cpu)?;
            bench::stream(b.to, Duration::from_secs_f64(b.seconds), b.size.unwrap_or(128 << 10))?
                .print(b.output.output)
        }
        Command::Hold { target, connections } => load::hold(&target, connections),
        Command::Flood { target } => load::flood(&target),
    }
}
