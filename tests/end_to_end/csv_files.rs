//! CSV files as other programs read them.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Site, csv_rows, said};

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
fn python_reads_every_cell_as_it_was() {
    let cells = ["plain", "com,ma", "quo\"te", "new\nline", "", " space ", "ä→𝄞", "'", "a\r\nb", "=1+1"];
    let site = site_with_letters(&json!([
        {"store": {"csv": {"file_path": "a.csv"}}, "columns": [["x, \"y\"", cells], ["n", cells.map(|_| "1")]]},
    ]));
    deliver(&site, 1);

    let script =
        "import csv, json; print(json.dumps(list(csv.reader(open('out/a.csv', newline='', encoding='utf-8')))))";
    let read = said(Command::new("python3").args(["-c", script]).current_dir(site.path("")));

    let rows: Vec<Vec<String>> = serde_json::from_str(&read.out).unwrap_or_else(|_| panic!("{read:?}"));
    assert_eq!(rows[0], ["x, \"y\"", "n"]);
    assert_eq!(rows[1..].iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), cells);
}

#[test]
fn tag_date_and_compression_are_in_the_name() {
    let letter = |csv: Value, tag: Value| json!({"store": {"csv": csv}, "tag": tag, "columns": [["a", ["1", "2"]]]});
    let site = site_with_letters(&json!([
        letter(json!({"file_path": "plain.csv"}), json!(null)),
        letter(json!({"file_path": "tagged.csv"}), json!("latency")),
        letter(json!({"file_path": "deep/down/dated.csv", "add_date": true}), json!("t")),
        letter(json!({"file_path": "small.csv", "use_zstd": true}), json!("z")),
        letter(json!({"file_path": "small2.csv.zst", "use_zstd": true}), json!(null)),
    ]));
    let today = || said(Command::new("date").arg("+%Y-%m-%d")).out.trim().to_owned();
    let (before, ()) = (today(), deliver(&site, 5));

    assert_eq!(names(&site), ["deep", "plain.csv", "small2.csv.zst", "small_z.csv.zst", "tagged_latency.csv"]);
    for name in ["plain.csv", "tagged_latency.csv"] {
        assert_eq!(fs::read_to_string(site.path("out").join(name)).unwrap(), "a\n1\n2\n");
    }
    let dated = |date: &str| site.path(format!("out/deep/down/{date}_dated_t.csv")).exists();
    assert!(dated(&before) || dated(&today()), "{:?}", fs::read_dir(site.path("out/deep/down")).unwrap().next());
    for name in ["small_z.csv.zst", "small2.csv.zst"] {
        let bytes = fs::read(site.path("out").join(name)).unwrap();
        assert_eq!(zstd::stream::decode_all(bytes.as_slice()).unwrap(), b"a\n1\n2\n", "{name}");
    }
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
fn a_second_start_appends_to_the_same_file() {
    let site = Site::new().csv();
    for use_zstd in [false, true] {
        let csv = json!({"file_path": "a.csv", "use_zstd": use_zstd});
        let letters = json!([{"store": {"csv": csv}, "columns": [["a", ["1", "com,ma"]]]}]);
        let text = format!("daq_job_type = \"DAQJobLetters\"\nletters = '''{letters}'''");
        site.write("configs/letters.toml", &text);

        deliver(&site, 1);
        deliver(&site, 1);
    }

    let plain = fs::read(site.path("out/a.csv")).unwrap();
    let small = zstd::stream::decode_all(fs::read(site.path("out/a.csv.zst")).unwrap().as_slice()).unwrap();
    assert_eq!(String::from_utf8_lossy(&plain), "a\n1\n\"com,ma\"\n1\n\"com,ma\"\n");
    assert_eq!(plain, small);
}

#[test]
fn rows_with_other_columns_go_to_a_file_beside_it() {
    let letter = |column: &str| json!({"store": {"csv": {"file_path": "a.csv"}}, "columns": [[column, ["1"]]]});
    let site = site_with_letters(&json!([letter("a"), letter("b"), letter("a"), letter("b")]));

    deliver(&site, 4);

    assert_eq!(names(&site), ["a.csv", "a_1.csv"]);
    assert_eq!(csv_rows(&fs::read_to_string(site.path("out/a_1.csv")).unwrap()), [["b"], ["1"], ["1"]]);
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
