//! The commands that the docs show, run as they stand there: a page whose example does not work is worse than none.

use std::path::Path;

use crate::lab::{Lab, hello_project};

/// The commands `vice …` of a page, without what stands beside them, in the words of the lab.
pub(crate) fn commands(page: &str, words: &[(&str, &str)]) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        }
        let Some(rest) = line.strip_prefix("vice ").filter(|_| inside) else { continue };
        let bare = rest.split("  ").next().unwrap_or(rest).trim();
        let put = words.iter().fold(bare.to_owned(), |text, (theirs, ours)| text.replace(theirs, ours));
        commands.push(put.split(' ').map(str::to_owned).collect());
    }
    assert!(!commands.is_empty(), "{page} shows no command");
    commands
}

fn run(lab: &Lab, command: &[String]) -> String {
    let words: Vec<&str> = command.iter().map(String::as_str).collect();
    lab.vice(&words).expect(0).stdout
}

/// The blocks of a page that are TOML.
pub(crate) fn toml_blocks(page: &str) -> Vec<String> {
    blocks(page, "toml")
}

/// The blocks of a page in a language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(path).expect("the page");
    let fence = format!("```{language}\n");
    text.split(&fence).skip(1).map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn the_model_and_the_commands_of_the_page_on_simulation_work() {
    let lab = Lab::new();
    let model = &toml_blocks("simulation.md")[0];
    assert!(model.contains("[env.prod.model]"), "{model}");
    let topology = "[env.prod.topology]\nfleet = \"region[eu,us] > dc[dc1,dc3] > server[4]{class=gpu|cpu}\"\n";
    let rollout = "[env.prod.rollout]\nstrategy = \"waves\"\nbake = \"1m\"\n";
    lab.write("vice.toml", &format!("name = \"shop\"\n[env.prod]\nclass = \"prod\"\n{topology}{rollout}{model}"));
    lab.write("careful.toml", "strategy = \"waves\"\nwave_growth = 1.5\nbake = \"10m\"\n");
    let all = commands("simulation.md", &[("--runs 1000", "--runs 50"), ("--env prod", "--env prod --threads 2")]);
    assert_eq!(all.len(), 4);
    for command in all {
        let said = run(&lab, &command);
        let page = command.iter().any(|word| word == "sim.html");
        assert_eq!(page, lab.path("sim.html").exists() && said.is_empty(), "{command:?}");
        if page {
            std::fs::remove_file(lab.path("sim.html")).expect("the page is there");
        }
    }
}

#[test]
fn the_commands_of_the_page_on_replay_work() {
    let lab = Lab::new();
    crate::replay::judged(&lab);
    lab.write("careful.toml", "error_ratio_max = 1.2\nexcess_errors_max = 20\n");
    let words = [("shop.prod.12", "hello.dev.2"), ("shop --env prod", "hello --env dev")];
    for command in commands("replay.md", &words) {
        assert!(run(&lab, &command).contains("hello.dev.2"), "{command:?}");
    }
}

/// The deploys themselves run in the tests of canaries; here is what has to be written for them.
#[test]
fn what_the_page_on_canaries_says_to_write_is_a_plan() {
    let lab = Lab::new();
    hello_project(&lab, 4);
    let blocks = toml_blocks("canary.md");
    let (head, checks) = {
        let toml = lab.read("vice.toml");
        let (head, checks) = toml.split_once("[env.dev]").expect("the environment");
        (head.to_owned(), checks.split_once("[check.health]").expect("the checks").1.to_owned())
    };
    lab.write("vice.toml", &format!("{head}{}\n[check.health]{checks}", blocks[0]));
    lab.vice(&["deploy", "hello@1"]).expect(0);
    let shown: Vec<String> = commands("canary.md", &[]).into_iter().map(|command| command.join(" ")).collect();
    assert!(shown.iter().any(|command| command.starts_with("deploy hello@4")), "{shown:?}");
    let plan = lab.vice(&["plan", "hello@2", "--format", "json"]).expect(0).json();
    assert_eq!(plan["plan"]["analysis"]["metrics"].as_array().map(Vec::len), Some(2), "{plan}");
    // Each other block stands in the place of the metrics.
    let rest = blocks[1..].iter().filter(|block| block.starts_with("[metric."));
    for block in rest {
        let (env, _) = blocks[0].split_once("[metric.").expect("the metrics");
        lab.write("vice.toml", &format!("{head}{env}{block}\n[check.health]{checks}"));
        lab.vice(&["plan", "hello@2"]).expect(0);
    }
}
