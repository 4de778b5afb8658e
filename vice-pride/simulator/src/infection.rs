//! A bug in one run: on which units it sits, how much harm it has done, and when it first shows itself. The moment is
//! the one at which the cumulated hazard passes an exponential draw, so it needs no event of its own.

use crate::draw::{Luck, Purpose};
use crate::price::AFTERWARDS_HOURS;
use crate::trace::HOUR;
use crate::world::{Bug, World};

/// A bug that spreads with the release.
#[derive(Debug, Clone)]
pub(crate) struct Infection<'w> {
    pub(crate) bug: &'w Bug,
    luck: Luck,
    /// By region, an hour.
    hazards: Vec<f64>,
    /// Which units it sits on, as bits.
    sits: Vec<u64>,
    /// The hazard an hour of all that it sits on, and how many that are.
    rate: f64,
    servers: f64,
    /// What both would be if every unit ran the release: for traffic that is moved by shares.
    whole_rate: f64,
    whole_servers: f64,
    share: Option<f64>,
    /// The hazard that is left until it shows itself.
    left: f64,
    harm_hours: f64,
    since: u64,
}

impl<'w> Infection<'w> {
    pub(crate) fn new(world: &World, bug: &'w Bug, luck: Luck) -> Self {
        let hazards = bug.hazards(luck, world.regions);
        let hit = |cell: &(usize, &crate::world::Cell)| bug.hits[cell.0];
        let servers = |cell: &crate::world::Cell| f64::from(cell.units) * bug.share;
        let cells = || world.cells.iter().enumerate().filter(hit);
        Self {
            bug,
            luck,
            sits: vec![0; world.layout.units as usize / 64 + 1],
            rate: 0.0,
            servers: 0.0,
            whole_rate: cells().map(|(_, cell)| servers(cell) * hazards[cell.region]).sum(),
            whole_servers: cells().map(|(_, cell)| servers(cell)).sum(),
            hazards,
            share: None,
            left: -libm::log(luck.unit(Purpose::Bug, 0, 0)),
            harm_hours: 0.0,
            since: 0,
        }
    }

    fn rate(&self) -> f64 {
        self.share.map_or(self.rate, |share| share * self.whole_rate)
    }

    fn servers(&self) -> f64 {
        self.share.map_or(self.servers, |share| share * self.whole_servers)
    }

    /// The share of the exposed servers that it sits on.
    pub(crate) fn density(&self, exposed: f64) -> f64 {
        if exposed > 0.0 { (self.servers() / exposed).min(1.0) } else { 0.0 }
    }

    /// Server-hours under the bug so far.
    pub(crate) const fn harm_hours(&self) -> f64 {
        self.harm_hours
    }

    #[expect(clippy::cast_precision_loss, reason = "milliseconds of a simulated rollout, far below 2^53")]
    pub(crate) fn advance(&mut self, at: u64) {
        let hours = at.saturating_sub(self.since) as f64 / HOUR;
        self.harm_hours += hours * self.servers();
        self.left -= hours * self.rate();
        self.since = at;
    }

    /// When it shows itself if nothing changes, in milliseconds.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "guarded: not negative and below 2^53")]
    pub(crate) fn shows_at(&self) -> Option<u64> {
        let hours = self.left.max(0.0) / self.rate();
        (hours < 1e9).then(|| self.since + (hours * HOUR) as u64)
    }

    /// Goes on after a rollout that ended with the bug unfound: until it shows itself and somebody has reacted, or
    /// nobody looks any more.
    pub(crate) fn follow(&mut self, reaction_hours: f64) {
        let hours = self.left.max(0.0) / self.rate();
        let lasts = if hours < AFTERWARDS_HOURS { hours + reaction_hours } else { AFTERWARDS_HOURS };
        self.harm_hours += self.servers() * lasts;
    }

    /// A unit runs the release now; gives after how many milliseconds the bug can show itself there.
    #[inline]
    pub(crate) fn exposed(&mut self, unit: u32, cell: usize) -> Option<u64> {
        if !self.bug.can_hit(self.luck, unit, cell) {
            return None;
        }
        let appears = self.bug.appears.as_ref();
        Some(appears.map_or(0, |appears| appears.draw(self.luck.bits(Purpose::Appears, unit, 0))))
    }

    /// The bug sits on a unit from now on.
    #[inline]
    pub(crate) fn sit(&mut self, at: u64, unit: u32, region: usize) {
        self.advance(at);
        let (word, bit) = (unit as usize / 64, 1_u64 << (unit % 64));
        if self.sits[word] & bit == 0 {
            self.sits[word] |= bit;
            self.rate += self.hazards[region];
            self.servers += 1.0;
        }
    }

    /// The unit does not run the release any more.
    pub(crate) fn leave(&mut self, at: u64, unit: u32, region: usize) {
        self.advance(at);
        let (word, bit) = (unit as usize / 64, 1_u64 << (unit % 64));
        if self.sits[word] & bit != 0 {
            self.sits[word] &= !bit;
            // Sums of the same numbers in another order leave crumbs, which must not become a negative rate.
            self.rate = (self.rate - self.hazards[region]).max(0.0);
            self.servers -= 1.0;
        }
        if self.servers == 0.0 {
            self.rate = 0.0;
        }
    }

    pub(crate) fn weigh(&mut self, at: u64, share: Option<f64>) {
        self.advance(at);
        self.share = share;
    }
}
