//! The closed loop: users who wait for each answer. As many as the profile says, each with a connection of their own.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::shard::{Shard, Slot};

/// How often the number of users is adjusted.
const ADJUST_EVERY: Duration = Duration::from_millis(50);

/// Brings users in and lets them go until the end.
pub(super) async fn run(shard: &Rc<Shard>) {
    let wanted = Rc::new(Cell::new(0));
    let mut users = JoinSet::new();
    // A user who left may come back, so that it is known who is here.
    let mut here: Vec<bool> = Vec::new();
    loop {
        let now = Instant::now();
        if shard.over(now) {
            break;
        }
        let level = shard.plan.profile.level((now - shard.begun).as_secs_f64());
        let target = shard.part.of(level.round() as usize);
        wanted.set(target);
        here.resize(here.len().max(target), false);
        for (number, is_here) in here.iter_mut().enumerate().take(target) {
            if !std::mem::replace(is_here, true) {
                users.spawn_local(user(Rc::clone(shard), Rc::clone(&wanted), number));
            }
        }
        let next = (now + ADJUST_EVERY).min(shard.end);
        tokio::select! {
            () = sleep_until(next) => {}
            Some(left) = users.join_next(), if !users.is_empty() => {
                if let Some(place) = left.ok().and_then(|number| here.get_mut(number)) {
                    *place = false;
                }
            }
        }
    }
    while users.join_next().await.is_some() {}
}

async fn user(shard: Rc<Shard>, wanted: Rc<Cell<usize>>, number: usize) -> usize {
    let mut slot = Slot::new(number);
    let mut now = Instant::now();
    while !shard.over(now) && number < wanted.get() {
        slot.session(&shard, now).await;
        now = Instant::now();
        if !shard.plan.pause.is_zero() {
            let next = (now + shard.plan.pause).min(shard.end);
            sleep_until(next).await;
            now = Instant::now();
        }
    }
    number
}
