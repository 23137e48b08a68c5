//! No message makes a store write outside its folder.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::csv_files::site_with_letters;
use crate::harness::{Signal, Site, send};

/// All files below a folder, relative to it.
fn files(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().is_dir() {
                true => folders.push(path),
                false => drop(found.insert(path.strip_prefix(root).unwrap().to_path_buf())),
            }
        }
    }
    found
}

/// `out/` with links that lead out of it, and what lies outside.
fn lay_traps(site: &Site) {
    fs::create_dir_all(site.path("out")).unwrap();
    fs::create_dir_all(site.path("outside")).unwrap();
    site.write("outside/victim.csv", "a\nprecious\n");
    symlink(site.path("outside"), site.path("out/link")).unwrap();
    symlink("../outside", site.path("out/near")).unwrap();
    symlink("../outside/victim.csv", site.path("out/alias.csv")).unwrap();
    symlink("/", site.path("out/root")).unwrap();
}

#[test]
fn no_message_writes_outside_the_folder_of_the_store() {
    let letter = |path: &str, tag: Option<&str>, overwrite: bool| json!({"store": {"csv": {"file_path": path, "overwrite": overwrite}}, "tag": tag, "columns": [["a", ["1"]]]});
    let scratch = tempfile::tempdir().unwrap();
    let absolute = scratch.path().join("stolen.csv").display().to_string();
    let through_root = format!("root{absolute}");
    let bad =
        ["../x.csv", "a/../../x.csv", &absolute, "link/x.csv", "near/x.csv", "alias.csv", &through_root, "", "a\u{0}b"];
    let mut letters: Vec<_> = bad.iter().map(|path| letter(path, None, false)).collect();
    letters.push(letter("tagged.csv", Some("../../up"), false));
    letters.push(letter("tagged.csv", Some("/etc/x"), true));
    letters.push(letter("good.csv", None, false));
    let site = site_with_letters(&json!(letters));
    lay_traps(&site);
    let is_strange = |path: &PathBuf| !path.starts_with("out") && !path.starts_with("state");
    let outside: BTreeSet<_> = files(&site.path("")).into_iter().filter(is_strange).collect();
    let mut node = site.start();

    let all = letters.len() as u64;
    let picture = node.wait("the good one is stored", |picture| {
        picture.edge("letters", "csv").arrived == all && site.csv_rows("out/good.csv").len() == 2
    });

    assert!(picture.has_alert("must not contain `..`"), "{}", picture.brief());
    assert!(picture.has_alert("it leads out of the folder"), "the links are told too: {}", picture.brief());
    assert_eq!(picture.restarts("csv"), 0);
    assert_eq!(node.stop(), 0);
    let after: BTreeSet<_> = files(&site.path("")).into_iter().filter(is_strange).collect();
    assert_eq!(after, outside);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(site.path("outside/victim.csv")).unwrap(), "a\nprecious\n");
    let inside: Vec<_> = files(&site.path("out")).into_iter().filter(|path| path.ends_with("good.csv")).collect();
    assert_eq!(inside.len(), 1);
}

#[test]
fn a_file_that_cannot_be_overwritten_holds_up_no_other() {
    let replace =
        |path: &str| json!({"store": {"csv": {"file_path": path, "overwrite": true}}, "columns": [["a", ["1"]]]});
    let append = |path: &str| json!({"store": {"csv": {"file_path": path}}, "columns": [["a", ["1"]]]});
    let site = site_with_letters(&json!([replace("link/x.csv"), replace("folder"), append("good.csv")]));
    lay_traps(&site);
    fs::create_dir(site.path("out/folder")).unwrap();
    let mut node = site.start();

    node.wait("the good one is stored", |_| site.csv_rows("out/good.csv").len() == 2);

    assert_eq!(files(&site.path("outside")), [PathBuf::from("victim.csv")].into());
    node.wait("what is not stored is told", |picture| !picture.alerts().is_empty());
}

#[test]
fn a_long_name_is_refused_and_holds_up_no_other() {
    let csv = |path: &str, overwrite: bool| json!({"store": {"csv": {"file_path": path, "overwrite": overwrite}}, "columns": [["a", ["1"]]]});
    let long = |len: usize| "x".repeat(len);
    let deep = "d/".repeat(3000) + "x.csv";
    let letters =
        [csv(&long(253), true), csv(&long(300), true), csv(&long(300), false), csv(&deep, true), csv(&deep, false)];
    let letters: Vec<_> = letters.into_iter().chain([csv("good.csv", false)]).collect();
    let site = site_with_letters(&json!(letters));
    let mut node = site.start();

    node.wait("the good one is stored", |_| site.csv_rows("out/good.csv").len() == 2);
    assert_eq!(node.stop(), 0);
}

#[test]
fn nobody_reads_the_settings_of_a_job_in_its_arguments_or_environment() {
    let site = Site::new()
        .job("once", "daq_job_type = \"DAQJobLetters\"\nletters = '''[] '''\ndaq_job_unique_id = \"s3cret\"");
    let mut node = site.start();
    let pid = node.wait_ready(&["once"]).running("once");

    for file in ["cmdline", "environ"] {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("s3cret"), "{file}");
    }
    send(pid, Signal::TERM);
}
