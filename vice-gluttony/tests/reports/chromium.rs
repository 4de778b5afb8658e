//! The pages in a real browser.

use std::path::Path;
use std::process::{Command, Output};

use vice_core::ui::Format;

use crate::dom;
use crate::golden::{long_story, made};
use crate::hostile::{EVIL, hostile};
use crate::story::{self, Writer};
use crate::world::World;

/// Opens a page and gives what the browser says.
pub(crate) fn browse(folder: &Path, page: &str, more: &[&str]) -> Output {
    let Ok(browser) = std::env::var("VICE_LAB_CHROMIUM") else {
        panic!("VICE_LAB_CHROMIUM is not set: run scripts/test, which finds or installs the browser");
    };
    let file = folder.join("page.html");
    std::fs::write(&file, page).unwrap();
    let profile = tempfile::tempdir_in(folder).unwrap();
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=2000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(more)
        .arg(format!("file://{}", file.display()))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// The page as the browser has understood it; nothing may have complained on the console.
pub(crate) fn dump(folder: &Path, page: &str, more: &[&str]) -> String {
    let output = browse(folder, page, &[&["--dump-dom"], more].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let complaints: Vec<&str> = said.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert_eq!(complaints, Vec::<&str>::new());
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn lab_chromium_shows_the_report_without_errors() {
    let world = World::new();
    let writer = Writer::new(&world);
    story::success(&writer).await;
    story::rolled_back(&writer).await;
    for name in ["hello", "overview"] {
        let (page, _) = made(&world, name, Format::Html).await;
        let dom = dom::read(&dump(world.folder.path(), &page, &[]));
        assert!(dom.text.contains("rolled back"), "{name}");
    }
}

#[tokio::test]
async fn lab_chromium_keeps_hostile_texts_inert() {
    let world = World::new();
    hostile(&world).await;
    let first_line = EVIL.split(" {{").next().unwrap();
    for name in ["hello", "overview"] {
        let (page, _) = made(&world, name, Format::Html).await;
        // The reader refuses every element and attribute that the templates don't have: handlers, scripts, images.
        let dom = dom::read(&dump(world.folder.path(), &page, &[]));
        assert!(dom.text.contains(first_line), "{name}");
    }
}

/// Pictures are there to be looked at: `VICE_LAB_KEEP=FOLDER` keeps them, with the page.
#[tokio::test]
async fn lab_chromium_draws_and_prints_it() {
    let world = World::new();
    let writer = Writer::new(&world);
    long_story(&writer).await;
    story::verification(&writer, "2026-03-02T11:30:00Z", story::bad_suite()).await;
    let folder = world.folder.path();
    for page_name in ["hello", "overview"] {
        let (page, _) = made(&world, page_name, Format::Html).await;
        let dark = "--blink-settings=preferredColorScheme=0";
        let light = "--blink-settings=preferredColorScheme=1";
        for (ending, option, scheme) in
            [("light.png", "--screenshot", light), ("dark.png", "--screenshot", dark), ("pdf", "--print-to-pdf", light)]
        {
            let name = format!("{page_name}.{ending}");
            let file = folder.join(&name);
            let option = format!("{option}={}", file.display());
            browse(folder, &page, &[&option, scheme, "--window-size=1200,2400", "--no-pdf-header-footer"]);
            let bytes = std::fs::read(&file).unwrap();
            // An empty page makes a few kilobytes; this one has text and pictures.
            assert!(bytes.len() > 20_000, "{name} has {} bytes", bytes.len());
            if let Ok(keep) = std::env::var("VICE_LAB_KEEP") {
                std::fs::copy(&file, Path::new(&keep).join(&name)).unwrap();
                std::fs::write(Path::new(&keep).join(format!("{page_name}.html")), &page).unwrap();
            }
        }
    }
}
