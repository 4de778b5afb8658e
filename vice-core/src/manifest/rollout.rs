//! `[env.NAME.rollout]`: how a rollout goes. It owns the shape of the section and refuses numbers that can't be meant;
//! what the section means for given units is the planner's business.

use std::fmt;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::selector::Selector;
use super::values::Amount;
use crate::time::Millis;

/// The shape of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Wave after wave, each of `wave` units.
    #[default]
    Rolling,
    /// Everything in one wave, within `max_down`.
    AllAtOnce,
    /// A few units first, judged on live metrics at each of `steps`, then the rest.
    Canary,
    /// Waves that grow with confidence: `wave_first`, then `wave_growth` times as many each.
    Waves,
    /// A second set of units beside the first; the traffic is switched, then the first set is removed.
    BlueGreen,
    /// A few units first, whose share of the traffic follows from the error budget; then the rest.
    Ramp,
}

impl Strategy {
    /// The word of the manifest.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::AllAtOnce => "all-at-once",
            Self::Canary => "canary",
            Self::Waves => "waves",
            Self::BlueGreen => "blue-green",
            Self::Ramp => "ramp",
        }
    }

    /// Whether it makes no sense without a metric.
    #[must_use]
    pub const fn needs_metric(self) -> bool {
        matches!(self, Self::Canary | Self::Ramp)
    }
}

/// When checks run during a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyWhen {
    /// After every wave and at the end.
    #[default]
    EachWave,
    /// Only at the end.
    End,
    /// Never; what runs is then not proven, and not a target for rollback.
    Never,
}

/// What happens to a rollout that is under way when another is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Supersede {
    /// The one under way goes on, the new one is refused.
    #[default]
    Reject,
    /// The new one waits for its turn; a newer one takes its place in the queue.
    Queue,
    /// The one under way is ended, and the new one goes on from there.
    Replace,
}

/// How a rollout goes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RolloutSpec {
    /// The strategy.
    #[serde(default)]
    pub strategy: Strategy,
    /// rolling: how many units a wave has; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<Amount>,
    /// waves, canary, ramp: how many units come first; one when absent, a quarter for a ramp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave_first: Option<Amount>,
    /// waves: how many times as many units the next wave has, over 1; 2 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave_growth: Option<f64>,
    /// canary, blue-green: shares of the traffic or amounts of units, in rising order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<CanaryStep>,
    /// How many units may be changing at once, in all or by level and domain; one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_down: Option<MaxDown>,
    /// Units in this order first, the others by name; or `coverage-first`: one of each environment class.
    #[serde(default, skip_serializing_if = "Order::is_default")]
    pub order: Order,
    /// Where it starts: the first wave has only units of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_at: Option<Selector>,
    /// Groups of which only one may be changing at a time, such as `[["service=bar", "service=potato"]]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Vec<Selector>>,
    /// What has to be done before what, such as `[{ first = "service=db", then = "service=web" }]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<AfterSpec>,
    /// When units may begin to change: a table, or several that have to be open together.
    #[serde(default, skip_serializing_if = "Windows::is_empty")]
    pub window: Windows,
    /// How many failing units are borne.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<FailureSpec>,
    /// How long to watch after each wave before the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bake: Option<Millis>,
    /// When checks run.
    #[serde(default)]
    pub verify: VerifyWhen,
    /// How long one verification may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_timeout: Option<Millis>,
    /// The metrics that judge; all of the project when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// The new release may be so many times as bad as the old one, over 1; 1.5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio_max: Option<f64>,
    /// So many errors more than the old release's rate may a rollout cost; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excess_errors_max: Option<f64>,
    /// The chance of going back for nothing, 0 to 1; 0.01 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The chance of going on with something worse than `error_ratio_max`, 0 to 1; 0.05 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beta: Option<f64>,
    /// How long one window of a metric is; 1 min when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Millis>,
    /// How long after its end a window is read, because reports arrive late; 15 s when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lateness: Option<Millis>,
    /// After so many windows without data the judge counts as blind; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blind_after: Option<u32>,
    /// So many requests of our own go to each version in a window in which it had none; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<u32>,
    /// A judge that can't decide asks a human after so long; never when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<Millis>,
    /// What happens to a rollout that is under way when another is asked for.
    #[serde(default, skip_serializing_if = "is_reject")]
    pub supersede: Supersede,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
fn is_reject(supersede: &Supersede) -> bool {
    *supersede == Supersede::Reject
}

/// A share of the traffic in basis points, 0..=10,000; written `"5%"`, `"0.5%"` or `0.05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// All of it.
    pub const ALL: Self = Self(10_000);

    /// From basis points; none when there are more than 10,000.
    #[must_use]
    pub const fn of(basis_points: u32) -> Option<Self> {
        if basis_points <= Self::ALL.0 { Some(Self(basis_points)) } else { None }
    }

    /// In basis points.
    #[must_use]
    pub const fn basis_points(self) -> u32 {
        self.0
    }

    /// From a fraction; rounded to a basis point.
    fn fraction(fraction: f64) -> Result<Self, String> {
        if !(0.0..=1.0).contains(&fraction) {
            return Err(format!("a share is between 0 and 1 (0% and 100%), and this is {fraction}"));
        }
        let points = (fraction * f64::from(Self::ALL.0)).round();
        if points == 0.0 && fraction > 0.0 {
            return Err(format!("the smallest share is 0.01%, and {fraction} is less"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it was just checked to be between 0 and 10,000"
        )]
        Ok(Self(points as u32))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number {
            Some(percent) => Self::fraction(percent / 100.0),
            None => Err(format!("{text:?} is not a share such as \"5%\"")),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 100, self.0 % 100) {
            (whole, 0) => write!(f, "{whole}%"),
            (whole, part) if part % 10 == 0 => write!(f, "{whole}.{}%", part / 10),
            (whole, part) => write!(f, "{whole}.{part:02}%"),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShareVisitor;
        impl Visitor<'_> for ShareVisitor {
            type Value = Share;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a share such as \"5%\" or 0.05")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Share, E> {
                Share::parse(text).map_err(E::custom)
            }
            fn visit_f64<E: Error>(self, fraction: f64) -> Result<Share, E> {
                Share::fraction(fraction).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(ShareVisitor)
    }
}

impl JsonSchema for Share {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Share".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "A share such as \"5%\" or 0.05.",
            "anyOf": [
                { "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]+)?%$" },
                { "type": "number", "minimum": 0, "maximum": 1 },
            ],
        })
    }
}

/// A step of a canary: a share of the traffic, or an amount of units. Written `"5%"` (a share), `2` (units), or
/// `{ share = "5%", bake = "10m" }`, `{ units = "10%", bake = "10m" }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CanaryStep {
    /// What the new release gets.
    #[serde(flatten)]
    pub size: StepSize,
    /// How long to watch; the rollout's `bake` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bake: Option<Millis>,
}

/// How far a step of a canary goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepSize {
    /// This share of the traffic, carried by as many units as such a share needs.
    Share(Share),
    /// So many units in all; the traffic follows them.
    Units(Amount),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename = "CanaryStep")]
struct StepTable {
    /// This share of the traffic.
    share: Option<Share>,
    /// So many units in all.
    units: Option<Amount>,
    /// How long to watch; the rollout's `bake` when absent.
    bake: Option<Millis>,
}

impl<'de> Deserialize<'de> for CanaryStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StepVisitor;
        impl<'de> Visitor<'de> for StepVisitor {
            type Value = CanaryStep;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a share of the traffic such as \"5%\", units such as 2, or a table with one of them and bake",
                )
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<CanaryStep, E> {
                Share::parse(text)
                    .map(|share| CanaryStep { size: StepSize::Share(share), bake: None })
                    .map_err(E::custom)
            }
            fn visit_f64<E: Error>(self, fraction: f64) -> Result<CanaryStep, E> {
                let share = Share::fraction(fraction).map_err(E::custom)?;
                Ok(CanaryStep { size: StepSize::Share(share), bake: None })
            }
            fn visit_i64<E: Error>(self, count: i64) -> Result<CanaryStep, E> {
                let count = u32::try_from(count).map_err(|_| E::custom(format!("{count} is no number of units")))?;
                Ok(CanaryStep { size: StepSize::Units(Amount::Count(count)), bake: None })
            }
            fn visit_u64<E: Error>(self, count: u64) -> Result<CanaryStep, E> {
                let count = u32::try_from(count).map_err(|_| E::custom(format!("{count} is no number of units")))?;
                Ok(CanaryStep { size: StepSize::Units(Amount::Count(count)), bake: None })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<CanaryStep, A::Error> {
                let table = StepTable::deserialize(MapAccessDeserializer::new(map))?;
                let size = match (table.share, table.units) {
                    (Some(share), None) => StepSize::Share(share),
                    (None, Some(units)) => StepSize::Units(units),
                    _ => return Err(A::Error::custom("a step has exactly one of share and units")),
                };
                Ok(CanaryStep { size, bake: table.bake })
            }
        }
        deserializer.deserialize_any(StepVisitor)
    }
}

impl JsonSchema for CanaryStep {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CanaryStep".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let (share, table) = (generator.subschema_for::<Share>(), generator.subschema_for::<StepTable>());
        schemars::json_schema!({ "anyOf": [share, { "type": "integer", "minimum": 0 }, table] })
    }
}

/// How many units may be changing at once: in all, or for each node of a level and each domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaxDown {
    /// Of the whole environment.
    Everywhere(Amount),
    /// By level, set of domains, `domain` (all of these sets), or `environment`.
    By(IndexMap<String, Amount>),
}

impl From<Amount> for MaxDown {
    fn from(amount: Amount) -> Self {
        Self::Everywhere(amount)
    }
}

impl Serialize for MaxDown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Everywhere(amount) => amount.serialize(serializer),
            Self::By(table) => table.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for MaxDown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MaxDownVisitor;
        impl<'de> Visitor<'de> for MaxDownVisitor {
            type Value = MaxDown;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a count such as 2, a share such as \"25%\", or a table such as { rack = 1, region = \"10%\" }",
                )
            }
            fn visit_i64<E: Error>(self, count: i64) -> Result<MaxDown, E> {
                Amount::count(count).map(MaxDown::Everywhere).map_err(E::custom)
            }
            fn visit_u64<E: Error>(self, count: u64) -> Result<MaxDown, E> {
                Amount::count(count).map(MaxDown::Everywhere).map_err(E::custom)
            }
            fn visit_f64<E: Error>(self, fraction: f64) -> Result<MaxDown, E> {
                Amount::fraction(fraction).map(MaxDown::Everywhere).map_err(E::custom)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<MaxDown, E> {
                Amount::parse(text).map(MaxDown::Everywhere).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<MaxDown, A::Error> {
                IndexMap::deserialize(MapAccessDeserializer::new(map)).map(MaxDown::By)
            }
        }
        deserializer.deserialize_any(MaxDownVisitor)
    }
}

impl JsonSchema for MaxDown {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "MaxDown".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let amount = generator.subschema_for::<Amount>();
        schemars::json_schema!({ "anyOf": [amount, { "type": "object", "additionalProperties": amount }] })
    }
}

/// In which order units change, as far as nothing else decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// One unit of each environment class first, then the rest by rising risk.
    CoverageFirst,
    /// What is listed comes first, in this order; the others follow by name.
    Listed(Vec<Selector>),
}

impl Default for Order {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl Order {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::CoverageFirst => serializer.serialize_str("coverage-first"),
            Self::Listed(list) => list.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OrderVisitor;
        impl<'de> Visitor<'de> for OrderVisitor {
            type Value = Order;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"coverage-first\", or a list such as [\"eu\", \"us\"]")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Order, E> {
                match text {
                    "coverage-first" => Ok(Order::CoverageFirst),
                    other => Err(E::custom(format!(
                        "{other:?} is no order; write \"coverage-first\", or a list such as [{other:?}]"
                    ))),
                }
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Order, A::Error> {
                let mut list = Vec::new();
                while let Some(selector) = seq.next_element()? {
                    list.push(selector);
                }
                Ok(Order::Listed(list))
            }
        }
        deserializer.deserialize_any(OrderVisitor)
    }
}

impl JsonSchema for Order {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Order".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let selector = generator.subschema_for::<Selector>();
        schemars::json_schema!({ "anyOf": [{ "enum": ["coverage-first"] }, { "type": "array", "items": selector }] })
    }
}

/// One thing that has to be done before another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterSpec {
    /// What is done first.
    pub first: Selector,
    /// What waits for all of it.
    pub then: Selector,
}

/// How many failing units are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureSpec {
    /// How often a failed unit is tried again.
    #[serde(default)]
    pub retries: u32,
    /// How many units may be given up before the rollout goes back. They count as down.
    #[serde(default)]
    pub tolerate: u32,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Weekday {
    /// Monday.
    Mon,
    /// Tuesday.
    Tue,
    /// Wednesday.
    Wed,
    /// Thursday.
    Thu,
    /// Friday.
    Fri,
    /// Saturday.
    Sat,
    /// Sunday.
    Sun,
}

impl Weekday {
    /// The word in `vice.toml`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Mon => "mon",
            Self::Tue => "tue",
            Self::Wed => "wed",
            Self::Thu => "thu",
            Self::Fri => "fri",
            Self::Sat => "sat",
            Self::Sun => "sun",
        }
    }
}

/// A span of time in which units may begin to change.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowSpec {
    /// Its name in messages; its key when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The days on which it opens; every day when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<Weekday>>,
    /// When it opens, such as `09:00`.
    pub from: String,
    /// When it closes; not later than `from` means on the next day.
    pub until: String,
    /// The time zone, such as `Europe/Berlin`; `UTC` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The units that it is for; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Selector>,
}

/// The windows of a rollout: one table, or a list of them; those that are for a unit have to be open together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Windows(pub Vec<WindowSpec>);

impl Windows {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Windows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Windows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WindowsVisitor;
        impl<'de> Visitor<'de> for WindowsVisitor {
            type Value = Windows;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a table such as { days = [\"thu\"], from = \"09:00\", until = \"17:00\" }, or a list of them",
                )
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Windows, A::Error> {
                WindowSpec::deserialize(MapAccessDeserializer::new(map)).map(|window| Windows(vec![window]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Windows, A::Error> {
                let mut all = Vec::new();
                while let Some(window) = seq.next_element()? {
                    all.push(window);
                }
                Ok(Windows(all))
            }
        }
        deserializer.deserialize_any(WindowsVisitor)
    }
}

impl JsonSchema for Windows {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Windows".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let window = generator.subschema_for::<WindowSpec>();
        schemars::json_schema!({ "anyOf": [window, { "type": "array", "items": window }] })
    }
}

impl RolloutSpec {
    /// Refuses numbers that can't be meant: the key, and a text that continues "`rollout.KEY` …".
    ///
    /// # Errors
    /// The first key that is wrong, and what is wrong with it.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        let over_one = |key, number: Option<f64>| match number {
            Some(number) if !(number > 1.0 && number.is_finite()) => {
                Err((key, format!("is {number}; it has to be a number over 1, such as 1.5")))
            }
            _ => Ok(()),
        };
        let chance = |key, number: Option<f64>| match number {
            Some(number) if !(number > 0.0 && number < 1.0) => {
                Err((key, format!("is {number}; a chance is between 0 and 1, such as 0.01")))
            }
            _ => Ok(()),
        };
        over_one("wave_growth", self.wave_growth)?;
        over_one("error_ratio_max", self.error_ratio_max)?;
        chance("alpha", self.alpha)?;
        chance("beta", self.beta)?;
        if let Some(budget) = self.excess_errors_max.filter(|budget| !(*budget > 0.0 && budget.is_finite())) {
            return Err(("excess_errors_max", format!("is {budget}; it has to be a number over 0, such as 100")));
        }
        if self.interval == Some(Millis::ZERO) {
            return Err(("interval", "is no time at all; write for example \"10s\"".to_owned()));
        }
        self.exclude.iter().try_for_each(|groups| match groups.len() {
            0 | 1 => {
                Err(("exclude", "has a list with fewer than two groups; nothing could exclude another".to_owned()))
            }
            _ => Ok(()),
        })?;
        self.check_steps()
    }

    fn check_steps(&self) -> Result<(), (&'static str, String)> {
        if self.steps.is_empty() {
            return Ok(());
        }
        if !matches!(self.strategy, Strategy::Canary | Strategy::BlueGreen) {
            let said = format!("belong to the strategies canary and blue-green, not to {}", self.strategy.word());
            return Err(("steps", said));
        }
        let shares: Vec<Share> = self
            .steps
            .iter()
            .filter_map(|step| match step.size {
                StepSize::Share(share) => Some(share),
                StepSize::Units(_) => None,
            })
            .collect();
        match shares.windows(2).find(|pair| pair[0] >= pair[1]) {
            Some(pair) => Err(("steps", format!("go from {} to {}; they have to rise", pair[0], pair[1]))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> RolloutSpec {
        toml::from_str(text).unwrap()
    }

    fn refused(text: &str) -> String {
        toml::from_str::<RolloutSpec>(text).unwrap_err().message().to_owned()
    }

    #[test]
    fn everything_is_read_and_written_alike() {
        let whole = spec(
            r#"
            strategy = "canary"
            wave_first = 1
            steps = ["0.5%", 0.05, 2, { units = "10%", bake = "10m" }, { share = "50%" }]
            max_down = { rack = 1, cluster = "10%", domain = 0.25 }
            order = ["eu", ["us", "service=db"]]
            start_at = "region=eu, class=lab"
            exclude = [["service=bar", "service=potato"]]
            after = [{ first = "service=db", then = "service=web" }]
            window = { days = ["thu"], from = "09:00", until = "17:00", zone = "Europe/Berlin" }
            failures = { retries = 2, tolerate = 1 }
            metrics = ["errors"]
            error_ratio_max = 2
            excess_errors_max = 100
            supersede = "queue"
            "#,
        );
        whole.check().unwrap();
        assert_eq!(whole.steps[0].size, StepSize::Share(Share(50)));
        assert_eq!(whole.steps[2].size, StepSize::Units(Amount::Count(2)));
        let stored = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<RolloutSpec>(&stored).unwrap(), whole, "{stored}");
        assert_eq!(spec("order = \"coverage-first\"").order, Order::CoverageFirst);
    }

    #[test]
    fn shares_over_one_and_under_zero_are_refused() {
        for text in ["max_down = 1.5", "max_down = -0.1", "max_down = \"101%\"", "wave = 1.01", "max_down = nan"] {
            assert!(refused(text).contains("share"), "{text}: {}", refused(text));
        }
        for text in ["steps = [\"101%\"]", "steps = [1.5]", "steps = [-0.5]", "steps = [\"-1%\"]", "steps = [nan]"] {
            assert!(refused(text).contains("share is between"), "{text}: {}", refused(text));
        }
        assert!(refused("max_down = -1").contains("negative"));
        assert!(refused("steps = [-1]").contains("no number of units"));
        assert!(refused("steps = [{ share = \"5%\", units = 1 }]").contains("exactly one"));
    }

    #[test]
    fn numbers_that_can_not_be_meant_are_named() {
        for (text, key) in [
            ("strategy = \"waves\"\nwave_growth = 1.0", "wave_growth"),
            ("wave_growth = nan", "wave_growth"),
            ("error_ratio_max = 0.5", "error_ratio_max"),
            ("excess_errors_max = -1", "excess_errors_max"),
            ("alpha = 0", "alpha"),
            ("beta = 1.5", "beta"),
            ("interval = \"0s\"", "interval"),
            ("exclude = [[\"a=b\"]]", "exclude"),
            ("steps = [\"5%\"]", "steps"),
            ("strategy = \"canary\"\nsteps = [\"5%\", \"5%\"]", "steps"),
        ] {
            assert_eq!(spec(text).check().unwrap_err().0, key, "{text}");
        }
    }

    #[test]
    fn shares_print_as_they_are_written() {
        for text in ["0%", "0.05%", "0.5%", "5%", "33.3%", "100%"] {
            assert_eq!(Share::parse(text).unwrap().to_string(), text);
        }
    }
}
