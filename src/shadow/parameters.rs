//! The parameters of a statement: where each value is in real documents, and how it is converted.

use tokio_postgres::{
    Statement,
    types::{Kind, Type},
};

use super::{
    columns::plain,
    compile::{Compiler, Stop, fault},
    file::{ColumnName, Fault, ParameterFile, QueryFile},
};
use crate::mapping::{CollectionPlan, ColumnRule, Path};

/// A parameter of a statement.
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) path: Path,
    pub(super) rule: ColumnRule,
    pub(super) line: usize,
}

impl Compiler<'_> {
    pub(super) fn parameters(&self, file: &QueryFile, statement: &Statement) -> Result<Vec<Parameter>, Stop> {
        let (wanted, declared) = (statement.params().len(), file.parameters.len());
        if wanted != declared {
            let what = format!("the number of parameters is {wanted} in the statement, and {declared} here");
            return Err(fault(file.sql_line, what, "declare them in the order of $1, $2, …"));
        }
        let mut faults = Vec::new();
        let mut parameters = Vec::new();
        for (parameter, kind) in file.parameters.iter().zip(statement.params()) {
            match self.parameter(parameter, kind) {
                Ok(rule) => {
                    let ParameterFile { name, line, from, path, .. } = parameter.clone();
                    parameters.push(Parameter { name, from, path, rule, line });
                }
                Err((what, hint)) => {
                    let what = format!("the parameter `{}` {what}", parameter.name);
                    faults.push(Fault { line: parameter.line, what, hint: hint.to_owned() });
                }
            }
        }
        if faults.is_empty() { Ok(parameters) } else { Err(Stop::Faults(faults)) }
    }

    /// The conversion of a parameter: as the mapping converts its path, in the type that the statement asks for.
    fn parameter(&self, parameter: &ParameterFile, kind: &Type) -> Result<ColumnRule, (String, &'static str)> {
        let Some(place) = self.both.prepared.named(&parameter.from) else {
            return Err((
                format!("is drawn from `{}`, which is not mapped", parameter.from),
                "draw it from a mapped collection",
            ));
        };
        if matches!(kind.kind(), Kind::Array(_)) {
            return Err(("is an array".to_owned(), "draw one value, and compare it with `= ANY (…)`"));
        }
        let plan = self.both.plan(place);
        let of = parameter.column.clone().or_else(|| taker(plan, &parameter.path, kind));
        let Some(of) = of else {
            let hint = "name in `column` the column that it is compared with";
            return plain(kind).ok_or_else(|| (format!("is {}, which is not converted", kind.name()), hint));
        };
        let hint = "name in `column` a column of the mapping that takes one value";
        let Some(planned) = self.planned(&of, &plan.collection) else {
            return Err((format!("names {}, which the mapping does not write", of.label()), hint));
        };
        let refused = |why: &str| (format!("cannot be converted as {} is: {why}", of.label()), hint);
        if planned.column().lookup.is_some() {
            return Err(refused("its value is looked up"));
        }
        let rule = planned.plan.rule(&of.table, &of.column).map_err(|why| refused(why.as_str()))?;
        fitted(rule, kind).ok_or_else(|| (format!("is {}, which {} is not", kind.name(), of.label()), hint))
    }
}

/// The column that takes a path, if there is one; among several, one of the type that the statement asks for.
fn taker(plan: &CollectionPlan, path: &Path, kind: &Type) -> Option<ColumnName> {
    let takers = plan.takers(&path.to_string());
    let typed = takers.iter().find(|(table, column)| {
        table.columns.iter().any(|known| known.name == *column && known.param_type == kind.name())
    });
    let (table, column) = typed.or(takers.first())?;
    Some(ColumnName { table: table.table.clone(), column: (*column).to_owned() })
}

/// The rule for a type that a statement asks for; `None` where it cannot be given.
fn fitted(rule: ColumnRule, kind: &Type) -> Option<ColumnRule> {
    match plain(kind) {
        Some(wanted) if wanted.param_type() == rule.param_type() => Some(rule),
        Some(wanted) => Some(rule.in_type(wanted.kind().clone())),
        None => None,
    }
}
