//! From `[[outbound.route]]` to the routes of a listener: which hosts, where to, and who must be there.

use std::collections::HashMap;

use super::super::fault::Spot;
use super::super::field::{Many, Placed};
use super::super::file::RouteTable;
use super::super::read::RouteSpots;
use super::super::{ExpectTemplate, ListenAddress, Route, TargetTemplate};
use super::rules::EXPECT_HINT;
use super::{Reader, TARGET_HINT, unique_name};
use crate::policy::HostPattern;

/// Of one listener.
const MAX_ROUTES: usize = 1000;
/// Of one route.
const MAX_HOSTS: usize = 1000;

impl Reader<'_, '_> {
    /// The routes, no two of them for the very same hosts.
    pub(super) fn routes(
        &mut self,
        listen: Option<&Placed<ListenAddress>>,
        tables: Vec<Placed<RouteTable>>,
    ) -> Vec<(Route, RouteSpots)> {
        if let Some(table) = tables.get(MAX_ROUTES) {
            let message = format!("there are {} routes; {MAX_ROUTES} are read at most", tables.len());
            self.faults.add(table.at, message);
            return Vec::new();
        }
        let mut names = HashMap::new();
        let mut taken = HashMap::new();
        let mut routes = Vec::new();
        for (index, Placed { at, value: table }) in tables.into_iter().enumerate() {
            let (what, default) = ("two routes of this listener", format!("route-{}", index + 1));
            let name = unique_name(self.faults, &mut names, what, at, table.name, default);
            let hosts = self.hosts(at, table.hosts);
            self.not_taken(&mut taken, &hosts);
            let targets = self.route_targets(at, listen, table.target);
            let expect = self.patterns(at, "expect", EXPECT_HINT, table.expect);
            self.captured(&hosts, &targets, &expect);
            let spots = RouteSpots {
                targets: targets.iter().map(|target| target.at).collect(),
                expect: expect.iter().map(|pattern| pattern.at).collect(),
            };
            let route = Route {
                name,
                hosts: hosts.into_iter().map(|host| host.value).collect(),
                targets: targets.into_iter().map(|target| target.value).collect(),
                expect: expect.into_iter().map(|pattern| pattern.value).collect(),
                server_name: table.server_name.value(self.faults),
            };
            routes.push((route, spots));
        }
        routes
    }

    fn hosts(&mut self, route: Spot, field: Many<HostPattern>) -> Vec<Placed<HostPattern>> {
        let hint = "say which hosts the route is for, such as `hosts = [\"orders.example\", \"*.orders.example\"]`";
        let Some(list) = self.list(route, "hosts", hint, field) else {
            return Vec::new();
        };
        self.at_most(&list, MAX_HOSTS, "hosts");
        list.items
    }

    /// The very same pattern twice leaves open which of them is meant.
    fn not_taken(&mut self, taken: &mut HashMap<HostPattern, Spot>, hosts: &[Placed<HostPattern>]) {
        for host in hosts {
            if let Some(first) = taken.get(&host.value) {
                let hint = format!("the other one is at {}", self.faults.place(*first));
                self.faults.add_with_hint(host.at, format!("`{}` is routed twice", host.value), hint);
            }
            taken.entry(host.value.clone()).or_insert(host.at);
        }
    }

    fn route_targets(
        &mut self,
        route: Spot,
        listen: Option<&Placed<ListenAddress>>,
        field: Many<TargetTemplate>,
    ) -> Vec<Placed<TargetTemplate>> {
        let targets = self.targets(route, TARGET_HINT, field).unwrap_or_default();
        for target in &targets {
            if let (Some(listen), Some(fixed)) = (listen, target.value.fixed()) {
                self.no_loop(listen, target.at, fixed);
            }
        }
        targets
    }

    /// Every host of a route must give what its templates take.
    fn captured(
        &mut self,
        hosts: &[Placed<HostPattern>],
        targets: &[Placed<TargetTemplate>],
        expect: &[Placed<ExpectTemplate>],
    ) {
        let Some(least) = hosts.iter().map(|host| &host.value).min_by_key(|host| host.captures()) else {
            return;
        };
        let targets = targets.iter().map(|target| (target.at, target.value.needs()));
        let needs = targets.chain(expect.iter().map(|pattern| (pattern.at, pattern.value.needs())));
        for (at, needs) in needs.filter(|(_, needs)| *needs > least.captures()) {
            let message = format!("`{{{}}}` is a label that the host `{least}` does not capture", needs - 1);
            let labels = (0..needs).map(|number| format!("{{{number}}}.")).collect::<String>();
            self.faults.add_with_hint(
                at,
                message,
                format!("write every host of the route with it, as in `{labels}svc`"),
            );
        }
    }
}
