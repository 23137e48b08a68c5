//! CSV files: their names, and what stands in them while they are written. `conformance` has what they hold.

use std::fs;

use serde_json::{Value, json};

use crate::harness::Site;

/// A store, and a source of exactly these messages.
pub(crate) fn site_with_letters(letters: &Value) -> Site {
    Site::new().csv().job("letters", &format!("daq_job_type = \"DAQJobLetters\"\nletters = '''{letters}'''"))
}

/// Runs it until as many messages have arrived as it sends, and ends it.
fn deliver(site: &Site, count: u64) {
    let mut node = site.start();
    node.wait("all letters arrived", |picture| picture.edge("letters", "csv").arrived == count);
    assert_eq!(node.stop(), 0);
}

fn names(site: &Site) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(site.path("out"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != ".enrgdaq")
        .collect();
    names.sort();
    names
}

#[test]
fn folders_are_made_and_the_ending_of_zstd_stands_once() {
    let letter = |csv: Value| json!({"store": {"csv": csv}, "columns": [["a", ["1", "2"]]]});
    let site = site_with_letters(&json!([
        letter(json!({"file_path": "deep/down/a.csv"})),
        letter(json!({"file_path": "small.csv", "use_zstd": true})),
        letter(json!({"file_path": "small2.csv.zst", "use_zstd": true})),
    ]));

    deliver(&site, 3);

    assert_eq!(names(&site), ["deep", "small.csv.zst", "small2.csv.zst"]);
    assert_eq!(fs::read_to_string(site.path("out/deep/down/a.csv")).unwrap(), "a\n1\n2\n");
}

#[test]
fn a_file_to_be_overwritten_has_the_newest_rows_only() {
    let letter = |rows: [&str; 2]| json!({"store": {"csv": {"file_path": "now.csv", "overwrite": true}}, "columns": [["a", rows]]});
    let letters: Vec<_> = (0..50).map(|n| letter([&n.to_string(), "x"])).collect();
    let site = site_with_letters(&json!(letters));
    site.write("out/now.csv", "old,other\n1,2\n");

    deliver(&site, 50);

    assert_eq!(fs::read_to_string(site.path("out/now.csv")).unwrap(), "a\n49\nx\n");
    assert_eq!(names(&site), ["now.csv"], "nothing is left beside it");
}

#[test]
fn rows_are_in_the_file_while_the_job_runs() {
    let site = site_with_letters(&json!([
        {"store": {"csv": {"file_path": "a.csv"}}, "columns": [["a", ["1"]]]},
        {"store": {"csv": {"file_path": "b.csv", "overwrite": true}}, "columns": [["a", ["1"]]]},
        {"store": {"csv": {"file_path": "c.csv.zst", "use_zstd": true}}, "columns": [["a", ["1"]]]},
    ]));
    let mut node = site.start();

    node.wait("the files have their rows", |_| {
        let zst = fs::read(site.path("out/c.csv.zst")).unwrap_or_default();
        let zst = zstd::stream::decode_all(zst.as_slice()).unwrap_or_default();
        site.csv_rows("out/a.csv").len() == 2 && site.csv_rows("out/b.csv").len() == 2 && zst == b"a\n1\n"
    });
}
