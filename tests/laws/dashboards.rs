//! A real Prometheus that scrapes the daemon under load answers every query of the dashboards, in good times and in six faults, and no
//! panel is green while an alert that it names is active. Every metric in `src/metrics.rs` appears on the way.

use driftless_testing::dashboards::{Dashboard, Panel};
use serde_json::{Value, json};

use crate::{
    metrics,
    support::{
        DEADLINE,
        daemon::Daemon,
        load::{Load, Marker, fill},
        migration::Migration,
        packages,
        prometheus::Prometheus,
        stack::{Stack, root},
        wait,
    },
};

/// Changes rows by hand, unseen by the guard. All of them, because the application goes on and writes some again.
const ROGUE: &str = "SET session_replication_role = replica; \
     UPDATE app.{table} SET updated_at = updated_at + interval '1 day'; \
     SET session_replication_role = origin";

/// Panels that nobody can know while PostgreSQL is away.
const FROM_POSTGRESQL: [&str; 10] = [
    "Open findings",
    "Dead letters",
    "Guard",
    "Paused",
    "Age of the baseline",
    "Can baselines go on?",
    "Guard by table",
    "Tables without a guard",
    "Not compared again",
    "Rows without their parent",
];

/// Seconds that a picture shows.
const PICTURE_S: f64 = 90.0;

/// The panels of one migration, as Prometheus fills them.
struct Shown {
    prometheus: Prometheus,
    panels: Vec<Panel>,
    job: String,
}

impl Shown {
    /// Waits until these alerts are active, every query has an answer, and no panel is green that names an active alert.
    async fn during(&self, fault: &str, expected: &[&str]) {
        wait::until(format!("the dashboards show that it is {fault}"), DEADLINE, async || {
            let active = self.active(expected).await?;
            let mut wrong = Vec::new();
            for panel in &self.panels {
                let colours = self.colours(panel, &mut wrong).await?;
                let alerts = panel.alerts();
                let bad = active.iter().any(|active| alerts.contains(active));
                if bad && panel.is_state() && colours.iter().all(|colour| is_good(colour)) {
                    wrong.push(format!("{} is green: {active:?}", panel.name));
                }
            }
            wait::holds(wrong.is_empty(), wrong.join("\n"))
        })
        .await;
    }

    /// Waits until every query has an answer, and every panel that names an alert has the colour of nothing to do.
    async fn in_good_times(&self) {
        wait::until("the dashboards show that all is well", DEADLINE, async || {
            let mut wrong = Vec::new();
            for panel in &self.panels {
                let colours = self.colours(panel, &mut wrong).await?;
                let calm = |colour: &String| is_good(colour) || colour == "blue";
                if panel.is_state() && !panel.alerts().is_empty() && !colours.iter().all(calm) {
                    wrong.push(format!("{} is {colours:?}", panel.name));
                }
            }
            wait::holds(wrong.is_empty(), wrong.join("\n"))
        })
        .await;
    }

    /// Waits until these alerts are active and no panel is green at all: where nobody answers, nothing is known to be good.
    async fn of_nobody(&self, expected: &[&str]) {
        wait::until("no panel is green", DEADLINE, async || {
            let active = self.active(expected).await?;
            let mut green = Vec::new();
            for panel in self.panels.iter().filter(|panel| panel.is_state()) {
                let colours = self.colours(panel, &mut Vec::new()).await?;
                green.extend(colours.iter().any(|colour| is_good(colour)).then_some(&*panel.name));
            }
            wait::holds(green.is_empty(), format!("{green:?} beside {active:?}"))
        })
        .await;
    }

    /// The active alerts, if these are among them.
    async fn active(&self, expected: &[&str]) -> Result<Vec<String>, String> {
        let active = self.prometheus.alerts(&self.job).await?;
        let missing: Vec<_> = expected.iter().filter(|name| !active.iter().any(|active| active == **name)).collect();
        wait::holds(missing.is_empty(), format!("{missing:?} are not active, but {active:?}"))?;
        Ok(active)
    }

    /// The colours of a panel's values; notes the queries without any.
    async fn colours(&self, panel: &Panel, empty: &mut Vec<String>) -> Result<Vec<String>, String> {
        let mut colours = Vec::new();
        let leads = format!("driftless_source_leader{{job=\"{}\"}} == 1", self.job);
        let nobody_leads = self.prometheus.query(&leads).await?.is_empty();
        for query in panel.queries(&self.job) {
            let series = self.prometheus.query(&query).await?;
            // Only the leader knows the snapshot, and without Kafka there is none after a while.
            if series.is_empty() && !(nobody_leads && query.contains(&leads)) {
                empty.push(format!("{} is empty: {query}", panel.name));
            }
            colours.extend(series.into_iter().map(|(_, value)| panel.colour(Some(value))));
        }
        if colours.is_empty() {
            colours.push(panel.colour(None));
        }
        Ok(colours)
    }

    /// With `DRIFTLESS_PICTURES` set, Grafana's own panels draw the dashboards into that folder, and none may complain. Their packages
    /// take 600 MB, so `make test` goes without.
    async fn pictures(&self, stack: &Stack, migration: &Migration, times: &str) {
        let Some(kept) = std::env::var_os("DRIFTLESS_PICTURES") else { return };
        let scraped = format!("count_over_time(driftless_build_info{{job=\"{}\"}}[5m])", self.job);
        wait::until("there is enough to draw", DEADLINE, async || {
            let seen = self.prometheus.query(&scraped).await?;
            wait::holds(seen.iter().any(|(_, times)| *times >= PICTURE_S), format!("{seen:?}"))
        })
        .await;
        let here = root().join("tests/laws/dashboards");
        let folder = migration.mapping().with_file_name(format!("grafana-{times}"));
        let lock = root().join("tests/support/grafana/package-lock.json");
        let mut browser = packages::node(&lock, &here.join("render.mjs"), folder.clone()).await;
        browser.args([stack.value("PROMETHEUS_URL"), &self.job, times, &PICTURE_S.to_string()]);
        browser.args([root().join("dashboards"), here, root().join(kept)]);
        // The browser unpacks itself into the folder for temporary files.
        let drawn = wait::soon("the pictures", browser.env("TMPDIR", &folder).kill_on_drop(true).output()).await;
        let drawn = drawn.expect("start Node");
        assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
        let drawn: Value = serde_json::from_slice(&drawn.stdout).expect("JSON");
        for dashboard in Dashboard::all() {
            let Value::Object(shown) = &drawn[&dashboard.file] else { panic!("{} is not drawn", dashboard.file) };
            assert_eq!(shown["complaints"], json!([]), "{}", dashboard.file);
            let (panels, drawn) = (dashboard.panels(), shown["panels"].as_array().expect("panels"));
            assert_eq!(panels.len(), drawn.len(), "{}", dashboard.file);
            for (Panel { name, json }, panel) in panels.iter().zip(drawn) {
                assert_eq!(json["title"], panel["title"]);
                let data =
                    panel["text"].as_str().is_some_and(|text| !text.contains("No data")) && panel["drawn"] == true;
                assert!(data, "{name}: {panel}");
            }
        }
    }

    /// Waits until the panel of this title shows only this colour.
    async fn has(&self, title: &str, colour: &str) {
        let panel = self.panels.iter().find(|panel| panel.json["title"] == title).expect("the panel exists");
        wait::until(format!("{} is {colour}", panel.name), DEADLINE, async || {
            let colours = self.colours(panel, &mut Vec::new()).await?;
            wait::holds(colours.iter().all(|one| one == colour), format!("{colours:?}"))
        })
        .await;
    }
}

fn is_good(colour: &str) -> bool {
    colour.contains("green")
}

/// Starts a daemon whose migration is proven and guarded.
async fn proven(migration: &Migration, seed: u64, documents: u64) -> Daemon {
    fill(migration, seed, documents).await;
    let daemon = migration.daemon();
    daemon.wait_for("the snapshot is complete", DEADLINE, |status| status.snapshot_complete()).await;
    migration.succeed(&["guard", "install"]).await;
    daemon.wait_for("the verdict is in sync", DEADLINE, |status| status.verdict == "in_sync").await;
    daemon
}

#[tokio::test(flavor = "multi_thread")]
async fn dashboards_hold_data_and_no_panel_is_green_while_its_alert_is_active() {
    let stack = metrics::watched().await;
    let mut migration = Migration::demo_on(stack, "dashboards").await;
    migration.set("sink", "catalog_interval", "1s");
    // Only an unequal row takes the reads back, so that a slow machine does not.
    ["patience", "fresh", "max_staleness"].iter().for_each(|bound| migration.set("reads", bound, "1h"));
    migration.set("reconcile", "baseline_every", "5s");
    let mut bystander = Migration::demo_on(stack, "bystander").await;
    bystander.set("reconcile", "baseline_every", "1h");
    let (daemon, other) = tokio::join!(proven(&migration, 13, 500), proven(&bystander, 15, 50));
    let prometheus = Prometheus::of(stack);
    prometheus.watch(&[(&migration.name, &daemon), (&bystander.name, &other)]);
    let load = Load::start(&migration, 13, 30.0);
    // Nothing else happens there.
    Marker::write(&bystander).await;
    let panels = || Dashboard::all().iter().flat_map(Dashboard::panels).collect();
    let well = Shown { prometheus: Prometheus::of(stack), panels: panels(), job: bystander.name.clone() };
    let shown = Shown { prometheus, panels: panels(), job: migration.name.clone() };
    shown.in_good_times().await;
    shown.prometheus.evaluates_every_rule().await;
    shown.pictures(stack, &migration, "good").await;
    migration.succeed(&["cutover", "reads", "--unit", "users", "--share", "50%", "--force", "--why", "a test"]).await;
    metrics::all_appear(stack, &migration, &daemon).await;

    rogue(&migration, "organisations").await;
    let drift = ["DriftlessDrift", "DriftlessDeadLetters", "DriftlessForeignWrite"];
    shown.during("drifting", &drift).await;
    shown.has("Verdict", "red").await;
    rogue(&migration, "users").await;
    shown.during("tripped", &["DriftlessReadsTripped"]).await;

    stack.stop("kafka", "fast").await;
    shown.during("without Kafka", &["DriftlessStalled"]).await;
    shown.has("Behind in records", "orange").await;
    stack.start("kafka").await;
    shown.has("Behind in records", "blue").await;
    load.end().await;
    stack.stop("postgres", "immediate").await;
    shown.during("stalled", &["DriftlessStalled"]).await;
    // What PostgreSQL said last may have been good.
    for title in FROM_POSTGRESQL {
        shown.has(title, "orange").await;
    }
    stack.start("postgres").await;
    daemon.wait_for("the sink works again", DEADLINE, |status| status.phase("sink") == "running").await;

    let target = migration.connect().await;
    target.batch_execute("ALTER TABLE app.organisations DROP COLUMN name CASCADE").await.expect("drop a column");
    shown.during("halted", &["DriftlessHalted"]).await;
    shown.pictures(stack, &migration, "bad").await;
    daemon.stop(3).await;
    shown.of_nobody(&["DriftlessAbsent", "DriftlessProcessDown"]).await;
    well.in_good_times().await;

    other.stop(0).await;
    migration.finish().await;
    bystander.finish().await;
    stack.down().await;
}

async fn rogue(migration: &Migration, table: &str) {
    migration.target.batch_execute(&ROGUE.replace("{table}", table)).await.expect("edit a row by hand");
}
