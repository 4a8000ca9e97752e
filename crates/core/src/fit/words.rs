//! Names of columns, tables and fields, compared as applications and their frameworks write them.
//!
//! `createdAt`, `created_at` and `CreatedAt` are the same words; `userId`, `user_id` and `user` name the same thing, and so do `tasks` and
//! `task`. A name is reduced step by step, and how many steps two names need to become the same is how sure the match is.

use std::collections::BTreeSet;

use crate::draft::snake;

/// Words at the end of a name that say its type and not what it means.
const TYPES: [&str; 9] = ["id", "ids", "at", "on", "date", "time", "ref", "refs", "ms"];
/// The same at its beginning.
const FLAGS: [&str; 2] = ["is", "has"];
/// Words that applications use for the same thing; the first stands for all. Each is as [`stem`] leaves it.
const SYNONYMS: [&[&str]; 13] = [
    &["content", "body"],
    &["statu", "stat"],
    &["kind", "typ"],
    &["text", "messag", "msg"],
    &["position", "sort", "order", "index", "rank", "ordinal"],
    &["start", "from", "begin"],
    &["end", "to", "until", "expir"],
    &["birth", "born", "birthday", "dob"],
    &["day", "daily"],
    &["milli", "dur", "millisecond"],
    &["url", "link", "href"],
    &["phon", "telephon", "mobil"],
    &["imag", "pictur", "photo"],
];
/// Names that say no more than that a value is an instant.
const INSTANTS: [&str; 5] = ["at", "date", "time", "timestamp", "when"];

/// A set of words in which order does not count.
pub(super) type Words = BTreeSet<String>;

/// The words of a name, in lower case and in their order.
pub(super) fn words(name: &str) -> Vec<String> {
    snake(&name.replace("IDs", "Ids")).split('_').filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// A word without the ending that English gives it: `created`, `creates` and `create` are `creat`.
pub(super) fn stem(word: &str) -> String {
    const SHORTEST: usize = 3;
    let long = |start: &&str| start.len() >= SHORTEST;
    if let Some(start) = word.strip_suffix("ies").filter(long) {
        return format!("{start}y");
    }
    let mut stem = word.strip_suffix('s').filter(|start| start.len() > 1 && !start.ends_with('s')).unwrap_or(word);
    let ends = ["ation", "ment", "ing", "ed"];
    stem = ends.iter().find_map(|end| stem.strip_suffix(end).filter(long)).unwrap_or(stem);
    stem = stem.strip_suffix('e').filter(long).unwrap_or(stem);
    stem.to_owned()
}

/// The stems of words, without those that say a type.
pub(super) fn core(words: &[String]) -> Words {
    let mut words = words;
    while let [_, .., last] = words
        && TYPES.contains(&last.as_str())
    {
        words = &words[..words.len() - 1];
    }
    if let [first, _, ..] = words
        && FLAGS.contains(&first.as_str())
    {
        words = &words[1..];
    }
    words.iter().map(|word| stem(word)).collect()
}

/// The same, with one word for all that mean the same.
pub(super) fn meaning(core: &Words) -> Words {
    let canonical = |word: &String| {
        let known = SYNONYMS.iter().find(|known| known.contains(&word.as_str()));
        known.map_or_else(|| word.clone(), |known| known[0].to_owned())
    };
    core.iter().map(canonical).collect()
}

/// Whether a name says no more than that the value is an instant.
pub(super) fn is_instant(words: &[String]) -> bool {
    matches!(words, [word] if INSTANTS.contains(&word.as_str()))
}

/// How sure it is that a column and a path are the same, by their names alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Likeness {
    /// The names have nothing in common.
    None,
    /// The path is an instant without a name of its own: `at`.
    Instant,
    /// All words of one are among those of the other.
    Part,
    /// Words that mean the same.
    Synonym,
    /// The same words, but for the name of the object around or of the table itself.
    Inner,
    /// The same words, but for endings and types.
    Core,
    /// The same words.
    Same,
}

/// Compares a column with a path; `own` are the words by which the documents or rows call themselves.
pub(super) fn likeness(column: &str, path: &[&str], own: &Words) -> Likeness {
    let wanted = words(column);
    let each: Vec<Vec<String>> = path.iter().map(|name| words(name)).collect();
    let all = each.concat();
    if wanted == all && !all.is_empty() {
        return Likeness::Same;
    }
    if wanted.is_empty() || all.is_empty() {
        return Likeness::None;
    }
    let wanted = core(&wanted);
    // The path as a whole, and what is left of it without the objects around.
    let mut inner: Vec<Words> = (1..each.len()).map(|from| core(&each[from..].concat())).collect();
    let whole = core(&all);
    if wanted == whole {
        return Likeness::Core;
    }
    let without = |words: &Words| -> Words {
        let rest: Words = words.difference(own).cloned().collect();
        if rest.is_empty() { words.clone() } else { rest }
    };
    if inner.contains(&wanted) {
        return Likeness::Inner;
    }
    let bare = without(&wanted);
    inner.push(whole);
    if inner.iter().any(|words| without(words) == bare) {
        return Likeness::Inner;
    }
    let bare = meaning(&bare);
    let mut meant = inner.iter().map(|words| meaning(&without(words)));
    if meant.any(|words| words == bare) {
        return Likeness::Synonym;
    }
    let mut meant = inner.iter().map(|words| meaning(&without(words)));
    if meant.any(|words| words.is_subset(&bare) || bare.is_subset(&words)) {
        return Likeness::Part;
    }
    match each.last() {
        Some(last) if is_instant(last) => Likeness::Instant,
        _ => Likeness::None,
    }
}

/// Whether a column and a path share a word or the beginning of one, as `magnitude` and `mag` do; `own` says nothing.
pub(super) fn shares_a_word(column: &str, path: &[&str], own: &Words) -> bool {
    const SHORTEST: usize = 3;
    let begins = |long: &str, short: &str| short.len() >= SHORTEST && long.starts_with(short);
    let wanted = meaning(&core(&words(column)));
    let all = meaning(&core(&path.iter().flat_map(|name| words(name)).collect::<Vec<_>>()));
    wanted
        .difference(own)
        .any(|word| all.difference(own).any(|other| word == other || begins(word, other) || begins(other, word)))
}

/// How alike the names of a collection and a table are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TableLikeness {
    /// Nothing that counts.
    None,
    /// All words of one are among those of the other.
    Part,
    /// The same words behind a prefix: `crm_Accounts` and `Accounts`, `shop_order` and `orders`.
    Behind,
    /// The same words.
    Same,
}

/// Compares the names of a collection and a table.
pub(super) fn table_likeness(collection: &str, table: &str) -> TableLikeness {
    let stems = |name: &str| words(name).iter().map(|word| stem(word)).collect::<Vec<_>>();
    let (ours, theirs) = (stems(collection), stems(table));
    if ours.is_empty() || theirs.is_empty() {
        return TableLikeness::None;
    }
    if ours.concat() == theirs.concat() {
        return TableLikeness::Same;
    }
    if ours.ends_with(&theirs) || theirs.ends_with(&ours) {
        return TableLikeness::Behind;
    }
    let (ours, theirs): (Words, Words) = (ours.into_iter().collect(), theirs.into_iter().collect());
    if ours.is_subset(&theirs) || theirs.is_subset(&ours) { TableLikeness::Part } else { TableLikeness::None }
}

/// The words by which the documents of a collection or the rows of a table call themselves: `account` in `crm_Accounts`.
pub(super) fn own(names: &[&str]) -> Words {
    names.iter().filter_map(|name| words(name).last().map(|last| stem(last))).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("created_at", &["createdAt"], Likeness::Same)]
    #[case("createdAt", &["created_at"], Likeness::Same)]
    #[case("address_city", &["address", "city"], Likeness::Same)]
    #[case("user_id", &["user"], Likeness::Core)]
    #[case("dueAt", &["dueDateAt"], Likeness::Core)]
    #[case("closesOn", &["close_date"], Likeness::Core)]
    #[case("expires_at", &["expirationTime"], Likeness::Core)]
    #[case("reviewed_by", &["review", "by"], Likeness::Core)]
    #[case("isAdmin", &["admin"], Likeness::Core)]
    #[case("city", &["address", "city"], Likeness::Inner)]
    #[case("name", &["task_name"], Likeness::Inner)]
    #[case("task_name", &["name"], Likeness::Inner)]
    #[case("state", &["status"], Likeness::Synonym)]
    #[case("body", &["content"], Likeness::Synonym)]
    #[case("retires_at", &["retirement_age"], Likeness::Part)]
    #[case("written_at", &["at"], Likeness::Instant)]
    #[case("iban", &["cardNumber"], Likeness::None)]
    fn names_are_compared(#[case] column: &str, #[case] path: &[&str], #[case] expected: Likeness) {
        assert_eq!(likeness(column, path, &own(&["tasks"])), expected);
    }

    #[rstest]
    #[case("users", "User", TableLikeness::Same)]
    #[case("blogPosts", "blog_posts", TableLikeness::Same)]
    #[case("categories", "category", TableLikeness::Same)]
    #[case("crm_Accounts", "Accounts", TableLikeness::Behind)]
    #[case("orders", "shop_order", TableLikeness::Behind)]
    #[case("item_kc_map", "item_kcs", TableLikeness::Part)]
    #[case("users", "learners", TableLikeness::None)]
    fn names_of_tables_are_compared(#[case] collection: &str, #[case] table: &str, #[case] expected: TableLikeness) {
        assert_eq!(table_likeness(collection, table), expected);
    }
}
