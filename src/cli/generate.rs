//! `driftless completions` and `driftless man`: made of the same definitions as the command line itself.

use std::{io::Write, path::PathBuf};

use anyhow::Context;
use clap::{Args, CommandFactory};

use super::{Cli, Exit};

/// Print the completions of a shell.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "driftless", &mut text);
        print(&text)
    }
}

/// Print the man page, or write the pages of all commands into a folder.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// The folder, which exists.
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
}

impl Man {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let command = Cli::command();
        if let Some(folder) = &self.to {
            let written = clap_mangen::generate_to(command, folder);
            written.with_context(|| format!("write the man pages into {}", folder.display()))?;
            return Ok(Exit::Success);
        }
        let mut text = Vec::new();
        clap_mangen::Man::new(command).render(&mut text)?;
        print(&text)
    }
}

fn print(text: &[u8]) -> anyhow::Result<Exit> {
    std::io::stdout().write_all(text).context("write to standard output")?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_command() {
        let commands: Vec<String> =
            Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert!(commands.len() > 10, "{commands:?}");
        for shell in clap_complete::Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "driftless", &mut text);
            let text = String::from_utf8(text).expect("text");
            assert!(commands.iter().all(|command| text.contains(command.as_str())), "{shell}");
        }
    }

    #[test]
    fn the_man_page_names_every_command() {
        let mut page = Vec::new();
        clap_mangen::Man::new(Cli::command()).render(&mut page).expect("a page");
        let page = String::from_utf8(page).expect("text");
        for command in Cli::command().get_subcommands() {
            assert!(page.contains(&command.get_name().replace('-', "\\-")), "{}", command.get_name());
        }
    }
}
