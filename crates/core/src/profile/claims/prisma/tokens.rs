//! The tokens of a Prisma schema, each with its line.

use std::{fmt, iter::Peekable, str::CharIndices};

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, a keyword, a number, or several names with dots between them.
    Word(String),
    /// A text in quotes.
    Text(String),
    /// Any other character.
    Mark(char),
    /// The end of a line, which ends a field.
    End,
}

/// A place that is no Prisma schema for MongoDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The fault there.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for Fault {}

/// Cuts a schema into tokens. Comments are none.
pub(super) fn cut(text: &str) -> Result<Vec<(Token, usize)>, Fault> {
    let mut tokens = Vec::new();
    let mut letters = text.char_indices().peekable();
    let mut line = 1;
    while let Some((at, letter)) = letters.next() {
        let token = match letter {
            '\n' => Token::End,
            letter if letter.is_whitespace() => continue,
            '/' if text[at..].starts_with("//") => {
                while letters.next_if(|(_, letter)| *letter != '\n').is_some() {}
                continue;
            }
            '/' if text[at..].starts_with("/*") => {
                let end = text[at..].find("*/").map_or(text.len(), |end| at + end + 2);
                while letters.next_if(|(at, _)| *at < end).is_some() {}
                line += text[at..end].matches('\n').count();
                continue;
            }
            '"' => Token::Text(
                quoted(&mut letters).ok_or_else(|| Fault { line, what: "find the end of the text".to_owned() })?,
            ),
            letter if is_of_word(letter) => {
                let mut word = String::from(letter);
                while let Some((_, letter)) = letters.next_if(|(_, letter)| is_of_word(*letter)) {
                    word.push(letter);
                }
                Token::Word(word)
            }
            letter => Token::Mark(letter),
        };
        line += usize::from(token == Token::End);
        tokens.push((token, line));
    }
    Ok(tokens)
}

/// The rest of a text behind its first quote; `None` if its line ends first.
fn quoted(letters: &mut Peekable<CharIndices<'_>>) -> Option<String> {
    let mut text = String::new();
    loop {
        match letters.next()?.1 {
            '"' => return Some(text),
            '\n' => return None,
            '\\' => match letters.next()?.1 {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                'u' => {
                    let digits: String = (0..4).map_while(|_| letters.next()).map(|(_, digit)| digit).collect();
                    text.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap_or('\u{fffd}'));
                }
                other => text.push(other),
            },
            other => text.push(other),
        }
    }
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}
