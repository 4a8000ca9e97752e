//! The programs that validate, from packages that `requirements.txt` pins, and copies of `deploy/` that a test may break.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use driftless_testing::{
    stack::{self, profile, root},
    unique,
};
use serde_json::Value;
use tokio::sync::OnceCell;

/// The output of a program.
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// Everything that it said.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

/// Runs a program with this standard input.
pub(crate) fn run(command: &mut Command, input: &str) -> Said {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // Beside the program, which may print before it has read everything, or end without reading.
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("it ends");
    writing.join().expect("the input is written");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Said { ok: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The validating programs.
pub(crate) struct Tools(PathBuf);

static TOOLS: OnceCell<Tools> = OnceCell::const_new();

impl Tools {
    /// Downloads them unless they are there.
    pub(crate) async fn get() -> &'static Self {
        TOOLS.get_or_init(|| async { Self(stack::fetch(&root().join("tests/deploy/requirements.txt")).await) }).await
    }

    /// A program that a package brings.
    pub(crate) fn program(&self, name: &str) -> Command {
        Command::new(self.0.join("bin").join(name))
    }

    /// A module that a package brings.
    pub(crate) fn module(&self, name: &str) -> Command {
        let mut command = Command::new("python3");
        command.args(["-B", "-m", name]).env("PYTHONPATH", &self.0);
        command
    }

    /// The answer of `tools.py`.
    fn ask(&self, arguments: &[&str], input: &str) -> Value {
        let mut command = Command::new("python3");
        command.arg("-B").arg(root().join("tests/deploy/tools.py")).args(arguments).env("PYTHONPATH", &self.0);
        let said = run(&mut command, input);
        assert!(said.ok, "tools.py {arguments:?}: {}", said.text());
        serde_json::from_str(&said.stdout)
            .unwrap_or_else(|error| panic!("tools.py {arguments:?}: {error}: {}", said.stdout))
    }

    /// The documents of a YAML text.
    pub(crate) fn yaml(&self, text: &str) -> Vec<Value> {
        match self.ask(&["yaml"], text) {
            Value::Array(documents) => documents,
            other => panic!("a list, not {other}"),
        }
    }

    /// The faults of resources by the schemas of Kubernetes: of the oldest version that `docs/deploy.md` names, and of the newest.
    pub(crate) fn schema_faults(&self, resources: &[Value]) -> Vec<String> {
        let input = Value::from(resources.to_vec()).to_string();
        let faults = self.ask(&["kubernetes", "1.29", "1.37"], &input);
        serde_json::from_value(faults).expect("a list of texts")
    }

    /// The faults that Helm finds in a chart with these values, and its resources.
    pub(crate) fn chart(&self, folder: &Path, values: &Value) -> (Vec<String>, Vec<Value>) {
        let mut answer = self.ask(&["chart", folder.to_str().expect("a plain path")], &values.to_string());
        let faults = serde_json::from_value(answer["faults"].take()).expect("a list of texts");
        (faults, serde_json::from_value(answer["resources"].take()).expect("a list"))
    }

    /// The resources that kustomize builds from a folder.
    pub(crate) fn kustomize(&self, folder: &Path) -> Vec<Value> {
        let said = run(self.program("kubectl").arg("kustomize").arg(folder), "");
        assert!(said.ok, "kustomize {}: {}", folder.display(), said.text());
        self.yaml(&said.stdout)
    }
}

/// A copy of files and folders of the project, which a test may break; removed in the end.
pub(crate) struct Copy(PathBuf);

impl Copy {
    pub(crate) fn of(folders: &[&str]) -> Self {
        let copy = profile().with_file_name("tmp").join(unique("deploy"));
        std::fs::create_dir_all(&copy).expect("make a folder");
        let said = run(Command::new("cp").arg("-r").arg("--parents").args(folders).arg(&copy).current_dir(root()), "");
        assert!(said.ok, "copy {folders:?}: {}", said.text());
        Self(copy)
    }

    /// The path of a file or folder of the copy.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Changes a file, which must contain `old`.
    pub(crate) fn edit(&self, name: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.path(name)).expect("read the copy");
        assert!(text.contains(old), "{name} has no {old:?}");
        std::fs::write(self.path(name), text.replace(old, new)).expect("change the copy");
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}

/// The text of a file of the project.
pub(crate) fn text(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("read {name}: {error}"))
}
