//! The schemas of an ORM: what an application says about its documents.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;

use crate::profile::{Description, Fault, mongoose, prisma};

/// The files.
#[derive(Debug, Args)]
pub(crate) struct Schemas {
    /// A Prisma schema for MongoDB; several files are one schema. Its required fields, enums, defaults and relations are taken into
    /// account, and named as the source of a decision.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    prisma: Vec<PathBuf>,
    /// The same of Mongoose's schemas: what `config/mongoose.js` prints when it runs in the application.
    #[arg(long, value_name = "FILE")]
    mongoose: Option<PathBuf>,
}

impl Schemas {
    /// Reads the files; returns what they say about each collection, by its name.
    ///
    /// # Errors
    /// Fails for a file that cannot be read, or is no such schema.
    pub(super) fn read(&self) -> anyhow::Result<BTreeMap<String, Vec<Description>>> {
        let mut described = BTreeMap::<String, Vec<Description>>::new();
        let mut add = |schema: BTreeMap<String, Description>| {
            for (collection, description) in schema {
                described.entry(collection).or_default().push(description);
            }
        };
        let texts = self.prisma.iter().map(|file| text("Prisma schema", file)).collect::<Result<Vec<_>, _>>()?;
        let fault = |(place, fault): (usize, Fault)| {
            anyhow::Error::new(fault).context(format!("read the Prisma schema {}", self.prisma[place].display()))
        };
        add(prisma(&texts).map_err(fault)?);
        if let Some(file) = &self.mongoose {
            let schemas = mongoose(&text("schemas of Mongoose", file)?);
            add(schemas
                .with_context(|| format!("read {}: it is not what config/mongoose.js prints", file.display()))?);
        }
        Ok(described)
    }
}

fn text(what: &str, file: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(file).with_context(|| format!("read the {what} {}", file.display()))
}
