//! The server side.

use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::wait::wait;
use serde_json::json;

use crate::socket::pin;

/// Waits for orphans for ever.
pub(crate) fn pause() -> Result<bool> {
    loop {
        if wait() == Err(Errno::ECHILD) {
            thread::sleep(Duration::from_secs(1));
        }
    }
}

/// Serves until killed.
pub(crate) fn serve(tcp: &[u16], udp: &[u16], inline: &[u16], cpu: Option<usize>) -> Result<bool> {
    ensure!(
        !(tcp.is_empty() && udp.is_empty() && inline.is_empty()),
        "no port to serve: --tcp, --udp or --inline"
    );
    pin(cpu)?;
    let mut threads = Vec::new();
    for port in tcp {
        let listener = listen(*port)?;
        threads.push(thread::spawn(move || accept(&listener)));
    }
    for port in inline {
        let listener = listen(*port)?;
        threads.push(thread::spawn(move || accept_inline(&listener)));
    }
    for port in udp {
        let socket =
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, *port)).or_else(|_| UdpSocket::bind(("0.0.0.0", *port)));
        let socket = socket.with_context(|| format!("cannot serve UDP port {port}"))?;
        threads.push(thread::spawn(move || answer_datagrams(&socket)));
    }
    for thread in threads {
        // They serve for ever; one that ended has failed.
        let _ = thread.join();
    }
    Ok(false)
}

/// A dual-stack socket; IPv4 alone where the host has no IPv6.
fn listen(port: u16) -> Result<TcpListener> {
    TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
        .or_else(|_| TcpListener::bind(("0.0.0.0", port)))
        .with_context(|| format!("cannot serve TCP port {port}"))
}

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        let spawned = thread::Builder::new().stack_size(128 << 10).spawn(move || handle(stream));
        if let Err(e) = spawned {
            eprintln!("cannot serve a connection: {e}");
        }
    }
}

fn accept_inline(listener: &TcpListener) {
    let mut byte = [0];
    for mut stream in listener.incoming().flatten() {
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
    }
}

/// One connection to its end. Errors end it; they are the client's to count.
fn handle(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 256 << 10];
    let Ok(n @ 1..) = stream.read(&mut buffer) else { return };
    let _ = match buffer[0] {
        b'e' => stream.write_all(&buffer[..n]).and_then(|()| echo(&mut stream, &mut buffer)),
        b's' => swallow(&mut stream, &mut buffer),
        b'G' | b'P' | b'H' | b'D' | b'O' => http(&mut stream, &buffer[..n]),
        _ => stream.write_all(&who(&stream)),
    };
}

fn echo(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    loop {
        match stream.read(buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}

fn swallow(stream: &mut TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    while stream.read(buffer)? > 0 {}
    Ok(())
}

/// One answer a connection; the body tells who asked for what.
fn http(stream: &mut TcpStream, request: &[u8]) -> std::io::Result<()> {
    let text = String::from_utf8_lossy(request);
    let line = text.lines().next().unwrap_or_default();
    let mut body = serde_json::to_vec(&json!({
        "request": line,
        "client": peer(stream.peer_addr()),
        "server": peer(stream.local_addr()),
        "host": host(),
    }))?;
    body.push(b'\n');
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(&body)
}

fn who(stream: &TcpStream) -> Vec<u8> {
    format!("{} {}\n", peer(stream.peer_addr()), host()).into_bytes()
}

fn answer_datagrams(socket: &UdpSocket) {
    let mut buffer = vec![0; 64 << 10];
    let host = host();
    while let Ok((n, from)) = socket.recv_from(&mut buffer) {
        let mut answer = format!("{} {host}\n", canonical(from)).into_bytes();
        // As long as the question, so that a large one tests both directions.
        answer.resize(n.max(answer.len()), b'.');
        let _ = socket.send_to(&answer, from);
    }
}

fn peer(address: std::io::Result<SocketAddr>) -> String {
    address.map_or_else(|e| e.to_string(), |a| canonical(a).to_string())
}

/// IPv4 as IPv4, though it came through a dual-stack socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn host() -> String {
    nix::unistd::gethostname().map_or_else(|_| "?".into(), |h| h.to_string_lossy().into_owned())
}
