//! Writing to the API server. Nothing here tries twice: who calls knows whether the wish still holds.
//!
//! Objects that several writers share (nodes) are written by server-side apply: each manager owns the fields that it
//! sends, and a field that it no longer sends is removed.

use std::fmt::Debug;
use std::time::Duration;

use k8s_openapi::ClusterResourceScope;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::NamespaceResourceScope;
use kube::{Resource, ResourceExt};
use kube_api::{CiliumIdentity, Conditioned, PolicyCondition, SCHEMA_VERSION_LABEL};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::change::Key;
use crate::clients::Clients;
use crate::error::ApiError;

/// How long one request may take.
const REQUEST: Duration = Duration::from_secs(15);

/// Scope of a kind: how its objects are reached. Lets one function serve kinds with and without a namespace.
pub trait Scoped: Sized {
    /// The API for objects in a namespace; cluster-scoped kinds ignore it.
    fn api<K: Resource<DynamicType = (), Scope = Self>>(client: kube::Client, namespace: &str) -> Api<K>;
}

impl Scoped for NamespaceResourceScope {
    fn api<K: Resource<DynamicType = (), Scope = Self>>(client: kube::Client, namespace: &str) -> Api<K> {
        Api::namespaced(client, namespace)
    }
}

impl Scoped for ClusterResourceScope {
    fn api<K: Resource<DynamicType = (), Scope = Self>>(client: kube::Client, _: &str) -> Api<K> {
        Api::all(client)
    }
}

/// Kinds that can be written here.
pub trait Object:
    Resource<DynamicType = (), Scope: Scoped> + Clone + Debug + DeserializeOwned + Serialize
{
}
impl<K: Resource<DynamicType = (), Scope: Scoped> + Clone + Debug + DeserializeOwned + Serialize> Object
    for K
{
}

/// How a creation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Created<K> {
    /// The object is new.
    New(K),
    /// An object of this name is there already; this is it.
    Exists(K),
}

impl Clients {
    /// One object.
    ///
    /// # Errors
    /// [`ApiError`]; `is_not_found` when there is none.
    pub async fn get<K: Object>(&self, key: &Key) -> Result<K, ApiError> {
        request::<K, _>("get", &key.to_string(), self.api::<K>(key).get(&key.name)).await
    }

    /// All objects of a kind that a label selector selects (empty: all), read from the storage and not from a cache.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list<K: Object>(&self, labels: &str) -> Result<Vec<K>, ApiError> {
        let api: Api<K> = Api::all(self.client());
        let mut params = ListParams::default().limit(500);
        params.label_selector = (!labels.is_empty()).then(|| labels.to_owned());
        let mut objects = Vec::new();
        loop {
            let page = request::<K, _>("list", "", api.list(&params)).await?;
            objects.extend(page.items);
            params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(objects);
            }
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// [`ApiError`]; `is_already_exists` when there is one.
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, ApiError> {
        let key = Key::of(object);
        request::<K, _>(
            "create",
            &key.to_string(),
            self.api::<K>(&key).create(&PostParams::default(), object),
        )
        .await
    }

    /// Creates an object, or returns the one that has its name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_or_get<K: Object>(&self, object: &K) -> Result<Created<K>, ApiError> {
        match self.create(object).await {
            Ok(object) => Ok(Created::New(object)),
            Err(error) if error.is_already_exists() => self.get(&Key::of(object)).await.map(Created::Exists),
            Err(error) => Err(error),
        }
    }

    /// Creates or changes an object by server-side apply: afterwards it has what `object` says, and what `manager` set
    /// before and `object` does not say is gone. Fields of others stay.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn apply<K: Object>(&self, manager: &str, object: &K) -> Result<K, ApiError> {
        let key = Key::of(object);
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(without_server_fields(object));
        request::<K, _>("apply", &key.to_string(), self.api::<K>(&key).patch(&key.name, &params, &patch))
            .await
    }

    /// As [`Clients::apply`], for the status of kinds that have it apart (nodes and policies; not endpoints).
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn apply_status<K: Object>(&self, manager: &str, object: &K) -> Result<K, ApiError> {
        let key = Key::of(object);
        let params = PatchParams::apply(manager).force();
        let patch = Patch::Apply(without_server_fields(object));
        let api = self.api::<K>(&key);
        request::<K, _>("apply the status of", &key.to_string(), api.patch_status(&key.name, &params, &patch))
            .await
    }

    /// Changes an object by a JSON merge patch.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn merge<K: Object>(&self, key: &Key, patch: &Value) -> Result<K, ApiError> {
        let params = PatchParams::default();
        request::<K, _>(
            "patch",
            &key.to_string(),
            self.api::<K>(key).patch(&key.name, &params, &Patch::Merge(patch)),
        )
        .await
    }

    /// Deletes an object, if it still is the one meant: `uid` and `version` are checked where they are given.
    /// An object that is gone already is a success.
    ///
    /// # Errors
    /// [`ApiError`]; `is_conflict` when the object is another one by now.
    pub async fn delete<K: Object>(
        &self,
        key: &Key,
        uid: Option<&str>,
        version: Option<&str>,
    ) -> Result<(), ApiError> {
        let params = DeleteParams {
            preconditions: (uid.is_some() || version.is_some()).then(|| Preconditions {
                uid: uid.map(str::to_owned),
                resource_version: version.map(str::to_owned),
            }),
            ..DeleteParams::default()
        };
        match request::<K, _>("delete", &key.to_string(), self.api::<K>(key).delete(&key.name, &params)).await
        {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Allocates an identity number: creates the object, unless the number is taken.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn create_identity(
        &self,
        identity: &CiliumIdentity,
    ) -> Result<Created<CiliumIdentity>, ApiError> {
        self.create_or_get(identity).await
    }

    /// Writes a condition of a policy, unless it says the same already; tells whether it wrote. The others stay as they were
    /// when the policy was read, so two are written one after the other, each over what the other left.
    ///
    /// # Errors
    /// [`ApiError`]. A policy that is gone by now is no error.
    pub async fn set_policy_condition<K: Object + Conditioned>(
        &self,
        policy: &K,
        mut condition: PolicyCondition,
    ) -> Result<bool, ApiError> {
        let conditions = policy.conditions();
        if let Some(now) = conditions.iter().find(|now| now.kind == condition.kind) {
            if (&now.status, &now.message, &now.reason)
                == (&condition.status, &condition.message, &condition.reason)
            {
                return Ok(false);
            }
            if now.status == condition.status {
                condition.last_transition_time.clone_from(&now.last_transition_time);
            }
        }
        let mut all: Vec<_> =
            conditions.iter().filter(|other| other.kind != condition.kind).cloned().collect();
        all.push(condition);
        let key = Key::of(policy);
        let patch = Patch::Merge(json!({ "status": { "conditions": all } }));
        let (api, params) = (self.api::<K>(&key), PatchParams::default());
        let answer = api.patch_status(&key.name, &params, &patch);
        match request::<K, _>("patch the status of", &key.to_string(), answer).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the taints of that key from a Kubernetes node; tells whether there were any.
    ///
    /// # Errors
    /// [`ApiError`]; `is_conflict` when the node changed meanwhile.
    pub async fn remove_node_taint(&self, node: &Node, taint_key: &str) -> Result<bool, ApiError> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let left: Vec<&Taint> = taints.iter().filter(|taint| taint.key != taint_key).collect();
        if left.len() == taints.len() {
            return Ok(false);
        }
        self.set_taints(node, &json!(left)).await.map(|()| true)
    }

    /// Adds a taint to a Kubernetes node, unless it has one of that key and effect; tells whether it did.
    ///
    /// # Errors
    /// [`ApiError`]; `is_conflict` when the node changed meanwhile.
    pub async fn add_node_taint(&self, node: &Node, taint: &Taint) -> Result<bool, ApiError> {
        let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        if taints.iter().any(|other| other.key == taint.key && other.effect == taint.effect) {
            return Ok(false);
        }
        let all: Vec<&Taint> = taints.iter().chain([taint]).collect();
        self.set_taints(node, &json!(all)).await.map(|()| true)
    }

    /// The list is written whole, so only over the version that it was made from.
    async fn set_taints(&self, node: &Node, taints: &Value) -> Result<(), ApiError> {
        let patch = json!({
            "metadata": { "resourceVersion": node.resource_version() },
            "spec": { "taints": taints },
        });
        self.merge::<Node>(&Key::of(node), &patch).await.map(drop)
    }

    /// Sets one condition of a Kubernetes node (`NetworkUnavailable`); the others stay.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn set_node_condition(&self, node: &str, condition: &NodeCondition) -> Result<(), ApiError> {
        let key = Key::new("", node);
        // Conditions are merged by their type.
        let patch = Patch::Strategic(json!({ "status": { "conditions": [condition] } }));
        let api = self.api::<Node>(&key);
        request::<Node, _>(
            "patch the status of",
            node,
            api.patch_status(node, &PatchParams::default(), &patch),
        )
        .await
        .map(drop)
    }

    /// Registers a custom resource, unless one with a newer schema is there; tells whether it wrote.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn register_crd(
        &self,
        manager: &str,
        crd: &CustomResourceDefinition,
    ) -> Result<bool, ApiError> {
        let version = |crd: &CustomResourceDefinition| {
            crd.labels().get(SCHEMA_VERSION_LABEL).map_or_else(Vec::new, |text| version_parts(text))
        };
        match self.get::<CustomResourceDefinition>(&Key::of(crd)).await {
            Ok(present) if version(&present) > version(crd) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        self.apply(manager, crd).await.map(|_| true)
    }

    fn api<K: Object>(&self, key: &Key) -> Api<K> {
        <K::Scope as Scoped>::api(self.client(), &key.namespace)
    }
}

/// `1.34.0` as numbers, so that 1.9 is less than 1.34.
fn version_parts(text: &str) -> Vec<u32> {
    text.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

/// What may be sent in an apply: the server refuses `managedFields`, and a version would make it a condition.
fn without_server_fields<K: Object>(object: &K) -> K {
    let mut object = object.clone();
    let meta = object.meta_mut();
    meta.managed_fields = None;
    meta.resource_version = None;
    meta.uid = None;
    meta.creation_timestamp = None;
    meta.generation = None;
    object
}

async fn request<K: Resource<DynamicType = ()>, T>(
    verb: &'static str,
    name: &str,
    answer: impl Future<Output = kube::Result<T>>,
) -> Result<T, ApiError> {
    let failed = |source| ApiError {
        verb,
        kind: K::kind(&()).into_owned(),
        name: name.to_owned(),
        source: Box::new(source),
    };
    match timeout(REQUEST, answer).await {
        Ok(answer) => answer.map_err(failed),
        Err(elapsed) => Err(failed(kube::Error::Service(Box::new(elapsed)))),
    }
}

#[cfg(test)]
mod tests;
