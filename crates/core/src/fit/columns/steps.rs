//! Columns by names, by keys, and by elements that are no objects.

use super::{Bench, Slot, values};
use crate::{
    draft::text,
    fit::{
        Fitter,
        ids::{Fit, foreign_key},
        model::Line,
        words::{Likeness, Words, core, likeness, words},
    },
    mapping::{Path, target::Column},
};

/// The candidates of a column, by their places, each with how it fits.
type Wish = Vec<(usize, Fit)>;

impl Bench<'_> {
    /// Fills columns by their names, from the surest likeness down to `least`.
    pub(in crate::fit) fn by_names(&mut self, fitter: &Fitter<'_>, most: Likeness, least: Likeness) {
        let all =
            [Likeness::Same, Likeness::Core, Likeness::Inner, Likeness::Synonym, Likeness::Part, Likeness::Instant];
        for step in all.into_iter().filter(|step| *step <= most && *step >= least) {
            while self.one_step(fitter, step) {}
        }
    }

    /// Fills every column that has one candidate of such a likeness which no other column wants as much; whether there was one.
    fn one_step(&mut self, fitter: &Fitter<'_>, least: Likeness) -> bool {
        let mut wishes: Vec<(usize, Likeness, Wish)> = Vec::new();
        for (at, column) in self.table.columns.iter().enumerate() {
            if !matches!(self.slots[at], Slot::Open) {
                continue;
            }
            let alike: Vec<(usize, Likeness, Fit)> = self
                .candidates
                .iter()
                .enumerate()
                .filter(|(_, candidate)| !candidate.used)
                .filter_map(|(place, candidate)| {
                    let alike = self.likeness(column, candidate);
                    let fit = (alike >= least).then(|| self.fit(fitter, column, candidate)).flatten()?;
                    fit.needs.is_none_or(|needs| needs <= alike).then_some((place, alike, fit))
                })
                .collect();
            let Some(best) = alike.iter().map(|(_, alike, _)| *alike).max() else { continue };
            // A value that says what a name says in another form, such as a list of kinds, has no rival among the less alike.
            let best: Vec<_> = alike.into_iter().filter(|(_, alike, _)| *alike == best).collect();
            let likeness = best[0].1;
            wishes.push((at, likeness, best.into_iter().map(|(place, _, fit)| (place, fit)).collect()));
        }
        let mut any = false;
        for (at, alike, wish) in &wishes {
            let rivals = wishes.iter().filter(|(other, theirs, _)| other != at && theirs >= alike);
            let wanted = |place: usize| {
                rivals.clone().any(|(_, _, wish)| wish.iter().any(|(other, fit)| *other == place && !is_shared(fit)))
            };
            if wish.iter().any(|(place, fit)| wanted(*place) && !is_shared(fit)) || !self.is_one(wish, *alike) {
                continue;
            }
            self.place(*at, wish.clone(), *alike);
            any = true;
        }
        any
    }

    /// Whether the candidates are one path, or spellings of one name.
    fn is_one(&self, wish: &[(usize, Fit)], alike: Likeness) -> bool {
        let [(first, fit), others @ ..] = wish else { return false };
        let name =
            |place: usize| core(&self.candidates[place].names.iter().flat_map(|name| words(name)).collect::<Vec<_>>());
        let reference = |fit: &Fit| fit.settings.iter().find(|line| line.starts_with("reference")).cloned();
        others.iter().all(|(place, other)| {
            alike >= Likeness::Core
                && name(*place) == name(*first)
                && self.candidates[*place].names.len() == self.candidates[*first].names.len()
                && reference(other) == reference(fit)
        })
    }

    fn place(&mut self, at: usize, mut wish: Vec<(usize, Fit)>, alike: Likeness) {
        let column = &self.table.columns[at];
        // The spelling of the column first, then the more common one.
        wish.sort_by_key(|(place, _)| {
            let candidate = &self.candidates[*place];
            (candidate.names.last() != Some(&column.name.as_str()), std::cmp::Reverse(values(candidate.field)))
        });
        let paths: Vec<usize> = wish.iter().map(|(place, _)| *place).collect();
        let mut settings: Vec<String> = Vec::new();
        let mut remarks: Vec<String> = Vec::new();
        for (_, fit) in &wish {
            settings.extend(fit.settings.iter().filter(|line| !settings.contains(line)).cloned().collect::<Vec<_>>());
            remarks.extend(fit.remarks.iter().filter(|line| !remarks.contains(line)).cloned().collect::<Vec<_>>());
            self.rows.extend(fit.row.clone());
            self.kinds.extend(fit.kind.clone());
        }
        if alike <= Likeness::Synonym {
            let why = match alike {
                Likeness::None => "by its foreign key",
                Likeness::Instant => "the only instant without a name of its own",
                Likeness::Part => "by a part of its name",
                _ => "by a word that means the same",
            };
            remarks.insert(0, why.to_owned());
        }
        paths.iter().for_each(|place| self.candidates[*place].used = true);
        let line = Line { column: column.name.clone(), source: self.source(&paths, &settings), remarks };
        self.slots[at] = Slot::Line { line, paths };
    }

    pub(super) fn source(&self, paths: &[usize], settings: &[String]) -> String {
        let texts: Vec<String> =
            paths.iter().map(|place| text(&Path::fields(&self.candidates[*place].names).to_string())).collect();
        let path = if texts.len() == 1 { texts[0].clone() } else { format!("[{}]", texts.join(", ")) };
        if settings.is_empty() { path } else { format!("{{ path = {path}, {} }}", settings.join(", ")) }
    }

    /// Fills columns whose foreign key, or whose values, belong to exactly one path that is left.
    pub(in crate::fit) fn by_keys(&mut self, fitter: &Fitter<'_>) {
        let mut wishes: Vec<(usize, usize, Fit)> = Vec::new();
        for (at, column) in self.table.columns.iter().enumerate() {
            if !matches!(self.slots[at], Slot::Open) {
                continue;
            }
            let mut found = self.candidates.iter().enumerate().filter(|(_, candidate)| !candidate.used).filter_map(
                |(place, candidate)| {
                    self.fit(fitter, column, candidate).filter(|fit| fit.proven).map(|fit| (place, fit))
                },
            );
            if let (Some((place, fit)), None) = (found.next(), found.next()) {
                wishes.push((at, place, fit));
            }
        }
        for (at, place, fit) in &wishes {
            let rivals =
                wishes.iter().any(|(other, wanted, theirs)| other != at && wanted == place && !is_shared(theirs));
            let alone = self.open().iter().filter(|column| self.goes_alike(at, column)).count() == 1;
            if (!rivals && alone) || is_shared(fit) {
                self.place(*at, vec![(*place, fit.clone())], Likeness::None);
            }
        }
    }

    /// Whether a column has the foreign key of another, so that a path could fill either.
    fn goes_alike(&self, at: &usize, other: &Column) -> bool {
        let own = &self.table.columns[*at];
        let parent = |column: &Column| foreign_key(self.table, &column.name).map(|key| &key.parent);
        own.name == other.name || (parent(own).is_some() && parent(own) == parent(other))
    }

    /// Fills the column of elements that are no objects.
    pub(in crate::fit) fn by_element(&mut self, fitter: &Fitter<'_>, container: &str) {
        let Some(place) = self.candidates.iter().position(|candidate| candidate.names.is_empty()) else { return };
        let fits: Vec<(usize, Fit)> = (0..self.slots.len())
            .filter(|at| matches!(self.slots[*at], Slot::Open))
            .filter_map(|at| {
                let column = &self.table.columns[at];
                let fit = self.fit(fitter, column, &self.candidates[place])?;
                let alike = likeness(&column.name, &[container], &Words::new());
                (fit.proven || fit.needs.is_none_or(|needs| needs <= Likeness::Inner) || alike >= Likeness::Part)
                    .then_some((at, fit))
            })
            .collect();
        let named =
            |at: usize| likeness(&self.table.columns[at].name, &[container], &Words::new()) >= Likeness::Synonym;
        let chosen = match &fits[..] {
            [only] => Some(only),
            several => {
                let mut proven = several.iter().filter(|(at, fit)| fit.proven || named(*at));
                proven.next().filter(|_| proven.next().is_none())
            }
        };
        if let Some((at, fit)) = chosen.cloned() {
            self.place(at, vec![(place, fit)], Likeness::Core);
        }
    }
}

/// Whether one path may fill several columns, each under its own condition.
fn is_shared(fit: &Fit) -> bool {
    fit.settings.iter().any(|line| line.starts_with("when"))
}
