//! Questions on a terminal, each with a default; without a terminal, the defaults.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::Context;
use clap::ValueEnum;

/// Asks, or does not.
pub(super) struct Questions {
    /// Where answers come from and questions go; `None` if nobody is asked.
    terminal: Option<(Box<dyn BufRead>, Box<dyn Write>)>,
}

impl Questions {
    /// Asks on the terminal if there is one, unless all is agreed to.
    pub(super) fn new(yes: bool) -> Self {
        let is_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        let terminal = (is_terminal && !yes).then(|| {
            let input: Box<dyn BufRead> = Box::new(std::io::BufReader::new(std::io::stdin()));
            let output: Box<dyn Write> = Box::new(std::io::stderr());
            (input, output)
        });
        Self { terminal }
    }

    /// Returns the given answer, or asks for one of the values.
    pub(super) fn choose<T: ValueEnum>(&mut self, question: &str, given: Option<T>, default: T) -> anyhow::Result<T> {
        let name = |value: &T| value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let names: Vec<String> = T::value_variants().iter().map(name).collect();
        let question = format!("{question} ({})", names.join(", "));
        let of = |text: &str| T::from_str(text, true).map_err(|_| format!("one of {}", names.join(", ")));
        self.ask(&question, given, &name(&default), of)
    }

    /// Returns the given answer, or asks for a number above 0.
    pub(super) fn number(&mut self, question: &str, given: Option<usize>, default: usize) -> anyhow::Result<usize> {
        let above_zero = |text: &str| {
            text.parse::<usize>().ok().filter(|number| *number > 0).ok_or_else(|| "a number above 0".to_owned())
        };
        self.ask(question, given, &default.to_string(), above_zero)
    }

    /// Returns the given answer, or asks for a text.
    pub(super) fn text(&mut self, question: &str, given: Option<String>, default: &str) -> anyhow::Result<String> {
        self.ask(question, given, default, |text| Ok(text.to_owned()))
    }

    fn ask<T>(
        &mut self,
        question: &str,
        given: Option<T>,
        default: &str,
        of: impl Fn(&str) -> Result<T, String>,
    ) -> anyhow::Result<T> {
        if let Some(given) = given {
            return Ok(given);
        }
        let of_default = || of(default).map_err(anyhow::Error::msg);
        let Some((input, output)) = &mut self.terminal else { return of_default() };
        loop {
            write!(output, "{question} [{default}] ").and_then(|()| output.flush()).context("ask on the terminal")?;
            let mut line = String::new();
            if input.read_line(&mut line).context("read an answer from the terminal")? == 0 || line.trim().is_empty() {
                return of_default();
            }
            match of(line.trim()) {
                Ok(answer) => return Ok(answer),
                Err(wanted) => writeln!(output, "Please answer {wanted}.").context("ask on the terminal")?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answering(text: &'static str) -> Questions {
        Questions { terminal: Some((Box::new(text.as_bytes()), Box::new(std::io::sink()))) }
    }

    #[test]
    fn an_answer_is_asked_for_until_it_is_one() {
        let mut questions = answering("none\n0\n4\n\n");
        assert_eq!(questions.number("How many?", None, 3).expect("an answer"), 4);
        assert_eq!(questions.number("How many?", None, 3).expect("the default"), 3);
        assert_eq!(questions.number("How many?", None, 3).expect("the default at the end"), 3);
    }

    #[test]
    fn nobody_is_asked_for_what_is_given_or_agreed_to() {
        assert_eq!(answering("4\n").number("How many?", Some(7), 3).expect("the given"), 7);
        let mut agreed = Questions { terminal: None };
        assert_eq!(agreed.text("Which?", None, "app").expect("the default"), "app");
    }
}
