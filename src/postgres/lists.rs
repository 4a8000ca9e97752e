//! Reads the lists of texts to which CHECK constraints limit columns: `CHECK (status IN ('open', 'done'))`.
//!
//! PostgreSQL prints such a constraint in one form, whatever the statement was: `col = ANY (ARRAY['open'::text, …])`. Anything else is
//! no list.

use super::{Error, Session, session::field};
use crate::{fit::List, mapping::target::TableName};

const ACT: &str = "read the constraints of the target";

const CHECKS: &str = "
SELECT n.nspname::text, c.relname::text, a.attname::text, pg_get_constraintdef(k.oid)
  FROM pg_constraint AS k JOIN pg_class AS c ON c.oid = k.conrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
  JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
 WHERE k.contype = 'c' AND cardinality(k.conkey) = 1
   AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'driftless') AND n.nspname !~ '^pg_'
 ORDER BY n.nspname, c.relname, k.conname";

/// Reads every such list.
///
/// # Errors
/// Fails with [`Error::Statement`], whose class follows the cause.
pub async fn read_lists(session: &Session) -> Result<Vec<List>, Error> {
    let mut lists = Vec::new();
    for row in session.query(ACT, CHECKS, &[]).await? {
        let Some(texts) = texts(field(&row, 3, ACT)?) else { continue };
        let table = TableName::new(field::<String>(&row, 0, ACT)?, field::<String>(&row, 1, ACT)?);
        lists.push(List { table, column: field(&row, 2, ACT)?, texts });
    }
    Ok(lists)
}

/// The texts of a constraint that is a list of them.
fn texts(constraint: &str) -> Option<Vec<String>> {
    let (before, after) = constraint.split_once("= ANY (")?;
    let (cast, inside) = after.split_once("ARRAY[")?;
    let (mut rest, mut texts) = (inside, Vec::new());
    let is_alone = |text: &str| ![" OR ", " AND ", "NOT "].iter().any(|word| text.contains(word));
    if !is_alone(before) || !cast.chars().all(|letter| letter == '(') {
        return None;
    }
    while let Some(quoted) = rest.strip_prefix('\'') {
        let mut text = String::new();
        rest = quoted;
        loop {
            let (part, after) = rest.split_once('\'')?;
            text.push_str(part);
            rest = after;
            match rest.strip_prefix('\'') {
                Some(after) => rest = after,
                None => break,
            }
            text.push('\'');
        }
        texts.push(text);
        // The cast of the text, and the end of the list or the next one.
        let end = rest.find([',', ']'])?;
        rest = match rest[end..].strip_prefix(", ") {
            Some(next) => next,
            None => return is_alone(&rest[end..]).then_some(texts),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::text("CHECK ((tier = ANY (ARRAY['free'::text, 'pro'::text])))", Some(&["free", "pro"][..]))]
    #[case::varchar(
        "CHECK (((kind)::text = ANY ((ARRAY['a, b'::character varying, 'it''s ]'::character varying])::text[])))",
        Some(&["a, b", "it's ]"][..])
    )]
    #[case::number("CHECK ((level = ANY (ARRAY[1, 2])))", None)]
    #[case::range("CHECK (((level >= 0) AND (level <= 100)))", None)]
    #[case::or_more("CHECK (((kind = ANY (ARRAY['a'::text])) OR (kind ~~ 'x%'::text)))", None)]
    #[case::not("CHECK ((NOT (kind = ANY (ARRAY['a'::text]))))", None)]
    fn lists_are_read(#[case] constraint: &str, #[case] expected: Option<&[&str]>) {
        let expected = expected.map(|texts| texts.iter().map(|text| (*text).to_owned()).collect());
        assert_eq!(texts(constraint), expected);
    }
}
