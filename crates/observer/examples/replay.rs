//! Serves the flows of a file (`hubble observe -o json`) on a unix socket, for trying clients without a cluster:
//! `cargo run -p axoneme-observer --example replay -- FILE SOCKET [SOCKET-OF-ANOTHER...]`. A relay finds all of them by the
//! first (`hubble-relay serve --peer-service unix://SOCKET`).

use axoneme_observer::{Config, Observer, Peer};
use flow::Flow;
use hubble_pb::observer::GetFlowsResponse;
use hubble_pb::observer::get_flows_response::ResponseTypes;
use std::error::Error;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(file), Some(socket)) = (arguments.next(), arguments.next()) else {
        return Err("write: replay FILE SOCKET [SOCKET-OF-ANOTHER...]".into());
    };
    let config = Config { node_name: "default/n1".into(), version: "replay".into(), capacity: 65_535 };
    let observer = Observer::new(config);
    for line in std::fs::read_to_string(file)?.lines().filter(|line| !line.is_empty()) {
        let response: GetFlowsResponse = serde_json::from_str(line)?;
        match response.response_types {
            Some(ResponseTypes::Flow(flow)) => observer.push(Flow::try_from(flow)?),
            other => return Err(format!("{other:?} is no flow").into()),
        }
    }
    let sockets = [socket.clone()].into_iter().chain(arguments);
    let peer = |(number, socket): (usize, String)| Peer {
        name: format!("default/n{}", number + 1),
        address: format!("unix://{socket}"),
        tls_server_name: None,
    };
    observer.set_peers(sockets.enumerate().map(peer).collect());
    let listener = tokio::net::UnixListener::bind(socket)?;
    Ok(observer.serve_unix(listener, std::future::pending()).await?)
}
