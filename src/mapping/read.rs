//! Reads the TOML of a mapping file and collects every fault on the way.

use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};
use uuid::Uuid;

use super::{
    At, ChildFile, ChildIdFile, CollectionFile, ColumnFile, Fault, IdFile, IdRule, IdType, KeyFrom, Location,
    MappingFile, OnDrop, Path, PolicyFile, fault::nearest, target::TableName,
};

type Node<'t> = Spanned<DeValue<'t>>;
type Key<'t> = Spanned<std::borrow::Cow<'t, str>>;

const NAMESPACES: [(&str, Uuid); 4] = [
    ("dns", Uuid::NAMESPACE_DNS),
    ("url", Uuid::NAMESPACE_URL),
    ("oid", Uuid::NAMESPACE_OID),
    ("x500", Uuid::NAMESPACE_X500),
];

/// See [`MappingFile::parse`].
pub(super) fn mapping_file(text: &str, name: &str) -> Result<MappingFile, Vec<Fault>> {
    let mut reader = Reader { name, text, faults: Vec::new() };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let start = error.span().map_or(0, |span| span.start);
        reader.fault(start, error.message().to_owned(), "this is no valid TOML");
    }
    let file = if errors.is_empty() { reader.root(table.get_ref()) } else { Vec::new() };
    if reader.faults.is_empty() {
        return Ok(MappingFile { name: name.to_owned(), collections: file });
    }
    let mut faults = reader.faults;
    faults.sort_by(|a, b| a.location.cmp(&b.location));
    Err(faults)
}

struct Reader<'t> {
    name: &'t str,
    text: &'t str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn root(&mut self, root: &DeTable<'_>) -> Vec<CollectionFile> {
        self.unknown(root, &["namespace", "collections"]);
        let namespace = root.get("namespace").and_then(|node| self.namespace(node));
        let Some(node) = root.get("collections") else {
            self.fault(0, "no collections are mapped", "add a table [collections.<name>] for each");
            return Vec::new();
        };
        let Some(table) = self.table(node, "`collections`") else { return Vec::new() };
        table.iter().filter_map(|(key, node)| self.collection(key, node, namespace)).collect()
    }

    fn collection(&mut self, key: &Key<'_>, node: &Node<'_>, namespace: Option<Uuid>) -> Option<CollectionFile> {
        let table = self.table(node, "a collection")?;
        self.unknown(table, &["table", "id", "namespace", "on_drop", "ignore", "columns", "children"]);
        let name = self.at(key.span().start, key.get_ref().to_string());
        let namespace = match table.get("namespace") {
            Some(node) => self.namespace(node),
            None => namespace,
        };
        let target = match table.get("table") {
            Some(node) => self.table_name(node),
            None => Some(name.with(TableName::new("public", name.value.clone()))),
        };
        let id = match table.get("id") {
            Some(node) => self.id(node, namespace),
            None => {
                self.fault(
                    key.span().start,
                    format!("collection `{}` does not say how `_id` becomes the primary key", name.value),
                    format!("add `id`, one of {}", listed(&IdRule::NAMES)),
                );
                None
            }
        };
        let on_drop = match table.get("on_drop") {
            Some(node) => self.choice(node, &OnDrop::NAMES),
            None => Some(OnDrop::default()),
        };
        let ignore = self.ignore(table);
        let columns = self.columns(table);
        let children = match table.get("children").map(|node| self.table(node, "`children`")) {
            Some(Some(children)) => children.iter().filter_map(|(key, node)| self.child(key, node)).collect(),
            _ => Vec::new(),
        };
        Some(CollectionFile { name, table: target?, id: id?, on_drop: on_drop?, ignore, columns, children })
    }

    fn id(&mut self, node: &Node<'_>, namespace: Option<Uuid>) -> Option<At<IdFile>> {
        let at = node.span().start;
        let mut id = IdFile { rule: IdRule::Uuid5, only: None, namespace: Uuid::nil(), lookup: None, column: None };
        let mut namespace = namespace;
        if let DeValue::Table(table) = node.get_ref() {
            self.unknown(table, &["rule", "type", "namespace", "column"]);
            let Some(rule) = table.get("rule") else {
                self.fault(at, "`id` has no `rule`", format!("one of {}", listed(&IdRule::NAMES)));
                return None;
            };
            id.rule = self.choice(rule, &IdRule::NAMES)?;
            if let Some(node) = table.get("type") {
                id.only = Some(self.choice(node, &IdType::NAMES)?);
            }
            if let Some(node) = table.get("namespace") {
                namespace = Some(self.namespace(node)?);
            }
            if let Some(node) = table.get("column") {
                id.column = Some(self.string(node)?);
            }
        } else {
            id.rule = self.choice(node, &IdRule::NAMES)?;
        }
        match namespace {
            Some(namespace) => id.namespace = namespace,
            None if id.rule == IdRule::Uuid5 => {
                self.fault(
                    at,
                    "a uuid5 id has no namespace",
                    "set `namespace` at the top of the file, once and for ever: dns, url, oid, x500 or a UUID",
                );
                return None;
            }
            None => {}
        }
        let fits = match id.rule {
            IdRule::Uuid5 | IdRule::Md5 | IdRule::Lookup => !matches!(id.only, Some(IdType::Binary)),
            IdRule::Bytes => matches!(id.only, None | Some(IdType::ObjectId | IdType::Uuid | IdType::Binary)),
            IdRule::Hex | IdRule::PadLeft | IdRule::PadRight => matches!(id.only, None | Some(IdType::ObjectId)),
            IdRule::Text => matches!(id.only, None | Some(IdType::String)),
            IdRule::Integer => matches!(id.only, None | Some(IdType::Integer)),
            IdRule::Uuid => matches!(id.only, None | Some(IdType::Uuid | IdType::String)),
        };
        if !fits {
            self.fault(at, "this `type` does not go with this `rule`", "leave `type` out, or use rule uuid5");
            return None;
        }
        Some(self.at(at, id))
    }

    fn child(&mut self, key: &Key<'_>, node: &Node<'_>) -> Option<ChildFile> {
        let start = key.span().start;
        let table = self.table(node, "a child")?;
        self.unknown(table, &["table", "parent", "order", "id", "ignore", "columns"]);
        let path = self.path(start, key.get_ref());
        let target = self.required(table, start, "table").and_then(|node| self.table_name(node));
        let parent = self.required(table, start, "parent").and_then(|node| self.string(node));
        let order = table.get("order").map(|node| self.string(node));
        let id = table.get("id").map(|node| self.child_id(node));
        let ignore = self.ignore(table);
        let columns = self.columns(table);
        Some(ChildFile {
            path: path?,
            table: target?,
            parent: parent?,
            order: order.flatten(),
            id: id.flatten(),
            ignore,
            columns,
        })
    }

    fn child_id(&mut self, node: &Node<'_>) -> Option<ChildIdFile> {
        if let DeValue::String(_) = node.get_ref() {
            return Some(ChildIdFile { column: self.string(node)?, from: KeyFrom::Auto });
        }
        let table = self.table(node, "`id` of a child")?;
        self.unknown(table, &["column", "from"]);
        let column = self.required(table, node.span().start, "column").and_then(|node| self.string(node))?;
        let from = match table.get("from").map(|node| self.string(node)) {
            None => KeyFrom::Auto,
            Some(from) => {
                let from = from?;
                match from.value.as_str() {
                    "index" => KeyFrom::Index,
                    _ => KeyFrom::Field(self.path_at(&from)?.value),
                }
            }
        };
        Some(ChildIdFile { column, from })
    }

    fn columns(&mut self, table: &DeTable<'_>) -> Vec<ColumnFile> {
        let Some(Some(columns)) = table.get("columns").map(|node| self.table(node, "`columns`")) else {
            return Vec::new();
        };
        columns.iter().filter_map(|(key, node)| self.column(key, node)).collect()
    }

    fn column(&mut self, key: &Key<'_>, node: &Node<'_>) -> Option<ColumnFile> {
        let name = self.at(key.span().start, key.get_ref().to_string());
        let mut column = ColumnFile { name, path: None, default: None, reference: None, policy: PolicyFile::default() };
        if let DeValue::String(_) = node.get_ref() {
            let path = self.string(node)?;
            column.path = Some(self.path_at(&path)?);
            return Some(column);
        }
        let DeValue::Table(table) = node.get_ref() else {
            self.fault(
                node.span().start,
                format!("column `{}` is neither a path nor a table", column.name.value),
                "write \"path.in.the.document\" or { path = \"…\", default = … }",
            );
            return None;
        };
        self.unknown(table, &["path", "default", "reference"]);
        if let Some(node) = table.get("path") {
            let path = self.string(node)?;
            column.path = Some(self.path_at(&path)?);
        }
        if let Some(node) = table.get("default") {
            column.default = Some(self.value(node).map(|value| self.at(node.span().start, value))?);
        }
        if let Some(node) = table.get("reference") {
            column.reference = Some(self.string(node)?);
        }
        Some(column)
    }

    fn ignore(&mut self, table: &DeTable<'_>) -> Vec<At<String>> {
        let Some(node) = table.get("ignore") else { return Vec::new() };
        let DeValue::Array(names) = node.get_ref() else {
            self.fault(node.span().start, "`ignore` is no list", "write [\"column\", …]");
            return Vec::new();
        };
        names.iter().filter_map(|name| self.string(name)).collect()
    }

    fn namespace(&mut self, node: &Node<'_>) -> Option<Uuid> {
        let text = self.string(node)?;
        let known = NAMESPACES.iter().find(|(name, _)| *name == text.value).map(|(_, namespace)| *namespace);
        let namespace = known.or_else(|| Uuid::try_parse(&text.value).ok());
        if namespace.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is no namespace", text.value),
                format!("one of {}, or a UUID", listed(&NAMESPACES)),
            );
        }
        namespace
    }

    fn table_name(&mut self, node: &Node<'_>) -> Option<At<TableName>> {
        let text = self.string(node)?;
        let name = TableName::parse(&text.value);
        if name.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is no table name", text.value),
                "write schema.table; a name with dots goes in double quotes",
            );
        }
        Some(text.with(name?))
    }

    fn path_at(&mut self, text: &At<String>) -> Option<At<Path>> {
        match Path::parse(&text.value) {
            Ok(path) => Some(text.with(path)),
            Err(why) => {
                let location = Some(Location { file: self.name.to_owned(), line: text.line, column: text.column });
                let what = format!("`{}` is no path", text.value);
                self.faults.push(Fault { location, what, hint: why.to_owned() });
                None
            }
        }
    }

    fn path(&mut self, start: usize, text: &str) -> Option<At<Path>> {
        let text = self.at(start, text.to_owned());
        self.path_at(&text)
    }

    fn choice<T: Copy>(&mut self, node: &Node<'_>, names: &[(&str, T)]) -> Option<T> {
        let text = self.string(node)?;
        let found = names.iter().find(|(name, _)| *name == text.value).map(|(_, value)| *value);
        if found.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is not known here", text.value),
                format!("one of {}", listed(names)),
            );
        }
        found
    }

    fn string(&mut self, node: &Node<'_>) -> Option<At<String>> {
        match node.get_ref() {
            DeValue::String(text) => Some(self.at(node.span().start, text.to_string())),
            other => {
                self.fault(
                    node.span().start,
                    format!("a text is expected here, not {}", kind(other)),
                    "put it in double quotes",
                );
                None
            }
        }
    }

    fn table<'n, 't>(&mut self, node: &'n Node<'t>, what: &str) -> Option<&'n DeTable<'t>> {
        match node.get_ref() {
            DeValue::Table(table) => Some(table),
            other => {
                self.fault(
                    node.span().start,
                    format!("{what} is a table, not {}", kind(other)),
                    "write it as [section] or { key = … }",
                );
                None
            }
        }
    }

    fn required<'n, 't>(&mut self, table: &'n DeTable<'t>, start: usize, key: &str) -> Option<&'n Node<'t>> {
        let node = table.get(key);
        if node.is_none() {
            self.fault(start, format!("`{key}` is missing"), "it has no default: name it");
        }
        node
    }

    fn unknown(&mut self, table: &DeTable<'_>, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref();
            if known.contains(&name.as_ref()) {
                continue;
            }
            let hint = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("known here: {}", known.join(", ")),
            };
            self.fault(key.span().start, format!("`{name}` is not known here"), hint);
        }
    }

    /// A value of TOML as the BSON value that a document would hold.
    fn value(&mut self, node: &Node<'_>) -> Option<RawBson> {
        let value = match node.get_ref() {
            DeValue::String(text) => Some(RawBson::String(text.to_string())),
            DeValue::Boolean(value) => Some(RawBson::Boolean(*value)),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix()).ok().map(RawBson::Int64),
            DeValue::Float(digits) => digits.as_str().parse().ok().map(RawBson::Double),
            DeValue::Datetime(when) => {
                let text = when.to_string();
                let instant = if when.time.is_none() { format!("{text}T00:00:00Z") } else { text };
                let instant: Option<jiff::Timestamp> = instant.parse().ok();
                instant.map(|at| RawBson::DateTime(bson::DateTime::from_millis(at.as_millisecond())))
            }
            DeValue::Array(elements) => {
                let mut array = RawArrayBuf::new();
                for element in elements {
                    array.push(self.value(element)?);
                }
                Some(RawBson::Array(array))
            }
            DeValue::Table(fields) => {
                let mut document = RawDocumentBuf::new();
                for (key, value) in fields {
                    let value = self.value(value)?;
                    match CString::try_from(key.get_ref().as_ref()) {
                        Ok(name) => document.append(name, value),
                        Err(_) => self.fault(key.span().start, "a field name holds no NUL character", ""),
                    }
                }
                Some(RawBson::Document(document))
            }
        };
        if value.is_none() {
            self.fault(
                node.span().start,
                "this value has no counterpart in a document",
                "an integer has 64 bits, a time of day needs a date and an offset",
            );
        }
        value
    }

    fn fault(&mut self, start: usize, what: impl Into<String>, hint: impl Into<String>) {
        let at = self.at(start, ());
        let location = Some(Location { file: self.name.to_owned(), line: at.line, column: at.column });
        self.faults.push(Fault { location, what: what.into(), hint: hint.into() });
    }

    fn at<T>(&self, start: usize, value: T) -> At<T> {
        let before = self.text.get(..start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
        At { value, line: u32::try_from(line).unwrap_or(u32::MAX), column: u32::try_from(column).unwrap_or(u32::MAX) }
    }
}

fn listed<T>(names: &[(&str, T)]) -> String {
    names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

#[cfg(test)]
mod tests;
