//! where an object of the cluster is: its group, its plural, its path
//!
//! The kinds that Kubernetes itself scales are known; of any other, the API server says once what its plural is and whether it can be
//! scaled.

use super::client::{Call, Client};
use super::refusal::{Deed, Refusal, Why};
use hyper::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::APIResourceList;
use tokio::time::Instant;

/// Kinds that are known, with API and plural.
pub const KNOWN: &[(&str, &str, &str)] = &[
    ("Deployment", "apps/v1", "deployments"),
    ("StatefulSet", "apps/v1", "statefulsets"),
    ("ReplicaSet", "apps/v1", "replicasets"),
    ("ReplicationController", "v1", "replicationcontrollers"),
];

/// An object that can be scaled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// the API group; empty for the core
    pub group: String,
    /// its version
    pub version: String,
    /// `deployments`
    pub plural: String,
    /// where it is
    pub namespace: String,
    /// its name
    pub name: String,
}

impl Place {
    /// Finds it: a known kind at once, any other by asking.
    pub async fn find(
        client: &Client,
        (kind, api_version): (&str, &str),
        namespace: &str,
        name: &str,
        until: Instant,
    ) -> Result<Place, Refusal> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let known = KNOWN.iter().find(|known| (known.0, known.1) == (kind, api_version));
        let plural = match known {
            Some((_, _, plural)) => (*plural).to_owned(),
            None => plural(client, (group, version), kind, until).await?,
        };
        let text = str::to_owned;
        Ok(Place { group: text(group), version: text(version), plural, namespace: text(namespace), name: text(name) })
    }

    /// The object's path, with a subresource if one is named.
    pub fn path(&self, subresource: &str) -> String {
        let Place { group, version, plural, namespace, name } = self;
        let api = if group.is_empty() { "/api".to_owned() } else { format!("/apis/{group}") };
        let slash = if subresource.is_empty() { "" } else { "/" };
        format!("{api}/{version}/namespaces/{namespace}/{plural}/{name}{slash}{subresource}")
    }

    /// What is done to it.
    pub fn deed(&self, verb: &'static str, subresource: &str) -> Deed {
        let resource = match subresource {
            "" => self.plural.clone(),
            _ => format!("{}/{subresource}", self.plural),
        };
        let (group, name, namespace) = (self.group.clone(), self.name.clone(), self.namespace.clone());
        Deed { verb, group, resource, name, namespace }
    }
}

/// The plural of a kind, if it can be scaled.
async fn plural(
    client: &Client,
    (group, version): (&str, &str),
    kind: &str,
    until: Instant,
) -> Result<String, Refusal> {
    let path = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    let deed = Deed {
        verb: "get",
        group: group.to_owned(),
        resource: format!("the list of resources {path}"),
        name: kind.to_owned(),
        namespace: "*".to_owned(),
    };
    let call = Call { deed: &deed, method: Method::GET, path, body: Vec::new(), until, may: &|| true };
    let body = client.send(&call).await?;
    let list: APIResourceList =
        serde_json::from_slice(&body).map_err(|error| Refusal::other(&deed, Why::Other, error))?;
    let found = list.resources.iter().find(|resource| resource.kind == kind && !resource.name.contains('/'));
    let Some(found) = found else {
        return Err(Refusal::other(
            &deed,
            Why::Missing,
            format!("there is no kind `{kind}` in it; look at `kind` and `api_version`"),
        ));
    };
    let scale = format!("{}/scale", found.name);
    match list.resources.iter().any(|resource| resource.name == scale) {
        true => Ok(found.name.clone()),
        false => Err(Refusal::other(
            &deed,
            Why::Missing,
            format!("`{kind}` has no scale subresource, so it cannot be scaled"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_those_of_the_api() {
        let place = |group: &str, plural: &str| Place {
            group: group.to_owned(),
            version: "v1".to_owned(),
            plural: plural.to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        let deployment = place("apps", "deployments");
        assert_eq!(deployment.path("scale"), "/apis/apps/v1/namespaces/shop/deployments/web/scale");
        let controller = place("", "replicationcontrollers");
        assert_eq!(controller.path(""), "/api/v1/namespaces/shop/replicationcontrollers/web");
        assert_eq!(deployment.deed("get", "scale").to_string(), "get deployments/scale `web` in namespace `shop`");
    }
}
