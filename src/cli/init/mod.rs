//! `driftless init`: a project folder drafted from the documents of MongoDB, with tables of its own or for tables that exist.

mod files;
mod questions;
mod target;

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, ValueEnum};
use secrecy::ExposeSecret;

use self::{files::Project, questions::Questions};
use super::{Exit, analyze::Documents, print};
use crate::{
    config::Secret,
    draft::{Choices, Draft, Naming, ObjectIds},
    fit::Fitted,
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
    /// Write the mapping that fits the tables of the target, which is `--url` or `sink.url`, in place of drafting tables.
    #[arg(long, conflicts_with_all = ["names", "jsonb_depth", "strict", "extra"])]
    target: bool,
    /// How tables and columns are called [default: snake].
    #[arg(long, value_enum)]
    names: Option<Names>,
    /// The form that ObjectIds take [default: uuid5].
    #[arg(long, value_enum)]
    ids: Option<Ids>,
    /// Objects and arrays nested this deep become JSONB; 1 is a field of the document [default: 3].
    #[arg(long, value_name = "N")]
    jsonb_depth: Option<usize>,
    /// The schema of the tables [default: app; with `--target`, all].
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
    /// UUIDs of zeros and then the bytes of the ObjectId.
    Padded,
    /// UUIDs that are the MD5 of their digits.
    Md5,
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
        let mut questions = Questions::new(self.yes);
        if self.target {
            return self.fit(path, &analysis, &mut questions).await;
        }
        let choices = self.choices(&mut questions)?;
        let draft = Draft::new(&analysis, &choices);
        let url = self.url.as_ref().map(|url| url.expose_secret().to_owned());
        let written =
            self.project(path, &analysis, (&draft.mapping, Some(&draft.schema)), (&choices.schema, url)).write()?;
        let became = format!(
            "{} became {}.",
            print::count(analysis.collections.len(), "collection"),
            print::count(draft.tables, "table")
        );
        report(&analysis, &became, &self.to, &written);
        Ok(Exit::Success)
    }

    /// Writes a project for tables that exist.
    async fn fit(&self, path: &Path, analysis: &Analysis, questions: &mut Questions) -> anyhow::Result<Exit> {
        let Some((target, url)) = target::read(path, self.url.as_ref(), self.schema.as_deref()).await? else {
            return Ok(Exit::Faults);
        };
        let ids = questions.choose("What do ObjectIds become in columns of UUIDs?", self.ids, Ids::Uuid5)?;
        let fitted = Fitted::new(analysis, &target, ids.into());
        let written = self.project(path, analysis, (&fitted.mapping, None), ("…", url)).write()?;
        let became = format!(
            "{} of {} have a table; {} of {} have a source, the others are comments in mapping.toml.",
            fitted.collections,
            print::count(analysis.collections.len(), "collection"),
            fitted.placed,
            print::count(fitted.placed + fitted.open, "column")
        );
        report(analysis, &became, &self.to, &written);
        Ok(Exit::Success)
    }

    /// The project of a mapping and, where tables are drafted, their statements.
    fn project<'p>(
        &'p self,
        path: &Path,
        analysis: &'p Analysis,
        (mapping, tables): (&'p str, Option<&'p str>),
        (schema, url): (&'p str, Option<String>),
    ) -> Project<'p> {
        Project {
            folder: &self.to,
            database: &analysis.database,
            mapping,
            tables,
            schema,
            brokers: &self.brokers,
            replication: self.replication,
            uri: self.documents.address(path),
            url,
        }
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
            ids: ids.into(),
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

impl From<Ids> for ObjectIds {
    fn from(ids: Ids) -> Self {
        match ids {
            Ids::Uuid5 => Self::Uuid5,
            Ids::Ordered => Self::Ordered,
            Ids::Padded => Self::Padded,
            Ids::Md5 => Self::Md5,
            Ids::Text => Self::Text,
            Ids::Native => Self::Native,
        }
    }
}

fn report(analysis: &Analysis, became: &str, folder: &Path, written: &[PathBuf]) {
    for file in written {
        print::line(format!("wrote {}", file.display()));
    }
    let sampled = analysis.collections.iter().filter(|collection| !collection.all).count();
    print::line(format!("\n{became}"));
    if sampled > 0 {
        print::line(format!(
            "{} read in part: other documents may not fit. `driftless check --all` finds them; `--all` reads everything.",
            if sampled == 1 { "1 of them was".to_owned() } else { format!("{sampled} of them were") }
        ));
    }
    print::line(format!("Read {} next: it has the steps to the first row.", folder.join("README.md").display()));
}
