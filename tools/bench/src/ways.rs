//! Ways to write a batch into PostgreSQL, side by side: the sink's way was chosen by these figures.

use std::pin::pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::Client;

use crate::{
    Bench,
    ceilings::{BATCH, Columns, copy_pieces, keep, upsert_statement},
    report::Chapter,
    users::{COLUMNS, USERS, User},
};

/// A way to write all rows.
#[derive(Clone, Copy)]
enum Way {
    /// Arrays of columns, then one INSERT that resolves conflicts.
    Unnest,
    /// COPY into a temporary table, then one INSERT from there that resolves conflicts.
    Temporary,
    /// COPY into the table itself.
    Straight,
}

/// Measures all ways, one transaction per batch, on one connection.
pub(crate) async fn measure(bench: &Bench, chapter: &mut Chapter, client: &Client) -> anyhow::Result<()> {
    client.batch_execute(&format!("CREATE TEMPORARY TABLE arrived (LIKE {USERS})")).await?;
    let mut revision = 1_000_000;
    for run in 0..=bench.scale.runs {
        bench.step(&format!("PostgreSQL, ways to write a batch, run {run}"));
        for (id, what, way, new) in [
            (
                "ceilings.ways.known_temporary",
                "known rows: COPY into a temporary table, upsert from it",
                Way::Temporary,
                false,
            ),
            ("ceilings.ways.known_unnest", "known rows: upsert from arrays", Way::Unnest, false),
            ("ceilings.ways.new_unnest", "new rows: upsert from arrays", Way::Unnest, true),
            ("ceilings.ways.new_copy", "new rows: COPY straight in", Way::Straight, true),
        ] {
            revision += 1;
            let rows: Vec<User> = (0..bench.scale.documents).map(|seq| bench.users.user(seq, revision)).collect();
            if new {
                client.batch_execute(&format!("TRUNCATE {USERS}")).await?;
            }
            client.batch_execute(&format!("VACUUM ANALYZE {USERS}")).await?;
            let rate = write(client, &rows, way).await?;
            keep(chapter, run, id, &format!("PostgreSQL, {what}, a batch each"), "rows/s", rate);
        }
    }
    Ok(())
}

async fn write(client: &Client, rows: &[User], way: Way) -> anyhow::Result<f64> {
    let names: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let names = names.join(", ");
    let arrays: Vec<Columns> = rows.chunks(BATCH).filter(|_| matches!(way, Way::Unnest)).map(Columns::new).collect();
    let copies = rows.chunks(BATCH).filter(|_| !matches!(way, Way::Unnest));
    let copies: Vec<Vec<Bytes>> = copies.map(|batch| copy_pieces(batch.iter().cloned())).collect();
    let parameters: Vec<String> =
        COLUMNS.iter().enumerate().map(|(place, (_, sql))| format!("${}::{sql}[]", place + 1)).collect();
    let upsert = match way {
        Way::Temporary => upsert_statement(&format!("SELECT {names} FROM arrived")),
        Way::Unnest | Way::Straight => upsert_statement(&format!("SELECT * FROM unnest({})", parameters.join(", "))),
    };
    let upsert = client.prepare(&upsert).await?;
    let into = if matches!(way, Way::Temporary) { "arrived" } else { USERS };
    let copy = client.prepare(&format!("COPY {into} ({names}) FROM STDIN BINARY")).await?;
    let began = std::time::Instant::now();
    for batch in &arrays {
        client.execute(&upsert, &batch.parameters()).await?;
    }
    for batch in &copies {
        client.batch_execute("BEGIN").await?;
        let mut sink = pin!(client.copy_in::<_, Bytes>(&copy).await?);
        for piece in batch {
            sink.send(piece.clone()).await?;
        }
        sink.finish().await?;
        if matches!(way, Way::Temporary) {
            client.execute(&upsert, &[]).await?;
            client.batch_execute("TRUNCATE arrived").await?;
        }
        client.batch_execute("COMMIT").await?;
    }
    Ok(rows.len() as f64 / began.elapsed().as_secs_f64())
}
