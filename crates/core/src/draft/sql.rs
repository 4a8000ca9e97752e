//! The target schema as SQL.

use std::fmt::Write;

use super::{
    Choices,
    indexes::qualified,
    model::{Child, Column, ForeignKey, Root, Rule, Statement, Table},
    names::{on_one_line, quoted},
};
use crate::{mapping::target::quote_text, profile::Analysis};

/// Writes the statements: tables, then indexes, then foreign keys, which need unique ones.
pub(super) fn write(analysis: &Analysis, choices: &Choices, roots: &[Root]) -> String {
    let database = on_one_line(&analysis.database);
    let mut sql = format!(
        "-- Tables for the MongoDB database {database}, drafted by `driftless init` from an analysis of its documents.\n\
         -- Every document that was analysed fits. A constraint that later documents could break is a comment: decide, and uncomment.\n\
         -- \"never missing\" says that a column could be NOT NULL.\n\n\
         CREATE SCHEMA IF NOT EXISTS {};\n",
        quoted(&choices.schema)
    );
    let mut tables = Vec::new();
    for root in roots {
        tables.push(&root.table);
        below(&root.children, &mut tables);
    }
    tables.iter().for_each(|table| make(&mut sql, &choices.schema, table));
    let keys =
        tables.iter().flat_map(|table| table.foreign_keys.iter().map(|key| foreign_key(&choices.schema, table, key)));
    let indexes = tables.iter().flat_map(|table| &table.indexes).map(|statement| match statement {
        Statement::Sql(sql) => format!("{sql};"),
        Statement::Comment(text) => format!("-- {text}"),
    });
    for (what, lines) in [("Indexes", indexes.collect::<Vec<_>>()), ("Foreign keys", keys.collect())] {
        if !lines.is_empty() {
            let _ = write!(sql, "\n-- {what}\n\n{}\n", lines.join("\n"));
        }
    }
    sql
}

fn below<'r>(children: &'r [Child], tables: &mut Vec<&'r Table>) {
    for child in children {
        tables.push(&child.table);
        below(&child.children, tables);
    }
}

fn make(sql: &mut String, schema: &str, table: &Table) {
    sql.push('\n');
    table.remarks.iter().for_each(|remark| {
        let _ = writeln!(sql, "-- {}", on_one_line(remark));
    });
    let _ = writeln!(sql, "CREATE TABLE {} (", qualified(schema, &table.name));
    table.columns.iter().for_each(|column| sql.push_str(&self::column(column)));
    let key: Vec<String> = table.primary_key.iter().map(|name| quoted(name)).collect();
    let _ = writeln!(sql, "    PRIMARY KEY ({})\n);", key.join(", "));
}

fn column(column: &Column) -> String {
    let mut remarks: Vec<String> = column.remarks.iter().map(|remark| on_one_line(remark)).collect();
    let mut definition = format!("{} {}", quoted(&column.name), column.kind);
    if let Some(default) = &column.default {
        let _ = write!(definition, " DEFAULT {default}");
    }
    match &column.not_null {
        Rule::Demanded(why) => {
            definition.push_str(" NOT NULL");
            remarks.extend(Some(why.clone()).filter(|why| !why.is_empty()));
        }
        Rule::Satisfied => remarks.push("never missing".to_owned()),
        Rule::Broken => {}
    }
    let mut after = String::new();
    if let Some((texts, rule)) = &column.check
        && !texts.iter().any(|text| text.contains(char::is_control))
    {
        let texts: Vec<String> = texts.iter().map(|text| quote_text(text)).collect();
        let check = format!("CHECK ({} IN ({}))", quoted(&column.name), texts.join(", "));
        match rule {
            Rule::Demanded(why) => {
                let _ = write!(definition, " {check}");
                remarks.push(why.clone());
            }
            Rule::Satisfied | Rule::Broken => {
                after = format!("    -- no other value was seen: {}\n", on_one_line(&check));
            }
        }
    }
    let remarks = if remarks.is_empty() { String::new() } else { format!(" -- {}", remarks.join("; ")) };
    format!("    {definition},{remarks}\n{after}")
}

fn foreign_key(schema: &str, table: &Table, key: &ForeignKey) -> String {
    let ForeignKey { column, table: parent, key: their, cascades, instead } = key;
    let sql = format!(
        "ALTER TABLE {} ADD FOREIGN KEY ({}) REFERENCES {} ({}){};",
        qualified(schema, &table.name),
        quoted(column),
        qualified(schema, parent),
        quoted(their),
        if *cascades { " ON DELETE CASCADE" } else { "" }
    );
    match instead {
        None => sql,
        Some(why) => format!("-- {sql} -- {why}"),
    }
}
