//! `driftless init`: a project folder drafted from the documents of MongoDB.

mod files;
mod questions;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use secrecy::ExposeSecret;

use self::{files::Project, questions::Questions};
use super::{Exit, analyze::Documents, print};
use crate::{
    config::Secret,
    draft::{Choices, Draft, Naming, ObjectIds},
    profile::Analysis,
};

/// Draft a project from the documents of MongoDB: configuration, mapping, target schema, roles and a compose file.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The folder of the project, which is made. No file in it is ever overwritten.
    #[arg(long, value_name = "FOLDER", default_value = "migration")]
    to: PathBuf,
    /// Ask nothing: questions that no option answers get their default. So it is where there is no terminal.
    #[arg(long, short)]
    yes: bool,
    /// The output of `driftless analyze --json`, in place of another look at MongoDB.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["sample", "all", "collections", "rate", "prisma", "mongoose"])]
    from_analysis: Option<PathBuf>,
    #[command(flatten)]
    documents: Documents,
    /// How tables and columns are called [default: snake].
    #[arg(long, value_enum)]
    names: Option<Names>,
    /// The form that ObjectIds take [default: uuid5].
    #[arg(long, value_enum)]
    ids: Option<Ids>,
    /// Objects and arrays nested this deep become JSONB; 1 is a field of the document [default: 3].
    #[arg(long, value_name = "N")]
    jsonb_depth: Option<usize>,
    /// The schema of the tables [default: app].
    #[arg(long, value_name = "NAME")]
    schema: Option<String>,
    /// Demand NOT NULL and CHECK wherever all documents satisfy them; a later document that does not becomes a dead letter. Needs
    /// `--all`.
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    strict: Option<YesNo>,
    /// Give each table a column for the fields that nothing else reads [default: yes].
    #[arg(long, value_name = "YES|NO", num_args = 0..=1, default_missing_value = "yes")]
    extra: Option<YesNo>,
    /// Brokers of Kafka.
    #[arg(long, value_name = "HOST:PORT", default_value = "localhost:9092")]
    brokers: String,
    /// Replicas of new topics: 3 in production, 1 with a single broker.
    #[arg(long, value_name = "N", default_value_t = 1)]
    replication: i32,
    /// Connection string of PostgreSQL, for `secrets/postgres.url` [default: a database of the same name on this machine].
    #[arg(long, value_name = "URL", value_parser = |text: &str| Ok::<_, std::convert::Infallible>(Secret::from(text.to_owned())))]
    url: Option<Secret>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Names {
    /// `createdAt` becomes `created_at`.
    Snake,
    /// `createdAt` stays `"createdAt"`.
    AsIs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Ids {
    /// Version-5 UUIDs, the same every time.
    Uuid5,
    /// UUIDs that begin with the time of the ObjectId, as version-7 UUIDs begin with theirs.
    Ordered,
    /// Texts of 24 digits.
    Text,
    /// Their 12 bytes.
    Native,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum YesNo {
    Yes,
    No,
}

impl Init {
    pub(super) async fn execute(self, path: &Path) -> anyhow::Result<Exit> {
        files::refuse_existing(&self.to)?;
        let analysis = match &self.from_analysis {
            Some(file) => read(file)?,
            None => match self.documents.analyze(path).await? {
                Some(analysis) => analysis,
                None => return Ok(Exit::Faults),
            },
        };
        let choices = self.choices(&mut Questions::new(self.yes))?;
        let draft = Draft::new(&analysis, &choices);
        let project = Project {
            folder: &self.to,
            database: &analysis.database,
            draft: &draft,
            schema: &choices.schema,
            brokers: &self.brokers,
            replication: self.replication,
            uri: self.documents.address(path),
            url: self.url.as_ref().map(|url| url.expose_secret().to_owned()),
        };
        let written = project.write()?;
        report(&analysis, &draft, &self.to, &written);
        Ok(Exit::Success)
    }

    fn choices(&self, questions: &mut Questions) -> anyhow::Result<Choices> {
        let names = questions.choose("How are tables and columns called?", self.names, Names::Snake)?;
        let ids = questions.choose("What do ObjectIds become?", self.ids, Ids::Uuid5)?;
        let jsonb_depth = questions.number(
            "From which depth on do objects and arrays become JSONB? (1 is a field of the document)",
            self.jsonb_depth,
            3,
        )?;
        let schema = questions.text("In which schema are the tables?", self.schema.clone(), "app")?;
        let strict = questions.choose(
            "Are NOT NULL and CHECK demanded wherever all documents satisfy them?",
            self.strict,
            YesNo::No,
        )?;
        let extra =
            questions.choose("Does each table get a column for fields that come later?", self.extra, YesNo::Yes)?;
        Ok(Choices {
            names: match names {
                Names::Snake => Naming::Snake,
                Names::AsIs => Naming::AsIs,
            },
            ids: match ids {
                Ids::Uuid5 => ObjectIds::Uuid5,
                Ids::Ordered => ObjectIds::Ordered,
                Ids::Text => ObjectIds::Text,
                Ids::Native => ObjectIds::Native,
            },
            schema,
            jsonb_depth,
            strict: matches!(strict, YesNo::Yes),
            extra: matches!(extra, YesNo::Yes),
        })
    }
}

fn read(file: &Path) -> anyhow::Result<Analysis> {
    let text = std::fs::read_to_string(file).with_context(|| format!("read the analysis {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| {
        format!("read the analysis {}: it is not what `driftless analyze --json` prints", file.display())
    })
}

fn report(analysis: &Analysis, draft: &Draft, folder: &Path, written: &[PathBuf]) {
    for file in written {
        print::line(format!("wrote {}", file.display()));
    }
    let sampled = analysis.collections.iter().filter(|collection| !collection.all).count();
    print::line(format!(
        "\n{} became {}.",
        print::count(analysis.collections.len(), "collection"),
        print::count(draft.tables, "table")
    ));
    if sampled > 0 {
        print::line(format!(
            "{} read in part: other documents may not fit. `driftless check --all` finds them; `--all` reads everything.",
            if sampled == 1 { "1 of them was".to_owned() } else { format!("{sampled} of them were") }
        ));
    }
    print::line(format!("Read {} next: it has the steps to the first row.", folder.join("README.md").display()));
}
