//! A topic of Kafka, as a way out and as a way in.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use vice_core::app::ProcessEnv;
use vice_core::{Code, Digest, Fault, Result};

use super::{Begin, Claim, Inlet, Message, Outlet, Places, Portion, Received, Sent};
use crate::binding::Style;
use crate::kafka::{Cluster, Fetched, KafkaPlace, Outgoing, Producer, Written, partition};

/// How long a broker may wait for something to come, in milliseconds.
const WAIT_MS: i32 = 500;

/// As Kafka writes the first and the end of what there is.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A topic.
pub(crate) struct Topic {
    cluster: Cluster,
    shown: String,
    /// Who this process is to the brokers, and the next number of each partition.
    producer: Option<(i64, i16)>,
    sequences: BTreeMap<i32, i32>,
    /// The partitions in which the messages under way are already.
    there: BTreeSet<i32>,
}

impl Topic {
    /// `create`: whether the topic may be made, where brokers are set so.
    pub(crate) fn new(place: KafkaPlace, env: Arc<ProcessEnv>, create: bool) -> Self {
        let shown = place.to_string();
        let (sequences, there) = (BTreeMap::new(), BTreeSet::new());
        Self { cluster: Cluster::new(place, env, create), shown, producer: None, sequences, there }
    }

    fn heard<T>(&mut self, answer: Result<T>) -> Result<T> {
        if answer.is_err() {
            self.cluster.forget();
        }
        answer
    }

    async fn make_claim(&mut self, messages: &[Message], upto: u64) -> Result<Claim> {
        let found = self.cluster.partitions().await?;
        let partitions = i32::try_from(found.len()).unwrap_or(i32::MAX);
        let (producer, epoch) = match self.producer {
            Some(known) => known,
            None => {
                let new = self.cluster.producer().await?;
                self.sequences.clear();
                *self.producer.insert(new)
            }
        };
        let used: BTreeSet<i32> =
            messages.iter().map(|message| partition(message.key.as_bytes(), partitions)).collect();
        let sequences = used.into_iter().map(|one| (one, self.sequences.get(&one).copied().unwrap_or(0))).collect();
        Ok(Claim { upto, selection: Digest::of(b""), producer, epoch, partitions, sequences })
    }

    async fn send_claimed(&mut self, messages: &[Message], claim: &Claim) -> Result<Sent> {
        let mut parts: BTreeMap<i32, Vec<Outgoing>> = BTreeMap::new();
        for message in messages {
            let part = partition(message.key.as_bytes(), claim.partitions);
            parts.entry(part).or_default().push(record(message));
        }
        for (part, records) in parts {
            if self.there.contains(&part) {
                continue;
            }
            let sequence = claim.sequences.get(&part).copied().unwrap_or(0);
            let producer = Producer { id: claim.producer, epoch: claim.epoch, sequence };
            match self.cluster.produce(part, &records, producer).await? {
                Written::Done => {
                    self.there.insert(part);
                    self.sequences.insert(part, after(sequence, records.len()));
                }
                Written::TooLarge => return Ok(Sent::TooLarge),
                Written::Forgotten => {
                    self.producer = None;
                    return Ok(Sent::Forgotten);
                }
            }
        }
        // A claim of an earlier process: of the numbers in other partitions nothing is known.
        if self.producer != Some((claim.producer, claim.epoch)) {
            self.producer = None;
        }
        Ok(Sent::All)
    }

    async fn read(&mut self, places: &Places) -> Result<Portion> {
        let mut wanted: BTreeMap<i32, i64> =
            places.iter().filter_map(|(part, place)| Some((part.parse().ok()?, *place))).collect();
        for new in self.cluster.partitions().await? {
            wanted.entry(new).or_insert(0);
        }
        let mut portion = Portion::default();
        let mut beyond = Vec::new();
        for (part, fetched) in self.cluster.fetch(&wanted, WAIT_MS).await? {
            match fetched {
                Fetched::Records(records, next) => {
                    portion.places.insert(part.to_string(), next);
                    portion.messages.extend(records.into_iter().map(|record| Received {
                        part: part.to_string(),
                        place: record.offset,
                        body: record.value,
                        headers: record.headers,
                        time: record.time,
                    }));
                }
                Fetched::OutOfRange => beyond.push((part, wanted.get(&part).copied().unwrap_or(0))),
            }
        }
        if !beyond.is_empty() {
            self.find_again(&beyond, &mut portion).await?;
        }
        Ok(portion)
    }

    /// Goes on with the oldest that is there, where what was next is gone.
    async fn find_again(&mut self, beyond: &[(i32, i64)], portion: &mut Portion) -> Result<()> {
        let (earliest, latest) = (self.cluster.offsets(EARLIEST).await?, self.cluster.offsets(LATEST).await?);
        for (part, place) in beyond {
            let first = earliest.get(part).copied().unwrap_or(0);
            let end = latest.get(part).copied().unwrap_or(0);
            if *place > end {
                let message = format!("Partition {part} of {} ends at {end}, and {place} was there.", self.shown);
                return Err(Fault::new(Code::Backend, message).hint(
                    "Was the topic made anew, or restored? With another --name it is taken in from its beginning.",
                ));
            }
            if *place > 0 {
                portion.gaps.push(format!(
                    "The messages {place} to {} of partition {part} of {} are not there any more.",
                    first - 1,
                    self.shown
                ));
            }
            portion.places.insert(part.to_string(), first);
        }
        Ok(())
    }
}

/// The number behind so many records; after the largest comes 0.
fn after(sequence: i32, records: usize) -> i32 {
    let next = i64::from(sequence) + i64::try_from(records).unwrap_or(0);
    i32::try_from(next % (i64::from(i32::MAX) + 1)).unwrap_or(0)
}

fn record(message: &Message) -> Outgoing {
    let headers = message.headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    Outgoing {
        key: message.key.clone().into_bytes(),
        value: message.body.clone().into_bytes(),
        headers,
        time: message.time,
    }
}

#[async_trait]
impl Outlet for Topic {
    fn style(&self) -> Style {
        Style::Plain
    }

    async fn claim(&mut self, messages: &[Message], upto: u64) -> Result<Option<Claim>> {
        let made = self.make_claim(messages, upto).await;
        self.heard(made).map(Some)
    }

    async fn send(&mut self, messages: &[Message], claim: Option<&Claim>) -> Result<Sent> {
        let claim = claim.ok_or_else(|| Fault::internal("Nothing was claimed."))?;
        let sent = self.send_claimed(messages, claim).await;
        self.heard(sent)
    }

    fn settled(&mut self) {
        self.there.clear();
    }
}

#[async_trait]
impl Inlet for Topic {
    fn style(&self) -> Style {
        Style::Plain
    }

    async fn begin(&mut self, begin: Begin) -> Result<Places> {
        let time = if begin == Begin::Earliest { EARLIEST } else { LATEST };
        let found = self.cluster.offsets(time).await;
        Ok(self.heard(found)?.into_iter().map(|(part, place)| (part.to_string(), place)).collect())
    }

    async fn next(&mut self, places: &Places) -> Result<Portion> {
        let read = self.read(places).await;
        self.heard(read)
    }

    async fn at_end(&mut self, places: &Places) -> Result<bool> {
        let ends = self.cluster.offsets(LATEST).await;
        Ok(self.heard(ends)?.iter().all(|(part, end)| places.get(&part.to_string()).is_some_and(|place| place >= end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_round() {
        assert_eq!(after(0, 3), 3);
        assert_eq!(after(i32::MAX, 1), 0);
        assert_eq!(after(i32::MAX - 1, 3), 1);
    }
}
