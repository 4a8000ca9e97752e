//! Collections, their variants and their children: what becomes a table.

use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::{Key, Node, Parser, value::listed};
use crate::mapping::{
    At, ChildFile, ChildIdFile, CollectionFile, EmptyElements, IdRule, KeyFrom, MapKeyFile, OnDrop, RootsFile, Shape,
    SplitFile, TableFile, Unlisted, VariantFile, language::file::MISSING, target::TableName,
};

/// The keys of a table, wherever it is declared.
const TABLE: [&str; 7] = ["table", "key", "shared", "filter", "ignore", "columns", "children"];

impl Parser<'_> {
    pub(crate) fn collection(
        &mut self,
        key: &Key<'_>,
        node: &Node<'_>,
        namespace: Option<Uuid>,
    ) -> Option<CollectionFile> {
        let table = self.table(node, "a collection")?;
        let name = self.at(key.span().start, key.get_ref().to_string());
        let namespace = match table.get("namespace") {
            Some(node) => self.namespace(node),
            None => namespace,
        };
        let id = table.get("id").map(|node| self.id(node, namespace, true));
        let on_drop = match table.get("on_drop") {
            Some(node) => self.choice(node, &OnDrop::NAMES),
            None => Some(OnDrop::default()),
        };
        let may_be_empty = self.flag(table, "may_be_empty");
        let own = ["id", "namespace", "on_drop", "may_be_empty", "split"];
        let (tables, filter) = if let Some(split) = table.get("split") {
            self.unknown(table, &[&own[..], &["filter", "variants"]].concat());
            let filter = self.conditions(table, "filter");
            (self.split(split, key.span().start, table.get("variants"), namespace).map(RootsFile::Split), filter)
        } else {
            self.unknown(table, &[&TABLE[..], &own[..]].concat());
            let default = name.with(TableName::new("public", name.value.clone()));
            (self.table_file(table, Some(default), namespace).map(RootsFile::One), Vec::new())
        };
        let columns = table.contains_key("split") || table.contains_key("columns");
        // Only the catalog can say whether columns fill the key; without any columns, nothing does.
        if id.is_none() && !columns {
            self.fault(
                key.span().start,
                format!("collection `{}` does not say how `_id` becomes the primary key", name.value),
                format!("add `id`, one of {}", listed(&IdRule::NAMES)),
            );
        }
        let (id, on_drop) = (id.flatten(), on_drop.unwrap_or_default());
        Some(CollectionFile { name, id, namespace, on_drop, may_be_empty, filter, tables: tables? })
    }

    fn split(
        &mut self,
        node: &Node<'_>,
        start: usize,
        variants: Option<&Node<'_>>,
        namespace: Option<Uuid>,
    ) -> Option<SplitFile> {
        let table = self.table(node, "`split`");
        if let Some(table) = table {
            self.unknown(table, &["by", "unlisted"]);
        }
        let by = table.and_then(|table| {
            let node = self.required(table, node.span().start, "by")?;
            self.path_node(node)
        });
        let unlisted = match table.and_then(|table| table.get("unlisted")) {
            Some(node) => self.choice(node, &Unlisted::NAMES),
            None => Some(Unlisted::default()),
        };
        let Some(variants) = variants else {
            self.fault(start, "`split` has no variants", "add a table [….variants.<value>] for each kind of document");
            return None;
        };
        let variants = self.table(variants, "`variants`")?;
        let variants = variants.iter().filter_map(|(key, node)| self.variant(key, node, namespace)).collect();
        Some(SplitFile { by: by?, unlisted: unlisted?, variants })
    }

    fn variant(&mut self, key: &Key<'_>, node: &Node<'_>, namespace: Option<Uuid>) -> Option<VariantFile> {
        let table = self.table(node, "a variant")?;
        self.unknown(table, &[&TABLE[..], &["is", "missing", "id_column"]].concat());
        let name = self.at(key.span().start, key.get_ref().to_string());
        let missing = self.flag(table, "missing");
        let (is, missing) = match table.get("is") {
            Some(node) => (self.one_or_more(node, Self::literal), missing),
            None if missing || name.value == MISSING => (Vec::new(), true),
            None => (vec![name.with(bson::raw::RawBson::String(name.value.clone()))], false),
        };
        let id_column = table.get("id_column").map(|node| self.string(node));
        self.required(table, key.span().start, "table");
        let table = self.table_file(table, None, namespace)?;
        Some(VariantFile { name, is, missing, id_column: id_column.flatten(), table })
    }

    /// The keys of a table.
    fn table_file(
        &mut self,
        table: &DeTable<'_>,
        default: Option<At<TableName>>,
        namespace: Option<Uuid>,
    ) -> Option<TableFile> {
        let name = match table.get("table") {
            Some(node) => self.table_name(node),
            None => default,
        };
        let key = self.names(table, "key");
        let shared = self.flag(table, "shared");
        let filter = self.conditions(table, "filter");
        let ignore = self.names(table, "ignore");
        let columns = self.columns(table, namespace);
        let children = match table.get("children").map(|node| self.table(node, "`children`")) {
            Some(Some(children)) => {
                children.iter().filter_map(|(key, node)| self.child(key, node, namespace)).collect()
            }
            _ => Vec::new(),
        };
        Some(TableFile { table: name?, key, shared, filter, ignore, columns, children })
    }

    /// Recursion ends where the parser of TOML does, which takes 80 levels.
    fn child(&mut self, key: &Key<'_>, node: &Node<'_>, namespace: Option<Uuid>) -> Option<ChildFile> {
        let start = key.span().start;
        let table = self.table(node, "a child")?;
        let own = ["path", "shape", "parent", "root", "order", "map_key", "id", "distinct", "empty_elements"];
        self.unknown(table, &[&TABLE[..], &own[..]].concat());
        let path = match table.get("path") {
            Some(node) => self.path_node(node),
            None => {
                let text = self.at(start, key.get_ref().to_string());
                self.path_at(&text)
            }
        };
        let shape = match table.get("shape") {
            Some(node) => self.choice(node, &Shape::NAMES),
            None => Some(Shape::default()),
        };
        let mut column = |key: &str| table.get(key).map(|node| self.string(node));
        let (parent, root) = (column("parent"), column("root"));
        let order = column("order");
        let map_key = table.get("map_key").and_then(|node| self.map_key(node, namespace));
        let id = table.get("id").map(|node| self.child_id(node, shape.unwrap_or_default(), namespace));
        let distinct = self.flag(table, "distinct");
        let empty_elements = self.empty_elements(table);
        if let Some(empty) = &empty_elements {
            if shape == Some(Shape::Document) {
                self.fault_at(empty, "a document has no elements", "remove `empty_elements`, or use `filter`");
            } else if empty.value == EmptyElements::Null {
                let hint = "use \"drop\" or \"reject\"; `empty` of the columns decides what becomes NULL";
                self.fault_at(empty, "an element of a child is a row, which is not NULL", hint);
            }
        }
        self.required(table, start, "table");
        let table = self.table_file(table, None, namespace);
        let order = order.flatten();
        if let (Some(Shape::Document), Some(order)) = (shape, &order) {
            self.fault_at(order, "a document has no order", "remove `order`, or give the child another shape");
        }
        if let (Some(Shape::Array | Shape::Document), Some(name)) = (shape, &map_key) {
            self.fault_at(&name.column, "only a map has names for `map_key`", "add shape = \"map\", or remove it");
        }
        Some(ChildFile {
            path: path?,
            shape: shape?,
            table: table?,
            parent: parent.flatten(),
            root: root.flatten(),
            order,
            map_key,
            id: id.flatten(),
            distinct,
            empty_elements,
        })
    }

    /// The column that takes the names of a map, or a table that also says whose ids they are.
    fn map_key(&mut self, node: &Node<'_>, namespace: Option<Uuid>) -> Option<MapKeyFile> {
        let DeValue::Table(table) = node.get_ref() else {
            return Some(MapKeyFile { column: self.string(node)?, reference: None, id: None });
        };
        self.unknown(table, &["column", "reference", "id"]);
        let column = self.required(table, node.span().start, "column").and_then(|node| self.string(node));
        let reference = table.get("reference").and_then(|node| self.string(node));
        let id = table.get("id").and_then(|node| self.id(node, namespace, false));
        if let (Some(_), Some(id)) = (&reference, &id) {
            self.fault_at(id, "`id` has no effect beside `reference`", "keep one of the two");
        }
        Some(MapKeyFile { column: column?, reference, id })
    }

    fn child_id(&mut self, node: &Node<'_>, shape: Shape, namespace: Option<Uuid>) -> Option<ChildIdFile> {
        if let DeValue::String(_) = node.get_ref() {
            return Some(ChildIdFile { column: self.string(node)?, from: KeyFrom::Auto, rule: None });
        }
        let table = self.table(node, "`id` of a child")?;
        self.unknown(table, &["column", "from", "rule", "type", "namespace", "strip_prefix", "strip_suffix"]);
        let column = self.required(table, node.span().start, "column").and_then(|node| self.string(node));
        let from = match table.get("from").map(|node| self.string(node)) {
            None => KeyFrom::Auto,
            Some(from) => {
                let from = from?;
                match (from.value.as_str(), shape) {
                    ("index", Shape::Array | Shape::Map) => KeyFrom::Index,
                    ("key", Shape::Map) => KeyFrom::Name,
                    _ => KeyFrom::Field(self.path_at(&from)?.value),
                }
            }
        };
        let rule = match table.get("rule") {
            Some(rule) => {
                let rule = self.choice(rule, &IdRule::NAMES)?;
                let id = self.id_rule(node, rule, table, namespace)?;
                if rule == IdRule::Lookup {
                    let hint = "leave `id` out, and give the column a path and an id of its own in `columns`";
                    self.fault_at(&id, "the id of an element is not looked up", hint);
                }
                Some(id)
            }
            None => {
                for key in ["type", "namespace", "strip_prefix", "strip_suffix"] {
                    if let Some(node) = table.get(key) {
                        let what = format!("`{key}` has no effect without a `rule`");
                        self.fault(node.span().start, what, "add `rule`, or remove it");
                    }
                }
                None
            }
        };
        Some(ChildIdFile { column: column?, from, rule })
    }
}
