//! A folder of TOML files becomes a deployment, or a report of everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::catalog::Catalog;
use super::cycles;
use super::diagnostics::{Diagnostic, Report, Severity};
use super::document::Source;
use super::family::{self, Overrides};
use super::files;
use super::job::{self, JobConfig};
use super::supervisor::{self, SupervisorConfig, host_name};

/// A folder that can be started as it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Deployment {
    /// The folder.
    pub dir: PathBuf,
    /// The supervisor's own configuration.
    pub supervisor: SupervisorConfig,
    /// The jobs: the folder's own by name of the file, then the included ones.
    pub jobs: Vec<JobConfig>,
    /// What the operator should know before the start.
    pub warnings: Vec<Diagnostic>,
    /// Of these, files that were added by hand and are gone: their jobs do not run.
    pub passed_over: Vec<Diagnostic>,
    /// Files that were read.
    pub files_checked: usize,
}

impl Deployment {
    /// The warnings as a report, for whoever prints both outcomes of [`load`] the same way.
    #[must_use]
    pub fn report(&self) -> Report {
        Report::new(self.warnings.clone(), self.files_checked, self.jobs.len())
    }
}

/// Reads and checks a folder: `supervisor.toml`, its other `*.toml` (not those of subfolders), and what `include` adds.
///
/// # Errors
/// All faults of all files; nothing has been started.
pub fn load(dir: &Path, catalog: &Catalog) -> Result<Deployment, Report> {
    load_with(dir, catalog, &Overrides::default())
}

/// As [`load`], with what an operator wants otherwise.
///
/// # Errors
/// As [`load`].
pub fn load_with(dir: &Path, catalog: &Catalog, overrides: &Overrides) -> Result<Deployment, Report> {
    let own = files::in_folder(dir).map_err(|fault| Report::new(vec![fault], 0, 0))?;
    build(dir, own, read_supervisor(dir), (catalog, overrides))
}

/// Reads and checks the jobs of a folder for a supervisor whose configuration is not there: a `supervisor.toml` is not
/// read, and `include` of the given one has no effect.
///
/// # Errors
/// As [`load`].
pub fn load_for(
    config: SupervisorConfig,
    dir: &Path,
    catalog: &Catalog,
    overrides: &Overrides,
) -> Result<Deployment, Report> {
    let own = files::in_folder(dir).map_err(|fault| Report::new(vec![fault], 0, 0))?;
    let node = Node { config, file: None, is_there: false, diagnostics: Vec::new() };
    build(dir, own, node, (catalog, overrides))
}

fn build(
    dir: &Path,
    mut paths: Vec<PathBuf>,
    mut node: Node,
    (catalog, overrides): (&Catalog, &Overrides),
) -> Result<Deployment, Report> {
    if let Some((source, include_at)) = &node.file {
        let (more, faults) = files::included(dir, source, &node.config.include, include_at, &paths);
        paths.extend(more);
        node.diagnostics.extend(faults);
    }
    // A path of the folder that was added says only that it is not removed.
    paths.extend(overrides.added.iter().filter(|added| !is_among(&paths, added)).cloned().collect::<Vec<_>>());
    paths.retain(|path| {
        !path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|name| overrides.removed.contains(name))
    });
    // Nobody may be there to mend it when the machine starts: the others run.
    let is_there = |path: &PathBuf| !overrides.added.contains(path) || path.exists();
    let (paths, missing): (Vec<_>, Vec<_>) = paths.into_iter().partition(is_there);
    let passed_over: Vec<_> = missing.iter().map(|path| passed_over(path)).collect();
    let mut diagnostics = node.diagnostics;
    diagnostics.extend(passed_over.iter().cloned());
    let files_checked = paths.len() + usize::from(node.is_there);
    if paths.is_empty() && diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning) {
        let none = Diagnostic::of_file(dir, "there is no job in this folder").into_warning();
        diagnostics.push(none.with_help("each job is a .toml file beside supervisor.toml"));
    }

    let mut jobs = Vec::new();
    for path in &paths {
        let checked = name_of(path).and_then(|name| {
            let source = files::read(path)?.ok_or_else(|| gone(path))?;
            let home = job::Home { supervisor: &node.config, dir };
            Ok(Job { checked: job::check(&source, &name, home, catalog), name, path: path.clone() })
        });
        match checked {
            Ok(job) => jobs.push(job),
            Err(fault) => diagnostics.push(fault),
        }
    }
    diagnostics.extend(same_names(&jobs));
    diagnostics.extend(same_ids(&jobs, &node.config.info.supervisor_id));
    diagnostics.extend(jobs.iter_mut().flat_map(|job| std::mem::take(&mut job.checked.diagnostics)));
    // Among errors it would be a guess: the store, or an end of an edge, may be the file that is wrong.
    if diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning) {
        diagnostics.extend(without_store(&jobs, node.config.federation.is_some()));
        let publishing: Vec<_> = jobs.iter().filter_map(Job::publishing).collect();
        diagnostics.extend(cycles::of_lossless_edges(&publishing, &node.config.info.supervisor_id, catalog));
    }

    let checked = jobs.into_iter().filter_map(|job| job.checked.config);
    let jobs: Vec<_> =
        checked.flat_map(|job| family::copies(job, overrides, &node.config.info.supervisor_id)).collect();
    if diagnostics.iter().all(|diagnostic| diagnostic.severity == Severity::Warning) {
        diagnostics.extend(family::faults(&jobs, overrides));
    }

    let report = Report::new(diagnostics, files_checked, paths.len());
    if report.errors() > 0 {
        return Err(report);
    }
    Ok(Deployment {
        dir: dir.to_owned(),
        supervisor: node.config,
        jobs,
        warnings: report.diagnostics,
        passed_over,
        files_checked,
    })
}

fn is_among(paths: &[PathBuf], path: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    paths.iter().any(|known| full(known) == full(path))
}

/// A file that was found, and is not there.
fn gone(path: &Path) -> Diagnostic {
    Diagnostic::of_file(path, "the file is not there, or is a link to nothing").with_help("remove it or mend the link")
}

/// A file that was added by hand, and is not there.
fn passed_over(path: &Path) -> Diagnostic {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let fault = Diagnostic::of_file(path, "the file was added by hand and is not there: its job does not run");
    fault.into_warning().with_help(format!("bring it back and `enrgdaq reload`, or: enrgdaq rm {name}"))
}

/// Reads and checks `supervisor.toml` alone, with the warnings: for whoever only needs to know which supervisor a
/// folder means.
///
/// # Errors
/// All faults of that file, or a folder that is not there.
pub fn load_supervisor(dir: &Path) -> Result<(SupervisorConfig, Vec<Diagnostic>), Report> {
    files::in_folder(dir).map_err(|fault| Report::new(vec![fault], 0, 0))?;
    let node = read_supervisor(dir);
    let report = Report::new(node.diagnostics, usize::from(node.is_there), 0);
    if report.errors() > 0 { Err(report) } else { Ok((node.config, report.diagnostics)) }
}

/// `supervisor.toml`, or what stands for it.
struct Node {
    config: SupervisorConfig,
    /// The file, and where its patterns of `include` stand.
    file: Option<(Source, Vec<usize>)>,
    is_there: bool,
    diagnostics: Vec<Diagnostic>,
}

fn read_supervisor(dir: &Path) -> Node {
    let path = dir.join(files::SUPERVISOR);
    match files::read(&path) {
        Ok(Some(source)) => {
            let checked = supervisor::check(&source);
            Node {
                config: checked.config,
                file: Some((source, checked.include_at)),
                is_there: true,
                diagnostics: checked.diagnostics,
            }
        }
        Ok(None) => {
            let config = SupervisorConfig::named(host_name());
            let message =
                format!("there is no supervisor.toml: the supervisor is called {:?}", config.info.supervisor_id);
            let warning = Diagnostic::of_file(&path, message).into_warning();
            let help = "write one with `[info]` and `supervisor_id = \"…\"`";
            Node { config, file: None, is_there: false, diagnostics: vec![warning.with_help(help)] }
        }
        Err(fault) => {
            Node { config: SupervisorConfig::named(host_name()), file: None, is_there: true, diagnostics: vec![fault] }
        }
    }
}

/// A job file, checked by itself.
struct Job {
    name: String,
    path: PathBuf,
    checked: job::Checked,
}

impl Job {
    /// The job as an end of edges, if its file has no error.
    fn publishing(&self) -> Option<cycles::Publishing<'_>> {
        Some((self.checked.config.as_ref()?, &self.checked.backends))
    }
}

/// The name of a job is that of its file.
fn name_of(path: &Path) -> Result<String, Diagnostic> {
    let fault = |message: &str| Diagnostic::of_file(path, message).with_help("rename the file");
    match path.file_stem().and_then(|stem| stem.to_str()) {
        None => Err(fault("the name of the file is not UTF-8")),
        Some(name) if name.chars().any(char::is_control) => Err(fault("the name of the file has a control character")),
        Some(files::SUPERVISOR_STEM) => Err(fault("no job can be called `supervisor`")),
        Some(name) => Ok(name.to_owned()),
    }
}

fn same_names(jobs: &[Job]) -> Vec<Diagnostic> {
    let mut first: BTreeMap<&str, &Path> = BTreeMap::new();
    let mut faults = Vec::new();
    for job in jobs {
        if let Some(other) = first.get(job.name.as_str()) {
            let message = format!("{} is a job `{}` too", other.display(), job.name);
            faults.push(Diagnostic::of_file(&job.path, message).with_help("rename one of the two files"));
        } else {
            first.insert(&job.name, &job.path);
        }
    }
    faults
}

fn same_ids(jobs: &[Job], supervisor_id: &str) -> Vec<Diagnostic> {
    let mut first: BTreeMap<String, &Job> = BTreeMap::new();
    let mut faults = Vec::new();
    // Made ids come first, so that the fault is reported where an id was written by hand.
    let (given, made): (Vec<_>, Vec<_>) = jobs.iter().partition(|job| job.checked.unique_id.is_some());
    for job in made {
        first.entry(job::made_id(supervisor_id, &job.name)).or_insert(job);
    }
    for job in given {
        let Some((id, place)) = &job.checked.unique_id else {
            continue;
        };
        if let Some(other) = first.get(id) {
            let message = format!("`daq_job_unique_id` {id:?} is that of {} too", other.path.display());
            let fault = Diagnostic { message, ..place.clone() };
            faults.push(fault.with_help("give each job an id of its own, or none"));
        } else {
            first.insert(id.clone(), job);
        }
    }
    faults
}

/// Producers whose messages nothing in this folder keeps. With federation, a store may be elsewhere.
fn without_store(jobs: &[Job], federated: bool) -> Vec<Diagnostic> {
    let served: BTreeSet<&str> = jobs.iter().filter_map(|job| job.checked.serves).collect();
    let used = jobs.iter().flat_map(|job| &job.checked.backends);
    let unserved = used.filter(|used| !served.contains(used.backend) && (used.is_local || !federated));
    unserved.map(|used| used.unserved.clone()).collect()
}
