//! `init --target` on the schema of every example: the mapping that it writes is compared with the hand-written one, column by column,
//! by what both compile to. What the file leaves open is compared with what `check` says about it.

use std::collections::BTreeSet;

use driftless::{
    config::SinkConfig,
    mapping::{CollectionPlan, ColumnRule, MappingFile, Plan, Row, TablePlan, target::ColumnType},
    postgres::{Postgres, Purpose, read_catalog},
    profile::Analysis,
};
use driftless_testing::{migration::Migration, stack::Stack};
use mongodb::bson::{oid::ObjectId, rawdoc};

use crate::{
    business_plans, crm,
    harness::{Kind, file},
    learning, planning,
    remarks::Checked,
    skills_platform,
};

/// The share of columns that must be placed as in the hand-written mappings.
const LEAST: f64 = 0.95;

/// An example, and what its team decided about ObjectIds: the rule, and the namespace of version-5 UUIDs.
struct Case {
    name: &'static str,
    kinds: &'static [Kind],
    ids: &'static str,
    namespace: &'static str,
}

const CASES: [Case; 5] = [
    Case { name: "business_plans", kinds: business_plans::KINDS, ids: "padded", namespace: "dns" },
    Case { name: "crm", kinds: crm::KINDS, ids: "md5", namespace: "dns" },
    Case { name: "learning", kinds: learning::KINDS, ids: "uuid5", namespace: "dns" },
    Case { name: "planning", kinds: planning::KINDS, ids: "uuid5", namespace: "dns" },
    Case {
        name: "skills_platform",
        kinds: skills_platform::KINDS,
        ids: "uuid5",
        namespace: "4b0d3f6e-9c52-4a7b-8e0f-2d1c5a6b7e90",
    },
];

/// Columns by how they are placed.
#[derive(Default)]
struct Count {
    all: usize,
    alike: usize,
    wrong: Vec<String>,
    other: Vec<String>,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_fits_is_what_the_teams_wrote() {
    let stack = Stack::shared().await;
    let mut count = Count::default();
    let mut remarks = 0;
    for case in &CASES {
        let test = format!("fitted_{}", case.name);
        let migration = Migration::new(stack, stack.mongo_uri(), &test, &file(case.name, "schema.sql"), "").await;
        for kind in case.kinds {
            let documents: Vec<_> = (0..kind.documents).map(|index| kind.document(index, 0)).collect();
            migration.collection(kind.name).insert_many(&documents).await.expect("fill the source");
        }
        let folder = migration.mapping().with_file_name("project");
        let to = folder.to_str().expect("a path of text");
        let analysis = migration.succeed(&["analyze", "--all", "--json"]).await;
        let analysis: Analysis = serde_json::from_str(&analysis).expect("an analysis");
        migration.succeed(&["init", "--yes", "--all", "--target", "--ids", case.ids, "--to", to]).await;
        assert!(!folder.join("schema.sql").exists(), "the tables exist");
        let fitted = std::fs::read_to_string(folder.join("mapping.toml")).expect("the mapping");
        std::fs::write(migration.mapping(), &fitted).expect("take the mapping over");
        let report = migration.command(&["check", "--all", "--json"]).await;
        let checked = Checked::read(&String::from_utf8_lossy(&report.stdout));

        let url = serde_json::json!({ "url": stack.postgres_url(&migration.name) });
        let config: SinkConfig = serde_json::from_value(url).expect("a configuration");
        let session = Postgres::new(&config, "t").expect("a target").open(Purpose::Read).await.expect("connects");
        let catalog = read_catalog(&session).await.expect("reads the catalog");
        let plan = |text: &str| {
            let file = MappingFile::parse(text, "mapping.toml").unwrap_or_else(|faults| panic!("{}", faults[0]));
            Plan::compile(&file, &catalog).unwrap_or_else(|faults| panic!("{}", faults[0]))
        };
        let is_column = |table: &str, column: &str| {
            let table = catalog.tables.iter().find(|known| known.name.label() == table);
            table.is_some_and(|table| table.columns.iter().any(|known| known.name == column))
        };
        let (compared, contradicted) = checked.compare(&fitted, is_column);
        remarks += compared;
        count.wrong.extend(contradicted);
        let own = fitted.replace("namespace = \"dns\"", &format!("namespace = \"{}\"", case.namespace));
        compare(&plan(&file(case.name, "mapping.toml")), &plan(&own), &analysis, &mut count);
        drop(session);
        migration.finish().await;
    }
    let share = count.alike as f64 / count.all as f64;
    eprintln!("{} of {} columns as the teams wrote them: {:.1} %", count.alike, count.all, 100.0 * share);
    count.other.iter().for_each(|line| eprintln!("{line}"));
    assert_eq!(count.wrong, [""; 0], "nothing is placed wrongly, and `check` agrees with every remark");
    assert!(remarks > 0, "the files have remarks");
    assert!(share >= LEAST, "{share}");
}

/// Compares every column that the hand-written mapping writes.
fn compare(hand: &Plan, own: &Plan, analysis: &Analysis, count: &mut Count) {
    for plan in hand.collections() {
        let paths = paths(analysis, &plan.collection);
        let ours = own.collection(&plan.collection);
        for table in &plan.tables {
            for column in &table.columns {
                count.all += 1;
                let label = format!("{} {}", plan.collection, table.table.column_label(&column.name));
                let source = |plan: &CollectionPlan| source(plan, table, &column.name, &paths);
                match (source(plan), ours.and_then(source)) {
                    (Some(hand), Some(own)) if hand.agrees(&own) => count.alike += 1,
                    (Some(hand), Some(own)) if own.paths.is_subset(&hand.paths) => {
                        count.other.push(format!("{label}: {:?}, by hand {:?}", own.paths, hand.paths));
                    }
                    (Some(hand), Some(own)) => {
                        count.wrong.push(format!("{label}: {:?}, by hand {:?}", own.paths, hand.paths));
                    }
                    (..) => count.other.push(format!("{label}: not mapped")),
                }
            }
        }
    }
    for plan in own.collections() {
        let by_hand = hand.collection(&plan.collection);
        let is_known =
            |table: &&TablePlan| by_hand.is_some_and(|hand| hand.tables.iter().any(|known| known.table == table.table));
        let unknown = plan.tables.iter().filter(|table| !is_known(table));
        count.wrong.extend(unknown.map(|table| format!("{} writes {}", plan.collection, table.table.label())));
    }
}

/// The source of a column.
struct Source {
    /// Paths that documents have.
    paths: BTreeSet<String>,
    /// The paths that the mapping names, whether documents have them or not.
    named: BTreeSet<String>,
    /// The value that an ObjectId becomes in a column of ids; `None` for others, and where a document decides it.
    probed: Option<Option<Row>>,
}

impl Source {
    /// Whether it takes a field that no document has.
    fn is_open(&self) -> bool {
        self.paths.is_empty() && !self.named.is_empty()
    }

    fn agrees(&self, other: &Self) -> bool {
        let both = self.probed.as_ref().zip(other.probed.as_ref());
        self.paths == other.paths
            && (!other.is_open() || self.named == other.named)
            && both.is_none_or(|(one, other)| one == other)
    }
}

fn source(plan: &CollectionPlan, table: &TablePlan, column: &str, known: &BTreeSet<String>) -> Option<Source> {
    let written = plan.tables.iter().find(|own| own.table == table.table)?;
    written.columns.iter().find(|own| own.name == column)?;
    let all = plan.paths_of(&table.table, column);
    let paths: BTreeSet<String> =
        all.iter().filter(|path| known.contains(&plain(path))).map(|path| (*path).to_owned()).collect();
    let probe = rawdoc! { "id": ObjectId::from_bytes([7; 12]) };
    let is_id = |rule: &ColumnRule| matches!(rule.kind(), ColumnType::Uuid | ColumnType::Bytea);
    let probed = plan.rule(&table.table, column).ok().filter(is_id).map(|rule| {
        let mut row = Row::default();
        rule.write(probe.get("id").expect("well-formed"), &mut row).ok().map(|()| row)
    });
    Some(Source { paths, named: all.into_iter().map(str::to_owned).collect(), probed })
}

/// A path from the element, without what leads up.
fn plain(path: &str) -> String {
    path.trim_start_matches('^').trim_start_matches('.').split('[').next().unwrap_or_default().to_owned()
}

/// The paths of a collection's documents, from the document and from each element, and the value itself.
fn paths(analysis: &Analysis, collection: &str) -> BTreeSet<String> {
    let mut paths = BTreeSet::from(["$".to_owned()]);
    let found = analysis.collections.iter().find(|known| known.name == collection);
    for field in found.into_iter().flat_map(|known| &known.fields) {
        field.each(&mut |path, _| {
            let path = path.to_string().replace("[]", "");
            let mut rest = Some(path.as_str());
            while let Some(path) = rest {
                paths.insert(path.to_owned());
                rest = path.split_once('.').map(|(_, rest)| rest);
            }
        });
    }
    paths
}
