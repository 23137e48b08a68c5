//! Databases: what came is there once, as other programs read it, whoever dies and whatever hangs.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::harness::{Node, Signal, Site, said, send, wait_for};
use crate::stores::{OFTEN, kill_under_load, messages_for_kills, python};

const SQLITE: &str = "daq_job_type = \"DAQJobStoreSQLite\"";

/// A secret that is to stand nowhere but in its file.
const PASSWORD: &str = "pass-1f2e3d";

/// MariaDB with throw-away data in the site's folder, on loopback.
#[derive(Debug)]
pub(crate) struct MariaDb {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl MariaDb {
    pub(crate) fn start(site: &Site) -> Self {
        let dir = site.path("mariadb");
        fs::create_dir_all(dir.join("tmp")).unwrap();
        let made = said(
            Command::new("mariadb-install-db")
                .env("TMPDIR", dir.join("tmp"))
                .args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root"])
                .arg(format!("--datadir={}", dir.join("data").display())),
        );
        assert_eq!(made.code, 0, "{made:?}");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self { dir, port, child: None };
        server.run();
        server.ask("CREATE DATABASE daq");
        server.ask(&format!("CREATE USER daq@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'"));
        server.ask("GRANT ALL ON daq.* TO daq@'127.0.0.1'");
        server
    }

    fn run(&mut self) {
        let path = |name: &str| self.dir.join(name).display().to_string();
        let tls: &[_] = match self.dir.join("server.crt").exists() {
            true => &[format!("--ssl-cert={}", path("server.crt")), format!("--ssl-key={}", path("server.key"))],
            false => &[],
        };
        let child = Command::new("mariadbd")
            // Each that starts removes what others have in its folder for tables of the moment.
            .env("TMPDIR", path("tmp"))
            .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", "--skip-name-resolve"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=32M"])
            .arg(format!("--datadir={}", path("data")))
            .arg(format!("--socket={}", path("socket")))
            .arg(format!("--pid-file={}", path("pid")))
            .arg(format!("--log-error={}", path("log")))
            .arg(format!("--port={}", self.port))
            .args(tls)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mariadbd is installed");
        self.child = Some(child);
        wait_for("the database answers", || said(&mut self.client("SELECT 1")).code == 0);
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// kill -9.
    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Has it encrypt, with a certificate of an authority of its own: `authority.crt`.
    fn encrypt(&mut self) {
        let key = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        let openssl = |args: &[&str]| {
            let made = said(Command::new("openssl").args(key).args(args).current_dir(&self.dir));
            assert_eq!(made.code, 0, "{made:?}");
        };
        openssl(&["-x509", "-subj", "/CN=authority", "-keyout", "authority.key", "-out", "authority.crt"]);
        openssl(
            &[
                ["-x509", "-CA", "authority.crt", "-CAkey", "authority.key", "-subj", "/CN=server"].as_slice(),
                &["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"],
                &["-keyout", "server.key", "-out", "server.crt"],
            ]
            .concat(),
        );
        self.kill();
        self.run();
    }

    fn client(&self, sql: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "-uroot", "-N", "-B", "--default-character-set=utf8mb4", "-e", sql]);
        client.arg(format!("--socket={}", self.socket().display()));
        client
    }

    /// What its own client says.
    fn ask(&self, sql: &str) -> String {
        let read = said(&mut self.client(sql));
        assert_eq!(read.code, 0, "{sql}: {read:?}");
        read.out.trim().to_owned()
    }

    /// For its own client.
    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("socket")
    }

    /// The file of a store that writes there.
    pub(crate) fn store(&self) -> String {
        format!(
            "daq_job_type = \"DAQJobStoreMySQL\"\nhost = \"127.0.0.1\"\nport = {}\nuser = \"daq\"\n\
             password = \"{PASSWORD}\"\ndatabase = \"daq\"",
            self.port
        )
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// What Python reads from `out/data.db`.
fn sqlite(site: &Site, sql: &str) -> String {
    python(
        site,
        &format!(
            "import sqlite3\nfor row in sqlite3.connect('out/data.db').execute(\"\"\"{sql}\"\"\"):\n    \
             print('\\t'.join(map(str, row)))"
        ),
    )
}

fn rows(backend: &str, rows: u64, rest: &str) -> String {
    format!("daq_job_type = \"DAQJobRows\"\nrows = {rows}\n{rest}\n[store_config.{backend}]\ntable_name = \"rows\"")
}

fn letters(letters: &Value) -> String {
    format!("daq_job_type = \"DAQJobLetters\"\nletters = '''{letters}'''")
}

/// Runs it until as many messages have arrived as are sent, and ends it.
fn deliver(site: &Site, count: u64, refused: u64) -> Vec<String> {
    let mut node = site.start();
    let picture = node.wait("all letters arrived", |picture| {
        let told = picture.job("db")["stats"]["message_in_refused"].as_u64().unwrap_or_default();
        picture.edge("letters", "db").arrived == count && told == refused
    });
    let alerts = picture.alerts().iter().map(|&alert| alert.to_owned()).collect();
    assert_eq!(node.stop(), 0);
    alerts
}

/// What is refused by its name.
fn bad_names(backend: &str) -> Value {
    let letter = |table: &str, tag: Value, column: &str| json!({"store": {backend: {"table_name": table}}, "tag": tag, "columns": [[column, ["1"]]]});
    json!([
        letter("t'; DROP TABLE t; --", Value::Null, "a"),
        letter("t", json!("x`"), "a"),
        letter("t", Value::Null, "a\" INTEGER); --"),
        letter("°", Value::Null, "a"),
        letter(&"x".repeat(10_000), Value::Null, "a"),
        letter("ENRGDAQ_marks", Value::Null, "a"),
        letter("good", Value::Null, "a"),
    ])
}

#[test]
fn names_with_sql_are_refused_counted_and_told() {
    let site = Site::new().job("db", SQLITE).job("letters", &letters(&bad_names("sqlite")));

    let alerts = deliver(&site, 7, 6);

    for part in ["which no table or column has", "nothing is left", "64 at most", "the store's own table"] {
        assert!(alerts.iter().any(|alert| alert.contains(part)), "{part}: {alerts:?}");
    }
    assert!(alerts.iter().all(|alert| alert.len() < 1000), "10 kB of a name need not be told");
    assert_eq!(
        sqlite(&site, "SELECT name FROM sqlite_master WHERE name NOT LIKE 'enrgdaq%' AND type = 'table'"),
        "good"
    );
}

#[test]
fn a_database_outside_of_its_folder_is_refused() {
    for path in ["../x.db", "/tmp/enrgdaq-x.db"] {
        let site = Site::new().job("db", &format!("{SQLITE}\nfile_path = \"{path}\""));
        let checked = site.cli(&["check", "--config", "configs"]);
        assert!(checked.code != 0 && checked.out.contains("must be relative"), "{checked:?}");
    }
    let outside = tempfile::tempdir().unwrap();
    let site =
        Site::new().job("db", &format!("{SQLITE}\nfile_path = \"link/x.db\"")).job("rows", &rows("sqlite", 1, ""));
    fs::create_dir(site.path("out")).unwrap();
    std::os::unix::fs::symlink(outside.path(), site.path("out/link")).unwrap();
    let mut node = site.start();

    node.wait("it is told", |picture| picture.has_alert("leads out of the folder"));

    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn of_an_sqlite_store_that_is_killed_under_load_every_row_is_there_once() {
    let all = messages_for_kills();
    let site = Site::new().supervisor(OFTEN).job("db", SQLITE).job("rows", &rows("sqlite", all, "padding = 10"));
    let mut node = site.start();
    kill_under_load(&mut node, "db", "rows", all);
    assert_eq!(node.stop(), 0);

    let read =
        sqlite(&site, "SELECT count(*), count(DISTINCT n), min(CAST(n AS INTEGER)), max(CAST(n AS INTEGER)) FROM rows");
    assert_eq!(read, format!("{all}\t{all}\t0\t{}", all - 1));
    let in_order =
        "SELECT count(*) FROM (SELECT n, lag(n) OVER (ORDER BY rowid) AS before FROM rows) WHERE n <= before";
    assert_eq!(sqlite(&site, in_order), "0");
    assert_eq!(sqlite(&site, "PRAGMA integrity_check"), "ok");
}

/// Asserts that a store that cannot write shelters what comes, and that no source waits.
fn wait_for_shelter(node: &mut Node<'_>) {
    let sheltered =
        node.wait("more than the ring holds is in the spool", |picture| picture.figure("db", "spool_bytes") > 6e6);
    assert!(sheltered.has_alert("cannot write, and keeps what comes"), "{:?}", sheltered.alerts());
    assert!(sheltered.region("rows", "dead_time_percent") < 1.0, "{}", sheltered.job("rows"));
}

/// Waits until all has been written, and ends it.
fn wait_for_recovery(mut node: Node<'_>, messages: u64) {
    node.wait("the spool is empty", |picture| {
        picture.edge("rows", "db").arrived == messages && picture.figure("db", "spool_bytes") == 0.0
    });
    node.wait("it is told", |picture| picture.has_alert("writes again"));
    assert_eq!(node.stop(), 0);
}

const SLOW_ROWS: u64 = 30_000;

/// More than the ring holds, at a pace.
fn slow_rows(backend: &str) -> String {
    format!("ring_mb = 2\n{}", rows(backend, SLOW_ROWS, "pause_us = 500\npadding = 1000"))
}

#[test]
fn an_sqlite_file_that_another_holds_holds_up_no_source() {
    let site = Site::new().job("db", SQLITE).job("rows", &slow_rows("sqlite"));
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("rows", "db").arrived > 500);
    let script = "import sqlite3, sys\nd = sqlite3.connect('out/data.db', timeout=60, isolation_level=None)\n\
                  d.execute('BEGIN IMMEDIATE')\nopen('held', 'w').close()\nsys.stdin.read()";
    let mut holder =
        Command::new("python3").args(["-c", script]).current_dir(site.path("")).stdin(Stdio::piped()).spawn().unwrap();
    wait_for("it is held", || site.path("held").exists());

    wait_for_shelter(&mut node);

    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    wait_for_recovery(node, SLOW_ROWS);
    assert_eq!(sqlite(&site, "SELECT count(*), count(DISTINCT n) FROM rows"), format!("{SLOW_ROWS}\t{SLOW_ROWS}"));
}

#[test]
fn an_error_of_the_data_costs_its_message_only() {
    let store = json!({"sqlite": {"table_name": "t"}});
    let row = |n: i64| json!({"store": store, "columns": [["n", {"int": [n, n + 100]}]]});
    let all: Vec<_> = [1, 2, 1, 3, 4, 102, 5].map(row).into();
    let text = json!({"store": store, "columns": [["n", ["no number"]]]});
    let site = Site::new().job("db", SQLITE).job("letters", &letters(&json!([all, vec![text]].concat())));
    fs::create_dir(site.path("out")).unwrap();
    let make = "import sqlite3\nd = sqlite3.connect('out/data.db')\n\
                d.execute('CREATE TABLE t (n INTEGER UNIQUE CHECK (typeof(n) = \"integer\"))')";
    python(&site, make);

    let alerts = deliver(&site, 8, 3);

    assert!(alerts.iter().any(|alert| alert.contains("UNIQUE constraint failed")), "{alerts:?}");
    assert_eq!(sqlite(&site, "SELECT group_concat(n) FROM t"), "1,101,2,102,3,103,4,104,5,105");
}

#[test]
fn a_table_that_others_change_in_mid_stream_is_looked_at_again() {
    let site = Site::new().job("db", SQLITE).job("rows", &rows("sqlite", 4000, "pause_us = 1000"));
    let mut node = site.start();
    let arrived = |node: &mut Node<'_>, count| {
        node.wait("some more arrived", |picture| picture.figure("db", "rows") >= count);
    };
    arrived(&mut node, 500.0);
    python(
        &site,
        "import sqlite3\nd = sqlite3.connect('out/data.db', timeout=20)\nd.execute('ALTER TABLE rows RENAME TO before')",
    );
    arrived(&mut node, 4000.0);
    assert_eq!(node.stop(), 0);

    let read = "SELECT count(*), count(DISTINCT n) FROM (SELECT n FROM before UNION ALL SELECT n FROM rows)";
    assert_eq!(sqlite(&site, read), "4000\t4000");
}

#[test]
fn a_column_has_the_type_of_its_first_values() {
    let site = Site::new();
    let server = MariaDb::start(&site);
    let store = json!({"mysql": {"table_name": "t"}});
    let first = json!([["i", {"int": [1]}], ["u", {"uint": [1]}], ["x", {"float32": ["1"]}], ["b", {"bool": [true]}]]);
    let later = json!([["i", {"float": ["1"]}], ["s", ["1"]], ["d", {"binary": ["1"]}]]);
    let all = json!([{"store": store, "columns": first}, {"store": store, "columns": later}]);
    let site = site.job("db", &server.store()).job("letters", &letters(&all));

    deliver(&site, 2, 0);

    let types = "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = 'daq' AND \
                 table_name = 't' ORDER BY ordinal_position";
    let expected = "i\tbigint(20)\nu\tbigint(20) unsigned\nx\tdouble\nb\ttinyint(1)\ns\tlongtext\nd\tlongblob";
    assert_eq!(server.ask(types), expected);
}

#[test]
fn a_password_stands_nowhere_but_in_its_file() {
    let site = Site::new();
    let wrong = "daq_job_type = \"DAQJobStoreMySQL\"\nhost = \"127.0.0.1\"\nport = 1\nuser = \"daq\"\n";
    let site = site
        .job("db", &format!("{wrong}password = \"{PASSWORD}\"\ndatabase = \"daq\""))
        .job("rows", &rows("mysql", 3, ""));
    let mut node = site.start();

    let picture =
        node.wait("it is told", |picture| picture.has_alert("cannot connect to the database daq@127.0.0.1:1"));

    assert!(!picture.0.to_string().contains(PASSWORD), "{}", picture.0);
    assert!(!node.log().contains(PASSWORD));
}

#[test]
fn of_a_mysql_store_that_is_killed_under_load_every_row_is_there_once() {
    let site = Site::new().supervisor(OFTEN);
    let server = MariaDb::start(&site);
    let all = messages_for_kills();
    let site = site.job("db", &server.store()).job("rows", &rows("mysql", all, "padding = 10"));
    let mut node = site.start();
    kill_under_load(&mut node, "db", "rows", all);
    assert_eq!(node.stop(), 0);

    let read = server.ask("SELECT count(*), count(DISTINCT n), min(n + 0), max(n + 0) FROM daq.rows");
    assert_eq!(read, format!("{all}\t{all}\t0\t{}", all - 1));
}

#[test]
fn a_database_that_sleeps_and_one_that_dies_lose_nothing_and_hold_up_no_source() {
    let site = Site::new();
    let mut server = MariaDb::start(&site);
    let site = site.job("db", &server.store()).job("rows", &slow_rows("mysql"));
    let mut node = site.start();
    node.wait("some arrived", |picture| picture.edge("rows", "db").arrived > 500);
    send(server.pid(), Signal::STOP);

    wait_for_shelter(&mut node);

    send(server.pid(), Signal::CONT);
    server.kill();
    server.run();
    wait_for_recovery(node, SLOW_ROWS);
    let read = server.ask("SELECT count(*), count(DISTINCT n) FROM daq.rows");
    assert_eq!(read, format!("{SLOW_ROWS}\t{SLOW_ROWS}"));
}

#[test]
fn what_mariadb_does_not_take_costs_its_message_only() {
    let site = Site::new();
    let server = MariaDb::start(&site);
    server.ask("CREATE TABLE daq.t (n BIGINT UNIQUE, small TINYINT, text VARCHAR(5))");
    server.ask("SET GLOBAL max_allowed_packet = 262144");
    let store = json!({"mysql": {"table_name": "t"}});
    let letter = |n: i64, small: i64, text: &str| json!({"store": store, "columns": [["n", {"int": [n]}], ["small", {"int": [small]}], ["text", [text]]]});
    let all = json!([
        letter(1, 1, "a"),
        letter(1, 1, "twice"),
        letter(2, 300, "b"),
        letter(3, 1, "too long"),
        {"store": store, "columns": [["n", {"float": ["4.5"]}]]},
        {"store": store, "columns": [["n", {"float": ["5"]}]]},
        {"store": {"mysql": {"table_name": "big"}}, "columns": [["x", ["x".repeat(300_000), "y".to_owned()]]]},
        {"store": {"mysql": {"table_name": "big"}}, "columns": [["x", ["x".repeat(150_000), "z".repeat(150_000)]]]},
        letter(6, 6, "e"),
    ]);
    let site = site.job("db", &server.store()).job("letters", &letters(&all));

    let alerts = deliver(&site, 9, 5);

    for part in ["Duplicate entry", "Out of range", "Data too long", "4.5 is no whole number", "max_allowed_packet"] {
        assert!(alerts.iter().any(|alert| alert.contains(part)), "{part}: {alerts:?}");
    }
    assert_eq!(server.ask("SELECT group_concat(n ORDER BY n) FROM daq.t"), "1,5,6");
    assert_eq!(server.ask("SELECT group_concat(length(x)) FROM daq.big"), "150000,150000");
}

#[test]
fn what_goes_to_a_server_is_encrypted_as_it_is_asked_for() {
    let site = Site::new();
    let mut server = MariaDb::start(&site);
    server.encrypt();
    server.ask("ALTER USER daq@'127.0.0.1' REQUIRE SSL");
    let authority = format!("\ntls_ca = \"{}\"", site.path("mariadb/authority.crt").display());
    let letter = json!([{"store": {"mysql": {"table_name": "t"}}, "columns": [["n", {"int": [1]}]]}]);
    let site = site.job("letters", &letters(&letter));
    for (tls, alert) in [("off", "Access denied"), ("verify", "invalid peer certificate")] {
        site.write("configs/db.toml", &format!("{}\ntls = \"{tls}\"", server.store()));
        let mut node = site.start();
        node.wait("it is told", |picture| picture.has_alert(alert) && picture.edge("letters", "db").arrived == 1);
        node.interrupt();
        node.wait_exit();
    }
    assert_eq!(server.ask("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'daq'"), "0");

    // Each start sends its message; those of the starts before wait in the spool.
    for (starts, tls) in
        [(3, String::new()), (4, "tls = \"require\"".into()), (5, format!("tls = \"verify\"{authority}"))]
    {
        site.write("configs/db.toml", &format!("{}\n{tls}", server.store()));
        deliver(&site, 1, 0);
        assert_eq!(server.ask("SELECT count(*) FROM daq.t"), starts.to_string(), "{tls}");
    }

    site.write("configs/db.toml", &format!("{}\ntls = \"require\"{authority}", server.store()));
    let checked = site.cli(&["check", "--config", "configs"]);
    assert!(checked.code != 0 && checked.out.contains("add tls = \"verify\""), "{checked:?}");
}

#[test]
fn old_style_rows_may_begin_with_whole_numbers_and_with_words() {
    let letter = |backend: &str, value: Value| {
        let data = json!([[value, 1_790_000_000_000_000_000_i64]]);
        json!({"store": {backend: {"table_name": "hv"}}, "keys": ["U", "at"], "data": data})
    };
    let all = |backend: &str, values: &[Value]| {
        json!(values.iter().map(|value| letter(backend, value.clone())).collect::<Vec<_>>())
    };
    let site = Site::new();
    let server = MariaDb::start(&site);
    let numbers = all("mysql", &[json!(0), json!(0.13), json!(7)]);
    let site = site.job("db", &server.store()).job("letters", &letters(&numbers));
    deliver(&site, 3, 0);
    assert_eq!(server.ask("SELECT group_concat(U ORDER BY U), max(at) FROM daq.hv"), "0,0.13,7\t1790000000000000000");

    let words = all("sqlite", &[json!("OFF"), json!(0.300_000_000_000_000_04), json!(1e300)]);
    let site = Site::new().job("db", SQLITE).job("letters", &letters(&words));
    deliver(&site, 3, 0);
    let texts = sqlite(&site, "SELECT U, typeof(U) FROM hv ORDER BY rowid");
    assert_eq!(texts, "OFF\ttext\n0.30000000000000004\ttext\n1e300\ttext");
}
