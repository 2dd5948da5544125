//! `cargo xtask deploy-check`: holds the files under deploy/ against every tool that is installed, and
//! says which is not. Installs nothing.

use crate::cargo;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Fails with every fault that was found.
pub(crate) fn check() -> Result<(), String> {
    let folder = cargo::root().join("deploy");
    let mut faults = Vec::new();
    let mut tools = Tools { faults: &mut faults };
    tools.systemd(&folder.join("systemd/glacier-node.service"))?;
    tools.kubernetes(&yaml(&folder.join("kubernetes"))?)?;
    let manifest = folder.join("gramine/glacier-enclave.manifest.template");
    tools.gramine(&manifest)?;
    tools.container(&folder.join("container/Containerfile"))?;
    if faults.is_empty() {
        println!("deploy: no fault found");
        return Ok(());
    }
    Err(format!("faults under deploy/\n  {}", faults.join("\n  ")))
}

struct Tools<'a> {
    faults: &'a mut Vec<String>,
}

impl Tools<'_> {
    fn systemd(&mut self, unit: &Path) -> Result<(), String> {
        // The program is not installed where this runs: another that is takes its place.
        let text = read(unit)?.replace("/usr/bin/glacier ", "/bin/true ");
        let folder = cargo::metadata()?.target_directory.join("deploy-check");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let copy = folder.join("glacier-node.service");
        fs::write(&copy, text).map_err(|error| format!("{}: {error}", copy.display()))?;
        // Remarks of `verify` leave the status at 0; any about our file counts.
        let verified = Tool::new("systemd-analyze", &["verify", "--man=no", "--recursive-errors=no"]).run(&[&copy]);
        let remarked = |output: &Output| !output.ok || output.text.contains("glacier-node.service");
        if let Some(output) = verified.filter(remarked) {
            self.faults.push(format!("systemd-analyze verify: {}", output.text.trim()));
        }
        let tool = Tool::new("systemd-analyze", &["security", "--offline=yes", "--no-pager", EXPOSURE]);
        self.judge(tool.run(&[&copy]), "systemd-analyze security");
        Ok(())
    }

    fn kubernetes(&mut self, files: &[PathBuf]) -> Result<(), String> {
        for file in files {
            self.faults.extend(service_faults(&read(file)?));
        }
        let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
        let validate = Tool::new("kubernetes-validate", &["--strict", "--quiet"]);
        self.judge(validate.run(&files), "kubernetes-validate");
        let kubeconform = Tool::new("kubeconform", &["-strict"]);
        self.judge(kubeconform.run(&files), "kubeconform");
        Ok(())
    }

    fn gramine(&mut self, template: &Path) -> Result<(), String> {
        self.faults.extend(manifest_faults(&read(template)?)?);
        let defines = ["-Darch_libdir=/lib/x86_64-linux-gnu", "-Denclave=/usr/lib/glacier/glacier-enclave", "--check"];
        self.judge(
            Tool::new("gramine-manifest", &defines).run(&[template, Path::new("/dev/null")]),
            "gramine-manifest",
        );
        Ok(())
    }

    fn container(&mut self, file: &Path) -> Result<(), String> {
        self.faults.extend(container_faults(&read(file)?));
        self.judge(Tool::new("hadolint", &[]).run(&[file]), "hadolint");
        Ok(())
    }

    fn judge(&mut self, output: Option<Output>, name: &str) {
        if let Some(output) = output.filter(|output| !output.ok) {
            self.faults.push(format!("{name}: {}", output.text.trim()));
        }
    }
}

struct Tool<'a> {
    name: &'a str,
    args: &'a [&'a str],
}

struct Output {
    ok: bool,
    text: String,
}

impl<'a> Tool<'a> {
    fn new(name: &'a str, args: &'a [&'a str]) -> Self {
        Self { name, args }
    }

    /// None, with a remark, where it is not installed: on the path, or in `target/deploy-venv`.
    fn run(&self, files: &[&Path]) -> Option<Output> {
        let venv = cargo::root().join("target/deploy-venv/bin").join(self.name);
        let program = if venv.exists() { venv } else { PathBuf::from(self.name) };
        let Ok(output) = Command::new(program).args(self.args).args(files).output() else {
            println!("skipped: no {}", self.name);
            return None;
        };
        println!("checked by {} {}", self.name, self.args.first().copied().unwrap_or_default());
        let text = [output.stdout, output.stderr].concat();
        Some(Output { ok: output.status.success(), text: String::from_utf8_lossy(&text).into_owned() })
    }
}

/// The rules of deploy/gramine/README.md, as far as the text can break them.
fn manifest_faults(template: &str) -> Result<Vec<String>, String> {
    let manifest: toml::Table = rendered(template).parse().map_err(|error| format!("the Gramine manifest: {error}"))?;
    let mut keys = BTreeSet::new();
    collect("", &toml::Value::Table(manifest.clone()), &mut keys);
    let known: BTreeSet<String> = MANIFEST_KEYS.iter().map(|key| (*key).to_owned()).collect();
    let unknown = keys.difference(&known).map(|key| format!("the Gramine manifest has {key}, which no rule expects"));
    let missing = known.difference(&keys).map(|key| format!("the Gramine manifest lacks {key}"));
    let mut faults: Vec<String> = unknown.chain(missing).collect();

    for (key, expected) in MANIFEST_VALUES {
        let found = key.split_once('.').and_then(|(table, member)| manifest.get(table)?.get(member));
        if found.map(ToString::to_string).as_deref() != Some(expected) {
            faults.push(format!("the Gramine manifest must have {key} = {expected}"));
        }
    }
    Ok(faults)
}

/// What gramine-manifest would put in place of its expressions.
fn rendered(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, expression)) = rest.split_once("{{") {
        let (expression, after) = expression.split_once("}}").unwrap_or((expression, ""));
        out.push_str(before);
        out.push_str(match expression.split('|').next().unwrap_or_default().trim() {
            "gramine.libos" => "/usr/lib/x86_64-linux-gnu/gramine/libsysdb.so",
            "gramine.runtimedir()" => "/usr/lib/x86_64-linux-gnu/gramine/runtime/glibc",
            "arch_libdir" => "/lib/x86_64-linux-gnu",
            "enclave" => "/usr/lib/glacier/glacier-enclave",
            "enclave_size" => "8G",
            _ => "\n!\n", // breaks the parser: an expression that nobody thought of
        });
        rest = after;
    }
    out + rest
}

/// Dotted names of all members; elements of lists count as one.
fn collect(prefix: &str, value: &toml::Value, keys: &mut BTreeSet<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                collect(&name, value, keys);
            }
        }
        toml::Value::Array(elements) if elements.iter().any(toml::Value::is_table) => {
            elements.iter().for_each(|element| collect(prefix, element, keys));
        }
        _ => {
            keys.insert(prefix.to_owned());
        }
    }
}

fn container_faults(text: &str) -> Vec<String> {
    let last = |word: &str| text.lines().rev().find_map(|line| line.strip_prefix(word)).map(str::trim);
    let mut faults = Vec::new();
    if !last("USER ").is_some_and(|user| user.starts_with(|first: char| ('1'..='9').contains(&first))) {
        faults.push("the container must not run as root: USER with a number".to_owned());
    }
    for image in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
        let name = image.split(' ').next().unwrap_or_default();
        let tag = name.rsplit('/').next().and_then(|name| name.split_once(':')).map(|(_, tag)| tag);
        if tag.is_none_or(|tag| tag == "latest") {
            faults.push(format!("the base image {name} needs a tag"));
        }
    }
    faults
}

/// A service over two nodes would send one client now to this enclave and now to that, which has other keys.
fn service_faults(text: &str) -> Vec<String> {
    let services = text.split("\n---\n").filter(|part| part.lines().any(|line| line == "kind: Service"));
    let chooses =
        |part: &&str| part.lines().any(|line| line.trim_start().starts_with("selector:") && line.contains(COMPONENT));
    let named = |part: &str| part.lines().find_map(|line| line.strip_prefix("  name: ")).unwrap_or("?").to_owned();
    let loose = services.filter(|part| !chooses(part));
    loose.map(|part| format!("the service {} must select by {COMPONENT}", named(part))).collect()
}

fn yaml(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// A tenth of the scale: "OK" in systemd's words begins at 50.
const EXPOSURE: &str = "--threshold=25";

/// The label that tells nodes of different kinds apart.
const COMPONENT: &str = "app.kubernetes.io/component";

const MANIFEST_VALUES: &[(&str, &str)] = &[
    ("sgx.remote_attestation", "\"dcap\""),
    ("sgx.debug", "false"),
    ("sgx.edmm_enable", "false"),
    ("loader.argv", "[\"glacier-enclave\"]"),
];
const MANIFEST_KEYS: &[&str] = &[
    "fs.mounts.key_name",
    "fs.mounts.path",
    "fs.mounts.type",
    "fs.mounts.uri",
    "libos.entrypoint",
    "loader.argv",
    "loader.entrypoint",
    "loader.env.LD_LIBRARY_PATH",
    "loader.log_level",
    "sgx.cpu_features.avx",
    "sgx.debug",
    "sgx.edmm_enable",
    "sgx.enclave_size",
    "sgx.isvprodid",
    "sgx.isvsvn",
    "sgx.max_threads",
    "sgx.remote_attestation",
    "sgx.trusted_files",
    "sys.disallow_subprocesses",
    "sys.enable_extra_runtime_domain_names_conf",
    "sys.stack.size",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> String {
        read(&cargo::root().join("deploy/gramine/glacier-enclave.manifest.template")).unwrap()
    }

    fn with(from: &str, to: &str) -> Vec<String> {
        assert!(template().contains(from), "{from}");
        manifest_faults(&template().replace(from, to)).unwrap()
    }

    #[test]
    fn the_manifest_keeps_its_rules() {
        assert_eq!(manifest_faults(&template()), Ok(vec![]));
    }

    #[test]
    fn a_debug_enclave_is_a_fault() {
        assert_eq!(with("sgx.debug = false", "sgx.debug = true"), ["the Gramine manifest must have sgx.debug = false"]);
    }

    #[test]
    fn no_attestation_is_a_fault() {
        assert_eq!(with("\"dcap\"", "\"none\"").len(), 1);
    }

    #[test]
    fn arguments_from_the_host_are_a_fault() {
        let line = "loader.argv = [\"glacier-enclave\"]";
        assert_eq!(with(line, "loader.insecure__use_cmdline_argv = true").len(), 3);
    }

    #[test]
    fn an_allowed_file_is_a_fault() {
        assert_eq!(with("sgx.max_threads = 64", "sgx.max_threads = 64\nsgx.allowed_files = [\"file:x\"]").len(), 1);
    }

    #[test]
    fn an_expression_that_nobody_renders_is_a_fault() {
        assert!(manifest_faults(&template().replace("{{ enclave }}", "{{ env.HOME }}")).is_err());
    }

    #[test]
    fn a_container_has_a_tag_and_a_user() {
        let text = "FROM docker.io/debian:bookworm\nUSER 10001:10001\n";
        assert!(container_faults(text).is_empty());
        for (from, to) in [("10001:10001", "root"), (":bookworm", ""), (":bookworm", ":latest"), ("USER", "#")] {
            assert_eq!(container_faults(&text.replace(from, to)).len(), 1, "{to}");
        }
    }
    #[test]
    fn each_service_leads_to_one_node() {
        let files = yaml(&cargo::root().join("deploy/kubernetes")).unwrap();
        let mut services = 0;
        for text in files.iter().map(|file| read(file).unwrap()) {
            services += text.matches("kind: Service\n").count();
            assert_eq!(service_faults(&text), Vec::<String>::new());
            let loose = text.replace(", app.kubernetes.io/component: sgx}\n  ports", "}\n  ports");
            assert_eq!(service_faults(&loose).len(), usize::from(loose != text));
        }
        assert_eq!(services, 2);
    }
}
