//! What has to come before what, among classes: found contradictory or put into an order.

use super::classes::Classes;
use super::rules::{Kind, Rule};

/// Classes first, then one node for each rule or seam that many classes pass through.
#[derive(Debug)]
pub(super) struct Graph {
    next: Vec<Vec<usize>>,
    before: Vec<usize>,
    classes: usize,
    /// By class: where `order` lists it among the rules in force.
    ranks: Vec<usize>,
}

/// Where a class stands: the smaller comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Standing {
    /// Not what `start_at` selects together with everything that it needs.
    pub(super) later: bool,
    /// Removed, and needed by nothing that is placed.
    pub(super) removed: bool,
    rank: usize,
    layer: usize,
}

impl Graph {
    /// The graph of the rules that are in force.
    pub(super) fn of(rules: &[Rule], active: &[bool], classes: &Classes) -> Self {
        let count = classes.classes.len();
        let mut graph = Self { next: vec![Vec::new(); count], before: Vec::new(), classes: count, ranks: Vec::new() };
        let in_force = || rules.iter().enumerate().filter(|(index, _)| active[*index]);
        for (rule, _) in in_force().filter(|(_, rule)| matches!(rule.kind, Kind::After { .. })) {
            let seam = graph.node();
            for class in 0..count {
                graph.pass(seam, class, classes.has(class, rule, 0), classes.has(class, rule, 1));
            }
        }
        let listed: Vec<usize> =
            in_force().filter(|(_, rule)| matches!(rule.kind, Kind::Order { .. })).map(|(rule, _)| rule).collect();
        let rank = |class: usize| listed.iter().position(|rule| classes.has(class, *rule, 0)).unwrap_or(listed.len());
        graph.ranks = (0..count).map(rank).collect();
        // Units are removed after others were placed, so that `order` is about the two apart.
        for removed in [false, true] {
            let of_phase: Vec<usize> = (0..count).filter(|class| classes.classes[*class].removed == removed).collect();
            graph.chain(&of_phase, listed.len());
        }
        graph.before = vec![0; graph.next.len()];
        let edges: Vec<usize> = graph.next.iter().flatten().copied().collect();
        edges.into_iter().for_each(|to| graph.before[to] += 1);
        graph
    }

    fn node(&mut self) -> usize {
        self.next.push(Vec::new());
        self.next.len() - 1
    }

    fn pass(&mut self, seam: usize, class: usize, into: bool, out: bool) {
        if into {
            self.next[class].push(seam);
        }
        if out {
            self.next[seam].push(class);
        }
    }

    /// Classes of rank 0 before those of rank 1, and so on; those without a rank are free.
    fn chain(&mut self, classes: &[usize], ranks: usize) {
        let mut last: Option<usize> = None;
        for rank in 1..ranks {
            let seam = self.node();
            if let Some(last) = last {
                self.next[last].push(seam);
            }
            for class in classes {
                self.pass(seam, *class, self.ranks[*class] == rank - 1, self.ranks[*class] == rank);
            }
            last = Some(seam);
        }
    }

    /// The nodes so that each comes after all that are before it; none when they go round in a circle.
    fn sorted(&self) -> Option<Vec<usize>> {
        let mut waits = self.before.clone();
        let mut order: Vec<usize> = (0..waits.len()).filter(|node| waits[*node] == 0).collect();
        let mut at = 0;
        while let Some(node) = order.get(at).copied() {
            at += 1;
            for next in &self.next[node] {
                waits[*next] -= 1;
                if waits[*next] == 0 {
                    order.push(*next);
                }
            }
        }
        (order.len() == self.next.len()).then_some(order)
    }

    /// The place of each class; none when there is no order that keeps all, or when nothing of `start` can come first.
    pub(super) fn standings(&self, classes: &Classes, start: Option<&[bool]>) -> Option<Vec<Standing>> {
        let order = self.sorted()?;
        let mut first: Vec<bool> =
            (0..self.next.len()).map(|node| start.is_none_or(|start| node >= self.classes || start[node])).collect();
        let mut layers = vec![0_usize; self.next.len()];
        for node in &order {
            for next in &self.next[*node] {
                first[*next] &= first[*node];
                layers[*next] = layers[*next].max(layers[*node] + 1);
            }
        }
        if self.classes > 0 && !first[..self.classes].contains(&true) {
            return None;
        }
        let mut needed: Vec<(bool, usize)> = (0..self.next.len())
            .map(|node| match classes.classes.get(node) {
                Some(class) => (class.removed, self.ranks[node]),
                None => (true, usize::MAX),
            })
            .collect();
        for node in order.iter().rev() {
            for next in &self.next[*node] {
                needed[*node] = needed[*node].min(needed[*next]);
            }
        }
        let standing = |class: usize| {
            let (removed, rank) = needed[class];
            Standing { later: !first[class], removed, rank, layer: layers[class] }
        };
        Some((0..self.classes).map(standing).collect())
    }
}
