use ipnet::IpNet;
use loader::{MapError, Plain, Table};
use netlink::{Netlink, NetlinkError, Route};
use reconcile::{Failed, Target};

/// A map that others read at the same time.
pub(crate) struct Shared<'a, K, V>(pub(crate) &'a Table<K, V>);

impl<K: Plain, V: Plain> Target<K, V> for Shared<'_, K, V> {
    type Error = MapError;

    fn upsert_batch(&mut self, items: &[(K, V)]) -> Vec<Failed<MapError>> {
        self.0.upsert_batch(items)
    }

    fn delete_batch(&mut self, keys: &[K]) -> Vec<Failed<MapError>> {
        self.0.delete_batch(keys)
    }

    fn dump(&mut self) -> Result<Vec<(K, V)>, MapError> {
        self.0.dump()
    }

    fn is_full(&self, error: &MapError) -> bool {
        error.is_full()
    }
}

/// The routes that carry our protocol number.
pub(super) struct RouteTarget<'a>(pub(super) &'a mut Netlink);

impl Target<IpNet, Route> for RouteTarget<'_> {
    type Error = NetlinkError;

    fn upsert_batch(&mut self, items: &[(IpNet, Route)]) -> Vec<Failed<NetlinkError>> {
        let results = items.iter().enumerate().map(|(i, (_, route))| (i, self.0.replace_route(route)));
        results.filter_map(|(i, result)| Some((i, result.err()?))).collect()
    }

    fn delete_batch(&mut self, keys: &[IpNet]) -> Vec<Failed<NetlinkError>> {
        // The kernel deletes by all fields; those that are there are asked for.
        let owned = match self.0.owned_routes() {
            Ok(owned) => owned,
            Err(error) => return vec![(0, error)],
        };
        let mut failed = Vec::new();
        for (i, key) in keys.iter().enumerate() {
            for route in owned.iter().filter(|r| r.destination == *key) {
                if let Err(error) = self.0.delete_route(route) {
                    failed.push((i, error));
                }
            }
        }
        failed
    }

    fn dump(&mut self) -> Result<Vec<(IpNet, Route)>, NetlinkError> {
        Ok(self.0.owned_routes()?.into_iter().map(|route| (route.destination, route)).collect())
    }
}
