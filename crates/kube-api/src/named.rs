//! Services and addresses listed for them, as far as policies name them.

use k8s_openapi::api::core::v1::Service as Object;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use policy::{AddressList, ObjectName, Service};
use types::Label;

/// A service, as far as policies name it.
#[must_use]
pub fn named_service(service: &Object) -> Service {
    let labels = service.metadata.labels.iter().flatten();
    let labels = labels.map(|(key, value)| Label::k8s(key, value)).collect();
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.clone()).unwrap_or_default();
    Service { name: object_name(&service.metadata), labels, selector }
}

/// The addresses of an EndpointSlice; `None` if it belongs to no service.
#[must_use]
pub fn address_list(slice: &EndpointSlice) -> Option<AddressList> {
    let service = slice.metadata.labels.as_ref()?.get("kubernetes.io/service-name")?.clone();
    let texts = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
    let addresses = texts.filter_map(|text| text.parse().ok()).collect();
    Some(AddressList { name: object_name(&slice.metadata), service, addresses })
}

fn object_name(meta: &ObjectMeta) -> ObjectName {
    ObjectName {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}
