use serde_json::json;

use crate::mock::{Answer, Server, status};

#[tokio::test]
async fn lists_are_read_page_by_page_and_items_get_their_kind() {
    let (clients, server) = Server::new(|number, _| {
        let next = if number == 0 { "a b" } else { "" };
        let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": { "continue": next },
            "items": [{ "metadata": { "name": number.to_string() }, "spec": 7 }] });
        Answer::Json(200, list)
    });
    let pods = clients.read_all("/api/v1/pods").await.unwrap();
    assert_eq!(
        pods,
        [0, 1].map(|number| {
            json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": number.to_string() }, "spec": 7 })
        })
    );
    let asked: Vec<String> = server.seen().into_iter().map(|seen| seen.uri).collect();
    assert_eq!(asked, ["/api/v1/pods?limit=500", "/api/v1/pods?limit=500&continue=a%20b"]);
}

#[tokio::test]
async fn a_kind_that_the_server_does_not_have_is_told_apart() {
    let (clients, _) = Server::new(|_, _| Answer::Json(404, status(404, "NotFound")));
    let error = clients.read_all("/apis/cilium.io/v2/x").await.unwrap_err();
    assert!(error.is_not_found());
    assert_eq!(error.to_string(), "read /apis/cilium.io/v2/x ");
}
