//! Programs in Python and JavaScript with the packages that a file pins, from the registries that pip and npm are set up for.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::stack;

/// Returns a Python program that finds what a `requirements.txt` pins.
pub async fn python(requirements: &Path, program: &Path) -> Command {
    let packages = stack::fetch(requirements).await;
    let mut command = Command::new("python3");
    command.arg("-B").arg(program).env("PYTHONPATH", packages).env("PYTHONUNBUFFERED", "1");
    command
}

/// Returns a JavaScript program that finds what a `package-lock.json` pins. It runs in an empty `folder`, because Node looks for packages
/// beside the program.
pub async fn node(lock: &Path, program: &Path, folder: PathBuf) -> Command {
    let packages = stack::fetch(lock).await.join("node_modules");
    let name = program.file_name().expect("a file");
    let copy = folder.join(name).with_extension("mjs");
    std::fs::create_dir_all(&folder).expect("make the folder of the program");
    std::fs::copy(program, &copy).expect("copy the program");
    std::os::unix::fs::symlink(packages, folder.join("node_modules")).expect("link the packages");
    let mut command = Command::new("node");
    command.arg(copy);
    command
}
