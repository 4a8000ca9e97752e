//! The image. No Docker engine runs here: what it would build from, and what its program needs, is checked instead.

use std::{collections::BTreeSet, path::Path, process::Command};

use driftless_testing::stack::root;

use crate::{
    compose::version,
    tools::{Copy, Said, Tools, run, text},
};

const DOCKERFILE: &str = "deploy/Dockerfile";
/// The shared libraries that the runtime image has: of C, C++'s runtime, and OpenSSL.
const IN_IMAGE: [&str; 8] = [
    "linux-vdso.so.1",
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libssl.so.3",
    "libcrypto.so.3",
];
/// The one that the Dockerfile adds.
const ADDED: &str = "libz.so.1";

fn lint(tools: &Tools, file: &Path) -> Said {
    run(tools.program("hadolint").arg("--no-color").arg(file), "")
}

#[tokio::test]
async fn the_linter_finds_nothing() {
    let tools = Tools::get().await;
    let said = lint(tools, &root().join(DOCKERFILE));
    assert!(said.ok, "{}", said.text());
    let copy = Copy::of(&[DOCKERFILE]);
    copy.edit(DOCKERFILE, "WORKDIR /build", "WORKDIR build");
    let said = lint(tools, &copy.path(DOCKERFILE));
    assert!(!said.ok && said.text().contains("DL3000"), "{}", said.text());
}

#[test]
fn base_images_are_pinned_and_the_last_one_has_neither_shell_nor_root() {
    let file = text(DOCKERFILE);
    let argument = |name: &str| {
        let line = file.lines().find_map(|line| line.strip_prefix("ARG ")?.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_else(|| panic!("no ARG {name}"))
    };
    assert_eq!(version(argument("BUILD")), Some("1.95-slim-bookworm"));
    // Distroless has no tag with a version.
    assert_eq!(argument("RUNTIME"), "gcr.io/distroless/cc-debian12:nonroot");
    let toolchain = text("Cargo.toml");
    assert!(toolchain.contains("rust-version = \"1.95\""), "the image builds with the toolchain of the project");

    // Every stage comes from those two.
    let mut known = BTreeSet::from(["${BUILD}".to_owned(), "${RUNTIME}".to_owned()]);
    for line in file.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let words: Vec<&str> = line.split(' ').collect();
        assert!(known.contains(words[0]), "FROM {line}");
        known.extend(words.get(2).map(|name| (*name).to_owned()));
    }
    let (_, last) = file.rsplit_once("\nFROM ").expect("stages");
    assert!(last.starts_with("runtime\n") && !last.contains("\nRUN "), "{last}");
    let (_, runtime) = file.split_once("FROM ${RUNTIME} AS runtime").expect("the stage of the runtime");
    assert!(runtime.contains("\nUSER 65532:65532\n"));
}

/// Returns the libraries in the output of `ldd` that the image lacks.
fn lacking(libraries: &str) -> Vec<String> {
    let names = libraries.lines().filter_map(|line| line.split_whitespace().next()?.rsplit('/').next());
    names.filter(|name| !IN_IMAGE.contains(name) && *name != ADDED).map(str::to_owned).collect()
}

#[test]
fn the_image_has_every_library_that_the_program_needs() {
    let said = run(Command::new("ldd").arg(env!("CARGO_BIN_EXE_driftless")), "");
    assert!(said.ok && said.stdout.contains("libc.so.6"), "{}", said.text());
    assert_eq!(lacking(&said.stdout), [""; 0]);
    assert!(text(DOCKERFILE).contains(&format!("-name '{ADDED}'")));
    assert_eq!(lacking("\tlibsasl2.so.2 => /usr/lib/libsasl2.so.2 (0x1)\n"), ["libsasl2.so.2"]);
}

/// The build context holds everything that cargo reads, and every file that the code includes.
#[test]
fn the_build_context_is_complete() {
    let ignore = text("deploy/Dockerfile.dockerignore");
    assert!(ignore.lines().any(|line| line == "*"), "only what is named");
    let named: Vec<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let copy = Copy::of(&named);
    let metadata = || {
        let mut cargo = Command::new("cargo");
        cargo.args(["metadata", "--offline", "--locked", "--no-deps", "--format-version", "1", "--manifest-path"]);
        run(cargo.arg(copy.path("Cargo.toml")), "")
    };
    let said = metadata();
    assert!(said.ok, "{}", said.stderr);
    for folder in ["src", "crates", "tools"] {
        for file in sources(&copy.path(folder)) {
            let code = std::fs::read_to_string(&file).expect("read the code");
            for included in code.split("include_str!(\"").skip(1).filter_map(|rest| rest.split('"').next()) {
                assert!(file.with_file_name(included).exists(), "{} includes {included}", file.display());
            }
        }
    }
    std::fs::remove_dir_all(copy.path("tests")).expect("removed");
    assert!(!metadata().ok, "a member of the workspace is missing");
}

fn sources(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => sources(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}
