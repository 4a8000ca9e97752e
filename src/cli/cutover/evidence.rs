//! Writes the file of evidence of `driftless cutover check --evidence`.

use std::path::Path;

use anyhow::Context;
use jiff::Timestamp;

use crate::{
    cli::{print, setup::Setup},
    control::proven,
    postgres::{self, Session, session::field},
    reconcile::{
        blockers::{Bounds, leader},
        evidence::{Chunk, CollectionEvidence, Evidence, Servers},
        facts::Facts,
        gate::Gate,
    },
};

/// Writes what the judgement of a unit by these bounds rests on.
pub(super) async fn write(
    path: &Path,
    setup: &Setup,
    session: &Session,
    facts: &Facts,
    (gate, bounds): (&Gate, &Bounds),
) -> anyhow::Result<()> {
    let mut collections = Vec::new();
    for collection in facts.collections.iter().filter(|facts| gate.collections.contains(&facts.name)) {
        let chunks = match &collection.proven.baseline {
            Some(baseline) => proven::chunks(session, &collection.name, baseline.pass).await?,
            None => Vec::new(),
        };
        collections.push(CollectionEvidence::new(collection, chunks.into_iter().map(Chunk::from).collect()));
    }
    let (made_at, target, target_database) = server(session).await?;
    let servers = Servers {
        source: leader(&facts.processes).map(|leader| leader.server.clone()),
        target,
        source_database: setup.config.source.database.clone(),
        target_database,
    };
    let evidence = Evidence::new(gate, bounds, made_at, servers, setup.config.given.clone(), collections);
    let (text, digest) = evidence.to_file()?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    print::line(format!("Wrote {}; note its digest: {digest}", path.display()));
    Ok(())
}

/// The clock, the version and the database of the target.
async fn server(session: &Session) -> Result<(Timestamp, String, String), postgres::Error> {
    let act = "read the version of the target";
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::int8, \
                      'PostgreSQL ' || current_setting('server_version'), current_database()::text";
    let row = session.query_one(act, sql, &[]).await?;
    let now = Timestamp::from_millisecond(field(&row, 0, act)?).unwrap_or_default();
    Ok((now, field(&row, 1, act)?, field(&row, 2, act)?))
}
