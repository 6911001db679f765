//! The relay's own metrics, under the names of Cilium's where it has them.

use ::metrics::{Kind, Page};
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use relay::{Pool, Reached};

/// The routes.
pub(crate) fn routes(pool: Pool) -> Router {
    let answer = |State(pool): State<Pool>| async move {
        ([(CONTENT_TYPE, ::metrics::CONTENT_TYPE)], page(pool.reached()))
    };
    Router::new().route("/metrics", get(answer)).with_state(pool)
}

fn page(reached: Reached) -> String {
    let mut page = Page::default();
    let mut version = page.metric("hubble_relay_version", Kind::Gauge, "What runs");
    version.add(&[("version", env!("CARGO_PKG_VERSION")), ("arch", std::env::consts::ARCH)], 1.0);
    ::metrics::write_process(&mut page, "hubble_relay");
    let help = "Nodes by the state of the connection to them";
    let mut nodes = page.metric("hubble_relay_pool_peer_connection_status", Kind::Gauge, help);
    for (status, number) in
        [("CONNECTING", reached.not_yet), ("READY", reached.connected), ("TRANSIENT_FAILURE", reached.failed)]
    {
        nodes.add(&[("status", status)], number as f64);
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_stands_there_from_the_beginning() {
        let page = page(Reached { connected: 3, failed: 1, not_yet: 0 });
        for (status, number) in [("CONNECTING", 0), ("READY", 3), ("TRANSIENT_FAILURE", 1)] {
            let line = format!("hubble_relay_pool_peer_connection_status{{status=\"{status}\"}} {number}");
            assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
        }
    }
}
