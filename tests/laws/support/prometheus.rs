//! The Prometheus of a stack: which daemons it scrapes, and what it answers.

use serde_json::{Value, json};

use super::{DEADLINE, daemon::Daemon, stack::Stack, wait};

/// A Prometheus that scrapes each second.
pub(crate) struct Prometheus {
    url: String,
    targets: String,
}

impl Prometheus {
    /// Returns that of the stack, which must have been started with one.
    pub(crate) fn of(stack: &Stack) -> Self {
        Self { url: stack.value("PROMETHEUS_URL").to_owned(), targets: stack.value("PROMETHEUS_TARGETS").to_owned() }
    }

    /// Scrapes these daemons, each as the job of this name, and nothing else.
    pub(crate) fn watch(&self, daemons: &[(&str, &Daemon)]) {
        let target =
            |(job, daemon): &(&str, &Daemon)| json!({ "targets": [daemon.address()], "labels": { "job": job } });
        let targets = Value::from_iter(daemons.iter().map(target));
        std::fs::write(&self.targets, targets.to_string()).expect("write the targets");
    }

    async fn get(&self, path: String) -> Result<Value, String> {
        let url = format!("{}{path}", self.url);
        let call = move || {
            let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
            agent.get(&url).call().and_then(|mut response| response.body_mut().read_json::<Value>())
        };
        tokio::task::spawn_blocking(call).await.expect("the call does not panic").map_err(|error| error.to_string())
    }

    /// Returns the series that a query has now: their labels, and their values.
    ///
    /// # Errors
    /// Fails with the query and the answer, if that is not a vector.
    pub(crate) async fn query(&self, query: &str) -> Result<Vec<(Value, f64)>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(format!("/api/v1/query?query={encoded}")).await?;
        let unusable = || format!("{query}: {answer}");
        let series = answer["data"]["result"].as_array().ok_or_else(unusable)?;
        let value = |one: &Value| Some((one["metric"].clone(), one["value"][1].as_str()?.parse().ok()?));
        series.iter().map(value).collect::<Option<_>>().ok_or_else(unusable)
    }

    /// Returns the alerts of the job that are active, pending ones included.
    ///
    /// # Errors
    /// Fails like [`Self::query`].
    pub(crate) async fn alerts(&self, job: &str) -> Result<Vec<String>, String> {
        let active = self.query(&format!("group by (alertname) (ALERTS{{job=\"{job}\"}})")).await?;
        let name = |(labels, _): (Value, f64)| labels["alertname"].as_str().map(str::to_owned);
        Ok(active.into_iter().filter_map(name).collect())
    }

    /// Waits until every rule of the repository was evaluated without a fault.
    pub(crate) async fn evaluates_every_rule(&self) {
        wait::until("every rule is evaluated without fault", DEADLINE, async || {
            let answer = self.get("/api/v1/rules".to_owned()).await?;
            let groups = answer["data"]["groups"].as_array().ok_or("no groups")?;
            let rules: Vec<&Value> =
                groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).collect();
            wait::holds(rules.len() > 25, format!("only {} rules are loaded", rules.len()))?;
            let sick: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").map(|rule| &rule["name"]).collect();
            wait::holds(sick.is_empty(), format!("not evaluated: {sick:?}"))
        })
        .await;
    }
}
