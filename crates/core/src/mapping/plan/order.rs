//! Foreign-key order: parents before children.

use std::collections::HashMap;

use crate::mapping::target::TableName;

/// The rank of each table: 0 for one that references no other, else one more than the highest it references.
///
/// A table that several collections write is listed once for each. A table that references itself does not count. In a ring
/// of references one of them is ignored, the one found last; where the target enforces it, it must be deferrable.
pub(crate) fn ranks(references: &[(TableName, Vec<TableName>)]) -> Vec<usize> {
    let mut positions: HashMap<&TableName, Vec<usize>> = HashMap::new();
    for (at, (table, _)) in references.iter().enumerate() {
        positions.entry(table).or_default().push(at);
    }
    let mut ranks = vec![Rank::Unknown; references.len()];
    (0..references.len()).map(|at| rank(at, references, &positions, &mut ranks)).collect()
}

#[derive(Clone, Copy)]
enum Rank {
    Unknown,
    Open,
    Known(usize),
}

fn rank(
    at: usize,
    references: &[(TableName, Vec<TableName>)],
    positions: &HashMap<&TableName, Vec<usize>>,
    ranks: &mut [Rank],
) -> usize {
    if let Rank::Known(rank) = ranks[at] {
        return rank;
    }
    ranks[at] = Rank::Open;
    let mut highest = 0;
    let (table, parents) = &references[at];
    let parents = parents.iter().filter(|parent| *parent != table);
    for parent in parents.filter_map(|parent| positions.get(parent)).flatten() {
        if !matches!(ranks[*parent], Rank::Open) {
            highest = highest.max(1 + rank(*parent, references, positions, ranks));
        }
    }
    ranks[at] = Rank::Known(highest);
    highest
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    // Each word is `table:parent,parent`.
    #[rstest]
    #[case::chain("c:b b:a a:", &[2, 1, 0])]
    #[case::to_itself("a:a", &[0])]
    #[case::diamond("a: b:a c:a d:a,b,c", &[0, 1, 1, 2])]
    #[case::outside("a:unmapped", &[0])]
    #[case::ring("a:b b:a c:a", &[1, 0, 2])]
    #[case::listed_twice("a:b a: b: c:a", &[1, 0, 0, 2])]
    #[case::listed_twice_and_to_itself("a:a a:a", &[0, 0])]
    fn parents_first(#[case] tables: &str, #[case] expected: &[usize]) {
        let name = |name: &str| TableName::new("public", name);
        let references: Vec<_> = tables
            .split(' ')
            .filter_map(|table| table.split_once(':'))
            .map(|(table, parents)| (name(table), parents.split(',').map(name).collect()))
            .collect();
        assert_eq!(ranks(&references), expected);
    }
}
