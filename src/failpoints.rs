//! Failpoints: named places where a test makes the daemon die, fail, panic or wait. Only the cargo feature `failpoints` compiles them
//! in; without it [`failpoint!`] is nothing, and so is this file.
//!
//! ```text
//!  FAILPOINTS = name=step[->step …][;name=…]        step = [N*]action, without N for every further hit
//!    off          nothing            off(FILE)    nothing until FILE exists
//!    kill         the process ends at once, as by SIGKILL: nothing is flushed, closed or reported
//!    error        the place fails as if the connection had broken there: its outcome is unknown
//!    panic        the place panics: its task is lost, the process goes on
//!    pause(FILE)  the place waits until FILE exists
//! ```
//! So `sink.before_commit=3*off->1*error->off(/tmp/x)->kill` fails the fourth batch, and kills the process at the first batch
//! after `/tmp/x` was made. A hit that acts is logged with the name of its point. A point without steps left does nothing.
//!
//! The `fail` crate has the same idea, but its pause blocks a thread of the runtime, it cannot kill, and it brings a random
//! number generator of its own.

#[cfg(feature = "failpoints")]
pub use self::armed::{Failpoint, Injected, points::*};

/// A place of this name in an async function, or with `blocking` in one that may block its thread. Fails with what the
/// function's error makes of [`Injected`].
macro_rules! failpoint {
    (blocking $point:ident) => {{
        #[cfg(feature = "failpoints")]
        $crate::failpoints::$point.hit_blocking()?;
    }};
    ($point:ident) => {{
        #[cfg(feature = "failpoints")]
        $crate::failpoints::$point.hit().await?;
    }};
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::{
        collections::HashMap,
        path::PathBuf,
        sync::{LazyLock, Mutex, PoisonError},
        time::Duration,
    };

    use thiserror::Error;

    /// Between two looks for the file that ends a pause.
    const POLL_INTERVAL: Duration = Duration::from_millis(10);

    /// A named place.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Failpoint {
        /// Its name.
        pub name: &'static str,
        /// Where it is.
        pub place: &'static str,
        /// The promise that a crash or an error there must not break.
        pub promise: &'static str,
    }

    /// A failpoint said that its place fails.
    #[derive(Clone, Copy, Debug, Error)]
    #[error("failpoint {0}")]
    pub struct Injected(pub &'static str);

    macro_rules! points {
        ($($ident:ident = $name:literal, $place:literal, $promise:literal;)*) => {
            /// The points.
            pub(super) mod points {
                use super::Failpoint;
                $(
                    #[doc = $place]
                    pub const $ident: Failpoint = Failpoint { name: $name, place: $place, promise: $promise };
                )*
                /// Every point.
                pub const ALL: &[Failpoint] = &[$($ident),*];
            }
        };
    }

    points! {
        STREAM_REPLY = "stream.reply",
            "A reply of the change stream is read; nobody has seen it.",
            "The stream is opened again behind what was handed on.";
        KEYS_REPLY = "keys.reply",
            "A reply of the change stream of keys, by which the reconciler judges again, is read; nobody has seen it.",
            "The stream is opened again behind what was handed on.";
        LOG_BEFORE_STATE_RECORD = "log.before_state_record",
            "In a Kafka transaction: changes and frontiers are sent, the record with the resume token is not.",
            "No change is visible without its resume token, and none is left out by the next term.";
        LOG_BEFORE_COMMIT = "log.before_commit",
            "The Kafka transaction is delivered and not committed.",
            "Nothing of it becomes visible; the next term publishes the same changes.";
        LOG_AFTER_COMMIT = "log.after_commit",
            "The Kafka transaction is committed, and the publisher does not know it yet.",
            "The next term goes on behind it; no count of a frontier is missed.";
        LEADERSHIP_TAKE_OVER = "leadership.take_over",
            "The predecessor is fenced and its state is read; the new term has published nothing.",
            "The next leader goes on from the same state.";
        LEADERSHIP_HAND_OVER = "leadership.hand_over",
            "The leader leads no more and has not left the group of the candidates.",
            "It publishes nothing from here on; another leads as soon as the group knows that it is gone.";
        TOPICS_WATCH = "topics.watch",
            "The ids of the topics are about to be compared with those that were found.",
            "A topic that was made again is told from lost records, whoever hears of it first.";
        SNAPSHOT_CHUNK = "snapshot.chunk",
            "A chunk is read; its rows and its step are not in the log.",
            "The chunk is read again, and its place in the stream is kept.";
        REMOVAL_LOGGED = "removal.logged",
            "Deletes of what a snapshot did not find are in the log; its run does not say that it is through.",
            "The rest is removed, and nothing that the source holds.";
        REPAIR_PUBLISH = "repair.publish",
            "The documents of repairs are read; they are not in the log.",
            "The requests stay open and are served again.";
        REPAIR_ACKNOWLEDGE = "repair.acknowledge",
            "Repairs are in the log; their requests do not say so.",
            "They are served again, which changes nothing.";
        SINK_ASSIGNMENT = "sink.assignment",
            "A worker has got partitions and read where they go on; the consumer does not know it.",
            "No partition is read from anywhere else.";
        SINK_TRUNCATE = "sink.truncate",
            "Documents of an emptied collection are removed; the batch is not committed.",
            "All of it is removed or nothing, and what came later stays.";
        SINK_BETWEEN_LEDGER_AND_ROWS = "sink.between_ledger_and_rows",
            "The ledger has the new versions; the rows are the old ones.",
            "Ledger and rows change together or not at all.";
        SINK_DEAD_LETTER = "sink.dead_letter",
            "The good documents of a batch are written; its dead letters are not.",
            "No refused document vanishes, and none is counted twice.";
        SINK_BEFORE_COMMIT = "sink.before_commit",
            "Rows, ledger and dead letters are written; positions are not moved, nothing is committed.",
            "The batch is applied again as a whole.";
        SINK_AFTER_COMMIT = "sink.after_commit",
            "The batch is committed, and the worker does not know it.",
            "The positions say so: the batch is not applied twice and nothing behind it is left out.";
        SINK_SEEK = "sink.seek",
            "A position was moved under a running worker, which is about to read from there.",
            "Reading goes on where the position says, whatever was planned ahead.";
        SINK_BIND = "sink.bind",
            "The positions have the id of the topic that took the name; what they said of the old one is not forgotten.",
            "No offset of the old topic is used in the new one.";
        RECONCILE_WALK = "reconcile.walk",
            "The command has compared everything of a collection, and not reported it.",
            "The other collections are compared; the command says that nothing is known of this one.";
        BASELINE_CHUNK = "baseline.chunk",
            "A chunk of a pass is compared; nothing of it is stored.",
            "The pass goes on with the same chunk, and skips nothing.";
        SCHEMA_MIGRATION = "schema.migration",
            "A migration of the schema driftless has run, the next one has not.",
            "All missing migrations run or none.";
        SCHEMA_BEFORE_LOAD = "schema.before_load",
            "An index or foreign key is written down and dropped; nothing is committed.",
            "What is dropped is written down.";
        SCHEMA_AFTER_LOAD = "schema.after_load",
            "An index or foreign key is built again and not struck off.",
            "The command goes on where it was interrupted.";
        IDENTITY_CLAIM = "identity.claim",
            "The migration has its row, which does not name its source.",
            "No row without a source is left, and the source is not refused afterwards.";
    }

    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Action {
        Off,
        OffUntil(PathBuf),
        Kill,
        Error,
        Panic,
        Pause(PathBuf),
    }

    /// The remaining steps of a point: how often each still acts, and the action.
    #[derive(Debug, Default)]
    struct Steps(std::collections::VecDeque<(u64, Action)>);

    static STEPS: LazyLock<Mutex<HashMap<String, Steps>>> = LazyLock::new(|| {
        let text = std::env::var("FAILPOINTS").unwrap_or_default();
        Mutex::new(parse(&text).unwrap_or_else(|fault| panic!("read FAILPOINTS: {fault}")))
    });

    impl Failpoint {
        /// Does what the environment says of this hit.
        ///
        /// # Errors
        /// [`Injected`], for the action `error`.
        pub(crate) async fn hit(&self) -> Result<(), Injected> {
            let Some(file) = self.act()? else { return Ok(()) };
            while !file.exists() {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            Ok(())
        }

        /// The same on a thread that may block.
        ///
        /// # Errors
        /// As [`Failpoint::hit`].
        pub(crate) fn hit_blocking(&self) -> Result<(), Injected> {
            let Some(file) = self.act()? else { return Ok(()) };
            while !file.exists() {
                std::thread::sleep(POLL_INTERVAL);
            }
            Ok(())
        }

        /// Acts, all but the pause: gives the file that it waits for.
        fn act(&self) -> Result<Option<PathBuf>, Injected> {
            let action = STEPS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get_mut(self.name)
                .map_or(Action::Off, Steps::next);
            if action != Action::Off {
                tracing::warn!(name = self.name, ?action, "failpoint");
            }
            match action {
                Action::Off | Action::OffUntil(_) => Ok(None),
                Action::Kill => std::process::abort(),
                Action::Error => Err(Injected(self.name)),
                Action::Panic => panic!("failpoint {}", self.name),
                Action::Pause(file) => Ok(Some(file)),
            }
        }
    }

    impl Steps {
        /// The action of this hit.
        fn next(&mut self) -> Action {
            while let Some((left, action)) = self.0.front_mut() {
                let over = match action {
                    Action::OffUntil(file) => file.exists(),
                    _ => *left == 0,
                };
                if !over {
                    *left = left.saturating_sub(1);
                    return if matches!(action, Action::OffUntil(_)) { Action::Off } else { action.clone() };
                }
                self.0.pop_front();
            }
            Action::Off
        }
    }

    fn parse(text: &str) -> Result<HashMap<String, Steps>, String> {
        let mut all = HashMap::new();
        for point in text.split(';').filter(|point| !point.is_empty()) {
            let (name, steps) = point.split_once('=').ok_or_else(|| format!("`{point}` has no `=`"))?;
            if !points::ALL.iter().any(|known| known.name == name) {
                return Err(format!("there is no point `{name}`"));
            }
            let steps = steps.split("->").map(step).collect::<Result<_, _>>()?;
            all.insert(name.to_owned(), Steps(steps));
        }
        Ok(all)
    }

    fn step(text: &str) -> Result<(u64, Action), String> {
        let (times, action) = match text.split_once('*') {
            Some((times, action)) => (times.parse().map_err(|_| format!("`{times}` is no number"))?, action),
            None => (u64::MAX, text),
        };
        let file = |name: &str| Some(PathBuf::from(action.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')?));
        let action = match action {
            "off" => Action::Off,
            "kill" => Action::Kill,
            "error" => Action::Error,
            "panic" => Action::Panic,
            _ => {
                let until = file("off").map(Action::OffUntil);
                until
                    .or_else(|| file("pause").map(Action::Pause))
                    .ok_or_else(|| format!("there is no action `{text}`"))?
            }
        };
        Ok((times, action))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn steps_follow_each_other() {
            let file = tempfile();
            let text =
                format!("sink.seek=2*off->1*error->off({})->1*kill->1*panic;log.before_commit=error", file.display());
            let mut all = parse(&text).expect("it can be read");
            let seek = all.get_mut("sink.seek").expect("it is there");
            let actions: Vec<_> = (0..5).map(|_| seek.next()).collect();
            assert_eq!(actions, [Action::Off, Action::Off, Action::Error, Action::Off, Action::Off]);
            std::fs::write(&file, "").expect("make the file");
            assert_eq!([seek.next(), seek.next(), seek.next()], [Action::Kill, Action::Panic, Action::Off]);
            std::fs::remove_file(&file).expect("remove the file");
            let commit = all.get_mut("log.before_commit").expect("it is there");
            assert!((0..9).all(|_| commit.next() == Action::Error), "without a number it acts at every hit");
        }

        fn tempfile() -> PathBuf {
            std::env::temp_dir().join(format!("driftless-failpoints-{}", std::process::id()))
        }

        #[test]
        fn what_cannot_be_read_is_refused_by_name() {
            for (text, fault) in [
                ("sink.seek", "`sink.seek` has no `=`"),
                ("sink.seak=kill", "there is no point `sink.seak`"),
                ("sink.seek=x*kill", "`x` is no number"),
                ("sink.seek=1*fail", "there is no action `1*fail`"),
            ] {
                assert_eq!(parse(text).err().as_deref(), Some(fault));
            }
            assert!(parse("").expect("nothing is set").is_empty());
        }

        #[test]
        fn names_are_unique() {
            let names = points::ALL.iter().map(|point| point.name).collect::<std::collections::BTreeSet<_>>();
            assert_eq!(names.len(), points::ALL.len());
        }
    }
}
