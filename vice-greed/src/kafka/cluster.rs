//! A topic and the brokers that lead its partitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use vice_core::app::ProcessEnv;
use vice_core::{Code, Fault, Result};

use super::batch::{self, Incoming, Outgoing, Producer, Unreadable};
use super::calls::{self, Call, Portion};
use super::connection::{Access, Connection};
use super::wire::Malformed;
use super::{KafkaPlace, errors};

/// How much is asked for at once: of all partitions, and of one.
const FETCH_BYTES: i32 = 4 * 1024 * 1024;
const PARTITION_BYTES: i32 = 1024 * 1024;

/// A topic with more partitions than this is not read: each costs memory in every answer.
const PARTITIONS_MAX: usize = 10_000;

/// The codes that have a meaning of their own.
const OUT_OF_RANGE: i16 = 1;
const TOO_LARGE: [i16; 2] = [10, 18];
const SEQUENCE_DUPLICATE: i16 = 46;
/// The broker does not know this producer or its numbers any more.
const FORGOTTEN: [i16; 5] = [45, 47, 49, 59, 90];

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is there, once.
    Done,
    /// It is larger than the topic takes.
    TooLarge,
    /// The broker can't tell any more whether it is there: it is to be sent by a new producer.
    Forgotten,
}

/// What there was of a partition.
#[derive(Debug)]
pub(crate) enum Fetched {
    /// Records, and where to go on.
    Records(Vec<Incoming>, i64),
    /// The place is not there (any more).
    OutOfRange,
}

/// A topic.
pub(crate) struct Cluster {
    place: KafkaPlace,
    env: Arc<ProcessEnv>,
    shown: String,
    /// Whether the topic may be made by asking for it, where brokers are set so.
    create: bool,
    access: Option<Access>,
    connections: BTreeMap<i32, Connection>,
    brokers: BTreeMap<i32, String>,
    leaders: BTreeMap<i32, i32>,
}

impl Cluster {
    pub(crate) fn new(place: KafkaPlace, env: Arc<ProcessEnv>, create: bool) -> Self {
        let (connections, brokers, leaders) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { shown: place.to_string(), place, env, create, access: None, connections, brokers, leaders }
    }

    /// Everything is asked anew the next time: after an error nobody knows what still holds.
    pub(crate) fn forget(&mut self) {
        self.connections.clear();
        self.leaders.clear();
    }

    /// Looks at the cluster, unless that was done.
    async fn look(&mut self) -> Result<()> {
        if !self.leaders.is_empty() {
            return Ok(());
        }
        if self.access.is_none() {
            self.access = Some(Access::of(&self.env, self.place.tls)?);
        }
        let mut known: Vec<String> = self.place.brokers.clone();
        known.extend(self.brokers.values().filter(|broker| !self.place.brokers.contains(broker)).cloned());
        let mut failed = None;
        for address in known {
            match self.look_at(&address).await {
                Ok(()) => return Ok(()),
                // Who is not let in by one is not let in by another, and should hear it.
                Err(fault) if fault.code() == Code::Unreachable => failed = Some(fault),
                Err(fault) => return Err(fault),
            }
        }
        Err(failed.unwrap_or_else(|| errors::silent(&self.shown, "no broker is known")))
    }

    async fn look_at(&mut self, address: &str) -> Result<()> {
        let access = self.access.as_ref().ok_or_else(|| Fault::internal("There is no access."))?;
        let mut connection = Connection::open(address, access).await?;
        let question = calls::ask_metadata(&self.place.topic, self.create);
        let found = connection.ask_for(calls::METADATA, &question, calls::metadata).await?;
        if found.error != 0 {
            return Err(errors::refused(&self.shown, found.error));
        }
        if found.leaders.len() > PARTITIONS_MAX {
            return Err(Fault::new(Code::Unsupported, format!("{} has too many partitions.", self.shown)));
        }
        if found.leaders.is_empty() {
            return Err(errors::refused(&self.shown, 5));
        }
        (self.brokers, self.leaders) = (found.brokers, found.leaders);
        Ok(())
    }

    /// The partitions of the topic.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`.
    pub(crate) async fn partitions(&mut self) -> Result<Vec<i32>> {
        self.look().await?;
        Ok(self.leaders.keys().copied().collect())
    }

    /// The connection to a broker.
    async fn broker(&mut self, number: i32) -> Result<&mut Connection> {
        if !self.connections.contains_key(&number) {
            let address = self.brokers.get(&number).ok_or_else(|| errors::refused(&self.shown, 5))?;
            let access = self.access.as_ref().ok_or_else(|| Fault::internal("There is no access."))?;
            let connection = Connection::open(address, access).await?;
            self.connections.insert(number, connection);
        }
        self.connections.get_mut(&number).ok_or_else(|| Fault::internal("There is no connection."))
    }

    async fn ask<T>(
        &mut self,
        broker: i32,
        call: Call,
        question: &[u8],
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T> {
        self.broker(broker).await?.ask_for(call, question, read).await
    }

    fn leader(&self, partition: i32) -> Result<i32> {
        let leader = self.leaders.get(&partition).copied().filter(|leader| *leader >= 0);
        leader.ok_or_else(|| errors::refused(&self.shown, 5))
    }

    /// A producer that nobody else is: its id and its epoch.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`.
    pub(crate) async fn producer(&mut self) -> Result<(i64, i16)> {
        self.look().await?;
        let any = self.brokers.keys().next().copied().unwrap_or(-1);
        let tagged = self.broker(any).await?.speaks(calls::INIT_PRODUCER_TAGGED);
        let call = if tagged { calls::INIT_PRODUCER_TAGGED } else { calls::INIT_PRODUCER };
        let (error, id, epoch) = self.ask(any, call, &calls::ask_producer(tagged), calls::producer).await?;
        if error == 0 { Ok((id, epoch)) } else { Err(errors::refused(&self.shown, error)) }
    }

    /// Writes records behind each other into a partition, all or none, and waits until all replicas in sync have them.
    ///
    /// # Errors
    /// `Unreachable` where it is not known whether they are there, `Backend`.
    pub(crate) async fn produce(
        &mut self,
        partition: i32,
        records: &[Outgoing],
        producer: Producer,
    ) -> Result<Written> {
        self.look().await?;
        let leader = self.leader(partition)?;
        let question = calls::ask_produce(&self.place.topic, partition, &batch::encode(records, producer));
        match self.ask(leader, calls::PRODUCE, &question, calls::produced).await? {
            0 | SEQUENCE_DUPLICATE => Ok(Written::Done),
            error if TOO_LARGE.contains(&error) => Ok(Written::TooLarge),
            error if FORGOTTEN.contains(&error) => Ok(Written::Forgotten),
            error => Err(errors::refused(&self.shown, error)),
        }
    }

    /// Where each partition begins (-2), ends (-1), or where what is not older than a time (in milliseconds) begins.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`.
    pub(crate) async fn offsets(&mut self, time: i64) -> Result<BTreeMap<i32, i64>> {
        let partitions = self.partitions().await?;
        let mut found = BTreeMap::new();
        for (leader, partitions) in self.by_leader(partitions.into_iter())? {
            let question = calls::ask_offsets(&self.place.topic, &partitions, time);
            for (partition, error, offset) in self.ask(leader, calls::LIST_OFFSETS, &question, calls::offsets).await? {
                if error != 0 {
                    return Err(errors::refused(&self.shown, error));
                }
                found.insert(partition, offset);
            }
        }
        Ok(found)
    }

    fn by_leader(&self, partitions: impl Iterator<Item = i32>) -> Result<BTreeMap<i32, Vec<i32>>> {
        let mut all: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            all.entry(self.leader(partition)?).or_default().push(partition);
        }
        Ok(all)
    }

    /// What is behind the places; waits a little for something to come.
    ///
    /// # Errors
    /// `Unreachable`, `Backend`, `Decode` for a batch that can't be read.
    pub(crate) async fn fetch(&mut self, places: &BTreeMap<i32, i64>, wait_ms: i32) -> Result<Vec<(i32, Fetched)>> {
        self.look().await?;
        let groups = self.by_leader(places.keys().copied())?;
        let each = i32::try_from(groups.len()).unwrap_or(1).max(1);
        let portion = Portion { wait: wait_ms / each, bytes: FETCH_BYTES / each, partition_bytes: PARTITION_BYTES };
        let mut all = Vec::new();
        for (leader, partitions) in groups {
            let wanted: Vec<(i32, i64)> = partitions.iter().filter_map(|one| Some((*one, *places.get(one)?))).collect();
            let question = calls::ask_fetch(&self.place.topic, &wanted, &portion);
            let answer = self.broker(leader).await?.ask(calls::FETCH, &question).await?;
            let slices = calls::fetched(&answer).map_err(|_| errors::nonsense(&self.shown))?;
            for slice in slices {
                let Some(from) = places.get(&slice.partition).copied() else { continue };
                let partition = slice.partition;
                all.push((partition, self.open(&slice, from)?));
            }
        }
        Ok(all)
    }

    fn open(&self, slice: &calls::Slice<'_>, from: i64) -> Result<Fetched> {
        match slice.error {
            0 => {}
            OUT_OF_RANGE => return Ok(Fetched::OutOfRange),
            error => return Err(errors::refused(&self.shown, error)),
        }
        let decoded = batch::decode(slice.batches, from, &slice.aborted)
            .map_err(|why| unreadable(&self.shown, slice.partition, from, &why))?;
        Ok(Fetched::Records(decoded.records, decoded.next.unwrap_or(from)))
    }
}

fn unreadable(shown: &str, partition: i32, from: i64, why: &Unreadable) -> Fault {
    let why = match why {
        Unreadable::Malformed => "it is not built as one".to_owned(),
        Unreadable::Checksum(offset) => format!("the checksum of the one at {offset} does not fit"),
        Unreadable::Format(format) => format!("it has format {format}, of before Kafka 0.11"),
        Unreadable::Packing(why) => why.clone(),
    };
    Fault::new(Code::Decode, format!("A batch of {shown} can't be read: {why}."))
        .detail("partition", partition)
        .detail("offset", from)
        .hint(format!("It is in partition {partition}, at or behind {from}."))
}
