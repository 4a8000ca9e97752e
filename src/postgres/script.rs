//! Splits a file of SQL into statements, as psql does.
//!
//! A statement ends at a semicolon outside of quotes, comments, parentheses and the body of a function (`BEGIN ATOMIC … END`).
//! `BEGIN` and `COMMIT` are left out, because the file is run in one transaction anyway. psql's own commands and `COPY … FROM stdin`
//! are refused, because PostgreSQL does not know them as statements.
//!
//! Source: `psqlscan.l` of PostgreSQL, and section 4.1 of its manual, "Lexical Structure".

/// A statement of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScriptStatement<'t> {
    /// Its line, from 1.
    pub(crate) line: usize,
    /// Its text, without the semicolon.
    pub(crate) sql: &'t str,
}

/// Splits a file.
///
/// # Errors
/// The line and the reason why it cannot be run in one transaction.
pub(crate) fn statements_of(text: &str) -> Result<Vec<ScriptStatement<'_>>, String> {
    let mut statements = Vec::new();
    let mut scan = Scan { text, at: 0, line: 1 };
    while let Some(statement) = scan.statement()? {
        statements.extend(statement);
    }
    Ok(statements)
}

struct Scan<'t> {
    text: &'t str,
    at: usize,
    line: usize,
}

impl<'t> Scan<'t> {
    /// The next statement; the inner `None` for one that is left out, the outer for the end of the file.
    fn statement(&mut self) -> Result<Option<Option<ScriptStatement<'t>>>, String> {
        self.space();
        let (start, line) = (self.at, self.line);
        if start == self.text.len() {
            return Ok(None);
        }
        let mut words: Vec<String> = Vec::new();
        let (mut parentheses, mut bodies) = (0_usize, 0_usize);
        while let Some(letter) = self.rest().chars().next() {
            match letter {
                ';' if parentheses == 0 && bodies == 0 => break,
                '\\' => {
                    return Err(format!("{}: this is a command of psql; write it as SQL, or leave it out", self.line));
                }
                '(' => parentheses += 1,
                ')' => parentheses = parentheses.saturating_sub(1),
                _ if letter.is_alphabetic() || letter == '_' => {
                    let word = self.word();
                    bodies = body_depth(&words, &word, bodies);
                    words.push(word);
                    continue;
                }
                _ if self.skipped()? => continue,
                _ => {}
            }
            self.forward(letter.len_utf8());
        }
        let sql = self.text[start..self.at].trim_end();
        if self.at < self.text.len() {
            self.forward(1);
        }
        judged(&words, line)?;
        let is_left_out = sql.is_empty() || is_bracket(&words);
        Ok(Some((!is_left_out).then_some(ScriptStatement { line, sql })))
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn forward(&mut self, bytes: usize) {
        self.line += self.rest()[..bytes].matches('\n').count();
        self.at += bytes;
    }

    /// Skips white space and comments.
    fn space(&mut self) {
        loop {
            let white = self.rest().len() - self.rest().trim_start().len();
            self.forward(white);
            if !self.comment() {
                return;
            }
        }
    }

    fn word(&mut self) -> String {
        let is_part = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
        let length = self.rest().find(|letter| !is_part(letter)).unwrap_or(self.rest().len());
        let word = self.rest()[..length].to_uppercase();
        self.forward(length);
        // The quote of E'…' belongs to it, because a backslash escapes there.
        if word == "E" && self.rest().starts_with('\'') {
            self.quoted('\'', true);
        }
        word
    }

    /// Skips a comment; returns whether there was one. Comments in `/* */` nest.
    fn comment(&mut self) -> bool {
        if self.rest().starts_with("--") {
            let length = self.rest().find('\n').unwrap_or(self.rest().len());
            self.forward(length);
            return true;
        }
        if !self.rest().starts_with("/*") {
            return false;
        }
        let mut depth = 0;
        while let Some(letter) = self.rest().chars().next() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.forward(2);
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.forward(2);
                if depth == 0 {
                    break;
                }
            } else {
                self.forward(letter.len_utf8());
            }
        }
        true
    }

    /// Skips a comment, a quoted text or name, or a text in dollar quotes; returns whether there was one.
    fn skipped(&mut self) -> Result<bool, String> {
        if self.comment() {
            return Ok(true);
        }
        match self.rest().chars().next() {
            Some(quote @ ('\'' | '"')) => self.quoted(quote, false),
            Some('$') => return self.dollars(),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A doubled quote ends one text and begins another, which is as well.
    fn quoted(&mut self, quote: char, escapes: bool) {
        self.forward(1);
        while let Some(letter) = self.rest().chars().next() {
            self.forward(letter.len_utf8());
            if letter == quote {
                return;
            }
            if escapes && letter == '\\' {
                let escaped = self.rest().chars().next().map_or(0, char::len_utf8);
                self.forward(escaped);
            }
        }
    }

    fn dollars(&mut self) -> Result<bool, String> {
        let tag_end = self.rest()[1..].find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
        let Some(end) = tag_end.filter(|end| self.rest()[1 + end..].starts_with('$')) else { return Ok(false) };
        // `$1` is a parameter.
        if self.rest()[1..].starts_with(|letter: char| letter.is_ascii_digit()) {
            return Ok(false);
        }
        let tag = &self.rest()[..end + 2];
        let line = self.line;
        self.forward(tag.len());
        let Some(length) = self.rest().find(tag) else {
            return Err(format!("{line}: the text after {tag} does not end"));
        };
        self.forward(length + tag.len());
        Ok(true)
    }
}

/// How many bodies of functions are open after a word.
fn body_depth(words: &[String], word: &str, open: usize) -> usize {
    let is_function = words.first().is_some_and(|first| first == "CREATE")
        && words.iter().take(4).any(|word| word == "FUNCTION" || word == "PROCEDURE");
    match word {
        "ATOMIC" if is_function && words.last().is_some_and(|last| last == "BEGIN") => open + 1,
        "CASE" if open > 0 => open + 1,
        "END" if open > 0 => open - 1,
        _ => open,
    }
}

/// Whether a statement begins or ends a transaction.
fn is_bracket(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    matches!(words.as_slice(), ["BEGIN" | "COMMIT" | "END", ..] | ["START", "TRANSACTION", ..])
}

fn judged(words: &[String], line: usize) -> Result<(), String> {
    match words.first().map(String::as_str) {
        Some("ROLLBACK" | "ABORT") => Err(format!("{line}: a file that is run in one transaction cannot roll it back")),
        Some("COPY") if words.iter().any(|word| word == "STDIN") => {
            Err(format!("{line}: COPY FROM stdin needs psql; write INSERT, or leave the data out"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::plain("SELECT 1;\nSELECT 2", &[(1, "SELECT 1"), (2, "SELECT 2")])]
    #[case::comments("-- a; b\n/* c; /* d; */ */ SELECT 1; -- e", &[(2, "SELECT 1")])]
    #[case::inside("SELECT 1 -- a;\n, ';', \";\", E'\\';', 'it''s;'", &[(1, "SELECT 1 -- a;\n, ';', \";\", E'\\';', 'it''s;'")])]
    #[case::dollars("DO $$BEGIN; END$$; SELECT $a$ $$; $a$;", &[(1, "DO $$BEGIN; END$$"), (1, "SELECT $a$ $$; $a$")])]
    #[case::parameter("SELECT $1; SELECT a$b$c", &[(1, "SELECT $1"), (1, "SELECT a$b$c")])]
    #[case::rule("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", &[
        (1, "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"), (1, "SELECT 3")])]
    #[case::body("CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; SELECT 3", &[
        (1, "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"),
        (1, "SELECT 3")])]
    #[case::transaction("BEGIN;\nSTART TRANSACTION;\nSELECT 1;\nCOMMIT;", &[(3, "SELECT 1")])]
    #[case::empty(";;\n ; -- nothing", &[])]
    fn splits(#[case] text: &str, #[case] expected: &[(usize, &str)]) {
        let statements = statements_of(text).expect("statements");
        assert_eq!(statements.iter().map(|one| (one.line, one.sql)).collect::<Vec<_>>(), expected);
    }

    #[rstest]
    #[case("SELECT 1;\n\\c other", "2: this is a command of psql")]
    #[case("SELECT 1;\n\nROLLBACK;", "3: a file that is run in one transaction")]
    #[case("COPY t FROM stdin;\n1\n", "1: COPY FROM stdin")]
    #[case("DO $$ BEGIN", "1: the text after $$ does not end")]
    fn refuses(#[case] text: &str, #[case] expected: &str) {
        let fault = statements_of(text).expect_err("a fault");
        assert!(fault.starts_with(expected), "{fault}");
    }
}
