//! Id rules and namespaces.

use toml::de::{DeTable, DeValue};
use uuid::Uuid;

use super::{Node, Parser, value::listed};
use crate::mapping::{At, IdFile, IdRule, IdType, LookupFile, target::TableName};

const NAMESPACES: [(&str, Uuid); 4] = [
    ("dns", Uuid::NAMESPACE_DNS),
    ("url", Uuid::NAMESPACE_URL),
    ("oid", Uuid::NAMESPACE_OID),
    ("x500", Uuid::NAMESPACE_X500),
];

impl Parser<'_> {
    /// An id rule: its name alone, or a table. `column` says whether the rule may name the column that it fills.
    pub(crate) fn id(&mut self, node: &Node<'_>, namespace: Option<Uuid>, column: bool) -> Option<At<IdFile>> {
        let DeValue::Table(table) = node.get_ref() else {
            let rule = self.choice(node, &IdRule::NAMES)?;
            let id = self.id_rule(node, rule, &DeTable::new(), namespace)?;
            return self.id_lookup(node, rule, &DeTable::new()).map(|_| id);
        };
        let known = ["rule", "type", "namespace", "strip_prefix", "strip_suffix", "table", "from", "to", "column"];
        self.unknown(table, &known[..known.len() - usize::from(!column)]);
        let Some(rule) = table.get("rule") else {
            self.fault(node.span().start, "`id` has no `rule`", format!("one of {}", listed(&IdRule::NAMES)));
            return None;
        };
        let rule = self.choice(rule, &IdRule::NAMES)?;
        let mut id = self.id_rule(node, rule, table, namespace)?;
        id.value.lookup = self.id_lookup(node, rule, table)?;
        if let Some(node) = table.get("column") {
            id.value.column = Some(self.string(node)?);
        }
        Some(id)
    }

    /// Where a rule looks ids up: the outer `None` for a fault, the inner for a rule that looks nothing up.
    fn id_lookup(&mut self, node: &Node<'_>, rule: IdRule, table: &DeTable<'_>) -> Option<Option<LookupFile>> {
        let at = node.span().start;
        if rule != IdRule::Lookup {
            for key in ["table", "from", "to"] {
                if let Some(node) = table.get(key) {
                    self.fault(node.span().start, format!("`{key}` belongs to rule lookup"), "remove it");
                }
            }
            return Some(None);
        }
        let target = self.required(table, at, "table").and_then(|node| self.table_name(node));
        let from = self.required(table, at, "from").and_then(|node| self.string(node));
        let to = self.required(table, at, "to").and_then(|node| self.string(node));
        Some(Some(LookupFile { table: target?, from: from?, to: to? }))
    }

    /// The parts of a rule, from the keys of the table that names it.
    pub(crate) fn id_rule(
        &mut self,
        node: &Node<'_>,
        rule: IdRule,
        table: &DeTable<'_>,
        namespace: Option<Uuid>,
    ) -> Option<At<IdFile>> {
        let at = node.span().start;
        let mut id = IdFile {
            rule,
            only: None,
            namespace: Uuid::nil(),
            lookup: None,
            strip_prefix: None,
            strip_suffix: None,
            column: None,
        };
        if let Some(node) = table.get("type") {
            id.only = Some(self.choice(node, &IdType::NAMES)?);
        }
        let namespace = match table.get("namespace") {
            Some(node) => Some(self.namespace(node)?),
            None => namespace,
        };
        match namespace {
            Some(namespace) => id.namespace = namespace,
            None if id.rule == IdRule::Uuid5 => {
                self.without_namespace(at);
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
            self.fault(at, "this `type` does not fit this `rule`", "leave `type` out, or use rule uuid5");
            return None;
        }
        self.strips(&mut id, table)?;
        Some(self.at(at, id))
    }

    fn without_namespace(&mut self, start: usize) {
        let fault = self.fault_of(
            start,
            "a uuid5 id has no namespace",
            "set `namespace` at the top of the file, once, and never change it: dns, url, oid, x500 or a UUID",
        );
        self.without_namespace.push(fault);
    }

    /// The prefix and suffix that a rule strips off a text. The rest must still be a text, because two spellings of one id would
    /// be two documents.
    fn strips(&mut self, id: &mut IdFile, table: &DeTable<'_>) -> Option<()> {
        let texts = match id.rule {
            IdRule::Uuid5 | IdRule::Md5 | IdRule::Lookup => matches!(id.only, None | Some(IdType::String)),
            IdRule::Text => true,
            IdRule::Uuid => id.only == Some(IdType::String),
            IdRule::Hex | IdRule::PadLeft | IdRule::PadRight | IdRule::Bytes | IdRule::Integer => false,
        };
        for (key, part) in [("strip_prefix", &mut id.strip_prefix), ("strip_suffix", &mut id.strip_suffix)] {
            let Some(node) = table.get(key) else { continue };
            if !texts {
                let hint = "use rule uuid5, md5, text or lookup, or rule uuid with type = \"string\"";
                self.fault(node.span().start, format!("`{key}` is for ids that are texts"), hint);
                return None;
            }
            *part = Some(self.stripped(node)?.value);
        }
        Some(())
    }

    pub(crate) fn namespace(&mut self, node: &Node<'_>) -> Option<Uuid> {
        let text = self.string(node)?;
        let known = NAMESPACES.iter().find(|(name, _)| *name == text.value).map(|(_, namespace)| *namespace);
        let namespace = known.or_else(|| Uuid::try_parse(&text.value).ok());
        if namespace.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is not a namespace", text.value),
                format!("one of {}, or a UUID", listed(&NAMESPACES)),
            );
        }
        namespace
    }

    pub(crate) fn table_name(&mut self, node: &Node<'_>) -> Option<At<TableName>> {
        let text = self.string(node)?;
        let name = TableName::parse(&text.value);
        if name.is_none() {
            self.fault(
                node.span().start,
                format!("`{}` is not a table name", text.value),
                "write schema.table; a name with dots goes in double quotes",
            );
        }
        Some(text.with(name?))
    }
}
