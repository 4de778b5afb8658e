//! What a program that keeps a history must do: keep texts by name, and let exactly one of several writers make each. The
//! rules of a history itself are `vice_core::testkit::event_store`'s, which a store behind a program passes as every other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::join_all;
use serde_json::{Value, json};
use vice_core::app::ProcessEnv;
use vice_core::store::EventStore;
use vice_core::time::SystemClock;
use vice_plugin::Plugin;
use vice_plugin::suite::{WITHIN, manners};

use super::{PluginPlace, Site, store};
use crate::jsonl::log::segment_name;
use crate::place::Opening;

/// Processes at once, and how often. A store that looks first and writes then lets two through in most rounds.
const WRITERS: usize = 6;
const ROUNDS: u64 = 5;

/// A program that is tested, and the folder for what it keeps.
#[derive(Debug, Clone)]
pub struct Tested {
    /// The name behind `vice-backend-`.
    pub name: String,
    /// The file.
    pub program: PathBuf,
    /// Its environment.
    pub env: Arc<ProcessEnv>,
    /// A folder for places.
    pub dir: PathBuf,
}

impl Tested {
    fn site(&self, number: usize) -> Site {
        let place = PluginPlace { name: self.name.clone(), place: format!("place-{number}"), base: self.dir.clone() };
        Site { place, program: self.program.clone(), env: Arc::clone(&self.env), test: true }
    }

    fn state(&self, number: usize) -> PathBuf {
        self.dir.join(format!("state-{number}"))
    }

    /// A process for the place of a number, to be asked as it is.
    #[must_use]
    pub fn plugin(&self, number: usize) -> Plugin {
        self.site(number).plugin(&self.state(number))
    }

    /// The history at the place of a number, as one machine has it.
    #[must_use]
    pub fn history(&self, number: usize) -> Arc<dyn EventStore> {
        let opening = Opening {
            clock: Arc::new(SystemClock),
            env: Arc::clone(&self.env),
            notices: Arc::new(|_| {}),
            state: self.state(number),
        };
        Arc::new(store(self.site(number), self.state(number).join("shared"), &opening))
    }

    /// The folder for places.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Holds a program to every rule of a store. `open` gives a process of its own for the place of a number, each time.
///
/// # Panics
/// With the rule that is broken.
pub async fn suite(open: impl Fn(usize) -> Plugin) {
    manners(&open(0)).await;
    nothing_is_there_at_first(&open(1)).await;
    a_name_is_made_once(&open(2), &open(2)).await;
    texts_come_back_as_they_were(&open(3)).await;
    names_are_listed_in_order(&open(4)).await;
    what_was_made_outlives_the_process(&open(5), &open(5)).await;
    signs_of_life_replace_each_other(&open(6), &open(6)).await;
    let writers: Vec<Plugin> = (0..WRITERS).map(|_| open(7)).collect();
    one_of_several_is_first(&writers).await;
    for writer in writers {
        assert_eq!(writer.strays().await, 0, "every request has one answer, and nothing else is answered");
    }
}

fn named(number: u64) -> String {
    segment_name(number)
}

async fn ask(plugin: &Plugin, call: &str, body: Value) -> Value {
    match plugin.call(call, &body, WITHIN).await {
        Ok(said) => said,
        Err(fault) => panic!("{call} is answered: {fault:?}"),
    }
}

async fn create(plugin: &Plugin, number: u64, text: &str) -> bool {
    let said = ask(plugin, "create", json!({ "name": named(number), "text": text })).await;
    said.as_bool().unwrap_or_else(|| panic!("the answer to create is true or false, and not {said}"))
}

async fn read(plugin: &Plugin, number: u64) -> Value {
    ask(plugin, "read", json!({ "name": named(number) })).await
}

async fn list(plugin: &Plugin, after: &str, limit: usize) -> Value {
    ask(plugin, "list", json!({ "after": after, "limit": limit })).await
}

async fn nothing_is_there_at_first(plugin: &Plugin) {
    assert_eq!(read(plugin, 1).await, Value::Null, "what is not there is read as null");
    assert_eq!(list(plugin, "", 10).await, json!([]), "a fresh place has no names");
    assert_eq!(ask(plugin, "pulse", json!({ "name": "a" })).await, Value::Null, "nobody has lived yet");
}

async fn a_name_is_made_once(one: &Plugin, other: &Plugin) {
    assert!(create(one, 1, "first").await, "a name that is not there is made");
    assert!(!create(one, 1, "second").await, "a name that is there is not made again");
    assert!(!create(other, 1, "third").await, "nor by another process");
    for plugin in [one, other] {
        assert_eq!(read(plugin, 1).await, json!("first"), "what is there is never written over, and read at once");
    }
}

async fn texts_come_back_as_they_were(plugin: &Plugin) {
    let texts = [String::new(), "a\r\nb\n\tü🦀\u{0}\"\\\u{2028}\n".to_owned(), "0123456789\n".repeat(200_000)];
    for (number, text) in (1..).zip(&texts) {
        assert!(create(plugin, number, text).await, "a name that is not there is made");
        let same = read(plugin, number).await.as_str() == Some(text);
        assert!(same, "a text of {} bytes comes back exactly as it was given", text.len());
    }
}

async fn names_are_listed_in_order(plugin: &Plugin) {
    for number in [10, 2, 300, 1] {
        create(plugin, number, "x").await;
    }
    let all = [1, 2, 10, 300].map(named);
    assert_eq!(list(plugin, "", 10).await, json!(all), "names are listed in order");
    assert_eq!(list(plugin, &named(2), 10).await, json!(all[2..]), "only names behind the given one are listed");
    assert_eq!(list(plugin, &named(1), 2).await, json!(all[1..3]), "no more names are listed than wanted");
    assert_eq!(list(plugin, &named(300), 10).await, json!([]), "behind the last name there is none");
}

async fn what_was_made_outlives_the_process(one: &Plugin, other: &Plugin) {
    assert!(create(one, 1, "kept").await, "a name that is not there is made");
    one.end().await;
    assert_eq!(read(other, 1).await, json!("kept"), "what was acknowledged is there after a kill");
    assert_eq!(read(one, 1).await, json!("kept"), "what was acknowledged is there after a restart");
}

async fn signs_of_life_replace_each_other(one: &Plugin, other: &Plugin) {
    for mark in ["5 one", "5 two"] {
        ask(one, "beat", json!({ "name": "a", "mark": mark })).await;
        let seen = ask(other, "pulse", json!({ "name": "a" })).await;
        assert_eq!(seen, json!(mark), "the last sign of life is seen by others at once");
    }
    assert_eq!(ask(other, "pulse", json!({ "name": "b" })).await, Value::Null, "names live by themselves");
    assert_eq!(list(other, "", 10).await, json!([]), "a sign of life is no batch");
}

async fn one_of_several_is_first(writers: &[Plugin]) {
    join_all(writers.iter().map(Plugin::describe)).await;
    for round in 1..=ROUNDS {
        let texts: Vec<String> = (0..writers.len()).map(|number| number.to_string()).collect();
        let tries = writers.iter().zip(&texts).map(|(writer, text)| create(writer, round, text));
        let answers = join_all(tries).await;
        let won: Vec<&String> = texts.iter().zip(answers).filter_map(|(text, won)| won.then_some(text)).collect();
        let [winner] = won.as_slice() else {
            panic!("exactly one of {WRITERS} processes that make a name at once is first, and not {}", won.len());
        };
        for writer in writers {
            assert_eq!(read(writer, round).await, json!(winner), "the text is that of the process which was first");
        }
    }
}
