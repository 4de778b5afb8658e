//! Two units of one set of manifests: `stable`, which is the manifests as they are, and `canary`, a copy of what stands
//! behind their Services. What each of them has at a share of the traffic is decided here. Pure: it knows no cluster.
//!
//! By replicas, both have the labels that the Service selects, and the share is that of the pods. By a route, the copy
//! has labels and a Service of its own, so that nobody reaches it but by the route's weights.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use vice_core::manifest::{TRACKS, TrafficSpec};
use vice_core::payload::{ReleaseRef, version_in};
use vice_core::port::target::Weight;
use vice_core::{Code, Fault, Result};

use super::object::{ObjectId, rank};
use super::reference::rename;

/// All of the traffic, in basis points.
pub(super) const WHOLE: u32 = 10_000;
/// What the copies are called after.
const SUFFIX: &str = "-canary";
/// The longest name that a Service and the value of a label may have.
const NAME_MAX: usize = 63;
/// On the pods of the copies, where nothing else tells them apart.
pub(super) const TRACK: &str = "vice.dev/track";
/// The largest weight of the Gateway API.
const WEIGHT_MAX: u64 = 1_000_000;

/// Which of the two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Track {
    /// The copy that tries a release out.
    Canary,
    /// The manifests as they are.
    Stable,
}

impl Track {
    /// Both, in the order in which they get a release.
    pub(super) const ALL: [Self; 2] = [Self::Canary, Self::Stable];

    /// The name of the unit.
    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Canary => TRACKS[0],
            Self::Stable => TRACKS[1],
        }
    }

    /// The other one.
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Canary => Self::Stable,
            Self::Stable => Self::Canary,
        }
    }
}

/// How one of the two is made of the manifests.
#[derive(Debug, Clone)]
pub(super) struct Split {
    pub(super) how: TrafficSpec,
    pub(super) track: Track,
    /// The weights in force.
    pub(super) weights: Vec<Weight>,
    /// What the other unit runs.
    pub(super) other: Option<ReleaseRef>,
}

/// The canary's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Its share of the traffic in basis points.
    pub(super) share: u32,
    /// Whether it runs something else than the other; otherwise it waits without pods.
    pub(super) apart: bool,
}

/// The entry of a table that is about a release: its own, or that of its version.
fn entry<'w>(weights: &'w [Weight], release: &ReleaseRef) -> Option<&'w Weight> {
    let full = release.full_name();
    let named = |name: &str| weights.iter().find(|weight| weight.version == name);
    named(&full).or_else(|| named(version_in(&full)))
}

/// What the canary gets by these weights: nothing where they say nothing of the two, or the same.
pub(super) fn part(weights: &[Weight], stable: Option<&ReleaseRef>, canary: Option<&ReleaseRef>) -> Part {
    let (Some(stable), Some(canary)) = (stable, canary) else { return Part { share: 0, apart: false } };
    if stable.runs_like(canary) {
        return Part { share: 0, apart: false };
    }
    let (old, new) = (entry(weights, stable), entry(weights, canary));
    if old == new {
        return Part { share: 0, apart: true };
    }
    let points = |weight: Option<&Weight>| weight.map_or(0, |weight| u64::from(weight.basis_points));
    let (old, new) = (points(old), points(new));
    let share = (new * u64::from(WHOLE)).checked_div(old + new).unwrap_or(0);
    Part { share: u32::try_from(share).unwrap_or(0), apart: true }
}

/// How many of these replicas a share is: the nearest number, half a replica rounded up.
pub(super) fn nearest(replicas: u64, share: u32) -> u64 {
    (replicas * u64::from(share) + u64::from(WHOLE) / 2) / u64::from(WHOLE)
}

/// Refuses a share that comes to no pod, or to all of them.
///
/// # Errors
/// `Usage`, with what could be said instead.
pub(super) fn expressible(objects: &[Value], how: &TrafficSpec, share: u32) -> Result<()> {
    if *how != TrafficSpec::Replicas || share == 0 || share == WHOLE {
        return Ok(());
    }
    for deployment in behind(objects, how) {
        let count = replicas(deployment);
        let pods = nearest(count, share);
        if pods == 0 || pods >= count {
            let id = ObjectId::of(deployment).map(|id| id.to_string()).unwrap_or_default();
            let message = format!("{count} replicas of {id} can't express {} % of the traffic.", percent(share));
            return Err(Fault::new(Code::Usage, message).hint(format!(
                "They can express {}. More replicas, or weights of an HTTPRoute, make finer steps.",
                steps(count)
            )));
        }
    }
    Ok(())
}

fn percent(points: u32) -> String {
    format!("{:.2}", f64::from(points) / 100.0).trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The shares that so many replicas can express, the first few of them.
fn steps(count: u64) -> String {
    let share = |pods: u64| u32::try_from(pods * u64::from(WHOLE) / count.max(1)).unwrap_or(WHOLE);
    let said: Vec<String> = (1..count).take(10).map(|pods| format!("{} %", percent(share(pods)))).collect();
    match said.as_slice() {
        [] => "none".to_owned(),
        all if count > 11 => format!("{} and so on", all.join(", ")),
        all => all.join(", "),
    }
}

fn kind<'o>(objects: &'o [Value], kind: &'static str) -> impl Iterator<Item = &'o Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn replicas(deployment: &Value) -> u64 {
    deployment["spec"]["replicas"].as_u64().unwrap_or(1)
}

fn is_route(object: &Value, route: &str) -> bool {
    object["kind"] == "HTTPRoute" && name(object) == route
}

/// The backends of a route, with the weight of each.
fn backends(route: &Value) -> impl Iterator<Item = &Value> {
    let rules = route["spec"]["rules"].as_array().into_iter().flatten();
    rules.flat_map(|rule| rule["backendRefs"].as_array().into_iter().flatten())
}

fn is_service(backend: &Value) -> bool {
    backend["kind"].as_str().is_none_or(|kind| kind == "Service")
}

/// The Services whose traffic is split.
fn services<'o>(objects: &'o [Value], how: &TrafficSpec) -> Vec<&'o Value> {
    let routed: Option<BTreeSet<&str>> = match how {
        TrafficSpec::Replicas => None,
        TrafficSpec::Route(route) => {
            let routes = objects.iter().filter(|object| is_route(object, route));
            let refs = routes.flat_map(backends).filter(|backend| is_service(backend));
            Some(refs.filter_map(|backend| backend["name"].as_str()).collect())
        }
    };
    kind(objects, "Service")
        .filter(|service| routed.as_ref().is_none_or(|names| names.contains(name(service))))
        .collect()
}

fn selects(service: &Value, workload: &Value) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty());
    selector.is_some_and(|selector| selector.iter().all(|(name, value)| labels[name] == *value))
}

/// The Deployments whose pods get the traffic.
fn behind<'o>(objects: &'o [Value], how: &TrafficSpec) -> Vec<&'o Value> {
    let services = services(objects, how);
    kind(objects, "Deployment").filter(|one| services.iter().any(|service| selects(service, one))).collect()
}

/// Refuses manifests whose traffic can't be split.
///
/// # Errors
/// `ManifestInvalid`, with what is missing.
pub(super) fn check(objects: &[Value], how: &TrafficSpec) -> Result<()> {
    let wrong = |message: String, hint: &str| Err(Fault::new(Code::ManifestInvalid, message).hint(hint));
    if let TrafficSpec::Route(route) = how
        && !objects.iter().any(|object| is_route(object, route))
    {
        let known: Vec<&str> = kind(objects, "HTTPRoute").map(name).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return wrong(format!("The manifests have no HTTPRoute {route:?}."), &format!("They have: {known}."));
    }
    let (services, deployments) = (services(objects, how), behind(objects, how));
    if deployments.is_empty() {
        let whose = if *how == TrafficSpec::Replicas { "" } else { " of the route" };
        return wrong(
            format!("No Deployment of the manifests is behind a Service{whose}, so no traffic can be split."),
            "The labels of a Deployment's pods have to be those that the Service selects.",
        );
    }
    for workload in kind(objects, "StatefulSet").chain(kind(objects, "DaemonSet")) {
        if services.iter().any(|service| selects(service, workload)) {
            let what = format!("{} {}", workload["kind"].as_str().unwrap_or_default(), name(workload));
            return wrong(
                format!("{what} gets traffic that is to be split, and only Deployments can be copied."),
                "Give it a Service of its own, or leave `traffic` out.",
            );
        }
    }
    deployments.iter().try_for_each(|deployment| check_copy(objects, how, deployment))?;
    copies(objects, how).iter().filter_map(ObjectId::of).try_for_each(|id| {
        let taken = objects.iter().filter_map(ObjectId::of).any(|other| other == id);
        match taken || id.name.len() > NAME_MAX {
            true => wrong(
                format!("The copy of an object can't be called {}.", id.name),
                "Names that end in -canary are for copies, and a name has at most 63 characters.",
            ),
            false => Ok(()),
        }
    })
}

fn check_copy(objects: &[Value], how: &TrafficSpec, deployment: &Value) -> Result<()> {
    let name = name(deployment);
    if *how == TrafficSpec::Replicas {
        return match deployment["spec"]["replicas"].as_u64() {
            Some(2..) => Ok(()),
            _ => Err(Fault::new(
                Code::ManifestInvalid,
                format!("Deployment {name} has no `replicas` of at least 2, so they can't split its traffic."),
            )
            .hint("Write `replicas` in its manifest, without a HorizontalPodAutoscaler, or split by an HTTPRoute.")),
        };
    }
    let own = deployment["spec"]["selector"]["matchLabels"].as_object();
    let told_apart = |service: &&Value| {
        let selector = service["spec"]["selector"].as_object();
        selector.into_iter().flatten().any(|(label, _)| own.is_some_and(|own| own.contains_key(label)))
    };
    let services = kind(objects, "Service").filter(|service| selects(service, deployment)).collect::<Vec<_>>();
    match services.into_iter().find(|service| !told_apart(service)) {
        None => Ok(()),
        Some(service) => Err(Fault::new(
            Code::ManifestInvalid,
            format!("Service {} selects no label of the selector of Deployment {name}.", self::name(service)),
        )
        .hint("Let it select one of them: the copy's pods are told apart by these labels.")),
    }
}

impl Split {
    /// The canary's part while this unit runs that.
    pub(super) fn part(&self, running: &ReleaseRef) -> Part {
        match self.track {
            Track::Canary => part(&self.weights, self.other.as_ref(), Some(running)),
            Track::Stable => part(&self.weights, Some(running), self.other.as_ref()),
        }
    }

    /// The objects of the unit while it runs that.
    pub(super) fn objects(&self, all: Vec<Value>, running: &ReleaseRef) -> Vec<Value> {
        let part = self.part(running);
        match self.track {
            Track::Stable => self.stable(all, part),
            Track::Canary => self.canary(&all, part),
        }
    }

    /// Whether an object is the one whose weights are set.
    pub(super) fn is_weighed(&self, id: &ObjectId) -> bool {
        matches!(&self.how, TrafficSpec::Route(route) if id.kind == "HTTPRoute" && id.name == *route)
    }

    fn stable(&self, mut all: Vec<Value>, part: Part) -> Vec<Value> {
        let split: BTreeSet<ObjectId> = behind(&all, &self.how).into_iter().filter_map(ObjectId::of).collect();
        let served: BTreeSet<String> = services(&all, &self.how)
            .into_iter()
            .filter(|service| has_copy(&all, service))
            .map(|service| name(service).to_owned())
            .collect();
        for object in &mut all {
            match &self.how {
                TrafficSpec::Replicas if ObjectId::of(object).is_some_and(|id| split.contains(&id)) => {
                    let count = replicas(object);
                    object["spec"]["replicas"] = json!(count - nearest(count, part.share).min(count));
                }
                TrafficSpec::Route(route) if is_route(object, route) && part.share > 0 => {
                    weigh(object, &served, part.share);
                }
                _ => {}
            }
        }
        all
    }

    fn canary(&self, all: &[Value], part: Part) -> Vec<Value> {
        let mut copies = copies(all, &self.how);
        for object in copies.iter_mut().filter(|object| object["kind"] == "Deployment") {
            let count = replicas(object);
            let pods = match (&self.how, part.apart) {
                (_, false) => 0,
                (TrafficSpec::Replicas, _) => nearest(count, part.share),
                // One is there before it gets traffic; then as many as its share needs.
                (TrafficSpec::Route(_), _) => (count * u64::from(part.share)).div_ceil(u64::from(WHOLE)).max(1),
            };
            object["spec"]["replicas"] = json!(pods);
        }
        copies
    }
}

fn has_copy(all: &[Value], service: &Value) -> bool {
    kind(all, "Deployment").any(|deployment| selects(service, deployment))
}

/// The copies, with the replicas of what they are copies of.
fn copies(all: &[Value], how: &TrafficSpec) -> Vec<Value> {
    let deployments = behind(all, how);
    let mut used = BTreeSet::new();
    let known: BTreeSet<(String, String)> = ["ConfigMap", "Secret"]
        .into_iter()
        .flat_map(|what| kind(all, what).map(move |object| (what.to_owned(), name(object).to_owned())))
        .collect();
    let mut out: Vec<Value> =
        deployments.iter().map(|deployment| copy_of(deployment, how, &known, &mut used)).collect();
    let configuration = all.iter().filter(|object| {
        let kind = object["kind"].as_str().unwrap_or_default();
        used.contains(&(kind.to_owned(), name(object).to_owned()))
    });
    out.extend(configuration.map(renamed));
    if let TrafficSpec::Route(_) = how {
        let served = services(all, how).into_iter().filter(|service| has_copy(all, service));
        out.extend(served.map(|service| copy_of_service(service, &deployments)));
    }
    out.sort_by_key(|object| rank(object["kind"].as_str().unwrap_or_default()));
    out
}

fn renamed(object: &Value) -> Value {
    let mut copy = object.clone();
    copy["metadata"]["name"] = json!(format!("{}{SUFFIX}", name(object)));
    copy
}

fn copy_of(
    deployment: &Value,
    how: &TrafficSpec,
    known: &BTreeSet<(String, String)>,
    used: &mut BTreeSet<(String, String)>,
) -> Value {
    let mut copy = renamed(deployment);
    let own: Map<String, Value> =
        deployment["spec"]["selector"]["matchLabels"].as_object().cloned().unwrap_or_default();
    let changed: Map<String, Value> = match how {
        TrafficSpec::Replicas => Map::from_iter([(TRACK.to_owned(), json!(Track::Canary.unit()))]),
        TrafficSpec::Route(_) => own.iter().map(|(name, value)| (name.clone(), told_apart(value))).collect(),
    };
    for (label, value) in changed {
        copy["spec"]["selector"]["matchLabels"][label.as_str()] = value.clone();
        copy["spec"]["template"]["metadata"]["labels"][label.as_str()] = value;
    }
    rename(&mut copy["spec"]["template"]["spec"], SUFFIX, known, used);
    copy
}

fn told_apart(value: &Value) -> Value {
    let text = value.as_str().unwrap_or_default();
    let room = NAME_MAX - SUFFIX.len();
    json!(format!("{}{SUFFIX}", text.chars().take(room).collect::<String>()))
}

fn copy_of_service(service: &Value, deployments: &[&Value]) -> Value {
    let mut copy = renamed(service);
    let labels: BTreeSet<&String> = deployments
        .iter()
        .filter(|deployment| selects(service, deployment))
        .filter_map(|deployment| deployment["spec"]["selector"]["matchLabels"].as_object())
        .flat_map(Map::keys)
        .collect();
    for (label, value) in copy["spec"]["selector"].as_object_mut().into_iter().flatten() {
        if labels.contains(label) {
            *value = told_apart(value);
        }
    }
    // It is for the route alone: what opens it to the outside stays with the Service that it is a copy of.
    if let Some(spec) = copy["spec"].as_object_mut() {
        for field in ["clusterIP", "clusterIPs", "externalIPs", "loadBalancerIP", "externalTrafficPolicy"] {
            spec.remove(field);
        }
        spec.insert("type".to_owned(), json!("ClusterIP"));
    }
    for port in copy["spec"]["ports"].as_array_mut().into_iter().flatten() {
        port.as_object_mut().map(|port| port.remove("nodePort"));
    }
    copy
}

/// Splits the weight of each backend that has a copy between the two.
fn weigh(route: &mut Value, served: &BTreeSet<String>, share: u32) {
    for rule in route["spec"]["rules"].as_array_mut().into_iter().flatten() {
        let Some(refs) = rule["backendRefs"].as_array_mut() else { continue };
        let mut weighed: Vec<(Value, u64)> = Vec::new();
        for backend in refs.iter() {
            let weight = backend["weight"].as_u64().unwrap_or(1);
            let has_copy = is_service(backend) && backend["name"].as_str().is_some_and(|name| served.contains(name));
            if has_copy {
                let mut copy = backend.clone();
                copy["name"] = json!(format!("{}{SUFFIX}", backend["name"].as_str().unwrap_or_default()));
                weighed.push((backend.clone(), weight * u64::from(WHOLE.saturating_sub(share))));
                weighed.push((copy, weight * u64::from(share)));
            } else {
                weighed.push((backend.clone(), weight * u64::from(WHOLE)));
            }
        }
        // The ratio is what counts; the numbers only have to fit.
        let most = weighed.iter().map(|(_, weight)| *weight).max().unwrap_or(0);
        let divisor = most.div_ceil(WEIGHT_MAX).max(1);
        *refs = weighed
            .into_iter()
            .map(|(mut backend, weight)| {
                backend["weight"] = json!(if weight == 0 { 0 } else { (weight / divisor).max(1) });
                backend
            })
            .collect();
    }
}

#[cfg(test)]
mod tests;
