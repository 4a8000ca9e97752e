//! Every file of `deploy/` that a document names is there, and so is every document that another one links to.

use driftless_testing::stack::root;

use crate::tools::text;

const DOCUMENTS: [&str; 5] = ["README.md", "SECURITY.md", "docs/deploy.md", "docs/scaling.md", "docs/topics.md"];

/// Returns what a document names and is not there.
fn missing(document: &str, text: &str) -> Vec<String> {
    let folder = root().join(document).parent().expect("a folder").to_owned();
    let quoted = text.split('`').skip(1).step_by(2).flat_map(|code| code.split([' ', '\n']));
    let files = quoted.filter(|word| word.starts_with("deploy/")).map(|word| (word, root().join(word)));
    let links = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let linked = links.filter(|link| !link.is_empty() && !link.contains("://")).map(|link| (link, folder.join(link)));
    files.chain(linked).filter(|(_, path)| !path.exists()).map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn documents_name_files_that_exist() {
    for document in DOCUMENTS {
        assert_eq!(missing(document, &text(document)), [""; 0], "{document}");
    }
    let wrong = "`deploy/nothing` and `kubectl apply -k deploy/nowhere` and [a page](nobody.md#part), [here](#there).";
    assert_eq!(missing("docs/deploy.md", wrong), ["deploy/nothing", "deploy/nowhere", "nobody.md"]);
}
