//! `DAQJobStoreCSV`: tables into CSV files. What a file may hold and how it is named stands here; all else does the base
//! of file stores.

use enrgdaq::job::Delivery;
use enrgdaq::message::MessageKind;
use enrgdaq::store::files::{Encoded, FileFormat, FileWish, Form};
use enrgdaq::store::{Refused, Store};
use schemars::JsonSchema;
use serde::Deserialize;

use super::rows::append_rows;

/// The job type.
pub(crate) type CsvStore = Store<enrgdaq::store::files::Files<Csv>>;

/// Where rows go: a file of text, with a header.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CsvTarget {
    /// The file, relative to the store's `out_dir`. A message's tag is put before the ending: `name_tag.csv`.
    #[schemars(example = &"data.csv")]
    file_path: String,
    /// Puts the local date of the message before the name, `2026-11-20_name.csv`: a new file every day.
    #[serde(default)]
    add_date: bool,
    /// The file holds the rows of the newest message only; it is replaced as a whole.
    #[serde(default)]
    overwrite: bool,
    /// Compresses with zstd; `.zst` is added to the name if it is missing.
    #[serde(default)]
    use_zstd: bool,
}

/// Rows of text with a header. Rows with other columns than a file has go to `name_1.csv`, `name_2.csv` …
#[derive(Debug)]
pub(crate) struct Csv;

impl FileFormat for Csv {
    const TYPE: &'static str = "DAQJobStoreCSV";
    const ALIASES: &'static [&'static str] = &["store_csv"];
    const BACKEND: &'static str = "csv";
    type Target = CsvTarget;

    fn messages() -> Vec<MessageKind> {
        vec![MessageKind::store_tabular()]
    }

    fn file(target: &CsvTarget) -> FileWish<'_> {
        let ending = if target.use_zstd { ".zst" } else { "" };
        FileWish { file_path: &target.file_path, ending, add_date: target.add_date, overwrite: target.overwrite }
    }

    fn encode(target: &CsvTarget, message: &mut Delivery, out: &mut Vec<u8>) -> Result<Encoded, Refused> {
        let (header, rows) = append_rows(message, out).map_err(|error| Refused::new(error.kind(), &error))?;
        Ok(Encoded { form: Form { header, is_compressed: target.use_zstd, has_records: true }, rows })
    }
}

#[cfg(test)]
mod tests {
    use enrgdaq::store::conformance::{Subject, check};
    use enrgdaq::store::files::{Files, FilesConfig};
    use enrgdaq::store::{Home, Sink};

    use super::*;

    struct Folder {
        dir: tempfile::TempDir,
        use_zstd: bool,
    }

    impl Subject for Folder {
        type Sink = Files<Csv>;

        fn open(&self) -> Files<Csv> {
            let keys = serde_json::json!({ "out_dir": self.dir.path(), "rotate_mb": 0.001 });
            let config: FilesConfig = serde_json::from_value(keys).unwrap();
            let home = Home { name: "csv".into(), unique_id: "csv".into(), state_dir: self.dir.path().join("state") };
            Files::open(config, &home).unwrap()
        }

        fn target(&self, place: &str) -> CsvTarget {
            let use_zstd = self.use_zstd;
            CsvTarget { file_path: format!("{place}.csv"), add_date: false, overwrite: false, use_zstd }
        }

        fn read(&self, place: &str) -> Vec<i64> {
            let ending = if self.use_zstd { ".csv.zst" } else { ".csv" };
            let name = |n| if n == 0 { format!("{place}{ending}") } else { format!("{place}_{n}{ending}") };
            let files = (0..).map_while(|n| std::fs::read(self.dir.path().join(name(n))).ok());
            let read = |bytes: Vec<u8>| match self.use_zstd {
                true => zstd::decode_all(&bytes[..]).unwrap(),
                false => bytes,
            };
            let text = files.map(|bytes| String::from_utf8(read(bytes)).unwrap());
            let numbers = |text: String| text.lines().skip(1).map(|line| line.parse().unwrap()).collect::<Vec<_>>();
            text.flat_map(numbers).collect()
        }
    }

    #[test]
    fn it_conforms() {
        for seed in 0..20 {
            let use_zstd = seed % 2 == 1;
            check(&Folder { dir: tempfile::tempdir().unwrap(), use_zstd }, seed);
        }
    }
}
