//! Every way to get a configuration wrong, and the words that answer it: the table is `bad_configs.txt`.

use std::fmt::Write as _;
use std::path::Path;

use super::{catalog, folder, load, load_files, write};
use crate::config::{Diagnostic, Severity};

const TABLE: &str = include_str!("bad_configs.txt");
const LAB1: (&str, &str) = ("supervisor.toml", "[info]\nsupervisor_id = \"lab1\"\n");

/// A folder that must be refused, as the table shows it.
struct Bad<'t> {
    name: &'t str,
    /// The case without the lines that answer it.
    shown: &'t str,
    files: Vec<(&'t str, &'t str)>,
}

impl<'t> Bad<'t> {
    fn read(case: &'t str) -> Self {
        let (shown, _) = case.split_once(">> ").unwrap_or((case, ""));
        let shown = shown.trim_end_matches('\n');
        let (name, files) = shown.split_once("\n-- ").unwrap();
        let mut files: Vec<_> = files.split("\n-- ").map(|file| file.split_once('\n').unwrap_or((file, ""))).collect();
        if files.iter().all(|(file, _)| *file != LAB1.0) {
            files.push(LAB1);
        }
        Self { name, shown, files }
    }

    /// The case with the lines that answer it.
    fn answered(&self) -> String {
        let dir = folder(&self.files);
        let report = load(dir.path(), &catalog()).expect_err(self.name);
        assert!(report.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error), "{}", self.name);
        let mut text = format!("{}\n", self.shown);
        for diagnostic in &report.diagnostics {
            writeln!(text, ">> [{}] {}", diagnostic.key, printed(diagnostic, dir.path())).unwrap();
        }
        text
    }
}

/// As printed, with paths as seen from inside the folder.
fn printed(diagnostic: &Diagnostic, dir: &Path) -> String {
    let dir = dir.display().to_string();
    diagnostic.to_string().replace(&format!("{dir}/"), "").replace(&dir, "DIR")
}

#[test]
fn every_bad_config_is_refused_with_place_key_and_remedy() {
    let mut cases = TABLE.split("\n== ");
    let mut table = cases.next().unwrap().to_owned();
    let mut wrong = String::new();
    for case in cases {
        let answered = Bad::read(case).answered();
        if answered.trim_end() != case.trim_end() {
            wrong += &format!("--- expected\n{case}\n--- is\n{answered}\n");
        }
        table += &format!("\n== {answered}");
    }

    if std::env::var_os("ENRGDAQ_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/tests/bad_configs.txt");
        return std::fs::write(path, table).unwrap();
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(table.matches("\n== ").count() >= 35);
}

#[test]
fn a_folder_that_is_not_there_gets_an_answer() {
    let dir = folder(&[("run7/hv.toml", ""), ("file.toml", "")]);
    let said = |name: &str| {
        let report = load(&dir.path().join(name), &catalog()).unwrap_err();
        report.diagnostics.iter().map(|diagnostic| printed(diagnostic, dir.path())).collect::<Vec<_>>()
    };

    assert_eq!(said("run8"), ["run8: error: there is no such folder; did you mean run7?"]);
    assert_eq!(
        said("elsewhere"),
        ["elsewhere: error: there is no such folder; name the folder of your TOML files with `--config DIR`"]
    );
    assert_eq!(said("file.toml"), ["file.toml: error: this is not a folder; name the folder that the file is in"]);
}

#[cfg(unix)]
#[test]
fn a_file_that_is_no_text_or_no_file_is_refused() {
    use std::os::unix::ffi::OsStrExt as _;

    let dir = folder(&[LAB1]);
    write(dir.path(), "hv.toml", b"a = 1\nb = \"\xff\"");
    std::os::unix::fs::symlink("nowhere", dir.path().join("link.toml")).unwrap();
    std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"x\xff.toml")), "").unwrap();

    let report = load(dir.path(), &catalog()).unwrap_err();

    let said: Vec<_> = report.diagnostics.iter().map(|diagnostic| printed(diagnostic, dir.path())).collect();
    assert_eq!(
        said,
        [
            "hv.toml:2:6: error: this is not UTF-8 text from here on; save the file as UTF-8",
            "link.toml: error: the file is not there, or is a link to nothing; remove it or mend the link",
            "x\u{fffd}.toml: error: the name of the file is not UTF-8; rename the file",
        ]
    );
    assert!(serde_json::to_string(&report).unwrap().contains("x\u{fffd}.toml"));
}

#[test]
fn tables_nested_too_deeply_are_refused() {
    let text = format!("{}.x = 1", ["a"; 100_000].join("."));

    let report = load_files(&[LAB1, ("hv.toml", &text)]).unwrap_err();

    assert_eq!(report.diagnostics[0].message, "tables or lists are nested too deeply");
}

#[test]
fn a_report_is_printed_with_all_faults_and_the_counts() {
    let b = "daq_job_type = \"DAQJobTest\"\nrand_min = 1\nrand_max = 9\nprt = 1\n";
    let report = load_files(&[LAB1, ("a.toml", "x = 1"), ("b.toml", b)]).unwrap_err();

    let text = report.to_string();

    assert_eq!(text.lines().count(), 3);
    assert_eq!(text.lines().last(), Some("2 errors, 0 warnings in 3 files (2 jobs)"));
    assert_eq!(serde_json::to_value(&report).unwrap()["diagnostics"][1]["key"], "prt");
}
