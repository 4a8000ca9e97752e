//! The runbooks: every alert links to a section that exists, and every command of a runbook, an alert or another document exists.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::{Command, CommandFactory};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// The anchors that a viewer of Markdown makes of the headings.
fn anchors(markdown: &str) -> BTreeSet<String> {
    let headings = markdown.lines().filter_map(|line| line.strip_prefix('#')).map(|line| line.trim_start_matches('#'));
    let anchor = |heading: &str| {
        let kept = heading.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_alert_links_to_a_runbook_that_exists() {
    let rules = read(&root().join("dashboards/driftless.rules.yml"));
    let runbooks = anchors(&read(&root().join("docs/runbooks.md")));
    let alerts: Vec<&str> = rules.split("- alert: ").skip(1).collect();
    assert!(alerts.len() > 20);
    for alert in alerts {
        let name = alert.lines().next().unwrap_or_default();
        let url = alert.lines().find_map(|line| line.trim().strip_prefix("runbook_url: ")).unwrap_or_default();
        let anchor = url.strip_prefix("docs/runbooks.md#").unwrap_or_default();
        assert!(runbooks.contains(anchor), "{name} links to {url:?}; the runbooks have {runbooks:?}");
        let named = read(&root().join("docs/runbooks.md")).contains(&format!("`{name}`"));
        assert!(named, "the runbooks do not name {name}");
    }
}

#[test]
fn every_link_inside_the_documents_leads_somewhere() {
    let mut wrong = Vec::new();
    for path in documents().into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = read(&path);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.starts_with("http") || (file.is_empty() && anchor.is_empty()) {
                continue;
            }
            let there = if file.is_empty() { path.clone() } else { path.parent().expect("a folder").join(file) };
            let leads = there.exists() && (anchor.is_empty() || anchors(&read(&there)).contains(anchor));
            wrong.extend((!leads).then(|| format!("{}: {target}", path.display())));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_command_of_a_runbook_an_alert_or_a_document_exists() {
    let program = driftless::cli::Cli::command();
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in documents() {
        for command in commands(&read(&path)) {
            seen += 1;
            if let Err(why) = exists(&program, &command) {
                wrong.push(format!("{}: `driftless {command}`: {why}", path.display()));
            }
        }
    }
    assert!(seen > 100, "only {seen} commands were found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn documents() -> Vec<PathBuf> {
    let files = |folder: &str, extensions: &[&str]| {
        let entries = std::fs::read_dir(root().join(folder)).expect("list the folder");
        let paths = entries.map(|entry| entry.expect("read the folder").path());
        let wanted = |path: &PathBuf| path.extension().is_some_and(|is| extensions.iter().any(|wanted| is == *wanted));
        paths.filter(wanted).collect::<Vec<_>>()
    };
    let mut documents = files("docs", &["md"]);
    documents.extend(files("dashboards", &["yml", "json"]));
    documents.extend(["README.md", "config/driftless.toml"].map(|name| root().join(name)));
    documents
}

/// The commands of a text: in quotes of code, and on lines of their own.
fn commands(text: &str) -> Vec<String> {
    const NAME: &str = "driftless ";
    let text = &without_labels(text);
    // A quote of code may be broken over two lines, but never over a paragraph.
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let quoted = paragraphs.flat_map(|paragraph| {
        let quotes = paragraph.split('`').skip(1).step_by(2).map(str::to_owned);
        quotes.collect::<Vec<_>>()
    });
    let lines = text.lines().map(|line| line.trim().trim_start_matches("$ ").to_owned());
    let all = quoted.chain(lines).filter_map(|text| Some(text.strip_prefix(NAME)?.to_owned()));
    all.filter(|command| !command.contains('`')).collect()
}

/// The text of an alert with a word in the place of each label.
fn without_labels(text: &str) -> String {
    let mut parts = text.split("{{");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + "LABEL" + part.split_once("}}").map_or(part, |(_, rest)| rest))
}

/// Whether the words before a comment are a command of the program, with flags that it has.
fn exists(program: &Command, command: &str) -> Result<(), String> {
    let mut at = program;
    let mut words = command.split_whitespace().take_while(|word| !["#", "|", "&", "&&", ">"].contains(word));
    while let Some(word) = words.next() {
        let flag = word.split('=').next().unwrap_or(word);
        if let Some(name) = flag.strip_prefix("--") {
            let arguments = at.get_arguments().chain(program.get_arguments());
            let mut known = arguments.filter(|argument| argument.get_long() == Some(name)).peekable();
            let Some(argument) = known.peek() else {
                if ["help", "version"].contains(&name) {
                    continue;
                }
                return Err(format!("there is no --{name}"));
            };
            if argument.get_action().takes_values() && !word.contains('=') {
                let value = words.next().ok_or_else(|| format!("--{name} lacks its value"))?;
                // The rest of a value in quotes.
                if value.starts_with(['"', '\'']) && !value[1..].ends_with(['"', '\'']) {
                    words.find(|word| word.ends_with(['"', '\'']));
                }
            }
        } else if at.has_subcommands() {
            // `a|b|c` stands for each of them.
            for name in word.split('|') {
                if name != "help" && at.find_subcommand(name).is_none() {
                    return Err(format!("there is no `{name}`"));
                }
            }
            let Some(next) = at.find_subcommand(word) else { return Ok(()) };
            at = next;
        } else if at.get_positionals().next().is_none() && !word.starts_with('…') {
            return Err(format!("it takes no `{word}`"));
        }
    }
    Ok(())
}

#[test]
fn a_command_that_does_not_exist_is_noticed() {
    let program = driftless::cli::Cli::command();
    for right in [
        "replay --collection plans --to-earliest --why \"two words\" --execute",
        "dlq show 17",
        "--config f run",
        "dlq list|show",
    ] {
        assert_eq!(exists(&program, right), Ok(()), "{right}");
    }
    for wrong in ["replays", "dlq lists", "replay --to-latest", "pause now", "dlq list|no"] {
        assert!(exists(&program, wrong).is_err(), "{wrong}");
    }
    let text = "Run `driftless dlq\nlist`.\n\n```sh\n$ driftless check # all\n```";
    assert_eq!(commands(text), ["dlq list", "check # all"]);
}
