//! Copies of jobs, and who needs whom: what only the whole of a folder shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use toml::de::DeTable;

use super::diagnostics::Diagnostic;
use super::document::Source;
use super::job::{JobConfig, Replica, made_id};
use super::suggest::nearest;
use super::supervisor::place_of;

/// What an operator wants otherwise than the files of a folder say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Overrides {
    /// Numbers of copies, by the names of the files.
    pub scaled: BTreeMap<String, Scaled>,
    /// Files of jobs from elsewhere.
    pub added: BTreeSet<PathBuf>,
    /// Names of files of the folder that are to be passed over.
    pub removed: BTreeSet<String>,
    /// Names of jobs that are not to start by themselves.
    pub stopped: BTreeSet<String>,
}

impl Overrides {
    /// The file of a job, or of a copy, that is not there by an operator's hand: it was removed, or added and is gone.
    fn takes_away<'n>(&self, name: &'n str) -> Option<&'n str> {
        let of_copy = name.rsplit_once('_').map(|(of, _)| of);
        let is_away = |file: &&str| self.removed.contains(*file) || self.added_as(file).is_some();
        [name].into_iter().chain(of_copy).find(is_away)
    }

    /// Without the numbers of copies that files have overruled since; of a job that is not there nobody can tell.
    pub(crate) fn without_overruled(mut self, jobs: &[JobConfig]) -> Self {
        let says = |job: &JobConfig, name: &str| match &job.replica {
            Some(replica) => (replica.of == name).then_some(Some(replica.count_in_file)),
            None => (job.name == name).then_some(None),
        };
        self.scaled.retain(|name, scaled| {
            jobs.iter().find_map(|job| says(job, name)).is_none_or(|says| says == Some(scaled.instead_of))
        });
        self
    }

    /// The file of this name that was added.
    pub(crate) fn added_as(&self, name: &str) -> Option<&PathBuf> {
        self.added.iter().find(|path| path.file_stem().is_some_and(|stem| stem == name))
    }
}

/// Another number of copies than a file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scaled {
    /// How many.
    pub copies: u16,
    /// What the file said then: when it says something else, that counts.
    pub instead_of: u16,
}

/// Most copies of one job.
pub(crate) const MOST_COPIES: u16 = 100;

/// Makes a job into its copies; one without `replicas` stays as it is.
pub(super) fn copies(job: JobConfig, overrides: &Overrides, supervisor_id: &str) -> Vec<JobConfig> {
    let Some(replica) = job.replica.clone() else { return vec![job] };
    let said = replica.count_in_file;
    let scaled = overrides.scaled.get(&replica.of).filter(|scaled| scaled.instead_of == said);
    let count = scaled.map_or(said, |scaled| scaled.copies).clamp(1, MOST_COPIES);
    let made = made_id(supervisor_id, &job.name);
    let copy = |index: u16| {
        let name = format!("{}_{index:02}", replica.of);
        let unique_id = match job.unique_id == made {
            true => made_id(supervisor_id, &name),
            false => format!("{}_{index:02}", job.unique_id),
        };
        let mut copy =
            JobConfig { name, unique_id, replica: Some(Replica { index, ..replica.clone() }), ..job.clone() };
        copy.process.env.insert("ENRGDAQ_REPLICA".into(), index.to_string());
        copy
    };
    (0..count).map(copy).collect()
}

/// Names and ids that are given twice when all copies have theirs, and dependencies that cannot be kept.
pub(super) fn faults(jobs: &[JobConfig], overrides: &Overrides) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let (mut names, mut ids) = (BTreeMap::new(), BTreeMap::new());
    for job in jobs {
        let (by_name, by_id) = (names.insert(&job.name, job), ids.insert(&job.unique_id, job));
        if let Some(other) = by_name {
            let message = format!("{} has a job `{}` too", other.path.display(), job.name);
            found.push(Diagnostic::of_file(&job.path, message).with_help("rename one of the two files"));
        } else if let Some(other) = by_id {
            let message = format!("`{}` of {} has the id {:?} too", other.name, other.path.display(), job.unique_id);
            let help = "give each job a `daq_job_unique_id` of its own, or none; copies have theirs with `_00` …";
            found.push(Diagnostic::of_file(&job.path, message).with_help(help));
        }
    }
    let needs = jobs.iter().filter(|job| is_first_copy(job)).flat_map(|job| wrong_needs(job, jobs, overrides));
    found.extend(needs);
    found.extend(circle(jobs));
    found
}

/// Copies share their file, so that the first speaks for all.
fn is_first_copy(job: &JobConfig) -> bool {
    job.replica.as_ref().is_none_or(|replica| replica.index == 0)
}

/// Whether a name in `depends_on` means this job: its own, or that of its file, which means all copies.
pub(crate) fn is_meant(name: &str, job: &JobConfig) -> bool {
    job.name == name || job.replica.as_ref().is_some_and(|replica| replica.of == name)
}

fn wrong_needs(job: &JobConfig, jobs: &[JobConfig], overrides: &Overrides) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for name in &job.supervise.depends_on {
        let mut meant = jobs.iter().filter(|other| is_meant(name, other));
        let (message, help) = match meant.next() {
            // Known, and not here for now: the job waits, as for one that is stopped.
            None if let Some(file) = overrides.takes_away(name) => {
                let message = format!("`depends_on`: `{name}` was taken away by hand, so that `{}` waits", job.name);
                let help = format!("enrgdaq add {file}.toml");
                found.push(at_needs(job, message).with_help(help).into_warning());
                continue;
            }
            None => {
                let near = nearest(name, jobs.iter().map(|job| job.name.as_str()));
                let help =
                    near.map_or_else(|| "name a job of this folder".into(), |near| format!("did you mean `{near}`?"));
                (format!("`depends_on`: there is no job `{name}`"), help)
            }
            Some(other) if other.kind.start_rank() > job.kind.start_rank() => (
                format!("`depends_on`: `{name}` starts after all jobs of this kind"),
                "sources start last, stores and alerts first: remove the name".into(),
            ),
            Some(other) if other.supervise.schedule.is_some() => (
                format!("`depends_on`: `{name}` comes and goes by its `schedule`"),
                "remove the name, or the schedule".into(),
            ),
            Some(_) => continue,
        };
        found.push(at_needs(job, message).with_help(help));
    }
    found
}

/// The first circle of jobs that wait for each other.
fn circle(jobs: &[JobConfig]) -> Option<Diagnostic> {
    let mut open: Vec<&JobConfig> = jobs.iter().collect();
    // Who waits for nobody in a circle is taken away, until only circles, and who waits for them, are left.
    loop {
        let is_waiting = |job: &&JobConfig| {
            job.supervise.depends_on.iter().any(|name| open.iter().any(|other| is_meant(name, other)))
        };
        let left: Vec<_> = open.iter().copied().filter(is_waiting).collect();
        if left.len() == open.len() {
            break;
        }
        open = left;
    }
    let first = open.first()?;
    let names: Vec<_> = open.iter().map(|job| job.name.as_str()).collect();
    let message = format!("`depends_on`: {} wait for each other, so that none of them would start", names.join(", "));
    Some(at_needs(first, message).with_help("remove one of the names"))
}

/// A fault at the `depends_on` of a job's file.
fn at_needs(job: &JobConfig, message: String) -> Diagnostic {
    let source = Source { path: job.path.clone(), text: job.text.clone() };
    let table = DeTable::parse(&source.text).ok();
    let place = table.and_then(|table| place_of(table.get_ref(), &["depends_on"]));
    match place {
        Some((key, at)) => source.error(at, key, message),
        None => Diagnostic::of_file(&job.path, message),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::catalog;
    use crate::config::{Deployment, Overrides, Report, Scaled, load_with};

    const SOURCE: &str = "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 2\n[supervise]\n";
    const STORE: &str = "daq_job_type = \"DAQJobStoreCSV\"\n[supervise]\n";

    fn load(files: &[(&str, String)], overrides: &Overrides) -> Result<Deployment, Report> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        load_with(dir.path(), &catalog(), overrides)
    }

    fn errors(files: &[(&str, String)]) -> String {
        load(files, &Overrides::default()).unwrap_err().to_string()
    }

    #[test]
    fn copies_have_names_and_ids_of_their_own_and_can_be_more_than_the_file_says() {
        let files = [("a.toml", format!("{SOURCE}replicas = 2\n"))];
        let names = |scaled: Option<Scaled>| {
            let scaled = scaled.map(|scaled| ("a".to_owned(), scaled)).into_iter().collect();
            let jobs = load(&files, &Overrides { scaled, ..Overrides::default() }).unwrap().jobs;
            let ids: std::collections::BTreeSet<_> = jobs.iter().map(|job| job.unique_id.clone()).collect();
            assert_eq!(ids.len(), jobs.len());
            jobs.into_iter().map(|job| job.name).collect::<Vec<_>>()
        };

        assert_eq!(names(None), ["a_00", "a_01"]);
        assert_eq!(names(Some(Scaled { copies: 3, instead_of: 2 })), ["a_00", "a_01", "a_02"]);
        assert_eq!(names(Some(Scaled { copies: 3, instead_of: 1 })), ["a_00", "a_01"]);

        let jobs = load(&files, &Overrides::default()).unwrap().jobs;
        let kept = |name: &str, instead_of| {
            let scaled = [(name.to_owned(), Scaled { copies: 3, instead_of })].into();
            !Overrides { scaled, ..Overrides::default() }.without_overruled(&jobs).scaled.is_empty()
        };
        assert_eq!([kept("a", 2), kept("a", 1), kept("gone", 1)], [true, false, true], "overruled is forgotten");
    }

    #[test]
    fn what_the_operator_added_or_removed_counts() {
        let elsewhere = tempfile::tempdir().unwrap();
        let path = elsewhere.path().join("b.toml");
        std::fs::write(&path, SOURCE).unwrap();
        // A file that is passed over may be broken.
        let files = [("a.toml", SOURCE.into()), ("c.toml", "nonsense".into())];
        let overrides =
            Overrides { added: [path.clone()].into(), removed: ["c".to_owned()].into(), ..Overrides::default() };
        let names: Vec<_> = load(&files, &overrides).unwrap().jobs.into_iter().map(|job| job.name).collect();
        assert_eq!(names, ["a", "b"]);

        std::fs::remove_file(&path).unwrap();
        let deployment = load(&files, &overrides).unwrap();
        let (names, told) = (deployment.jobs.iter().map(|job| &job.name), deployment.passed_over[0].to_string());
        assert!(names.eq(["a"]) && deployment.warnings.contains(&deployment.passed_over[0]));
        assert!(told.contains("b.toml: warning: ") && told.contains("enrgdaq rm b"), "{told}");
    }

    #[test]
    fn who_needs_what_was_taken_away_by_hand_waits_and_forbids_no_start() {
        let files = [("a.toml", SOURCE.into()), ("b.toml", format!("{SOURCE}depends_on = [\"a\", \"c\"]\n"))];
        let (removed, added) = (["a".to_owned()].into(), ["/nowhere/c.toml".into()].into());

        let deployment = load(&files, &Overrides { removed, added, ..Overrides::default() }).unwrap();

        let told: Vec<_> = deployment.warnings.iter().map(ToString::to_string).collect();
        for part in ["b.toml:5:1: warning: ", "`a` was taken away by hand", "enrgdaq add a.toml", "enrgdaq add c.toml"]
        {
            assert!(told.iter().any(|told| told.contains(part)), "{part} is not in {told:?}");
        }
    }

    #[test]
    fn a_copy_cannot_have_the_id_of_another_job() {
        let with_id = |id: &str, rest: &str| format!("daq_job_unique_id = \"{id}\"\n{SOURCE}{rest}");

        let text = errors(&[("a.toml", with_id("x", "replicas = 2\n")), ("b.toml", with_id("x_01", ""))]);

        assert!(text.contains("b.toml") && text.contains("`a_01`") && text.contains("\"x_01\""), "{text}");
    }

    #[test]
    fn no_job_can_be_called_supervisor_and_none_is_read_from_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let (path, pipe) = (dir.path().join("supervisor.toml"), dir.path().join("pipe.toml"));
        std::fs::write(&path, SOURCE).unwrap();
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();

        for (added, part) in [(path, "called `supervisor`"), (pipe, "it is a pipe")] {
            let added = [added].into();
            let report = load(&[], &Overrides { added, ..Overrides::default() }).unwrap_err();
            assert!(report.to_string().contains(part), "{report}");
        }
    }

    #[test]
    fn a_default_of_all_jobs_gives_way_to_a_jobs_own_key_and_its_env_file_lies_beside_it() {
        let node = |rest: &str| {
            let text = format!("include = [\"more/*.toml\"]\n[info]\nsupervisor_id = \"l\"\n[supervise]\n{rest}");
            ("supervisor.toml", text)
        };
        let more = ("more/b.toml", format!("{SOURCE}restart = \"never\"\n"));
        let files = [node("max_restarts = 5\nenv_file = \"all.env\"\n"), more.clone(), ("all.env", "A=1\n".into())];

        let deployment = load(&files, &Overrides::default()).unwrap();

        assert_eq!(deployment.jobs[0].process.env_file, Some(deployment.dir.join("all.env")));
        let text = errors(&[node("env_file = \"none.env\"\n"), more]);
        assert!(text.contains("supervisor.toml:5:1") && text.contains("none.env is no file"), "{text}");
        let both = ("a.toml", format!("{SOURCE}restart = \"never\"\nmax_restarts = 5\n"));
        assert!(errors(&[both]).contains("allows none"));
    }

    #[test]
    fn a_copy_cannot_have_the_name_of_another_job() {
        let text = errors(&[("a.toml", format!("{SOURCE}replicas = 2\n")), ("a_01.toml", SOURCE.into())]);

        assert!(text.contains("has a job `a_01` too"), "{text}");
    }

    #[test]
    fn dependencies_that_cannot_be_kept_are_named_at_their_place() {
        let table = [
            (format!("{SOURCE}depends_on = [\"stoer\"]\n"), "a.toml:5:1", "did you mean `store`?"),
            (format!("{SOURCE}depends_on = [\"a\"]\n"), "a.toml:5:1", "wait for each other"),
        ];
        for (source, place, part) in table {
            let text = errors(&[("a.toml", source), ("store.toml", STORE.into())]);
            assert!(text.contains(place) && text.contains(part), "{text}");
        }
        let text = errors(&[("a.toml", SOURCE.into()), ("store.toml", format!("{STORE}depends_on = [\"a\"]\n"))]);
        assert!(text.contains("starts after all jobs of this kind"), "{text}");
    }

    #[test]
    fn keys_that_do_not_fit_the_job_are_refused() {
        let table = [
            (format!("{STORE}replicas = 2\n"), "every copy of a store"),
            (format!("{STORE}schedule = \"every 1 h\"\n"), "only a source can come and go"),
            (format!("{STORE}user = \"daq\"\n"), "only the program of a DAQJobExec"),
            (format!("{STORE}umask = \"9\"\n"), "three octal digits"),
            (format!("{SOURCE}schedule = \"now\"\n"), "is no schedule"),
            (format!("{SOURCE}schedule = \"every 1 h\"\nrestart = \"always\"\n"), "starts it whenever it has ended"),
            (format!("{SOURCE}env_file = \"none\"\n"), "there is no such file"),
            (format!("{SOURCE}cpu_affinity = []\n"), "a core to run on"),
            (format!("{SOURCE}env = {{ \"A=B\" = \"1\" }}\n"), "cannot be an environment variable"),
        ];
        for (file, part) in table {
            let text = errors(&[("a.toml", file)]);
            assert!(text.contains(part), "{part} is not in {text}");
        }
        let text = errors(&[("supervisor.toml", "[info]\nsupervisor_id = \"l\"\n[supervise]\nreplicas = 2\n".into())]);
        assert!(text.contains("says something about one job"), "{text}");
    }
}
