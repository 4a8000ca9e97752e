//! The parameters of a query string.

use std::collections::BTreeMap;

use super::fault::Fault;

/// The values of the parameters by their names, each given at most once.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// Reads a query string that may hold these parameters. A misspelt one is a fault: ignoring it would answer another question.
    pub(super) fn read(query: Option<&str>, known: &[&str]) -> Result<Self, Fault> {
        let mut values = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) {
                return Err(Fault::bad(format!("there is no parameter `{name}`; there are {}", known.join(", "))));
            }
            if values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Fault::bad(format!("`{name}` is given twice")));
            }
        }
        Ok(Self(values))
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The value of a parameter that must be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Fault> {
        self.get(name).ok_or_else(|| Fault::bad(format!("`{name}` is missing")))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn values_are_decoded() {
        let query = "id=%7B%22%24oid%22%3A%2207%22%7D&at=7.3&wait=";
        let parameters = Parameters::read(Some(query), &["id", "at", "wait", "collection"]).expect("parameters");
        assert_eq!(parameters.get("id"), Some(r#"{"$oid":"07"}"#));
        assert_eq!((parameters.get("wait"), parameters.get("collection")), (Some(""), None));
    }

    #[rstest]
    #[case("ad=7.3", "there is no parameter `ad`; there are at, id")]
    #[case("at=7.3&at=7.4", "`at` is given twice")]
    fn a_fault_says_which_parameter(#[case] query: &str, #[case] text: &str) {
        assert_eq!(Parameters::read(Some(query), &["at", "id"]).expect_err("a fault"), Fault::bad(text));
    }
}
