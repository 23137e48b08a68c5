//! Job types in a crate of somebody else.

use crate::harness::Site;

#[test]
fn a_job_type_of_another_crate_runs_like_those_that_ship() {
    let site = Site::new().recorder().flood(1000, "");
    let mut node = site.start();

    node.wait("all arrived", |picture| picture.edge("flood", "recorder").arrived == 1000);

    assert_eq!(node.stop(), 0);
    assert_eq!(site.records(), (0..1000).collect::<Vec<_>>());
}

#[test]
fn the_command_line_of_another_program_knows_its_job_types() {
    let site = Site::new().job("bad", "daq_job_type = \"DAQJobFlod\"");

    let (list, described, refused) =
        (site.cli(&["jobs", "list"]), site.cli(&["jobs", "describe", "DAQJobFlood"]), site.cli(&["check"]));

    assert!(list.out.contains("DAQJobFlood") && list.out.contains("DAQJobStoreCSV"), "{list:?}");
    assert!(described.out.contains("pause_us") && described.out.contains("Microseconds between"), "{described:?}");
    assert_eq!(refused.code, 1);
    assert!(refused.out.contains("bad.toml:1") && refused.out.contains("DAQJobFlood"), "{refused:?}");
}
